//! What a command line means, in words that two parsers can agree on.

use postern_core::wire::command::{Command, CommandFault, parse};
use postern_core::wire::ehlo::{Extension, Extensions};
use postern_core::wire::etrn::Node;
use postern_core::wire::params::{Body, MailParams, Notify, RcptParams, Ret};
use smtp_proto::{
    Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_RET_FULL, MAIL_RET_HDRS,
    MAIL_SMTPUTF8, MailFrom, RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER,
    RCPT_NOTIFY_SUCCESS, RcptTo, Request,
};

const ALL: Extensions = Extensions::NONE
    .with(Extension::Size)
    .with(Extension::EightBitMime)
    .with(Extension::SmtpUtf8)
    .with(Extension::Chunking)
    .with(Extension::BinaryMime)
    .with(Extension::Dsn)
    .with(Extension::Auth);

/// What our parser makes of `line`, which has no CRLF; none if it is refused.
pub fn ours(line: &[u8]) -> Option<String> {
    Some(match parse(line).ok()? {
        Command::Ehlo(name) => format!("EHLO {}", first_word(name)),
        Command::Helo(name) => format!("HELO {}", first_word(name)),
        Command::Mail(from, params) => {
            let params = MailParams::parse(params, ALL).ok()?;
            format!("MAIL <{}>{}", unquoted(from.as_bytes()), our_mail_params(&params))
        }
        Command::Rcpt(to, params) => {
            let params = RcptParams::parse(params, ALL).ok()?;
            format!("RCPT <{}>{}", unquoted(to.as_bytes()), our_rcpt_params(&params))
        }
        Command::Data => "DATA".to_owned(),
        Command::Bdat(chunk) => format!("BDAT {} {}", chunk.octets, chunk.last),
        Command::Rset => "RSET".to_owned(),
        Command::Noop => "NOOP".to_owned(),
        Command::Vrfy => "VRFY".to_owned(),
        Command::Expn => "EXPN".to_owned(),
        Command::Help => "HELP".to_owned(),
        Command::Quit => "QUIT".to_owned(),
        Command::Etrn(Node::Host(name)) => format!("ETRN {}", text(name)),
        Command::Etrn(Node::Subtree(name)) => format!("ETRN @{}", text(name)),
        Command::Etrn(Node::Queue(name)) => format!("ETRN #{}", text(name)),
        Command::StartTls => "STARTTLS".to_owned(),
        Command::Auth(_, initial) => format!("AUTH {}", text(initial.unwrap_or_default())),
        Command::Atrn(domains) => {
            format!("ATRN {}", domains.iter().map(text).collect::<Vec<_>>().join(","))
        }
        Command::Xclient(_) => "XCLIENT".to_owned(),
    })
}

/// Whether our parser knows the verb of `line`.
pub fn is_known(line: &[u8]) -> bool {
    !matches!(parse(line), Err(CommandFault::Unknown))
}

/// What smtp-proto makes of `line`; none if it is refused. White space at the line's end is taken
/// away beforehand, since it keeps a tab there.
pub fn theirs(line: &[u8]) -> Option<String> {
    let kept = line.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |at| at + 1);
    let line = [&line[..kept], b"\r\n"].concat();
    Some(match their_request(&line).ok()? {
        Request::Ehlo { host } => format!("EHLO {host}"),
        Request::Helo { host } => format!("HELO {host}"),
        Request::Mail { from } => their_mail(&from),
        Request::Rcpt { to } => their_rcpt(&to),
        Request::Data => "DATA".to_owned(),
        Request::Bdat { chunk_size, is_last } => format!("BDAT {chunk_size} {is_last}"),
        Request::Rset => "RSET".to_owned(),
        Request::Noop { .. } => "NOOP".to_owned(),
        Request::Vrfy { .. } => "VRFY".to_owned(),
        Request::Expn { .. } => "EXPN".to_owned(),
        Request::Help { .. } => "HELP".to_owned(),
        Request::Quit => "QUIT".to_owned(),
        Request::Etrn { name } => format!("ETRN {name}"),
        Request::StartTls => "STARTTLS".to_owned(),
        Request::Auth { initial_response, .. } => format!("AUTH {initial_response}"),
        Request::Atrn { domains } => format!("ATRN {}", domains.join(",")),
        Request::Lhlo { .. } => "LHLO".to_owned(),
        Request::Burl { .. } => "BURL".to_owned(),
    })
}

fn their_request(line: &[u8]) -> Result<Request<std::borrow::Cow<'_, str>>, Error> {
    Request::parse(&mut line.iter())
}

/// smtp-proto drops what follows the name; we keep it, to be shown in a log.
fn first_word(name: &[u8]) -> String {
    text(name.split(|octet| *octet == b' ').next().unwrap_or_default())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// smtp-proto keeps a local part without its quotes and backslashes.
fn unquoted(path: &[u8]) -> String {
    text(path).replace(['"', '\\'], "")
}

fn our_mail_params(params: &MailParams<'_>) -> String {
    let body = match params.body {
        Body::Unstated => "",
        Body::SevenBit => " 7BIT",
        Body::EightBitMime => " 8BITMIME",
        Body::BinaryMime => " BINARYMIME",
    };
    let ret = match params.ret {
        Ret::Unstated => "",
        Ret::Full => " FULL",
        Ret::Headers => " HDRS",
    };
    let size =
        params.size.filter(|size| *size > 0).map_or(String::new(), |size| format!(" {size}"));
    let utf8 = if params.smtputf8 { " SMTPUTF8" } else { "" };
    let envid = params.envid.map_or(String::new(), |envid| format!(" {}", decoded(envid)));
    format!("{size}{body}{ret}{utf8}{envid}")
}

fn their_mail(from: &MailFrom<std::borrow::Cow<'_, str>>) -> String {
    let flag = |flag: u64, name: &'static str| if from.flags & flag == 0 { "" } else { name };
    let size = if from.size > 0 { format!(" {}", from.size) } else { String::new() };
    let envid = from.env_id.as_ref().map_or(String::new(), |envid| format!(" {envid}"));
    [
        format!("MAIL <{}>{size}", from.address.replace(['"', '\\'], "")).as_str(),
        flag(MAIL_BODY_7BIT, " 7BIT"),
        flag(MAIL_BODY_8BITMIME, " 8BITMIME"),
        flag(MAIL_BODY_BINARYMIME, " BINARYMIME"),
        flag(MAIL_RET_FULL, " FULL"),
        flag(MAIL_RET_HDRS, " HDRS"),
        flag(MAIL_SMTPUTF8, " SMTPUTF8"),
        &envid,
    ]
    .concat()
}

fn our_rcpt_params(params: &RcptParams<'_>) -> String {
    let flag = |flag: Notify, name: &'static str| if params.notify.has(flag) { name } else { "" };
    let orcpt = params.orcpt.map_or(String::new(), |orcpt| {
        let address = orcpt.splitn(2, |octet| *octet == b';').nth(1);
        format!(" {}", decoded(address.unwrap_or_default()))
    });
    [
        flag(Notify::NEVER, " NEVER"),
        flag(Notify::SUCCESS, " SUCCESS"),
        flag(Notify::FAILURE, " FAILURE"),
        flag(Notify::DELAY, " DELAY"),
        &orcpt,
    ]
    .concat()
}

fn their_rcpt(to: &RcptTo<std::borrow::Cow<'_, str>>) -> String {
    let flag = |flag: u64, name: &'static str| if to.flags & flag == 0 { "" } else { name };
    let orcpt = to.orcpt.as_ref().map_or(String::new(), |orcpt| format!(" {orcpt}"));
    [
        format!("RCPT <{}>", to.address.replace(['"', '\\'], "")).as_str(),
        flag(RCPT_NOTIFY_NEVER, " NEVER"),
        flag(RCPT_NOTIFY_SUCCESS, " SUCCESS"),
        flag(RCPT_NOTIFY_FAILURE, " FAILURE"),
        flag(RCPT_NOTIFY_DELAY, " DELAY"),
        &orcpt,
    ]
    .concat()
}

/// xtext as smtp-proto gives it: each octet a character (RFC 3461 §4).
fn decoded(xtext: &[u8]) -> String {
    let mut decoded = String::new();
    let mut rest = text(xtext);
    while let Some(at) = rest.find('+') {
        decoded.push_str(&rest[..at]);
        decoded.extend(u8::from_str_radix(&rest[at + 1..at + 3], 16).map(char::from));
        rest = rest[at + 3..].to_owned();
    }
    decoded + &rest
}
