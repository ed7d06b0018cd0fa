//! Delivery status notifications (RFC 3464, as a report of RFC 6522): what a sender hears of his
//! message, once it cannot be delivered, waits, or went to a host that will not tell him.

use crate::time::Timestamp;
use crate::trace::put_date;
use crate::wire::{NoRoom, Out, Text};

/// A line's end, and an empty line.
const HEADER_END: &[u8] = b"\r\n\r\n";

/// Octets of a reply that a notification repeats.
const REPLY_MAX: usize = 400;

/// A notification, but for whom it tells of.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Our own host name.
    pub hostname: Text<'a>,
    /// Who is told: the message's reverse-path, without angle brackets; never the null one (RFC
    /// 5321 §4.5.5).
    pub to: &'a [u8],
    /// The notification's own id, a UUID in text. Its boundary is made from that.
    pub id: Text<'a>,
    /// When it is written.
    pub time: Timestamp,
    /// When the message arrived.
    pub arrival: Timestamp,
    /// MAIL's ENVID as given, in xtext; empty: not given.
    pub envelope_id: &'a [u8],
    /// The host that it was to go to.
    pub remote: Text<'a>,
    /// Of how many more recipients, to which the message went too, it has no room to tell.
    pub untold: u32,
    /// It may hold what is beyond ASCII as it is, in the forms of RFC 6533, and needs SMTPUTF8;
    /// else addresses are in that RFC's 7-bit form.
    pub utf8: bool,
}

/// A recipient that a notification tells of.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The forward-path without angle brackets.
    pub path: &'a [u8],
    /// RCPT's ORCPT as given: a type, `;` and xtext; empty: not given.
    pub original: &'a [u8],
    /// What became of it.
    pub action: Action,
    /// The host's last reply, or why there is none.
    pub reply: &'a [u8],
    /// It is told in few words, so that many have room: without what the text has of it.
    pub is_brief: bool,
}

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was refused for good.
    Failed,
    /// It was tried for as long as mail is tried.
    Expired,
    /// It waits, and is tried on.
    Delayed,
    /// It went to a host that tells nobody of its success (RFC 3461 §5.2.2).
    Relayed,
    /// It is in its mailbox.
    Delivered,
}

/// What a notification gives back of the message.
#[derive(Debug, Clone, Copy)]
pub enum Returned<'a> {
    /// It can't be read.
    Nothing,
    /// Its header, or the begin of it, in whole lines.
    Header(&'a [u8]),
    /// All of it.
    Message(&'a [u8]),
}

impl Action {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Failed | Self::Expired => b"failed",
            Self::Delayed => b"delayed",
            Self::Relayed => b"relayed",
            Self::Delivered => b"delivered",
        }
    }

    /// The status (RFC 3463) where the reply says none.
    const fn status(self) -> &'static [u8] {
        match self {
            Self::Failed => b"5.0.0",
            Self::Expired => b"4.4.7",
            Self::Delayed => b"4.0.0",
            Self::Relayed | Self::Delivered => b"2.0.0",
        }
    }

    const fn words(self) -> &'static [u8] {
        match self {
            Self::Failed => b"It was refused for good, and is not tried any more.",
            Self::Expired => b"It was tried for too long, and is not tried any more.",
            Self::Delayed => b"It waits, and is tried again: you need not send it again.",
            Self::Relayed => b"It was passed on to a host that does not tell whether it arrives.",
            Self::Delivered => b"It was delivered.",
        }
    }
}

impl Report<'_> {
    /// Appends the whole notification, or nothing when it does not fit.
    pub fn write<'r>(
        &self,
        recipients: impl Iterator<Item = About<'r>> + Clone,
        returned: Returned<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        out.whole(|out| {
            self.header(recipients.clone().map(|about| about.action), out)?;
            self.part(b"text/plain; charset=utf-8", out)?;
            self.text(recipients.clone(), out)?;
            let status: &[u8] = match self.utf8 {
                true => b"message/global-delivery-status",
                false => b"message/delivery-status",
            };
            self.part(status, out)?;
            self.about_message(out)?;
            recipients.clone().try_for_each(|about| self.about_recipient(&about, out))?;
            self.give_back(returned, out)?;
            put_all(out, &[b"--=_", self.id.as_bytes(), b"--\r\n"])
        })
    }

    fn header(
        &self,
        actions: impl Iterator<Item = Action> + Clone,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let is = |wanted: &[Action]| actions.clone().any(|action| wanted.contains(&action));
        let subject: &[u8] = if is(&[Action::Failed, Action::Expired]) {
            b"Your mail could not be delivered"
        } else if is(&[Action::Delayed]) {
            b"Your mail is delayed"
        } else if is(&[Action::Relayed]) {
            b"Your mail was passed on"
        } else {
            b"Your mail was delivered"
        };
        let (hostname, id) = (self.hostname.as_bytes(), self.id.as_bytes());
        out.put(b"Date: ")?;
        put_date(out, self.time)?;
        let texts: [&[u8]; 15] = [
            b"\r\nFrom: Mail delivery <MAILER-DAEMON@",
            hostname,
            b">\r\nTo: <",
            self.to,
            b">\r\nSubject: ",
            subject,
            b"\r\nMessage-ID: <",
            id,
            b"@",
            hostname,
            b">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
            b"Content-Type: multipart/report; report-type=",
            if self.utf8 { b"global-delivery-status" } else { b"delivery-status" },
            b";\r\n\tboundary=\"=_",
            id,
        ];
        put_all(out, &texts)?;
        out.put(b"\"\r\n\r\n")
    }

    fn part(&self, content_type: &[u8], out: &mut Out<'_>) -> Result<(), NoRoom> {
        let texts: [&[u8]; 5] =
            [b"--=_", self.id.as_bytes(), b"\r\nContent-Type: ", content_type, b"\r\n"];
        put_all(out, &texts)?;
        out.put(b"Content-Transfer-Encoding: 8bit\r\n\r\n")
    }

    fn text<'r>(
        &self,
        recipients: impl Iterator<Item = About<'r>>,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let hostname = self.hostname.as_bytes();
        put_all(out, &[b"This is ", hostname, b". You have sent mail through it on "])?;
        put_date(out, self.arrival)?;
        out.put(b".\r\n")?;
        let (mut brief, mut words) = (0_u32, b"".as_slice());
        for About { path, action, reply, is_brief, .. } in recipients {
            if is_brief {
                (brief, words) = (brief.saturating_add(1), action.words());
                continue;
            }
            out.put(b"\r\n<")?;
            put_address(out, path, self.utf8)?;
            put_all(out, &[b">\r\n    ", action.words(), b"\r\n"])?;
            if !reply.is_empty() {
                put_all(out, &[b"    ", self.remote.as_bytes(), b": "])?;
                put_printable(out, reply, self.utf8)?;
                out.put(b"\r\n")?;
            }
        }
        if brief > 0 {
            out.put(b"\r\nTo ")?;
            out.put_decimal(u64::from(brief))?;
            put_all(out, &[b" recipients, each named below:\r\n    ", words, b"\r\n"])?;
        }
        if self.untold > 0 {
            out.put(b"\r\nTo ")?;
            out.put_decimal(u64::from(self.untold))?;
            out.put(b" more, for whose names there is no room here, it went as well.\r\n")?;
        }
        out.put(b"\r\n")
    }

    /// RFC 3464 §2.2.
    fn about_message(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        put_all(out, &[b"Reporting-MTA: dns; ", self.hostname.as_bytes(), b"\r\n"])?;
        if !self.envelope_id.is_empty() {
            out.put(b"Original-Envelope-Id: ")?;
            put_xtext(out, self.envelope_id, self.utf8)?;
            out.put(b"\r\n")?;
        }
        if self.arrival.known {
            out.put(b"Arrival-Date: ")?;
            put_date(out, self.arrival)?;
            out.put(b"\r\n")?;
        }
        Ok(())
    }

    /// RFC 3464 §2.3.
    fn about_recipient(&self, about: &About<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let About { path, original, action, reply, is_brief } = *about;
        out.put(b"\r\n")?;
        let semicolon = original.iter().position(|octet| *octet == b';');
        if let Some((kind, address)) = semicolon.and_then(|at| original.split_at_checked(at)) {
            put_all(out, &[b"Original-Recipient: ", kind, b"; "])?;
            let address = address.get(1..).unwrap_or_default();
            match address.is_ascii() {
                true => put_xtext(out, address, self.utf8)?,
                false => put_address(out, address, self.utf8)?,
            }
            out.put(b"\r\n")?;
        }
        let kind: &[u8] = if path.is_ascii() { b"rfc822; " } else { b"utf-8; " };
        put_all(out, &[b"Final-Recipient: ", kind])?;
        put_address(out, path, self.utf8)?;
        put_all(out, &[b"\r\nAction: ", action.name(), b"\r\nStatus: "])?;
        match said(reply) {
            _ if action == Action::Expired => out.put(action.status())?,
            // Of a full mailbox a host may say that it is for ever: it is tried again all the same
            // (RFC 3464 §2.3.4: 4 is what may be delivered later).
            Some([_, detail @ ..]) if action == Action::Delayed => put_all(out, &[b"4", detail])?,
            Some(status) => out.put(status)?,
            None => out.put(action.status())?,
        }
        out.put(b"\r\n")?;
        if !is_brief {
            put_all(out, &[b"Remote-MTA: dns; ", self.remote.as_bytes(), b"\r\n"])?;
        }
        if !reply.is_empty() {
            let kind: &[u8] = if is_reply(reply) { b"smtp; " } else { b"x-postern; " };
            put_all(out, &[b"Diagnostic-Code: ", kind])?;
            put_printable(out, reply, self.utf8)?;
            out.put(b"\r\n")?;
        }
        Ok(())
    }

    fn give_back(&self, returned: Returned<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let (kind, octets): (&[u8], &[u8]) = match returned {
            Returned::Nothing => return out.put(b"\r\n"),
            Returned::Header(header) if header.is_ascii() => (b"text/rfc822-headers", header),
            Returned::Header(header) => (b"message/global-headers", header),
            Returned::Message(message) if self.utf8 => (b"message/global", message),
            Returned::Message(message) => (b"message/rfc822", message),
        };
        out.put(b"\r\n")?;
        self.part(kind, out)?;
        put_all(out, &[octets, b"\r\n"])
    }
}

/// Whether a message that begins with `octets` has its whole header in them.
pub fn has_whole_header(octets: &[u8]) -> bool {
    octets.windows(4).any(|four| four == HEADER_END)
}

/// Octets of the header in the beginning of a message, without the empty line behind it; where it
/// goes on beyond them, of its whole lines.
pub fn header_len(octets: &[u8]) -> usize {
    if octets.starts_with(b"\r\n") {
        return 0;
    }
    let end = octets.windows(4).position(|four| four == HEADER_END);
    let last = || octets.windows(2).rposition(|two| two == b"\r\n");
    end.or_else(last).map_or(0, |at| at + 2)
}

/// Whether `reply` begins with a code of SMTP's.
fn is_reply(reply: &[u8]) -> bool {
    let digits = reply.get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
    digits && reply.get(3).is_none_or(|octet| *octet == b' ')
}

/// The enhanced status code that a reply says behind its code (RFC 2034).
fn said(reply: &[u8]) -> Option<&[u8]> {
    let behind = reply.get(4..).filter(|_| is_reply(reply))?;
    let status = behind.split(|octet| *octet == b' ').next()?;
    let mut parts = status.split(|octet| *octet == b'.');
    let is_number =
        |part: &[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let are_three = parts.by_ref().take(3).filter(|part| is_number(part)).count() == 3;
    (are_three && parts.next().is_none() && status.first() == reply.first()).then_some(status)
}

fn put_all(out: &mut Out<'_>, texts: &[&[u8]]) -> Result<(), NoRoom> {
    texts.iter().try_for_each(|text| out.put(text))
}

/// What can stand in a line as it is; anything else is a `?`.
fn put_printable(out: &mut Out<'_>, text: &[u8], utf8: bool) -> Result<(), NoRoom> {
    text.iter().take(REPLY_MAX).try_for_each(|octet| put_octet(out, *octet, utf8))
}

fn put_octet(out: &mut Out<'_>, octet: u8, utf8: bool) -> Result<(), NoRoom> {
    let is_plain = matches!(octet, b' '..=b'~') || utf8 && octet >= 0x80;
    out.put(&[if is_plain { octet } else { b'?' }])
}

/// An address as it is, or as utf-8-addr-xtext (RFC 6533 §3).
fn put_address(out: &mut Out<'_>, address: &[u8], utf8: bool) -> Result<(), NoRoom> {
    if utf8 || address.is_ascii() {
        return out.put(address);
    }
    for chunk in address.utf8_chunks() {
        chunk.valid().chars().try_for_each(|char| put_char(out, char))?;
        chunk.invalid().iter().try_for_each(|octet| put_octet(out, *octet, false))?;
    }
    Ok(())
}

fn put_char(out: &mut Out<'_>, char: char) -> Result<(), NoRoom> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let code = u32::from(char);
    if let Ok(octet @ b'!'..=b'~') = u8::try_from(code)
        && !matches!(octet, b'+' | b'=' | b'\\')
    {
        return out.put(&[octet]);
    }
    out.put(b"\\x{")?;
    for nth in (0..6).rev().filter(|nth| *nth < 2 || code >> (4 * nth) > 0) {
        let digit = DIGITS.get((code >> (4 * nth) & 15) as usize);
        out.put(digit.map_or(b"?", core::slice::from_ref))?;
    }
    out.put(b"}")
}

/// What `xtext` (RFC 3461 §4) stands for.
fn put_xtext(out: &mut Out<'_>, xtext: &[u8], utf8: bool) -> Result<(), NoRoom> {
    let mut rest = xtext;
    while let [octet, behind @ ..] = rest {
        let coded = behind.get(..2).filter(|_| *octet == b'+').and_then(hexadecimal);
        put_octet(out, coded.unwrap_or(*octet), utf8)?;
        rest = if coded.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    Ok(())
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
