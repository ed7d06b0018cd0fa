//! What looks after the link: runs its commands, watches its interface, follows its schedule.

use std::path::Path;
use std::time::Duration;

use postern_core::link::{Act, Link as Machine};
use postern_core::time::Instant;
use tokio::sync::watch;
use tokio::time::sleep;

use super::command::{Ended, Runner};
use super::interface::{self, Watch};
use super::mark::Mark;
use super::{Doing, Link, State, rules};
use crate::config::{self, Argv, LinkKind};
use crate::net::gate::Gate;
use crate::net::listener::Terms;
use crate::net::stream::reach;

/// How often the link and the clock are looked at: a clock may be set, or a machine have slept.
const LOOK: Duration = Duration::from_secs(30);
/// How often a second is looked at that ends when a window does.
const SECOND: Duration = Duration::from_millis(100);
/// How often the link is looked at while it comes up or goes down.
const LOOK_SOON: Duration = Duration::from_millis(500);
/// How often a link is lowered, at most, before settings of another kind are followed; the pause.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Looks after the link.
pub(super) struct Keeper {
    link: Link,
    gate: Gate,
    terms: watch::Receiver<Terms>,
    settings: config::Link,
    idle: Duration,
    runner: Runner,
    mark: Mark,
    watch: Option<Watch>,
    used: watch::Receiver<Instant>,
    /// When it was raised last: whoever wanted that has `idle` to use it.
    raised: Option<Instant>,
    /// When it is to be looked at next.
    look_at: Instant,
    /// Why the last look came to nothing.
    blind: Option<String>,
}

impl Keeper {
    pub(super) fn new(link: Link, gate: Gate, terms: watch::Receiver<Terms>, spool: &Path) -> Self {
        let clock = &link.0.clock;
        let (settings, idle) = {
            let config = &terms.borrow().config;
            (config.link.clone(), config.receive.idle)
        };
        let (runner, mark) = (Runner::new(clock.clone()), Mark::new(spool));
        let (used, look_at) = (gate.used(), clock.instant());
        let (watch, raised, blind) = (None, None, None);
        Self {
            link,
            gate,
            terms,
            settings,
            idle,
            runner,
            mark,
            watch,
            used,
            raised,
            look_at,
            blind,
        }
    }

    /// Goes on until `stop` turns true; then a link of ours is lowered.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        self.begin();
        loop {
            let go_on = async {
                let until = self.step().await;
                self.wait(until).await;
            };
            tokio::select! {
                () = go_on => {}
                // A sender that is gone means that the server ends: the same.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.leave().await;
    }

    /// Lowers a link of ours, where it can be lowered. Whether none is left that can.
    async fn leave(&mut self) -> bool {
        if self.settings.kind != LinkKind::Command || !self.mark.is_set() {
            return true;
        }
        if self.settings.down.is_none() {
            // It ends by itself.
            self.mark.clear();
            return true;
        }
        self.lower().await;
        !self.link.lock().machine.is_ours()
    }

    /// Begins with the settings, at the start or when they are others.
    fn begin(&mut self) {
        let now = self.now();
        let is_command = self.settings.kind == LinkKind::Command;
        let is_ours = is_command && self.mark.is_set();
        if is_ours {
            tracing::info!("the link was raised by us before, and goes down when it is idle");
        }
        self.raised = is_ours.then_some(now);
        self.change(|state| {
            state.kind = self.settings.kind;
            state.machine = Machine::new(rules(&self.settings), is_ours, now);
            state.failure = None;
        });
        let is_watched = self.settings.kind == LinkKind::Interface;
        self.watch = is_watched.then(Watch::open).and_then(|watch| {
            let explain = |error| tracing::warn!(%error, "the link is looked at each half minute");
            watch.map_err(explain).ok()
        });
        self.look_at = now;
    }

    /// Goes on with the configuration in force.
    async fn follow(&mut self) {
        for tries in 1..=TRIES {
            let (new, idle) = self.read();
            self.idle = idle;
            if is_same(&self.settings, &new) {
                self.settings = new;
                return;
            }
            if new.kind == LinkKind::Command || self.leave().await || tries == TRIES {
                break;
            }
            // Only these settings lower it.
            tokio::select! {
                () = sleep(TRY_AGAIN) => {}
                Ok(()) = self.terms.changed() => {}
            }
        }
        self.settings = self.read().0;
        self.begin();
    }

    fn read(&mut self) -> (config::Link, Duration) {
        let config = &self.terms.borrow_and_update().config;
        (config.link.clone(), config.receive.idle)
    }

    async fn wait(&mut self, until: Instant) {
        let clock = self.link.0.clock.clone();
        let watched = async {
            match &self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = reach(&clock, until.min(self.look_at)) => return,
            () = self.link.0.wanted.notified() => return,
            Ok(()) = self.used.changed() => return,
            changed = watched => {
                if let Err(error) = changed {
                    tracing::warn!(%error, "the link is looked at each half minute");
                    self.watch = None;
                }
                self.look_at = clock.instant();
                return;
            }
            Ok(()) = self.terms.changed() => {}
        }
        self.follow().await;
    }

    /// Does what is to be done; until when there is nothing.
    async fn step(&mut self) -> Instant {
        loop {
            let change = self.follow_schedule();
            if self.now() >= self.look_at {
                self.look().await;
            }
            if self.settings.kind != LinkKind::Command {
                return change;
            }
            let (now, used) = (self.now(), *self.used.borrow_and_update());
            let used = self.raised.map_or(used, |raised| used.max(raised.after(self.idle)));
            let act = {
                let state = self.link.lock();
                state.machine.next(state.demand(used), state.is_open, now)
            };
            match act {
                Act::Wait(until) => return until.min(change),
                Act::Raise => self.raise().await,
                Act::Lower => self.lower().await,
            }
        }
    }

    /// Opens or closes the window; when that changes next.
    fn follow_schedule(&mut self) -> Instant {
        let clock = &self.link.0.clock;
        let (now, today) = (clock.instant(), clock.timestamp());
        let is_open = self.settings.is_open(today);
        let was_open = self.link.lock().is_open;
        if is_open != was_open {
            self.change(|state| state.is_open = is_open);
            if !is_open {
                self.gate.window_ended();
            }
        }
        let next = self.settings.next_change(today);
        // The second of now has begun some time ago.
        let left = next.map(|next| Duration::from_secs(next - today.unix_seconds - 1).max(SECOND));
        left.map_or(Instant::FAR, |left| now.after(left))
    }

    /// Sees whether the link is up.
    async fn look(&mut self) {
        self.look_at = self.now().after(LOOK);
        let seen = match (self.settings.kind, &self.settings.interface, &self.settings.status) {
            (LinkKind::Permanent, _, _) => Ok(true),
            (LinkKind::Interface, Some(name), _) => {
                interface::is_up(name.as_str()).map_err(|error| error.to_string())
            }
            (LinkKind::Command, _, Some(status)) => self.ask(status).await,
            _ => return,
        };
        let now = self.now();
        let blind = seen.as_ref().err().cloned();
        if let Some(reason) = blind.as_ref().filter(|_| self.blind.is_none()) {
            tracing::warn!(%reason, "whether the link is up is not known");
        }
        self.blind = blind;
        if let Ok(is_up) = seen {
            self.change(|state| {
                if state.kind == LinkKind::Command {
                    state.machine.seen(is_up, now, fastrand::u32(..));
                } else {
                    state.turns(is_up, now);
                }
            });
        }
    }

    /// What `status` says.
    async fn ask(&self, status: &Argv) -> Result<bool, String> {
        match self.runner.run("status", status, self.settings.status_timeout).await {
            Ended::Well => Ok(true),
            Ended::Badly(_) => Ok(false),
            Ended::Broken(why) => Err(why),
        }
    }

    async fn raise(&mut self) {
        // Somebody else may have done so since the last look.
        self.look().await;
        if self.link.lock().machine.is_up() {
            return;
        }
        self.mark.set();
        self.change(|state| state.doing = Some(Doing::Raising));
        tracing::info!("the link is being raised");
        let (limit, up) = (self.settings.up_timeout, self.settings.up.clone());
        let failure = self.command("up", up.as_ref(), limit, true).await;
        let now = self.now();
        self.raised = failure.is_none().then_some(now);
        if let Some(reason) = &failure {
            tracing::warn!(%reason, "the link was not raised");
        }
        self.change(|state| {
            state.machine.raised(failure.is_none(), now, fastrand::u32(..));
            if failure.is_some() {
                (state.failed, state.urgent) = (state.failed + 1, 0);
            }
            (state.doing, state.failure) = (None, failure);
        });
        if !self.link.lock().machine.is_ours() {
            self.mark.clear();
        }
    }

    async fn lower(&mut self) {
        self.change(|state| state.doing = Some(Doing::Lowering));
        let (limit, down) = (self.settings.down_timeout, self.settings.down.clone());
        let failure = self.command("down", down.as_ref(), limit, false).await;
        let now = self.now();
        let was_up = self.link.lock().is_up;
        if let Some(reason) = &failure {
            tracing::warn!(%reason, "the link was not lowered");
        }
        self.raised = None;
        self.change(|state| {
            state.machine.lowered(failure.is_none(), now, fastrand::u32(..));
            state.lowered += 1;
            state.doing = None;
            // Behind a raising that failed, that is the reason to be shown.
            if failure.is_some() || was_up {
                state.failure = failure;
            }
        });
        if !self.link.lock().machine.is_ours() {
            self.mark.clear();
        }
        self.look_at = now;
    }

    /// Runs a command and waits until the link is as it should be; why it is not.
    async fn command(
        &self,
        key: &'static str,
        argv: Option<&Argv>,
        limit: Duration,
        should_be_up: bool,
    ) -> Option<String> {
        let until = self.now().after(limit);
        if let Some(argv) = argv {
            match self.runner.run(key, argv, limit).await {
                Ended::Well => {}
                Ended::Badly(why) | Ended::Broken(why) => return Some(why),
            }
        }
        let status = self.settings.status.as_ref()?;
        loop {
            match self.ask(status).await {
                Ok(is_up) if is_up != should_be_up => {}
                // Who says nothing contradicts nobody.
                Ok(_) | Err(_) => return None,
            }
            if self.now() >= until {
                let is = if should_be_up { "down" } else { "up" };
                return Some(format!(
                    "link.{key} ended by 0, and link.status says that it is {is}"
                ));
            }
            sleep(LOOK_SOON).await;
        }
    }

    /// Changes what is known of the link, and tells whoever has to know.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let now = self.now();
        let mut state = self.link.lock();
        let (was_up, was_ours) = (state.is_up, state.machine.is_ours());
        let since = state.since;
        change(&mut state);
        if state.kind == LinkKind::Command {
            let is_up = state.machine.is_up();
            state.turns(is_up, now);
        }
        let (is_up, is_ours) = (state.is_up, state.machine.is_ours());
        if is_up && state.doing.is_none() {
            state.failure = state.failure.take().filter(|_| was_up);
        }
        let is_command = state.kind == LinkKind::Command;
        drop(state);
        if was_ours && !is_ours && is_command {
            self.mark.clear();
        }
        if is_up != was_up {
            let seconds = now.millis_since(since) / 1000;
            match is_up {
                true => {
                    tracing::info!(by_us = is_ours, down_for_seconds = seconds, "the link is up")
                }
                false => tracing::info!(up_for_seconds = seconds, "the link is down"),
            }
            self.gate.link(is_up);
            self.link.0.ups.send_modify(|ups| *ups += u64::from(is_up));
        }
        self.link.0.changed.send_replace(());
    }

    fn now(&self) -> Instant {
        self.link.0.clock.instant()
    }
}

impl State {
    fn turns(&mut self, is_up: bool, now: Instant) {
        if self.is_up != is_up {
            (self.is_up, self.since) = (is_up, now);
        }
    }
}

/// Whether both are the same link, with the same commands.
fn is_same(one: &config::Link, other: &config::Link) -> bool {
    let link = |link: &config::Link| {
        let config::Link { kind, interface, up, down, status, .. } = link.clone();
        (kind, interface, up, down, status)
    };
    link(one) == link(other)
}
