//! The text region: what `postern card` writes and a device only reads.
//!
//! The superblock is block 0. The settings, as [`crate::settings::Settings::encode`] makes them,
//! and then the recipients stand in blocks of this shape. All of it is there twice.
//!
//! An update writes one of the two texts, its superblock last, and then the other. The superblock
//! of the higher revision counts, and of the text only blocks of the same revision. So after a cut
//! all of it is as before, or all of it is new.
//!
//! | Octets | A text block |
//! | --- | --- |
//! | 4 | revision |
//! | 2 | octets of text, n |
//! | n | text |
//! | … | zeros |
//! | 4 | checksum |
//!
//! A recipient is 2 octets of length and an address, which never goes on in the next block.

use crate::octets::{Put, Take};
use crate::settings::SETTINGS_MAX;
use crate::{BLOCK, Block};

/// Octets of a block before its text.
const HEAD: usize = 6;
/// Octets of text in a block at most.
const TEXT_MAX: usize = BLOCK - HEAD - 4;
/// Octets of an address at most.
pub(crate) const ADDRESS_MAX: usize = TEXT_MAX - 2;
/// The first block of the settings.
pub(crate) const SETTINGS_FROM: u32 = 1;
/// Blocks of the settings.
pub(crate) const SETTINGS_BLOCKS: u32 = SETTINGS_MAX.div_ceil(TEXT_MAX) as u32;
/// The first block of the recipients.
pub(crate) const RECIPIENTS_FROM: u32 = SETTINGS_FROM + SETTINGS_BLOCKS;

/// Puts as much of `text` into a block as there is room for, and returns the rest.
pub(crate) fn fill<'t>(revision: u32, content: &mut Block, text: &'t [u8]) -> &'t [u8] {
    let (here, rest) = text.split_at_checked(TEXT_MAX).unwrap_or((text, &[]));
    Put::new(content).u32(revision).u16(here.len() as u16).octets(here);
    rest
}

/// The text of a block.
pub(crate) fn read(content: &Block) -> Option<&[u8]> {
    let (head, rest) = content.split_first_chunk::<HEAD>()?;
    let length = Take::new(head.get(4..)?).u16()?;
    rest.get(..TEXT_MAX)?.get(..usize::from(length))
}

/// Whether a block belongs to the text of this revision.
pub(crate) fn is_of(revision: u32, content: &Block) -> bool {
    Take::new(content).u32() == Some(revision)
}

/// Appends a recipient to a block; false when it does not fit.
pub(crate) fn push_recipient(revision: u32, content: &mut Block, address: &[u8]) -> bool {
    let used = read(content).map_or(0, <[u8]>::len);
    let length = used + 2 + address.len();
    let Ok(octets) = u16::try_from(address.len()) else { return false };
    if length > TEXT_MAX {
        return false;
    }
    if let Some(free) = content.get_mut(HEAD + used..) {
        Put::new(free).u16(octets).octets(address);
    }
    Put::new(content).u32(revision).u16(length as u16);
    true
}

/// Whether `address` is one of the recipients in a block's text, in whatever case.
pub(crate) fn has_recipient(mut text: &[u8], address: &[u8]) -> bool {
    while let Some(length) = Take::new(text).u16() {
        let Some((recipient, rest)) =
            text.get(2..).and_then(|text| text.split_at_checked(usize::from(length)))
        else {
            return false;
        };
        if recipient.eq_ignore_ascii_case(address) {
            return true;
        }
        text = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{ADDRESS_MAX, fill, has_recipient, is_of, push_recipient, read};
    use crate::BLOCK;

    #[test]
    fn text_goes_on_in_the_next_block() {
        let text = [7; 600];
        let (mut first, mut second) = ([0; BLOCK], [0; BLOCK]);
        let rest = fill(1, &mut first, &text);
        assert_eq!(fill(1, &mut second, rest), b"");
        let lengths = [&first, &second].map(|block| read(block).map(<[u8]>::len));
        assert_eq!(lengths, [Some(502), Some(98)]);
        first[4..6].copy_from_slice(&503_u16.to_le_bytes());
        assert_eq!(read(&first), None);
    }

    #[test]
    fn recipients_fill_a_block_and_are_found_again() {
        let mut block = [0; BLOCK];
        assert!(!push_recipient(9, &mut block, &[b'a'; ADDRESS_MAX + 1]));
        assert!(push_recipient(9, &mut block, b"joe@client.example"));
        assert!(push_recipient(9, &mut block, &[b'a'; ADDRESS_MAX - 20]));
        assert!(!push_recipient(9, &mut block, b""));
        assert!(is_of(9, &block) && !is_of(8, &block));
        let text = read(&block).expect("the block has text");
        assert!(has_recipient(text, b"JOE@Client.Example"));
        assert!(has_recipient(text, &[b'A'; ADDRESS_MAX - 20]));
        assert!(!has_recipient(text, b"joe@client.exampl"));
        assert!(!has_recipient(text, b""));
    }
}
