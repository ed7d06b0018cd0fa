//! Asking holders for the mail that they hold for us.

use core::pin::pin;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use heapless::Vec;
use postern_card::Card;
use postern_card::settings::{ATRN_HOLDER, HOLDERS_MAX, Holder, Host, Settings, Way};
use postern_core::client::{CallError, Event, Need, Protocol};
use postern_core::drive::deliver::Turn;
use postern_core::time::Instant;
use postern_core::wakeup::{Answer, Email, Found, Requests, Rules};
use postern_core::wire::{Out, Text};

use crate::clock;
use crate::connector::{Connector, Room};
use crate::dialogue::{self, Dialogue, Failure};
use crate::fetching;
use crate::log::info;
use crate::shared::{ID, Shared};
use crate::transfer::send_own;

/// How long the first requests wait for the time of day where a server is to tell it: a schedule
/// goes by it, and what was answered before a start.
const TIME_PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it is known.
const TIME_LOOK: Duration = Duration::from_secs(1);
/// How often is looked whether the schedule has opened: the time may jump.
const SCHEDULE_LOOK: Duration = Duration::from_secs(60);
/// How long all that is said over one connection may take.
const DIALOGUE: Duration = Duration::from_secs(15 * 60);

/// When each holder of the settings has answered before the start, seconds since
/// 1970-01-01T00:00:00Z.
type Answered = [Option<u64>; HOLDERS_MAX];

/// The holders of the settings.
pub(crate) struct Holders {
    asked: Vec<Asked, HOLDERS_MAX>,
    before: Answered,
    /// Until when the first requests wait for the time of day; none: there are requests.
    patience: Option<Instant>,
}

/// One holder.
struct Asked {
    requests: Requests,
    /// A bit for each of its names that it has answered for in the round that is not over yet: what
    /// it never answers for must not keep it from being asked for the rest.
    settled: u8,
    /// When it has answered for the first of them.
    settled_at: Instant,
}

/// What is to be done for holders next.
pub(crate) struct Next {
    /// When.
    pub(crate) at: Instant,
    /// Who is to be asked then; none: it is looked again.
    pub(crate) holder: Option<usize>,
}

impl Holders {
    /// The key of what the settings want and this device can't do.
    pub(crate) fn missing(settings: &Settings<'_>) -> Option<u8> {
        let fetches = |holder: &Holder<'_>| matches!(holder.way, Way::Atrn { .. });
        let is_missing = !fetching::IS_THERE && settings.holders.iter().any(fetches);
        is_missing.then_some(ATRN_HOLDER)
    }

    pub(crate) async fn new<C: Card>(shared: &Shared<'_, C>) -> Self {
        let store = &shared.storage.lock().await.store;
        let mut before = [None; HOLDERS_MAX];
        for (holder, answered) in before.iter_mut().enumerate() {
            *answered = store.answered(holder);
        }
        let is_told = !shared.settings.time_server.is_empty();
        let patience = if is_told { TIME_PATIENCE } else { Duration::ZERO };
        Self { asked: Vec::new(), before, patience: Some(clock::now().after(patience)) }
    }

    /// What is to be done next.
    pub(crate) fn next<C: Card>(&mut self, shared: &Shared<'_, C>) -> Next {
        let (now, today) = (clock::now(), shared.time_of_day.now());
        if let Some(patience) = self.patience {
            if shared.settings.holders.is_empty() {
                return Next { at: Instant::FAR, holder: None };
            }
            if !today.known && now < patience {
                return Next { at: patience.min(now.after(TIME_LOOK)), holder: None };
            }
            self.begin(shared);
        }
        let due = self.asked.iter().map(|asked| asked.requests.next().at).zip(0..);
        let Some((at, holder)) = due.min() else {
            return Next { at: Instant::FAR, holder: None };
        };
        // By the time at which it is due the window may have ended.
        if at > now {
            return Next { at, holder: None };
        }
        match shared.hours.opens(today, now) {
            opens if opens > now => Next { at: opens.min(now.after(SCHEDULE_LOOK)), holder: None },
            _ => Next { at, holder: Some(holder) },
        }
    }

    /// From now on there are requests.
    fn begin<C: Card>(&mut self, shared: &Shared<'_, C>) {
        let (now, today) = (clock::now(), shared.time_of_day.now());
        self.patience = None;
        for (holder, answered) in shared.settings.holders.iter().zip(self.before) {
            let rules = Rules { every: every(holder), names: holder.hosts.len() };
            // A time that is not known, or was ahead of now, says nothing.
            let answered = answered.filter(|_| today.known);
            let since = answered.and_then(|at| today.unix_seconds.checked_sub(at));
            let requests = Requests::new(rules, since.map(Duration::from_secs), now);
            // There is place for as many as settings can have.
            let _ = self.asked.push(Asked { requests, settled: 0, settled_at: now });
        }
    }

    /// The link was down, and is up.
    pub(crate) fn link_up(&mut self) {
        let now = clock::now();
        self.asked.iter_mut().for_each(|asked| asked.requests.link_up(now));
    }

    /// Asks the holder of this index. The gate is open before it hears of us: its mail may come
    /// before its answer was read.
    pub(crate) async fn ask<C: Card>(
        &mut self,
        index: usize,
        shared: &Shared<'_, C>,
        connector: &mut Connector<'_, '_>,
        room: &mut Room<'_>,
    ) {
        let holder = shared.settings.holders.get(index);
        let Some((holder, asked)) = holder.zip(self.asked.get_mut(index)) else { return };
        let Some(host) = holder.hosts.get(asked.requests.next().name) else { return };
        asked.forget(every(holder));
        // What is fetched wants no listener.
        let fetches = matches!(holder.way, Way::Atrn { .. });
        if !fetches {
            shared.gate.wake_up().await;
        }
        let mut found = Found::default();
        let ended = {
            let (settled, until) = (&mut asked.settled, clock::now().after(DIALOGUE));
            let talk = pin!(talk(shared, connector, room, holder, host, settled, &mut found));
            match select(talk, clock::until(until)).await {
                Either::First(ended) => ended,
                Either::Second(()) => Err(Failure::TimedOut),
            }
        };
        match ended {
            Ok(Behind::Nothing) => {}
            // A session has deadlines of its own, and its mail may take hours.
            Ok(Behind::Session { unread }) => {
                found.add(fetching::receive(shared, connector, room, unread).await);
            }
            Err(failure) => found.add(meaning(failure)),
        }
        if !fetches {
            let wait = Duration::from_secs(shared.settings.wait_s.into());
            shared.gate.asked(found.comes.then_some(wait));
        }
        asked.requests.ended(found.answer(), clock::now(), shared.random.u32());
        if asked.requests.is_answered() {
            asked.settled = 0;
            note(shared, index).await;
        }
        connector.socket.close().await;
    }
}

impl Asked {
    /// Forgets answers that count no more.
    fn forget(&mut self, every: Duration) {
        let now = clock::now();
        if now >= self.settled_at.after(every) {
            self.settled = 0;
        }
        if self.settled == 0 {
            self.settled_at = now;
        }
    }
}

/// What follows a request over its connection.
enum Behind {
    Nothing,
    /// The roles have turned; as many octets are in the room's input.
    Session {
        unread: usize,
    },
}

/// Asks by one connection to this name of the holder's.
async fn talk<C: Card>(
    shared: &Shared<'_, C>,
    connector: &mut Connector<'_, '_>,
    room: &mut Room<'_>,
    holder: &Holder<'_>,
    host: &Host<'_>,
    settled: &mut u8,
    found: &mut Found,
) -> Result<Behind, Failure> {
    connector.reach(host.name, host.port).await?;
    let Room { input, output, piece } = room;
    let (socket, hostname) = (&mut connector.socket, shared.config.hostname);
    let mut begun = dialogue::begin(socket, hostname, Protocol::Smtp, input, output);
    let dialogue = &mut begun;
    match holder.way {
        Way::Etrn => etrn(dialogue, holder, settled, found).await?,
        Way::Atrn { user, password } => {
            if fetching::turn(dialogue, holder, (user, password), piece, found).await? {
                let (_, _, unread) = begun.turned();
                return Ok(Behind::Session { unread });
            }
        }
        Way::Email { to, from } => {
            let length = compose(shared, holder, (from, to), piece).ok_or(Failure::Nonsense)?;
            let said = send_own(shared, dialogue, from, to, piece, length).await?;
            info!("the holder says {=u16} to the e-mail", said.code);
            found.add(Answer::to_email(said.code));
        }
    }
    dialogue.quit().await;
    Ok(Behind::Nothing)
}

/// Asks for each name that is not settled.
async fn etrn(
    dialogue: &mut Dialogue<'_, '_>,
    holder: &Holder<'_>,
    settled: &mut u8,
    found: &mut Found,
) -> Result<(), Failure> {
    let mut names = holder.names.iter().zip(bits());
    let mut bit = 0;
    loop {
        match dialogue.next().await? {
            Turn::Need(Need::Transaction) => {
                let unsettled = names.find(|(_, bit)| *settled & bit == 0);
                let Some((name, next)) = unsettled else { return Ok(()) };
                bit = next;
                let asked = dialogue.call(|client, out| client.etrn(name.as_bytes(), out));
                asked.map_err(|_: CallError| Failure::NotOffered)?;
            }
            Turn::Event(Event::Etrn(said)) => {
                log_answer(dialogue);
                let answer = Answer::to_etrn(said.code);
                found.add(answer);
                if matches!(answer, Answer::Comes | Answer::NoneWaiting) {
                    *settled |= bit;
                }
            }
            Turn::Event(Event::Greeting(_)) => {}
            Turn::Need(_) | Turn::Event(_) => return Err(Failure::Nonsense),
        }
    }
}

/// Writes the e-mail that wakes a holder, and returns how many octets it has.
fn compose<C: Card>(
    shared: &Shared<'_, C>,
    holder: &Holder<'_>,
    (from, to): (&str, &str),
    octets: &mut [u8],
) -> Option<usize> {
    let time = shared.time_of_day.now();
    let mut id = [0; ID];
    let email = Email {
        hostname: shared.config.hostname,
        from: Text::new(from.as_bytes())?,
        to: Text::new(to.as_bytes())?,
        id: shared.message_id(time, &mut id)?,
        time,
    };
    let mut out = Out::new(octets);
    email.write(holder.names.iter().map(|name| name.as_bytes()), &mut out).ok()?;
    Some(out.len())
}

fn log_answer(dialogue: &Dialogue<'_, '_>) {
    info!("the holder says {=[u8]:a}", dialogue::text(dialogue).as_slice());
}

/// A bit for each name of a list.
fn bits() -> impl Iterator<Item = u8> {
    (0..u8::BITS).map(|index| 1_u8.wrapping_shl(index))
}

/// What a failure to ask means.
fn meaning(failure: Failure) -> Answer {
    info!("the holder was not asked: {}", failure);
    match failure {
        Failure::NotOffered | Failure::Refused(500..=599) => Answer::Refused,
        _ => Answer::Missing,
    }
}

/// Has the card know that a holder has answered, if the time of day is known: the next start counts
/// from now.
async fn note<C: Card>(shared: &Shared<'_, C>, holder: usize) {
    let today = shared.time_of_day.now();
    if today.known {
        let store = &mut shared.storage.lock().await.store;
        if let Err(fault) = store.note_answer(holder, today.unix_seconds).await {
            shared.note(&fault);
        }
    }
}

fn every(holder: &Holder<'_>) -> Duration {
    Duration::from_secs(holder.every_s.into())
}
