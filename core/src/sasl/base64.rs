//! Base64 with its padding (RFC 4648 §4), octet by octet.

use crate::wire::{NoRoom, Out};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes octets as they come.
pub(super) struct Encoder<'e, 'o> {
    out: &'e mut Out<'o>,
    /// The octets that are not encoded yet, the last one lowest; and how many.
    pending: u32,
    count: u32,
}

impl<'e, 'o> Encoder<'e, 'o> {
    pub(super) fn new(out: &'e mut Out<'o>) -> Self {
        Self { out, pending: 0, count: 0 }
    }

    pub(super) fn put(&mut self, octet: u8) -> Result<(), NoRoom> {
        self.pending = self.pending << 8 | u32::from(octet);
        self.count += 1;
        if self.count == 3 { self.flush() } else { Ok(()) }
    }

    /// Encodes what is left.
    pub(super) fn finish(mut self) -> Result<(), NoRoom> {
        if self.count == 0 { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), NoRoom> {
        let bits = self.pending << (24 - 8 * self.count);
        let mut group = [b'='; 4];
        for (digit, at) in group.iter_mut().zip(0..=self.count) {
            let value = bits >> (18 - 6 * at) & 63;
            *digit = ALPHABET.get(value as usize).copied().unwrap_or(b'=');
        }
        (self.pending, self.count) = (0, 0);
        self.out.put(&group)
    }
}

/// Decodes `text`, and hands each group's octets to `each`; none if it is not what an encoder
/// writes.
pub(super) fn decode(text: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    let (groups, rest) = text.as_chunks::<4>();
    let mut is_over = !rest.is_empty();
    for group in groups {
        let digits = group.iter().take_while(|octet| **octet != b'=').count();
        let padding = group.get(digits..).unwrap_or_default();
        let octets = digits.checked_sub(1).filter(|octets| *octets > 0)?;
        if is_over || padding.iter().any(|octet| *octet != b'=') {
            return None;
        }
        is_over = octets < 3;
        let mut bits: u32 = 0;
        for octet in group {
            let value = if *octet == b'=' { 0 } else { value(*octet)? };
            bits = bits << 6 | value;
        }
        let [_, decoded @ ..] = bits.to_be_bytes();
        let (whole, left) = decoded.split_at_checked(octets)?;
        if left.iter().any(|octet| *octet != 0) {
            return None;
        }
        each(whole);
    }
    rest.is_empty().then_some(())
}

fn value(digit: u8) -> Option<u32> {
    let at = ALPHABET.iter().position(|octet| *octet == digit)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Encoder, decode};
    use crate::wire::Out;

    fn encoded(octets: &[u8]) -> Vec<u8> {
        let mut room = std::vec![0; octets.len() * 2 + 4];
        let mut out = Out::new(&mut room);
        let mut encoder = Encoder::new(&mut out);
        octets.iter().for_each(|octet| encoder.put(*octet).expect("there is room"));
        encoder.finish().expect("there is room");
        out.written().to_vec()
    }

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        decode(text, |octets| all.extend_from_slice(octets)).map(|()| all)
    }

    /// RFC 4648 §10.
    #[test]
    fn the_examples_of_rfc_4648_are_right() {
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(octets.as_bytes()), text.as_bytes());
            assert_eq!(decoded(text.as_bytes()).as_deref(), Some(octets.as_bytes()));
        }
    }

    #[test]
    fn what_no_encoder_writes_is_none() {
        for text in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zg=v", "Zm9v\n"]
        {
            assert_eq!(decoded(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decoded(&encoded(&octets)), Some(octets));
        }
    }
}
