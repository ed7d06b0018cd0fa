//! Trace information: the `Received:` field that we put on top, and the hops counted before us.

use core::fmt::{self, Write};
use core::net::IpAddr;

use crate::time::Timestamp;
use crate::wire::{NoRoom, Out};

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

/// The parts of one `Received:` field (RFC 5321 §4.4).
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// What the client called itself in HELO or EHLO. Any bytes: what could break the field is
    /// written as `?`.
    pub helo: &'a [u8],
    /// Where the connection came from.
    pub address: IpAddr,
    /// Our own host name.
    pub by: &'a str,
    /// The protocol type.
    pub with: With,
    /// The id under which the message is held, a UUID in text.
    pub id: &'a str,
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
        let start = out.len();
        let result = self.write_clauses(out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn write_clauses(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let mut field = Field { line_start: out.len(), out };
        field.out.put(b"Received:")?;
        field.clause(|out| {
            out.put(b"from ")?;
            put_helo(out, self.helo)
        })?;
        field.clause(|out| put_address(out, self.address.to_canonical()))?;
        field.clause(|out| {
            out.put(b"by ")?;
            out.put(self.by.as_bytes())
        })?;
        field.clause(|out| {
            out.put(b"with ")?;
            out.put(self.with.name().as_bytes())
        })?;
        field.clause(|out| {
            out.put(b"id ")?;
            out.put(self.id.as_bytes())?;
            if self.recipient().is_none() { out.put(b";") } else { Ok(()) }
        })?;
        if let Some(recipient) = self.recipient() {
            field.clause(|out| {
                out.put(b"for <")?;
                out.put(recipient)?;
                out.put(b">;")
            })?;
        }
        field.clause(|out| put_date(out, self.time))?;
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

/// What stands between our field and the message that begins with `octets`; ask with the first
/// piece of it that is not empty.
///
/// A first line that begins with white space would be read as a continuation of the field
/// (RFC 5322 §2.2.3). Behind an empty line, which ends the header, it stays the message's own.
pub const fn separator(octets: &[u8]) -> &'static [u8] {
    match octets {
        [b' ' | b'\t', ..] => b"\r\n",
        _ => b"",
    }
}

/// A header field that is being written, and where its present line begins.
struct Field<'o, 'b> {
    out: &'o mut Out<'b>,
    line_start: usize,
}

impl<'b> Field<'_, 'b> {
    /// Appends one clause after a space, or on a line of its own when it would pass column 78
    /// (RFC 5322 §2.1.1).
    fn clause(&mut self, write: impl Fn(&mut Out<'b>) -> Result<(), NoRoom>) -> Result<(), NoRoom> {
        let before = self.out.len();
        self.out.put(b" ")?;
        write(self.out)?;
        if self.out.len().saturating_sub(self.line_start) > 78 {
            self.out.truncate(before);
            self.out.put(b"\r\n ")?;
            self.line_start = before.saturating_add(2);
            write(self.out)?;
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

/// An address literal in a comment (RFC 5321 §4.1.3).
fn put_address(out: &mut Out<'_>, address: IpAddr) -> Result<(), NoRoom> {
    let prefix = if address.is_ipv6() { "IPv6:" } else { "" };
    write!(Text(out), "([{prefix}{address}])").map_err(|fmt::Error| NoRoom)
}

/// Lets `core::fmt` write into an [`Out`].
pub(crate) struct Text<'o, 'b>(pub(crate) &'o mut Out<'b>);

impl Write for Text<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes()).map_err(|NoRoom| fmt::Error)
    }
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
    write!(
        Text(out),
        "{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000",
        weekday = name_of(&WEEKDAYS, days % 7),
        month = name_of(&MONTHS, month - 1),
        hour = second_of_day / 3_600,
        minute = second_of_day / 60 % 60,
        second = second_of_day % 60,
    )
    .map_err(|fmt::Error| NoRoom)
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
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
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
        Self { hops: 0, place: Place::Name(0) }
    }

    /// Reads the next piece of the message.
    pub fn feed(&mut self, piece: &[u8]) {
        for octet in piece {
            if matches!(self.place, Place::Body) {
                return;
            }
            self.place = self.after(*octet);
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

    fn after(&mut self, octet: u8) -> Place {
        const NAME: &[u8] = b"received";
        match (self.place, octet) {
            (Place::Name(0), b'\r') => Place::Body,
            (_, b'\n') => Place::Name(0),
            (Place::Name(matched), _) => match NAME.get(usize::from(matched)) {
                Some(expected) if *expected != octet.to_ascii_lowercase() => Place::Rest,
                Some(_) if usize::from(matched) + 1 == NAME.len() => Place::Colon,
                Some(_) => Place::Name(matched.saturating_add(1)),
                None => Place::Rest,
            },
            (Place::Colon, b' ' | b'\t') => Place::Colon,
            (Place::Colon, b':') => {
                self.hops = self.hops.saturating_add(1);
                Place::Rest
            }
            _ => Place::Rest,
        }
    }
}

impl Default for HopCounter {
    fn default() -> Self {
        Self::new()
    }
}
