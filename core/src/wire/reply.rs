//! Replies (RFC 5321 §4.2, §4.3.2) with enhanced status codes (RFC 2034, RFC 3463, RFC 5248).
//!
//! Every reply that the core gives stands in this file.

use super::{NoRoom, Out, Text};

/// Why something was refused; each command has its reply for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Too much is going on here; later it will do.
    Busy,
    /// This client has too many sessions open.
    TooManySessions,
    /// The server ends.
    ShuttingDown,
    /// The spool takes nothing at all at present.
    Down,
    /// The spool has no room.
    Full,
    /// This recipient's share of the spool is used up.
    Quota,
    /// More octets than the server, or this recipient, takes.
    TooBig,
    /// More recipients than one transaction takes.
    TooManyRecipients,
    /// No such mailbox.
    UnknownUser,
    /// Whether there is such a mailbox can't be found out now.
    Unverified,
    /// We hold no mail for that domain.
    RelayDenied,
    /// Not wanted here.
    Policy,
    /// The domain says that it takes, or sends, no mail (RFC 7505).
    NullMx,
    /// Whether the message is on stable storage is not known: it counts as not taken.
    Uncertain,
    /// The recipient's host is known not to take SMTPUTF8.
    NoUtf8,
    /// The message has passed through too many hosts.
    Loop,
    /// Only under TLS.
    NeedTls,
    /// Only after AUTH.
    NeedAuth,
    /// The credentials are wrong.
    BadCredentials,
    /// What the client sent is not base64 (RFC 4954 §4).
    BadEncoding,
    /// The mechanism is not known (RFC 4954 §4).
    UnknownMechanism,
    /// Nothing waits for ATRN's domains (RFC 2645 §5.2.1).
    NoMail,
    /// TLS can't be had at the moment.
    NoTls,
    /// Not offered by this server.
    NotOffered,
}

/// The command that a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The connection itself.
    Connect,
    /// EHLO or HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// A BDAT that was not the last.
    Chunk,
    /// The end of the message.
    End,
    /// ETRN.
    Etrn,
    /// ATRN.
    Atrn,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// XCLIENT.
    Xclient,
}

/// A reply of the table. A reference: by value, its parts would be put together at each use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply(&'static Line);

/// A code, an enhanced code without the class, and what is said.
#[derive(Debug)]
struct Line {
    code: u16,
    detail: Option<(u8, u8)>,
    text: &'static str,
}

/// A reply; without an enhanced code it is one to the connection, EHLO or HELO (RFC 2034 §4), or
/// 3yz.
macro_rules! reply {
    ($code:literal, $text:literal) => {
        Reply(&Line { code: $code, detail: None, text: $text })
    };
    ($code:literal, $detail:tt, $text:literal) => {
        Reply(&Line { code: $code, detail: Some($detail), text: $text })
    };
}

/// Octets of the longest reply of one line: code, enhanced code, [`Text`], CRLF.
pub(crate) const MAX_REPLY: usize = 4 + 8 + Text::MAX + 2;

/// Octets of the longest reply that [`Reply::write_named`] writes, besides the name.
pub(crate) const MAX_NAMED: usize = {
    let (greeting, hello) = (GREETING.0.text.len(), HELLO.0.text.len());
    b"220  \r\n".len() + if greeting > hello { greeting } else { hello }
};

/// What a line of EHLO's reply begins with.
pub(crate) const EHLO_LINE: &[u8] = b"250-";
/// Its last line.
pub(crate) const EHLO_LAST: &[u8] = b"250 HELP\r\n";

impl Reply {
    /// The three digits.
    pub(crate) const fn code(self) -> u16 {
        self.0.code
    }

    /// Appends the reply, all or nothing, in its own words.
    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        self.write_words(&[self.0.text.as_bytes()], out)
    }

    /// Appends the reply in the words of `text`.
    pub(crate) fn write_text(&self, text: Text<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        self.write_words(&[text.as_bytes()], out)
    }

    /// Appends the reply with `count` before its words.
    pub(crate) fn write_count(&self, count: u32, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let mut digits = [0; 10];
        let mut number = Out::new(&mut digits);
        number.put_decimal(u64::from(count))?;
        self.write_words(&[number.written(), b" ", self.0.text.as_bytes()], out)
    }

    /// Appends the reply with `name` before its words, or before `text` where there is that, and
    /// room for both in a [`Text`].
    pub(crate) fn write_named(
        &self,
        name: Text<'_>,
        text: Option<Text<'_>>,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let name = name.as_bytes();
        let text = text.map(|text| text.as_bytes());
        let text = text.filter(|text| name.len().saturating_add(text.len()) < Text::MAX);
        self.write_words(&[name, b" ", text.unwrap_or(self.0.text.as_bytes())], out)
    }

    fn write_words(&self, words: &[&[u8]], out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.whole(|out| {
            self.put_codes(out)?;
            words.iter().try_for_each(|word| out.put(word))?;
            out.put(b"\r\n")
        })
    }

    fn put_codes(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let code = self.code();
        out.put_decimal(u64::from(code))?;
        out.put(b" ")?;
        let Some((subject, detail)) = self.0.detail else { return Ok(()) };
        out.put_decimal(u64::from(code / 100))?;
        out.put(b".")?;
        out.put_decimal(u64::from(subject))?;
        out.put(b".")?;
        out.put_decimal(u64::from(detail))?;
        out.put(b" ")
    }
}

pub(crate) const GREETING: Reply = reply!(220, "ESMTP Postern");
pub(crate) const HELLO: Reply = reply!(250, "greets you");
pub(crate) const MAIL_OK: Reply = reply!(250, (1, 0), "Sender ok");
pub(crate) const RCPT_OK: Reply = reply!(250, (1, 5), "Recipient ok");
pub(crate) const START_DATA: Reply = reply!(354, "Start mail input; end with <CRLF>.<CRLF>");
pub(crate) const CHUNK_OK: Reply = reply!(250, (0, 0), "Chunk taken");
pub(crate) const MESSAGE_OK: Reply = reply!(250, (0, 0), "Message taken");
pub(crate) const OK: Reply = reply!(250, (0, 0), "Ok");
pub(crate) const VRFY: Reply =
    reply!(252, (0, 0), "Can't verify here, but send some mail and it is tried");
pub(crate) const EXPN: Reply = reply!(502, (5, 1), "No lists are expanded here");
pub(crate) const HELP: Reply = reply!(214, (0, 0), "See RFC 5321, and RFC 1985 for ETRN");
pub(crate) const BYE: Reply = reply!(221, (0, 0), "Bye");
pub(crate) const START_TLS: Reply = reply!(220, (0, 0), "Ready to start TLS");
pub(crate) const AUTH_OK: Reply = reply!(235, (7, 0), "Authenticated");
pub(crate) const CHALLENGE: Reply = reply!(334, "");
pub(crate) const TURN: Reply = reply!(250, (0, 0), "Turning the connection round");

pub(crate) const ETRN_STARTED: Reply = reply!(250, (0, 0), "Queuing started");
pub(crate) const ETRN_NONE: Reply = reply!(251, (0, 0), "No messages waiting");
pub(crate) const ETRN_PENDING: Reply = reply!(252, (0, 0), "Pending messages started");
pub(crate) const ETRN_COUNTED: Reply = reply!(253, (0, 0), "pending messages started");
pub(crate) const ETRN_UNABLE: Reply = reply!(458, (3, 0), "Unable to queue messages now");
pub(crate) const ETRN_DENIED: Reply = reply!(459, (7, 1), "Not allowed for this node");

pub(crate) const UNKNOWN: Reply = reply!(500, (5, 2), "Command not recognized");
pub(crate) const CONTROL: Reply =
    reply!(501, (5, 2), "Control character, bare CR or bare LF in a command");
pub(crate) const TOO_LONG: Reply = reply!(500, (5, 2), "Line too long");
pub(crate) const AUTH_TOO_LONG: Reply = reply!(500, (5, 6), "Authentication line too long");
pub(crate) const BAD_ARGUMENT: Reply = reply!(501, (5, 4), "Bad argument");
pub(crate) const BAD_NAME: Reply = reply!(501, "A domain or address literal is needed");
pub(crate) const BAD_REVERSE_PATH: Reply = reply!(501, (1, 7), "Bad reverse-path");
pub(crate) const BAD_FORWARD_PATH: Reply = reply!(501, (1, 3), "Bad forward-path");
pub(crate) const BAD_CHUNK: Reply = reply!(501, (5, 4), "Bad BDAT, closing");
pub(crate) const HTTP: Reply = reply!(421, (7, 0), "This is no web server, closing");
pub(crate) const TOO_MANY_ERRORS: Reply = reply!(421, (7, 0), "Too many errors, closing");
pub(crate) const TOO_MUCH_TALK: Reply =
    reply!(421, (7, 0), "Too many commands without a message, closing");
pub(crate) const TURNED_AWAY: Reply = reply!(503, (5, 1), "Nothing but QUIT is taken here");
pub(crate) const AUTH_CANCELLED: Reply = reply!(501, (7, 0), "Authentication cancelled");
pub(crate) const NOT_OFFERED: Reply = reply!(502, (5, 1), "Not offered here");
pub(crate) const HELLO_FIRST: Reply = reply!(503, (5, 1), "Say EHLO or HELO first");
pub(crate) const MAIL_FIRST: Reply = reply!(503, (5, 1), "MAIL first");
pub(crate) const RCPT_FIRST: Reply = reply!(503, (5, 1), "RCPT first");
pub(crate) const IN_TRANSACTION: Reply = reply!(503, (5, 1), "A transaction is open");
pub(crate) const BDAT_GOES_ON: Reply = reply!(503, (5, 1), "The message goes on with BDAT");
pub(crate) const NO_DATA_FOR_BINARY: Reply =
    reply!(503, (5, 1), "BODY=BINARYMIME is sent with BDAT");
pub(crate) const ALREADY_TLS: Reply = reply!(503, (5, 1), "TLS is on already");
pub(crate) const ALREADY_AUTH: Reply = reply!(503, (5, 1), "Authenticated already");
pub(crate) const NO_RECIPIENTS: Reply = reply!(554, (5, 1), "No valid recipients");
/// To MAIL, and to RCPT (RFC 6531 §3.5).
pub(crate) const UTF8_SENDER: Reply = reply!(550, (6, 7), "An address beyond ASCII needs SMTPUTF8");
pub(crate) const UTF8_RECIPIENT: Reply =
    reply!(553, (6, 7), "An address beyond ASCII needs SMTPUTF8");
pub(crate) const UNKNOWN_PARAM: Reply = reply!(555, (5, 4), "Parameter not recognized");
pub(crate) const BAD_PARAM: Reply = reply!(501, (5, 4), "Bad parameter");
pub(crate) const BARE_LINE_END: Reply =
    reply!(554, (6, 0), "Bare CR or LF in the message; lines end with CRLF");
pub(crate) const NUL: Reply = reply!(554, (6, 0), "NUL in the message");
pub(crate) const TIMED_OUT: Reply = reply!(421, (4, 2), "Too slow, closing");

/// The reply to what was accepted.
pub(crate) const fn acceptance(stage: Stage) -> Reply {
    match stage {
        Stage::Connect | Stage::Xclient => GREETING,
        Stage::Hello => HELLO,
        Stage::Mail => MAIL_OK,
        Stage::Rcpt => RCPT_OK,
        Stage::Data => START_DATA,
        Stage::Chunk => CHUNK_OK,
        Stage::End => MESSAGE_OK,
        Stage::Etrn => ETRN_STARTED,
        Stage::Atrn => TURN,
        Stage::StartTls => START_TLS,
        Stage::Auth => AUTH_OK,
    }
}

/// The one table of refusals.
///
/// A refused connection has no enhanced code, as EHLO and HELO have none (RFC 2034 §4). There a
/// client can't be asked to come again but by 421, which closes (RFC 5321 §4.3.2).
pub(crate) const fn refusal(stage: Stage, reason: Reason) -> Reply {
    match (stage, reason) {
        (Stage::Connect, reason) => at_once(reason, reply!(554, "Not wanted here")),
        (Stage::Hello, reason) => at_once(reason, reply!(550, "Not wanted here")),
        (Stage::Mail, Reason::NullMx) => {
            reply!(550, (7, 27), "The sender's domain takes no mail")
        }
        // RFC 6531 §4.2: it is not the addresses, but the header.
        (Stage::End, Reason::NoUtf8) => reply!(554, (6, 9), "That host takes no UTF-8 in a header"),
        (Stage::Atrn, Reason::Policy) => reply!(450, (7, 1), "ATRN refused"),
        // RFC 2645 §5.2.1 has 450 for a queue that goes elsewhere just now.
        (Stage::Atrn, Reason::TooManySessions) => {
            reply!(450, (3, 2), "This mail is on its way already")
        }
        // RFC 4954 §6: what is no fault of the credentials.
        (Stage::Auth, Reason::Busy) => reply!(454, (7, 0), "Can't authenticate you now, try later"),
        (_, reason) => refused(reason),
    }
}

/// The refusals before there is a session: 421 for now, or `refused` for good.
const fn at_once(reason: Reason, refused: Reply) -> Reply {
    match reason {
        Reason::Busy => reply!(421, "Too busy, try later"),
        Reason::TooManySessions => reply!(421, "Too many sessions, closing"),
        Reason::ShuttingDown => reply!(421, "Shutting down, try later"),
        Reason::Down => reply!(421, "Can't take mail now, try later"),
        Reason::Full => reply!(421, "No room now, try later"),
        Reason::Quota
        | Reason::TooManyRecipients
        | Reason::Unverified
        | Reason::Uncertain
        | Reason::NoMail
        | Reason::NoTls => reply!(421, "Try later"),
        _ => refused,
    }
}

const fn refused(reason: Reason) -> Reply {
    match reason {
        Reason::Busy => reply!(451, (3, 2), "Too busy, try later"),
        Reason::TooManySessions => reply!(421, (7, 0), "Too many sessions, closing"),
        Reason::ShuttingDown => reply!(421, (3, 2), "Shutting down, try later"),
        Reason::Down => reply!(421, (3, 2), "Can't take mail now, try later"),
        Reason::Full => reply!(452, (3, 1), "No room now, try later"),
        Reason::Quota => reply!(452, (2, 2), "This recipient's room is used up, try later"),
        Reason::TooBig => reply!(552, (3, 4), "Message too big"),
        Reason::TooManyRecipients => reply!(452, (5, 3), "Too many recipients"),
        Reason::UnknownUser => reply!(550, (1, 1), "No such mailbox"),
        Reason::Unverified => {
            reply!(450, (3, 2), "Can't find out now whether it exists, try later")
        }
        Reason::RelayDenied => reply!(550, (7, 1), "No mail is held for that domain"),
        Reason::Policy => reply!(550, (7, 1), "Not wanted here"),
        Reason::NullMx => reply!(556, (1, 10), "That domain takes no mail"),
        Reason::Uncertain => reply!(451, (3, 0), "Not taken for certain, send it again"),
        Reason::NoUtf8 => reply!(553, (6, 7), "That host takes no SMTPUTF8"),
        Reason::Loop => reply!(554, (4, 6), "Too many hops, this looks like a loop"),
        Reason::NeedTls => reply!(530, (7, 0), "STARTTLS first"),
        Reason::NeedAuth => reply!(530, (7, 0), "AUTH first"),
        Reason::BadCredentials => reply!(535, (7, 8), "Credentials not right"),
        Reason::BadEncoding => reply!(501, (5, 2), "Not base64"),
        Reason::UnknownMechanism => reply!(504, (5, 4), "Mechanism not known"),
        Reason::NoMail => reply!(453, (0, 0), "You have no mail"),
        Reason::NoTls => reply!(454, (7, 0), "No TLS now"),
        Reason::NotOffered => NOT_OFFERED,
    }
}

#[cfg(test)]
mod tests;
