//! SCRAM-SHA-256 (RFC 5802, RFC 7677), on the server's side; and the client's answer.

use std::num::NonZeroU32;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use super::binding::{self, Binding};

/// Octets of SHA-256.
const HASH: usize = 32;
/// Octets of a salt of ours.
pub(super) const SALT: usize = 16;
/// What a password's keys cost (RFC 7677 section 4 has it for clients on small machines).
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("it is not zero");
/// The least that a server may ask for (RFC 7677 section 4): with less, whoever passes for one
/// could guess at the password as quickly as by CRAM-MD5.
const ITERATIONS_MIN: u32 = 4096;
/// The most that is read from a file: more would keep a thread for seconds.
const ITERATIONS_MAX: u32 = 1_000_000;
/// The mechanism's name, and what the keys in a file begin with.
pub(super) const NAME: &str = "SCRAM-SHA-256";
/// The same with channel binding.
pub(super) const NAME_PLUS: &str = "SCRAM-SHA-256-PLUS";

type Hash = [u8; HASH];

/// What is kept of a password (RFC 5802 section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    stored: Hash,
    server: Hash,
}

impl Keys {
    /// Those of `password`.
    pub(super) fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted(password, salt, iterations);
        let stored = hash(&mac(&salted, &[b"Client Key"]));
        let server = mac(&salted, &[b"Server Key"]);
        Self { iterations, salt: salt.to_vec(), stored, server }
    }

    /// What stands for a password that there is not: only `decoys` tells it from one that there
    /// is, and no password fits.
    pub(super) fn decoy(name: &[u8], decoys: &hmac::Key) -> Self {
        let part = |what: &[u8]| {
            let mut context = hmac::Context::with_key(decoys);
            [what, name].iter().for_each(|octets| context.update(octets));
            to_hash(context.sign().as_ref())
        };
        let salt = part(b"salt ")[..SALT].to_vec();
        let (stored, server) = (part(b"stored "), part(b"server "));
        Self { iterations: ITERATIONS, salt, stored, server }
    }

    /// Those of somebody whose password is known elsewhere.
    pub(super) const NONE: Self =
        Self { iterations: ITERATIONS, salt: Vec::new(), stored: [0; HASH], server: [0; HASH] };

    /// Whether `password` is theirs.
    pub(super) fn fit(&self, password: &[u8]) -> bool {
        equal(&Self::derive(password, &self.salt, self.iterations).stored, &self.stored)
    }

    /// Whether `proof` is that of a client with their password, who has heard `said`
    /// (AuthMessage, RFC 5802 section 3).
    pub(super) fn prove(&self, proof: &[u8], said: &[u8]) -> bool {
        let signature = mac(&self.stored, &[said]);
        let Ok(proof) = Hash::try_from(proof) else { return false };
        equal(&hash(&xor(proof, signature)), &self.stored)
    }

    /// What proves to the client that we have its keys.
    pub(super) fn signature(&self, said: &[u8]) -> Hash {
        mac(&self.server, &[said])
    }

    /// As they stand in a file: `SCRAM-SHA-256$iterations:salt$stored:server` (RFC 5803).
    pub(super) fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored, &self.server].map(|octets| BASE64.encode(octets));
        format!("{NAME}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// Reads what [`Keys::to_text`] wrote.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix(NAME)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| *count <= ITERATIONS_MAX);
        let key = |text| Hash::try_from(BASE64.decode(text).ok()?).ok();
        Some(Self {
            iterations: NonZeroU32::new(iterations?)?,
            salt: BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored: key(stored)?,
            server: key(server)?,
        })
    }
}

/// A client's side: what it says, and what it must hear (RFC 5802 section 3).
pub struct Client {
    name: String,
    password: String,
    nonce: String,
    /// Whether it is bound to the connection, and to what (`gs2-header`).
    header: String,
    binding: Option<Binding>,
    /// What proves that the server has the keys, once the client has proved that it has.
    expected: Option<String>,
}

impl Client {
    /// One that authenticates as `name`.
    pub fn new(name: &str, password: &str, nonce: String) -> Self {
        let name = name.replace('=', "=3D").replace(',', "=2C");
        let (password, header) = (password.to_owned(), "n,,".to_owned());
        Self { name, password, nonce, header, binding: None, expected: None }
    }

    /// Binds what is proved to the connection: SCRAM-SHA-256-PLUS.
    #[must_use]
    pub fn bound(self, binding: Binding) -> Self {
        let header = format!("p={},,", binding::TYPE);
        Self { header, binding: Some(binding), ..self }
    }

    /// Says that it could do so, and was not offered it. A server that did offer it then knows that
    /// somebody in between has hidden that (RFC 5802 section 6).
    #[must_use]
    pub fn could_be_bound(self) -> Self {
        Self { header: "y,,".to_owned(), ..self }
    }

    fn bare(&self) -> String {
        format!("n={},r={}", self.name, self.nonce)
    }

    /// The first message, in base64.
    pub fn first(&self) -> String {
        BASE64.encode(format!("{}{}", self.header, self.bare()))
    }

    /// The answer to the server's first message, both in base64.
    ///
    /// # Errors
    /// Why there is none.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<String, &'static str> {
        let first = BASE64.decode(challenge).ok().and_then(|first| String::from_utf8(first).ok());
        let first = first.ok_or(NO_CHALLENGE)?;
        let (nonce, salt, iterations) = challenged(&first).ok_or(NO_CHALLENGE)?;
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err("its challenge was made for somebody else");
        }
        match iterations.get() {
            ..ITERATIONS_MIN => return Err("it asks for fewer than 4096 iterations"),
            ITERATIONS_MIN..=ITERATIONS_MAX => {}
            _ => return Err("it asks for more than 1000000 iterations"),
        }
        let bound_to = self.binding.as_ref().map_or(&[][..], |binding| binding.octets());
        let binding = BASE64.encode([self.header.as_bytes(), bound_to].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let said = format!("{},{first},{without_proof}", self.bare());
        let salted = salted(self.password.as_bytes(), &salt, iterations);
        let key = mac(&salted, &[b"Client Key"]);
        let proof = xor(key, mac(&hash(&key), &[said.as_bytes()]));
        let signature = mac(&mac(&salted, &[b"Server Key"]), &[said.as_bytes()]);
        self.expected = Some(BASE64.encode(format!("v={}", BASE64.encode(signature))));
        Ok(BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof))))
    }

    /// Whether what the server says last, in base64, proves that it has the keys.
    pub fn is_proof(&self, said: &[u8]) -> bool {
        self.expected.as_ref().is_some_and(|expected| equal(expected.as_bytes(), said))
    }
}

const NO_CHALLENGE: &str = "its challenge is none of SCRAM's";

/// Nonce, salt and iterations of a server's first message.
fn challenged(first: &str) -> Option<(&str, Vec<u8>, NonZeroU32)> {
    let mut attributes = first.split(',');
    let nonce = attributes.next()?.strip_prefix("r=")?;
    let salt = BASE64.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
    let iterations = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
    Some((nonce, salt, iterations))
}

#[cfg(test)]
thread_local! {
    /// Iterations that passwords have cost in this thread.
    pub(super) static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn salted(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash {
    let mut salted = [0; HASH];
    #[cfg(test)]
    WORK.with(|work| work.set(work.get() + u64::from(iterations.get())));
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
    salted
}

fn mac(key: &Hash, octets: &[&[u8]]) -> Hash {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    octets.iter().for_each(|octets| context.update(octets));
    to_hash(context.sign().as_ref())
}

fn hash(octets: &Hash) -> Hash {
    to_hash(digest::digest(&digest::SHA256, octets).as_ref())
}

fn to_hash(octets: &[u8]) -> Hash {
    octets.try_into().expect("SHA-256 has 32 octets")
}

fn xor(mut one: Hash, other: Hash) -> Hash {
    one.iter_mut().zip(other).for_each(|(one, other)| *one ^= other);
    one
}

/// Compares without telling by its time where they differ.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3.
    const SAID: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn keys(password: &[u8]) -> Keys {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        Keys::derive(password, &salt, NonZeroU32::new(4096).expect("more"))
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_ours() {
        let (keys, said) = (keys(b"pencil"), SAID.as_bytes());
        let proof = BASE64.decode(PROOF).expect("base64");
        assert!(keys.prove(&proof, said));
        assert_eq!(BASE64.encode(keys.signature(said)), SIGNATURE);
        assert!(keys.fit(b"pencil") && !keys.fit(b"pencils"));
        assert!(!keys.prove(&proof[1..], said) && !keys.prove(&proof, &said[1..]));
        for octet in 0..proof.len() {
            let mut wrong = proof.clone();
            wrong[octet] ^= 1;
            assert!(!keys.prove(&wrong, said), "{octet}");
        }
    }

    #[test]
    fn the_client_says_what_rfc_7677_has_it_say() {
        let mut client = Client::new("user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(client.first(), BASE64.encode("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"));
        let first = SAID.split_once(",r=rOprNGfwEbeRWgbNEkqO,").expect("it has two").1;
        let (first, _) = first.split_once(",c=").expect("it goes on");
        let answer = client.answer(BASE64.encode(first).as_bytes()).expect("a server's");
        let (_, without_proof) = SAID.split_once("i=4096,").expect("it goes on");
        assert_eq!(answer, BASE64.encode(format!("{without_proof},p={PROOF}")));
        let proof = |signature| BASE64.encode(format!("v={signature}"));
        assert!(client.is_proof(proof(SIGNATURE).as_bytes()));
        assert!(!client.is_proof(proof(PROOF).as_bytes()));
        for wrong in ["r=other,s=AAAA,i=1", "r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=1", "e=other-error"] {
            assert!(client.answer(BASE64.encode(wrong).as_bytes()).is_err(), "{wrong}");
        }
        for (iterations, is_enough) in [("4294967295", false), ("4095", false), ("4097", true)] {
            let first = first.replace("i=4096", &format!("i={iterations}"));
            let answer = client.answer(BASE64.encode(first).as_bytes());
            assert_eq!(answer.is_ok(), is_enough, "{iterations}");
        }
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let keys = keys(b"pencil");
        let text = keys.to_text();
        assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
        assert!(Keys::from_text(&text) == Some(keys));
        for length in 0..text.len() {
            assert!(Keys::from_text(&text[..length]).is_none(), "{length}");
        }
        for wrong in ["$4096:", "$4096x:", "$0:", "$4294967295:"] {
            let wrong = text.replace("$4096:", wrong);
            assert_eq!(Keys::from_text(&wrong).is_some(), wrong == text, "{wrong}");
        }
    }

    #[test]
    fn a_decoy_is_the_same_each_time_and_fits_nothing() {
        let decoys = hmac::Key::new(hmac::HMAC_SHA256, b"a secret");
        let decoy = |name: &[u8]| Keys::decoy(name, &decoys);
        assert!(decoy(b"ann") == decoy(b"ann"));
        assert!(decoy(b"ann").salt != decoy(b"bob").salt);
        assert_eq!(decoy(b"ann").salt.len(), SALT);
        assert!(!decoy(b"ann").fit(b""));
    }
}
