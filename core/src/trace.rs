//! Trace information: the `Received:` field that we put on top, and the hops counted before us.

use core::net::{IpAddr, Ipv6Addr};

use crate::time::Timestamp;
use crate::wire::{NoRoom, Out, Text};

/// How a message came, as the `with` clause of `Received:` says it.
///
/// The types are those of RFC 3848 (ESMTP, ESMTPS, ESMTPA, ESMTPSA) and of RFC 6531 §4.3
/// (UTF8SMTP and its kin); a client that said HELO gets plain SMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct With {
    /// The client said EHLO.
    pub esmtp: bool,
    /// STARTTLS was used.
    pub tls: bool,
    /// The client authenticated itself.
    pub auth: bool,
    /// SMTPUTF8 was asked for with MAIL.
    pub utf8: bool,
}

impl With {
    /// The protocol type, as registered with IANA.
    pub const fn name(self) -> &'static str {
        if !self.esmtp {
            return "SMTP";
        }
        match (self.utf8, self.tls, self.auth) {
            (false, false, false) => "ESMTP",
            (false, true, false) => "ESMTPS",
            (false, false, true) => "ESMTPA",
            (false, true, true) => "ESMTPSA",
            (true, false, false) => "UTF8SMTP",
            (true, true, false) => "UTF8SMTPS",
            (true, false, true) => "UTF8SMTPA",
            (true, true, true) => "UTF8SMTPSA",
        }
    }
}

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An IP address.
    Internet(IpAddr),
    /// A socket on an AppleTalk network.
    #[cfg(feature = "appletalk")]
    AppleTalk(crate::appletalk::Address),
}

impl Origin {
    /// Its IP address, if it has one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address),
            #[cfg(feature = "appletalk")]
            Self::AppleTalk(_) => None,
        }
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::Internet(address)
    }
}

/// The parts of one `Received:` field (RFC 5321 §4.4).
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// What the client called itself in HELO or EHLO. Any bytes: what could break the field is
    /// written as `?`.
    pub helo: &'a [u8],
    /// Where the connection came from.
    pub origin: Origin,
    /// Our own host name.
    pub by: Text<'a>,
    /// The protocol type.
    pub with: With,
    /// The id under which the message is held, a UUID in text.
    pub id: Text<'a>,
    /// The recipient, without angle brackets, when there is exactly one: with more, the field
    /// would show blind copies (RFC 5321 §7.2).
    pub recipient: Option<&'a [u8]>,
    /// When the message came.
    pub time: Timestamp,
}

/// Octets of a HELO name that are written; RFC 5321 §4.5.3.1.2 limits a domain to 255.
const HELO_OCTETS: usize = 255;

impl Received<'_> {
    /// Appends the whole field with its last CRLF, folded at 78 columns where a clause ends, or
    /// appends nothing.
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.whole(|out| self.write_clauses(out))
    }

    fn write_clauses(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let mut field = Field { line_start: out.len(), out, received: self };
        field.out.put(b"Received:")?;
        field.clause(|received, out| {
            out.put(b"from ")?;
            put_helo(out, received.helo)
        })?;
        field.clause(|received, out| put_origin(out, received.origin))?;
        field.clause(|received, out| {
            out.put(b"by ")?;
            out.put(received.by.as_bytes())
        })?;
        field.clause(|received, out| {
            out.put(b"with ")?;
            out.put(received.with.name().as_bytes())
        })?;
        field.clause(|received, out| {
            out.put(b"id ")?;
            out.put(received.id.as_bytes())?;
            if received.recipient().is_none() { out.put(b";") } else { Ok(()) }
        })?;
        if self.recipient().is_some() {
            field.clause(|received, out| {
                out.put(b"for <")?;
                out.put(received.recipient().unwrap_or_default())?;
                out.put(b">;")
            })?;
        }
        field.clause(|received, out| put_date(out, received.time))?;
        field.out.put(b"\r\n")
    }

    /// The recipient, when it can stand in a header field of this message.
    fn recipient(&self) -> Option<&[u8]> {
        let fits = |octet: &u8| match octet {
            b' '..=b'~' => true,
            0x80.. => self.with.utf8,
            _ => false,
        };
        self.recipient.filter(|recipient| recipient.iter().all(fits))
    }
}

/// What stands between our field and the message that begins with `octets`; `None`: more of its
/// first line is needed to tell.
///
/// A first line that begins with white space would be read as a continuation of the field
/// (RFC 5322 §2.2.3), and one that is no field at all as a broken header. Behind an empty line,
/// which ends the header, it is the text that it was. The `From ` line of a mailbox file is no
/// field either, but those behind it are.
pub fn separator(octets: &[u8]) -> Option<&'static [u8]> {
    match octets {
        [b'\r' | b'\n', ..] => return Some(b""),
        [b' ' | b'\t' | b':', ..] => return Some(NO_HEADER),
        _ if octets.starts_with(b"From ") || octets.starts_with(b">From ") => return Some(b""),
        _ => {}
    }
    let name = |octet: &&u8| octet.is_ascii_graphic() && **octet != b':';
    let line = octets.iter().take(LINE_OCTETS);
    match line.skip_while(name).find(|octet| !matches!(octet, b' ' | b'\t')) {
        Some(b':') => Some(b""),
        Some(_) => Some(NO_HEADER),
        None if octets.len() < LINE_OCTETS => None,
        None => Some(NO_HEADER),
    }
}

/// The same, where `octets` are the whole message or its first [`LINE_OCTETS`] and more.
pub fn separator_before(octets: &[u8]) -> &'static [u8] {
    // A message that is only the beginning of a line is text.
    let text = if octets.is_empty() { b"" } else { NO_HEADER };
    separator(octets).unwrap_or(text)
}

/// What stands between our field and a message that has no header of its own.
pub(crate) const NO_HEADER: &[u8] = b"\r\n";
/// Octets of a line at most, its CRLF not counted (RFC 5322 §2.1.1).
pub const LINE_OCTETS: usize = 998;

/// A header field that is being written, and where its present line begins.
struct Field<'f, 'b> {
    out: &'f mut Out<'b>,
    line_start: usize,
    received: &'f Received<'f>,
}

/// What appends a clause. A fn pointer, so that `Field::clause` is compiled once and not for each
/// closure.
type Clause = fn(&Received<'_>, &mut Out<'_>) -> Result<(), NoRoom>;

impl Field<'_, '_> {
    /// Appends one clause after a space, or on a line of its own when it would pass column 78
    /// (RFC 5322 §2.1.1).
    fn clause(&mut self, write: Clause) -> Result<(), NoRoom> {
        let before = self.out.len();
        self.out.put(b" ")?;
        write(self.received, self.out)?;
        if self.out.len().saturating_sub(self.line_start) > 78 {
            self.out.truncate(before);
            self.out.put(b"\r\n ")?;
            self.line_start = before.saturating_add(2);
            write(self.received, self.out)?;
        }
        Ok(())
    }
}

/// A name from the peer: only what a domain or an address literal is made of, so that it can
/// neither end the field nor open a comment in it.
fn put_helo(out: &mut Out<'_>, helo: &[u8]) -> Result<(), NoRoom> {
    if helo.is_empty() {
        return out.put(b"unknown");
    }
    for octet in helo.iter().take(HELO_OCTETS) {
        let plain = matches!(octet, b'-' | b'.' | b'_' | b':' | b'[' | b']');
        let shown = if plain || octet.is_ascii_alphanumeric() { *octet } else { b'?' };
        out.put(&[shown])?;
    }
    Ok(())
}

/// Where the connection came from, in a comment: RFC 5321 §4.4 has no literal for AppleTalk.
fn put_origin(out: &mut Out<'_>, origin: Origin) -> Result<(), NoRoom> {
    match origin {
        Origin::Internet(address) => put_address(out, address.to_canonical()),
        #[cfg(feature = "appletalk")]
        Origin::AppleTalk(address) => {
            let parts: [(&[u8], u64); 3] = [
                (b"(AppleTalk network ", address.network.into()),
                (b" node ", address.node.into()),
                (b" socket ", address.socket.into()),
            ];
            for (what, number) in parts {
                out.put(what)?;
                out.put_decimal(number)?;
            }
            out.put(b")")
        }
    }
}

/// An address literal in a comment (RFC 5321 §4.1.3). `core::fmt` would do it too, in 3 KiB of a
/// device's flash.
fn put_address(out: &mut Out<'_>, address: IpAddr) -> Result<(), NoRoom> {
    out.put(b"([")?;
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                out.put(if index > 0 { b"." } else { b"" })?;
                out.put_decimal(u64::from(octet))?;
            }
        }
        IpAddr::V6(address) => {
            out.put(b"IPv6:")?;
            put_ipv6(out, address)?;
        }
    }
    out.put(b"])")
}

/// The text of RFC 5952 §4: the longest run of zeros, the first of several, is left out.
fn put_ipv6(out: &mut Out<'_>, address: Ipv6Addr) -> Result<(), NoRoom> {
    let groups = address.segments();
    let mut zeros = 0..0;
    for start in 0..groups.len() {
        let length = groups.iter().skip(start).take_while(|group| **group == 0).count();
        if length > zeros.len().max(1) {
            zeros = start..start.saturating_add(length);
        }
    }
    for (index, group) in groups.into_iter().enumerate() {
        if index == zeros.start && !zeros.is_empty() {
            out.put(b"::")?;
        }
        if zeros.contains(&index) {
            continue;
        }
        if index > 0 && index != zeros.end {
            out.put(b":")?;
        }
        put_hexadecimal(out, group)?;
    }
    Ok(())
}

fn put_hexadecimal(out: &mut Out<'_>, number: u16) -> Result<(), NoRoom> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for shift in [12, 8, 4, 0] {
        let rest = usize::from(number >> shift);
        if rest > 0 || shift == 0 {
            out.put(DIGITS.get(rest % 16).map(core::slice::from_ref).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// The date-time of RFC 5322 §3.3, in UTC.
pub(crate) fn put_date(out: &mut Out<'_>, time: Timestamp) -> Result<(), NoRoom> {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = time.unix_seconds / 86_400;
    let second_of_day = time.unix_seconds % 86_400;
    let Civil { year, month, day } = civil_from_days(days);
    let name_of = |names: &[&'static str], nth: u64| {
        usize::try_from(nth).ok().and_then(|nth| names.get(nth).copied()).unwrap_or_default()
    };
    out.put(name_of(&WEEKDAYS, days % 7).as_bytes())?;
    out.put(b", ")?;
    out.put_decimal(day)?;
    out.put(b" ")?;
    out.put(name_of(&MONTHS, month - 1).as_bytes())?;
    out.put(b" ")?;
    out.put_padded(year, 4)?;
    out.put(b" ")?;
    out.put_padded(second_of_day / 3_600, 2)?;
    out.put(b":")?;
    out.put_padded(second_of_day / 60 % 60, 2)?;
    out.put(b":")?;
    out.put_padded(second_of_day % 60, 2)?;
    out.put(b" +0000")
}

/// A date of the Gregorian calendar; months and days count from 1.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
}

/// The date `days` days after 1970-01-01 (H. Hinnant, "chrono-compatible low-level date
/// algorithms", for days from the epoch on). Its year begins in March, so that the leap day is
/// the last.
const fn civil_from_days(days: u64) -> Civil {
    let since_0000_03_01 = days + 719_468;
    let era = since_0000_03_01 / 146_097;
    let day_of_era = since_0000_03_01 % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    Civil { year, month, day }
}

/// `Received:` fields that a message may carry when it comes to us (RFC 5321 §6.3: at least 100).
pub const HOP_LIMIT: u32 = 100;

/// Counts the `Received:` fields of a message that passes by in pieces of any size.
#[derive(Debug, Clone)]
pub struct HopCounter {
    hops: u32,
    position: Position,
}

/// Where in a header the octets stand.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// In a line whose octets so far are the first `.0` of the field's name.
    Name(u8),
    /// After the whole name: the colon, or the white space that RFC 5322 §4.5.8 lets precede it.
    Colon,
    /// In a line that was counted already, or has no need to be.
    Rest,
    /// Past the blank line.
    Body,
}

impl HopCounter {
    /// A counter for one message.
    pub const fn new() -> Self {
        Self { hops: 0, position: Position::Name(0) }
    }

    /// Reads the next piece of the message.
    pub fn feed(&mut self, piece: &[u8]) {
        for octet in piece {
            if matches!(self.position, Position::Body) {
                return;
            }
            self.position = self.after(*octet);
        }
    }

    /// `Received:` fields seen so far.
    pub const fn hops(&self) -> u32 {
        self.hops
    }

    /// Whether the message came with more than [`HOP_LIMIT`] of them: mail that goes in a circle.
    pub const fn looping(&self) -> bool {
        self.hops > HOP_LIMIT
    }

    fn after(&mut self, octet: u8) -> Position {
        const NAME: &[u8] = b"received";
        match (self.position, octet) {
            (Position::Name(0), b'\r') => Position::Body,
            (_, b'\n') => Position::Name(0),
            (Position::Name(matched), _) => match NAME.get(usize::from(matched)) {
                Some(expected) if *expected != octet.to_ascii_lowercase() => Position::Rest,
                Some(_) if usize::from(matched) + 1 == NAME.len() => Position::Colon,
                Some(_) => Position::Name(matched.saturating_add(1)),
                None => Position::Rest,
            },
            (Position::Colon, b' ' | b'\t') => Position::Colon,
            (Position::Colon, b':') => {
                self.hops = self.hops.saturating_add(1);
                Position::Rest
            }
            _ => Position::Rest,
        }
    }
}

impl Default for HopCounter {
    fn default() -> Self {
        Self::new()
    }
}
