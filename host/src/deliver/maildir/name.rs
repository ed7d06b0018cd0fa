//! What a message's file is called: the same at each try, so that one which was delivered is found,
//! and is not delivered again.

use std::fmt;

use postern_spool::MsgId;
use ring::digest::{SHA256, digest};

/// What ends each name, where others have their host's name: no two of our ids are alike.
const END: &str = ".postern";

/// A message's file for one recipient: `SECONDS.IDRRECIPIENT.postern`. The seconds are those of the
/// id, by which readers sort; the id has 32 hexadecimal digits, and the recipient, of whom the path
/// is hashed, 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileName {
    id: [u8; 16],
    recipient: [u8; 8],
}

impl FileName {
    /// The name for the recipient that the message `id` is held for under `path`.
    pub(super) fn new(id: MsgId, path: &[u8]) -> Self {
        let hash = digest(&SHA256, path);
        let mut recipient = [0; 8];
        recipient.copy_from_slice(&hash.as_ref()[..8]);
        Self { id: *id.as_bytes(), recipient }
    }

    /// Which of our files `name` is, whatever a reader has appended to it; `None`: not ours.
    pub(super) fn of_file(name: &[u8]) -> Option<Self> {
        let behind = name.iter().position(|octet| *octet == b'.')? + 1;
        let (id, rest) = name.get(behind..)?.split_at_checked(32)?;
        let (recipient, rest) = rest.strip_prefix(b"R")?.split_at_checked(16)?;
        let rest = rest.strip_prefix(END.as_bytes())?;
        let is_another = rest.first().is_some_and(u8::is_ascii_alphanumeric);
        let found = Self { id: octets(id)?, recipient: octets(recipient)? };
        (!is_another).then_some(found)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id's first 48 bits are milliseconds since 1970 (RFC 9562 section 5.7).
        let [a, b, c, d, e, g, ..] = self.id;
        let seconds = u64::from_be_bytes([0, 0, a, b, c, d, e, g]) / 1000;
        let (id, recipient) = (u128::from_be_bytes(self.id), u64::from_be_bytes(self.recipient));
        write!(f, "{seconds}.{id:032x}R{recipient:016x}{END}")
    }
}

/// The octets that `hex` is written of.
fn octets<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(hex.chunks_exact(2)) {
        let is_ours = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|d| is_ours(&d)))?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whatever_readers_append() {
        let id: MsgId = "019ab8a6-32f1-7c3e-9d57-3f5b8c0de4a1".parse().expect("an id");
        let name = FileName::new(id, b"info@client.example");
        let text = name.to_string();
        assert_eq!(text, "1764034491.019ab8a632f17c3e9d573f5b8c0de4a1R97836747c6a983c8.postern");
        assert_ne!(name, FileName::new(id, b"sales@client.example"));
        for end in ["", ":2,", ":2,FS", ",S=512,W=520:2,S", ";2,S", "!2,RS", ".00c0ffee"] {
            assert_eq!(FileName::of_file(format!("{text}{end}").as_bytes()), Some(name), "{end}");
        }
        let moved = text.replace("1764034491", "1");
        assert_eq!(FileName::of_file(moved.as_bytes()), Some(name), "the id counts");
    }

    #[test]
    fn another_name_is_none_of_ours() {
        let id: MsgId = "019ab8a6-32f1-7c3e-9d57-3f5b8c0de4a1".parse().expect("an id");
        let text = FileName::new(id, b"info@client.example").to_string();
        for cut in 0..text.len() {
            assert_eq!(FileName::of_file(&text.as_bytes()[..cut]), None, "{cut}");
        }
        for name in [
            text.replace('R', "r"),
            text.replace("019ab8a6", "019AB8A6"),
            text.replace("019ab8a6", "019ab8g6"),
            format!("{text}s"),
            "1764040520.M20046P2137.mail.client.example,S=4542,W=4642:2,S".to_owned(),
        ] {
            assert_eq!(FileName::of_file(name.as_bytes()), None, "{name}");
        }
    }
}
