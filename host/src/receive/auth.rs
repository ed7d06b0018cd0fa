//! AUTH's dialogue in a session (RFC 4954).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_core::session::AuthVerdict;
use postern_core::wire::Text;
use postern_core::wire::reply::Reason;

use crate::accounts::{Account, Accounts, Binding, Book, Claim, Denied, Exchange, Mechanism, Next};
use crate::receive::submission::InForce;

/// SASL mechanisms as EHLO's reply has them: all of them under TLS, and in clear those that tell
/// who listens no password. CRAM-MD5 stands last, and only where an account has it.
const TLS: [Text<'static>; 2] =
    [text("SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5"), text("SCRAM-SHA-256 PLAIN LOGIN")];
/// The same where what is said can be bound to the TLS connection.
const BOUND: [Text<'static>; 2] = [
    text("SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5"),
    text("SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
];
const CLEAR: [Text<'static>; 2] = [text("SCRAM-SHA-256 CRAM-MD5"), text("SCRAM-SHA-256")];
/// Those that tell the password, which whoever knows it is then asked by.
const TOLD: Text<'static> = text("PLAIN LOGIN");
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
    whose: Whose,
    dovecot: Option<Dovecot>,
}

/// Where mailers are users of Dovecot, and not accounts.
#[derive(Debug, Clone)]
struct Dovecot {
    socket: PathBuf,
    in_force: InForce,
}

impl Dovecot {
    /// What its `user` is here, now; `None`: its users are nobody's any more.
    fn account(&self, user: &str) -> Option<Account> {
        let policies = self.in_force.now();
        let submission = policies.submission();
        let is_asked = submission.dovecot() == Some(&self.socket);
        is_asked.then(|| Account::of_dovecot(user, submission.senders(user)))
    }
}

/// Who authenticates somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Hosts that fetch mail, or have it released.
    Hosts {
        /// The client may authenticate without TLS.
        in_clear: bool,
    },
    /// Mailers: under TLS only, and never by CRAM-MD5, for which passwords would have to be kept.
    Mailers,
}

/// SASL mechanisms as EHLO's reply has them.
#[derive(Debug, Clone, Copy)]
pub struct Mechanisms {
    /// Under TLS that can be bound to.
    pub bound: Text<'static>,
    /// Under TLS.
    pub tls: Text<'static>,
    /// In clear.
    pub clear: Text<'static>,
}

/// What a client authenticates over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel<'h> {
    pub(super) tls: bool,
    pub(super) binding: Option<Binding>,
    /// Our name.
    pub(super) hostname: &'h str,
}

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
    pub async fn open(accounts: &Arc<Accounts>, client: IpAddr, file: &Path, whose: Whose) -> Self {
        let book = accounts.book(file).await;
        let (accounts, file) = (Arc::clone(accounts), file.to_owned());
        Self { accounts, file, client, book, whose, dovecot: None }
    }

    /// For a mailer at `client` that is a user of Dovecot at `socket`, and has the rights that are
    /// `in_force`.
    pub fn by_dovecot(
        accounts: &Arc<Accounts>,
        client: IpAddr,
        socket: &Path,
        in_force: InForce,
    ) -> Self {
        let (socket, book) = (socket.to_owned(), Some(Arc::default()));
        Self {
            accounts: Arc::clone(accounts),
            file: PathBuf::new(),
            client,
            book,
            whose: Whose::Mailers,
            dovecot: Some(Dovecot { socket, in_force }),
        }
    }

    /// What is offered.
    pub fn mechanisms(&self) -> Mechanisms {
        if self.dovecot.is_some() {
            return Mechanisms { bound: TOLD, tls: TOLD, clear: NONE };
        }
        let Whose::Hosts { in_clear } = self.whose else {
            return Mechanisms { bound: BOUND[1], tls: TLS[1], clear: NONE };
        };
        let cram = self.book.as_ref().is_some_and(|book| book.has_cram_md5());
        let nth = usize::from(!cram);
        let clear = if in_clear { CLEAR[nth] } else { NONE };
        Mechanisms { bound: BOUND[nth], tls: TLS[nth], clear }
    }

    /// Whether `mechanism` is one of them.
    fn has(&self, mechanism: Mechanism, binding: Option<Binding>) -> bool {
        match mechanism {
            // Dovecot does not tell what the others are checked by.
            Mechanism::ScramPlus | Mechanism::Scram | Mechanism::CramMd5
                if self.dovecot.is_some() =>
            {
                false
            }
            Mechanism::ScramPlus => binding.is_some(),
            Mechanism::CramMd5 => self.whose != Whose::Mailers,
            Mechanism::Scram | Mechanism::Plain | Mechanism::Login => true,
        }
    }

    /// Finds out whether what the client claims is so.
    async fn check(&self, claim: Claim) -> Result<Arc<Account>, Denied> {
        let Some(dovecot) = &self.dovecot else {
            return self.accounts.check(self.client, claim).await;
        };
        let user = self.accounts.ask_dovecot(self.client, &dovecot.socket, &claim).await?;
        dovecot.account(&user).map(Arc::new).ok_or(Denied::Down)
    }

    /// The account of this name and these keys, as it is now.
    async fn account_now(&self, account: &Account) -> Option<Arc<Account>> {
        if let Some(dovecot) = &self.dovecot {
            return dovecot.account(account.name()).map(Arc::new);
        }
        let book = self.accounts.book(&self.file).await?;
        book.get(account.name()).filter(|now| now.has_the_keys_of(account)).cloned()
    }

    fn is_in_clear(&self) -> bool {
        self.whose == Whose::Hosts { in_clear: true }
    }
}

impl Authentication {
    /// The account that the client has shown to be.
    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }

    /// The same, as it is now: one that was removed, or has another password, is nobody's.
    pub(super) async fn account_now(&self, entrance: &Entrance) -> Option<Arc<Account>> {
        entrance.account_now(self.account.as_ref()?).await
    }

    /// Looks at the account again, which may have changed, or be gone, since the client said it.
    pub(super) async fn look_again(&mut self, entrance: &Entrance) {
        if self.account.is_some() {
            self.account = self.account_now(entrance).await;
        }
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
        channel: Channel<'_>,
        (mechanism, initial): (&[u8], Option<&[u8]>),
    ) -> Answered {
        (self.exchange, self.mechanism) = (None, "");
        self.name.clear();
        let mechanism = Mechanism::named(mechanism).filter(|it| entrance.has(*it, channel.binding));
        let Some(mechanism) = mechanism else {
            return Answered::Out(Reason::UnknownMechanism, None);
        };
        self.mechanism = mechanism.name();
        if !(channel.tls || entrance.is_in_clear() && mechanism.hides_the_password()) {
            return Answered::Out(Reason::NeedTls, None);
        }
        if entrance.accounts.is_shut_out(entrance.client) {
            return Answered::Out(Reason::Busy, Some("auth_limit"));
        }
        let Some(book) = &entrance.book else {
            return Answered::Out(Reason::Busy, Some("auth_down"));
        };
        let Channel { hostname, binding, .. } = channel;
        let mut exchange = entrance.accounts.begin(mechanism, Arc::clone(book), hostname, binding);
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
                Next::Unbound => {
                    return Answered::Out(Reason::BadCredentials, Some("auth_binding"));
                }
                Next::Check(claim) => {
                    self.name = claim.name().to_vec();
                    match entrance.check(claim).await {
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
                        Err(Denied::Down) => {
                            return Answered::Out(Reason::Busy, Some("auth_down"));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD as BASE64;
    use postern_core::time::Timestamp;
    use postern_spool::clock::Clock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;
    use crate::accounts::change;
    use crate::config::Config;
    use crate::policy::Policies;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    struct Stand {
        accounts: Arc<Accounts>,
        folder: tempfile::TempDir,
    }

    impl Stand {
        fn new() -> Self {
            let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
            let accounts = Arc::new(Accounts::new(&[7; 32], clock));
            let stand = Self { accounts, folder: tempfile::tempdir().expect("a folder") };
            let domains = BTreeSet::from(["a.example".parse().expect("a name")]);
            let ann = Account::new("ann", domains.into(), "secret", true).expect("an account");
            let put = |book: &mut Book| {
                book.put(ann);
                Ok(())
            };
            change(&stand.folder.path().join("accounts"), put).expect("it is written");
            stand
        }

        async fn entrance(&self, whose: Whose) -> Entrance {
            let file = self.folder.path().join("accounts");
            Entrance::open(&self.accounts, CLIENT, &file, whose).await
        }
    }

    async fn said(entrance: &Entrance, tls: bool, mechanism: &[u8], said: &str) -> Answered {
        let said = BASE64.encode(said);
        let initial = Some(said.as_bytes()).filter(|said| !said.is_empty());
        let mut authentication = Authentication::default();
        let channel = Channel { tls, binding: None, hostname: "mx2.example" };
        authentication.begin(entrance, channel, (mechanism, initial)).await
    }

    #[tokio::test(start_paused = true)]
    async fn mailers_authenticate_under_tls_and_never_by_cram_md5() {
        let stand = Stand::new();
        let mailers = stand.entrance(Whose::Mailers).await;
        let Mechanisms { bound, tls, clear } = mailers.mechanisms();
        assert_eq!(tls.as_bytes(), b"SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(bound.as_bytes(), b"SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(clear.as_bytes(), b"");
        let cram = said(&mailers, true, b"CRAM-MD5", "").await;
        assert!(matches!(cram, Answered::Out(Reason::UnknownMechanism, None)));
        let right = "\0ann\0secret";
        for mechanism in [&b"PLAIN"[..], b"LOGIN", b"SCRAM-SHA-256"] {
            let clear = said(&mailers, false, mechanism, right).await;
            assert!(matches!(clear, Answered::Out(Reason::NeedTls, None)));
        }
        assert!(matches!(said(&mailers, true, b"plain", right).await, Answered::In(_)));
        let hosts = stand.entrance(Whose::Hosts { in_clear: true }).await;
        assert!(matches!(said(&hosts, false, b"CRAM-MD5", "").await, Answered::Asked));
    }

    /// One counter is for all: Dovecot does not hear of a try that is one too many.
    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_count_that_dovecot_was_told() {
        let stand = Stand::new();
        let socket = stand.folder.path().join("auth");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let said = b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\nFAIL\t1\tuser=ann\n";
                stream.write_all(said).await.expect("it listens");
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.expect("it goes");
            }
        });
        let policies = Arc::new(Policies::new(
            &Config::parse(Path::new("postern.toml"), "").expect("a sound configuration"),
        ));
        let in_force = InForce::new(move || Arc::clone(&policies));
        let mailers = Entrance::by_dovecot(&stand.accounts, CLIENT, &socket, in_force);
        let hosts = stand.entrance(Whose::Hosts { in_clear: false }).await;
        for number in 0..10 {
            let entrance = if number % 2 == 0 { &hosts } else { &mailers };
            let answered = said(entrance, true, b"PLAIN", "\0ann\0wrong").await;
            assert!(matches!(answered, Answered::Out(Reason::BadCredentials, Some("auth"))));
        }
        for entrance in [&hosts, &mailers] {
            let answered = said(entrance, true, b"PLAIN", "\0ann\0secret").await;
            assert!(matches!(answered, Answered::Out(Reason::Busy, Some("auth_limit"))));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }

    /// A mailer that knows its password is let in once Dovecot is there again.
    #[tokio::test(start_paused = true)]
    async fn what_dovecot_did_not_answer_is_no_wrong_password() {
        let stand = Stand::new();
        let policies = Arc::new(Policies::new(
            &Config::parse(Path::new("postern.toml"), "").expect("a sound configuration"),
        ));
        let in_force = InForce::new(move || Arc::clone(&policies));
        let socket = stand.folder.path().join("nobody");
        let mailers = Entrance::by_dovecot(&stand.accounts, CLIENT, &socket, in_force);
        for _ in 0..20 {
            let answered = said(&mailers, true, b"PLAIN", "\0ann\0secret").await;
            assert!(matches!(answered, Answered::Out(Reason::Busy, Some("auth_down"))));
        }
    }

    /// Who has tried as often as he may where mail is fetched is not heard where it is submitted.
    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_count_wherever_they_are_said() {
        let stand = Stand::new();
        let hosts = stand.entrance(Whose::Hosts { in_clear: false }).await;
        let mailers = stand.entrance(Whose::Mailers).await;
        let wrong = "\0ann\0wrong";
        for number in 0..10 {
            let entrance = if number % 2 == 0 { &hosts } else { &mailers };
            let answered = said(entrance, true, b"PLAIN", wrong).await;
            assert!(matches!(answered, Answered::Out(Reason::BadCredentials, Some("auth"))));
        }
        for entrance in [&hosts, &mailers] {
            let answered = said(entrance, true, b"PLAIN", "\0ann\0secret").await;
            assert!(matches!(answered, Answered::Out(Reason::Busy, Some("auth_limit"))));
        }
    }
}
