//! What is remembered, on the disk: a line for each answer, the last of which counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::remembered::Said;

/// The file's name in the spool's folder.
const FILE: &str = "recipients";
/// The first line. What begins with another is of another version.
const HEAD: &str = "postern-recipients 1";

/// An address, and what was said of it.
pub(super) type Line = (Vec<u8>, Said);

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

/// What stands in it.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) lines: Vec<Line>,
    /// Lines that say nothing: cut off, or changed by a bad disk.
    pub(super) broken: usize,
}

impl Kept {
    pub(super) fn in_folder(spool: &Path) -> Self {
        Self(spool.join(FILE))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What stands in the file; nothing where it is not there.
    pub(super) fn read(&self) -> io::Result<Read> {
        let octets = match fs::read(&self.0) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::default()),
            Err(error) => return Err(error),
        };
        let mut lines = octets.split(|octet| *octet == b'\n');
        if lines.next() != Some(HEAD.as_bytes()) {
            return Err(io::Error::other("it does not begin as it should"));
        }
        let mut read = Read::default();
        for line in lines.filter(|line| !line.is_empty()) {
            match parse(line) {
                Some(line) => read.lines.push(line),
                None => read.broken += 1,
            }
        }
        // The next line must not become a part of one that was cut off.
        read.broken += usize::from(octets.last() != Some(&b'\n'));
        Ok(read)
    }

    /// Adds `lines`. They are not synced: one that a power cut takes is asked for again.
    pub(super) fn append(&self, lines: &[Line]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&self.0)?;
        file.write_all(text(lines).as_bytes())
    }

    /// Writes all of it anew: the file is the old one or the new one, wherever the power is cut.
    pub(super) fn write(&self, lines: &[Line]) -> io::Result<()> {
        let unfinished = self.0.with_extension("part");
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(format!("{HEAD}\n{}", text(lines)).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.0)?;
        let folder = self.0.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn text(lines: &[Line]) -> String {
    let lines = lines.iter().filter_map(|(address, said)| {
        let address = str::from_utf8(address).ok()?;
        let is_plain = !address.contains(char::is_control);
        is_plain.then(|| {
            let (sign, seconds) = (if said.exists { '+' } else { '-' }, said.unix_seconds);
            let said = format!("{sign} {seconds} {:08x} {address}", said.host);
            format!("{:08x} {said}\n", crc32c::crc32c(said.as_bytes()))
        })
    });
    lines.collect()
}

fn parse(line: &[u8]) -> Option<Line> {
    let (sum, said) = str::from_utf8(line).ok()?.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != crc32c::crc32c(said.as_bytes()) {
        return None;
    }
    let mut parts = said.splitn(4, ' ');
    let exists = match parts.next()? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let unix_seconds = parts.next()?.parse().ok()?;
    let host = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some((parts.next()?.as_bytes().to_vec(), Said { exists, unix_seconds, host }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, exists: bool) -> Line {
        let said = Said { exists, unix_seconds: 1_795_306_665, host: 0x00ab_cdef };
        (address.as_bytes().to_vec(), said)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept::in_folder(folder.path());
        assert!(kept.read().expect("none").lines.is_empty());
        assert!(kept.append(&[line("a@b.example", true)]).is_err(), "there is none yet");
        kept.write(&[line("info@client.example", true)]).expect("a file");
        let more = [line("john doe@client.example", false), line("\u{fc}@client.example", true)];
        kept.append(&more).expect("a file");
        kept.append(&[line("a\nb@client.example", true)]).expect("a file");
        let read = kept.read().expect("a file");
        let [one, two] = more;
        assert_eq!(read.lines, [line("info@client.example", true), one, two]);
        assert_eq!(read.broken, 0);
    }

    #[test]
    fn a_line_that_is_cut_or_changed_says_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept::in_folder(folder.path());
        let lines = [line("info@client.example", true), line("sales@client.example", false)];
        kept.write(&lines).expect("a file");
        let whole = fs::read(kept.path()).expect("a file");
        let head = HEAD.len() + 1;
        for cut in head..whole.len() {
            fs::write(kept.path(), &whole[..cut]).expect("a file");
            let read = kept.read().expect("a head");
            assert!(lines.starts_with(&read.lines), "{cut}");
            let is_at_an_end = whole[cut - 1] == b'\n';
            assert_eq!(read.broken > 0, !is_at_an_end, "{cut}");
        }
        for bit in head * 8..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(kept.path(), &flipped).expect("a file");
            let read = kept.read().expect("a head");
            let known = read.lines.iter().all(|line| lines.contains(line));
            // A sum in capitals is the same.
            assert!(known && (read.broken > 0 || read.lines.len() == 2), "bit {bit}: {read:?}");
        }
        for head in ["", "postern-recipients 2\n", "\0\0\0"] {
            fs::write(kept.path(), head).expect("a file");
            assert!(kept.read().is_err(), "{head:?}");
        }
    }
}
