//! The messages of a turn, over its connection.

mod held_back;

use std::collections::VecDeque;
use std::time::Duration;

use postern_spool::{Claim, Error, Next, Reach, Retry, Settled, Spool};
use tokio::sync::mpsc;

use super::settling::{Trouble, UNSETTLED, settle_all};
use super::{End, Finish, LEASE, Over, Work, suspended};
use crate::deliver::{Destination, Loss, Probe, Sent};
use crate::policy::Peer;
use crate::release::fate::{Outcome, next_try_of_domain, outcome};
use crate::release::verdict::{Course, Then, Whole};

/// Messages of one turn; a domain with more asks for another, behind those that wait.
const MESSAGES: usize = 200;
/// Messages that are claimed at once.
pub(super) const BATCH: usize = 10;
/// Connections that a host may break in a row, nothing taken, before its domain is put off. It may
/// be one message that it cannot take, and those behind that one must not wait for it.
const BREAKS: u32 = 3;
/// Before the one more try of a message that broke a connection and goes only when asked for.
const ONCE_MORE: Duration = Duration::from_secs(60);

pub(super) struct Delivery<'t, 'c, S> {
    work: Work<'t, S>,
    connection: Destination<'c>,
    claims: VecDeque<Claim>,
    course: Course,
    /// Messages that were refused while it is open whether that is the host's fault: as long as
    /// the course is suspect.
    held_back: Vec<(Claim, Settled)>,
    messages: usize,
    /// Another turn of the domain was asked for.
    told_more: bool,
    /// A message was deferred for reasons that may be the host's.
    deferred: bool,
    /// A message was refused for everybody.
    refused: bool,
    /// The connection was open before, and the host has not said anything over it since.
    is_reused: bool,
}

/// Whether a turn goes on.
enum Go {
    On,
    /// The connection is good for QUIT.
    End(Finish),
    /// It is good for nothing.
    Lost(Finish),
}

impl<'t, 'c, S: Spool> Delivery<'t, 'c, S> {
    pub(super) fn new(
        mut work: Work<'t, S>,
        connection: Destination<'c>,
        (course, is_reused): (Course, bool),
    ) -> Self {
        let claims = std::mem::take(&mut work.claims);
        let mut delivery = Self {
            work,
            connection,
            claims: VecDeque::new(),
            course,
            held_back: Vec::new(),
            messages: 0,
            told_more: false,
            deferred: false,
            refused: false,
            is_reused,
        };
        delivery.take(claims);
        delivery
    }

    /// Delivers, and records beside it what became of the messages. Over a connection to the relay,
    /// or that whoever fetches the mail has opened, that of another domain may follow: it is given
    /// back.
    pub(super) async fn run(self) -> Result<Over<'c>, Error> {
        let (spool, turn) = (&*self.work.shared.engine.spool, self.work.turn);
        let trouble = Trouble::default();
        let (settle, queue) = mpsc::channel(UNSETTLED);
        let settling = settle_all(spool, turn, queue, (&trouble, LEASE));
        let (finish, settled) = tokio::join!(self.deliver_all(settle, &trouble), settling);
        settled?;
        finish
    }

    async fn deliver_all(
        mut self,
        settle: mpsc::Sender<Settled>,
        trouble: &Trouble,
    ) -> Result<Over<'c>, Error> {
        let mut go = Go::On;
        while matches!(go, Go::On) {
            go = self.step(&settle, trouble).await?;
        }
        go = self.decide_held_back(go, &settle).await;
        if self.deferred && !self.course.has_taken() && !self.has_moved() {
            let is_broken = matches!(go, Go::Lost(_));
            self.work.shared.refusing(&self.work.turn.domain, is_broken);
        }
        drop(settle);
        match go {
            Go::On => Ok(((Next::More, End::More), None)),
            Go::End(finish) => {
                let finish = self.lift(finish);
                let (host, stopping) = (self.work.host, *self.work.stopping.borrow());
                let may_follow = host.is_asker() || host.is_relay() && !stopping;
                // Where it takes long to record, nobody waits at the other end.
                if may_follow && trouble.all_recorded().await {
                    return Ok((finish, Some(self.connection)));
                }
                self.connection.quit().await;
                Ok((finish, None))
            }
            Go::Lost(finish) => Ok((self.lift(finish), None)),
        }
    }

    /// A suspension is lifted by a host that takes mail, or says that it does, and by none else.
    fn lift(&self, finish: Finish) -> Finish {
        if !self.work.turn.suspended || !self.course.is_suspect() {
            return finish;
        }
        match finish {
            (Next::PutOff { why, .. }, _) => {
                suspended(self.work.policy, String::from_utf8_lossy(&why).into_owned())
            }
            (Next::Suspended { .. } | Next::Untried, _) => finish,
            (_, end) if self.messages == 0 => (Next::Untried, end),
            (Next::Drained | Next::More, _) => {
                suspended(self.work.policy, "it took none of the mail that was tried".to_owned())
            }
        }
    }

    /// Sends the next message, if there is one and it may be sent.
    async fn step(
        &mut self,
        settle: &mpsc::Sender<Settled>,
        trouble: &Trouble,
    ) -> Result<Go, Error> {
        if *self.work.stopping.borrow() || trouble.is_there() || settle.is_closed() {
            // There is no time to ask, or no way to record the answer: those are untried.
            self.held_back.clear();
            return Ok(Go::End((Next::More, End::Done)));
        }
        if self.messages == MESSAGES {
            return Ok(Go::End((Next::More, End::More)));
        }
        let Some(claim) = self.next_claim().await? else {
            // A turn that was handed out nothing at all does not know that nothing is left.
            let next = if self.messages == 0 { Next::More } else { Next::Drained };
            return Ok(Go::End((next, End::Done)));
        };
        self.messages += 1;
        // Two in a row are not sent together while it may turn out that the host takes none.
        let behind = !self.course.is_suspect() && self.messages < MESSAGES;
        if behind && self.claims.is_empty() {
            self.refill().await?;
        }
        // A claim may have waited for the disk.
        if self.has_moved() {
            self.held_back.clear();
            return Ok(Go::End((Next::More, End::More)));
        }
        self.work.step.message(Some(claim.id));
        let next = self.claims.front().filter(|_| behind);
        let spool = &*self.work.shared.engine.spool;
        let mut sent = self.connection.send(&claim, next, spool).await;
        // A host that takes so many messages over one connection, and hangs up: this is untried.
        if self.course.has_taken() || self.is_reused {
            sent.loss = sent.loss.map(|loss| match loss {
                Loss::Unanswered(why) => Loss::Closing(why),
                loss => loss,
            });
        }
        let now = self.work.shared.engine.clock.timestamp();
        let mut outcome = outcome(&claim, &sent, self.work.policy, now);
        self.try_once_more(&claim, &sent, &mut outcome);
        let has_moved = self.has_moved();
        if has_moved {
            outcome.keep_taken_only();
        }
        self.report(&claim, &outcome);
        if has_moved {
            self.held_back.clear();
            self.record(&claim, outcome.settled, settle).await;
            let finish = (Next::More, End::More);
            return Ok(if sent.loss.is_none() { Go::End(finish) } else { Go::Lost(finish) });
        }
        self.judge(&claim, sent, outcome, settle).await
    }

    /// A message that broke the connection, and would wait until its domain is asked for again, has
    /// one more try: links break, and whoever asked is there.
    fn try_once_more(&self, claim: &Claim, sent: &Sent, outcome: &mut Outcome) {
        let is_broken = matches!(sent.loss, Some(Loss::Broken(_) | Loss::Unanswered(_)));
        let retry = &mut outcome.settled.retry;
        if is_broken
            && !self.work.host.is_asker()
            && *retry == Retry::WhenAsked
            && self.work.shared.goes_once_more(self.work.turn, claim.id)
        {
            *retry = Retry::In(ONCE_MORE);
        }
    }

    /// Whether a configuration that came meanwhile gives the domain another host, so that this one
    /// says nothing of the mail that is left.
    fn has_moved(&self) -> bool {
        self.work.shared.has_moved(&self.work.turn.domain, self.work.host)
    }

    /// Decides how the turn goes on after a message.
    async fn judge(
        &mut self,
        claim: &Claim,
        sent: Sent,
        outcome: Outcome,
        settle: &mpsc::Sender<Settled>,
    ) -> Result<Go, Error> {
        let Outcome { settled, whole, refuses, reply, .. } = outcome;
        self.deferred |= whole == Whole::Deferred;
        if self.work.host.is_relay() && sent.has_begun() {
            // Whom it refuses behind MAIL, it refuses for the message's sake.
            self.course.found_sound();
            self.work.relay_works();
        }
        let had_taken = self.course.has_taken();
        let then = self.course.note(whole);
        // A host at fault says nothing of a recipient.
        if !self.course.is_suspect() {
            self.work.learn(claim, &sent);
        }
        let first = whole == Whole::Taken && !had_taken;
        self.refused |= refuses;
        if refuses && self.course.is_suspect() && !self.work.is_senders_fault(claim) {
            self.held_back.push((claim.clone(), settled));
        } else {
            self.settle_held_back(settle).await;
            self.record(claim, settled, settle).await;
        }
        if whole == Whole::Taken && self.work.policy.is_fetched() {
            let now = self.work.shared.engine.clock.instant();
            self.work.shared.renew_call(&self.work.turn.domain, self.work.host, now);
        }
        if first && !self.work.host.is_relay() {
            self.work.shared.took(&self.work.turn.domain, self.work.host);
        }
        // Behind the recording: a release that fails ends the turn.
        let released = first && self.work.shared.delivered(&self.work.turn.domain).await?;
        if let Some(loss) = sent.loss {
            if self.refused && !self.course.has_taken() {
                self.work.shared.suspect(&self.work.turn.domain, claim.id);
                self.hold_no_longer(settle).await;
            }
            return Ok(self.lost(claim, loss, whole));
        }
        self.is_reused = false;
        match then {
            Then::GoOn if released => Ok(Go::End((Next::More, End::More))),
            Then::GoOn => Ok(Go::On),
            Then::Ask if self.held_back.is_empty() => Ok(Go::On),
            Then::Ask => Ok(match self.ask(settle).await {
                Ok(Probe::Takes) => Go::On,
                Ok(Probe::Refuses(why)) => Go::End(self.work.refused(why)),
                Ok(Probe::Unknown(why) | Probe::Lost(why)) => self.broken(why),
                Err(moved) => moved,
            }),
            Then::PutOff => Ok(Go::End(self.put_off(reply))),
        }
    }

    fn lost(&self, claim: &Claim, loss: Loss, whole: Whole) -> Go {
        let shared = self.work.shared;
        let domain = &self.work.turn.domain;
        let more = Go::Lost((Next::More, End::More));
        let why = match loss {
            Loss::NotBegun(_) => {
                shared.no_mail_behind(self.work.host, domain);
                return more;
            }
            Loss::Unreadable(Error::Gone) => {
                tracing::info!(id = %claim.id, %domain, "not sent: a person has removed it");
                return more;
            }
            Loss::Unreadable(error) => {
                tracing::error!(id = %claim.id, %domain, %error, "unreadable");
                // Of a spool that is not there for now, more is asked later.
                let lasting = matches!(error, Error::Damaged(_));
                return if lasting { more } else { Go::Lost((Next::More, End::AtNextPoll)) };
            }
            Loss::Closing(why) | Loss::Broken(why) | Loss::Unanswered(why) | Loss::Early(why) => {
                why
            }
        };
        // One that has its verdict for good did not break the connection, nor did one that came
        // when the host had given that up.
        if self.course.has_taken() || self.is_reused || whole == Whole::Refused {
            return more;
        }
        // It may be this message alone: the next turn sends it last.
        shared.suspect(domain, claim.id);
        self.broken(why)
    }

    /// The host broke the connection, or what was asked over it: the next turn goes on with other
    /// messages, unless that happens again and again.
    fn broken(&self, why: String) -> Go {
        self.work.note_said(&why);
        let breaks = self.work.shared.broke(self.work.turn);
        let again = (Next::More, End::More);
        Go::Lost(if breaks < BREAKS { again } else { self.put_off(why) })
    }

    fn put_off(&self, why: String) -> Finish {
        let retry = next_try_of_domain(self.work.policy);
        let (domain, host) = (&self.work.turn.domain, self.work.host);
        tracing::info!(%domain, %host, reason = %why, "put off");
        (Next::PutOff { retry, reach: Reach::Answered, why: why.into_bytes() }, End::Done)
    }

    async fn next_claim(&mut self) -> Result<Option<Claim>, Error> {
        if self.claims.is_empty() {
            self.refill().await?;
        }
        Ok(self.claims.pop_front())
    }

    /// Claims more messages. The first claim comes behind the connection's opening, and fails if
    /// the turn has lapsed meanwhile.
    async fn refill(&mut self) -> Result<(), Error> {
        let shared = self.work.shared;
        let claimed = self.work.claim(BATCH).await;
        let is_nothing = match &claimed {
            Ok(claims) => claims.is_empty(),
            Err(error) => matches!(error, Error::Full | Error::Unavailable { .. }),
        };
        if self.messages == 0 && is_nothing {
            shared.note_handed_out(false);
        }
        self.take(claimed?);
        Ok(())
    }

    /// Takes up what was claimed.
    fn take(&mut self, mut claims: Vec<Claim>) {
        let (shared, domain) = (self.work.shared, &self.work.turn.domain);
        if claims.len() == BATCH && !self.told_more {
            self.told_more = true;
            shared.more(domain);
        }
        if let Some(id) = shared.suspected(domain) {
            // Stable: the others stay in their order.
            claims.sort_by_key(|claim| claim.id == id);
        }
        self.claims.extend(claims);
    }

    /// Hands on what became of a message, if anything did, with what its sender hears of it.
    async fn record(&self, claim: &Claim, settled: Settled, settle: &mpsc::Sender<Settled>) {
        if settled.fates.is_empty() {
            return;
        }
        let settled = self.work.told(claim, settled, self.connection.success()).await;
        if !settled.fates.is_empty() {
            // A receiver that is gone has said why; the next step sees that it is.
            let _why = settle.send(settled).await;
        }
    }

    fn report(&self, claim: &Claim, outcome: &Outcome) {
        let tally = outcome.tally;
        self.work.step.message(None);
        self.work.step.replied(outcome.reply.as_bytes());
        if !outcome.reply.is_empty() {
            self.work.note_said(&outcome.reply);
        }
        self.work.shared.engine.metrics.delivery(tally.word());
        let Some(unlogged) = self.line(tally.is_only_deferred()) else { return };
        tracing::info!(
            id = %claim.id,
            domain = %self.work.turn.domain,
            host = %self.work.host,
            tls = self.connection.is_secure(),
            outcome = tally.word(),
            delivered = tally.delivered,
            refused = tally.refused,
            deferred = tally.deferred,
            expired = tally.expired,
            reply = %outcome.reply,
            unlogged,
            "sent"
        );
    }

    /// Whether the log has a line left for a message, and how many there were none for. Who fetches
    /// mail may put it off as often as it likes.
    fn line(&self, is_deferred: bool) -> Option<Option<u64>> {
        let work = &self.work;
        let address = self.connection.address().map(|address| address.to_canonical());
        let Some(address) = address.filter(|_| is_deferred && work.host.is_asker()) else {
            return Some(None);
        };
        let (engine, network) = (&work.shared.engine, Peer::Internet(address).network());
        work.shared.deferrals.pass(network, engine.clock.instant()).map(Some)
    }
}
