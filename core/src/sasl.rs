//! What a caller without an allocator says to prove who it is (RFC 4954), in as few octets of
//! program as it takes: a server has faster code for the same.

mod base64;
mod md5;

use crate::wire::{NoRoom, Out};
use base64::{Encoder, decode};
use md5::Hmac;

/// Why there is no answer to a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It is not base64.
    NotBase64,
    /// The answer does not fit.
    NoRoom,
}

impl From<NoRoom> for Unanswered {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// Appends what `user` with this `password` answers to the `challenge` of CRAM-MD5 (RFC 2195 §2),
/// both in base64. The password is not told by it; who hears it can try passwords, though, and who
/// asks for it may be anybody.
pub fn cram_md5(
    user: &[u8],
    password: &[u8],
    challenge: &[u8],
    out: &mut Out<'_>,
) -> Result<(), Unanswered> {
    let mut hmac = Hmac::new(password);
    decode(challenge, |octets| hmac.update(octets)).ok_or(Unanswered::NotBase64)?;
    let mut encoder = Encoder::new(out);
    user.iter().chain(b" ").try_for_each(|octet| encoder.put(*octet))?;
    for octet in hmac.finish() {
        for digit in [octet >> 4, octet & 0xF] {
            encoder.put(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit })?;
        }
    }
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::{Unanswered, cram_md5};
    use crate::wire::Out;

    fn answer(challenge: &[u8], room: usize) -> Result<Vec<u8>, Unanswered> {
        let mut octets = [0; 256];
        let mut out = Out::new(&mut octets[..room]);
        cram_md5(b"tim", b"tanstaaftanstaaf", challenge, &mut out)?;
        Ok(out.written().to_vec())
    }

    /// RFC 2195 §2.
    #[test]
    fn the_exchange_of_rfc_2195_is_ours() {
        let challenge = b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
        let said = b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
        assert_eq!(answer(challenge, 256).as_deref(), Ok(&said[..]));
        assert_eq!(answer(challenge, said.len()).as_deref(), Ok(&said[..]));
        assert_eq!(answer(challenge, said.len() - 1), Err(Unanswered::NoRoom));
        assert_eq!(answer(b"<1896>", 256), Err(Unanswered::NotBase64));
    }
}
