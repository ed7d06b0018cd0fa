//! SASL mechanisms (RFC 4954) as far as the client knows them: by name. What is said in them is the
//! carrier's, in base64.

/// A mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256 = 1 << 0,
    /// RFC 2195.
    CramMd5 = 1 << 1,
    /// RFC 4616: it tells the password, and needs TLS (RFC 4954 §4).
    Plain = 1 << 2,
    /// What PLAIN says, asked for piece by piece (draft-murchison-sasl-login): the last resort.
    Login = 1 << 3,
    /// RFC 7677, bound to the TLS connection (RFC 9266): what it proves is of no use on another.
    ScramSha256Plus = 1 << 4,
}

impl Mechanism {
    const ALL: [Self; 5] =
        [Self::ScramSha256Plus, Self::ScramSha256, Self::CramMd5, Self::Plain, Self::Login];

    /// Its name in EHLO's reply and in AUTH.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// Whether it tells the password itself.
    pub const fn tells(self) -> bool {
        matches!(self, Self::Plain | Self::Login)
    }
}

/// A set of [`Mechanism`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those whose names stand in `parameters`, separated by spaces; others are passed over.
    pub(super) fn parse(parameters: &[u8]) -> Self {
        let mut known = Self::NONE;
        for word in parameters.split(|octet| *octet == b' ') {
            for mechanism in Mechanism::ALL {
                if mechanism.name().as_bytes().eq_ignore_ascii_case(word) {
                    known.0 |= mechanism as u8;
                }
            }
        }
        known
    }

    /// Whether `mechanism` is in the set.
    pub const fn has(self, mechanism: Mechanism) -> bool {
        self.0 & mechanism as u8 != 0
    }
}
