//! What goes wrong, and what people do, at random.

use postern_core::time::Timestamp;
use postern_spool::{Action, Domain, Filter, Spool, StateFilter, Wake};

use crate::hosts::Mood;
use crate::ledger::Nature;
use crate::story::{Ending, Story, body, minutes};
use crate::world::State;

impl Story {
    /// One more event.
    pub async fn happen(&mut self) {
        let (event, domain) = {
            let mut state = self.world.lock();
            let domains = state.ledger.domains.len();
            (state.luck.u32(..100), state.luck.usize(..domains))
        };
        match event {
            0..50 => self.arrive(domain).await,
            50..65 => self.change_mood(),
            65..73 => self.ask(domain).await,
            73..74 => self.release_all().await,
            74..77 => self.hold_for_a_while(domain).await,
            77..80 => self.remove_one().await,
            80..82 => self.retry(domain).await,
            82..84 => self.change_configuration(domain),
            84..85 => self.restart(false).await,
            85..87 => self.restart(true).await,
            87..89 => self.leap(),
            89..90 => self.stall().await,
            _ => self.trouble_spool(),
        }
    }

    /// Mail for a domain, now and then much of it, or for another domain as well.
    async fn arrive(&mut self, domain: usize) {
        let count = {
            let mut state = self.world.lock();
            if state.now < state.faults.full {
                return;
            }
            if state.once_in(10) { state.luck.usize(12..40) } else { state.luck.usize(1..=3) }
        };
        for _ in 0..count {
            let (to, body, utf8) = {
                let mut state = self.world.lock();
                let other = state.once_in(8).then(|| {
                    let domains = state.ledger.domains.len();
                    state.luck.usize(..domains)
                });
                let (large, utf8) = (state.once_in(15), state.once_in(15));
                let needs_utf8 = utf8 && state.luck.bool();
                let names = state.luck.usize(1..=3);
                let of_domain = std::iter::repeat_n(domain, names);
                let domains: Vec<_> = of_domain.chain(other).collect();
                let to = domains.into_iter();
                let to: Vec<_> = to.map(|domain| (domain, state.nature(domain))).collect();
                (to, body(&mut state.luck, large, needs_utf8), utf8)
            };
            self.receive(&to, body, utf8).await;
        }
    }

    fn change_mood(&mut self) {
        let mut state = self.world.lock();
        let hosts = state.hosts.len();
        let host = state.luck.usize(2..hosts);
        if state.hosts[host].mood != Mood::Well {
            return;
        }
        let nth = state.luck.usize(..=Mood::BAD.len());
        let (mood, name) = Mood::BAD.get(nth).copied().unwrap_or(Mood::SLOW);
        let lasts = minutes(state.luck.u64(1..90));
        state.set_mood(host, mood, name);
        self.ends.push((state.now + lasts, Ending::Mood(host)));
    }

    /// ETRN, or a person who asks for the domain's sake.
    pub async fn ask(&mut self, domain: usize) {
        let name = Domain::new(&self.world.lock().ledger.domains[domain].name);
        self.triggers.asked(&name);
        if self.spool.release(std::slice::from_ref(&name), Wake::Etrn).await.is_ok() {
            self.triggers.released(&name);
            self.world.lock().count("asked");
        }
    }

    async fn release_all(&mut self) {
        let names = self.world.lock().ledger.domains.iter().map(|d| Domain::new(&d.name)).collect();
        let names: Vec<_> = names;
        if self.spool.release(&names, Wake::Operator).await.is_ok() {
            self.triggers.released_many();
            self.world.lock().count("all released");
        }
    }

    async fn hold_for_a_while(&mut self, domain: usize) {
        let (until, message) = {
            let mut state = self.world.lock();
            let until = state.now + minutes(state.luck.u64(1..40));
            (until, if state.luck.bool() { state.any_open() } else { None })
        };
        if let Some((number, _)) = message {
            self.hold_message(number, true).await;
            self.ends.push((until, Ending::HoldOf(number)));
        } else if !self.world.lock().ledger.domains[domain].held {
            self.hold(domain, true).await;
            self.ends.push((until, Ending::Hold(domain)));
        }
    }

    /// Holds a domain, or lets it go.
    pub async fn hold(&mut self, domain: usize, held: bool) {
        let name = Domain::new(&self.world.lock().ledger.domains[domain].name);
        self.spool.hold(&name, held).await.expect("memory does not fail");
        let mut state = self.world.lock();
        state.note(format!("{name}: held {held}"));
        state.count(if held { "domain held" } else { "domain let go" });
        let now = state.now;
        let of_domain = &mut state.ledger.domains[domain];
        (of_domain.held, of_domain.delayed) = (held, now);
    }

    /// Holds a message, or lets it go.
    pub async fn hold_message(&mut self, number: usize, held: bool) {
        let id = self.world.lock().ledger.messages[number].id;
        let filter = Filter { id: Some(id), ..Filter::default() };
        let action = if held { Action::Hold } else { Action::Unhold };
        let done = self.spool.inner.act(&filter, action, 10).await.expect("memory does not fail");
        let mut state = self.world.lock();
        state.count(if held { "message held" } else { "message let go" });
        for (domain, _) in done {
            let Some(domain) = state.ledger.domain(domain.as_str()) else { continue };
            let now = state.now;
            state.note(format!("m{number}: held {held} for d{domain}"));
            state.ledger.domains[domain].delayed = now;
            let recipients = state.ledger.messages[number].recipients.iter_mut();
            let recipients = recipients.filter(|to| to.domain == domain);
            recipients.for_each(|to| (to.held, to.free) = (held, now));
        }
    }

    async fn remove_one(&mut self) {
        let Some((number, _)) = self.world.lock().any_open() else { return };
        let id = self.world.lock().ledger.messages[number].id;
        let filter = Filter { id: Some(id), ..Filter::default() };
        let removed = self.spool.inner.act(&filter, Action::Remove, 10).await;
        let mut state = self.world.lock();
        state.note(format!("m{number}: removed"));
        state.count("removed");
        let now = state.now;
        for (domain, _) in removed.expect("memory does not fail") {
            let Some(domain) = state.ledger.domain(domain.as_str()) else { continue };
            let recipients = state.ledger.messages[number].recipients.iter_mut();
            let recipients = recipients.filter(|to| to.domain == domain && !to.recorded);
            recipients.for_each(|to| to.removed = Some(now));
        }
    }

    /// A person brings back what is kept of a domain.
    pub async fn retry(&mut self, domain: usize) {
        let domain = Domain::new(&self.world.lock().ledger.domains[domain].name);
        let filter =
            Filter { domain: Some(domain), state: Some(StateFilter::Kept), ..Filter::default() };
        let done = self.spool.inner.act(&filter, Action::Retry, 1000).await;
        let mut state = self.world.lock();
        for (domain, id) in done.expect("memory does not fail") {
            let number = state.ledger.by_id[&id];
            state.note(format!("m{number}: tried again for {domain}"));
            state.count("retried");
            let Some(domain) = state.ledger.domain(domain.as_str()) else { continue };
            state.has_work(domain);
            let recipients = state.ledger.messages[number].recipients.iter_mut();
            let recipients = recipients.filter(|to| to.domain == domain);
            // It comes back at a time of its own.
            recipients.for_each(|to| to.is_plain = false);
        }
    }

    /// A domain's host, or when it is tried, is another from now on.
    fn change_configuration(&mut self, domain: usize) {
        {
            let mut state = self.world.lock();
            let hosts = state.hosts.len();
            let (host, now) = (state.luck.usize(..hosts), state.now);
            let moves = state.luck.bool();
            let was_well = state.hosts[state.ledger.domains[domain].host].mood == Mood::Well;
            let of_domain = &mut state.ledger.domains[domain];
            (of_domain.delayed, of_domain.waits_for_host) = (now, false);
            of_domain.changed = now;
            let is_over = of_domain.put_off.is_none_or(|at| at + minutes(25) < now) && was_well;
            // What its former host put off counts no more; a turn there that waits for an answer
            // still has its messages.
            let goes = moves && host != of_domain.host && !of_domain.on_demand && is_over;
            of_domain.put_off = if goes { None } else { Some(now) };
            if moves {
                of_domain.host = host;
            } else {
                of_domain.on_demand = !of_domain.on_demand;
            }
            let set =
                format!("{}: at h{}, {}", of_domain.name, of_domain.host, of_domain.on_demand);
            state.note(set);
            state.count("reloaded");
            state.has_work(domain);
        }
        self.reload();
    }

    /// The time of day leaps, and is not trusted for an hour.
    fn leap(&mut self) {
        let mut state = self.world.lock();
        let seconds = state.luck.u64(1..7200);
        let back = state.luck.bool();
        let time = self.world.clock.timestamp().unix_seconds;
        let unix_seconds = if back { time - seconds } else { time + seconds };
        self.world.clock.set(Timestamp { unix_seconds, known: false });
        state.note(format!("the clock leaps, back {back}, by {seconds} s"));
        state.count("clock leap");
        let hosts = state.hosts.len();
        (0..hosts).for_each(|host| state.put_off_host(host));
        state.hosts.iter_mut().for_each(|host| host.allow_more(20));
        self.ends.retain(|(_, ending)| *ending != Ending::Distrust);
        self.ends.push((state.now + minutes(60), Ending::Distrust));
    }

    /// The machine stands still for 20 minutes; leases end meanwhile.
    async fn stall(&mut self) {
        {
            let mut state = self.world.lock();
            state.note("the machine stands still");
            state.count("stall");
            let fences: Vec<_> = state.ledger.turns.keys().copied().collect();
            fences.into_iter().for_each(|fence| state.lapsed(fence));
        }
        tokio::time::advance(std::time::Duration::from_secs(20 * 60)).await;
        let mut state = self.world.lock();
        let hosts = state.hosts.len();
        (0..hosts).for_each(|host| state.put_off_host(host));
    }

    fn trouble_spool(&mut self) {
        let mut state = self.world.lock();
        let kind = state.luck.u8(..10);
        let lasts = minutes(state.luck.u64(1..=12));
        let until = state.now + lasts;
        let faults = &mut state.faults;
        let name = match kind {
            0 => {
                faults.unavailable = until;
                "store away"
            }
            1 => {
                faults.full = until;
                "disk full"
            }
            2 => {
                faults.unsettled = until;
                "settlings fail"
            }
            3 => {
                faults.slow = until;
                "store slow"
            }
            4 | 5 => {
                faults.lapse = true;
                "lease to be lost"
            }
            6 => {
                faults.panic = true;
                "panic to come"
            }
            7 => {
                faults.answer_lost = true;
                "answer to be lost"
            }
            8 => {
                faults.end_fails = true;
                "end to fail"
            }
            _ => {
                faults.release_fails = true;
                "release to fail"
            }
        };
        state.note(name);
        if kind < 4 {
            state.count(name);
            state.delay_all(lasts);
        }
    }
}

impl State {
    fn nature(&mut self, domain: usize) -> Nature {
        let sound = self.hosts[self.ledger.domains[domain].host].sound;
        match self.luck.u8(..40) {
            0..3 => Nature::Refused,
            3 => Nature::Full,
            4 => Nature::Later(self.luck.u32(1..=2)),
            5 if !sound => Nature::Poison,
            _ => Nature::Plain,
        }
    }

    /// A message that is still held, and one of its recipients.
    fn any_open(&mut self) -> Option<(usize, usize)> {
        let open: Vec<_> = self.ledger.open().map(|(number, nth, _)| (number, nth)).collect();
        (!open.is_empty()).then(|| open[self.luck.usize(..open.len())])
    }
}
