//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2, `esmtp-param`).

use super::ehlo::{Extension, Extensions};
use super::lex::{parse_decimal, split_once};

/// MAIL's BODY parameter (RFC 6152 §2, RFC 3030 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// Not given.
    #[default]
    Unstated,
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`
    BinaryMime,
}

/// MAIL's RET parameter (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ret {
    /// Not given.
    #[default]
    Unstated,
    /// `FULL`: a bounce returns the whole message.
    Full,
    /// `HDRS`: a bounce returns the header only.
    Headers,
}

/// RCPT's NOTIFY parameter (RFC 3461 §4.1): not given, `NEVER`, or any of the other three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify(u8);

impl Notify {
    /// Not given.
    pub const UNSTATED: Self = Self(0);
    /// `NEVER`
    pub const NEVER: Self = Self(1);
    /// `SUCCESS`
    pub const SUCCESS: Self = Self(2);
    /// `FAILURE`
    pub const FAILURE: Self = Self(4);
    /// `DELAY`
    pub const DELAY: Self = Self(8);

    /// Both this and `other`; `NEVER` stands alone, so with it there is no such value.
    #[must_use]
    pub const fn and(self, other: Self) -> Option<Self> {
        Self::from_bits(self.0 | other.0)
    }

    /// Whether every flag of `other` is set; [`Notify::UNSTATED`] has none that could be.
    pub const fn has(self, other: Self) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }

    /// The same once the sender was told of a delay: with nothing else wanted, `NEVER`, since he
    /// wants nothing that is not given would stand for.
    #[must_use]
    pub const fn told_of_delay(self) -> Self {
        match self.0 & !Self::DELAY.0 {
            0 if self.0 != 0 => Self::NEVER,
            bits => Self(bits),
        }
    }

    /// The stored octet.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The parameter that a stored octet stands for.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= 1 || (bits < 16 && bits & 1 == 0) { Some(Self(bits)) } else { None }
    }
}

/// What MAIL said besides the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailParams<'i> {
    /// SIZE: octets that the client means to send (RFC 1870).
    pub size: Option<u64>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8: addresses and header fields may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// RET.
    pub ret: Ret,
    /// ENVID, as xtext (RFC 3461 §4.4).
    pub envid: Option<&'i [u8]>,
    /// AUTH, as xtext or `<>` (RFC 4954 §5).
    pub auth: Option<&'i [u8]>,
}

/// What RCPT said besides the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RcptParams<'i> {
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT: `addr-type;xtext` (RFC 3461 §4.2).
    pub orcpt: Option<&'i [u8]>,
}

/// Why parameters were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamFault {
    /// A keyword that was not offered: 555 (RFC 5321 §4.1.1.11).
    Unknown,
    /// A known keyword with a bad value, or twice: 501.
    Malformed,
}

type Param<'i> = (&'i [u8], Option<&'i [u8]>);

/// Splits ` KEY=VALUE KEY` at its spaces; several spaces are taken for one.
fn split(text: &[u8]) -> impl Iterator<Item = Param<'_>> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(|word| match split_once(
        word, b'=',
    ) {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    })
}

fn set_once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), ParamFault> {
    if value.is_none() || slot.is_some() {
        return Err(ParamFault::Malformed);
    }
    *slot = value;
    Ok(())
}

impl<'i> MailParams<'i> {
    /// Parses what follows MAIL's path.
    pub fn parse(text: &'i [u8], offered: Extensions) -> Result<Self, ParamFault> {
        let mut params = Self::default();
        let (mut body, mut ret) = (None, None);
        for (key, value) in split(text) {
            let is =
                |name: &[u8], extension| offered.has(extension) && key.eq_ignore_ascii_case(name);
            if is(b"SIZE", Extension::Size) {
                set_once(&mut params.size, value.and_then(parse_size))?;
            } else if is(b"BODY", Extension::EightBitMime) {
                set_once(&mut body, value.and_then(|value| parse_body(value, offered)))?;
            } else if is(b"SMTPUTF8", Extension::SmtpUtf8) {
                if value.is_some() || params.smtputf8 {
                    return Err(ParamFault::Malformed);
                }
                params.smtputf8 = true;
            } else if is(b"RET", Extension::Dsn) {
                set_once(&mut ret, value.and_then(parse_ret))?;
            } else if is(b"ENVID", Extension::Dsn) {
                set_once(&mut params.envid, value.filter(|value| is_envid(value)))?;
            } else if is(b"AUTH", Extension::Auth) {
                set_once(&mut params.auth, value.filter(|value| is_auth(value)))?;
            } else {
                return Err(ParamFault::Unknown);
            }
        }
        params.body = body.unwrap_or_default();
        params.ret = ret.unwrap_or_default();
        Ok(params)
    }
}

impl<'i> RcptParams<'i> {
    /// Parses what follows RCPT's path.
    pub fn parse(text: &'i [u8], offered: Extensions) -> Result<Self, ParamFault> {
        let mut params = Self::default();
        let mut notify = None;
        for (key, value) in split(text) {
            if !offered.has(Extension::Dsn) {
                return Err(ParamFault::Unknown);
            } else if key.eq_ignore_ascii_case(b"NOTIFY") {
                set_once(&mut notify, value.and_then(parse_notify))?;
            } else if key.eq_ignore_ascii_case(b"ORCPT") {
                set_once(&mut params.orcpt, value.filter(|value| is_orcpt(value, offered)))?;
            } else {
                return Err(ParamFault::Unknown);
            }
        }
        params.notify = notify.unwrap_or_default();
        Ok(params)
    }
}

/// 1 to 20 digits (RFC 1870 §3). A number beyond 64 bits is a size all the same, and too big for
/// everybody.
fn parse_size(value: &[u8]) -> Option<u64> {
    if value.len() > 20 { None } else { parse_decimal(value) }
}

fn parse_body(value: &[u8], offered: Extensions) -> Option<Body> {
    let binary = offered.has(Extension::BinaryMime);
    match value {
        _ if value.eq_ignore_ascii_case(b"7BIT") => Some(Body::SevenBit),
        _ if value.eq_ignore_ascii_case(b"8BITMIME") => Some(Body::EightBitMime),
        _ if binary && value.eq_ignore_ascii_case(b"BINARYMIME") => Some(Body::BinaryMime),
        _ => None,
    }
}

fn parse_ret(value: &[u8]) -> Option<Ret> {
    match value {
        _ if value.eq_ignore_ascii_case(b"FULL") => Some(Ret::Full),
        _ if value.eq_ignore_ascii_case(b"HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

fn parse_notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::NEVER);
    }
    value.split(|octet| *octet == b',').try_fold(Notify::UNSTATED, |notify, word| {
        notify.and(match word {
            _ if word.eq_ignore_ascii_case(b"SUCCESS") => Notify::SUCCESS,
            _ if word.eq_ignore_ascii_case(b"FAILURE") => Notify::FAILURE,
            _ if word.eq_ignore_ascii_case(b"DELAY") => Notify::DELAY,
            _ => return None,
        })
    })
}

/// RFC 3461 §4.4: 100 octets of xtext at most, of printable characters. An encoded CRLF would be
/// decoded into a report's header.
fn is_envid(value: &[u8]) -> bool {
    let mut pairs = value.windows(3);
    let printable =
        |pair: &[u8]| !matches!(pair, [b'+', b'0' | b'1' | b'8'..=b'9' | b'A'..=b'F', _] | b"+7F");
    value.len() <= 100 && is_xtext(value) && pairs.all(printable)
}

/// RFC 4954 §5: at most 500 octets. The `<>` that stands for nobody is xtext too.
fn is_auth(value: &[u8]) -> bool {
    value.len() <= 500 && is_xtext(value)
}

/// RFC 3461 §4.2: at most 500 octets.
fn is_orcpt(value: &[u8], offered: Extensions) -> bool {
    let Some((kind, address)) = split_once(value, b';') else { return false };
    let atom = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let well_formed = match kind.eq_ignore_ascii_case(b"utf-8") {
        true => {
            is_utf8_address(address) && (address.is_ascii() || offered.has(Extension::SmtpUtf8))
        }
        false => is_xtext(address),
    };
    !kind.is_empty() && kind.iter().all(atom) && value.len() <= 500 && well_formed
}

/// RFC 6533 §3: printable octets but `+`, `=` and `\`, characters of UTF-8, or `\x{…}` with two to
/// six hexadecimal digits.
fn is_utf8_address(text: &[u8]) -> bool {
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'x', b'{', tail @ ..]) => {
                let digits = tail.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
                match tail.get(digits..) {
                    Some([b'}', tail @ ..]) if (2..=6).contains(&digits) => tail,
                    _ => return false,
                }
            }
            (b'\\' | b'+' | b'=', _) => return false,
            (b'!'..=b'~' | 0x80.., tail) => tail,
            _ => return false,
        };
    }
    !text.is_empty() && core::str::from_utf8(text).is_ok()
}

/// RFC 3461 §4: printable ASCII but `+` and `=`, or `+` and two upper-case hexadecimal digits.
fn is_xtext(text: &[u8]) -> bool {
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'+', [high, low, tail @ ..]) if is_upper_hex(*high) && is_upper_hex(*low) => tail,
            (b'+' | b'=', _) => return false,
            (b'!'..=b'~', tail) => tail,
            _ => return false,
        };
    }
    !text.is_empty()
}

fn is_upper_hex(octet: u8) -> bool {
    octet.is_ascii_digit() || (b'A'..=b'F').contains(&octet)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::{Body, MailParams, RcptParams};
    use crate::wire::ehlo::{Extension, Extensions};

    const ALL: Extensions = Extensions::NONE
        .with(Extension::Size)
        .with(Extension::EightBitMime)
        .with(Extension::SmtpUtf8)
        .with(Extension::Chunking)
        .with(Extension::BinaryMime)
        .with(Extension::Dsn)
        .with(Extension::Auth);

    fn mail_takes(text: &str, offered: Extensions) -> bool {
        MailParams::parse(text.as_bytes(), offered).is_ok()
    }

    fn rcpt_takes(text: &str, offered: Extensions) -> bool {
        RcptParams::parse(text.as_bytes(), offered).is_ok()
    }

    #[test]
    fn nothing_is_offered_without_what_it_needs() {
        let pairs = [
            (Extension::SmtpUtf8, Extension::EightBitMime),
            (Extension::BinaryMime, Extension::Chunking),
            (Extension::Atrn, Extension::Auth),
        ];
        for (extension, needed) in pairs {
            let alone = Extensions::NONE.with(extension);
            assert!(!alone.has(extension), "{extension:?}");
            assert!(alone.with(needed).has(extension), "{extension:?}");
        }
        let body = MailParams::parse(b" BODY=BINARYMIME", ALL).map(|params| params.body);
        assert_eq!(body, Ok(Body::BinaryMime));
        assert!(!mail_takes(" BODY=BINARYMIME", ALL.without(Extension::Chunking)));
        assert!(!mail_takes(" SMTPUTF8", ALL.without(Extension::EightBitMime)));
    }

    #[test]
    fn a_parameter_is_said_once_and_a_size_has_20_digits() {
        for twice in ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=a", "AUTH=a"] {
            assert!(mail_takes(&format!(" {twice}"), ALL), "{twice}");
            assert!(!mail_takes(&format!(" {twice} {twice}"), ALL), "{twice}");
        }
        for twice in ["NOTIFY=NEVER", "ORCPT=rfc822;a"] {
            assert!(rcpt_takes(&format!(" {twice}"), ALL), "{twice}");
            assert!(!rcpt_takes(&format!(" {twice} {twice}"), ALL), "{twice}");
        }
        let size = |digits: usize| mail_takes(&format!(" SIZE={}", "9".repeat(digits)), ALL);
        assert!(size(20) && !size(21));
    }

    #[test]
    fn xtext_is_bounded_and_upper_case() {
        let with = |key: &str, octets: usize| format!(" {key}={}", "x".repeat(octets));
        assert!(mail_takes(&with("ENVID", 100), ALL) && !mail_takes(&with("ENVID", 101), ALL));
        assert!(mail_takes(&with("AUTH", 500), ALL) && !mail_takes(&with("AUTH", 501), ALL));
        assert!(mail_takes(" AUTH=<>", ALL) && !mail_takes(" AUTH=<a>=", ALL));
        assert!(mail_takes(" ENVID=a+2B", ALL));
        for bad in ["a+2b", "a+2", "a=b", "a+0D+0Ab", "a+7F", "a+80", "a+FF", ""] {
            assert!(!mail_takes(&format!(" ENVID={bad}"), ALL), "{bad}");
        }
    }

    #[test]
    fn original_recipients() {
        let of = |kind: &str, octets: usize| {
            format!(" ORCPT={kind};{}", "x".repeat(octets - kind.len() - 1))
        };
        for kind in ["rfc822", "utf-8", "x"] {
            assert!(rcpt_takes(&of(kind, 500), ALL), "{kind}");
            assert!(!rcpt_takes(&of(kind, 501), ALL), "{kind}");
        }
        let utf8 = |address: &str| rcpt_takes(&format!(" ORCPT=utf-8;{address}"), ALL);
        for good in ["a@b.example", "ü@b.example", "\\x{FC}@b.example", "a\\x{2B}c@b.example"] {
            assert!(utf8(good), "{good}");
        }
        let bad = ["", "a=b@c", "a+b@c", "a+2Bb@c", "a\\b@c", "\\x{}", "\\x{F", "\\x{1234567}"];
        for bad in bad.into_iter().chain(["\\x{G0}", "a\u{1}"]) {
            assert!(!utf8(bad), "{bad}");
        }
        assert!(RcptParams::parse(b" ORCPT=utf-8;\xff@b.example", ALL).is_err());
        // The kind is the same in any case.
        for bad in ["rfc822", ";a", "r_c;a", "rfc822;", "UTF-8;a\\b"] {
            assert!(!rcpt_takes(&format!(" ORCPT={bad}"), ALL), "{bad}");
        }
    }

    /// RFC 6533 §3: such a form needs SMTPUTF8.
    #[test]
    fn an_original_recipient_beyond_ascii_needs_smtputf8() {
        let plain = ALL.without(Extension::SmtpUtf8);
        assert!(!rcpt_takes(" ORCPT=utf-8;ü@b.example", plain));
        assert!(rcpt_takes(" ORCPT=utf-8;\\x{FC}@b.example", plain));
    }
}
