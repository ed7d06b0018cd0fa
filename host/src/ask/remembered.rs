//! What hosts said of their recipients, so many of them at most.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Found;
use crate::config::{Ask, Endpoint};

/// What was learnt so much later than now was learnt by a clock that was wrong.
const AHEAD: u64 = 24 * 60 * 60;

/// What a host said of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// There is such a mailbox.
    pub exists: bool,
    /// When it was said, in seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: u64,
    /// A checksum of the host's name: what another one said does not count.
    pub(super) host: u32,
}

impl Said {
    /// Whether it was said in the last `time` before `now`.
    const fn is_within(self, time: Duration, now: u64) -> bool {
        let is_past = self.unix_seconds <= now.saturating_add(AHEAD);
        is_past && now.saturating_sub(self.unix_seconds) < time.as_secs()
    }
}

/// What `host` is known by.
pub(super) fn sum_of(host: &Endpoint) -> u32 {
    crc32c::crc32c(host.to_string().as_bytes())
}

/// Addresses, as they are compared, and what was said of each last.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Those that exist, and those that do not, in the order in which it was said.
    existing: BTreeMap<u64, Arc<[u8]>>,
    unknown: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    said: Said,
    /// Its key in `existing` or `unknown`.
    nth: u64,
}

impl Remembered {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn of(&self, address: &[u8]) -> Option<Said> {
        self.entries.get(address).map(|entry| entry.said)
    }

    /// What is known of `address` by `host` now, and whether half of its time is over.
    pub(super) fn known(
        &self,
        (address, host): (&[u8], &Endpoint),
        settings: &Ask,
        now: u64,
    ) -> (Found, bool) {
        match self.of(address).filter(|said| said.host == sum_of(host)) {
            Some(said) if said.exists && said.is_within(settings.yes, now) => {
                (Found::Exists, !said.is_within(settings.yes / 2, now))
            }
            Some(said) if !said.exists && said.is_within(settings.no, now) => {
                (Found::Unknown, false)
            }
            _ => (Found::Nothing, false),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Said)> {
        self.entries.iter().map(|(address, entry)| (&**address, entry.said))
    }

    /// Remembers what was said of `address`, one of `most` at most. What was said first of those
    /// that do not exist makes place, then, for one that does, what was said first of those.
    /// Whether it is remembered.
    pub(super) fn learn(&mut self, address: &[u8], said: Said, most: usize) -> bool {
        self.remove(address);
        while self.entries.len() >= most {
            let first = match (self.unknown.first_key_value(), self.existing.first_key_value()) {
                (Some((_, first)), _) => first,
                (None, Some((_, first))) if said.exists => first,
                _ => return false,
            };
            self.remove(&Arc::clone(first));
        }
        let (address, nth): (Arc<[u8]>, _) = (address.into(), self.next);
        self.next += 1;
        self.ordered(said.exists).insert(nth, Arc::clone(&address));
        self.entries.insert(address, Entry { said, nth });
        true
    }

    /// Forgets the addresses that `is` says; how many there were.
    pub(super) fn forget(&mut self, is: impl Fn(&[u8]) -> bool) -> usize {
        let addresses = self.entries.keys().filter(|address| is(address));
        let addresses: Vec<_> = addresses.cloned().collect();
        addresses.iter().for_each(|address| self.remove(address));
        addresses.len()
    }

    fn remove(&mut self, address: &[u8]) {
        if let Some(Entry { said, nth }) = self.entries.remove(address) {
            self.ordered(said.exists).remove(&nth);
        }
    }

    fn ordered(&mut self, exists: bool) -> &mut BTreeMap<u64, Arc<[u8]>> {
        if exists { &mut self.existing } else { &mut self.unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn said(exists: bool, unix_seconds: u64) -> Said {
        Said { exists, unix_seconds, host: 7 }
    }

    fn all(remembered: &Remembered) -> Vec<String> {
        let mut all: Vec<_> =
            remembered.iter().map(|(address, _)| String::from_utf8_lossy(address).into()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_does_not_exist_makes_place_and_never_takes_it() {
        let mut remembered = Remembered::default();
        for (nth, (address, exists)) in
            [("a", true), ("b", false), ("c", true), ("d", false)].into_iter().enumerate()
        {
            assert!(remembered.learn(address.as_bytes(), said(exists, nth as u64), 4));
        }
        assert!(remembered.learn(b"e", said(false, 4), 4), "for another that does not");
        assert_eq!(all(&remembered), ["a", "c", "d", "e"]);
        assert!(remembered.learn(b"f", said(true, 5), 4));
        assert!(remembered.learn(b"g", said(true, 6), 4));
        assert_eq!(all(&remembered), ["a", "c", "f", "g"]);
        assert!(!remembered.learn(b"h", said(false, 7), 4), "all of them exist");
        assert!(remembered.learn(b"h", said(true, 8), 4));
        assert_eq!(all(&remembered), ["c", "f", "g", "h"], "the first of them went");
    }

    #[test]
    fn what_is_said_again_counts_from_then_on() {
        let mut remembered = Remembered::default();
        for address in ["a", "b"] {
            remembered.learn(address.as_bytes(), said(true, 0), 2);
        }
        remembered.learn(b"a", said(true, 1), 2);
        remembered.learn(b"c", said(true, 2), 2);
        assert_eq!(all(&remembered), ["a", "c"]);
        remembered.learn(b"a", said(false, 3), 2);
        assert_eq!(remembered.of(b"a"), Some(said(false, 3)), "it has gone");
        assert_eq!(remembered.forget(|address| address == b"a"), 1);
        assert_eq!((remembered.of(b"a"), remembered.len()), (None, 1));
        assert_eq!(remembered.existing.len() + remembered.unknown.len(), 1);
    }

    #[test]
    fn what_a_wrong_clock_wrote_does_not_last() {
        let week = Duration::from_secs(7 * 86_400);
        let now = 1_795_306_665;
        assert!(said(true, now).is_within(week, now));
        assert!(said(true, now + 3600).is_within(week, now), "it was set back a little");
        assert!(!said(true, now + 31_536_000).is_within(week, now), "it was a year ahead");
        assert!(!said(true, now - 7 * 86_400).is_within(week, now));
        assert!(!said(true, now).is_within(week, now + 31_536_000));
    }
}
