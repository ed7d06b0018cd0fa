//! What a firmware image says of itself: the board that it is for, and its version.
//!
//! It stands once in each image, at any place:
//!
//! | Octets | A label |
//! | --- | --- |
//! | 16 | `POSTERN firmware` |
//! | 24 | the board, filled up with zeros |
//! | 24 | the version, filled up with zeros |

/// What it begins with.
const MAGIC: [u8; 16] = *b"POSTERN firmware";
/// Octets of a name at most.
const NAME_MAX: usize = 24;

/// The board that an image is for, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Label {
    board: [u8; NAME_MAX],
    version: [u8; NAME_MAX],
}

/// A label as it stands in an image: one constant, so that it stands there once.
#[derive(Debug)]
#[repr(C)]
pub struct Stamp {
    magic: [u8; MAGIC.len()],
    /// The label.
    pub label: Label,
}

impl Stamp {
    const OCTETS: usize = size_of::<Self>();

    /// The stamp with this label.
    pub const fn new(label: Label) -> Self {
        Self { magic: MAGIC, label }
    }
}

impl Label {
    /// Octets of both names.
    pub(crate) const NAMES: usize = 2 * NAME_MAX;

    /// A label, for a constant.
    ///
    /// # Panics
    /// A name is empty, longer than 24 octets, or has others than visible ASCII characters: the
    /// constant does not compile.
    pub const fn new(board: &str, version: &str) -> Self {
        Self { board: name(board), version: name(version) }
    }

    /// The board.
    pub fn board(&self) -> &str {
        text(&self.board)
    }

    /// The version.
    pub fn version(&self) -> &str {
        text(&self.version)
    }

    /// The label in an image; none when there is none, or more than one.
    pub fn find(image: &[u8]) -> Option<Self> {
        let mut found = image.windows(Stamp::OCTETS).filter_map(Self::parse);
        let label = found.next();
        label.filter(|_| found.next().is_none())
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let names = octets.strip_prefix(&MAGIC)?;
        Self::from_names(names.first_chunk()?)
    }

    /// The label with these names, one behind the other.
    pub(crate) fn from_names(names: &[u8; Self::NAMES]) -> Option<Self> {
        let (board, version) = names.split_first_chunk()?;
        let label = Self { board: *board, version: *version.first_chunk()? };
        [&label.board, &label.version].into_iter().all(is_name).then_some(label)
    }

    /// Both names, one behind the other.
    pub(crate) fn names(&self) -> [[u8; NAME_MAX]; 2] {
        [self.board, self.version]
    }
}

const fn name(name: &str) -> [u8; NAME_MAX] {
    let (name, mut octets) = (name.as_bytes(), [0; NAME_MAX]);
    assert!(!name.is_empty() && name.len() <= NAME_MAX, "a name has 1 to 24 octets");
    let mut at = 0;
    while at < name.len() {
        assert!(name[at].is_ascii_graphic(), "a name has visible ASCII characters");
        octets[at] = name[at];
        at += 1;
    }
    octets
}

fn is_name(octets: &[u8; NAME_MAX]) -> bool {
    let length = text(octets).len();
    let (name, rest) = octets.split_at_checked(length).unwrap_or_default();
    length > 0 && name.iter().all(u8::is_ascii_graphic) && rest.iter().all(|octet| *octet == 0)
}

/// A name without the zeros that fill it up.
fn text(octets: &[u8; NAME_MAX]) -> &str {
    let name = octets.split(|octet| *octet == 0).next().unwrap_or_default();
    str::from_utf8(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Label, Stamp};
    use crate::BLOCK;

    const LABEL: Label = Label::new("some-board", "1.2.3-a");
    const STAMP: Stamp = Stamp::new(LABEL);

    fn image(at: usize) -> [u8; BLOCK] {
        let mut image = [0x5A; BLOCK];
        image[at..at + 16].copy_from_slice(&STAMP.magic);
        image[at + 16..at + 64].copy_from_slice(STAMP.label.names().as_flattened());
        image
    }

    #[test]
    fn a_label_is_found_where_it_stands_once() {
        for at in [0, 77, BLOCK - 64] {
            assert_eq!(Label::find(&image(at)), Some(LABEL));
        }
        assert_eq!((LABEL.board(), LABEL.version()), ("some-board", "1.2.3-a"));
        assert_eq!(Label::find([image(0), image(100)].as_flattened()), None);
        assert_eq!(Label::find(&image(BLOCK - 64)[..BLOCK - 1]), None);
        assert_eq!(Label::find(b""), None);
    }

    #[test]
    fn what_only_looks_like_a_label_is_none() {
        // A letter of the magic, an empty name, one with a control character, one that goes on
        // behind its end.
        for (at, octet) in [(3, b'X'), (16, 0), (17, b'\n'), (39, b'x'), (40, 0xC3), (63, 1)] {
            let mut image = image(0);
            image[at] = octet;
            assert_eq!(Label::find(&image), None, "octet {at}");
        }
    }
}
