//! The link by which mail comes: watched, or raised and lowered by commands, as core says.
//!
//! Who wants it asks for a [`Lease`]. One task looks after the link, and does one thing at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::link::{Demand, Link as Machine, Rules};
use postern_core::time::Instant;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::{self, LinkKind};
use crate::net::gate::Gate;
use crate::net::listener::Terms;
use postern_spool::clock::Clock;

mod command;
mod interface;
mod keeper;
mod mark;

use keeper::Keeper;

/// How long a person waits for it.
const PERSON_TIMEOUT: Duration = Duration::from_secs(100);

/// The link. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    state: Mutex<State>,
    /// Somebody wants something of the link.
    wanted: Notify,
    /// Something has become of it.
    changed: watch::Sender<()>,
    /// How often it came up.
    ups: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    kind: LinkKind,
    /// Of a link that commands raise and lower.
    machine: Machine,
    /// Of any link, and since when.
    is_up: bool,
    since: Instant,
    /// Whether the schedule is open.
    is_open: bool,
    /// Who waits for it, and who uses it. Urgent are those who came after the last failure: it
    /// answers all before them, who may not have heard yet.
    regular: u32,
    urgent: u32,
    leases: u32,
    doing: Option<Doing>,
    /// Why it is not as it should be.
    failure: Option<String>,
    /// Raisings that came to nothing, and lowerings, so far.
    failed: u64,
    lowered: u64,
}

/// What is being done to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It is being raised.
    Raising,
    /// It is being lowered.
    Lowering,
}

/// What the link does, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// What it is to us.
    pub kind: LinkKind,
    /// Whether it is up, as far as is known, and since when it is up or down.
    pub is_up: bool,
    /// Since when.
    pub since: Instant,
    /// What is being done to it.
    pub doing: Option<Doing>,
    /// Whether it was raised by us, and goes down when nobody needs it.
    pub is_ours: bool,
    /// Whether the schedule is open.
    pub is_open: bool,
    /// When it may be raised again, behind a failure.
    pub waits_until: Option<Instant>,
    /// Why it is not as it should be.
    pub failure: Option<String>,
}

/// Somebody uses the link; when this is dropped, they do not any more.
#[derive(Debug)]
pub struct Lease(Link);

/// Somebody waits for the link.
struct Want<'l> {
    link: &'l Link,
    is_urgent: bool,
    /// Raisings that had come to nothing before.
    failed: u64,
}

impl Link {
    /// The link of `settings`; nothing is done to it before [`Link::run`].
    pub fn new(settings: &config::Link, clock: Clock) -> Self {
        let now = clock.instant();
        let state = State {
            kind: settings.kind,
            machine: Machine::new(rules(settings), false, now),
            is_up: false,
            since: now,
            is_open: settings.is_open(clock.timestamp()),
            regular: 0,
            urgent: 0,
            leases: 0,
            doing: None,
            failure: None,
            failed: 0,
            lowered: 0,
        };
        Self(Arc::new(Inner {
            clock,
            state: Mutex::new(state),
            wanted: Notify::new(),
            changed: watch::Sender::new(()),
            ups: watch::Sender::new(0),
        }))
    }

    /// Looks after the link until `stop` turns true; then one that we raised is lowered. `spool` is
    /// the folder in which that is written down meanwhile.
    pub async fn run(
        self,
        gate: Gate,
        terms: watch::Receiver<Terms>,
        spool: &Path,
        stop: watch::Receiver<bool>,
    ) {
        Keeper::new(self, gate, terms, spool).run(stop).await;
    }

    /// Waits until a request may go out. One that is not urgent waits for a window of the schedule,
    /// and for the link.
    ///
    /// # Errors
    /// Why the link could not be raised for one that is urgent.
    pub async fn lease(&self, is_urgent: bool) -> Result<Lease, String> {
        let mut changed = self.0.changed.subscribe();
        let want = Want::new(self, is_urgent);
        loop {
            if let Some(lease) = self.try_lease(is_urgent) {
                return Ok(lease);
            }
            {
                let state = self.lock();
                if is_urgent && state.failed > want.failed {
                    return Err(state.failure.clone().unwrap_or_default());
                }
            }
            // Its sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// The link where a request may go out now; it is not raised for it.
    pub fn try_lease(&self, is_urgent: bool) -> Option<Lease> {
        let mut state = self.lock();
        state.serves(is_urgent).then(|| {
            state.leases += 1;
            Lease(self.clone())
        })
    }

    /// Waits like [`Link::lease`], and does not have it raised.
    pub async fn lease_once_up(&self, is_urgent: bool) -> Lease {
        let mut changed = self.0.changed.subscribe();
        loop {
            if let Some(lease) = self.try_lease(is_urgent) {
                return lease;
            }
            // Its sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Raises it for a person. It goes down again when it is idle.
    ///
    /// # Errors
    /// Why it is not up.
    pub async fn raise(&self) -> Result<(), String> {
        let kind = self.lock().kind;
        match kind {
            LinkKind::Permanent => Err(NOT_RAISED.to_owned()),
            LinkKind::Interface => Err("link.kind is \"interface\": it is only watched".to_owned()),
            LinkKind::Command => match timeout(PERSON_TIMEOUT, self.lease(true)).await {
                Ok(lease) => lease.map(drop),
                Err(_) => Err("it is still being raised: postern link status tells".to_owned()),
            },
        }
    }

    /// Lowers it for a person, whoever raised it, and whoever uses it.
    ///
    /// # Errors
    /// Why it is not down.
    pub async fn lower(&self) -> Result<(), String> {
        let mut changed = self.0.changed.subscribe();
        let before = {
            let mut state = self.lock();
            match state.kind {
                LinkKind::Permanent => return Err(NOT_RAISED.to_owned()),
                LinkKind::Interface => {
                    return Err("link.kind is \"interface\": it is only watched".to_owned());
                }
                LinkKind::Command => state.machine.lower(),
            }
            if !state.machine.must_go() {
                return Err("there is no link.down: it ends when it is idle".to_owned());
            }
            state.lowered
        };
        self.0.wanted.notify_one();
        let over = async {
            while self.lock().lowered == before {
                let _ = changed.changed().await;
            }
        };
        let is_over = timeout(PERSON_TIMEOUT, over).await.is_ok();
        let state = self.lock();
        match (is_over, &state.failure) {
            (true, None) => Ok(()),
            (true, Some(why)) => Err(why.clone()),
            (false, _) => Err("it is still being lowered: postern link status tells".to_owned()),
        }
    }

    /// What it does now.
    pub fn stand(&self) -> Stand {
        let state = self.lock();
        let is_command = state.kind == LinkKind::Command;
        Stand {
            kind: state.kind,
            is_up: state.is_up,
            since: state.since,
            doing: state.doing,
            is_ours: is_command && state.machine.is_ours(),
            is_open: state.is_open,
            waits_until: state.machine.waits_until().filter(|_| is_command),
            failure: state.failure.clone(),
        }
    }

    /// How often it came up.
    pub fn ups(&self) -> watch::Receiver<u64> {
        self.0.ups.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NOT_RAISED: &str = "link.kind is \"permanent\": it is neither raised nor lowered";

impl State {
    fn serves(&self, is_urgent: bool) -> bool {
        match self.kind {
            LinkKind::Permanent => is_urgent || self.is_open,
            // A person may know better.
            LinkKind::Interface => is_urgent || (self.is_open && self.is_up),
            // What goes out while it is lowered is cut off.
            LinkKind::Command => {
                self.doing != Some(Doing::Lowering) && self.machine.serves(is_urgent, self.is_open)
            }
        }
    }

    fn demand(&self, used_until: Instant) -> Demand {
        let used_until = if self.leases > 0 { Instant::FAR } else { used_until };
        Demand { regular: self.regular > 0, urgent: self.urgent > 0, used_until }
    }

    fn waiting(&mut self, is_urgent: bool) -> &mut u32 {
        if is_urgent { &mut self.urgent } else { &mut self.regular }
    }
}

impl<'l> Want<'l> {
    fn new(link: &'l Link, is_urgent: bool) -> Self {
        let failed = {
            let mut state = link.lock();
            *state.waiting(is_urgent) += 1;
            state.failed
        };
        link.0.wanted.notify_one();
        Self { link, is_urgent, failed }
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        // A failure has struck off the urgent ones.
        if !self.is_urgent || state.failed == self.failed {
            *state.waiting(self.is_urgent) -= 1;
        }
        drop(state);
        self.link.0.wanted.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.lock().leases -= 1;
        self.0.0.wanted.notify_one();
    }
}

/// What can be done with the link of `settings`.
fn rules(settings: &config::Link) -> Rules {
    Rules { lowers: settings.down.is_some(), tells: settings.status.is_some() }
}
