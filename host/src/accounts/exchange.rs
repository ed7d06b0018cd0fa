//! One exchange of AUTH, from the mechanism's name to a claim that can be checked (RFC 4954).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::binding::{self, Binding};
use super::book::{Account, Book};
use super::cram::{self, States};
use super::scram::{self, Keys};

/// LOGIN's challenges, `Username:` and `Password:` in base64 (draft-murchison-sasl-login).
const USERNAME: &str = "VXNlcm5hbWU6";
const PASSWORD: &str = "UGFzc3dvcmQ6";
/// Octets that nobody guesses, in a challenge and a nonce.
const RANDOM: usize = 18;
/// Octets of a client's nonce, and of our name: with what is ours they fit into a reply.
const NONCE_MAX: usize = 90;
const HOSTNAME_MAX: usize = 128;
/// Octets of a name that somebody claims.
const NAME_MAX: usize = 255;

/// How somebody authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256 over the TLS connection that both have (RFC 7677, RFC 9266).
    ScramPlus,
    /// SCRAM-SHA-256 (RFC 7677).
    Scram,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN.
    Login,
}

impl Mechanism {
    const ALL: [Self; 5] = [Self::ScramPlus, Self::Scram, Self::CramMd5, Self::Plain, Self::Login];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramPlus => scram::NAME_PLUS,
            Self::Scram => scram::NAME,
            Self::CramMd5 => cram::NAME,
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The one of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether who listens learns nothing that lets him in.
    pub const fn hides_the_password(self) -> bool {
        matches!(self, Self::ScramPlus | Self::Scram | Self::CramMd5)
    }
}

/// What comes of a line of the client's.
pub enum Next {
    /// This, in base64, is to be answered.
    Challenge(String),
    /// It is to be checked.
    Check(Claim),
    /// It was right; the client has no more to say.
    Done(Arc<Account>),
    /// It is not base64, or not what the mechanism has here.
    Malformed,
    /// It can't be right.
    Wrong,
    /// The client does not see the connection, or what is offered on it, as we do: somebody may be
    /// in between.
    Unbound,
}

/// What a client says of itself.
pub enum Claim {
    /// A name and a password.
    Password {
        /// The name.
        name: Vec<u8>,
        /// The password.
        password: Vec<u8>,
        /// Where it is looked up.
        known: Known,
    },
    /// An answer to CRAM-MD5's challenge.
    Cram {
        /// The name.
        name: Vec<u8>,
        /// The answer.
        answer: Vec<u8>,
        /// The challenge.
        challenge: String,
        /// Where it is looked up.
        known: Known,
    },
    /// SCRAM's proof.
    Scram {
        /// The name.
        name: Vec<u8>,
        /// ClientProof.
        proof: Vec<u8>,
        /// AuthMessage.
        said: Vec<u8>,
        /// Where it is looked up.
        known: Known,
    },
}

/// The accounts, and what stands for those that there are not.
#[derive(Clone)]
pub struct Known {
    book: Arc<Book>,
    decoys: Arc<hmac::Key>,
}

impl Known {
    fn account(&self, name: &[u8]) -> Option<&Arc<Account>> {
        self.book.get(str::from_utf8(name).ok()?)
    }

    /// The keys of an account, or such as it would have.
    fn keys(&self, name: &[u8]) -> Keys {
        let decoy = Keys::decoy(name, &self.decoys);
        self.account(name).map_or(decoy, |account| account.keys.clone())
    }

    fn states(&self, name: &[u8]) -> States {
        let decoy = States::decoy(name, &self.decoys);
        self.account(name).and_then(|account| account.cram.clone()).unwrap_or(decoy)
    }
}

impl Claim {
    /// Who the client says that it is.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Password { name, .. } | Self::Cram { name, .. } | Self::Scram { name, .. } => {
                name
            }
        }
    }

    /// The account that it has shown to have; `None`: it has not.
    pub(super) fn account(&self) -> Option<Arc<Account>> {
        let (known, right) = match self {
            Self::Password { name, password, known } => (known, known.keys(name).fit(password)),
            Self::Cram { name, answer, challenge, known } => {
                (known, known.states(name).prove(answer, challenge.as_bytes()))
            }
            Self::Scram { name, proof, said, known } => {
                (known, known.keys(name).prove(proof, said))
            }
        };
        known.account(self.name()).filter(|_| right).cloned()
    }
}

/// An exchange that is under way.
pub struct Exchange {
    known: Known,
    /// What SCRAM-SHA-256-PLUS, which is offered where there is one, binds to.
    binding: Option<Binding>,
    state: State,
}

/// What a client began SCRAM with, and was answered.
struct Heard {
    name: Vec<u8>,
    /// The channel binding's header, which the client repeats, and what it is bound to.
    binding: Vec<u8>,
    nonce: String,
    /// What was said so far, for the proof.
    said: Vec<u8>,
}

enum State {
    Plain,
    LoginName,
    LoginPassword {
        name: Vec<u8>,
    },
    Cram {
        challenge: String,
    },
    ScramFirst {
        is_plus: bool,
    },
    ScramFinal(Heard),
    /// What was said in all, for our own proof, while the client's is checked.
    ScramChecked {
        said: Vec<u8>,
    },
    /// The client has heard our own proof, and says nothing.
    ScramDone {
        account: Arc<Account>,
    },
    Over,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    pub(super) fn new(
        mechanism: Mechanism,
        (book, decoys): (Arc<Book>, Arc<hmac::Key>),
        hostname: &str,
        binding: Option<Binding>,
    ) -> Self {
        let state = match mechanism {
            Mechanism::ScramPlus => State::ScramFirst { is_plus: true },
            Mechanism::Scram => State::ScramFirst { is_plus: false },
            Mechanism::CramMd5 => {
                let hostname: String = hostname.chars().take(HOSTNAME_MAX).collect();
                State::Cram { challenge: format!("<{}@{hostname}>", random()) }
            }
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName,
        };
        Self { known: Known { book, decoys }, binding, state }
    }

    /// Begins, with the initial response if there was one: `=` is an empty one.
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Next {
        match (&self.state, initial) {
            // The server speaks first (RFC 4954 section 4).
            (State::Cram { .. }, Some(_)) => Next::Malformed,
            (State::Cram { challenge }, None) => Next::Challenge(BASE64.encode(challenge)),
            (State::LoginName, None) => Next::Challenge(USERNAME.to_owned()),
            (_, None) => Next::Challenge(String::new()),
            (_, Some(b"=")) => self.hear(&[]),
            (_, Some(initial)) => self.answer(initial),
        }
    }

    /// Goes on with the client's next line, in base64.
    pub fn answer(&mut self, line: &[u8]) -> Next {
        match BASE64.decode(line) {
            Ok(said) => self.hear(&said),
            Err(_) => Next::Malformed,
        }
    }

    fn hear(&mut self, said: &[u8]) -> Next {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => self.plain(said),
            State::LoginName if said.len() > NAME_MAX => Next::Wrong,
            State::LoginName => {
                self.state = State::LoginPassword { name: said.to_vec() };
                Next::Challenge(PASSWORD.to_owned())
            }
            State::LoginPassword { name } => {
                let password = said.to_vec();
                Next::Check(Claim::Password { name, password, known: self.known.clone() })
            }
            State::Cram { challenge } => {
                let space = said.iter().rposition(|octet| *octet == b' ');
                let Some((name, answer)) = space.map(|at| (&said[..at], &said[at + 1..])) else {
                    return Next::Malformed;
                };
                if name.len() > NAME_MAX {
                    return Next::Wrong;
                }
                let (name, answer) = (name.to_vec(), answer.to_vec());
                Next::Check(Claim::Cram { name, answer, challenge, known: self.known.clone() })
            }
            State::ScramFirst { is_plus } => {
                self.scram_first(is_plus, said).unwrap_or(Next::Malformed)
            }
            State::ScramFinal(heard) => self.scram_final(heard, said).unwrap_or(Next::Malformed),
            State::ScramDone { account } if said.is_empty() => Next::Done(account),
            State::ScramDone { .. } | State::ScramChecked { .. } | State::Over => Next::Malformed,
        }
    }

    /// RFC 4616 section 2: whom to act as, who it is, and the password.
    fn plain(&self, said: &[u8]) -> Next {
        let mut parts = said.split(|octet| *octet == 0);
        let (Some(acts_as), Some(name), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Next::Malformed;
        };
        if !(acts_as.is_empty() || acts_as == name) || name.len() > NAME_MAX {
            return Next::Wrong;
        }
        let (name, password) = (name.to_vec(), password.to_vec());
        Next::Check(Claim::Password { name, password, known: self.known.clone() })
    }

    /// `gs2-header n=name,r=nonce` (RFC 5802 section 7).
    fn scram_first(&mut self, is_plus: bool, said: &[u8]) -> Option<Next> {
        let text = str::from_utf8(said).ok()?;
        let mut parts = text.splitn(3, ',');
        let (binding, acts_as, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let bound_to = match (binding.strip_prefix("p="), &self.binding) {
            (Some(binding::TYPE), Some(own)) if is_plus => &own.octets()[..],
            // It could bind, and was told that we can't (RFC 5802 section 6).
            (None, Some(_)) if binding == "y" => return Some(Next::Unbound),
            (None, _) if !is_plus && matches!(binding, "n" | "y") => &[],
            // Of another type, or none where there is to be one; or one where there is none.
            _ => return None,
        };
        let mut attributes = bare.split(',');
        let name = attributes.next()?.strip_prefix("n=")?;
        let theirs = attributes.next()?.strip_prefix("r=")?;
        let printable = theirs.bytes().all(|octet| (0x21..0x7f).contains(&octet));
        if theirs.is_empty() || theirs.len() > NONCE_MAX || !printable {
            return None;
        }
        if !(acts_as.is_empty() || acts_as.strip_prefix("a=")? == name) || name.len() > NAME_MAX {
            return Some(Next::Wrong);
        }
        let name = name.replace("=2C", ",").replace("=3D", "=").into_bytes();
        let Keys { salt, iterations, .. } = self.known.keys(&name);
        let nonce = format!("{theirs}{}", random());
        let first = format!("r={nonce},s={},i={iterations}", BASE64.encode(salt));
        let binding = [&said[..text.len() - bare.len()], bound_to].concat();
        let said = format!("{bare},{first},").into_bytes();
        self.state = State::ScramFinal(Heard { name, binding, nonce, said });
        Some(Next::Challenge(BASE64.encode(first)))
    }

    /// `c=binding,r=nonce,…,p=proof`.
    fn scram_final(&mut self, heard: Heard, message: &[u8]) -> Option<Next> {
        let Heard { name, binding: ours, nonce, said } = heard;
        let text = str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next()?.strip_prefix("c=")?;
        let theirs = attributes.next()?.strip_prefix("r=")?;
        let proof = BASE64.decode(proof).ok()?;
        if theirs != nonce {
            return Some(Next::Wrong);
        }
        if BASE64.decode(binding).ok()? != ours {
            return Some(Next::Unbound);
        }
        let said = [&said, without_proof.as_bytes()].concat();
        let known = self.known.clone();
        self.state = State::ScramChecked { said: said.clone() };
        Some(Next::Check(Claim::Scram { name, proof, said, known }))
    }

    /// The claim was right, and the client's is this `account`: by SCRAM it wants our proof, too.
    pub fn accept(&mut self, account: Arc<Account>) -> Next {
        let State::ScramChecked { said } = &self.state else { return Next::Done(account) };
        let signature = account.keys.signature(said);
        let proof = BASE64.encode(format!("v={}", BASE64.encode(signature)));
        self.state = State::ScramDone { account };
        Next::Challenge(proof)
    }
}

fn random() -> String {
    let mut octets = [0; RANDOM];
    // Without random numbers there would be no TLS, no spool and no greeting either.
    SystemRandom::new().fill(&mut octets).expect("the system has given random numbers before");
    BASE64.encode(octets)
}
