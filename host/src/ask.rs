//! Who a domain's host takes mail for, where nobody has listed that: it is asked by RCPT
//! (`deliver::Asker`), and what it says is remembered, so that it is known while the host is away.

mod file;
mod host;
mod rate;
mod remembered;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{Ask, Config, DomainName, Endpoint, Recipients};
use crate::policy::Peer;
use file::{Kept, Line};
use host::Host;
pub use host::{Lost, Question};
pub use remembered::Said;
use remembered::{Remembered, sum_of};

/// How long a client waits for what a host says.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// Lines of the file that say nothing any more before it is written anew.
const STALE_LINES: usize = 1000;

/// What is found out about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is such a mailbox.
    Exists,
    /// There is none.
    Unknown,
    /// Nothing, for now.
    Nothing,
}

/// A recipient, and who is asked about it.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// Its domain.
    pub domain: DomainName,
    /// Its address, as it is compared.
    pub address: Vec<u8>,
    /// The address as the client wrote it.
    pub path: Vec<u8>,
    /// The domain's host.
    pub host: Endpoint,
}

/// What is wrong with a host that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// It does not want to be asked, and why that is thought.
    Refuses(Endpoint, String),
    /// It takes mail for anybody at this domain, so that its yes means nothing.
    TakesAny(DomainName),
}

/// What hosts said, and what they are to be asked.
pub struct Asking {
    clock: Clock,
    file: Option<Kept>,
    state: Mutex<State>,
    wanted: Notify,
    /// Nobody writes the file any more.
    written: Notify,
}

#[derive(Default)]
struct State {
    remembered: Remembered,
    hosts: HashMap<Endpoint, Host>,
    /// Answers that are not in the file yet.
    unkept: Vec<Line>,
    /// Lines in the file.
    lines: usize,
    /// The file has what is not so any more, or nothing.
    is_stale: bool,
    /// Somebody writes the file.
    is_written: bool,
    /// When the last write failed, if it did.
    failed_at: Option<Instant>,
}

impl Asking {
    /// Nothing is known, and nothing is remembered over a restart.
    pub fn new(clock: Clock) -> Self {
        let (wanted, written) = (Notify::new(), Notify::new());
        Self { clock, file: None, state: Mutex::default(), wanted, written }
    }

    /// What stands in the spool's folder `spool` is known.
    pub fn open(spool: &Path, clock: Clock) -> Self {
        let file = Kept::in_folder(spool);
        let mut state = State::default();
        match file.read() {
            Ok(read) => {
                if read.broken > 0 {
                    let (file, lines) = (file.path().display(), read.broken);
                    tracing::warn!(%file, lines, "lines of no use: they are asked for again");
                }
                state.is_stale = read.broken > 0 || read.lines.is_empty();
                state.lines = read.lines.len();
                for (address, said) in read.lines {
                    // As many as were remembered then.
                    state.remembered.learn(&address, said, usize::MAX);
                }
            }
            Err(error) => {
                let file = file.path().display();
                tracing::warn!(%file, %error, "what hosts said is not known: they are asked");
                state.is_stale = true;
            }
        }
        Self { file: Some(file), state: Mutex::new(state), ..Self::new(clock) }
    }

    /// What is known of `recipient`, or found out within 10 s for `client`, if its host may be
    /// asked.
    pub async fn about(
        &self,
        recipient: Recipient,
        client: Peer,
        settings: &Ask,
        may_ask: bool,
    ) -> Found {
        let now = self.clock.timestamp().unix_seconds;
        let (known, answer) = {
            let mut state = self.lock();
            let asked = (&*recipient.address, &recipient.host);
            let (known, is_old) = state.remembered.known(asked, settings, now);
            let is_known = known != Found::Nothing;
            if !may_ask && known == Found::Unknown {
                // It may have been a part of what is wrong with the host.
                return Found::Nothing;
            }
            if !may_ask || is_known && !is_old {
                return known;
            }
            let waits_for = (!is_known).then(|| client.network());
            let host = state.hosts.entry(recipient.host.clone()).or_default();
            (known, host.ask(recipient, waits_for, settings.rate, self.clock.instant()))
        };
        let Some(mut answer) = answer else { return known };
        self.wanted.notify_one();
        if known != Found::Nothing {
            return known;
        }
        match timeout(PATIENCE, answer.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.unwrap_or(Found::Nothing),
            // Whoever asked has given up, or takes longer.
            Ok(Err(_)) | Err(_) => Found::Nothing,
        }
    }

    /// Learns what a delivery to `host` found out about `address` at `domain`.
    pub(crate) fn learn_from(
        self: &Arc<Self>,
        (domain, address): (&DomainName, &[u8]),
        host: &Endpoint,
        found: Found,
        settings: &Ask,
    ) {
        let exists = match found {
            Found::Exists => true,
            Found::Unknown => false,
            Found::Nothing => return,
        };
        let mut state = self.lock();
        if exists && state.hosts.get(host).is_some_and(|host| host.takes_any(domain)) {
            return;
        }
        let now = self.clock.timestamp().unix_seconds;
        if state.remembered.known((address, host), settings, now) == (found, false) {
            return;
        }
        let said = Said { exists, unix_seconds: now, host: sum_of(host) };
        state.learn(address, said, settings.remember.get() as usize);
        drop(state);
        self.keep();
    }

    /// What is remembered of the addresses of `domain`, or of all, in their order: at most `most`
    /// of those behind `after`.
    pub fn page(
        &self,
        domain: Option<&DomainName>,
        after: Option<&[u8]>,
        most: usize,
    ) -> Vec<(Vec<u8>, Said)> {
        let state = self.lock();
        let wanted = state.remembered.iter().filter(|(address, _)| {
            domain.is_none_or(|domain| is_at(address, domain))
                && after.is_none_or(|after| *address > after)
        });
        let mut page: Vec<_> = wanted.map(|(address, said)| (address.to_vec(), said)).collect();
        drop(state);
        page.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        page.truncate(most);
        page
    }

    /// Forgets what was said of all addresses of `domain`, and whether anybody there is taken; how
    /// many addresses there were.
    pub fn forget_domain(self: &Arc<Self>, domain: &DomainName) -> usize {
        self.lock().hosts.values_mut().for_each(|host| host.forget_any(domain));
        self.forget(|address| is_at(address, domain))
    }

    /// Forgets what was said of `address`, as it is compared; whether there was something.
    pub fn forget_address(self: &Arc<Self>, address: &[u8]) -> bool {
        self.forget(|other| other == address) > 0
    }

    fn forget(self: &Arc<Self>, is: impl Fn(&[u8]) -> bool) -> usize {
        let mut state = self.lock();
        let forgotten = state.remembered.forget(is);
        state.is_stale |= forgotten > 0;
        drop(state);
        self.keep();
        forgotten
    }

    /// What is wrong with the hosts that `config` has asked.
    pub fn complaints(&self, config: &Config) -> Vec<Complaint> {
        let mut asked: HashMap<_, Vec<_>> = HashMap::new();
        for (domain, hold) in &config.hold {
            if let (Recipients::Ask, Some(host)) = (&hold.recipients, hold.deliver_to.endpoint()) {
                asked.entry(host).or_default().push(domain);
            }
        }
        let (state, now) = (self.lock(), self.clock.instant());
        let hosts = state.hosts.iter();
        let each =
            hosts.filter_map(|(endpoint, host)| Some((host, asked.get_key_value(endpoint)?)));
        let each = each.flat_map(|(host, (endpoint, domains))| {
            let refuses = host.refuses(now).map(str::to_owned);
            let refuses = refuses.map(|why| Complaint::Refuses((*endpoint).clone(), why));
            let any = domains.iter().filter(|domain| host.takes_any(domain));
            refuses.into_iter().chain(any.map(|domain| Complaint::TakesAny((*domain).clone())))
        });
        each.collect()
    }

    /// Waits until there is something to ask.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The hosts that have something to be asked, and that nobody asks: the caller does.
    pub fn begin(&self) -> Vec<Endpoint> {
        let mut state = self.lock();
        let hosts = state
            .hosts
            .iter_mut()
            .filter_map(|(endpoint, host)| host.begin().then(|| endpoint.clone()));
        hosts.collect()
    }

    /// Whether there is more to ask `endpoint`; if not, its asker has ended.
    pub fn goes_on(&self, endpoint: &Endpoint) -> bool {
        self.with(endpoint, Host::goes_on)
    }

    /// The next question to `endpoint`.
    pub fn next(&self, endpoint: &Endpoint) -> Option<Question> {
        self.with(endpoint, Host::next)
    }

    /// Its asker has ended, and nothing comes of what waits. Where the host was `lost`, it is left
    /// alone for a while.
    pub fn lost(&self, endpoint: &Endpoint, lost: Option<Lost>) {
        let now = self.clock.instant();
        self.with(endpoint, |host| host.give_up(lost, now));
    }

    /// `endpoint` is asked one more that belongs to a question: it counts for the rate.
    pub fn asks_more(&self, endpoint: &Endpoint) {
        let now = self.clock.instant();
        self.with(endpoint, |host| host.asks_more(now));
    }

    /// Whether it is to be found out whether `endpoint` takes anybody at `domain`.
    pub fn is_any_due(&self, endpoint: &Endpoint, domain: &DomainName) -> bool {
        let now = self.clock.instant();
        self.with(endpoint, |host| host.is_any_due(domain, now))
    }

    /// It was found out whether `endpoint` takes anybody at `domain`.
    pub fn note_any(&self, endpoint: &Endpoint, domain: &DomainName, takes: bool) {
        let now = self.clock.instant();
        self.with(endpoint, |host| host.note_any(domain, takes, now));
    }

    /// Remembers what was found out about `recipient`, unless its host says the same of anybody,
    /// as one of `most` answers.
    pub fn answered(self: &Arc<Self>, recipient: &Recipient, found: Found, most: usize) {
        let mut state = self.lock();
        let host = state.hosts.entry(recipient.host.clone()).or_default();
        host.answered(recipient);
        let exists = match found {
            Found::Exists if host.takes_any(&recipient.domain) => return,
            Found::Exists => true,
            Found::Unknown => false,
            Found::Nothing => return,
        };
        let unix_seconds = self.clock.timestamp().unix_seconds;
        let said = Said { exists, unix_seconds, host: sum_of(&recipient.host) };
        state.learn(&recipient.address, said, most);
        drop(state);
        self.keep();
    }

    /// Has the file written, if there is something to write, and nobody does.
    fn keep(self: &Arc<Self>) {
        let Some(file) = self.file.clone() else { return };
        let mut state = self.lock();
        let is_due = state.failed_at.is_none_or(|at| at.after(RETRY) <= self.clock.instant());
        if state.is_written || !is_due || !state.has_news() {
            return;
        }
        state.is_written = true;
        drop(state);
        let this = Arc::clone(self);
        spawn_blocking(move || {
            while this.write(&file) {}
            this.written.notify_waiters();
        });
    }

    /// Waits until what was said is in the file: the process may end then.
    pub async fn kept(&self) {
        loop {
            let mut written = pin!(self.written.notified());
            written.as_mut().enable();
            if !self.lock().is_written {
                return;
            }
            written.await;
        }
    }

    /// Writes what is not in the file yet; whether there may be more.
    fn write(&self, file: &Kept) -> bool {
        let mut state = self.lock();
        if !state.has_news() {
            state.is_written = false;
            return false;
        }
        let mut lines = std::mem::take(&mut state.unkept);
        let is_anew =
            state.is_stale || state.lines + lines.len() > 2 * state.remembered.len() + STALE_LINES;
        if is_anew {
            let all = state.remembered.iter().map(|(address, said)| (address.to_vec(), said));
            lines = all.collect();
            state.is_stale = false;
        }
        drop(state);
        if is_anew {
            lines.sort_unstable_by_key(|(_, said)| said.unix_seconds);
        }
        let written = if is_anew { file.write(&lines) } else { file.append(&lines) };
        let mut state = self.lock();
        match written {
            Ok(()) => {
                state.lines = if is_anew { lines.len() } else { state.lines + lines.len() };
                state.failed_at = None;
                true
            }
            Err(error) => {
                if state.failed_at.replace(self.clock.instant()).is_none() {
                    let file = file.path().display();
                    tracing::warn!(%file, %error, "what hosts say is not kept over a restart");
                }
                (state.is_stale, state.is_written) = (true, false);
                false
            }
        }
    }

    fn with<T>(&self, endpoint: &Endpoint, look: impl FnOnce(&mut Host) -> T) -> T {
        look(self.lock().hosts.entry(endpoint.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind is whole: nothing below this can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is asked and nothing is written.
    #[cfg(test)]
    pub(crate) fn rests(&self) -> bool {
        let state = self.lock();
        let is_kept = self.file.is_none() || !state.is_written && !state.has_news();
        is_kept && !state.hosts.values().any(Host::is_busy)
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.lock().remembered.len();
        f.debug_struct("Asking").field("remembered", &remembered).finish_non_exhaustive()
    }
}

impl State {
    fn learn(&mut self, address: &[u8], said: Said, most: usize) {
        if self.remembered.learn(address, said, most) {
            self.unkept.push((address.to_vec(), said));
        }
    }

    fn has_news(&self) -> bool {
        self.is_stale || !self.unkept.is_empty()
    }
}

fn is_at(address: &[u8], domain: &DomainName) -> bool {
    let local = address.strip_suffix(domain.as_str().as_bytes());
    local.is_some_and(|local| local.ends_with(b"@"))
}
