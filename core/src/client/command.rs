//! Commands with arguments, written whole or not at all.

use super::{CallError, Mail, Mechanism, Recipient};
use crate::wire::domain::is_domain;
use crate::wire::ehlo::{Extension, Extensions};
use crate::wire::params::{Body, Notify, Ret};
use crate::wire::{NoRoom, Out, Text};

/// MAIL (RFC 5321 §4.1.1.2) with those parameters that the peer offers to take.
pub(super) fn put_mail(
    out: &mut Out<'_>,
    mail: &Mail<'_>,
    offers: Extensions,
) -> Result<(), CallError> {
    out.whole(|out| {
        out.put(b"MAIL FROM:<")?;
        put_path(out, mail.reverse_path)?;
        out.put(b">")?;
        let params = &mail.params;
        if let Some(size) = params.size.filter(|_| offers.has(Extension::Size)) {
            out.put(b" SIZE=")?;
            out.put_decimal(size)?;
        }
        match params.body {
            // 8-bit mail for a peer that does not offer 8BITMIME goes as it is: to change it
            // would break signatures, and every peer in use takes it.
            Body::EightBitMime if offers.has(Extension::EightBitMime) => {
                out.put(b" BODY=8BITMIME")?;
            }
            Body::Unstated | Body::SevenBit | Body::EightBitMime => {}
            Body::BinaryMime => out.put(b" BODY=BINARYMIME")?,
        }
        if params.smtputf8 && offers.has(Extension::SmtpUtf8) {
            out.put(b" SMTPUTF8")?;
        }
        if offers.has(Extension::Dsn) {
            put_ret(out, params.ret)?;
            put_parameter(out, b" ENVID=", params.envid)?;
        }
        Ok(out.put(b"\r\n")?)
    })
}

/// RCPT (RFC 5321 §4.1.1.3), in a transaction whose MAIL said SMTPUTF8 or not.
///
/// An ORCPT in UTF-8 goes only with SMTPUTF8 (RFC 6533 §3): without, the peer could but refuse it,
/// and the recipient is worth more than where it was first sent to.
pub(super) fn put_rcpt(
    out: &mut Out<'_>,
    recipient: &Recipient<'_>,
    offers: Extensions,
    utf8: bool,
) -> Result<(), CallError> {
    out.whole(|out| {
        out.put(b"RCPT TO:<")?;
        put_path(out, recipient.forward_path)?;
        out.put(b">")?;
        if offers.has(Extension::Dsn) {
            put_notify(out, recipient.params.notify)?;
            let orcpt = recipient.params.orcpt.filter(|orcpt| utf8 || orcpt.is_ascii());
            put_parameter(out, b" ORCPT=", orcpt)?;
        }
        Ok(out.put(b"\r\n")?)
    })
}

/// ETRN (RFC 1985 §5).
pub(super) fn put_etrn(out: &mut Out<'_>, node: &[u8]) -> Result<(), CallError> {
    out.whole(|out| {
        put_parameter(out, b"ETRN ", Some(node))?;
        Ok(out.put(b"\r\n")?)
    })
}

/// AUTH (RFC 4954 §4); an empty initial response is `=`.
pub(super) fn put_auth(
    out: &mut Out<'_>,
    mechanism: Mechanism,
    initial: Option<&[u8]>,
) -> Result<(), CallError> {
    let initial = initial.map(|octets| if octets.is_empty() { b"=" } else { octets });
    out.whole(|out| {
        put_parameter(out, b"AUTH ", Some(mechanism.name().as_bytes()))?;
        put_parameter(out, b" ", initial)?;
        Ok(out.put(b"\r\n")?)
    })
}

/// The answer to a challenge (RFC 4954 §4).
pub(super) fn put_response(out: &mut Out<'_>, response: &[u8]) -> Result<(), CallError> {
    out.whole(|out| {
        put_parameter(out, b"", Some(response).filter(|octets| !octets.is_empty()))?;
        Ok(out.put(b"\r\n")?)
    })
}

/// ATRN (RFC 2645 §5.2.1).
pub(super) fn put_atrn<'d>(
    out: &mut Out<'_>,
    domains: impl Iterator<Item = &'d [u8]>,
) -> Result<(), CallError> {
    out.whole(|out| {
        out.put(b"ATRN")?;
        let mut separator = b" ".as_slice();
        for domain in domains {
            if !is_domain(domain) {
                return Err(CallError::BadText);
            }
            put_parameter(out, separator, Some(domain))?;
            separator = b",";
        }
        Ok(out.put(b"\r\n")?)
    })
}

/// BDAT for a message in one chunk (RFC 3030 §2).
pub(super) fn put_bdat(out: &mut Out<'_>, size: u64) -> Result<(), NoRoom> {
    out.whole(|out| {
        out.put(b"BDAT ")?;
        out.put_decimal(size)?;
        out.put(b" LAST\r\n")
    })
}

/// EHLO, HELO or LHLO, and who we are.
pub(super) fn put_hello(out: &mut Out<'_>, verb: &[u8], hostname: Text<'_>) -> Result<(), NoRoom> {
    let parts = [verb, b" ", hostname.as_bytes(), b"\r\n"];
    out.whole(|out| parts.iter().try_for_each(|part| out.put(part)))
}

/// A mailbox: no control characters, and no space or angle bracket outside a quoted string, so
/// that a path can end neither itself nor the line.
fn put_path(out: &mut Out<'_>, path: &[u8]) -> Result<(), CallError> {
    let mut quoted = false;
    let mut escaped = false;
    for octet in path {
        match octet {
            0..=0x1f | 0x7f => return Err(CallError::BadText),
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'<' | b'>' if !quoted => return Err(CallError::BadText),
            _ => {}
        }
    }
    if quoted {
        return Err(CallError::BadText);
    }
    Ok(out.put(path)?)
}

fn put_ret(out: &mut Out<'_>, ret: Ret) -> Result<(), NoRoom> {
    match ret {
        Ret::Full => out.put(b" RET=FULL"),
        Ret::Headers => out.put(b" RET=HDRS"),
        Ret::Unstated => Ok(()),
    }
}

fn put_notify(out: &mut Out<'_>, notify: Notify) -> Result<(), NoRoom> {
    let names = [
        (Notify::NEVER, "NEVER"),
        (Notify::SUCCESS, "SUCCESS"),
        (Notify::FAILURE, "FAILURE"),
        (Notify::DELAY, "DELAY"),
    ];
    let mut separator = b" NOTIFY=".as_slice();
    for (_, name) in names.into_iter().filter(|(flag, _)| notify.has(*flag)) {
        out.put(separator)?;
        out.put(name.as_bytes())?;
        separator = b",";
    }
    Ok(())
}

/// ` NAME=` and its value, which has neither spaces nor control characters (RFC 5321 §4.1.2,
/// `esmtp-value`; octets over 127 for RFC 6533's `utf-8` addresses).
fn put_parameter(out: &mut Out<'_>, name: &[u8], value: Option<&[u8]>) -> Result<(), CallError> {
    let Some(value) = value else { return Ok(()) };
    if value.is_empty() || value.iter().any(|octet| matches!(octet, 0..=b' ' | 0x7f)) {
        return Err(CallError::BadText);
    }
    out.put(name)?;
    Ok(out.put(value)?)
}
