//! Commands (RFC 5321 §4.1.1 and the extensions' own).

use super::etrn::{Domains, Node};
use super::lex::{parse_decimal, split_once};
use super::path::{ForwardPath, ReversePath, parse_forward, parse_reverse};

/// A command line, taken apart as far as its grammar goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'i> {
    /// EHLO and the name that the client gives itself.
    Ehlo(&'i [u8]),
    /// HELO and the name that the client gives itself.
    Helo(&'i [u8]),
    /// MAIL, its reverse-path, and what [`super::params::MailParams::parse`] takes.
    Mail(ReversePath<'i>, &'i [u8]),
    /// RCPT, its forward-path, and what [`super::params::RcptParams::parse`] takes.
    Rcpt(ForwardPath<'i>, &'i [u8]),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat(Chunk),
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

/// What of a chunk is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets.
    pub octets: u64,
    /// Whether the message ends with it.
    pub last: bool,
}

/// Which command has a bad argument; the reply's enhanced code depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFault {
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
    /// A line that begins with BDAT, and is none. The octets that follow can't be told from
    /// commands.
    Chunk,
    /// A request of HTTP's: a browser was made to send it, with commands in its body.
    Http,
}

/// XCLIENT's `NAME=value` pairs; values are xtext, `[UNAVAILABLE]` or `[TEMPUNAVAIL]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'i>(&'i [u8]);

impl<'i> Attributes<'i> {
    fn parse(text: &'i [u8]) -> Option<Self> {
        let pair = |word: &[u8]| {
            split_once(word, b'=')
                .is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
        };
        text.split(|octet| *octet == b' ').all(pair).then_some(Self(text))
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'i [u8], &'i [u8])> {
        self.0.split(|octet| *octet == b' ').filter_map(|word| split_once(word, b'='))
    }
}

/// Parses a line without its CRLF. White space at its end is tolerated (RFC 5321 §4.1.1).
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandFault> {
    let line = trim_end(line);
    if is_bdat(line) {
        return parse_bdat(line).ok_or(CommandFault::Chunk);
    }
    let (verb, rest) = split_word(line);
    let argument = trim_start(rest);
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    match verb {
        _ if is(b"MAIL") => parse_mail(argument),
        _ if is(b"RCPT") => parse_rcpt(argument),
        _ if has_control(line) => Err(CommandFault::Control),
        _ if is(b"DATA") => bare(argument, Command::Data),
        _ if is(b"EHLO") => named(argument, Command::Ehlo),
        _ if is(b"HELO") => named(argument, Command::Helo),
        _ if is(b"RSET") => bare(argument, Command::Rset),
        _ if is(b"QUIT") => bare(argument, Command::Quit),
        _ if is(b"NOOP") => Ok(Command::Noop),
        _ if is(b"VRFY") && argument.is_empty() => Err(CommandFault::Argument),
        _ if is(b"VRFY") => Ok(Command::Vrfy),
        _ if is(b"EXPN") => Ok(Command::Expn),
        _ if is(b"HELP") => Ok(Command::Help),
        _ if is(b"ETRN") => Node::parse(argument).map(Command::Etrn).ok_or(CommandFault::Argument),
        _ if is(b"STARTTLS") => bare(argument, Command::StartTls),
        _ if is(b"AUTH") => parse_auth(argument).ok_or(CommandFault::Argument),
        _ if is(b"XCLIENT") => {
            Attributes::parse(argument).map(Command::Xclient).ok_or(CommandFault::Argument)
        }
        _ if is(b"ATRN") => {
            Domains::parse(argument).map(Command::Atrn).ok_or(CommandFault::Argument)
        }
        _ if is_http(argument) => Err(CommandFault::Http),
        _ => Err(CommandFault::Unknown),
    }
}

/// Whether a line that is no command ends as a request of HTTP's does, whatever its method
/// (RFC 9112 §3).
fn is_http(argument: &[u8]) -> bool {
    matches!(argument, [.., b'H', b'T', b'T', b'P', b'/', _, b'.', _])
}

/// Whether `line`, or what there is of it, begins with BDAT and no longer word.
pub fn is_bdat(line: &[u8]) -> bool {
    let Some((verb, rest)) = line.split_at_checked(4) else { return false };
    verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_graphic)
}

fn has_control(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_control)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    split_once(text, b' ').unwrap_or((text, b""))
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

fn bare<'i>(argument: &[u8], command: Command<'i>) -> Result<Command<'i>, CommandFault> {
    if argument.is_empty() { Ok(command) } else { Err(CommandFault::Argument) }
}

/// Any name will do: a client whose name looks wrong is not refused for it (RFC 5321 §4.1.4).
fn named<'i>(
    name: &'i [u8],
    make: fn(&'i [u8]) -> Command<'i>,
) -> Result<Command<'i>, CommandFault> {
    if name.is_empty() { Err(CommandFault::Name) } else { Ok(make(name)) }
}

/// Strips `FROM:` or `TO:`, and the white space that RFC 5321 §3.3 forbids behind it but many
/// clients send: refusing those would bounce mail that the primary takes. No other white space may
/// be a tab.
fn strip_keyword<'i>(argument: &'i [u8], keyword: &[u8]) -> Result<&'i [u8], CommandFault> {
    let (head, mut rest) = argument.split_at_checked(keyword.len()).unwrap_or_default();
    let found = head.eq_ignore_ascii_case(keyword);
    while let (true, [b' ' | b'\t', tail @ ..]) = (found, rest) {
        rest = tail;
    }
    match () {
        () if has_control(if found { rest } else { argument }) => Err(CommandFault::Control),
        () if found => Ok(rest),
        () => Err(CommandFault::Argument),
    }
}

/// Parameters are set off from the path by a space.
fn is_set_off(params: &[u8]) -> bool {
    params.is_empty() || params.first() == Some(&b' ')
}

fn parse_mail(argument: &[u8]) -> Result<Command<'_>, CommandFault> {
    let path = strip_keyword(argument, b"FROM:")?;
    match parse_reverse(path) {
        Some((path, params)) if is_set_off(params) => Ok(Command::Mail(path, params)),
        _ => Err(CommandFault::ReversePath),
    }
}

fn parse_rcpt(argument: &[u8]) -> Result<Command<'_>, CommandFault> {
    let path = strip_keyword(argument, b"TO:")?;
    match parse_forward(path) {
        Some((path, params)) if is_set_off(params) => Ok(Command::Rcpt(path, params)),
        _ => Err(CommandFault::ForwardPath),
    }
}

fn parse_bdat(line: &[u8]) -> Option<Command<'_>> {
    let (_, argument) = split_word(line);
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let octets = parse_decimal(words.next()?)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat(Chunk { octets, last }))
}

fn parse_auth(argument: &[u8]) -> Option<Command<'_>> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let mechanism = words.next().filter(|word| word.len() <= 20)?;
    let initial = words.next();
    words.next().is_none().then_some(Command::Auth(mechanism, initial))
}

#[cfg(test)]
mod tests {
    use super::{Chunk, Command, CommandFault, is_bdat, parse};

    #[test]
    fn a_bdat_that_is_none_is_told_from_other_faults() {
        assert_eq!(parse(b"bdat  5  last"), Ok(Command::Bdat(Chunk { octets: 5, last: true })));
        for bad in [
            &b"BDAT"[..],
            b"BDAT x",
            b"BDAT -1",
            b"BDAT 5\tLAST",
            b"BDAT\t5",
            b"BDAT 5\0",
            b"BDAT 5 LAST x",
        ] {
            assert_eq!(parse(bad), Err(CommandFault::Chunk), "{}", bad.escape_ascii());
        }
        assert_eq!(parse(b"BDATA 5"), Err(CommandFault::Unknown));
        assert!(is_bdat(b"BDAT 1") && is_bdat(b"BDAT") && !is_bdat(b"BDA") && !is_bdat(b"BDATX"));
    }

    #[test]
    fn a_tab_is_white_space_behind_the_colon_only() {
        assert!(matches!(parse(b"MAIL FROM: \t <a@b.example>"), Ok(Command::Mail(..))));
        assert!(matches!(parse(b"RCPT TO:\t<a@b.example>"), Ok(Command::Rcpt(..))));
        for bad in [
            &b"MAIL\tFROM:<a@b.example>"[..],
            b"MAIL FROM\t:<a@b.example>",
            b"MAIL FROM:<a@b.example>\tSIZE=1",
            b"MAIL FROM:<a@b.example> SIZE=1\tBODY=7BIT",
            b"RCPT TO:<a\t@b.example>",
            b"NO\x7fOP",
            b"NOOP\t x",
        ] {
            assert_eq!(parse(bad), Err(CommandFault::Control), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_word_is_known_in_any_case_and_ends_at_a_space() {
        for good in [&b"mail from:<> size=1"[..], b"Mail From:<>  SIZE=1", b"vrfy a"] {
            assert!(parse(good).is_ok(), "{}", good.escape_ascii());
        }
        for (bad, fault) in [
            (&b"MAIL FROM:<>SIZE=1"[..], CommandFault::ReversePath),
            (b"RCPT TO:<a@b.example>NOTIFY=NEVER", CommandFault::ForwardPath),
            (b"MAIL <>", CommandFault::Argument),
            (b"MAIL FROM <>", CommandFault::Argument),
            (b"VRFY", CommandFault::Argument),
            (b"DATA x", CommandFault::Argument),
            (b"EHLO", CommandFault::Name),
        ] {
            assert_eq!(parse(bad), Err(fault), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_request_of_http_is_known() {
        for request in
            [&b"GET / HTTP/1.1"[..], b"POST /x HTTP/1.0", b"CONNECT a.example:25 HTTP/2.0"]
        {
            assert_eq!(parse(request), Err(CommandFault::Http), "{}", request.escape_ascii());
        }
        for other in [&b"GET"[..], b"GET /", b"HTTP/1.1", b"GET / http/1.1"] {
            assert_eq!(parse(other), Err(CommandFault::Unknown), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn auth_has_a_mechanism_and_one_initial_response() {
        let mechanism = [b'X'; 20];
        let line = [b"AUTH ", &mechanism[..]].concat();
        assert_eq!(parse(&line), Ok(Command::Auth(&mechanism, None)));
        assert_eq!(parse(&[&line[..], b"X"].concat()), Err(CommandFault::Argument));
        assert_eq!(parse(b"AUTH PLAIN ="), Ok(Command::Auth(b"PLAIN", Some(b"="))));
        assert_eq!(parse(b"AUTH PLAIN a b"), Err(CommandFault::Argument));
        assert_eq!(parse(b"AUTH"), Err(CommandFault::Argument));
    }

    #[test]
    fn attributes_of_xclient_have_a_name_and_a_value() {
        let Ok(Command::Xclient(attributes)) = parse(b"XCLIENT ADDR=192.0.2.1 NAME=a=b") else {
            panic!("well formed");
        };
        assert!(attributes.iter().eq([(&b"ADDR"[..], &b"192.0.2.1"[..]), (b"NAME", b"a=b")]));
        for bad in [&b"XCLIENT"[..], b"XCLIENT =x", b"XCLIENT ADDR=", b"XCLIENT ADDR"] {
            assert_eq!(parse(bad), Err(CommandFault::Argument), "{}", bad.escape_ascii());
        }
    }
}
