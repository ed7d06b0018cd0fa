//! What a session may accept, and how it gets into the spool.

mod aside;
mod asked;
mod submission;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use postern_core::appletalk::Address;
use postern_core::drive;
use postern_core::session::{AuthVerdict, EtrnVerdict, Greeting, Verdict, Why};
use postern_core::trace::{Origin, Received, With};
use postern_core::utf8;
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

use crate::accounts::{Account, Accounts, Binding};
use crate::ask::Asking;
use crate::config::DomainName;
use crate::lists::Lists;
use crate::observe::metrics::Metrics;
use crate::policy::{Capabilities, Peer, Policies, Policy, Refusal};
use crate::receive::auth::{Answered, Authentication, Channel, Entrance};
use crate::receive::completion::Completion;
use crate::receive::etrn::Releases;
use crate::receive::greeting::Token;
use crate::receive::held_bytes;
use crate::receive::loops::Loops;
use crate::receive::refusals::{self, Refusals, Refused, SessionLog};
use crate::receive::submission::{InForce, Limits, Submitter, Unit};
use crate::receive::transaction::{Cause, Transaction, cause};
use crate::receive::wakeups::Wakeups;
use aside::Activity;
pub use aside::Came;
use asked::Question;
use postern_spool::clock::Clock;
use postern_spool::{Admission, Domain, Draft, Envelope, Recipient, Refuse, Spool};
use tokio::time::sleep;

/// Octets of a Received field at most: its names are bounded by core, each path by RFC 5321.
const RECEIVED: usize = 2048;

/// What the handlers of all sessions share.
#[derive(Debug)]
pub struct Services<S> {
    /// Where mail goes.
    pub spool: Arc<S>,
    /// What is counted.
    pub metrics: Metrics,
    /// The time of day.
    pub clock: Clock,
    /// Releases by ETRN.
    pub releases: Releases,
    /// Releases by wake-ups.
    pub wakeups: Arc<Wakeups>,
    /// What finds mail that comes back.
    pub loops: Arc<Loops>,
    /// What tells us from others.
    pub own: Token,
    /// What the hosts that mail goes to offered of late.
    pub capabilities: Arc<Capabilities>,
    /// What is logged of all that is refused.
    pub refusals: Arc<Refusals>,
    /// What finds out who hosts take mail for.
    pub asking: Arc<Asking>,
    /// Who domains with lists take mail for.
    pub lists: Arc<Lists>,
    /// Who may authenticate.
    pub accounts: Arc<Accounts>,
    /// How much may be submitted.
    pub limits: Arc<Limits>,
}

/// What the clients of a session come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// To bring mail for the domains that are held.
    Mail,
    /// To fetch mail: MAIL is not offered (RFC 2645 section 5 leaves that to us).
    Fetching,
    /// To submit mail (RFC 6409).
    Submission,
}

/// A recipient whose mail is taken.
struct Taken {
    /// The address that it is held under.
    path: Vec<u8>,
    /// How much may be held for its domain.
    quota: Option<Quota>,
    /// Whether mail for it releases its domain.
    releases: bool,
    /// Whether the client submits mail for it.
    is_submitted: bool,
    /// Whom its host must be asked about before.
    asked: Option<Question>,
}

/// How much may be held for a domain.
struct Quota {
    bytes: u64,
    domain: Domain,
    /// Octets of the message, as declared.
    size: u64,
}

impl Quota {
    /// Whether the message would be too much.
    async fn is_past<S: Spool>(&self, spool: &S) -> Result<bool, Cause> {
        let held = held_bytes(spool, &self.domain).await.map_err(|_| (Reason::Busy, "busy"))?;
        Ok(held >= self.bytes || held.saturating_add(self.size) > self.bytes)
    }
}

/// The handler of one session.
#[derive(Debug)]
pub struct SessionHandler<S: Spool> {
    services: Arc<Services<S>>,
    policies: Arc<Policies>,
    hostname: Arc<str>,
    peer: Peer,
    /// The TCP port of a client that has one.
    port: u16,
    /// Why the session is turned away, if it is.
    turned_away: Option<Reason>,
    /// Where the client may authenticate.
    entrance: Option<Entrance>,
    auth: Authentication,
    service: Service,
    /// The client may send mail to anybody, without a password.
    trusted: bool,
    /// What may take that back.
    in_force: Option<InForce>,
    /// Whose mail goes over the connection once the roles have turned.
    fetched: Vec<Domain>,
    tls: bool,
    /// What a password can be bound to.
    binding: Option<Binding>,
    helo: Vec<u8>,
    esmtp: bool,
    transaction: Option<Box<Transaction<S::Draft>>>,
    /// What the last reply said.
    said: String,
    /// Somebody's mail was taken, or what wakes somebody.
    brings_mail: bool,
    activity: Activity,
    log: SessionLog,
}

impl<S: Spool> SessionHandler<S> {
    /// The handler for `client`, whose address is folded already: IPv4 is never `::ffff:…`.
    pub fn new(
        services: Arc<Services<S>>,
        policies: Arc<Policies>,
        hostname: Arc<str>,
        client: SocketAddr,
        turned_away: Option<Reason>,
    ) -> Self {
        let handler = Self::with(services, policies, hostname, client.into());
        Self { port: client.port(), turned_away, ..handler }
    }

    /// The handler for a mailer on an AppleTalk network.
    pub fn on_appletalk(
        services: Arc<Services<S>>,
        policies: Arc<Policies>,
        hostname: Arc<str>,
        peer: Address,
    ) -> Self {
        Self::with(services, policies, hostname, Peer::AppleTalk(peer))
    }

    fn with(
        services: Arc<Services<S>>,
        policies: Arc<Policies>,
        hostname: Arc<str>,
        peer: Peer,
    ) -> Self {
        let log = SessionLog::new(Arc::clone(&services.refusals), peer);
        Self {
            log,
            services,
            policies,
            hostname,
            peer,
            port: 0,
            turned_away: None,
            entrance: None,
            auth: Authentication::default(),
            service: Service::Mail,
            trusted: false,
            in_force: None,
            fetched: Vec::new(),
            tls: false,
            binding: None,
            helo: Vec::new(),
            esmtp: false,
            transaction: None,
            said: String::new(),
            brings_mail: false,
            activity: Activity::default(),
        }
    }

    /// Where the client is, by its IP address and port.
    pub fn client(&self) -> Option<SocketAddr> {
        self.peer.ip().map(|address| SocketAddr::new(address, self.port))
    }

    /// Clients may authenticate by `entrance`.
    #[must_use]
    pub fn with_entrance(mut self, entrance: Entrance) -> Self {
        self.entrance = Some(entrance);
        self
    }

    /// Clients come for `service`.
    #[must_use]
    pub fn for_service(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    /// Whether the client may send mail to anybody without a password.
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The client may send mail to anybody without a password, if it `is` trusted.
    #[must_use]
    pub fn trusted(mut self, is: bool) -> Self {
        self.trusted = is;
        self
    }

    /// Who is trusted is so while the policies that are `in_force` say so.
    #[must_use]
    pub fn under(mut self, in_force: InForce) -> Self {
        self.in_force = Some(in_force);
        self
    }

    /// The domains that the client fetches, once an ATRN of its was accepted.
    pub fn take_fetched(&mut self) -> Vec<Domain> {
        std::mem::take(&mut self.fetched)
    }

    /// The session goes on under TLS, to which a password can be bound if there is a `binding`.
    /// What was said before it is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self, binding: Option<Binding>) {
        (self.tls, self.binding) = (true, binding);
        self.auth = Authentication::default();
    }

    /// Releases the domains that a session, or an authentication, with this client does. Who comes
    /// to fetch mail says what he wants.
    fn release_on_connect(&self) {
        if self.service == Service::Fetching {
            return;
        }
        let Services { spool, wakeups, .. } = &*self.services;
        let released = self.policies.released_on_connect(self.peer);
        wakeups.connected(spool, self.peer, released);
    }

    /// Logs what came of an AUTH command or its line, and releases what it does.
    fn note_auth(&mut self, answered: &Answered) {
        match answered {
            Answered::In(account) => {
                let how = (self.auth.mechanism(), self.tls);
                self.services.releases.log_login(self.peer, account.name(), how);
                self.release_on_connect();
            }
            Answered::Out(_, Some(word)) => {
                let (helo, account) = (&self.helo[..], self.auth.name());
                self.log.refused(Refused { word, helo, account, ..Refused::default() });
            }
            Answered::Asked | Answered::Out(_, None) => {}
        }
    }

    /// The account that the client has shown to be, if that is still there.
    async fn account_now(&mut self) -> Option<Arc<Account>> {
        self.auth.account_now(self.entrance.as_ref()?).await
    }

    fn admission(&self) -> Admission {
        *self.services.spool.admission().borrow()
    }

    /// Refuses what comes from `from`, or its recipient `to`.
    fn refuse(&mut self, (reason, word): Cause, from: &[u8], to: &[u8]) -> Verdict<'static> {
        self.log.refused(Refused { word, helo: &self.helo, from, to, ..Refused::default() });
        Verdict::Refuse(reason, None)
    }

    /// Refuses a recipient. Who has named too many of late that there are not waits before he
    /// hears it, and has to come again: else a list is guessed at as fast as he can connect.
    async fn refuse_recipient(&mut self, cause: Cause, to: &ForwardPath<'_>) -> Verdict<'static> {
        const GUESSES: Text<'static> =
            Text::new(b"Too many unknown recipients, closing").expect("printable");
        let from = self.sender();
        let is_guess = cause.0 == Reason::UnknownUser && self.submitter().is_none();
        if !is_guess || self.log.may_guess() {
            return self.refuse(cause, &from, to.as_bytes());
        }
        sleep(refusals::GUESS_PAUSE).await;
        self.refuse((Reason::TooManySessions, "guesses"), &from, to.as_bytes());
        Verdict::Close(Reason::TooManySessions, Some(GUESSES))
    }

    /// The sender of the present transaction; empty without one.
    fn sender(&self) -> Vec<u8> {
        let envelope = self.transaction.as_ref().map(|transaction| &transaction.envelope);
        envelope.map(|envelope| envelope.reverse_path.clone()).unwrap_or_default()
    }

    /// The address that mail for `to` is held under in the present transaction.
    fn taken(&self, to: &ForwardPath<'_>) -> Result<Taken, Cause> {
        let taken = match self.submitter() {
            Some(_) => self.policies.outgoing(to, self.peer),
            None => self.policies.recipient(to, self.peer),
        };
        let taken = taken.map_err(word_of)?;
        let Transaction { envelope, size, .. } =
            self.transaction.as_deref().expect("core asks for RCPT after MAIL");
        // What has ASCII addresses may have been declared for no reason: the content tells.
        let needs_utf8 = !(envelope.reverse_path.is_ascii() && taken.path.is_ascii());
        if needs_utf8 && taken.policy.lacks_utf8(&self.services.capabilities) {
            return Err((Reason::NoUtf8, "no_utf8"));
        }
        let Policy { quota, domain, .. } = taken.policy;
        let quota = quota.zip(domain.as_ref()).map(|(bytes, domain)| Quota {
            bytes,
            domain: Domain::new(domain.as_str()),
            size: size.unwrap_or_default(),
        });
        let is_submitted = self.submits_all() || taken.policy.is_relayed();
        let asked = Question::of(&taken);
        Ok(Taken { path: taken.path, quota, releases: taken.releases, is_submitted, asked })
    }

    /// Takes a recipient that mail is held for.
    async fn take(&mut self, to: &ForwardPath<'_>, params: &RcptParams<'_>) -> Result<(), Cause> {
        let Taken { path, quota, releases, is_submitted, asked } = self.taken(to)?;
        if let Some(quota) = quota
            && quota.is_past(&*self.services.spool).await?
        {
            return Err((Reason::Quota, "quota"));
        }
        if let Some(question) = asked {
            self.ask(question, is_submitted).await?;
        }
        if is_submitted {
            self.counts_within_limit(Unit::Recipient)?;
        }
        self.brings_mail = true;
        let recipient = Recipient {
            notify: params.notify,
            original: params.orcpt.unwrap_or_default().to_vec(),
            ..Recipient::new(&path)
        };
        let transaction = self.transaction();
        transaction.envelope.submitted |= is_submitted;
        if releases {
            transaction.releases.insert(recipient.domain());
        }
        // Who is named a thousand times gets it once.
        let recipients = &mut transaction.envelope.recipients;
        if !recipients.iter().any(|known| is_same(known, &recipient)) {
            recipients.push(recipient);
        }
        Ok(())
    }

    fn transaction(&mut self) -> &mut Transaction<S::Draft> {
        self.transaction.as_deref_mut().expect("core asks for RCPT after MAIL")
    }

    fn envelope(&self, from: &ReversePath<'_>, params: &MailParams<'_>) -> Envelope {
        Envelope {
            arrival: self.services.clock.timestamp(),
            client: self.peer.ip(),
            client_port: self.port,
            helo: self.helo.clone(),
            esmtp: self.esmtp,
            tls: self.tls,
            authenticated: self.auth.account().is_some(),
            submitted: self.submits_all(),
            smtp_utf8: params.smtputf8,
            reverse_path: from.as_bytes().to_vec(),
            body: params.body,
            ret: params.ret,
            envelope_id: params.envid.unwrap_or_default().to_vec(),
            recipients: Vec::new(),
        }
    }

    /// The Received field (RFC 5321 section 4.4), which tells by its id which message it was here.
    fn received(&self, envelope: &Envelope, id: &str) -> Vec<u8> {
        let recipient = match &envelope.recipients[..] {
            [only] => Some(&only.path[..]),
            _ => None,
        };
        let auth = envelope.authenticated;
        let with = With { esmtp: self.esmtp, tls: self.tls, auth, utf8: envelope.smtp_utf8 };
        let received = Received {
            helo: &self.helo,
            origin: match self.peer {
                Peer::AppleTalk(address) => Origin::AppleTalk(address),
                Peer::Internet(address) => Origin::Internet(address),
            },
            by: Text::new(self.hostname.as_bytes()).expect("a domain name is printable"),
            with,
            id: Text::new(id.as_bytes()).expect("an id is short and printable"),
            recipient,
            time: envelope.arrival,
        };
        let mut field = vec![0; RECEIVED];
        let mut out = Out::new(&mut field);
        received.write(&mut out).expect("core bounds every part of the field");
        let length = out.len();
        field.truncate(length);
        field
    }

    async fn begin(&mut self) -> Result<(), Refuse> {
        let mut transaction = self.transaction.take().expect("core asks for a message after MAIL");
        let mut writer = self.services.spool.begin(&transaction.envelope, transaction.size).await?;
        let domains = domains(&transaction.envelope);
        let mark = self.services.loops.mark(writer.id(), &domains);
        let client = self.peer.ip();
        transaction.returns = client.and_then(|it| self.services.loops.scan(it, &domains));
        if transaction.envelope.smtp_utf8 && self.is_without_utf8(&domains) {
            transaction.utf8 = Some(Box::new(utf8::Scan::new()));
        }
        writer.write(&self.received(&transaction.envelope, &mark)).await?;
        if transaction.envelope.submitted {
            let (time, id) = (transaction.envelope.arrival, writer.id().to_string());
            let completion = Completion::new(time, id, self.hostname.to_string());
            transaction.completion = Some(Box::new(completion));
        }
        transaction.writer = Some(writer);
        self.transaction = Some(transaction);
        Ok(())
    }

    /// Whether the host of one of them is known not to take internationalized mail.
    fn is_without_utf8(&self, domains: &[Domain]) -> bool {
        let lacks = |domain| self.policies.of(domain).lacks_utf8(&self.services.capabilities);
        domains.iter().any(lacks)
    }

    fn log_accepted(&self, envelope: &Envelope, id: &str, octets: u64) {
        let from = envelope.reverse_path.escape_ascii();
        let recipients = envelope.recipients.len();
        let to = envelope.recipients.first().map(|to| to.path.escape_ascii().to_string());
        let (client, helo, tls) = (self.peer, self.helo.escape_ascii(), self.tls);
        let submitter = self.submitter().filter(|_| envelope.submitted);
        let account = submitter.map(|submitter| match submitter {
            Submitter::Account(account) => account.name(),
            Submitter::Trusted(_) => "(trusted)",
        });
        tracing::info!(
            id, %from, to, recipients, octets, %client, %helo, tls, account, "accepted"
        );
    }
}

impl<S: Spool> drive::Handler for SessionHandler<S> {
    async fn connect(&mut self) -> Verdict<'_> {
        // Sent away at once, a sender goes on to the next mail exchanger.
        let down = || (self.admission() == Admission::Stopped).then_some(Reason::Down);
        let Some(reason) = self.turned_away.or_else(down) else {
            self.release_on_connect();
            return Verdict::AcceptWith(self.services.own.greeting());
        };
        let word = match reason {
            Reason::TooManySessions => "address",
            Reason::Down => "down",
            _ => "channels",
        };
        self.log.refused(Refused { word, ..Refused::default() });
        Verdict::Close(reason, None)
    }

    async fn hello(&mut self, name: &[u8], greeting: Greeting) -> Verdict<'_> {
        self.helo = name.to_vec();
        self.esmtp = greeting == Greeting::Ehlo;
        Verdict::Accept
    }

    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_> {
        if self.service == Service::Fetching {
            return Verdict::Refuse(Reason::NotOffered, None);
        }
        if let Some(entrance) = &self.entrance {
            self.auth.look_again(entrance).await;
        }
        self.look_again_at_trust();
        if let Some(refused) = self.refuses_sender(&from, &params) {
            return refused;
        }
        if let Some(refuse) = self.admission().refuses(params.size) {
            return self.refuse(cause(refuse), from.as_bytes(), b"");
        }
        let envelope = self.envelope(&from, &params);
        let most = self.size_limit();
        self.transaction = Some(Box::new(Transaction::new(envelope, params.size, most)));
        Verdict::Accept
    }

    async fn rcpt(&mut self, to: ForwardPath<'_>, params: RcptParams<'_>) -> Verdict<'_> {
        let taken = match self.set_aside(&to) {
            Some(set_aside) => set_aside,
            None => self.take(&to, &params).await,
        };
        match taken {
            Ok(()) => Verdict::Accept,
            Err(cause) => self.refuse_recipient(cause, &to).await,
        }
    }

    async fn open(&mut self) -> Verdict<'_> {
        if !self.transaction().is_held() {
            return Verdict::Accept;
        }
        let from = self.sender();
        let is_submitted = self.transaction().envelope.submitted;
        let counted = if is_submitted { self.counts_within_limit(Unit::Message) } else { Ok(()) };
        let begun = match counted {
            Ok(()) => self.begin().await.map_err(cause),
            Err(cause) => Err(cause),
        };
        match begun {
            Ok(()) => Verdict::Accept,
            Err(cause) => self.refuse(cause, &from, b""),
        }
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let transaction = self.transaction();
        let written = match transaction.count(bytes) {
            Ok(()) if transaction.is_held() => transaction.write(bytes).await.map_err(cause),
            Ok(()) => transaction.pass_over(bytes),
            Err(cause) => Err(cause),
        };
        let Err((reason, word)) = written else { return Ok(()) };
        let from = self.sender();
        self.transaction = None;
        self.log.refused(Refused { word, helo: &self.helo, from: &from, ..Refused::default() });
        Err(reason)
    }

    async fn commit(&mut self, size: u64) -> Verdict<'_> {
        let mut transaction = self.transaction.take().expect("core ends a message that was begun");
        // Before it is held: where it then is not, it comes again, and releases them again.
        if let Err(cause) = self.wake(std::mem::take(&mut transaction.wakeups)).await {
            return self.refuse(cause, &transaction.envelope.reverse_path, b"");
        }
        if !transaction.is_held() {
            self.log.accepted();
            self.note_null(&transaction, size);
            return Verdict::Accept;
        }
        let releases = std::mem::take(&mut transaction.releases);
        if let Err(cause) = transaction.write_rest().await.map_err(cause) {
            return self.refuse(cause, &transaction.envelope.reverse_path, b"");
        }
        if !self.is_from_whom_it_may(&transaction) {
            return self.refuse_from(&transaction.envelope.reverse_path);
        }
        let (kept, envelope) = transaction.keep().await;
        match kept {
            Ok(id) => {
                self.log.accepted();
                self.services.metrics.accepted.inc();
                self.services.metrics.accepted_bytes.inc_by(size);
                if envelope.submitted {
                    self.services.metrics.submitted.inc();
                }
                if self.policies.is_urgent_sender(&envelope.reverse_path) && envelope.submitted {
                    self.services.releases.urgent(&domains(&envelope));
                }
                self.log_accepted(&envelope, &id, size);
                self.wake_behind(releases).await;
                self.said = format!("Held as {id}");
                let text = Text::new(self.said.as_bytes());
                Verdict::AcceptWith(text.expect("an id is short and printable"))
            }
            Err(cause) => self.refuse(cause, &envelope.reverse_path, b""),
        }
    }

    fn discard(&mut self, why: Why) {
        if let Some(word) = refusals::word(why) {
            let from = self.sender();
            self.log.refused(Refused { word, helo: &self.helo, from: &from, ..Refused::default() });
        }
        self.activity.cut = matches!(why, Why::HangUp | Why::TimedOut);
        self.transaction = None;
    }

    fn quit(&mut self) {
        self.activity.left = true;
    }

    /// STARTTLS is offered only with a certificate.
    async fn start_tls(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        static NONE: BTreeSet<DomainName> = BTreeSet::new();
        let account = self.account_now().await;
        let of_account = account.as_deref().map_or(&NONE, Account::domains);
        let domains = self.policies.released_by(&node, self.peer, of_account);
        let Services { releases, spool, .. } = &*self.services;
        let from = account.and_then(|_| self.peer.ip());
        let verdict = releases.release(&**spool, &node, &domains, from).await;
        releases.log(self.peer, &node, domains.len(), &verdict);
        verdict
    }

    async fn atrn(&mut self, named: Domains<'_>) -> Verdict<'_> {
        let Some(account) = self.account_now().await else {
            return Verdict::Refuse(Reason::NeedAuth, None);
        };
        let domains = self.policies.fetched_by(account.domains(), &named);
        let Services { releases, spool, .. } = &*self.services;
        let client = (self.peer, account.name());
        let asked = releases.fetch(&**spool, client, domains.as_deref()).await;
        if let Some(reason) = asked.refused() {
            return Verdict::Refuse(reason, None);
        }
        self.fetched = domains.unwrap_or_default();
        Verdict::Accept
    }

    async fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> AuthVerdict<'_> {
        let Some(entrance) = &self.entrance else {
            return AuthVerdict::Refuse(Reason::NotOffered, None);
        };
        let Self { tls, binding, ref hostname, .. } = *self;
        let channel = Channel { tls, binding, hostname };
        let answered = self.auth.begin(entrance, channel, (mechanism, initial)).await;
        self.note_auth(&answered);
        self.auth.verdict(&answered)
    }

    async fn auth_line(&mut self, line: &[u8]) -> AuthVerdict<'_> {
        let Some(entrance) = &self.entrance else {
            return AuthVerdict::Refuse(Reason::NotOffered, None);
        };
        let answered = self.auth.hear(entrance, line).await;
        self.note_auth(&answered);
        self.auth.verdict(&answered)
    }
}

/// What is said of a recipient that is refused.
const fn word_of(refusal: Refusal) -> Cause {
    match refusal {
        Refusal::NotHeld => (Reason::RelayDenied, "relay"),
        Refusal::Unknown => (Reason::UnknownUser, "unknown_user"),
        Refusal::Routed => (Reason::Policy, "routed"),
        Refusal::Wakeup => (Reason::Policy, "wakeup"),
    }
}

/// Whether they are one mailbox, in whatever case its domain is, to be told of alike.
fn is_same(one: &Recipient, other: &Recipient) -> bool {
    let [(local, domain), (other_local, other_domain)] = [one, other].map(|recipient| {
        let at = recipient.path.iter().rposition(|octet| *octet == b'@');
        recipient.path.split_at(at.unwrap_or_default())
    });
    local == other_local
        && domain.eq_ignore_ascii_case(other_domain)
        && (one.notify, &one.original) == (other.notify, &other.original)
}

/// The domains that the message is for, each once.
fn domains(envelope: &Envelope) -> Vec<Domain> {
    let mut domains: Vec<_> = envelope.recipients.iter().map(Recipient::domain).collect();
    domains.sort_unstable();
    domains.dedup();
    domains
}
