//! What EHLO says (RFC 5321 §4.1.1.1): each service extension with its keyword, what it can't be
//! without, and what it adds to a command line.

use super::lex::split_once;
use super::reply::{EHLO_LAST, EHLO_LINE};
use super::{NoRoom, Out, Text};

/// A service extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Extension {
    /// RFC 2920.
    Pipelining = 1 << 0,
    /// RFC 1870.
    Size = 1 << 1,
    /// RFC 6152.
    EightBitMime = 1 << 2,
    /// RFC 6531; only together with 8BITMIME (§3.1).
    SmtpUtf8 = 1 << 3,
    /// RFC 2034.
    EnhancedStatusCodes = 1 << 4,
    /// RFC 3030: BDAT.
    Chunking = 1 << 5,
    /// RFC 3030: BODY=BINARYMIME; only together with CHUNKING (§3).
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
    /// RFC 2645; only together with AUTH (§5.2.1).
    Atrn = 1 << 13,
}

impl Extension {
    /// All of them, in the order of EHLO's reply.
    const ALL: [Self; 14] = [
        Self::Pipelining,
        Self::Size,
        Self::EightBitMime,
        Self::SmtpUtf8,
        Self::EnhancedStatusCodes,
        Self::Chunking,
        Self::BinaryMime,
        Self::Dsn,
        Self::Etrn,
        Self::StartTls,
        Self::Auth,
        Self::Limits,
        Self::Xclient,
        Self::Atrn,
    ];

    /// What its line says, up to what the configuration adds.
    const fn words(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE ",
            Self::EightBitMime => "8BITMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::Chunking => "CHUNKING",
            Self::BinaryMime => "BINARYMIME",
            Self::Dsn => "DSN",
            Self::Etrn => "ETRN",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH ",
            Self::Limits => "LIMITS RCPTMAX=",
            Self::Xclient => "XCLIENT NAME ADDR PORT PROTO HELO LOGIN",
            Self::Atrn => "ATRN",
        }
    }

    /// The extension with this keyword, in any case (RFC 5321 §4.1.1.1).
    pub(crate) fn named(keyword: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| {
            let words = extension.words().as_bytes();
            let (own, _) = split_once(words, b' ').unwrap_or((words, b""));
            own.eq_ignore_ascii_case(keyword)
        })
    }

    const fn prerequisite(self) -> Option<Self> {
        match self {
            Self::SmtpUtf8 => Some(Self::EightBitMime),
            Self::BinaryMime => Some(Self::Chunking),
            Self::Atrn => Some(Self::Auth),
            _ => None,
        }
    }
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

    /// Whether `extension` is in the set, and what it can't be without.
    pub const fn has(self, extension: Extension) -> bool {
        let needed = match extension.prerequisite() {
            Some(prerequisite) => extension as u16 | prerequisite as u16,
            None => extension as u16,
        };
        self.0 & needed == needed
    }

    /// Octets of the longest command line, CRLF included: RFC 5321 §4.5.3.1.4, and what each
    /// extension adds to it.
    pub const fn longest_command(self) -> usize {
        if self.has(Extension::Auth) {
            return 12_288; // RFC 4954 §4
        }
        let size = if self.has(Extension::Size) { 26 } else { 0 }; // RFC 1870 §3
        let mime = if self.has(Extension::EightBitMime) { 17 } else { 0 }; // RFC 6152 §2
        let utf8 = if self.has(Extension::SmtpUtf8) { 460 } else { 0 }; // RFC 6531 §3.1
        // RFC 3461 §5.4: NOTIFY 28, ORCPT 500, and MAIL's less
        let dsn = if self.has(Extension::Dsn) { 540 } else { 0 };
        512 + size + mime + utf8 + dsn
    }
}

/// What the reply to EHLO is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'o> {
    pub(crate) hostname: Text<'o>,
    pub(crate) extensions: Extensions,
    /// Those that are offered no more.
    pub(crate) hidden: Extensions,
    pub(crate) max_message_size: u64,
    pub(crate) max_recipients: u16,
    pub(crate) auth_mechanisms: Text<'o>,
}

impl Offer<'_> {
    /// Octets of the longest reply to EHLO.
    pub(crate) const fn longest(&self) -> usize {
        let mut octets = EHLO_LINE.len() + self.hostname.as_bytes().len() + 2 + EHLO_LAST.len();
        let mut rest: &[Extension] = &Extension::ALL;
        while let [extension, tail @ ..] = rest {
            if self.extensions.has(*extension) {
                let added = match extension {
                    Extension::Size => b"18446744073709551615".len(),
                    Extension::Limits => b"65535".len(),
                    Extension::Auth => self.auth_mechanisms.as_bytes().len(),
                    _ => 0,
                };
                octets += EHLO_LINE.len() + extension.words().len() + added + 2;
            }
            rest = tail;
        }
        octets
    }

    /// Appends the reply, or nothing.
    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.whole(|out| self.put(out))
    }

    fn put(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        out.put(EHLO_LINE)?;
        out.put(self.hostname.as_bytes())?;
        out.put(b"\r\n")?;
        for extension in Extension::ALL {
            if !self.extensions.has(extension) || self.hidden.has(extension) {
                continue;
            }
            out.put(EHLO_LINE)?;
            out.put(extension.words().as_bytes())?;
            match extension {
                Extension::Size => out.put_decimal(self.max_message_size)?,
                Extension::Limits => out.put_decimal(u64::from(self.max_recipients))?,
                Extension::Auth => out.put(self.auth_mechanisms.as_bytes())?,
                _ => {}
            }
            out.put(b"\r\n")?;
        }
        out.put(EHLO_LAST)
    }
}
