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

/// A reply: its code, its enhanced code without the class, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    code: u16,
    detail: Option<(u8, u8)>,
    text: &'static [u8],
}

/// Octets of the longest reply of one line: code, enhanced code, [`Text`], CRLF.
pub(crate) const MAX_REPLY: usize = 4 + 8 + Text::MAX + 2;

/// Octets of the longest reply that [`Reply::write_named`] writes, besides the name.
pub(crate) const MAX_NAMED: usize = {
    let (greeting, hello) = (GREETING.text.len(), HELLO.text.len());
    b"220  \r\n".len() + if greeting > hello { greeting } else { hello }
};

/// What a line of EHLO's reply begins with.
pub(crate) const EHLO_LINE: &[u8] = b"250-";
/// Its last line.
pub(crate) const EHLO_LAST: &[u8] = b"250 HELP\r\n";

impl Reply {
    const fn new(code: u16, detail: (u8, u8), text: &'static str) -> Self {
        Self { code, detail: Some(detail), text: text.as_bytes() }
    }

    /// A reply without an enhanced code: to the connection, EHLO and HELO (RFC 2034 §4), and 3yz.
    const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, detail: None, text: text.as_bytes() }
    }

    /// The three digits.
    pub(crate) const fn code(&self) -> u16 {
        self.code
    }

    /// Appends the reply, all or nothing, in its own words.
    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        self.write_words(&[self.text], out)
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
        self.write_words(&[number.written(), b" ", self.text], out)
    }

    /// Appends the reply with `name` before its words.
    pub(crate) fn write_named(&self, name: Text<'_>, out: &mut Out<'_>) -> Result<(), NoRoom> {
        self.write_words(&[name.as_bytes(), b" ", self.text], out)
    }

    fn write_words(&self, words: &[&[u8]], out: &mut Out<'_>) -> Result<(), NoRoom> {
        let start = out.len();
        let written = self.put_codes(out);
        let written = words.iter().fold(written, |done, word| done.and_then(|()| out.put(word)));
        let ended = written.and_then(|()| out.put(b"\r\n"));
        if ended.is_err() {
            out.truncate(start);
        }
        ended
    }

    fn put_codes(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.put_decimal(u64::from(self.code))?;
        out.put(b" ")?;
        let Some((subject, detail)) = self.detail else { return Ok(()) };
        out.put_decimal(u64::from(self.code / 100))?;
        out.put(b".")?;
        out.put_decimal(u64::from(subject))?;
        out.put(b".")?;
        out.put_decimal(u64::from(detail))?;
        out.put(b" ")
    }
}

pub(crate) const GREETING: Reply = Reply::plain(220, "ESMTP Postern");
pub(crate) const HELLO: Reply = Reply::plain(250, "greets you");
pub(crate) const MAIL_OK: Reply = Reply::new(250, (1, 0), "Sender ok");
pub(crate) const RCPT_OK: Reply = Reply::new(250, (1, 5), "Recipient ok");
pub(crate) const START_DATA: Reply = Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>");
pub(crate) const CHUNK_OK: Reply = Reply::new(250, (0, 0), "Chunk taken");
pub(crate) const MESSAGE_OK: Reply = Reply::new(250, (0, 0), "Message taken");
pub(crate) const OK: Reply = Reply::new(250, (0, 0), "Ok");
pub(crate) const VRFY: Reply =
    Reply::new(252, (0, 0), "Can't verify here, but send some mail and it is tried");
pub(crate) const EXPN: Reply = Reply::new(502, (5, 1), "No lists are expanded here");
pub(crate) const HELP: Reply = Reply::new(214, (0, 0), "See RFC 5321, and RFC 1985 for ETRN");
pub(crate) const BYE: Reply = Reply::new(221, (0, 0), "Bye");
pub(crate) const START_TLS: Reply = Reply::new(220, (0, 0), "Ready to start TLS");
pub(crate) const AUTH_OK: Reply = Reply::new(235, (7, 0), "Authenticated");
pub(crate) const CHALLENGE: Reply = Reply::plain(334, "");
pub(crate) const TURN: Reply = Reply::new(250, (0, 0), "Turning the connection round");

pub(crate) const ETRN_STARTED: Reply = Reply::new(250, (0, 0), "Queuing started");
pub(crate) const ETRN_NONE: Reply = Reply::new(251, (0, 0), "No messages waiting");
pub(crate) const ETRN_PENDING: Reply = Reply::new(252, (0, 0), "Pending messages started");
pub(crate) const ETRN_COUNTED: Reply = Reply::new(253, (0, 0), "pending messages started");
pub(crate) const ETRN_UNABLE: Reply = Reply::new(458, (3, 0), "Unable to queue messages now");
pub(crate) const ETRN_DENIED: Reply = Reply::new(459, (7, 1), "Not allowed for this node");

pub(crate) const UNKNOWN: Reply = Reply::new(500, (5, 2), "Command not recognized");
pub(crate) const CONTROL: Reply =
    Reply::new(501, (5, 2), "Control character, bare CR or bare LF in a command");
pub(crate) const TOO_LONG: Reply = Reply::new(500, (5, 2), "Line too long");
pub(crate) const AUTH_TOO_LONG: Reply = Reply::new(500, (5, 6), "Authentication line too long");
pub(crate) const BAD_ARGUMENT: Reply = Reply::new(501, (5, 4), "Bad argument");
pub(crate) const BAD_NAME: Reply = Reply::plain(501, "A domain or address literal is needed");
pub(crate) const BAD_REVERSE_PATH: Reply = Reply::new(501, (1, 7), "Bad reverse-path");
pub(crate) const BAD_FORWARD_PATH: Reply = Reply::new(501, (1, 3), "Bad forward-path");
pub(crate) const BAD_CHUNK: Reply = Reply::new(501, (5, 4), "Bad BDAT, closing");
pub(crate) const HTTP: Reply = Reply::new(421, (7, 0), "This is no web server, closing");
pub(crate) const TOO_MANY_ERRORS: Reply = Reply::new(421, (7, 0), "Too many errors, closing");
pub(crate) const TOO_MUCH_TALK: Reply =
    Reply::new(421, (7, 0), "Too many commands without a message, closing");
pub(crate) const TURNED_AWAY: Reply = Reply::new(503, (5, 1), "Nothing but QUIT is taken here");
pub(crate) const AUTH_CANCELLED: Reply = Reply::new(501, (7, 0), "Authentication cancelled");
pub(crate) const NOT_OFFERED: Reply = Reply::new(502, (5, 1), "Not offered here");
pub(crate) const HELLO_FIRST: Reply = Reply::new(503, (5, 1), "Say EHLO or HELO first");
pub(crate) const MAIL_FIRST: Reply = Reply::new(503, (5, 1), "MAIL first");
pub(crate) const RCPT_FIRST: Reply = Reply::new(503, (5, 1), "RCPT first");
pub(crate) const IN_TRANSACTION: Reply = Reply::new(503, (5, 1), "A transaction is open");
pub(crate) const BDAT_GOES_ON: Reply = Reply::new(503, (5, 1), "The message goes on with BDAT");
pub(crate) const NO_DATA_FOR_BINARY: Reply =
    Reply::new(503, (5, 1), "BODY=BINARYMIME is sent with BDAT");
pub(crate) const ALREADY_TLS: Reply = Reply::new(503, (5, 1), "TLS is on already");
pub(crate) const ALREADY_AUTH: Reply = Reply::new(503, (5, 1), "Authenticated already");
pub(crate) const NO_RECIPIENTS: Reply = Reply::new(554, (5, 1), "No valid recipients");
/// To MAIL, and to RCPT (RFC 6531 §3.5).
pub(crate) const UTF8_SENDER: Reply =
    Reply::new(550, (6, 7), "An address beyond ASCII needs SMTPUTF8");
pub(crate) const UTF8_RECIPIENT: Reply =
    Reply::new(553, (6, 7), "An address beyond ASCII needs SMTPUTF8");
pub(crate) const UNKNOWN_PARAM: Reply = Reply::new(555, (5, 4), "Parameter not recognized");
pub(crate) const BAD_PARAM: Reply = Reply::new(501, (5, 4), "Bad parameter");
pub(crate) const BARE_LINE_END: Reply =
    Reply::new(554, (6, 0), "Bare CR or LF in the message; lines end with CRLF");
pub(crate) const NUL: Reply = Reply::new(554, (6, 0), "NUL in the message");
pub(crate) const TIMED_OUT: Reply = Reply::new(421, (4, 2), "Too slow, closing");

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
        (Stage::Connect, reason) => at_once(refused(reason), 554),
        (Stage::Hello, reason) => at_once(refused(reason), 550),
        (Stage::Mail, Reason::NullMx) => {
            Reply::new(550, (7, 27), "The sender's domain takes no mail")
        }
        (Stage::Atrn, Reason::Policy) => Reply::new(450, (7, 1), "ATRN refused"),
        (_, reason) => refused(reason),
    }
}

/// What `reply` becomes before there is a session: 421 if it is for now, else `code`.
const fn at_once(reply: Reply, code: u16) -> Reply {
    if reply.code < 500 {
        Reply { code: 421, detail: None, ..reply }
    } else {
        Reply::plain(code, "Not wanted here")
    }
}

const fn refused(reason: Reason) -> Reply {
    match reason {
        Reason::Busy => Reply::new(451, (3, 2), "Too busy, try later"),
        Reason::TooManySessions => Reply::new(421, (7, 0), "Too many sessions, closing"),
        Reason::ShuttingDown => Reply::new(421, (3, 2), "Shutting down, try later"),
        Reason::Down => Reply::new(421, (3, 2), "Can't take mail now, try later"),
        Reason::Full => Reply::new(452, (3, 1), "No room now, try later"),
        Reason::Quota => Reply::new(452, (2, 2), "This recipient's room is used up, try later"),
        Reason::TooBig => Reply::new(552, (3, 4), "Message too big"),
        Reason::TooManyRecipients => Reply::new(452, (5, 3), "Too many recipients"),
        Reason::UnknownUser => Reply::new(550, (1, 1), "No such mailbox"),
        Reason::RelayDenied => Reply::new(550, (7, 1), "No mail is held for that domain"),
        Reason::Policy => Reply::new(550, (7, 1), "Not wanted here"),
        Reason::NullMx => Reply::new(556, (1, 10), "That domain takes no mail"),
        Reason::Uncertain => Reply::new(451, (3, 0), "Not taken for certain, send it again"),
        Reason::NoUtf8 => Reply::new(553, (6, 7), "That host takes no SMTPUTF8"),
        Reason::Loop => Reply::new(554, (4, 6), "Too many hops, this looks like a loop"),
        Reason::NeedTls => Reply::new(530, (7, 0), "STARTTLS first"),
        Reason::NeedAuth => Reply::new(530, (7, 0), "AUTH first"),
        Reason::BadCredentials => Reply::new(535, (7, 8), "Credentials not right"),
        Reason::BadEncoding => Reply::new(501, (5, 2), "Not base64"),
        Reason::UnknownMechanism => Reply::new(504, (5, 4), "Mechanism not known"),
        Reason::NoMail => Reply::new(453, (0, 0), "You have no mail"),
        Reason::NoTls => Reply::new(454, (7, 0), "No TLS now"),
        Reason::NotOffered => NOT_OFFERED,
    }
}

#[cfg(test)]
mod tests;
