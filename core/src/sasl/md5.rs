//! MD5 (RFC 1321) and HMAC-MD5 (RFC 2104), in one loop for all rounds.

/// Octets that are taken at once.
const BLOCK: usize = 64;

/// The whole part of 2^32 times the sine of 1 and on, without its sign.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// By how many bits each step of a round turns; a round repeats them.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

struct Md5 {
    state: [u32; 4],
    block: [u8; BLOCK],
    /// Octets that were taken.
    octets: u64,
}

impl Md5 {
    const fn new() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self { state, block: [0; BLOCK], octets: 0 }
    }

    fn update(&mut self, octets: &[u8]) {
        for octet in octets {
            let at = (self.octets % BLOCK as u64) as usize;
            if let Some(place) = self.block.get_mut(at) {
                *place = *octet;
            }
            self.octets = self.octets.wrapping_add(1);
            if at == BLOCK - 1 {
                self.compress();
            }
        }
    }

    fn finish(mut self) -> [u8; 16] {
        let bits = self.octets.wrapping_mul(8).to_le_bytes();
        self.update(&[0x80]);
        while self.octets % BLOCK as u64 != BLOCK as u64 - 8 {
            self.update(&[0]);
        }
        self.update(&bits);
        let mut digest = [0; 16];
        let (words, _) = digest.as_chunks_mut();
        words.iter_mut().zip(self.state).for_each(|(to, word)| *to = word.to_le_bytes());
        digest
    }

    fn compress(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        let (words, _) = self.block.as_chunks();
        for (step, sine) in (0_u32..).zip(SINES) {
            let (mixed, at) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), 5 * step + 1),
                2 => (b ^ c ^ d, 3 * step + 5),
                _ => (c ^ (b | !d), 7 * step),
            };
            let word = words.get((at % 16) as usize).copied().unwrap_or_default();
            let turns = TURNS.get((step / 16) as usize).and_then(|it| it.get((step % 4) as usize));
            let sum = a.wrapping_add(mixed).wrapping_add(sine);
            let sum = sum.wrapping_add(u32::from_le_bytes(word));
            let turned = b.wrapping_add(sum.rotate_left(turns.copied().unwrap_or_default()));
            (a, b, c, d) = (d, turned, b, c);
        }
        for (sum, word) in self.state.iter_mut().zip([a, b, c, d]) {
            *sum = sum.wrapping_add(word);
        }
    }
}

/// HMAC-MD5.
pub(super) struct Hmac {
    inner: Md5,
    key: [u8; BLOCK],
}

impl Hmac {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        let mut put = |octets: &[u8]| {
            block.iter_mut().zip(octets).for_each(|(to, octet)| *to = *octet);
        };
        if key.len() > BLOCK {
            let mut hash = Md5::new();
            hash.update(key);
            put(&hash.finish());
        } else {
            put(key);
        }
        Self { inner: behind(&block, 0x36), key: block }
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        self.inner.update(octets);
    }

    pub(super) fn finish(self) -> [u8; 16] {
        let mut outer = behind(&self.key, 0x5C);
        outer.update(&self.inner.finish());
        outer.finish()
    }
}

/// A hash behind the key, with `pad` over it.
fn behind(key: &[u8; BLOCK], pad: u8) -> Md5 {
    let mut hash = Md5::new();
    hash.update(&key.map(|octet| octet ^ pad));
    hash
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::{Hmac, Md5};

    fn hexadecimal(digest: [u8; 16]) -> String {
        digest.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn md5(octets: &[u8]) -> String {
        let mut hash = Md5::new();
        hash.update(octets);
        hexadecimal(hash.finish())
    }

    /// RFC 1321 §A.5, and the lengths about a block's end.
    #[test]
    fn digests_are_right() {
        let digits: Vec<_> = (0..80).map(|at| b'0' + (at + 1) % 10).collect();
        for (octets, digest) in [
            (&b""[..], "d41d8cd98f00b204e9800998ecf8427e"),
            (b"a", "0cc175b9c0f1b6a831c399e269772661"),
            (b"abc", "900150983cd24fb0d6963f7d28e17f72"),
            (b"message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (b"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (&digits, "57edf4a22be3c955ac49da2e2107b67a"),
            (&[b'a'; 55], "ef1772b6dff9a122358552954ad0df65"),
            (&[b'a'; 56], "3b0c8ac703f828b04c6c197006d17218"),
            (&[b'a'; 63], "b06521f39153d618550606be297466d5"),
            (&[b'a'; 64], "014842d480b571495a4a0363793f7367"),
            (&[b'a'; 65], "c743a45e0d2e6a95cb859adae0248435"),
        ] {
            assert_eq!(md5(octets), digest, "{}", octets.len());
        }
    }

    /// RFC 2202 §2.
    #[test]
    fn keyed_digests_are_right() {
        for (key, octets, digest) in [
            (&[0x0b; 16][..], &b"Hi There"[..], "9294727a3638bb1c13f48ef8158bfc9d"),
            (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
        ] {
            let mut hmac = Hmac::new(key);
            octets.chunks(5).for_each(|part| hmac.update(part));
            assert_eq!(hexadecimal(hmac.finish()), digest);
        }
    }
}
