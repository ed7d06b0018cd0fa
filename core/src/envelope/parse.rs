//! From the stored bytes to values that borrow them.

use core::fmt;
use core::net::IpAddr;

use super::{
    Body, CRC32C, Head, KIND_END, KIND_HEAD, KIND_RECIPIENT, Notify, PREFIX, Recipient, Ret, State,
    VERSION,
};
use crate::time::Timestamp;
use crate::trace::Origin;

/// Why stored bytes are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They end inside a record, or before the end's record.
    Truncated,
    /// A record is of this version, which this program does not read.
    UnknownVersion(u8),
    /// A record is of this kind, which version 1 does not have.
    UnknownKind(u8),
    /// A record's checksum is not that of its bytes.
    Checksum,
    /// A record whose checksum is right has a content that version 1 does not allow.
    Malformed,
    /// The records are whole, but not in the order head, recipients, end, or not as many as the
    /// end says.
    Order,
    /// Bytes follow the end.
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the envelope is cut short"),
            Self::UnknownVersion(version) => write!(
                f,
                "the envelope is of version {version}; this program reads version {VERSION}"
            ),
            Self::UnknownKind(kind) => write!(f, "the envelope has a record of kind {kind}"),
            Self::Checksum => f.write_str("a record of the envelope fails its checksum"),
            Self::Malformed => f.write_str("a record of the envelope has a wrong content"),
            Self::Order => f.write_str("the envelope's records do not belong together"),
            Self::Trailing => f.write_str("bytes follow the envelope"),
        }
    }
}

impl core::error::Error for Fault {}

/// One record of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// The first record.
    Head(Head<'a>),
    /// One of any number.
    Recipient(Recipient<'a>),
    /// The last record: how many recipients there are.
    End(u32),
}

impl<'a> Record<'a> {
    /// Parses the record at the start of `bytes`, and returns it with the bytes after it.
    pub fn take(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Fault> {
        Self::take_with(bytes, Checksums::Compared)
    }

    fn take_with(bytes: &'a [u8], checksums: Checksums) -> Result<(Self, &'a [u8]), Fault> {
        let mut fields = Fields(bytes);
        let [kind, version] = fields.array()?;
        if version != VERSION {
            return Err(Fault::UnknownVersion(version));
        }
        if !matches!(kind, KIND_HEAD | KIND_RECIPIENT | KIND_END) {
            return Err(Fault::UnknownKind(kind));
        }
        let content = fields.string()?;
        let checksum = u32::from_le_bytes(fields.array()?);
        let covered = bytes.get(..PREFIX.saturating_add(content.len())).ok_or(Fault::Truncated)?;
        if checksums == Checksums::Compared && CRC32C.checksum(covered) != checksum {
            return Err(Fault::Checksum);
        }
        let record = parse_content(kind, content).map_err(|_| Fault::Malformed)?;
        Ok((record, fields.0))
    }
}

/// What is done with the checksum of each record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksums {
    Compared,
    /// Those of the octets were compared before.
    Known,
}

/// A whole envelope that was found right.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    head: Head<'a>,
    recipients: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Parses `bytes`, which must be one whole envelope and nothing else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        Self::parse_with(bytes, Checksums::Compared)
    }

    /// As [`Envelope::parse`], of octets whose checksum was found right already, be it one of
    /// what they are stored in: those of the records are not compared again.
    pub fn parse_checked(bytes: &'a [u8]) -> Result<Self, Fault> {
        Self::parse_with(bytes, Checksums::Known)
    }

    fn parse_with(bytes: &'a [u8], checksums: Checksums) -> Result<Self, Fault> {
        let (Record::Head(head), recipients) = Record::take_with(bytes, checksums)? else {
            return Err(Fault::Order);
        };
        let mut rest = recipients;
        let mut count = 0_u32;
        loop {
            match Record::take_with(rest, checksums)? {
                (Record::Head(_), _) => return Err(Fault::Order),
                (Record::Recipient(_), after) => {
                    count = count.saturating_add(1);
                    rest = after;
                }
                (Record::End(stated), _) if stated != count => return Err(Fault::Order),
                (Record::End(_), []) => return Ok(Self { head, recipients }),
                (Record::End(_), _) => return Err(Fault::Trailing),
            }
        }
    }

    /// What holds for the whole message.
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// The recipients, in the order of the RCPT commands.
    pub fn recipients(&self) -> Recipients<'a> {
        Recipients(self.recipients)
    }
}

/// The recipients' records at the start of some bytes, up to the first that is none.
#[derive(Debug, Clone)]
pub struct Recipients<'a>(&'a [u8]);

impl<'a> Iterator for Recipients<'a> {
    type Item = Recipient<'a>;

    fn next(&mut self) -> Option<Recipient<'a>> {
        let taken = Record::take_with(self.0, Checksums::Known);
        let Ok((Record::Recipient(recipient), rest)) = taken else { return None };
        self.0 = rest;
        Some(recipient)
    }
}

fn parse_content(kind: u8, content: &[u8]) -> Result<Record<'_>, Fault> {
    let mut fields = Fields(content);
    let record = match kind {
        KIND_HEAD => Record::Head(fields.head()?),
        KIND_RECIPIENT => Record::Recipient(fields.recipient()?),
        _ => Record::End(u32::from_le_bytes(fields.array()?)),
    };
    if fields.0.is_empty() { Ok(record) } else { Err(Fault::Malformed) }
}

/// An AppleTalk address, for a program that knows of them.
fn appletalk(octets: [u8; 4]) -> Option<Origin> {
    #[cfg(feature = "appletalk")]
    {
        let [high, low, node, socket] = octets;
        let network = u16::from_be_bytes([high, low]);
        Some(Origin::AppleTalk(crate::appletalk::Address { network, node, socket }))
    }
    #[cfg(not(feature = "appletalk"))]
    {
        let _ = octets;
        None
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    fn string(&mut self) -> Result<&'a [u8], Fault> {
        let length = u16::from_le_bytes(self.array()?);
        let (string, rest) =
            self.0.split_at_checked(usize::from(length)).ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(string)
    }

    fn address(&mut self) -> Result<Option<Origin>, Fault> {
        let address = match self.array()? {
            [0] => return Ok(None),
            [1] => return Ok(appletalk(self.array()?)),
            [4] => IpAddr::from(self.array::<4>()?),
            [6] => IpAddr::from(self.array::<16>()?),
            _ => return Err(Fault::Malformed),
        };
        Ok(Some(Origin::Internet(address)))
    }

    fn head(&mut self) -> Result<Head<'a>, Fault> {
        let id = self.array()?;
        let unix_seconds = u64::from_le_bytes(self.array()?);
        let flags = u16::from_le_bytes(self.array()?);
        if flags >= 64 {
            return Err(Fault::Malformed);
        }
        let [body, ret] = self.array()?;
        Ok(Head {
            id,
            arrival: Timestamp { unix_seconds, known: flags & 1 != 0 },
            esmtp: flags & 2 != 0,
            tls: flags & 4 != 0,
            authenticated: flags & 8 != 0,
            smtp_utf8: flags & 16 != 0,
            submitted: flags & 32 != 0,
            body: match body {
                0 => Body::Unstated,
                1 => Body::SevenBit,
                2 => Body::EightBitMime,
                3 => Body::BinaryMime,
                _ => return Err(Fault::Malformed),
            },
            ret: match ret {
                0 => Ret::Unstated,
                1 => Ret::Full,
                2 => Ret::Headers,
                _ => return Err(Fault::Malformed),
            },
            client: self.address()?,
            client_port: u16::from_le_bytes(self.array()?),
            helo: self.string()?,
            reverse_path: self.string()?,
            envelope_id: self.string()?,
        })
    }

    fn recipient(&mut self) -> Result<Recipient<'a>, Fault> {
        let [notify, state] = self.array()?;
        Ok(Recipient {
            notify: Notify::from_bits(notify).ok_or(Fault::Malformed)?,
            state: match state {
                0 => State::Waiting,
                1 => State::Delivered,
                2 => State::Refused,
                3 => State::Expired,
                _ => return Err(Fault::Malformed),
            },
            attempts: u16::from_le_bytes(self.array()?),
            path: self.string()?,
            original: self.string()?,
            reply: self.string()?,
        })
    }
}
