//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2, `esmtp-param`).

/// A service extension that a configuration can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Extension {
    /// RFC 2920.
    Pipelining = 1 << 0,
    /// RFC 1870.
    Size = 1 << 1,
    /// RFC 6152.
    EightBitMime = 1 << 2,
    /// RFC 6531.
    SmtpUtf8 = 1 << 3,
    /// RFC 2034.
    EnhancedStatusCodes = 1 << 4,
    /// RFC 3030: BDAT.
    Chunking = 1 << 5,
    /// RFC 3030: BODY=BINARYMIME; only together with CHUNKING.
    BinaryMime = 1 << 6,
    /// RFC 3461.
    Dsn = 1 << 7,
    /// RFC 1985.
    Etrn = 1 << 8,
    /// RFC 3207.
    StartTls = 1 << 9,
    /// RFC 4954.
    Auth = 1 << 10,
    /// RFC 9422.
    Limits = 1 << 11,
    /// Postfix's XCLIENT; only to peers that may say whom they speak for.
    Xclient = 1 << 12,
    /// RFC 2645.
    Atrn = 1 << 13,
}

/// A set of [`Extension`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions(u16);

impl Extensions {
    /// None.
    pub const NONE: Self = Self(0);

    /// This set and `extension`.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | extension as u16)
    }

    /// This set without `extension`.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(extension as u16))
    }

    /// Whether `extension` is in the set.
    pub const fn has(self, extension: Extension) -> bool {
        self.0 & extension as u16 != 0
    }
}

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

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
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
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(|word| {
        let at = word.iter().position(|octet| *octet == b'=');
        match at.and_then(|at| word.split_at_checked(at)) {
            Some((key, value)) => (key, value.get(1..)),
            None => (word, None),
        }
    })
}

fn set_once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), ParamFault> {
    if value.is_none() || place.is_some() {
        return Err(ParamFault::Malformed);
    }
    *place = value;
    Ok(())
}

/// Parses what follows MAIL's path.
pub fn parse_mail(text: &[u8], offered: Extensions) -> Result<MailParams<'_>, ParamFault> {
    let mut params = MailParams::default();
    let (mut body, mut ret) = (None, None);
    for (key, value) in split(text) {
        let is = |name: &[u8], extension| offered.has(extension) && key.eq_ignore_ascii_case(name);
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
            set_once(&mut params.envid, value.filter(|value| is_xtext(value, 100)))?;
        } else if is(b"AUTH", Extension::Auth) {
            let well_formed = |value: &&[u8]| *value == b"<>" || is_xtext(value, 500);
            set_once(&mut params.auth, value.filter(well_formed))?;
        } else {
            return Err(ParamFault::Unknown);
        }
    }
    params.body = body.unwrap_or_default();
    params.ret = ret.unwrap_or_default();
    Ok(params)
}

/// Parses what follows RCPT's path.
pub fn parse_rcpt(text: &[u8], offered: Extensions) -> Result<RcptParams<'_>, ParamFault> {
    let mut params = RcptParams::default();
    let mut notify = None;
    for (key, value) in split(text) {
        if !offered.has(Extension::Dsn) {
            return Err(ParamFault::Unknown);
        } else if key.eq_ignore_ascii_case(b"NOTIFY") {
            set_once(&mut notify, value.and_then(parse_notify))?;
        } else if key.eq_ignore_ascii_case(b"ORCPT") {
            set_once(&mut params.orcpt, value.filter(|value| is_orcpt(value)))?;
        } else {
            return Err(ParamFault::Unknown);
        }
    }
    params.notify = notify.unwrap_or_default();
    Ok(params)
}

/// 1 to 20 digits (RFC 1870 §3). A number beyond 64 bits is a size all the same, and too big for
/// everybody.
fn parse_size(value: &[u8]) -> Option<u64> {
    if value.len() > 20 { None } else { parse_decimal(value) }
}

/// Decimal digits and nothing else; what does not fit is `u64::MAX`.
pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit.wrapping_sub(b'0')))?;
        Some(number.saturating_mul(10).saturating_add(value))
    })
}

fn parse_body(value: &[u8], offered: Extensions) -> Option<Body> {
    let binary = offered.has(Extension::BinaryMime) && offered.has(Extension::Chunking);
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

/// RFC 3461 §4.2: at most 500 octets; UTF-8 addresses may stand in it unencoded (RFC 6533 §3).
fn is_orcpt(value: &[u8]) -> bool {
    let Some(at) = value.iter().position(|octet| *octet == b';') else { return false };
    let Some((kind, rest)) = value.split_at_checked(at) else { return false };
    let atom = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let address = rest.get(1..).unwrap_or_default();
    let utf8 = kind.eq_ignore_ascii_case(b"utf-8");
    let well_formed = if utf8 { is_utf8_address(address) } else { is_xtext(address, 500) };
    !kind.is_empty() && kind.iter().all(atom) && value.len() <= 500 && well_formed
}

fn is_utf8_address(text: &[u8]) -> bool {
    let no_control = |octet: &u8| *octet > b' ' && *octet != 0x7f;
    !text.is_empty() && core::str::from_utf8(text).is_ok() && text.iter().all(no_control)
}

/// RFC 3461 §4: printable ASCII but `+` and `=`, or `+` and two upper-case hexadecimal digits.
fn is_xtext(text: &[u8], limit: usize) -> bool {
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'+', [high, low, tail @ ..]) if is_upper_hex(*high) && is_upper_hex(*low) => tail,
            (b'+' | b'=', _) => return false,
            (b'!'..=b'~', tail) => tail,
            _ => return false,
        };
    }
    !text.is_empty() && text.len() <= limit
}

fn is_upper_hex(octet: u8) -> bool {
    octet.is_ascii_digit() || (b'A'..=b'F').contains(&octet)
}
