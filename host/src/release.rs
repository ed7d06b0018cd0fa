//! The release engine: which domain's mail is delivered when, and over how many connections.
//!
//! A domain gets its turn when mail for it arrives, when its time has come, and when it is
//! released: by ETRN, by a person, or because its host is there again. Turns go round by host and
//! by domain. A turn is a lease of the spool's and one connection to the domain's host, over which
//! its messages go one after the other; a domain with many messages has several turns at once.
//! What a domain asks for while it waits for its turn, or has one, costs nothing more.

mod asker;
mod expiry;
mod fair;
mod fate;
mod hosts;
mod queue;
mod relayed;
mod returning;
#[cfg(test)]
mod stand;
mod turn;
mod urgent;
mod verdict;
mod waking;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, MsgId, Spool, Turn, Wake};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use self::verdict::REFUSED_IN_A_ROW;
use crate::ask::Asking;
use crate::config::DeliverTo;
use crate::deliver::Connector;
use crate::link::Link;
use crate::net::listener::Terms;
use crate::net::tls_client::Tls;
use crate::observe::metrics::Metrics;
use crate::observe::progress::Progress;
use crate::observe::rate::Limiter;
use crate::policy::{Capabilities, Network, Policies};
use crate::receive::greeting::Token;
use crate::receive::loops::Loops;
use crate::receive::triggers::Triggers;
pub use asker::Askers;
use asker::Called;
use hosts::Hosts;
use queue::Queue;
use relayed::Senders;
use urgent::Urgent;
use waking::Waking;

/// How long messages under way may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A delivery releases a domain no more often.
const RELEASE_EVERY: Duration = Duration::from_secs(30 * 60);
/// How long a host that did not answer MAIL behind the end of a message gets no other there.
const NO_MAIL_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);
/// Locks that all domains share.
const DECIDING: usize = 64;

/// What the engine works with.
pub struct Engine<S> {
    /// Where the mail is.
    pub spool: Arc<S>,
    /// What new turns begin with: whose mail goes where.
    pub terms: watch::Receiver<Terms>,
    /// The clocks.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// The way to the relay.
    pub link: Link,
    /// What finds the hosts, and connects to them.
    pub connector: Arc<dyn Connector>,
    /// TLS towards the hosts.
    pub tls: Tls,
    /// What our own listeners say in their greetings.
    pub own: Token,
    /// Where mail goes, and what of it comes back.
    pub loops: Arc<Loops>,
    /// What the hosts offer.
    pub capabilities: Arc<Capabilities>,
    /// Who they take mail for.
    pub asking: Arc<Asking>,
    /// Who asked for mail.
    pub triggers: Triggers,
    /// What is under way.
    pub progress: Progress,
}

/// The engine and what its turns know of each other.
struct EngineState<S> {
    engine: Engine<S>,
    hosts: Mutex<Hosts<DeliverTo>>,
    waking: Mutex<Waking<DeliverTo>>,
    known: Mutex<Known>,
    /// Domains whose mail is being fetched, and how many times at once.
    fetched: Mutex<HashMap<Domain, usize>>,
    /// Lines of the log for what those who fetch mail put off.
    deferrals: Limiter<Network>,
    /// Where mail that is fetched goes meanwhile.
    called: Mutex<HashMap<Domain, Called>>,
    /// Of whose domain a turn is deciding whether it is still asked for.
    deciding: [tokio::sync::Mutex<()>; DECIDING],
    /// Domains that have more than one turn's messages.
    more: mpsc::UnboundedSender<Domain>,
}

/// What earlier turns found.
#[derive(Debug, Default)]
struct Known {
    /// Domains whose last turn delivered nothing, and why.
    failing: HashMap<Domain, Failing>,
    /// Domains that a delivery released, and until when none does so again.
    released: HashMap<Domain, Instant>,
    /// Messages during which the host ended a connection over which nothing had gone.
    suspects: HashMap<Domain, MsgId>,
    /// Domains whose last turn lost its connection behind refusals, nothing taken: is that the
    /// host's fault? The next turn asks before it sends anything.
    in_question: HashSet<Domain>,
    /// Domains whose hosts have taken mail: which host, and how many messages it may refuse until
    /// it is asked whether it takes any.
    trusted: HashMap<Domain, (DeliverTo, usize)>,
    /// Whom the relay takes mail from, as far as its turns have found out.
    senders: Senders<DeliverTo>,
    /// Since when the relay could not be reached: it has not been since.
    relay_missed: Option<(DeliverTo, Instant)>,
    /// How often in a row it has gone while TLS was agreed on.
    relay_tls_lost: u32,
    /// What goes to the relay without waiting.
    urgent: Urgent,
    /// Messages of domains without a timer that broke a connection and are tried once more, with
    /// the epoch in which they are.
    once_more: HashMap<Domain, (u64, HashSet<MsgId>)>,
    /// A turn was connected, and the spool handed out nothing to it: its disk may be so full that
    /// no delivery could be recorded. Until it does, it is asked before a host is.
    hands_out_nothing: bool,
    /// Hosts that get no MAIL behind the end of a message before this time; those who fetch mail
    /// are told apart by its domain.
    no_mail_behind: HashMap<(DeliverTo, Option<Domain>), Instant>,
}

/// What a domain's last turns came to, which delivered nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Failing {
    /// Its host took nothing.
    refusing: bool,
    /// Connections in a row that its host broke, in which epoch of the domain.
    breaks: u32,
    epoch: u64,
}

impl<S: Spool> Engine<S> {
    /// Delivers mail until `stopping` turns true, and then at most 30 s longer, so that messages
    /// under way come to their final reply.
    pub async fn run(self, stopping: watch::Receiver<bool>) {
        self.start(stopping).1.await;
    }

    /// [`Engine::run`], and what delivers meanwhile to those who fetch mail.
    pub fn start(
        self,
        stopping: watch::Receiver<bool>,
    ) -> (Askers<S>, impl Future<Output = ()> + Send + 'static) {
        let (more, wanted) = mpsc::unbounded_channel();
        let shared = Arc::new(EngineState::new(self, more));
        let askers = Askers::new(Arc::clone(&shared), stopping.clone());
        (askers, serve(shared, wanted, stopping))
    }
}

/// Delivers until `stopping` turns true, and lets what is under way end.
async fn serve<S: Spool>(
    shared: Arc<EngineState<S>>,
    wanted: mpsc::UnboundedReceiver<Domain>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut queue = Queue::new(Arc::clone(&shared), stopping.clone());
    tokio::select! {
        biased;
        // The server that held the other end is gone, which is as good as being told.
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = queue.serve(wanted) => {}
        () = expiry::sweep(&shared.engine) => {}
        () = urgent::find(&shared.engine) => {}
    }
    if timeout(STOP_TIMEOUT, queue.ended()).await.is_err() {
        tracing::warn!("messages under way did not end in time; they will be sent again");
    }
}

impl<S: Spool> EngineState<S> {
    fn new(engine: Engine<S>, more: mpsc::UnboundedSender<Domain>) -> Self {
        Self {
            engine,
            hosts: Mutex::new(Hosts::new()),
            waking: Mutex::new(Waking::new()),
            known: Mutex::default(),
            fetched: Mutex::default(),
            deferrals: Limiter::new(asker::LINES, asker::LINE_EVERY),
            called: Mutex::default(),
            deciding: [(); DECIDING].map(|()| tokio::sync::Mutex::default()),
            more,
        }
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts<DeliverTo>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waking(&self) -> MutexGuard<'_, Waking<DeliverTo>> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever decides whether `domain` is still asked for.
    fn deciding(&self, domain: &Domain) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        domain.hash(&mut hasher);
        &self.deciding[usize::try_from(hasher.finish() % DECIDING as u64).unwrap_or_default()]
    }

    /// `domain` has more messages than one turn has claimed.
    fn more(&self, domain: &Domain) {
        // Without a receiver the engine stops.
        let _stopping = self.more.send(domain.clone());
    }

    /// The domain's host took a message: after a time when it took none, everything goes now.
    /// Whether the domain was released for that: what the present turn puts off is then in vain.
    ///
    /// Only then, and once in a while. If each delivery released the rest, each would bring back,
    /// too, what the host has just put off for reasons of its own, for ever.
    async fn delivered(&self, domain: &Domain) -> Result<bool, Error> {
        let now = self.engine.clock.instant();
        {
            let mut known = self.known();
            let refusing = known.failing.get(domain).is_some_and(|failing| failing.refusing);
            if !refusing || !passed(&mut known.released, domain, now) {
                // Nothing waits but what the host put off, or what broke the connection.
                known.failing.remove(domain);
                return Ok(false);
            }
        }
        self.engine.spool.release(std::slice::from_ref(domain), Wake::Delivery).await?;
        self.engine.metrics.release("delivery");
        tracing::info!(%domain, trigger = "delivery", "released");
        // Not before: where the release failed, the next delivery tries again.
        let mut known = self.known();
        known.failing.remove(domain);
        known.released.insert(domain.clone(), now.after(RELEASE_EVERY));
        Ok(true)
    }

    /// The domain's host took nothing in a whole turn, which may have ended with the connection.
    fn refusing(&self, domain: &Domain, is_broken: bool) {
        let mut known = self.known();
        let failing = known.failing.entry(domain.clone()).or_default();
        failing.refusing = true;
        if !is_broken {
            failing.breaks = 0;
        }
    }

    /// Counts a connection that the domain's host broke; how many it broke in a row since the
    /// domain was last released.
    fn broke(&self, turn: &Turn) -> u32 {
        let mut known = self.known();
        let failing = known.failing.entry(turn.domain.clone()).or_default();
        if failing.epoch != turn.epoch {
            (failing.epoch, failing.breaks) = (turn.epoch, 0);
        }
        failing.breaks += 1;
        failing.breaks
    }

    fn suspect(&self, domain: &Domain, id: MsgId) {
        self.known().suspects.insert(domain.clone(), id);
    }

    fn suspected(&self, domain: &Domain) -> Option<MsgId> {
        self.known().suspects.get(domain).copied()
    }

    /// Whether the spool handed out a message that is due.
    fn note_handed_out(&self, something: bool) {
        self.known().hands_out_nothing = !something;
    }

    fn hands_out_nothing(&self) -> bool {
        self.known().hands_out_nothing
    }

    /// The host refused mail of the domain, and the connection was lost before it could be asked
    /// whether it takes any.
    fn ask_first(&self, domain: &Domain) {
        self.known().in_question.insert(domain.clone());
    }

    fn is_in_question(&self, domain: &Domain) -> bool {
        self.known().in_question.contains(domain)
    }

    /// The host was asked, whatever it said.
    fn asked_it(&self, domain: &Domain) {
        self.known().in_question.remove(domain);
    }

    /// Whether the configuration in force has another host for the domain.
    fn has_moved(&self, domain: &Domain, host: &DeliverTo) -> bool {
        let policies = Arc::clone(&self.engine.terms.borrow().policies);
        match &policies.of(domain).deliver_to {
            Some(to) if to.is_asker() && !host.is_asker() => !self.has_called_from(domain, host),
            to => to.as_ref() != Some(host),
        }
    }

    /// Whether a message that broke the turn's connection has not done so since the domain was last
    /// released.
    fn goes_once_more(&self, turn: &Turn, id: MsgId) -> bool {
        let mut known = self.known();
        let (epoch, messages) = known.once_more.entry(turn.domain.clone()).or_default();
        if *epoch != turn.epoch {
            (*epoch, *messages) = (turn.epoch, HashSet::new());
        }
        messages.insert(id)
    }

    /// Forgets of the hosts that were woken those that nobody wakes any more.
    fn note_woken(&self, former: &Policies, policies: &Policies) {
        let woken = |policies: &'_ Policies| -> HashSet<DeliverTo> {
            let waking = policies.held().iter().filter(|policy| policy.wake.is_some());
            waking.filter_map(|policy| policy.deliver_to.clone()).collect()
        };
        for host in woken(former).difference(&woken(policies)) {
            self.waking().forget(host);
            self.engine.progress.sleeps(host, false);
        }
    }

    /// The domain has another host: what its former one came to says nothing of it.
    fn has_moved_from(&self, domain: &Domain, former: Option<&DeliverTo>) {
        if let Some(former) = former {
            self.hosts().forget(former, domain);
        }
        self.forget_call(domain);
        let mut known = self.known();
        known.failing.remove(domain);
        known.released.remove(domain);
        known.suspects.remove(domain);
        known.in_question.remove(domain);
    }

    /// The host took a message of the domain.
    fn took(&self, domain: &Domain, host: &DeliverTo) {
        self.known().trusted.insert(domain.clone(), (host.clone(), REFUSED_IN_A_ROW - 1));
    }

    /// Whether the host is trusted in that so many messages more were at fault that it refused.
    fn trusts(&self, domain: &Domain, host: &DeliverTo, refused: usize) -> bool {
        let mut known = self.known();
        let Some((trusted, trust)) = known.trusted.get_mut(domain) else { return false };
        let left = trust.checked_sub(refused).filter(|_| trusted == host);
        *trust = left.unwrap_or_default();
        left.is_some()
    }

    /// The host did not answer MAIL behind the end of a message (RFC 2920 section 3.1).
    fn no_mail_behind(&self, host: &DeliverTo, domain: &Domain) {
        let until = self.engine.clock.instant().after(NO_MAIL_BEHIND);
        self.known().no_mail_behind.insert(peer(host, domain), until);
        tracing::info!(%host, %domain, "gets no MAIL behind the end of a message for a day");
    }

    fn takes_mail_behind(&self, host: &DeliverTo, domain: &Domain) -> bool {
        let now = self.engine.clock.instant();
        passed(&mut self.known().no_mail_behind, &peer(host, domain), now)
    }
}

/// Who gets the mail of `domain` from `host`: each asker is another.
fn peer(host: &DeliverTo, domain: &Domain) -> (DeliverTo, Option<Domain>) {
    (host.clone(), host.is_asker().then(|| domain.clone()))
}

/// Whether the time that `times` has for `key` is over, or it has none.
fn passed<K: Eq + Hash>(times: &mut HashMap<K, Instant>, key: &K, now: Instant) -> bool {
    if times.get(key).is_some_and(|until| now < *until) {
        return false;
    }
    times.remove(key);
    true
}
