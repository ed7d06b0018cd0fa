//! One domain's list: the one that is used, who has vanished from it, and one that waits.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use super::entries::{ALL, ENTRIES_MAX, Entries};
use crate::ask::Found;
use crate::config::{Subaddress, is_postmaster};

/// How long senders to an address that has vanished are told to come again, in seconds.
pub(super) const VANISHED_FOR: u64 = 24 * 60 * 60;

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
    /// By which it is told from another.
    pub sum: u32,
}

/// What came of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is used.
    Used(Used),
    /// It waits for a person, and why.
    Waits(String),
}

/// What a list is that is used, beside the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// How many addresses it has.
    pub addresses: usize,
    /// How many of these the one before had not.
    pub new: usize,
    /// How many the one before had and it has not.
    pub vanished: usize,
}

/// When it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since 1970-01-01T00:00:00Z, as it is shown.
    pub(super) unix_seconds: u64,
    /// By the monotonic clock: no time of day that jumps makes an address unknown.
    pub(super) seconds: u64,
}

/// One domain's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) good: Option<Good>,
    /// Who was on it, and until when senders to him are told to come again, in seconds of the
    /// monotonic clock.
    pub(super) vanished: Arc<HashMap<Box<[u8]>, u64>>,
    pub(super) waiting: Option<Waiting>,
    /// Why the one that there was is lost, until another is accepted.
    pub(super) lost: Option<String>,
}

impl Held {
    /// What it says of `local`, as it is compared; an address stands for its subaddresses.
    pub(super) fn about(&self, local: &[u8], subaddress: &Subaddress, seconds: u64) -> Found {
        let is_routed = local.iter().any(|octet| b"@%!".contains(octet));
        let base = subaddress.base(local).filter(|base| !is_routed && !base.is_empty());
        if base.is_some_and(is_postmaster) {
            return Found::Exists;
        }
        let Some(good) = &self.good else { return Found::Nothing };
        let all = (!is_routed).then_some(ALL);
        let mut names = [Some(local), base, all].into_iter().flatten();
        let has = |name: &[u8]| good.entries.has(name);
        let has_vanished =
            |name: &[u8]| self.vanished.get(name).is_some_and(|until| seconds < *until);
        let waits =
            |name: &[u8]| self.waiting.as_ref().is_some_and(|waiting| waiting.entries.has(name));
        if local.is_empty() {
            // It would be taken for all.
            return Found::Unknown;
        }
        match () {
            () if names.clone().any(has) => Found::Exists,
            () if names.any(|name| has_vanished(name) || waits(name)) => Found::Nothing,
            () => Found::Unknown,
        }
    }

    /// Another list has come.
    pub(super) fn offer(&mut self, entries: Entries, origin: Origin, now: Now) -> Change {
        match self.implausible(&entries) {
            Some(why) => {
                let (sum, entries) = (entries.sum(), Arc::new(entries));
                self.waiting = Some(Waiting { entries, origin, why: why.clone(), sum });
                Change::Waits(why)
            }
            None => Change::Used(self.take(Arc::new(entries), origin, now)),
        }
    }

    /// The one that waits is used.
    pub(super) fn accept(&mut self, now: Now) -> Option<Used> {
        let Waiting { entries, origin, .. } = self.waiting.take()?;
        Some(self.take(entries, origin, now))
    }

    /// Why `entries` may be a part of the list, or another's.
    fn implausible(&self, entries: &Entries) -> Option<String> {
        if entries.is_empty() {
            return Some("it has no address of the domain".to_owned());
        }
        if self.lost.is_some() {
            return Some("the one that there was is lost".to_owned());
        }
        let good = &self.good.as_ref()?.entries;
        let (all, stay) = (good.len(), good.0.iter().filter(|name| entries.has(name)).count());
        if stay * 2 < all {
            return Some(format!("it has {stay} of the {all} addresses that there were"));
        }
        let vanished = self.vanished.len() + all - stay;
        let told = || format!("more than {ENTRIES_MAX} addresses would have vanished in a day");
        (vanished > ENTRIES_MAX).then(told)
    }

    fn take(&mut self, entries: Arc<Entries>, origin: Origin, now: Now) -> Used {
        let mut vanished = HashMap::clone(&self.vanished);
        let before = self.good.iter().flat_map(|good| &good.entries.0);
        vanished.extend(before.map(|name| (name.clone(), now.seconds + VANISHED_FOR)));
        vanished.retain(|name, until| !entries.has(name) && now.seconds < *until);
        self.vanished = Arc::new(vanished);
        self.waiting = None;
        self.lost = None;
        let before = self.good.as_ref().map(|good| &good.entries.0);
        let stay = before.map_or(0, |names| names.iter().filter(|name| entries.has(name)).count());
        let addresses = entries.len();
        let vanished = before.map_or(0, |names| names.len() - stay);
        let used = Used { addresses, new: addresses - stay, vanished };
        self.good = Some(Good { entries, origin, unix_seconds: now.unix_seconds });
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = VANISHED_FOR;

    fn entries(names: &[&str]) -> Entries {
        Entries(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    fn used(addresses: usize, new: usize, vanished: usize) -> Change {
        Change::Used(Used { addresses, new, vanished })
    }

    fn at(seconds: u64) -> Now {
        Now { unix_seconds: 1_795_306_665 + seconds, seconds }
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
        assert!(matches!(held.offer(entries(&[]), Origin::Fetched, at(0)), Change::Waits(_)));
        assert_eq!(about(&held, "info", 0), Found::Nothing, "it is not used");
    }

    #[test]
    fn a_name_stands_for_its_subaddresses_and_all_for_all_without_a_route() {
        let mut held = Held::default();
        held.offer(entries(&["info", "a+b", "x%y"]), Origin::Fetched, at(0));
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
        held.offer(entries(&["info", "a+b", ""]), Origin::Fetched, at(0));
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
    fn the_postmaster_has_subaddresses_without_a_list_too() {
        let mut held = Held::default();
        assert_eq!(about(&held, "postmaster+tag", 0), Found::Exists);
        held.offer(entries(&["info"]), Origin::Fetched, at(0));
        assert_eq!(about(&held, "postmaster+tag", 0), Found::Exists);
        assert_eq!(about(&held, "postmaster+x%evil.example", 0), Found::Unknown);
    }

    #[test]
    fn who_is_new_on_a_list_that_waits_is_told_to_come_again() {
        let mut held = Held::default();
        held.offer(entries(&["a", "b", "c"]), Origin::Fetched, at(0));
        held.offer(entries(&["a", "new"]), Origin::Fetched, at(1));
        assert_eq!(about(&held, "new", 1), Found::Nothing);
        assert_eq!(about(&held, "new+tag", 1), Found::Nothing);
        assert_eq!(about(&held, "x", 1), Found::Unknown);
    }

    #[test]
    fn half_of_the_list_must_stay_and_a_person_decides_otherwise() {
        let mut held = Held::default();
        assert_eq!(
            held.offer(entries(&["a", "b", "c", "d"]), Origin::Fetched, at(0)),
            used(4, 4, 0)
        );
        assert_eq!(held.offer(entries(&["a", "b", "x"]), Origin::Fetched, at(1)), used(3, 1, 2));
        let other = entries(&["a", "y", "z", "w", "v"]);
        let waits = held.offer(other, Origin::Fetched, at(2));
        let why = "it has 1 of the 3 addresses that there were".to_owned();
        assert_eq!(waits, Change::Waits(why));
        assert_eq!(about(&held, "x", 2), Found::Exists);
        assert_eq!(held.accept(at(3)).map(|used| used.addresses), Some(5));
        assert_eq!((about(&held, "y", 3), held.accept(at(3))), (Found::Exists, None));
        assert!(matches!(held.offer(entries(&["q"]), Origin::Fetched, at(4)), Change::Waits(_)));
        let again = entries(&["a", "y", "z", "w", "v"]);
        assert_eq!(held.offer(again, Origin::Fetched, at(5)), used(5, 0, 0));
        assert_eq!(held.accept(at(6)), None, "what waited is older than what came");
    }

    #[test]
    fn who_has_vanished_is_told_to_come_again_for_a_day() {
        let mut held = Held::default();
        held.offer(entries(&["a", "b"]), Origin::Fetched, at(0));
        held.offer(entries(&["a"]), Origin::Fetched, at(100));
        assert_eq!(about(&held, "b", 100), Found::Nothing);
        assert_eq!(about(&held, "b+tag", 100), Found::Nothing);
        held.offer(entries(&["a"]), Origin::Fetched, at(200));
        assert_eq!(about(&held, "b", 99 + DAY), Found::Nothing);
        assert_eq!(about(&held, "b", 100 + DAY), Found::Unknown, "not a day from the last fetch");
        held.offer(entries(&["a", "b"]), Origin::Fetched, at(300));
        assert_eq!(about(&held, "b", 300), Found::Exists);
        held.offer(entries(&["a", ""]), Origin::Fetched, at(400));
        held.offer(entries(&["a"]), Origin::Fetched, at(500));
        assert_eq!(about(&held, "whoever", 500), Found::Nothing, "all have vanished");
        held.offer(entries(&["a"]), Origin::Fetched, at(500 + DAY));
        assert_eq!((about(&held, "whoever", 501), held.vanished.len()), (Found::Unknown, 0));
    }
}
