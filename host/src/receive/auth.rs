//! AUTH's dialogue in a session (RFC 4954).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_core::session::AuthVerdict;
use postern_core::wire::Text;
use postern_core::wire::reply::Reason;

use crate::accounts::{Account, Accounts, Book, Denied, Exchange, Mechanism, Next};

/// SASL mechanisms as EHLO's reply has them: all of them under TLS, and in clear those that tell
/// who listens no password. CRAM-MD5 stands last, and only where an account has it.
const TLS: [Text<'static>; 2] =
    [text("SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5"), text("SCRAM-SHA-256 PLAIN LOGIN")];
const CLEAR: [Text<'static>; 2] = [text("SCRAM-SHA-256 CRAM-MD5"), text("SCRAM-SHA-256")];
const NONE: Text<'static> = text("");

const fn text(words: &'static str) -> Text<'static> {
    Text::new(words.as_bytes()).expect("mechanisms are printable")
}

/// Who a client says that it is, and how far it has come with that.
#[derive(Debug, Default)]
pub(super) struct Authentication {
    exchange: Option<Exchange>,
    account: Option<Arc<Account>>,
    /// The last challenge.
    challenge: String,
    /// The mechanism of the last exchange, for the log.
    mechanism: &'static str,
    /// Who the client last said that it was.
    name: Vec<u8>,
}

/// What a session knows of the accounts at its begin.
#[derive(Debug, Clone)]
pub struct Entrance {
    accounts: Arc<Accounts>,
    file: PathBuf,
    client: IpAddr,
    book: Option<Arc<Book>>,
    /// The client may authenticate without TLS.
    in_clear: bool,
}

/// SASL mechanisms under TLS, and in clear, as EHLO's reply has them.
pub type Mechanisms = (Text<'static>, Text<'static>);

/// What a step of AUTH comes to.
pub(super) enum Answered {
    /// The client is this account's.
    In(Arc<Account>),
    /// It has to answer a challenge.
    Asked,
    /// It is not let in; the word is the log's, if it is worth a line.
    Out(Reason, Option<&'static str>),
}

impl Entrance {
    /// For `client`, with the accounts that `file` has now.
    pub async fn open(
        accounts: &Arc<Accounts>,
        client: IpAddr,
        file: &Path,
        in_clear: bool,
    ) -> Self {
        let book = accounts.book(file).await;
        let (accounts, file) = (Arc::clone(accounts), file.to_owned());
        Self { accounts, file, client, book, in_clear }
    }

    /// What is offered under TLS, and in clear.
    pub fn mechanisms(&self) -> Mechanisms {
        let cram = self.book.as_ref().is_some_and(|book| book.has_cram_md5());
        let nth = usize::from(!cram);
        (TLS[nth], if self.in_clear { CLEAR[nth] } else { NONE })
    }
}

impl Authentication {
    /// The account that the client has shown to be.
    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    /// The same, as it is now: one that was removed, or has another password, is nobody's.
    pub(super) async fn account_now(&self, entrance: &Entrance) -> Option<Arc<Account>> {
        let account = self.account.as_ref()?;
        let book = entrance.accounts.book(&entrance.file).await?;
        book.get(account.name()).filter(|now| now.has_the_keys_of(account)).cloned()
    }

    /// The mechanism of the last exchange.
    pub(super) fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// Who the client last said that it was.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// AUTH by `mechanism`.
    pub(super) async fn begin(
        &mut self,
        entrance: &Entrance,
        (tls, hostname): (bool, &str),
        (mechanism, initial): (&[u8], Option<&[u8]>),
    ) -> Answered {
        (self.exchange, self.mechanism) = (None, "");
        self.name.clear();
        let Some(mechanism) = Mechanism::named(mechanism) else {
            return Answered::Out(Reason::UnknownMechanism, None);
        };
        self.mechanism = mechanism.name();
        if !(tls || entrance.in_clear && mechanism.hides_the_password()) {
            return Answered::Out(Reason::NeedTls, None);
        }
        if entrance.accounts.is_shut_out(entrance.client) {
            return Answered::Out(Reason::Busy, Some("auth_limit"));
        }
        let Some(book) = &entrance.book else {
            return Answered::Out(Reason::Busy, Some("auth_down"));
        };
        let mut exchange = entrance.accounts.begin(mechanism, Arc::clone(book), hostname);
        let next = exchange.begin(initial);
        self.exchange = Some(exchange);
        self.go_on(entrance, next).await
    }

    /// The client's answer to a challenge.
    pub(super) async fn hear(&mut self, entrance: &Entrance, line: &[u8]) -> Answered {
        let next = self.exchange.as_mut().map_or(Next::Malformed, |exchange| exchange.answer(line));
        self.go_on(entrance, next).await
    }

    async fn go_on(&mut self, entrance: &Entrance, mut next: Next) -> Answered {
        loop {
            next = match next {
                Next::Challenge(challenge) => {
                    self.challenge = challenge;
                    return Answered::Asked;
                }
                Next::Done(account) => {
                    self.account = Some(Arc::clone(&account));
                    return Answered::In(account);
                }
                Next::Malformed => return Answered::Out(Reason::BadEncoding, None),
                Next::Wrong => return Answered::Out(Reason::BadCredentials, Some("auth")),
                Next::Check(claim) => {
                    self.name = claim.name().to_vec();
                    match entrance.accounts.check(entrance.client, claim).await {
                        Ok(account) => {
                            let exchange = self.exchange.as_mut();
                            exchange.map_or(Next::Wrong, |exchange| exchange.accept(account))
                        }
                        Err(Denied::Wrong) => Next::Wrong,
                        Err(Denied::TooOften) => {
                            return Answered::Out(Reason::Busy, Some("auth_limit"));
                        }
                        Err(Denied::Unable) => {
                            return Answered::Out(Reason::Busy, Some("auth_busy"));
                        }
                    }
                }
            };
        }
    }

    /// What core is told of it.
    pub(super) fn verdict(&self, answered: &Answered) -> AuthVerdict<'_> {
        match answered {
            Answered::In(_) => AuthVerdict::Accept,
            Answered::Asked => {
                let challenge = Text::new(self.challenge.as_bytes());
                AuthVerdict::Challenge(challenge.expect("base64 of what is bounded"))
            }
            Answered::Out(reason, _) => AuthVerdict::Refuse(*reason, None),
        }
    }
}
