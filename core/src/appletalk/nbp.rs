//! The Name Binding Protocol (chapter 7): who is called `object:type@zone`?
//!
//! ```text
//!   0                  1    2
//!   | function | count | id | tuples
//!
//!   tuple:  0         2      3        4            5
//!           | network | node | socket | enumerator | object | type | zone |
//! ```
//!
//! Each of the three is a length of at most 32 and as many octets of Mac Roman. In a question the
//! address is where the answer goes.

mod mac_roman;
mod register;

pub use register::{Registration, State};

use super::Address;
use super::octets::{take_u8, take_u16};
use crate::wire::{NoRoom, Out};

/// The socket that knows a node's names.
pub const SOCKET: u8 = 2;
/// Octets of an object, a type or a zone at most.
pub const FIELD_MAX: usize = 32;
/// Names in one packet at most: the count has four bits.
const TUPLES_MAX: usize = 15;
/// All names, as an object or a type.
const ANY: &[u8] = b"=";
/// Any octets within an object or a type (≈ in Mac Roman).
const ANY_RUN: u8 = 0xc5;
/// The zone of whoever asks.
const OWN_ZONE: &[u8] = b"*";

/// A name, or in a question a pattern of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'n> {
    /// Whose it is.
    pub object: &'n [u8],
    /// What it is.
    pub kind: &'n [u8],
    /// Where it is.
    pub zone: &'n [u8],
}

impl<'n> Name<'n> {
    /// Reads `object:type@zone` as people write it; without a zone it is our own.
    pub fn new(text: &'n [u8]) -> Option<Self> {
        let colon = text.iter().position(|octet| *octet == b':')?;
        let (object, rest) = (text.get(..colon)?, text.get(colon.checked_add(1)?..)?);
        let (kind, zone) = match rest.iter().rposition(|octet| *octet == b'@') {
            Some(at) => (rest.get(..at)?, rest.get(at.checked_add(1)?..)?),
            None => (rest, OWN_ZONE),
        };
        let fits = |field: &[u8]| (1..=FIELD_MAX).contains(&field.len());
        let name = Self { object, kind, zone };
        [object, kind, zone].into_iter().all(fits).then_some(name)
    }

    /// Whether it is a pattern, and so no name of anybody.
    pub fn is_pattern(&self) -> bool {
        let is = |field: &[u8]| field == ANY || field.contains(&ANY_RUN);
        is(self.object) || is(self.kind)
    }

    /// Whether this, as a question, asks for `name`. Case does not count; zones are the router's,
    /// which puts a question for another onto that one's cable.
    pub fn asks_for(&self, name: &Name<'_>) -> bool {
        matches(self.object, name.object) && matches(self.kind, name.kind)
    }

    /// Whether its zone is that of whoever asks.
    pub fn is_own_zone(&self) -> bool {
        self.zone.is_empty() || self.zone == OWN_ZONE
    }

    /// Whether both are one name.
    pub fn is_same(&self, other: &Name<'_>) -> bool {
        mac_roman::is_same(self.object, other.object) && mac_roman::is_same(self.kind, other.kind)
    }
}

fn matches(pattern: &[u8], field: &[u8]) -> bool {
    if pattern == ANY {
        return true;
    }
    let Some(run) = pattern.iter().position(|octet| *octet == ANY_RUN) else {
        return mac_roman::is_same(pattern, field);
    };
    let (start, end) = pattern.split_at_checked(run).unwrap_or((pattern, b""));
    let end = end.get(1..).unwrap_or_default();
    let Some(rest) = field.len().checked_sub(start.len()) else { return false };
    let (front, rest) = field.split_at_checked(field.len() - rest).unwrap_or_default();
    let behind = rest.len().checked_sub(end.len()).and_then(|skipped| rest.get(skipped..));
    mac_roman::is_same(start, front) && behind.is_some_and(|b| mac_roman::is_same(end, b))
}

/// What a packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// A node asks its router.
    BroadcastRequest = 1,
    /// A cable is asked.
    LookUp = 2,
    /// Who is called so answers.
    Reply = 3,
    /// A router asks another.
    ForwardRequest = 4,
}

/// A name and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'t> {
    /// Who is called so; in a question, who wants to know.
    pub address: Address,
    /// Tells the names of one socket apart.
    pub enumerator: u8,
    /// The name.
    pub name: Name<'t>,
}

/// A packet whose tuples are all sound.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'p> {
    /// What it does.
    pub function: Function,
    /// What tells an answer's question.
    pub id: u8,
    count: u8,
    tuples: &'p [u8],
}

impl<'p> Packet<'p> {
    /// Reads the data of a datagram.
    pub fn parse(data: &'p [u8]) -> Option<Self> {
        let (control, rest) = take_u8(data)?;
        let (id, tuples) = take_u8(rest)?;
        let function = match control >> 4 {
            1 => Function::BroadcastRequest,
            2 => Function::LookUp,
            3 => Function::Reply,
            4 => Function::ForwardRequest,
            _ => return None,
        };
        let packet = Self { function, id, count: control & 0x0f, tuples };
        let is_sound = packet.tuples().count() == usize::from(packet.count);
        let is_question = packet.function != Function::Reply;
        (is_sound && (packet.count == 1 || !is_question)).then_some(packet)
    }

    /// Its tuples, in order.
    pub fn tuples(&self) -> impl Iterator<Item = Tuple<'p>> + use<'p> {
        let mut rest = self.tuples;
        (0..self.count).map_while(move |_| {
            let (tuple, behind) = take_tuple(rest)?;
            rest = behind;
            Some(tuple)
        })
    }
}

fn take_tuple(bytes: &[u8]) -> Option<(Tuple<'_>, &[u8])> {
    let (network, rest) = take_u16(bytes)?;
    let ([node, socket, enumerator], rest) = rest.split_first_chunk()?;
    let (object, rest) = take_field(rest)?;
    let (kind, rest) = take_field(rest)?;
    let (zone, rest) = take_field(rest)?;
    let address = Address { network, node: *node, socket: *socket };
    let name = Name { object, kind, zone };
    Some((Tuple { address, enumerator: *enumerator, name }, rest))
}

fn take_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_u8(bytes)?;
    let length = usize::from(length);
    (length <= FIELD_MAX).then_some(())?;
    rest.split_at_checked(length)
}

/// Appends a packet; those of `tuples` that do not fit, nor into the count, are left out.
///
/// # Errors
/// When not even one of them fits.
pub fn write<'t>(
    function: Function,
    id: u8,
    tuples: impl Iterator<Item = Tuple<'t>>,
    out: &mut Out<'_>,
) -> Result<(), NoRoom> {
    let start = out.len();
    out.put(&[0, id])?;
    let mut count: u8 = 0;
    for tuple in tuples.take(TUPLES_MAX) {
        if out.whole(|out| write_tuple(&tuple, out)).is_err() {
            break;
        }
        count = count.saturating_add(1);
    }
    out.overwrite(start, &[((function as u8) << 4) | count])?;
    if count == 0 { Err(NoRoom) } else { Ok(()) }
}

fn write_tuple(tuple: &Tuple<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
    let Address { network, node, socket } = tuple.address;
    out.put(&network.to_be_bytes())?;
    out.put(&[node, socket, tuple.enumerator])?;
    for field in [tuple.name.object, tuple.name.kind, tuple.name.zone] {
        let length = u8::try_from(field.len()).map_err(|_| NoRoom)?;
        out.put(&[length])?;
        out.put(field)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(pattern: &[u8], name: &[u8]) -> bool {
        let name = Name::new(name).expect("a name");
        Name::new(pattern).expect("a pattern").asks_for(&name)
    }

    #[test]
    fn patterns() {
        assert!(asks(b"mx2:smtp", b"MX2:SMTP"));
        assert!(!asks(b"mx2:smtp", b"MX:SMTP"));
        assert!(asks(b"=:=@*", b"a:b"));
        assert!(asks(b"m\xc52:=", b"M2:SMTP"), "a run may be empty");
        assert!(asks(b"m\xc52:=", b"Mx2:SMTP"));
        assert!(!asks(b"mx2\xc5x2:=", b"mx2:SMTP"), "its ends may not overlap");
        assert!(asks(b"\xc5:=", b"mx2:SMTP"));
        assert!(asks(b"b\x9fro:smtp", b"B\x86RO:SMTP"), "u with diaeresis in Mac Roman");
        assert!(Name::new(b"a=b:c").is_some_and(|name| !name.is_pattern()), "= within is itself");
    }

    #[test]
    fn names_as_people_write_them() {
        let name = Name::new(b"Mail Server:SMTP@Office @ Home").expect("a name");
        assert_eq!((name.kind, name.zone), (&b"SMTP@Office "[..], &b" Home"[..]));
        assert_eq!(Name::new(b"a:b").map(|name| name.zone), Some(&b"*"[..]));
        for bad in ["a", ":b", "a:", "a:b@", "a:123456789012345678901234567890123"] {
            assert_eq!(Name::new(bad.as_bytes()), None, "{bad}");
        }
    }
}
