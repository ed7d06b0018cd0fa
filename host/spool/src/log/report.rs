//! What was found not to be as it was written, at a start or since.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use crate::{Domain, MsgId};

/// What a recovery or a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages held.
    pub messages: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Segments read.
    pub segments: u64,
    /// What was not as it should be, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether something that was durable once cannot be read.
    pub fn has_damage(&self) -> bool {
        self.damage().next().is_some()
    }

    /// What was durable once and cannot be read.
    pub fn damage(&self) -> impl Iterator<Item = &Damage> {
        self.findings.iter().filter_map(|finding| match finding {
            Finding::Damaged(damage) => Some(damage),
            _ => None,
        })
    }
}

/// One thing that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Bytes of the log's end that were not finished when the last run was killed. No message
    /// that was answered with 250 is in them, unless the disk is damaged besides. They are cut off
    /// and kept in the quarantine. So is all of an index file that is not right and whose segment
    /// is missing.
    Torn {
        /// The segment's file, or the index file.
        file: String,
        /// Where they begin.
        offset: u64,
        /// How many there are.
        octets: u64,
    },
    /// Something that was durable once cannot be read. The file is kept, in the quarantine once
    /// nothing else in it is needed.
    Damaged(Damage),
    /// Files of messages that were not answered with 250. They are removed; bodies only where
    /// nothing is damaged.
    Unfinished {
        /// The folder.
        folder: String,
        /// How many.
        files: u64,
    },
    /// A folder that is not there, as in a copy by a tool that drops empty ones. It counts as
    /// empty, and a start makes it.
    Missing {
        /// The folder.
        folder: String,
    },
    /// Something that is not the spool's, and is left alone.
    Stray {
        /// Its name in the spool's folder.
        name: String,
    },
    /// Segments that an older version wrote. They are read as they are, and written anew while the
    /// server runs, one after the other, as long as the disk has space for it.
    Old {
        /// How many.
        segments: u64,
    },
    /// No space could be set aside for the records of what becomes of held mail: nothing is
    /// delivered before the disk has space again.
    NoReserve,
}

/// Something that was durable once and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Damage {
    /// The file, by its name in the spool's folder.
    pub file: String,
    /// Which bytes of it; none: all.
    pub range: Option<Range<u64>>,
    /// What is wrong.
    pub what: String,
    /// The message, if that is known.
    pub id: Option<MsgId>,
    /// The domains that the message is for, or whose record it is, where they are known.
    pub domains: Vec<Domain>,
    /// The message is still listed: a person can export what is left of it, and remove it.
    pub is_held: bool,
}

impl Damage {
    /// Of a file as a whole.
    pub fn of_file(file: &str, what: impl fmt::Display) -> Self {
        let (file, what) = (file.to_owned(), what.to_string());
        Self { file, range: None, what, id: None, domains: Vec::new(), is_held: false }
    }

    /// The message without which nobody need know of it any more.
    fn held_message(&self) -> Option<MsgId> {
        self.id.filter(|_| self.is_held)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(Range { start, end }) = &self.range {
            write!(f, "bytes {start} to {end}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(id) = &self.id {
            write!(f, ", message {id}")?;
        }
        for (number, domain) in self.domains.iter().enumerate() {
            f.write_str(if number == 0 { ", for " } else { ", " })?;
            write!(f, "{domain}")?;
        }
        f.write_str("; the file is kept")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { file, offset, octets } => write!(
                f,
                "{file}: {octets} bytes from {offset} on were never finished: cut off by the \
                 start and kept in the quarantine; if the disk is damaged besides, mail that was \
                 answered may be in them"
            ),
            Self::Damaged(damage) => damage.fmt(f),
            Self::Unfinished { folder, files } => {
                write!(f, "{folder}: {files} files of messages that were never finished")
            }
            Self::Missing { folder } => {
                write!(
                    f,
                    "{folder}: no such folder; it counts as empty, and the next start makes it"
                )
            }
            Self::Stray { name } => write!(f, "{name}: nothing that the spool knows; left alone"),
            Self::Old { segments } => write!(
                f,
                "{segments} segments that an older version wrote: they are written anew while the \
                 server runs, as long as the disk has space for it"
            ),
            Self::NoReserve => f.write_str(
                "no space is left to record what becomes of held mail: nothing is delivered \
                 before there is",
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, body_bytes, segments, .. } = self;
        write!(f, "{messages} messages of {body_bytes} bytes in {segments} segments")?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

/// The damage that is known while the spool is open.
#[derive(Debug, Default)]
pub struct DamageLog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    first: Vec<Damage>,
    /// Of those beyond: what tells each from all others, and the message that it is about as long
    /// as that is held.
    others: HashMap<u64, Option<MsgId>>,
    hasher: RandomState,
}

/// Damage, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damages {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Damage>,
}

impl DamageLog {
    /// Of more it is not kept what they are.
    pub const MOST: usize = 256;

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no holder panics")
    }

    /// Adds what was found; false when it is known already.
    pub fn add(&self, damage: &Damage) -> bool {
        let mut known = self.known();
        let hash = known.hasher.hash_one(damage);
        if known.first.contains(damage) || known.others.contains_key(&hash) {
            return false;
        }
        if known.first.len() < Self::MOST {
            known.first.push(damage.clone());
        } else {
            known.others.insert(hash, damage.held_message());
        }
        true
    }

    /// What is known, less the messages that are held no more.
    pub fn list(&self, is_held: impl Fn(MsgId) -> bool) -> Damages {
        let mut known = self.known();
        known.first.retain(|damage| damage.held_message().is_none_or(&is_held));
        known.others.retain(|_, id| id.is_none_or(&is_held));
        let count = (known.first.len() + known.others.len()) as u64;
        Damages { count, first: known.first.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk may lose thousands of messages at once, and each is met again and again.
    #[test]
    fn what_is_beyond_the_first_is_counted_once_and_no_longer_than_it_is_held() {
        let log = DamageLog::default();
        let damages = (0..3 * DamageLog::MOST).map(|number| {
            let id = (number % 3 > 0).then(MsgId::now);
            let is_held = number % 3 == 1;
            Damage { id, is_held, ..Damage::of_file(&format!("{number}.log"), "is missing") }
        });
        let damages: Vec<_> = damages.collect();
        for is_new in [true, false, false] {
            assert!(damages.iter().all(|damage| log.add(damage) == is_new));
        }
        let all = log.list(|_| true);
        assert_eq!((all.count, all.first.len()), (damages.len() as u64, DamageLog::MOST));
        let left = log.list(|_| false);
        assert_eq!(left.count, 2 * DamageLog::MOST as u64);
        assert!(left.first.iter().all(|damage| !damage.is_held));
        assert_eq!(log.list(|_| true).count, left.count, "they stay away");
    }
}
