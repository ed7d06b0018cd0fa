//! What a device begins by itself: passing mail on, asking its holder, telling of what failed.

use embassy_futures::select::{Either4, select4};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::Timer;
use postern_card::settings::{self, Holder};
use postern_card::{Card, Message, MessageId};
use postern_core::client::{self, Need};
use postern_core::envelope::Record;
use postern_core::retry::{Every, Next, Policy};
use postern_core::time::Instant;

use core::time::Duration;

use crate::clock;
use crate::desk::Unreadable;
use crate::dialogue::{Dialogue, Failure, Said, Turn};
use crate::log::info;
use crate::memory::OutgoingMemory;
use crate::net::{Datagrams, Net, Socket};
use crate::notice;
use crate::settle::settle;
use crate::shared::Shared;
use crate::transfer::{Fates, Transfer, record};

/// Tries to reach a next hop that was woken, and the seconds between them: a host takes a while to
/// rise.
const WAKE_TRIES: u32 = 12;
const WAKE_PAUSE_S: u64 = 5;

/// The UDP socket, which the clock and the wake-up packets share.
pub(crate) type SharedDatagrams<'n> = Mutex<NoopRawMutex, Datagrams<'n>>;

/// The one task that connects to others.
pub(crate) struct Outgoing<'o, 's, 'n, C: Card> {
    pub(crate) shared: &'o Shared<'s, C>,
    pub(crate) net: Net<'n>,
    pub(crate) datagrams: &'o SharedDatagrams<'n>,
    pub(crate) socket: Socket<'n>,
    pub(crate) room: Room<'n>,
    /// Turns in a row that did not empty the queue.
    pub(crate) attempts: u32,
    /// When the next hop is tried again by itself.
    pub(crate) retry_at: Instant,
    /// When the holder is asked next.
    pub(crate) ask_at: Instant,
    /// When the next notice may be sent.
    pub(crate) notice_at: Instant,
}

/// Octets for the client.
pub(crate) struct Room<'n> {
    pub(crate) input: &'n mut [u8],
    pub(crate) output: &'n mut [u8],
    pub(crate) piece: &'n mut [u8],
}

impl<'o, 's, 'n, C: Card> Outgoing<'o, 's, 'n, C> {
    pub(crate) fn new(
        shared: &'o Shared<'s, C>,
        net: Net<'n>,
        datagrams: &'o SharedDatagrams<'n>,
        memory: &'n mut OutgoingMemory,
    ) -> Self {
        let OutgoingMemory { receive, send, input, output, piece } = memory;
        let socket = Socket::new(net, receive, send);
        let start = Instant::from_millis(0);
        Self {
            shared,
            net,
            datagrams,
            socket,
            room: Room { input, output, piece },
            attempts: 0,
            retry_at: start,
            ask_at: if shared.settings.holder.is_some() { start } else { Instant::FAR },
            notice_at: start,
        }
    }

    /// Waits for reasons to connect to others, and does.
    pub(crate) async fn run(&mut self) -> ! {
        loop {
            self.net.up().await;
            let shared = self.shared;
            let retry_at = if shared.waiting.get() > 0 { self.retry_at } else { Instant::FAR };
            let (arrived, released) = (shared.arrived.wait(), shared.released.wait());
            let (retry, ask) = (clock::until(retry_at), clock::until(self.ask_at));
            match select4(released, ask, retry, arrived).await {
                Either4::First(()) | Either4::Third(()) => self.release().await,
                Either4::Second(()) => self.ask_holder().await,
                // While the next hop is waited for, or on demand only, new mail waits too.
                Either4::Fourth(()) if self.attempts == 0 && self.retries() => {
                    if shared.waiting.get() > 0 {
                        self.release().await;
                    }
                }
                Either4::Fourth(()) => {}
            }
        }
    }

    fn retries(&self) -> bool {
        self.shared.settings.retry_every_s.is_some()
    }

    /// Passes on all that waits.
    async fn release(&mut self) {
        self.shared.releasing.set(true);
        let turn = self.turn().await;
        self.shared.releasing.set(false);
        match turn {
            // Whatever waits now came while the rest was passed on.
            Ok(0) => self.attempts = 0,
            Ok(_) => self.attempts = self.attempts.saturating_add(1),
            Err(failure) => {
                info!("the next hop did not take the mail: {}", failure);
                self.attempts = self.attempts.saturating_add(1);
            }
        }
        self.retry_at = match self.policy().next(self.attempts, None, self.shared.dice.u32()) {
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

    /// Connects and passes on, and returns how many recipients still wait.
    async fn turn(&mut self) -> Result<u32, Failure> {
        let connected = self.connect().await;
        let passed = match connected {
            Ok(()) => self.pass_on().await,
            Err(failure) => {
                // What is too old is given up even when nobody can be reached.
                self.expire().await?;
                Err(failure)
            }
        };
        self.socket.close().await;
        passed
    }

    /// Connects to the next hop, after waking it.
    async fn connect(&mut self) -> Result<(), Failure> {
        let settings = self.shared.settings;
        let Some(hardware_address) = settings.wake_on_lan else {
            return self.reach(settings.next_hop.host, settings.next_hop.port).await;
        };
        self.datagrams.lock().await.wake(hardware_address).await;
        let mut tries = 1;
        loop {
            let reached = self.reach(settings.next_hop.host, settings.next_hop.port).await;
            if reached.is_ok() || tries == WAKE_TRIES {
                return reached;
            }
            tries += 1;
            Timer::after_secs(WAKE_PAUSE_S).await;
        }
    }

    async fn reach(&mut self, host: &str, port: u16) -> Result<(), Failure> {
        let address = self.net.resolve(host).await.ok_or(Failure::NoAddress)?;
        let connected = self.socket.connect(address, port).await;
        if connected.is_err() {
            self.socket.close().await;
        }
        connected.map_err(|_| Failure::NoConnection)
    }

    /// Passes the messages on, oldest first, over the connection that is open.
    async fn pass_on(&mut self) -> Result<u32, Failure> {
        let (shared, policy) = (self.shared, self.policy());
        let Room { input, output, piece } = &mut self.room;
        let protocol = match shared.settings.next_hop.protocol {
            settings::Protocol::Smtp => client::Protocol::Smtp,
            settings::Protocol::Lmtp => client::Protocol::Lmtp,
        };
        let hostname = shared.settings.hostname;
        let mut dialogue = Dialogue::new(&mut self.socket, hostname, protocol, input, output);
        let mut last = None;
        let mut waiting = 0_u32;
        while let Some(message) = next(shared, last).await? {
            last = Some(message.id);
            let left = deliver(shared, &policy, &message, &mut dialogue, piece).await?;
            waiting = waiting.saturating_add(left);
        }
        if notice::is_due(shared, self.notice_at).await {
            notice::send(shared, &mut dialogue, piece).await?;
            self.notice_at = clock::now().after(notice::EVERY);
        }
        dialogue.quit().await;
        Ok(waiting)
    }

    /// Gives up what is too old.
    async fn expire(&mut self) -> Result<(), Failure> {
        let (shared, policy) = (self.shared, self.policy());
        if !shared.wall.now().known {
            return Ok(());
        }
        let mut last = None;
        while let Some(message) = next(shared, last).await? {
            last = Some(message.id);
            if is_expired(shared, &policy, &message).await {
                give_up(shared, &message, Fates::default(), self.room.piece).await?;
            }
        }
        Ok(())
    }

    /// Asks the holder for all that it holds for us.
    async fn ask_holder(&mut self) {
        let Some(holder) = &self.shared.settings.holder else { return };
        if let Err(failure) = self.ask(holder).await {
            info!("the holder was not asked: {}", failure);
        }
        self.socket.close().await;
        self.ask_at = clock::now().after(Duration::from_secs(u64::from(holder.every_s)));
    }

    async fn ask(&mut self, holder: &Holder<'_>) -> Result<(), Failure> {
        self.reach(holder.host, holder.port).await?;
        let Room { input, output, .. } = &mut self.room;
        let (hostname, protocol) = (self.shared.settings.hostname, client::Protocol::Smtp);
        let mut dialogue = Dialogue::new(&mut self.socket, hostname, protocol, input, output);
        let mut names = holder.names.iter();
        loop {
            match dialogue.next().await? {
                Turn::Need(Need::Transaction) => {
                    let Some(name) = names.next() else { break };
                    let asked = dialogue.call(|client, out| client.etrn(name.as_bytes(), out));
                    asked.map_err(|_| Failure::Refused(502))?;
                }
                Turn::Said(Said::Etrn(answer)) => {
                    info!("the holder says {=[u8]:a}", answer.text.as_slice());
                }
                Turn::Need(_) | Turn::Said(_) => return Err(Failure::Nonsense),
            }
        }
        dialogue.quit().await;
        Ok(())
    }
}

/// The oldest message behind `last` that is to be passed on.
async fn next<C: Card>(
    shared: &Shared<'_, C>,
    mut last: Option<MessageId>,
) -> Result<Option<Message>, Failure> {
    loop {
        let next = shared.desk.lock().await.store.next(last).await;
        match next.map_err(|fault| unreadable(shared, &fault.into()))? {
            Some(message) if message.flagged => last = Some(message.id),
            other => return Ok(other),
        }
    }
}

/// Passes one message on, and writes down what became of it; returns for how many recipients it
/// waits on.
async fn deliver<C: Card>(
    shared: &Shared<'_, C>,
    policy: &Policy,
    message: &Message,
    dialogue: &mut Dialogue<'_, '_>,
    piece: &mut [u8],
) -> Result<u32, Failure> {
    if is_expired(shared, policy, message).await {
        return give_up(shared, message, Fates::default(), piece).await;
    }
    match Transfer::new(shared, message).run(dialogue, piece).await {
        Ok(fates) => {
            let settled = settle(shared, message, &fates, false, piece).await;
            settled.map_err(|fault| unreadable(shared, &fault))
        }
        // The host drops what was not ended; the next turn begins behind this message.
        Err(Failure::Unreadable) => {
            give_up(shared, message, Fates::unreadable(), piece).await?;
            Err(Failure::Unreadable)
        }
        Err(failure) => Err(failure),
    }
}

/// Leaves what nobody will get to a person.
async fn give_up<C: Card>(
    shared: &Shared<'_, C>,
    message: &Message,
    fates: Fates,
    piece: &mut [u8],
) -> Result<u32, Failure> {
    let settled = settle(shared, message, &fates, true, piece).await;
    settled.map_err(|fault| unreadable(shared, &fault))
}

async fn is_expired<C: Card>(shared: &Shared<'_, C>, policy: &Policy, message: &Message) -> bool {
    let mut desk = shared.desk.lock().await;
    let record = record(&mut desk, &mut message.envelope()).await;
    let Ok(Record::Head(head)) = record else { return false };
    let now = shared.wall.now();
    let age_s = now.unix_seconds.saturating_sub(head.arrival.unix_seconds);
    let age = (now.known && head.arrival.known).then(|| Duration::from_secs(age_s));
    policy.next(1, age, 0) == Next::GiveUp
}

fn unreadable<C: Card>(shared: &Shared<'_, C>, unreadable: &Unreadable<C::Error>) -> Failure {
    shared.note_unreadable(unreadable);
    Failure::Unreadable
}
