//! The whole application: its tasks, and what they share.

use embassy_futures::join::{join_array, join3, join5};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_net_driver::Driver;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embassy_time::{Instant, Timer};
use heapless::Vec;
use postern_card::settings::{Address, SCHEDULE, SETTINGS_MAX, Settings};
use postern_card::{Card, Ended, Fault, Label, PostMortem, Store};
use postern_core::wire::Text;
use postern_core::wire::reply::Reason;

use core::cell::{Cell, RefCell};
use core::pin::pin;

use crate::board::{Board, label};
use crate::channel::{Channels, Count};
use crate::counted::Counted;
use crate::deaf::until_deaf;
use crate::fresh::Fresh;
use crate::gate::Gate;
use crate::guarded::{Guarded, GuardedFault};
use crate::holders::Holders;
use crate::hours::Hours;
use crate::limiter::{Limiter, Limiters};
use crate::log::{info, warning};
use crate::memory::{ChannelMemory, Memory};
use crate::net::{self, DatagramOwners, Datagrams, Net, Runner};
use crate::occupancy::Occupancy;
use crate::outgoing::Outgoing;
use crate::queue_run::{Suspect, set_aside};
use crate::random::Random;
use crate::reset::{STRIKES, pause_s};
use crate::shared::Shared;
use crate::spare::Refusal;
use crate::status::{CardCondition, Condition};
use crate::storage::{SharedStorage, Storage};
use crate::time_of_day::TimeOfDay;
use crate::trial::Trial;
use crate::watch::{Health, watch};
use crate::{appletalk, channel, notice, sntp, spare, udp_log, update};

/// Seconds between a fault of the card and the restart, in which clients get replies that say so.
const GRACE_S: u64 = 3;
/// Seconds between two looks whether there is a card now.
const LOOK_S: u64 = 10;
/// Seconds until a card that could not be used is tried again: it may have been a bad contact, or
/// another card may be there by then. Each mount of a card of ours writes to it.
const AGAIN_S: u64 = 300;

/// Requests by ETRN that are heeded at once, and the time until the next is: an asker that repeats
/// himself must not wear the card, or the next hop.
const ETRN_BURST: u32 = 10;
const ETRN_EVERY_MS: u64 = 60_000;

/// Messages of one address that are discarded at once, and the time until the next is: ten a
/// minute.
const DISCARD_BURST: u32 = 10;
const DISCARD_EVERY_MS: u64 = 6_000;

/// The name of a device that has no card.
const NAMELESS: &str = "postern.invalid";

/// What is known of this boot.
struct Boot {
    started: Instant,
    /// How many calls of the card have ended.
    calls: Cell<u32>,
    trial: Trial,
}

/// Runs a device until it has to be reset.
///
/// `start` gets the runner of the network stack, and must run it in a task of its own. Each use of
/// a socket wakes the runner: joined with the users in one task, it would wake itself for ever.
#[allow(private_bounds)] // How channels are joined is no business of the board's.
pub async fn run<
    'm,
    D: Driver,
    C: Card,
    B: Board,
    const CHANNELS: usize,
    const SOCKETS: usize,
    const WINDOW: usize,
    const UNACKNOWLEDGED: usize,
>(
    driver: D,
    card: C,
    board: &mut B,
    memory: &'m mut Memory<CHANNELS, SOCKETS, WINDOW, UNACKNOWLEDGED>,
    start: impl FnOnce(Runner<'m, D>),
) -> Ended
where
    Count<CHANNELS>: Channels,
{
    let label = label::<B>();
    info!("Postern {=str} on {=str}", label.version(), label.board());
    let (last, started) = (board.last_reset(), Instant::now());
    let trial = Trial::begin(board.firmware_slot(), started);
    let boot = Boot { started, calls: Cell::new(0), trial };
    let storage = Storage::shared(Guarded::new(card, &boot.calls));
    let life = pin!(async {
        let mounted = {
            // A card that is busy with its own blocks may take minutes for what it usually does in
            // one second.
            let mounted = pin!(begin(&storage, &mut memory.settings, last.post_mortem, label));
            let watch = watch(board, started, &boot.trial, &|| Condition::STARTING);
            match select(mounted, watch).await {
                Either::First(mounted) => mounted,
                Either::Second(never) => never,
            }
        };
        match mounted {
            Ok(_) if update::install(&storage, board).await => Ended::NewFirmware,
            Ok(ref crash) => {
                let crash = crash.as_ref();
                with_card(driver, &storage, &boot, crash, board, memory, start).await
            }
            Err(fault) => without_card(driver, &storage, fault, &boot, board, memory, start).await,
        }
    });
    let ended = match select(life, boot.trial.failed()).await {
        Either::First(ended) => ended,
        Either::Second(()) => Ended::TrialFailed,
    };
    last.survivor.ending(ended);
    ended
}

/// Waits a while if the device has crashed, mounts the card, notes there what reset the device, and
/// returns the last crash that is to be told. What the card is asked for before the tasks run is
/// asked here: it may take its time.
async fn begin<C: Card>(
    storage: &SharedStorage<C>,
    octets: &mut [u8; SETTINGS_MAX],
    mut past: PostMortem,
    label: &Label,
) -> Result<Option<PostMortem>, Fault<C::Error>> {
    if past.crashes > 0 {
        warning!(
            "crashes in a row: {=u32}, the last one after {=u32} s",
            past.crashes,
            past.uptime_s
        );
        Timer::after_secs(pause_s(past.crashes)).await;
    }
    mount(storage, octets).await?;
    past.set_program(label.version(), label.board());
    past.set_aside = past.strikes >= STRIKES;
    let store = &mut storage.lock().await.store;
    if store.write_post_mortem(&past).await.is_err() {
        warning!("the card does not take what is known of the last reset");
    }
    // Without it, a crash is not told; the card fails with what comes next.
    Ok(notice::find_crash(store).await.unwrap_or_default())
}

/// Mounts the card, on which there must be settings that can be read.
async fn mount<C: Card>(
    storage: &SharedStorage<C>,
    octets: &mut [u8; SETTINGS_MAX],
) -> Result<(), Fault<C::Error>> {
    let store = &mut storage.lock().await.store;
    let recovery = store.remount().await?;
    store.load_settings(octets).await?;
    check(store, octets)?;
    info!(
        "card mounted: {=u32} messages, {=u32} blocks read",
        recovery.messages, recovery.blocks_read
    );
    if recovery.unread_records > 0 {
        warning!("{=u32} records of its journal can't be read", recovery.unread_records);
    }
    Ok(())
}

/// Whether there are settings in these octets that this program can read. Not inlined: they would
/// be on the stack for as long as the card is mounted.
#[inline(never)]
fn check<C: Card>(store: &Store<C>, octets: &[u8; SETTINGS_MAX]) -> Result<(), Fault<C::Error>> {
    let mut settings = Settings::DEFAULT;
    store.settings_in(octets, &mut settings)?;
    let schedule = Hours::of(&settings).is_none().then_some(SCHEDULE);
    Holders::missing(&settings).or(schedule).map_or(Ok(()), |key| Err(Fault::UnknownSetting(key)))
}

async fn with_card<
    'm,
    D: Driver,
    C: Card,
    B: Board,
    const CHANNELS: usize,
    const SOCKETS: usize,
    const WINDOW: usize,
    const UNACKNOWLEDGED: usize,
>(
    driver: D,
    storage: &SharedStorage<C>,
    boot: &Boot,
    crash: Option<&PostMortem>,
    board: &mut B,
    memory: &'m mut Memory<CHANNELS, SOCKETS, WINDOW, UNACKNOWLEDGED>,
    start: impl FnOnce(Runner<'m, D>),
) -> Ended
where
    Count<CHANNELS>: Channels,
{
    let Memory { settings, stack, channels, spares, outgoing, datagrams, appletalk, log, frames } =
        memory;
    let (octets, mut settings, mut clients) = (settings, Settings::DEFAULT, [None; CHANNELS]);
    // They were sound a moment ago.
    let sound = storage.lock().await.store.settings_in(octets, &mut settings);
    let (Ok(()), Some(hours)) = (sound, &Hours::of(&settings)) else { return Ended::CardFailed };
    let open = usize::from(settings.channels).min(CHANNELS);
    let occupancy = Occupancy::new(clients.get_mut(..open).unwrap_or_default());
    let discards = &Limiters::new(DISCARD_BURST, DISCARD_EVERY_MS);
    let limits = (&Gate::new(&settings, open), hours, discards);
    let shared = share(&settings, storage, occupancy, limits, crash, board).await;
    let refusal = Refusal::new(shared.config.hostname, Reason::Busy);
    let frames: &Cell<u32> = frames;
    let driver = Counted::new(driver, frames);
    let (net, runner) = net::start(driver, &settings.address, shared.random.u64(), stack);
    start(runner);
    let mut owners = DatagramOwners::new();
    let datagrams = Mutex::new(Datagrams::new(net, datagrams, &mut owners));
    // The channels come first: a connection goes to the first socket that listens.
    let sessions = pin!(Count::<CHANNELS>::run::<B, C, WINDOW>(&shared, net, channels, 1));
    let [one, two] = spares;
    let one = pin!(spare::run(&refusal, net, &mut one.receive, &mut one.send, Some(shared.gate)));
    let two = pin!(spare::run(&refusal, net, &mut two.receive, &mut two.send, Some(shared.gate)));
    let suspect = Suspect::of(&board.last_reset().post_mortem);
    let outgoing = pin!(async {
        set_aside(&shared, suspect, &mut outgoing.piece).await;
        let holders = Holders::new(&shared).await;
        Outgoing::new(&shared, net, &datagrams, holders, outgoing).run().await
    });
    let time = pin!(sntp::run(&shared, net, &datagrams));
    let health = Health::new(&boot.calls);
    let look = || Condition {
        card: shared.condition(),
        network: Some(net.network()),
        is_healthy: health.look(storage),
    };
    let proof = boot.trial.prove::<_, B>(storage, net);
    let log = udp_log::run(board.log(), &settings, net, log);
    let watch = watch(board, boot.started, &boot.trial, &look);
    let rest = join5(say_address(net), time, proof, log, watch);
    let appletalk = pin!(appletalk::run::<B, C>(&shared, net, appletalk));
    let gate = shared.gate.run(shared.hours, &shared.time_of_day, net);
    let tasks = join5(sessions, join3(one, two, appletalk), outgoing, gate, rest);
    let deaf = until_deaf(frames, net, &datagrams, &settings);
    match select3(tasks, card_failed(&shared), deaf).await {
        Either3::Third(()) => Ended::Deaf,
        _ => Ended::CardFailed,
    }
}

/// Returns a while after the card failed: clients are told until then.
async fn card_failed<C: Card>(shared: &Shared<'_, C>) {
    shared.broken.wait().await;
    Timer::after_secs(GRACE_S).await;
}

/// Refuses all clients until there is a card that can be mounted, or one that can't be used, or has
/// hung, was there for a while.
async fn without_card<
    'm,
    D: Driver,
    C: Card,
    B: Board,
    const CHANNELS: usize,
    const SOCKETS: usize,
    const WINDOW: usize,
    const UNACKNOWLEDGED: usize,
>(
    driver: D,
    storage: &SharedStorage<Guarded<'_, C>>,
    fault: Fault<GuardedFault<C::Error>>,
    boot: &Boot,
    board: &mut B,
    memory: &'m mut Memory<CHANNELS, SOCKETS, WINDOW, UNACKNOWLEDGED>,
    start: impl FnOnce(Runner<'m, D>),
) -> Ended {
    let Memory { settings, stack, channels, frames, .. } = memory;
    let condition = Cell::new(CardCondition::Starting);
    let refuse =
        refuse(Counted::new(driver, frames), &condition, boot, board, stack, channels, start);
    match select(find(storage, settings, fault, &condition), refuse).await {
        Either::First(ended) => ended,
        Either::Second(never) => never,
    }
}

/// After `fault`: returns once a card can be mounted, or after a while if there is one that can't
/// be used. One that has hung counts as such: its driver was left in the middle of a call, which
/// only a reset ends.
async fn find<C: Card>(
    storage: &SharedStorage<Guarded<'_, C>>,
    octets: &mut [u8; SETTINGS_MAX],
    fault: Fault<GuardedFault<C::Error>>,
    condition: &Cell<CardCondition>,
) -> Ended {
    let mut fault = fault;
    report::<Guarded<'_, C>>(&fault);
    condition.set(CardCondition::None);
    while is_absent::<C>(&fault) {
        Timer::after_secs(LOOK_S).await;
        match mount(storage, octets).await {
            Ok(()) => return Ended::CardFound,
            Err(other) if is_absent::<C>(&other) => {}
            Err(other) => {
                report::<Guarded<'_, C>>(&other);
                fault = other;
            }
        }
    }
    if !matches!(fault, Fault::Card(GuardedFault::Hung)) {
        condition.set(CardCondition::Useless);
    }
    Timer::after_secs(AGAIN_S).await;
    Ended::CardUseless
}

/// Whether there is no card, or none that answers.
fn is_absent<C: Card>(fault: &Fault<GuardedFault<C::Error>>) -> bool {
    match fault {
        Fault::Card(GuardedFault::Card(error)) => !is_locked::<C>(error),
        _ => false,
    }
}

/// Whether the card is there, and refuses: it is locked by a password, or for writing, as worn ones
/// lock themselves. Of one block alone it would do without.
fn is_locked<C: Card>(error: &C::Error) -> bool {
    C::is_refusal(error) || C::is_of_block(error)
}

/// Refuses all clients: there is no card, or none that this program can use.
async fn refuse<
    'm,
    D: Driver,
    B: Board,
    const CHANNELS: usize,
    const SOCKETS: usize,
    const WINDOW: usize,
>(
    driver: Counted<'m, D>,
    condition: &Cell<CardCondition>,
    boot: &Boot,
    board: &mut B,
    stack: &'m mut net::Resources<SOCKETS>,
    channels: &'m mut [ChannelMemory<WINDOW>; CHANNELS],
    start: impl FnOnce(Runner<'m, D>),
) -> ! {
    let seed = Random::new(board, [0; 32], 0).u64();
    let (net, runner) = net::start(driver, &Address::Dhcp, seed, stack);
    start(runner);
    let hostname = Text::new(NAMELESS.as_bytes()).expect("a constant, and printable");
    let refusal = Refusal::new(hostname, Reason::Down);
    let channels = channels.each_mut().map(|channel| {
        let ChannelMemory { receive, send, .. } = channel;
        spare::run(&refusal, net, receive, send, None)
    });
    let look =
        || Condition { card: condition.get(), network: Some(net.network()), is_healthy: true };
    let watch = watch(board, boot.started, &boot.trial, &look);
    join3(join_array(channels), say_address(net), watch).await.1
}

/// What is shared by the tasks. What is large of it is lent, and not moved over the stack.
async fn share<'s, C: Card, B: Board>(
    settings: &'s Settings<'s>,
    storage: &'s SharedStorage<C>,
    occupancy: Occupancy<'s>,
    (gate, hours, discards): (&'s Gate, &'s Hours, &'s Limiters),
    crash: Option<&'s PostMortem>,
    board: &mut B,
) -> Shared<'s, C> {
    let store = &storage.lock().await.store;
    let boot = store.boot();
    let hostname = Text::new(settings.hostname.as_bytes()).or(Text::new(NAMELESS.as_bytes()));
    let mut config = channel::config(hostname.expect("a constant, and printable"));
    config.idle_timeout_ms = settings.idle_timeout_ms;
    config.max_message_size = u64::from(settings.max_message_size);
    Shared {
        settings,
        config,
        time_of_day: TimeOfDay::guess(store.last_known_time()),
        random: Random::new(board, store.seed(), boot),
        occupancy,
        gate,
        hours,
        etrn: Limiter::new(ETRN_BURST, ETRN_EVERY_MS),
        discards,
        discarded: Cell::new(0),
        boot,
        survivor: board.last_reset().survivor,
        waiting: Cell::new(store.messages().saturating_sub(store.flagged())),
        fresh: RefCell::new(Fresh::new()),
        failed: Cell::new(store.flagged()),
        unreadable: Cell::new(0),
        doubtful: Cell::new(0),
        flagged: Cell::new(store.flagged()),
        unmet: Cell::new(0),
        told: Cell::new(store.told()),
        crash,
        set_aside: RefCell::new(Vec::new()),
        suspects: RefCell::new(Vec::new()),
        releasing: Cell::new(false),
        arrived: Signal::new(),
        released: Signal::new(),
        broken: Signal::new(),
        storage,
    }
}

fn report<C: Card>(fault: &Fault<C::Error>) {
    match fault {
        Fault::Card(error) if is_locked::<C>(error) => {
            warning!("the card is locked, or worn out: it does not do what it is asked for");
        }
        Fault::NotOurs => warning!("the card has no Postern on it; `postern card create` makes it"),
        Fault::OtherVersion(version) => {
            warning!("the card is of version {=u16}, which this program does not read", *version);
        }
        Fault::UnknownSetting(key) => {
            warning!("setting {=u8} of the card needs a newer program than this", *key);
        }
        Fault::Damaged { block } => warning!("block {=u32} of the card is damaged", *block),
        Fault::TooSmall { blocks } => {
            warning!("the card has fewer than the {=u32} blocks that it was made with", *blocks);
        }
        _ => warning!("there is no card, or it does not answer"),
    }
}

/// Says where the device can be reached, each time that this changes.
async fn say_address(net: Net<'_>) -> ! {
    loop {
        let address = net.up().await;
        let [a, b, c, d] = address.octets();
        info!("listening at {=u8}.{=u8}.{=u8}.{=u8}", a, b, c, d);
        net.down().await;
        warning!("not reachable any more");
    }
}
