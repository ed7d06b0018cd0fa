//! What messages and queues are called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// A message's id: a UUID of version 7 (RFC 9562 §5.7), so that ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgId(Uuid);

impl MsgId {
    /// A new id, after all that this process made before.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that is stored as these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The bytes that are stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The text is no message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message id looks like 019ab8a6-32f1-7c3e-9d57-3f5b8c0de4a1")
    }
}

impl std::error::Error for ParseIdError {}

impl FromStr for MsgId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError)
    }
}

/// A client domain, in lower case: the name of a queue. Cloning it copies no text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// The domain of this name, in whatever case.
    pub fn new(name: &str) -> Self {
        Self(name.to_ascii_lowercase().into())
    }

    /// The domain of a forward-path without angle brackets: what follows its last `@`. A path
    /// without one (`Postmaster`) is filed under the empty name.
    pub fn of_path(path: &[u8]) -> Self {
        Self(lower_domain(path).into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of the domain of a forward-path, as [`Domain::of_path`] has it.
pub(crate) fn lower_domain(path: &[u8]) -> String {
    let domain = path.rsplit(|&octet| octet == b'@').next();
    let domain = domain.filter(|part| part.len() < path.len()).unwrap_or_default();
    let mut name = String::from_utf8_lossy(domain).into_owned();
    name.make_ascii_lowercase();
    name
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_after_the_last_part_of_a_path() {
        for (path, name) in [
            ("ann@Client.Example", "client.example"),
            ("\"odd@place\"@client.example", "client.example"),
            ("ann@[192.0.2.1]", "[192.0.2.1]"),
            ("Postmaster", ""),
        ] {
            assert_eq!(Domain::of_path(path.as_bytes()).as_str(), name, "{path}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let (first, second) = (MsgId::now(), MsgId::now());
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(MsgId::from_bytes(*second.as_bytes()), second);
        assert_eq!("first".parse::<MsgId>(), Err(ParseIdError));
    }
}
