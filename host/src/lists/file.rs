//! A domain's list on the disk: the last good one, who has vanished from it, and one that waits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entries::Entries;
use super::held::{Good, Held, Origin, Waiting};
use crate::config::DomainName;

/// The folder's name in the spool's, which has a file for each domain.
const FOLDER: &str = "lists";
/// What is being written. No domain is called so.
const UNFINISHED: &str = ".unfinished";
/// What the first line begins with. Another is of another version.
const HEAD: &str = "postern-list 1 ";

pub(super) fn folder(spool: &Path) -> PathBuf {
    spool.join(FOLDER)
}

/// The list of `domain`; an empty one where there is no file.
pub(super) fn read(folder: &Path, domain: &DomainName) -> io::Result<Held> {
    let octets = match fs::read(folder.join(domain.as_str())) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::default()),
        Err(error) => return Err(error),
    };
    parse(&octets).ok_or_else(|| io::Error::other("its file is cut short, or was changed"))
}

/// Writes the list of `domain`: the file is the old one or the new one, wherever the power is cut.
pub(super) fn write(folder: &Path, domain: &DomainName, held: &Held) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = folder.join(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text(held).as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(domain.as_str()))?;
    File::open(folder)?.sync_all()
}

fn text(held: &Held) -> String {
    let mut lines = Vec::new();
    let names = |lines: &mut Vec<String>, sign, entries: &Entries| {
        let names = entries.0.iter().filter_map(|name| str::from_utf8(name).ok());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        lines.extend(names.into_iter().map(|name| format!("{sign}{name}")));
    };
    if let Some(Good { entries, origin, unix_seconds }) = &held.good {
        lines.push(format!("good {origin} {unix_seconds}"));
        names(&mut lines, '+', entries);
    }
    for (name, since) in &*held.vanished {
        lines.extend(str::from_utf8(name).map(|name| format!("-{since} {name}")));
    }
    if let Some(Waiting { entries, origin, why }) = &held.waiting {
        lines.push(format!("waits {origin} {why}"));
        names(&mut lines, '?', entries);
    }
    let mut body = String::new();
    for line in lines {
        writeln!(body, "{line}").expect("writing to a String does not fail");
    }
    format!("{HEAD}{:08x} {}\n{body}", crc32c::crc32c(body.as_bytes()), body.len())
}

fn parse(octets: &[u8]) -> Option<Held> {
    let (head, body) = str::from_utf8(octets).ok()?.split_once('\n')?;
    let (sum, length) = head.strip_prefix(HEAD)?.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(body.as_bytes())
        && length.parse::<usize>().ok()? == body.len();
    if !is_whole {
        return None;
    }
    let (mut good, mut waiting, mut vanished) = (None, None, HashMap::new());
    let (mut entries, mut waits) = (Entries::default(), Entries::default());
    for line in body.lines() {
        let sign = line.chars().next()?;
        match (sign, line.get(1..)?) {
            ('+', name) => drop(entries.0.insert(name.as_bytes().into())),
            ('?', name) => drop(waits.0.insert(name.as_bytes().into())),
            ('-', rest) => {
                let (since, name) = rest.split_once(' ')?;
                vanished.insert(name.as_bytes().into(), since.parse().ok()?);
            }
            _ => {
                let (kind, rest) = line.split_once(' ')?;
                let (origin, rest) = rest.split_once(' ')?;
                let origin = origin_of(origin)?;
                match kind {
                    "good" => good = Some((origin, rest.parse().ok()?)),
                    "waits" => waiting = Some((origin, rest.to_owned())),
                    _ => return None,
                }
            }
        }
    }
    let (entries, waits) = (Arc::new(entries), Arc::new(waits));
    Some(Held {
        good: good.map(|(origin, unix_seconds)| Good { entries, origin, unix_seconds }),
        vanished: Arc::new(vanished),
        waiting: waiting.map(|(origin, why)| Waiting { entries: waits, origin, why }),
    })
}

fn origin_of(word: &str) -> Option<Origin> {
    [Origin::Fetched, Origin::Imported].into_iter().find(|origin| origin.to_string() == word)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    fn held() -> Held {
        let mut held = Held::default();
        held.offer(entries(&["info", "john doe", "-1 x", "good a b"]), Origin::Fetched, 17);
        held.offer(entries(&["info", "john doe", "", "\u{fc}", "+"]), Origin::Imported, 18);
        held.offer(entries(&["x"]), Origin::Fetched, 19);
        assert!(held.good.is_some() && held.waiting.is_some() && !held.vanished.is_empty());
        held
    }

    #[test]
    fn what_is_written_is_read_by_nobody_else() {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let folder = folder(spool.path());
        let domain = "client.example".parse().expect("a domain name");
        assert_eq!(read(&folder, &domain).expect("none"), Held::default());
        write(&folder, &domain, &held()).expect("a file");
        assert_eq!(read(&folder, &domain).expect("a file"), held());
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&folder) & 0o777, 0o700);
        assert_eq!(mode(&folder.join("client.example")) & 0o777, 0o600);
        let names = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(names, 1, "nothing is left behind");
        let longest = [["x"; 63].concat().as_str(); 3].join(".") + "." + &["y"; 61].concat();
        let longest = longest.parse().expect("a domain name");
        write(&folder, &longest, &held()).expect("a file");
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_none() {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let folder = folder(spool.path());
        let domain = "client.example".parse().expect("a domain name");
        write(&folder, &domain, &held()).expect("a file");
        let file = folder.join("client.example");
        let whole = fs::read(&file).expect("a file");
        for cut in 0..whole.len() {
            fs::write(&file, &whole[..cut]).expect("a file");
            assert!(read(&folder, &domain).is_err(), "{cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).expect("a file");
            // A sum in capitals is the same.
            assert!(read(&folder, &domain).map_or(true, |read| read == held()), "bit {bit}");
        }
        fs::write(&file, [&whole[..], b"+more\n"].concat()).expect("a file");
        assert!(read(&folder, &domain).is_err(), "it is longer");
    }
}
