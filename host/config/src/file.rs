//! Reading a text file that a person writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Bytes of a file at most: a million domains, or several million recipients.
const SIZE_MAX: u64 = 256 << 20;
const TOO_LONG: &str = "is longer than 256 MiB";
/// Whoever else may do anything with a file.
const OTHERS: u32 = 0o077;
/// What some editors put before a text's first character (Unicode, section 23.8).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of the regular file at `path`, without a byte order mark.
///
/// # Errors
/// It cannot be read, is no regular file or longer than 256 MiB, or is not UTF-8.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// The same of a file that nobody but its owner may do anything with.
///
/// # Errors
/// As those of [`read_text`]; or others may use it.
pub(super) fn read_private_text(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & OTHERS != 0 {
        let reason = format!("others may use it (mode {mode:04o}): chmod 0600 it");
        return Err(invalid(&reason));
    }
    text(read_open(file)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|_| invalid("is not text in UTF-8"))?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// What is in the regular file at `path`.
///
/// # Errors
/// It cannot be read, is no regular file, or is longer than 256 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_open(open(path)?)
}

fn read_open(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if length as u64 > SIZE_MAX { Err(invalid(TOO_LONG)) } else { Ok(bytes) }
}

/// Opens a regular file. To open a FIFO, or to read from one, may wait for ever.
fn open(path: &Path) -> io::Result<File> {
    let wait_not = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(wait_not).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true if metadata.len() > SIZE_MAX => Err(invalid(TOO_LONG)),
        true => Ok(file),
        false => Err(invalid("is not a regular file")),
    }
}

/// Whether `letter` changes how text is shown, ends a line, or is not seen at all: Unicode's
/// general categories Cf, Zl and Zp.
pub const fn is_format(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn reason(path: &Path) -> String {
        read_text(path).expect_err("no text").to_string()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recipients");
        fs::write(&path, "\u{feff}info\n\u{feff}").expect("a file");
        assert_eq!(read_text(&path).expect("text"), "info\n\u{feff}");
    }

    #[test]
    fn what_is_no_regular_file_is_an_error_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(reason(folder.path()), "is not a regular file");
        let fifo = folder.path().join("fifo");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &fifo, FileType::Fifo, mode, 0).expect("a FIFO");
        assert_eq!(reason(&fifo), "is not a regular file");
        assert_eq!(reason(Path::new("/dev/zero")), "is not a regular file");
        assert!(reason(&folder.path().join("absent")).starts_with("No such file"));
    }

    #[test]
    fn what_is_not_text_or_too_long_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("postern.toml");
        fs::write(&path, b"\xff\xfeh\0").expect("a file");
        assert_eq!(reason(&path), "is not text in UTF-8");
        // It has no blocks on the disk.
        File::create(&path).expect("a file").set_len(SIZE_MAX + 1).expect("a long file");
        assert_eq!(reason(&path), "is longer than 256 MiB");
    }
}
