//! A domain's list on the disk: the last good one, who has vanished from it, and one that waits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entries::Entries;
use super::held::{Good, Held, Origin, VANISHED_FOR, Waiting};
use crate::config::DomainName;

/// The folder's name in the spool's, which has a file for each domain.
const FOLDER: &str = "lists";
/// What is being written. No domain is called so.
const UNFINISHED: &str = ".unfinished";
/// The folder's name in it that has the files which can't be used.
const LOST: &str = ".lost";
/// What the first line begins with. Another is of another version.
const HEAD: &str = "postern-list 1 ";

pub(super) fn folder(spool: &Path) -> PathBuf {
    spool.join(FOLDER)
}

/// The list of `domain`; an empty one where there is no file. One that can't be used is put aside.
/// It is `seconds` by the monotonic clock.
pub(super) fn read(folder: &Path, domain: &DomainName, seconds: u64) -> io::Result<Held> {
    let (path, aside) = (folder.join(domain.as_str()), folder.join(LOST).join(domain.as_str()));
    let read = match fs::read(&path) {
        Ok(octets) => parse(&octets, seconds)
            .ok_or_else(|| io::Error::other("its file is cut short, or was changed")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Held::default()),
        Err(error) => Err(error),
    };
    match read {
        Ok(held) if held.good.is_none() && aside.try_exists()? => {
            // Another start than this one found it so.
            Ok(Held { lost: Some(format!("it is kept in {}", aside.display())), ..held })
        }
        Err(error) => {
            put_aside(&path, &aside)?;
            Err(io::Error::other(format!("{error}; it is kept in {}", aside.display())))
        }
        held => held,
    }
}

fn put_aside(path: &Path, aside: &Path) -> io::Result<()> {
    let folder = aside.parent().expect("it is in a folder");
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::rename(path, aside)?;
    File::open(folder)?.sync_all()
}

/// Writes the list of `domain`: the file is the old one or the new one, wherever the power is cut.
/// It is `seconds` by the monotonic clock.
pub(super) fn write(
    folder: &Path,
    domain: &DomainName,
    held: &Held,
    seconds: u64,
) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = folder.join(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text(held, seconds).as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(domain.as_str()))?;
    File::open(folder)?.sync_all()
}

fn text(held: &Held, seconds: u64) -> String {
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
    for (name, until) in &*held.vanished {
        // No clock goes on while the machine is off: what is left counts from the next start.
        let left = until.saturating_sub(seconds);
        lines.extend(str::from_utf8(name).map(|name| format!("-{left} {name}")));
    }
    if let Some(Waiting { entries, origin, why, .. }) = &held.waiting {
        lines.push(format!("waits {origin} {why}"));
        names(&mut lines, '?', entries);
    }
    let mut body = String::new();
    for line in lines {
        writeln!(body, "{line}").expect("writing to a String does not fail");
    }
    format!("{HEAD}{:08x} {}\n{body}", crc32c::crc32c(body.as_bytes()), body.len())
}

fn parse(octets: &[u8], seconds: u64) -> Option<Held> {
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
                let (left, name) = rest.split_once(' ')?;
                let left = left.parse::<u64>().ok()?.min(VANISHED_FOR);
                vanished.insert(name.as_bytes().into(), seconds + left);
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
    let sum = waits.sum();
    let (entries, waits) = (Arc::new(entries), Arc::new(waits));
    Some(Held {
        good: good.map(|(origin, unix_seconds)| Good { entries, origin, unix_seconds }),
        vanished: Arc::new(vanished),
        waiting: waiting.map(|(origin, why)| Waiting { entries: waits, origin, why, sum }),
        lost: None,
    })
}

fn origin_of(word: &str) -> Option<Origin> {
    [Origin::Fetched, Origin::Imported].into_iter().find(|origin| origin.to_string() == word)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::held::Now;
    use super::*;

    /// When the tests read and write.
    const NOW: u64 = 20;

    fn at(seconds: u64) -> Now {
        Now { unix_seconds: 1_795_306_665 + seconds, seconds }
    }

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    fn held() -> Held {
        let mut held = Held::default();
        held.offer(entries(&["info", "john doe", "-1 x", "good a b"]), Origin::Fetched, at(17));
        held.offer(entries(&["info", "john doe", "", "\u{fc}", "+"]), Origin::Imported, at(18));
        held.offer(entries(&["x"]), Origin::Fetched, at(19));
        assert!(held.good.is_some() && held.waiting.is_some() && !held.vanished.is_empty());
        held
    }

    #[test]
    fn what_is_written_is_read_by_nobody_else() {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let folder = folder(spool.path());
        let domain = "client.example".parse().expect("a domain name");
        assert_eq!(read(&folder, &domain, NOW).expect("none"), Held::default());
        write(&folder, &domain, &held(), NOW).expect("a file");
        assert_eq!(read(&folder, &domain, NOW).expect("a file"), held());
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&folder) & 0o777, 0o700);
        assert_eq!(mode(&folder.join("client.example")) & 0o777, 0o600);
        let names = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(names, 1, "nothing is left behind");
        let longest = [["x"; 63].concat().as_str(); 3].join(".") + "." + &["y"; 61].concat();
        let longest = longest.parse().expect("a domain name");
        write(&folder, &longest, &held(), NOW).expect("a file");
    }

    #[test]
    fn what_is_left_of_the_day_counts_from_the_next_start() {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let folder = folder(spool.path());
        let domain = "client.example".parse().expect("a domain name");
        let mut held = Held::default();
        held.offer(entries(&["a", "b"]), Origin::Fetched, at(50));
        held.offer(entries(&["a"]), Origin::Fetched, at(50));
        write(&folder, &domain, &held, 50 + VANISHED_FOR - 7).expect("a file");
        let until = |held: Held| held.vanished.values().copied().collect::<Vec<_>>();
        assert_eq!(until(read(&folder, &domain, 3).expect("a file")), [10]);
        // Of a version that wrote the time of day.
        let old = parse(text(&held, 0).as_bytes(), 0).expect("it is whole");
        assert_eq!(until(old), [VANISHED_FOR]);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_none() {
        let spool = tempfile::tempdir().expect("a temporary folder");
        let folder = folder(spool.path());
        let domain = "client.example".parse().expect("a domain name");
        write(&folder, &domain, &held(), NOW).expect("a file");
        let file = folder.join("client.example");
        let whole = fs::read(&file).expect("a file");
        for cut in 0..whole.len() {
            fs::write(&file, &whole[..cut]).expect("a file");
            assert!(read(&folder, &domain, NOW).is_err(), "{cut}");
            let aside = fs::read(folder.join(LOST).join("client.example")).expect("it is kept");
            assert!(aside == whole[..cut] && !file.exists());
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A sum in capitals is the same.
            assert!(parse(&flipped, NOW).is_none_or(|read| read == held()), "bit {bit}");
        }
        fs::write(&file, [&whole[..], b"+more\n"].concat()).expect("a file");
        assert!(read(&folder, &domain, NOW).is_err(), "it is longer");
    }
}
