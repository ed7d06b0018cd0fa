//! Commands (RFC 5321 §4.1.1 and the extensions' own).

use super::etrn::{Domains, Node};
use super::params::parse_decimal;
use super::path::{ForwardPath, ReversePath, parse_forward, parse_reverse};

/// A command line, taken apart as far as its grammar goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'i> {
    /// EHLO and the name that the client gives itself.
    Ehlo(&'i [u8]),
    /// HELO and the name that the client gives itself.
    Helo(&'i [u8]),
    /// MAIL, its reverse-path, and its parameters as [`super::params::parse_mail`] takes them.
    Mail(ReversePath<'i>, &'i [u8]),
    /// RCPT, its forward-path, and its parameters as [`super::params::parse_rcpt`] takes them.
    Rcpt(ForwardPath<'i>, &'i [u8]),
    /// DATA.
    Data,
    /// BDAT: the chunk's octets, and whether it is the last (RFC 3030 §2).
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP, whatever its argument.
    Noop,
    /// VRFY, whatever it asks for.
    Vrfy,
    /// EXPN, whatever its argument.
    Expn,
    /// HELP, whatever its argument.
    Help,
    /// QUIT.
    Quit,
    /// ETRN (RFC 1985).
    Etrn(Node<'i>),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH: mechanism and initial response, in base64 (RFC 4954).
    Auth(&'i [u8], Option<&'i [u8]>),
    /// XCLIENT.
    Xclient(Attributes<'i>),
    /// ATRN (RFC 2645).
    Atrn(Domains<'i>),
}

/// Which command has a bad argument; the reply's enhanced code depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No known command.
    Unknown,
    /// A control character, such as a bare CR or LF, somewhere in the line.
    Control,
    /// MAIL's path.
    ReversePath,
    /// RCPT's path.
    ForwardPath,
    /// The name in EHLO or HELO.
    Name,
    /// Any other argument.
    Argument,
    /// BDAT's chunk size. The octets that follow can't be told from commands.
    ChunkSize,
}

/// XCLIENT's `NAME=value` pairs; values are xtext, `[UNAVAILABLE]` or `[TEMPUNAVAIL]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'i>(&'i [u8]);

impl<'i> Attributes<'i> {
    fn parse(text: &'i [u8]) -> Option<Self> {
        let pair = |word: &[u8]| {
            let at = word.iter().position(|octet| *octet == b'=');
            at.is_some_and(|at| at > 0 && at.saturating_add(1) < word.len())
        };
        text.split(|octet| *octet == b' ').all(pair).then_some(Self(text))
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'i [u8], &'i [u8])> {
        self.0.split(|octet| *octet == b' ').filter_map(|word| {
            let at = word.iter().position(|octet| *octet == b'=')?;
            let (name, value) = word.split_at_checked(at)?;
            Some((name, value.get(1..)?))
        })
    }
}

/// Parses a line without its CRLF. White space at its end is tolerated (RFC 5321 §4.1.1).
pub fn parse(line: &[u8]) -> Result<Command<'_>, Fault> {
    let line = trim_end(line);
    if line.iter().any(u8::is_ascii_control) {
        return Err(Fault::Control);
    }
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let argument = trim_start(rest);
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    match verb {
        _ if is(b"MAIL") => parse_mail(argument),
        _ if is(b"RCPT") => parse_rcpt(argument),
        _ if is(b"DATA") => bare(argument, Command::Data),
        _ if is(b"BDAT") => parse_bdat(argument).ok_or(Fault::ChunkSize),
        _ if is(b"EHLO") => named(argument, Command::Ehlo),
        _ if is(b"HELO") => named(argument, Command::Helo),
        _ if is(b"RSET") => bare(argument, Command::Rset),
        _ if is(b"QUIT") => bare(argument, Command::Quit),
        _ if is(b"NOOP") => Ok(Command::Noop),
        _ if is(b"VRFY") && argument.is_empty() => Err(Fault::Argument),
        _ if is(b"VRFY") => Ok(Command::Vrfy),
        _ if is(b"EXPN") => Ok(Command::Expn),
        _ if is(b"HELP") => Ok(Command::Help),
        _ if is(b"ETRN") => Node::parse(argument).map(Command::Etrn).ok_or(Fault::Argument),
        _ if is(b"STARTTLS") => bare(argument, Command::StartTls),
        _ if is(b"AUTH") => parse_auth(argument).ok_or(Fault::Argument),
        _ if is(b"XCLIENT") => {
            Attributes::parse(argument).map(Command::Xclient).ok_or(Fault::Argument)
        }
        _ if is(b"ATRN") => Domains::parse(argument).map(Command::Atrn).ok_or(Fault::Argument),
        _ => Err(Fault::Unknown),
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let mut rest = line;
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
    }
    rest
}

fn trim_start(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

fn bare<'i>(argument: &[u8], command: Command<'i>) -> Result<Command<'i>, Fault> {
    if argument.is_empty() { Ok(command) } else { Err(Fault::Argument) }
}

/// Any name will do: a client whose name looks wrong is not refused for it (RFC 5321 §4.1.4).
fn named<'i>(name: &'i [u8], make: fn(&'i [u8]) -> Command<'i>) -> Result<Command<'i>, Fault> {
    if name.is_empty() { Err(Fault::Name) } else { Ok(make(name)) }
}

/// Strips `FROM:` or `TO:`, and the space that RFC 5321 §3.3 forbids behind it but many clients
/// send: refusing those would bounce mail that the primary takes.
fn strip_keyword<'i>(argument: &'i [u8], keyword: &[u8]) -> Option<&'i [u8]> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| trim_start(rest))
}

/// Parameters are set off from the path by a space.
fn is_set_off(params: &[u8]) -> bool {
    params.is_empty() || params.first() == Some(&b' ')
}

fn parse_mail(argument: &[u8]) -> Result<Command<'_>, Fault> {
    let path = strip_keyword(argument, b"FROM:").ok_or(Fault::Argument)?;
    match parse_reverse(path) {
        Some((path, params)) if is_set_off(params) => Ok(Command::Mail(path, params)),
        _ => Err(Fault::ReversePath),
    }
}

fn parse_rcpt(argument: &[u8]) -> Result<Command<'_>, Fault> {
    let path = strip_keyword(argument, b"TO:").ok_or(Fault::Argument)?;
    match parse_forward(path) {
        Some((path, params)) if is_set_off(params) => Ok(Command::Rcpt(path, params)),
        _ => Err(Fault::ForwardPath),
    }
}

fn parse_bdat(argument: &[u8]) -> Option<Command<'_>> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let size = parse_decimal(words.next()?)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat(size, last))
}

fn parse_auth(argument: &[u8]) -> Option<Command<'_>> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let mechanism = words.next().filter(|word| word.len() <= 20)?;
    let initial = words.next();
    words.next().is_none().then_some(Command::Auth(mechanism, initial))
}
