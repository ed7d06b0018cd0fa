//! The meta parts of the records that are no puts. Each begins with a number of 8 bytes and a
//! domain's name (2 bytes of length, then the name).
//!
//! | Bytes | After the number (of the segment that has the put) and the name, a done has |
//! | --- | --- |
//! | 0 | nothing more |
//!
//! | Bytes | After the number (until when the item is put off) and the name, a state has |
//! | --- | --- |
//! | 8 | its stamp: it is put off only while no release of the domain has a later one |
//! | 8 | the time at which it was put off |
//! | 1 | flags: 1 held by a person |
//! | | a record for each recipient of the item, in core's format |
//!
//! | Bytes | After the number (until when the domain is put off) and the name, a domain has |
//! | --- | --- |
//! | 8 | the stamp of its last release: its epoch |
//! | 8 | the time at which it was put off |
//! | 4, 4 | segment and offset: puts before that location were tried; all ones: this record's |
//! | 1 | flags: 1 asked for, 2 held by a person, 4 suspended, 8 host away |
//! | 2 | length of the reason |
//! | | the reason for its last put-off |
//!
//! Times are seconds since 1970-01-01T00:00:00Z; a number of 0 is no put-off, and one of all ones a
//! put-off until the next release. Of version 1, a state has only the recipients, a domain nothing
//! more, and 9999-12-31T23:59:59Z is a put-off until the next release.

use postern_core::envelope::{Recipient as StoredRecipient, Record as Stored};

use super::record::{Header, Kind, NO_ID, RECORD_HEAD};
use crate::{Domain, MsgId};

/// Until a release.
pub const UNTIL_ASKED: u64 = u64::MAX;
/// As version 1 wrote it.
const OLD_UNTIL_ASKED: u64 = 253_402_300_799;

const HELD: u8 = 1;
const ASKED: u8 = 1;
const DOMAIN_HELD: u8 = 2;
const SUSPENDED: u8 = 4;
const AWAY: u8 = 8;
const UNROUTED: u8 = 16;

/// Until when something is put off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOff {
    /// In seconds since 1970-01-01T00:00:00Z; 0: it is not; or [`UNTIL_ASKED`].
    pub until: u64,
    /// When it was put off.
    pub from: u64,
}

/// The number and the name that every meta part begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// By the record's kind.
    pub number: u64,
    /// The domain.
    pub domain: Domain,
    /// What follows.
    pub rest: &'a [u8],
}

impl<'a> Named<'a> {
    /// The meta part that `meta` is.
    pub fn parse(meta: &'a [u8]) -> Option<Self> {
        let (number, rest) = meta.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let domain = Domain::new(std::str::from_utf8(name).ok()?);
        Some(Self { number: u64::from_le_bytes(*number), domain, rest })
    }

    fn record(number: u64, domain: &Domain, room: usize) -> Vec<u8> {
        let name = domain.as_str().as_bytes();
        let length = u16::try_from(name.len()).expect("core bounds every path");
        let mut record = Vec::with_capacity(RECORD_HEAD + 10 + name.len() + room);
        record.resize(RECORD_HEAD, 0);
        record.extend_from_slice(&number.to_le_bytes());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(name);
        record
    }
}

/// The record that ends the item of `domain` whose put is in `segment`, its head to be filled in.
pub fn done(segment: u32, domain: &Domain, id: MsgId) -> (Header, Vec<u8>) {
    let bytes = Named::record(segment.into(), domain, 0);
    (Header::of_meta(Kind::Done, id, bytes.len() - RECORD_HEAD), bytes)
}

/// What a state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemState<'a> {
    /// The domain.
    pub domain: Domain,
    /// Until when the item is put off.
    pub put_off: PutOff,
    /// Its stamp.
    pub stamp: u64,
    /// Whether a person holds it back.
    pub held: bool,
    /// The recipients' records.
    pub recipients: &'a [u8],
}

impl<'a> ItemState<'a> {
    /// What a state of this kind says.
    pub fn parse(kind: Kind, meta: &'a [u8]) -> Option<Self> {
        let Named { number, domain, rest } = Named::parse(meta)?;
        if kind == Kind::OldState {
            let put_off = PutOff { until: modern(number), from: 0 };
            return Some(Self { domain, put_off, stamp: 0, held: false, recipients: rest });
        }
        let (stamp, rest) = rest.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let ([flags], recipients) = rest.split_first_chunk()?;
        Some(Self {
            domain,
            put_off: PutOff { until: number, from: u64::from_le_bytes(*from) },
            stamp: u64::from_le_bytes(*stamp),
            held: flags & HELD != 0,
            recipients,
        })
    }

    /// The record that says so, its head to be filled in.
    pub fn record(&self, id: MsgId) -> (Header, Vec<u8>) {
        let mut record =
            Named::record(self.put_off.until, &self.domain, 17 + self.recipients.len());
        record.extend_from_slice(&self.stamp.to_le_bytes());
        record.extend_from_slice(&self.put_off.from.to_le_bytes());
        record.push(if self.held { HELD } else { 0 });
        record.extend_from_slice(self.recipients);
        (Header::of_meta(Kind::State, id, record.len() - RECORD_HEAD), record)
    }

    /// The recipients.
    pub fn recipients(&self) -> impl Iterator<Item = StoredRecipient<'a>> {
        let mut rest = self.recipients;
        std::iter::from_fn(move || {
            let Ok((Stored::Recipient(recipient), after)) = Stored::take(rest) else { return None };
            rest = after;
            Some(recipient)
        })
    }
}

/// Which puts were tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tried {
    /// None.
    #[default]
    None,
    /// Those before the record that says so.
    Here,
    /// Those before this location: segment, and offset in it.
    Before(u32, u32),
}

/// How a domain stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainState {
    /// The stamp of its last release.
    pub epoch: u64,
    /// Until when it is put off.
    pub put_off: PutOff,
    /// Which messages were tried by turns that reached no host.
    pub tried: Tried,
    /// Whether it was released and that release was not served.
    pub asked: bool,
    /// Whether a person holds it back.
    pub held: bool,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether it was last put off since its host could not be reached.
    pub away: bool,
    /// Whether nobody knew where that host is.
    pub unrouted: bool,
    /// Why it was last put off or suspended.
    pub why: Vec<u8>,
}

impl DomainState {
    /// What a domain's record of this kind says.
    pub fn parse(kind: Kind, meta: &[u8]) -> Option<(Domain, Self)> {
        let Named { number, domain, rest } = Named::parse(meta)?;
        if kind == Kind::OldDomain {
            let put_off = PutOff { until: modern(number), from: 0 };
            let tried = if number == 0 { Tried::None } else { Tried::Here };
            return Some((domain, Self { put_off, tried, ..Self::default() }));
        }
        let (epoch, rest) = rest.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let why = rest.get(..usize::from(u16::from_le_bytes(*length)))?.to_vec();
        let state = Self {
            epoch: u64::from_le_bytes(*epoch),
            put_off: PutOff { until: number, from: u64::from_le_bytes(*from) },
            tried: match (u32::from_le_bytes(*segment), u32::from_le_bytes(*offset)) {
                (0, _) => Tried::None,
                (u32::MAX, _) => Tried::Here,
                (segment, offset) => Tried::Before(segment, offset),
            },
            asked: flags & ASKED != 0,
            held: flags & DOMAIN_HELD != 0,
            suspended: flags & SUSPENDED != 0,
            away: flags & AWAY != 0,
            unrouted: flags & UNROUTED != 0,
            why,
        };
        Some((domain, state))
    }

    /// The record that says so of `domain`, its head to be filled in.
    pub fn record(&self, domain: &Domain) -> (Header, Vec<u8>) {
        let mut record = Named::record(self.put_off.until, domain, 27 + self.why.len());
        record.extend_from_slice(&self.epoch.to_le_bytes());
        record.extend_from_slice(&self.put_off.from.to_le_bytes());
        let (segment, offset) = match self.tried {
            Tried::None => (0, 0),
            Tried::Here => (u32::MAX, u32::MAX),
            Tried::Before(segment, offset) => (segment, offset),
        };
        record.extend_from_slice(&segment.to_le_bytes());
        record.extend_from_slice(&offset.to_le_bytes());
        let flags = [
            (self.asked, ASKED),
            (self.held, DOMAIN_HELD),
            (self.suspended, SUSPENDED),
            (self.away, AWAY),
            (self.unrouted, UNROUTED),
        ];
        record.push(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
        let length = u16::try_from(self.why.len()).expect("a reply is cut");
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&self.why);
        (Header::of_meta(Kind::Domain, NO_ID, record.len() - RECORD_HEAD), record)
    }
}

/// A time of version 1.
fn modern(until: u64) -> u64 {
    if until >= OLD_UNTIL_ASKED { UNTIL_ASKED } else { until }
}
