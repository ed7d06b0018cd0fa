//! What a device connects for: delivering mail, asking its holders, and notices of what is wrong.

use core::time::Duration;

use embassy_futures::select::{Either4, select4};
use postern_card::Card;
use postern_card::settings;
use postern_core::agenda::{Agenda, Cause, Due, Outcome, Rules, Stand};
use postern_core::client::Protocol;
use postern_core::retry::{Every, Policy};

use crate::clock;
use crate::connector::{Connector, Room};
use crate::dialogue::{self, Dialogue};
use crate::holders::Holders;
use crate::log::info;
use crate::memory::OutgoingMemory;
use crate::net::{Net, Socket};
use crate::notice;
use crate::queue_run::{QueueRun, Scope};
use crate::shared::{Shared, SharedDatagrams};

/// The one task that connects to others.
pub(crate) struct Outgoing<'o, 's, 'n, C: Card> {
    shared: &'o Shared<'s, C>,
    net: Net<'n>,
    connector: Connector<'o, 'n>,
    room: Room<'n>,
    agenda: Agenda,
    holders: Holders,
    /// What the next run through all goes over.
    all: Scope,
}

impl<'o, 's, 'n, C: Card> Outgoing<'o, 's, 'n, C> {
    pub(crate) fn new<const UNACKNOWLEDGED: usize>(
        shared: &'o Shared<'s, C>,
        net: Net<'n>,
        datagrams: &'o SharedDatagrams<'n>,
        holders: Holders,
        memory: &'n mut OutgoingMemory<UNACKNOWLEDGED>,
    ) -> Self {
        let OutgoingMemory { receive, send, input, output, piece } = memory;
        let socket = Socket::new(net, receive, send);
        let rules = Rules { retry: policy(shared).every };
        Self {
            shared,
            net,
            connector: Connector { net, datagrams, socket },
            room: Room { input, output, piece },
            agenda: Agenda::new(rules, clock::now()),
            holders,
            all: Scope::FIRST,
        }
    }

    /// Connects when the agenda says so, and when a holder is to be asked: first for what has been
    /// due for longest.
    pub(crate) async fn run(&mut self) -> ! {
        loop {
            if !self.net.is_up() {
                self.net.up().await;
                self.agenda.link_up(clock::now());
                self.holders.link_up();
            }
            let shared = self.shared;
            let request = self.holders.next(shared);
            let due = self.agenda.next(stand(shared)).filter(|due| due.at <= request.at);
            let wait = clock::until(due.map_or(request.at, |due| due.at));
            let asked = shared.released.wait();
            match select4(wait, asked, shared.arrived.wait(), self.net.down()).await {
                Either4::First(()) => match (due, request.holder) {
                    (Some(Due { cause, .. }), _) => self.release(cause).await,
                    (None, Some(holder)) => {
                        let Self { connector, room, .. } = self;
                        self.holders.ask(holder, shared, connector, room).await;
                    }
                    (None, None) => {}
                },
                Either4::Second(()) => self.agenda.asked(stand(shared), clock::now()),
                // What came is counted already.
                Either4::Third(()) | Either4::Fourth(()) => {}
            }
        }
    }

    /// Makes a queue run.
    async fn release(&mut self, cause: Cause) {
        self.shared.releasing.set(true);
        let outcome = self.run_queue(cause).await;
        self.shared.releasing.set(false);
        self.agenda.run_ended(cause, outcome, clock::now(), self.shared.random.u32());
        if self.agenda.is_long_away() {
            let policy = policy(self.shared);
            let mut run = QueueRun::new(self.shared, policy, Scope::FIRST, self.room.piece);
            // A fault of the card ends this boot; what can't be read stays.
            let _faulty = run.expire().await;
        }
    }

    /// Tries what is to be tried for this cause, once.
    async fn run_queue(&mut self, cause: Cause) -> Outcome {
        let shared = self.shared;
        let is_fresh = matches!(cause, Cause::Arrived | Cause::Notice);
        let is_listed = shared.fresh.borrow().is_complete();
        let scope = if is_fresh && is_listed { Scope::Fresh } else { self.all };
        let Room { input, output, piece } = &mut self.room;
        let mut run = QueueRun::new(shared, policy(shared), scope, piece);
        let passed = loop {
            if let Err(failure) = self.connector.reach_next_hop(shared.settings).await {
                break Err(failure);
            }
            let protocol = match shared.settings.next_hop.protocol {
                settings::Protocol::Smtp => Protocol::Smtp,
                settings::Protocol::Lmtp => Protocol::Lmtp,
            };
            let (socket, hostname) = (&mut self.connector.socket, shared.config.hostname);
            let mut dialogue = dialogue::begin(socket, hostname, protocol, input, output);
            match run.pass_on(&mut dialogue).await {
                Ok(passed) => {
                    let (outcome, all) = run.end(Ok(passed)).await;
                    tell(shared, &mut self.agenda, &mut dialogue, piece).await;
                    dialogue.quit().await;
                    self.connector.socket.close().await;
                    self.all = all;
                    return outcome;
                }
                // The host drops a message that was not ended.
                Err(failure) => {
                    self.connector.socket.close().await;
                    if let Some(passed) = run.connection_failed(failure).await {
                        break passed;
                    }
                }
            }
        };
        if let Err(failure) = passed {
            info!("the next hop did not take the mail: {}", failure);
        }
        let (outcome, all) = run.end(passed).await;
        self.all = all;
        outcome
    }
}

/// What there is to do, in numbers.
fn stand<C: Card>(shared: &Shared<'_, C>) -> Stand {
    let fresh = !shared.fresh.borrow().is_empty();
    let waiting = shared.waiting.get().saturating_add(shared.doubtful.get());
    Stand { waiting, fresh, news: notice::is_wanted(shared) }
}

fn policy<C: Card>(shared: &Shared<'_, C>) -> Policy {
    let settings = shared.settings;
    let every = settings.retry_every_s.map_or(Every::Never, |s| Every::Interval(seconds(s)));
    Policy { every, expire_after: seconds(settings.expire_after_s) }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// Tells what is wrong, if it is time to, over a connection to the next hop.
async fn tell<C: Card>(
    shared: &Shared<'_, C>,
    agenda: &mut Agenda,
    dialogue: &mut Dialogue<'_, '_>,
    piece: &mut [u8],
) {
    if !agenda.wants_notice(stand(shared), clock::now()) {
        return;
    }
    let taken = notice::send(shared, dialogue, piece).await.unwrap_or_else(|failure| {
        info!("a notice was not sent: {}", failure);
        false
    });
    agenda.notice_ended(taken, clock::now());
}
