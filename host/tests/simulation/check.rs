//! What must hold at each moment, and what must have come to pass in the end.

use postern_core::envelope::State as Fared;
use postern_spool::{Held, Spool, Status};

use crate::hosts::Mood;
use crate::ledger::{Nature, Recipient};
use crate::story::{Story, minutes};
use crate::world::State;

/// How long mail may take that nothing holds up: a few turns before its own, a ladder's longest
/// pause, a poll. Where connections are scarce, hosts that say nothing may have all of them until
/// their greetings' timeouts.
const SOON: u64 = minutes(6);
const SOON_IF_SCARCE: u64 = minutes(25);
/// How long it may take once its host is well again: what broke a connection waits for twice the
/// timer's pause.
const LATER: u64 = minutes(80);
/// How long all of it may take in the end: a full mailbox waits for 4 hours.
const IN_THE_END: u64 = minutes(6 * 60);
const STEP: u64 = minutes(5);

impl Story {
    /// Looks at each message that is not delivered: it is held, kept for a reason, and not late.
    pub async fn check(&mut self) {
        let open: Vec<_> = {
            let state = self.world.lock();
            let open = state.ledger.open();
            open.map(|(number, nth, _)| (number, nth)).collect()
        };
        let mut last: Option<(usize, Vec<Held>)> = None;
        for (number, nth) in open {
            let held = match last.take() {
                Some((of, held)) if of == number => held,
                _ => {
                    let id = self.world.lock().ledger.messages[number].id;
                    self.spool.inner.message(id).await.expect("memory does not fail")
                }
            };
            self.check_one(number, nth, &held);
            last = Some((number, held));
        }
    }

    fn check_one(&self, number: usize, nth: usize, held: &[Held]) {
        let mut state = self.world.lock();
        let to = &state.ledger.messages[number].recipients[nth];
        let recipients = held.iter().flat_map(|held| &held.envelope.recipients);
        let found = recipients.into_iter().find(|found| found.path == to.path.as_bytes());
        let path = &to.path;
        let violation = match found.map(|found| (found.state, found.reply.is_empty())) {
            None => Some(format!("{path} was acknowledged, and is gone")),
            Some((Fared::Refused | Fared::Expired, true)) => {
                Some(format!("{path} is kept for no reason"))
            }
            Some((Fared::Waiting, _)) => {
                let due = self.due_by(&state, to);
                due.filter(|due| *due < state.now)
                    .map(|due| format!("{path} was due by {} s, and waits", due / 1000))
            }
            Some(_) => None,
        };
        state.count("looked at");
        if let Some(violation) = violation {
            state.violated(violation);
        }
    }

    /// By when a recipient must have its message; `None`: nobody can tell.
    fn due_by(&self, state: &State, to: &Recipient) -> Option<u64> {
        let domain = &state.ledger.domains[to.domain];
        let is_well = state.hosts[domain.host].mood == Mood::Well;
        if !to.is_plain || to.held || domain.held || !is_well {
            return None;
        }
        let scarce = self.limits.all < 2 * self.limits.per_host;
        let soon = if scarce { SOON_IF_SCARCE } else { SOON };
        let free = to.free.max(domain.delayed) + soon;
        let by_itself = domain.put_off.map_or(free, |put_off| free.max(put_off + LATER));
        let asked = domain.asked.max(domain.woken).filter(|asked| {
            to.free <= *asked && domain.put_off.is_none_or(|put_off| put_off < *asked)
        });
        match asked {
            Some(asked) if domain.on_demand => Some(free.max(asked + soon)),
            Some(asked) => Some(by_itself.min(free.max(asked + soon))),
            None if domain.on_demand => None,
            None => Some(by_itself),
        }
    }

    /// All is well again: everything must go.
    pub async fn calm(&mut self) {
        self.end_all().await;
        {
            let mut state = self.world.lock();
            state.note("all is well");
            state.faults.clear();
            state.cure(|nature| nature != Nature::Refused);
        }
        self.drain().await;
        self.world.lock().cure(|_| true);
        let domains = self.world.lock().ledger.domains.len();
        for domain in 0..domains {
            self.retry(domain).await;
        }
        self.drain().await;
        let left = self.held(|held| held.status != Status::Kept).await;
        let mut state = self.world.lock();
        left.into_iter().for_each(|path| state.violated(format!("{path} is never delivered")));
        let refused: Vec<_> = state.ledger.open().map(|(number, nth, _)| (number, nth)).collect();
        for (number, nth) in refused {
            let to = &state.ledger.messages[number].recipients[nth];
            if !state.is_unsendable(number, to.domain) {
                let violation = format!("{} is kept, and could be delivered", to.path);
                state.violated(violation);
            }
        }
    }

    /// Waits until nothing waits, for so long as that may take.
    async fn drain(&mut self) {
        for step in 0..IN_THE_END / STEP {
            if step % 8 == 0 {
                self.ask_on_demand().await;
            }
            self.pass(STEP).await;
            self.check().await;
            let waits = |held: &Held| held.status != Status::Kept;
            if self.world.lock().violation.is_some() || self.held(waits).await.is_empty() {
                return;
            }
        }
    }

    async fn ask_on_demand(&mut self) {
        let domains = self.world.lock().ledger.domains.len();
        for domain in 0..domains {
            if self.world.lock().ledger.domains[domain].on_demand {
                self.ask(domain).await;
            }
        }
    }

    /// The messages that are held and of which this is true.
    pub async fn held(&self, is: impl Fn(&Held) -> bool) -> Vec<String> {
        let all = postern_spool::Filter::default();
        let listing = self.spool.inner.list(&all, None, 10_000).await;
        let items = listing.expect("memory does not fail").items;
        let items = items.iter().filter(|held| is(held));
        items
            .map(|held| String::from_utf8_lossy(&held.envelope.recipients[0].path).into())
            .collect()
    }
}

impl State {
    /// Recipients with whom something is wrong are well again.
    fn cure(&mut self, which: impl Fn(Nature) -> bool) {
        let recipients = self.ledger.messages.iter_mut().flat_map(|m| &mut m.recipients);
        for to in recipients.filter(|to| which(to.nature)) {
            to.nature = Nature::Plain;
        }
    }
}
