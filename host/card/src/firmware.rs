//! A firmware image as cargo builds it, for a card.

use std::fs;
use std::path::Path;

use object::Endianness;
use object::elf::{EM_ARM, ET_EXEC, FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use postern_card::Label;

/// What stands in flash between two segments: what it is when it was erased.
const ERASED: u8 = 0xFF;
/// No board has more flash.
const OCTETS_MAX: u64 = 16 << 20;

/// A firmware image: what is to stand in a board's flash, from its first octet on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The board that it is for, and its version.
    pub label: Label,
    /// What goes into the flash.
    pub octets: Vec<u8>,
}

impl Firmware {
    /// Reads the ELF file that cargo has built for a board.
    ///
    /// # Errors
    /// Why it is no such file, or not all of one.
    pub fn load(path: &Path) -> Result<Self, String> {
        Self::parse(&fs::read(path).map_err(|error| error.to_string())?)
    }

    /// Reads the content of such a file.
    ///
    /// # Errors
    /// Those of [`Firmware::load`].
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        if !file.starts_with(&object::elf::ELFMAG) {
            return Err("is no ELF file, as cargo builds it for a board".to_owned());
        }
        let octets = flash(file)?;
        let label = Label::find(&octets);
        let label =
            label.ok_or("does not say which board it is for: it is no image of Postern's")?;
        Ok(Self { label, octets })
    }
}

/// What a file puts into the flash.
fn flash(file: &[u8]) -> Result<Vec<u8>, String> {
    let cut = |fault: object::Error| format!("is damaged, or cut short: {fault}");
    let header = FileHeader32::<Endianness>::parse(file).map_err(cut)?;
    let endian = header.endian().map_err(cut)?;
    if header.e_machine.get(endian) != EM_ARM || header.e_type.get(endian) != ET_EXEC {
        return Err("is not for a microcontroller".to_owned());
    }
    // They are at the end of the file.
    header.section_headers(endian, file).map_err(cut)?;
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, file).map_err(cut)? {
        if segment.p_type(endian) == PT_LOAD && segment.p_filesz(endian) > 0 {
            let octets = segment.data(endian, file);
            let octets = octets.map_err(|()| "is cut short: a segment is not there".to_owned())?;
            segments.push((u64::from(segment.p_paddr(endian)), octets));
        }
    }
    segments.sort_by_key(|(address, _)| *address);
    let start = segments.first().ok_or("has nothing for the flash")?.0;
    let mut flash = Vec::new();
    for (address, octets) in segments {
        let at = address - start;
        if at < flash.len() as u64 || at > OCTETS_MAX {
            return Err("has segments that are not of one flash".to_owned());
        }
        flash.resize(usize::try_from(at).map_err(|_| "is too large")?, ERASED);
        flash.extend_from_slice(octets);
    }
    Ok(flash)
}

#[cfg(test)]
mod tests {
    use postern_card::Stamp;

    use super::*;

    /// An ELF file with two segments, a gap of 4 octets between them, and one section header.
    fn elf(first: &[u8], second: &[u8]) -> Vec<u8> {
        const HEADERS: usize = 52 + 2 * 32;
        let sections = HEADERS + first.len() + second.len();
        let mut file = vec![0; 52];
        file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        let mut put = |at: usize, octets: &[u8]| file[at..][..octets.len()].copy_from_slice(octets);
        put(16, &[2, 0, 40, 0, 1]);
        put(28, &52_u32.to_le_bytes());
        put(32, &(sections as u32).to_le_bytes());
        put(40, &[52, 0, 32, 0, 2, 0, 40, 0, 1, 0, 0, 0]);
        let mut from = HEADERS;
        for (address, octets) in [(0x1000_0000, first), (0x1000_0004 + first.len(), second)] {
            let length = octets.len() as u32;
            for field in [1, from as u32, address as u32, address as u32, length, length, 5, 4] {
                file.extend(field.to_le_bytes());
            }
            from += octets.len();
        }
        [file, first.to_vec(), second.to_vec(), vec![0; 40]].concat()
    }

    fn stamped(label: Label) -> Vec<u8> {
        let name = |name: &str| [name.as_bytes(), &vec![0; 24 - name.len()]].concat();
        let stamp = [b"POSTERN firmware".to_vec(), name(label.board()), name(label.version())];
        let stamp = stamp.concat();
        assert_eq!(stamp.len(), size_of::<Stamp>());
        [b"before".to_vec(), stamp, b"behind".to_vec()].concat()
    }

    #[test]
    fn an_image_is_what_stands_in_flash() {
        let label = Label::new("some-board", "1.2.3");
        let (first, second) = (stamped(label), b"second".to_vec());
        let wanted = [first.clone(), vec![ERASED; 4], second.clone()].concat();
        let firmware = Firmware::parse(&elf(&first, &second));
        assert_eq!(firmware, Ok(Firmware { label, octets: wanted }));
    }

    #[test]
    fn an_image_that_is_cut_short_anywhere_is_refused() {
        let file = elf(&stamped(Label::new("some-board", "1")), b"second");
        for length in 0..file.len() {
            assert!(Firmware::parse(&file[..length]).is_err(), "{length} of {}", file.len());
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let label = Label::new("some-board", "1");
        let twice = [stamped(label), stamped(label)].concat();
        let cases = [
            (b"MZ".to_vec(), "no ELF file"),
            (elf(b"nothing", b"second"), "no image of Postern's"),
            (elf(&twice, b"second"), "no image of Postern's"),
            (std::fs::read("/proc/self/exe").expect("this program"), "is "),
        ];
        for (file, why) in cases {
            let refused = Firmware::parse(&file).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }
}
