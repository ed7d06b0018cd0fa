//! CRAM-MD5 (RFC 2195), for clients that have nothing else.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use md5::block_api::Md5Core;
use md5::digest::block_api::{Buffer, FixedOutputCore, UpdateCore};
use md5::digest::common::hazmat::SerializableState;
use md5::{Digest, Md5};
use ring::hmac;

use super::scram::equal;

/// Octets of MD5, and of its state.
const HASH: usize = 16;
/// Octets that MD5 takes at once.
const BLOCK: usize = 64;
/// The mechanism's name, and what stands before its states in a file.
pub(super) const NAME: &str = "CRAM-MD5";

type State = [u8; HASH];

/// HMAC-MD5's two states behind the key (RFC 2104 section 4): enough to check an answer, and less
/// than the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct States {
    inner: State,
    outer: State,
}

impl States {
    /// Those of `password`.
    pub(super) fn new(password: &[u8]) -> Self {
        let mut key = [0; BLOCK];
        match key.get_mut(..password.len()) {
            Some(start) => start.copy_from_slice(password),
            None => key[..HASH].copy_from_slice(&Md5::digest(password)),
        }
        let behind = |pad: u8| {
            let mut core = Md5Core::default();
            core.update_blocks(&[key.map(|octet| octet ^ pad).into()]);
            core.serialize()[..HASH].try_into().expect("the state comes first")
        };
        Self { inner: behind(0x36), outer: behind(0x5c) }
    }

    /// What stands for a password that there is not.
    pub(super) fn decoy(name: &[u8], decoys: &hmac::Key) -> Self {
        let mut context = hmac::Context::with_key(decoys);
        [b"states ", name].iter().for_each(|octets| context.update(octets));
        let tag = context.sign();
        let (inner, outer) = tag.as_ref().split_at(HASH);
        let state = |octets: &[u8]| octets.try_into().expect("SHA-256 has twice as many");
        Self { inner: state(inner), outer: state(outer) }
    }

    /// Whether `answer`, in hexadecimal digits, is right for `challenge`.
    pub(super) fn prove(&self, answer: &[u8], challenge: &[u8]) -> bool {
        equal(self.answer(challenge).as_bytes(), answer)
    }

    /// What is right for `challenge`, in hexadecimal digits.
    pub(super) fn answer(&self, challenge: &[u8]) -> String {
        let digest = finish(self.outer, &finish(self.inner, challenge));
        digest.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// As they stand in a file.
    pub(super) fn to_text(&self) -> String {
        format!("{NAME}${}", BASE64.encode([self.inner, self.outer].concat()))
    }

    /// Reads what [`States::to_text`] wrote.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let states = BASE64.decode(text.strip_prefix(NAME)?.strip_prefix('$')?).ok()?;
        let (inner, outer) = states.split_at_checked(HASH)?;
        Some(Self { inner: inner.try_into().ok()?, outer: outer.try_into().ok()? })
    }
}

/// What a client says to `challenge`, both in base64 (RFC 2195 section 2); `None`: it is none.
pub fn cram_answer(name: &str, password: &str, challenge: &[u8]) -> Option<String> {
    let challenge = BASE64.decode(challenge).ok()?;
    let digest = States::new(password.as_bytes()).answer(&challenge);
    Some(BASE64.encode(format!("{name} {digest}")))
}

/// MD5 of `octets` behind the one block that led to `state`.
fn finish(state: State, octets: &[u8]) -> State {
    let blocks = 1_u64.to_le_bytes();
    let mut serialized = md5::digest::common::hazmat::SerializedState::<Md5Core>::default();
    serialized[..HASH].copy_from_slice(&state);
    serialized[HASH..].copy_from_slice(&blocks);
    let mut core = Md5Core::deserialize(&serialized).expect("any state is one");
    let mut buffer = Buffer::<Md5Core>::default();
    buffer.digest_blocks(octets, |blocks| core.update_blocks(blocks));
    let mut digest = Default::default();
    core.finalize_fixed_core(&mut buffer, &mut digest);
    digest.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2195 section 2.
    const CHALLENGE: &[u8] = b"<1896.697170952@postoffice.reston.mci.net>";
    const ANSWER: &[u8] = b"b913a602c7eda7a495b4e6e7334d3890";

    #[test]
    fn the_answer_of_rfc_2195_is_right() {
        let states = States::new(b"tanstaaftanstaaf");
        assert!(states.prove(ANSWER, CHALLENGE));
        assert!(!states.prove(&ANSWER[1..], CHALLENGE) && !states.prove(ANSWER, &CHALLENGE[1..]));
        assert!(!States::new(b"tanstaaf").prove(ANSWER, CHALLENGE));
    }

    #[test]
    fn a_client_says_its_name_too() {
        let answer = cram_answer("tim", "tanstaaftanstaaf", BASE64.encode(CHALLENGE).as_bytes());
        let said = BASE64.decode(answer.expect("a challenge")).expect("base64");
        assert_eq!(said, [b"tim ", ANSWER].concat());
        assert_eq!(cram_answer("tim", "tanstaaf", b"?"), None);
    }

    /// RFC 2202 section 2, tests 6 and 7: a key longer than a block, and texts of both kinds.
    #[test]
    fn a_long_password_is_hashed_first() {
        let states = States::new(&[0xaa; 80]);
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert!(states.prove(b"6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd", text));
        let text = b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data";
        assert!(states.prove(b"6f630fad67cda0ee1fb1f562db3aa53e", text));
    }

    #[test]
    fn states_are_read_as_they_were_written() {
        let states = States::new(b"tanstaaftanstaaf");
        let text = states.to_text();
        assert!(States::from_text(&text) == Some(states));
        for length in 0..text.len() {
            assert!(States::from_text(&text[..length]).is_none(), "{length}");
        }
        assert!(!text.contains("tanstaaf"), "the password itself is not kept");
    }
}
