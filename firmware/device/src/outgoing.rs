//! What a device connects for: delivering mail, asking its holder by ETRN, notices of failed mail.

use core::time::Duration;

use embassy_futures::select::{Either4, select4};
use postern_card::Card;
use postern_card::settings::{self, Holder};
use postern_core::client::{Event, Need, Protocol};
use postern_core::drive::deliver;
use postern_core::retry::{Every, Next, Policy};
use postern_core::time::Instant;

use crate::clock;
use crate::connector::Connector;
use crate::dialogue::{self, Dialogue, Failure};
use crate::log::info;
use crate::memory::OutgoingMemory;
use crate::net::{Net, Socket};
use crate::notice;
use crate::queue_run::QueueRun;
use crate::shared::{Shared, SharedDatagrams};

/// The one task that connects to others.
pub(crate) struct Outgoing<'o, 's, 'n, C: Card> {
    shared: &'o Shared<'s, C>,
    net: Net<'n>,
    connector: Connector<'o, 'n>,
    room: Room<'n>,
    /// Queue runs in a row that did not deliver what they should.
    attempts: u32,
    /// When the next hop is tried again by itself.
    retry_at: Instant,
    /// When the holder is asked next.
    ask_at: Instant,
    /// When the next notice may be sent.
    notice_at: Instant,
}

/// Octets for the client.
struct Room<'n> {
    input: &'n mut [u8],
    output: &'n mut [u8],
    piece: &'n mut [u8],
}

impl<'o, 's, 'n, C: Card> Outgoing<'o, 's, 'n, C> {
    pub(crate) fn new<const UNACKNOWLEDGED: usize>(
        shared: &'o Shared<'s, C>,
        net: Net<'n>,
        datagrams: &'o SharedDatagrams<'n>,
        memory: &'n mut OutgoingMemory<UNACKNOWLEDGED>,
    ) -> Self {
        let OutgoingMemory { receive, send, input, output, piece } = memory;
        let socket = Socket::new(net, receive, send);
        let start = Instant::from_millis(0);
        let when = |wanted: bool| if wanted { start } else { Instant::FAR };
        Self {
            shared,
            net,
            connector: Connector { net, datagrams, socket },
            room: Room { input, output, piece },
            attempts: 0,
            retry_at: when(shared.settings.retry_every_s.is_some()),
            ask_at: when(shared.settings.holder.is_some()),
            notice_at: start,
        }
    }

    /// Connects when mail arrives or is asked for, and when a retry or an ETRN is due.
    pub(crate) async fn run(&mut self) -> ! {
        loop {
            self.net.up().await;
            let shared = self.shared;
            let (arrived, released) = (shared.arrived.wait(), shared.released.wait());
            let (retry, ask) = (clock::until(self.release_at()), clock::until(self.ask_at));
            match select4(released, ask, retry, arrived).await {
                // The run before has taken this message, or what was asked for.
                Either4::First(()) | Either4::Fourth(()) if shared.waiting.get() == 0 => {}
                Either4::First(()) | Either4::Third(()) => self.release().await,
                Either4::Second(()) => self.ask_holder().await,
                // While a retry is due later, or mail goes on demand only, new mail waits too.
                Either4::Fourth(()) if self.attempts == 0 && self.retries() => {
                    self.release().await;
                }
                Either4::Fourth(()) => {}
            }
        }
    }

    fn retries(&self) -> bool {
        self.shared.settings.retry_every_s.is_some()
    }

    /// When the next hop is to be connected to, though nobody asks.
    fn release_at(&self) -> Instant {
        if self.shared.waiting.get() > 0 {
            self.retry_at
        } else if notice::is_wanted(self.shared) {
            self.retry_at.max(self.notice_at)
        } else {
            Instant::FAR
        }
    }

    /// Makes a queue run, and sets when the next one is due.
    async fn release(&mut self) {
        self.shared.releasing.set(true);
        let run = self.run_queue().await;
        self.shared.releasing.set(false);
        if let Err(failure) = run {
            info!("the next hop did not take the mail: {}", failure);
        }
        self.attempts = if run == Ok(true) { 0 } else { self.attempts.saturating_add(1) };
        self.retry_at = match self.policy().next(self.attempts, None, self.shared.random.u32()) {
            Next::After(pause) => clock::now().after(pause),
            Next::WhenAsked | Next::GiveUp => Instant::FAR,
        };
    }

    fn policy(&self) -> Policy {
        let settings = self.shared.settings;
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let every = settings.retry_every_s.map_or(Every::Never, |s| Every::Interval(seconds(s)));
        Policy { every, expire_after: seconds(settings.expire_after_s) }
    }

    /// Tries everything once, and returns whether the next run need not be put off.
    async fn run_queue(&mut self) -> Result<bool, Failure> {
        let (shared, policy) = (self.shared, self.policy());
        let Room { input, output, piece } = &mut self.room;
        let mut run = QueueRun::new(shared, policy, piece);
        loop {
            if let Err(failure) = self.connector.reach_next_hop(shared.settings).await {
                // What is too old is given up even when nobody can be reached.
                run.expire().await?;
                return Err(failure);
            }
            let protocol = match shared.settings.next_hop.protocol {
                settings::Protocol::Smtp => Protocol::Smtp,
                settings::Protocol::Lmtp => Protocol::Lmtp,
            };
            let (socket, hostname) = (&mut self.connector.socket, shared.config.hostname);
            let mut dialogue = dialogue::begin(socket, hostname, protocol, input, output);
            match run.pass_on(&mut dialogue).await {
                Ok(()) => {
                    let is_clear = run.end().await;
                    let told = tell(shared, &mut self.notice_at, &mut dialogue, piece).await;
                    dialogue.quit().await;
                    self.connector.socket.close().await;
                    return told.map(|()| is_clear);
                }
                // The host drops the message that was not ended. The next connection goes on behind
                // it.
                Err(Failure::Unreadable) => self.connector.socket.close().await,
                Err(failure) => {
                    self.connector.socket.close().await;
                    // Over a poor link each run may deliver a few messages of a long queue: that
                    // is no reason to wait longer.
                    return if run.has_moved() { Ok(true) } else { Err(failure) };
                }
            }
        }
    }

    /// Asks the holder for all that it holds for us.
    async fn ask_holder(&mut self) {
        let Some(holder) = &self.shared.settings.holder else { return };
        if let Err(failure) = self.ask(holder).await {
            info!("the holder was not asked: {}", failure);
        }
        self.connector.socket.close().await;
        self.ask_at = clock::now().after(Duration::from_secs(u64::from(holder.every_s)));
    }

    async fn ask(&mut self, holder: &Holder<'_>) -> Result<(), Failure> {
        self.connector.reach(holder.host, holder.port).await?;
        let Room { input, output, .. } = &mut self.room;
        let (socket, hostname) = (&mut self.connector.socket, self.shared.config.hostname);
        let mut dialogue = dialogue::begin(socket, hostname, Protocol::Smtp, input, output);
        let mut names = holder.names.iter();
        loop {
            match dialogue.next().await? {
                deliver::Turn::Need(Need::Transaction) => {
                    let Some(name) = names.next() else { break };
                    let asked = dialogue.call(|client, out| client.etrn(name.as_bytes(), out));
                    asked.map_err(|_| Failure::Refused(502))?;
                }
                deliver::Turn::Event(Event::Etrn(_)) => {
                    info!("the holder says {=[u8]:a}", dialogue::text(&dialogue).as_slice());
                }
                deliver::Turn::Event(Event::Greeting(_)) => {}
                deliver::Turn::Need(_) | deliver::Turn::Event(_) => {
                    return Err(Failure::Nonsense);
                }
            }
        }
        dialogue.quit().await;
        Ok(())
    }
}

/// Tells of what failed, if it is time to.
async fn tell<C: Card>(
    shared: &Shared<'_, C>,
    not_before: &mut Instant,
    dialogue: &mut Dialogue<'_, '_>,
    piece: &mut [u8],
) -> Result<(), Failure> {
    if notice::is_wanted(shared) && clock::now() >= *not_before {
        notice::send(shared, dialogue, piece).await?;
        *not_before = clock::now().after(notice::EVERY);
    }
    Ok(())
}
