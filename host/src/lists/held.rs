//! One domain's list: the one that is used, who has vanished from it, and one that waits.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use super::entries::{ALL, Entries};
use crate::ask::Found;
use crate::config::Subaddress;

/// How long senders to an address that has vanished are told to come again, in seconds.
const VANISHED_FOR: u64 = 24 * 60 * 60;

/// Where a list came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By HTTP.
    Fetched,
    /// From a person, or a timer of his.
    Imported,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetched => "fetched",
            Self::Imported => "imported",
        })
    }
}

/// A list that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// Whom it has.
    pub entries: Arc<Entries>,
    /// Where it came from.
    pub origin: Origin,
    /// When it came last, in seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: u64,
}

/// A list that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whom it has.
    pub entries: Arc<Entries>,
    /// Where it came from.
    pub origin: Origin,
    /// Why it waits.
    pub why: String,
}

/// What came of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is used: how many addresses it has.
    Used(usize),
    /// It waits for a person, and why.
    Waits(String),
}

/// One domain's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) good: Option<Good>,
    /// Who was on it, and when that was found not to be so any more.
    pub(super) vanished: Arc<HashMap<Box<[u8]>, u64>>,
    pub(super) waiting: Option<Waiting>,
}

impl Held {
    /// What it says of `local`, as it is compared; an address stands for its subaddresses.
    pub(super) fn about(&self, local: &[u8], subaddress: &Subaddress, now: u64) -> Found {
        let Some(good) = &self.good else { return Found::Nothing };
        let is_routed = local.iter().any(|octet| b"@%!".contains(octet));
        let base = subaddress.base(local).filter(|base| !is_routed && !base.is_empty());
        let all = (!is_routed).then_some(ALL);
        let mut names = [Some(local), base, all].into_iter().flatten();
        let has = |name: &[u8]| good.entries.has(name);
        let has_vanished = |name: &[u8]| {
            let since = self.vanished.get(name);
            // A clock that was set back a little makes nobody unknown.
            since.is_some_and(|since| now.saturating_sub(*since) < VANISHED_FOR)
        };
        if local.is_empty() {
            // It would be taken for all.
            return Found::Unknown;
        }
        match () {
            () if names.clone().any(has) => Found::Exists,
            () if names.any(has_vanished) => Found::Nothing,
            () => Found::Unknown,
        }
    }

    /// Another list has come.
    pub(super) fn offer(&mut self, entries: Entries, origin: Origin, now: u64) -> Change {
        match self.implausible(&entries) {
            Some(why) => {
                let entries = Arc::new(entries);
                self.waiting = Some(Waiting { entries, origin, why: why.clone() });
                Change::Waits(why)
            }
            None => Change::Used(self.take(Arc::new(entries), origin, now)),
        }
    }

    /// The one that waits is used; how many addresses it has.
    pub(super) fn accept(&mut self, now: u64) -> Option<usize> {
        let Waiting { entries, origin, .. } = self.waiting.take()?;
        Some(self.take(entries, origin, now))
    }

    /// Why `entries` may be a part of the list, or another's.
    fn implausible(&self, entries: &Entries) -> Option<String> {
        if entries.is_empty() {
            return Some("it has no address of the domain".to_owned());
        }
        let good = &self.good.as_ref()?.entries;
        let (all, stay) = (good.len(), good.0.iter().filter(|name| entries.has(name)).count());
        (stay * 2 < all).then(|| format!("it has {stay} of the {all} addresses that there were"))
    }

    fn take(&mut self, entries: Arc<Entries>, origin: Origin, now: u64) -> usize {
        let mut vanished = HashMap::clone(&self.vanished);
        let before = self.good.iter().flat_map(|good| &good.entries.0);
        vanished.extend(before.map(|name| (name.clone(), now)));
        vanished.retain(|name, since| {
            // By a clock that was ahead, it would be for ever.
            *since = now.min(*since);
            !entries.has(name) && now - *since < VANISHED_FOR
        });
        self.vanished = Arc::new(vanished);
        self.waiting = None;
        let addresses = entries.len();
        self.good = Some(Good { entries, origin, unix_seconds: now });
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = VANISHED_FOR;

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    fn about(held: &Held, local: &str, now: u64) -> Found {
        let config = "[hold.\"a.example\"]\nrecipients = \"any\"\ndeliver_to = \"b.example:25\"\n";
        let path = std::path::Path::new("postern.toml");
        let config = crate::config::Config::parse(path, config).expect("it is sound");
        let plus = &config.hold.values().next().expect("one").subaddress;
        held.about(local.as_bytes(), plus, now)
    }

    #[test]
    fn nothing_is_known_without_a_list() {
        assert_eq!(about(&Held::default(), "info", 0), Found::Nothing);
        let mut held = Held::default();
        assert!(matches!(held.offer(entries(&[]), Origin::Fetched, 0), Change::Waits(_)));
        assert_eq!(about(&held, "info", 0), Found::Nothing, "it is not used");
    }

    #[test]
    fn a_name_stands_for_its_subaddresses_and_all_for_all_without_a_route() {
        let mut held = Held::default();
        held.offer(entries(&["info", "a+b", "x%y"]), Origin::Fetched, 0);
        for (local, found) in [
            ("info", Found::Exists),
            ("info+tag", Found::Exists),
            ("a+b", Found::Exists),
            ("a", Found::Unknown),
            ("", Found::Unknown),
            ("+info", Found::Unknown),
            ("x%y", Found::Exists),
            ("info+x%evil.example", Found::Unknown),
        ] {
            assert_eq!(about(&held, local, 0), found, "{local}");
        }
        held.offer(entries(&["info", "a+b", ""]), Origin::Fetched, 0);
        for (local, found) in [
            ("whoever", Found::Exists),
            ("+info", Found::Exists),
            ("", Found::Unknown),
            ("victim%evil.example", Found::Unknown),
            ("evil.example!victim", Found::Unknown),
        ] {
            assert_eq!(about(&held, local, 0), found, "{local}");
        }
    }

    #[test]
    fn half_of_the_list_must_stay_and_a_person_decides_otherwise() {
        let mut held = Held::default();
        assert_eq!(held.offer(entries(&["a", "b", "c", "d"]), Origin::Fetched, 0), Change::Used(4));
        assert_eq!(held.offer(entries(&["a", "b", "x"]), Origin::Fetched, 1), Change::Used(3));
        let other = entries(&["a", "y", "z", "w", "v"]);
        let waits = held.offer(other, Origin::Fetched, 2);
        let why = "it has 1 of the 3 addresses that there were".to_owned();
        assert_eq!(waits, Change::Waits(why));
        assert_eq!(about(&held, "x", 2), Found::Exists);
        assert_eq!(held.accept(3), Some(5));
        assert_eq!((about(&held, "y", 3), held.accept(3)), (Found::Exists, None));
        assert!(matches!(held.offer(entries(&["q"]), Origin::Fetched, 4), Change::Waits(_)));
        let again = entries(&["a", "y", "z", "w", "v"]);
        assert_eq!(held.offer(again, Origin::Fetched, 5), Change::Used(5));
        assert_eq!(held.accept(6), None, "what waited is older than what came");
    }

    #[test]
    fn who_has_vanished_is_told_to_come_again_for_a_day() {
        let mut held = Held::default();
        held.offer(entries(&["a", "b"]), Origin::Fetched, 0);
        held.offer(entries(&["a"]), Origin::Fetched, 100);
        assert_eq!(about(&held, "b", 100), Found::Nothing);
        assert_eq!(about(&held, "b", 97), Found::Nothing, "the clock was set back");
        assert_eq!(about(&held, "b+tag", 100), Found::Nothing);
        held.offer(entries(&["a"]), Origin::Fetched, 200);
        assert_eq!(about(&held, "b", 99 + DAY), Found::Nothing);
        assert_eq!(about(&held, "b", 100 + DAY), Found::Unknown, "not a day from the last fetch");
        held.offer(entries(&["a", "b"]), Origin::Fetched, 300);
        assert_eq!(about(&held, "b", 300), Found::Exists);
        held.offer(entries(&["a", ""]), Origin::Fetched, 400);
        held.offer(entries(&["a"]), Origin::Fetched, 500);
        assert_eq!(about(&held, "whoever", 500), Found::Nothing, "all have vanished");
        held.offer(entries(&["a"]), Origin::Fetched, 500 + DAY);
        assert_eq!((about(&held, "whoever", 501), held.vanished.len()), (Found::Unknown, 0));
    }
}
