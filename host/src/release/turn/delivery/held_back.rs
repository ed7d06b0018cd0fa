//! Refusals of which it is in doubt whether they are the host's fault.

use postern_spool::{Fate, Next, Retry, Settled, Spool};
use tokio::sync::mpsc;

use super::super::End;
use super::{Delivery, Go};
use crate::deliver::Probe;

impl<S: Spool> Delivery<'_, '_, S> {
    /// Decides at the turn's end about what is held back: all that was refused, where that were
    /// few messages, or the host defers the others.
    pub(super) async fn decide_held_back(&mut self, go: Go, settle: &mpsc::Sender<Settled>) -> Go {
        let Go::End(finish) = go else { return go };
        let refused = self.held_back.len();
        if refused == 0 {
            return Go::End(finish);
        }
        if self.has_moved() {
            self.held_back.clear();
            return Go::End((Next::More, End::More));
        }
        if self.work.shared.trusts(&self.work.turn.domain, self.work.host, refused) {
            self.course.found_sound();
            self.settle_held_back(settle).await;
            return Go::End(finish);
        }
        match self.ask(settle).await {
            Ok(Probe::Takes) => Go::End(finish),
            Ok(Probe::Refuses(why)) => Go::End(self.work.refused(why)),
            Ok(Probe::Unknown(_) | Probe::Lost(_)) => Go::Lost(finish),
            Err(moved) => moved,
        }
    }

    /// Messages were refused, and none was taken: is it they, or the host?
    ///
    /// # Errors
    /// The domain has another host since a configuration that came before the answer, which says
    /// nothing of that one: how the turn ends. What was held back is untried.
    pub(super) async fn ask(&mut self, settle: &mpsc::Sender<Settled>) -> Result<Probe, Go> {
        let (domain, host) = (&self.work.turn.domain, self.work.host);
        let answer = self.connection.probe(domain).await;
        if self.has_moved() {
            self.held_back.clear();
            let finish = (Next::More, End::More);
            let is_open = matches!(answer, Probe::Takes | Probe::Refuses(_));
            return Err(if is_open { Go::End(finish) } else { Go::Lost(finish) });
        }
        match &answer {
            Probe::Takes => {
                self.course.found_sound();
                self.settle_held_back(settle).await;
            }
            Probe::Refuses(why) => {
                tracing::error!(%domain, %host, reason = %why, "it refuses everything");
                // The messages wait on as if they had not been tried.
                self.held_back.clear();
            }
            Probe::Unknown(why) | Probe::Lost(why) => {
                tracing::info!(%domain, %host, reason = %why, "refusals wait: it cannot tell");
                self.defer_held_back(settle).await;
            }
        }
        Ok(answer)
    }

    /// The connection was lost behind refusals, nothing taken. They are untried, until the next
    /// turn has asked; where that was in vain they wait, or this would go on without end.
    pub(super) async fn hold_no_longer(&mut self, settle: &mpsc::Sender<Settled>) {
        if self.course.was_asked_in_vain() {
            self.defer_held_back(settle).await;
        } else {
            self.held_back.clear();
            self.work.shared.ask_first(&self.work.turn.domain);
        }
    }

    async fn defer_held_back(&mut self, settle: &mpsc::Sender<Settled>) {
        for (claim, settled) in std::mem::take(&mut self.held_back) {
            self.record(&claim, deferred(settled), settle).await;
        }
    }

    /// Hands on what was held back, once the host has shown that it takes mail.
    pub(super) async fn settle_held_back(&mut self, settle: &mpsc::Sender<Settled>) {
        if self.course.is_suspect() {
            return;
        }
        for (claim, settled) in std::mem::take(&mut self.held_back) {
            self.record(&claim, settled, settle).await;
        }
    }
}

/// What was refused, when the host cannot tell whether it takes any mail: it waits, and for longer
/// than the domain does, whose next turn must not begin, and end, with it again.
fn deferred(mut settled: Settled) -> Settled {
    for (_, fate) in &mut settled.fates {
        if let Fate::Refused(reply) = fate {
            *fate = Fate::Deferred(std::mem::take(reply));
        }
    }
    if let Retry::In(pause) = &mut settled.retry {
        *pause = pause.saturating_mul(2);
    }
    settled
}
