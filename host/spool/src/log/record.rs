//! The log's records and the head of a segment, to and from their bytes.
//!
//! A segment is a head and records, one right after the other; what follows the last is zeros.
//! While a segment is written, its head stands a second time at the end of its file: the mark must
//! not be lost with one sector. Numbers are little-endian.
//!
//! | Bytes | A segment's head |
//! | --- | --- |
//! | 8 | `POSTERN` and a zero |
//! | 4 | version: 2 |
//! | 4 | the segment's number, which its file's name has too |
//! | 8 | the mark: a random number with which each record of the segment begins |
//! | 8 | number of the segment's first batch |
//! | 24 | what wrote it, filled up with zeros |
//! | 4 | CRC-32C of the bytes before |
//!
//! | Bytes | A record |
//! | --- | --- |
//! | 8 | the segment's mark |
//! | 8 | number of the batch: records of one batch became durable by one sync |
//! | 16 | message id; of a domain's record zeros |
//! | 8 | bytes of the body |
//! | 4 | bytes of the meta part, m |
//! | 4 | CRC-32C of the body |
//! | 1 | kind: 1 put, 3 done, 5 state, 6 domain; version 1 had 2 state, 4 domain |
//! | 1 | flags: 1 last of its batch, 2 body has own file, 4 void without next, 8 without previous |
//! | 2 | a hash of the record's offset, so that one in another's place is found out; 0: none |
//! | 4 | CRC-32C of the bytes before and of the meta part |
//! | m | the meta part |
//! | | the body, unless it has a file of its own |
//!
//! The meta part of a put is the envelope (core's format); those of the others are in
//! [`super::meta`].
//!
//! The mark is why no bytes of a message can pose as a record where a damaged segment is searched
//! for the next one that is right.

use crc32c::{crc32c, crc32c_append};

use crate::MsgId;

/// The version written; those before it are read as well.
pub const VERSION: u32 = 2;
/// Bytes of a segment's head.
pub const SEGMENT_HEAD: usize = 60;
/// Bytes of a record before its meta part.
pub const RECORD_HEAD: usize = 56;

const MAGIC: &[u8; 8] = b"POSTERN\0";
const WRITER: &str = concat!("postern ", env!("CARGO_PKG_VERSION"));
const FLAG_LAST: u8 = 1;
const FLAG_OWN_FILE: u8 = 2;
const FLAG_LINKED: u8 = 4;
const FLAG_FOLLOWS: u8 = 8;

/// What a segment's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// The segment's number.
    pub number: u32,
    /// With which each record begins.
    pub mark: u64,
    /// The number of its first batch.
    pub first_batch: u64,
    /// Whether an older version wrote it. Only the head at its own place tells.
    pub is_old: bool,
}

/// Why bytes are no segment's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadFault {
    /// Of this version, by this writer.
    Newer(u32, String),
    /// Not written whole, or changed since.
    Damaged,
}

impl SegmentHead {
    /// The bytes of this head.
    pub fn encode(&self) -> [u8; SEGMENT_HEAD] {
        let mut writer = [0; 24];
        let length = WRITER.len().min(writer.len());
        writer[..length].copy_from_slice(&WRITER.as_bytes()[..length]);
        let mut head = [0; SEGMENT_HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&self.number.to_le_bytes());
        head[16..24].copy_from_slice(&self.mark.to_le_bytes());
        head[24..32].copy_from_slice(&self.first_batch.to_le_bytes());
        head[32..56].copy_from_slice(&writer);
        let checksum = crc32c(&head[..56]);
        head[56..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// The head that the first bytes of `bytes` are.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadFault> {
        let head: &[u8; SEGMENT_HEAD] = bytes.first_chunk().ok_or(HeadFault::Damaged)?;
        // Before the version is believed: one bit of it must not keep the server from starting.
        if head[..8] != *MAGIC || crc32c(&head[..56]) != u32_at(head, 56) {
            return Err(HeadFault::Damaged);
        }
        let version = u32_at(head, 8);
        if version > VERSION {
            let writer = String::from_utf8_lossy(&head[32..56]);
            return Err(HeadFault::Newer(version, writer.trim_end_matches('\0').to_owned()));
        }
        let (number, mark) = (u32_at(head, 12), u64_at(head, 16));
        Ok(Self { number, mark, first_batch: u64_at(head, 24), is_old: version < VERSION })
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holds a message.
    Put,
    /// Replaces the recipients of an item.
    State,
    /// Ends an item.
    Done,
    /// Says how a domain stands.
    Domain,
    /// As version 1 wrote [`Kind::State`].
    OldState,
    /// As version 1 wrote [`Kind::Domain`].
    OldDomain,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::OldState => 2,
            Self::Done => 3,
            Self::OldDomain => 4,
            Self::State => 5,
            Self::Domain => 6,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Put,
            2 => Self::OldState,
            3 => Self::Done,
            4 => Self::OldDomain,
            5 => Self::State,
            6 => Self::Domain,
            _ => return None,
        })
    }
}

/// What a record's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the record does.
    pub kind: Kind,
    /// To which message.
    pub id: MsgId,
    /// Number of the batch.
    pub batch: u64,
    /// Whether the record is the last of its batch.
    pub last: bool,
    /// Whether the body has a file of its own.
    pub own_file: bool,
    /// Whether the record counts only together with the next.
    pub linked: bool,
    /// Whether the record counts only together with the one before.
    pub follows: bool,
    /// Bytes of the meta part.
    pub meta_len: u32,
    /// Bytes of the body.
    pub body_len: u64,
    /// CRC-32C of the body.
    pub body_crc: u32,
}

/// The id in a domain's record.
pub const NO_ID: MsgId = MsgId::from_bytes([0; 16]);

impl Header {
    /// A record without a body.
    pub fn of_meta(kind: Kind, id: MsgId, meta_len: usize) -> Self {
        let meta_len = u32::try_from(meta_len).expect("core bounds every part of an envelope");
        Self {
            kind,
            id,
            batch: 0,
            last: false,
            own_file: false,
            linked: false,
            follows: false,
            meta_len,
            body_len: 0,
            body_crc: 0,
        }
    }

    /// Bytes that the record has in its segment.
    pub fn record_len(&self) -> u64 {
        let body = if self.own_file { 0 } else { self.body_len };
        (RECORD_HEAD as u64 + u64::from(self.meta_len)).saturating_add(body)
    }

    /// Fills in the head of `record`, which is to stand at `offset` of its segment and whose meta
    /// part stands where it belongs.
    pub fn write(&self, mark: u64, offset: u64, record: &mut [u8]) {
        let kind = self.kind.code();
        let flags = [
            (self.last, FLAG_LAST),
            (self.own_file, FLAG_OWN_FILE),
            (self.linked, FLAG_LINKED),
            (self.follows, FLAG_FOLLOWS),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
        let (head, rest) = record.split_at_mut(RECORD_HEAD);
        head[..8].copy_from_slice(&mark.to_le_bytes());
        head[8..16].copy_from_slice(&self.batch.to_le_bytes());
        head[16..32].copy_from_slice(self.id.as_bytes());
        head[32..40].copy_from_slice(&self.body_len.to_le_bytes());
        head[40..44].copy_from_slice(&self.meta_len.to_le_bytes());
        head[44..48].copy_from_slice(&self.body_crc.to_le_bytes());
        let [low, high] = hash_of(offset).to_le_bytes();
        head[48..52].copy_from_slice(&[kind, flags, low, high]);
        let checksum = crc32c_append(crc32c(&head[..52]), &rest[..self.meta_len as usize]);
        head[52..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The head and the meta part of the record with which `bytes` begin and which stands at
    /// `offset` of its segment; none when they are not right. The body is not looked at.
    pub fn read(mark: u64, offset: u64, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, meta) = Self::split(mark, offset, bytes)?;
        let checksum = crc32c_append(crc32c(&bytes[..52]), meta);
        let stored = u32::from_le_bytes(*bytes[52..].first_chunk()?);
        (checksum == stored).then_some((header, meta))
    }

    /// As [`Header::read`], of a record whose checksum was compared before.
    pub fn split(mark: u64, offset: u64, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD>()?;
        let header = Self::parse(mark, offset, head)?;
        let meta = rest.get(..usize::try_from(header.meta_len).ok()?)?;
        Some((header, meta))
    }

    /// What a head says whose checksum is yet to be compared.
    pub fn parse(mark: u64, offset: u64, head: &[u8; RECORD_HEAD]) -> Option<Self> {
        let hash = u16::from_le_bytes([head[50], head[51]]);
        if u64_at(head, 0) != mark || (hash != 0 && hash != hash_of(offset)) {
            return None;
        }
        Some(Self {
            kind: Kind::of_code(head[48])?,
            id: MsgId::from_bytes(*head[16..].first_chunk()?),
            batch: u64_at(head, 8),
            last: head[49] & FLAG_LAST != 0,
            own_file: head[49] & FLAG_OWN_FILE != 0,
            linked: head[49] & FLAG_LINKED != 0,
            follows: head[49] & FLAG_FOLLOWS != 0,
            meta_len: u32_at(head, 40),
            body_len: u64_at(head, 32),
            body_crc: u32_at(head, 44),
        })
    }
}

/// Of a record's offset; never 0.
fn hash_of(offset: u64) -> u16 {
    let mixed = (offset.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    u16::try_from(mixed).expect("16 bits are left").max(1)
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().expect("a field of a head of fixed length"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("a field of a head of fixed length"))
}
