//! New firmware from the card, on a board with two halves of flash.

use std::cell::RefCell;
use std::rc::Rc;

use embassy_futures::block_on;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::{Address, Settings};
use postern_card::{BLOCK, IMAGE_PIECE, Layout, Stamp, Store, format_as};
use postern_device::reset::LastReset;
use postern_device::{Board, Ended, FirmwareSlot, Label, SlotFault, Status};

use crate::sim::card::{Call, SimCard};
use crate::sim::servers::lease;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, CREATED, World, power_on, settings};

const OLD: Label = Label::new("some-board", "1.0");
const NEW: Label = Label::new("some-board", "1.1");
const ERASED: u8 = 0xFF;
const SECTOR: u32 = 4096;
const SLOT: u32 = 16 * SECTOR;
/// Octets of a firmware: not a whole number of blocks, nor of words.
const FIRMWARE: usize = 20_005;

/// The flash of a board, and what starts it.
#[derive(Default)]
struct Flash {
    /// What is in the half that does not run.
    other: Vec<u8>,
    is_started_at_reset: bool,
    is_on_trial: bool,
    confirmed: u32,
    erased: u32,
    operations: u64,
    /// The operation that fails.
    failing: Option<u64>,
    /// Whether what starts firmware can't be told that one is to stay.
    confirms_nothing: bool,
    /// When the board's watchdog was fed last, and the longest time in which it was not.
    fed_at: Option<Instant>,
    longest_unfed: Option<Duration>,
}

impl Flash {
    fn operate(&mut self) -> Result<(), SlotFault> {
        self.operations += 1;
        if self.failing == Some(self.operations) { Err(SlotFault) } else { Ok(()) }
    }

    fn at(&mut self, offset: u32, length: usize) -> &mut [u8] {
        self.other.resize(SLOT as usize, 0);
        &mut self.other[offset as usize..][..length]
    }
}

/// A board that runs the old firmware, or the new one.
struct Half<const IS_NEW: bool> {
    flash: Rc<RefCell<Flash>>,
    last_reset: LastReset,
}

impl<const IS_NEW: bool> Half<IS_NEW> {
    fn new(flash: &Rc<RefCell<Flash>>) -> Self {
        flash.borrow_mut().fed_at = Some(Instant::now());
        Self { flash: flash.clone(), last_reset: power_on() }
    }
}

impl<const IS_NEW: bool> Board for Half<IS_NEW> {
    const LABEL: Label = if IS_NEW { NEW } else { OLD };
    const RAM: usize = usize::MAX;

    type Slot = Self;

    fn random(&mut self) -> [u8; 32] {
        [0; 32]
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {
        let mut flash = self.flash.borrow_mut();
        let unfed = flash.fed_at.replace(Instant::now()).map(|at| at.elapsed());
        flash.longest_unfed = flash.longest_unfed.max(unfed);
    }

    fn show(&mut self, _: Status, _: bool) {}

    fn firmware_slot(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

impl<const IS_NEW: bool> FirmwareSlot for Half<IS_NEW> {
    fn octets(&self) -> u32 {
        SLOT
    }

    fn erased_at_once(&self) -> u32 {
        SECTOR
    }

    fn erase(&mut self, offset: u32) -> Result<(), SlotFault> {
        assert!(offset.is_multiple_of(SECTOR));
        let mut flash = self.flash.borrow_mut();
        flash.operate()?;
        flash.erased += 1;
        flash.at(offset, SECTOR as usize).fill(ERASED);
        Ok(())
    }

    fn write(&mut self, offset: u32, octets: &[u8]) -> Result<(), SlotFault> {
        assert!(offset.is_multiple_of(16) && octets.len().is_multiple_of(16));
        let mut flash = self.flash.borrow_mut();
        flash.operate()?;
        let here = flash.at(offset, octets.len());
        assert!(here.iter().all(|octet| *octet == ERASED), "it is written once");
        here.copy_from_slice(octets);
        Ok(())
    }

    fn read(&mut self, offset: u32, octets: &mut [u8]) -> Result<(), SlotFault> {
        let mut flash = self.flash.borrow_mut();
        flash.operate()?;
        octets.copy_from_slice(flash.at(offset, octets.len()));
        Ok(())
    }

    fn start_at_reset(&mut self) -> Result<(), SlotFault> {
        let mut flash = self.flash.borrow_mut();
        flash.operate()?;
        flash.is_started_at_reset = true;
        Ok(())
    }

    fn is_on_trial(&mut self) -> bool {
        self.flash.borrow().is_on_trial
    }

    fn confirm(&mut self) -> Result<(), SlotFault> {
        let mut flash = self.flash.borrow_mut();
        if flash.confirms_nothing {
            return Err(SlotFault);
        }
        flash.is_on_trial = false;
        flash.confirmed += 1;
        Ok(())
    }
}

/// A firmware with this label.
fn firmware(label: Label) -> Vec<u8> {
    let mut octets: Vec<u8> = (0..FIRMWARE).map(|at| (at * 31 + at / 255) as u8).collect();
    let names = [label.board(), label.version()].map(|name| {
        let mut octets = name.as_bytes().to_vec();
        octets.resize(24, 0);
        octets
    });
    let stamp = [b"POSTERN firmware".to_vec(), names.concat()].concat();
    assert_eq!(stamp.len(), size_of::<Stamp>());
    octets[5_000..][..stamp.len()].copy_from_slice(&stamp);
    assert_eq!(Label::find(&octets), Some(label));
    octets
}

/// A card with room for images.
fn card(settings: &Settings<'_>) -> SimCard {
    let mut card = SimCard::new(CARD_OCTETS / BLOCK as u32);
    let layout = Layout { image_blocks: 128, ..Layout::for_card(card_blocks(&card)) };
    let joe = [b"joe@client.example".as_slice()].into_iter();
    block_on(format_as(&mut card, layout, settings, joe, [7; 32], CREATED)).expect("a new card");
    card
}

fn card_blocks(card: &SimCard) -> u32 {
    postern_card::Card::blocks(card)
}

/// Puts firmware on a card, as `postern card update` does. Returns its first block.
fn put(card: &SimCard, label: Label) -> u32 {
    let Ok((mut store, _)) = block_on(Store::mount(card.clone())) else { panic!("a sound card") };
    let before = card.writes();
    block_on(store.put_image(label, &firmware(label))).expect("there is room");
    let written = |(block, writes): (u32, u32)| {
        let is_new = before.get(&block).copied().unwrap_or(0) < writes;
        is_new.then_some(block)
    };
    let first = card.writes().into_iter().filter_map(written).min().expect("it was written");
    first + 8
}

fn tries(card: &SimCard) -> u8 {
    let Ok((mut store, _)) = block_on(Store::mount(card.clone())) else { panic!("a sound card") };
    let image = block_on(store.image()).expect("it works").expect("one is there");
    block_on(store.image_tries(&image)).expect("it works")
}

/// A world with this card, and a flash.
struct Bench {
    world: World,
    flash: Rc<RefCell<Flash>>,
}

impl Bench {
    fn new(card: SimCard) -> Self {
        Self { world: World::new(card, 5), flash: Rc::default() }
    }

    /// Starts the old firmware; returns why it ended, or none when it works.
    async fn start_old(&self) -> Option<Ended> {
        self.start_old_for(Duration::from_secs(5)).await
    }

    async fn start_old_for(&self, patience: Duration) -> Option<Ended> {
        self.flash.borrow_mut().is_on_trial = false;
        self.world.switch_on_board(Half::<false>::new(&self.flash));
        self.outcome(patience).await
    }

    /// Starts the new firmware on trial, and waits for `patience`.
    async fn start_new(&self, patience: Duration) -> Option<Ended> {
        assert!(self.flash.take_start());
        self.flash.borrow_mut().is_on_trial = true;
        self.world.switch_on_board(Half::<true>::new(&self.flash));
        self.outcome(patience).await
    }

    async fn outcome(&self, patience: Duration) -> Option<Ended> {
        with_timeout(patience, self.world.ended()).await.ok()
    }
}

trait TakeStart {
    fn take_start(&self) -> bool;
}

impl TakeStart for RefCell<Flash> {
    fn take_start(&self) -> bool {
        std::mem::take(&mut self.borrow_mut().is_started_at_reset)
    }
}

#[test]
fn new_firmware_is_tried_and_confirmed_and_stays() {
    let card = card(&settings());
    put(&card, NEW);
    let bench = Bench::new(card.copy());
    bench.world.run(async {
        assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
        let mut wanted = firmware(NEW);
        wanted.resize(wanted.len().next_multiple_of(16), ERASED);
        assert_eq!(bench.flash.borrow().other[..wanted.len()], wanted);
        assert_eq!(tries(&bench.world.card), 1);
        assert_eq!(bench.start_new(Duration::from_secs(5)).await, None);
        assert_eq!(bench.flash.borrow().confirmed, 1);
        assert_eq!(tries(&bench.world.card), 0);
        Talk::greeted(&bench.world).await;
        // It is the running one now.
        bench.world.switch_on_board(Half::<true>::new(&bench.flash));
        assert_eq!(bench.outcome(Duration::from_secs(5)).await, None);
        assert!(!bench.flash.take_start());
        assert_eq!(bench.flash.borrow().confirmed, 1);
    });
}

#[test]
fn firmware_that_does_not_start_is_left_alone_after_three_tries() {
    let card = card(&settings());
    put(&card, NEW);
    let bench = Bench::new(card.copy());
    bench.world.run(async {
        for number in 1..=3 {
            assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
            assert!(bench.flash.take_start());
            assert_eq!(tries(&bench.world.card), number);
        }
        // It was written once, and is still there.
        assert_eq!(bench.flash.borrow().erased, (FIRMWARE as u32).div_ceil(SECTOR));
        assert_eq!(bench.start_old().await, None);
        assert!(!bench.flash.take_start());
        Talk::greeted(&bench.world).await;
    });
    // Another one is tried.
    put(&bench.world.card, Label::new("some-board", "1.2"));
    bench.world.run(async { assert_eq!(bench.start_old().await, Some(Ended::NewFirmware)) });
}

#[test]
fn firmware_that_does_not_reach_the_network_gives_up() {
    let card = card(&Settings { address: Address::Dhcp, ..settings() });
    put(&card, NEW);
    let bench = Bench::new(card.copy());
    bench.world.run(async {
        // There is no DHCP server.
        assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
        let started = Instant::now();
        let ended = bench.start_new(Duration::from_secs(3_600)).await;
        assert_eq!(ended, Some(Ended::TrialFailed));
        assert!(started.elapsed() < Duration::from_secs(602), "{}", started.elapsed());
        assert_eq!((bench.flash.borrow().confirmed, tries(&bench.world.card)), (0, 1));
        // A server that comes late is waited for.
        assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
        let late = async {
            Timer::after_secs(300).await;
            lease(&bench.world);
        };
        let trial = bench.start_new(Duration::from_secs(3_600));
        assert_eq!(embassy_futures::join::join(trial, late).await.0, None);
        assert_eq!((bench.flash.borrow().confirmed, tries(&bench.world.card)), (1, 0));
    });
}

/// Without a card it serves nobody; and the one before may be able to use it.
#[test]
fn firmware_that_cannot_use_the_card_gives_up() {
    type Break = fn(&World);
    let (failed, useless) = (Ended::TrialFailed, Ended::CardUseless);
    let breaks: [(&str, Break, Ended, u64); 3] = [
        ("it finds none", |world| world.card.pull_out(true), failed, 600),
        ("it hangs", |world| world.hangs.set(true), useless, 330),
        ("it is too slow to be mounted", |world| world.slow_us.set(20_000_000), failed, 600),
    ];
    for (name, breaks, wanted, seconds) in breaks {
        let card = card(&settings());
        put(&card, NEW);
        let bench = Bench::new(card.copy());
        bench.world.run(async {
            assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
            breaks(&bench.world);
            let started = Instant::now();
            let ended = bench.start_new(Duration::from_secs(3_600)).await;
            assert_eq!(ended, Some(wanted), "{name}");
            let took = started.elapsed().as_secs();
            assert!((seconds..seconds + 2).contains(&took), "{name}: {took} s");
            assert_eq!((bench.flash.borrow().confirmed, tries(&card_of(&bench))), (0, 1), "{name}");
        });
    }
}

/// A card that works, as it was left.
fn card_of(bench: &Bench) -> SimCard {
    bench.world.card.pull_out(false);
    bench.world.card.copy()
}

/// Its tries are forgotten only behind that: else it would be tried for ever.
#[test]
fn firmware_that_cannot_be_confirmed_gives_up() {
    let card = card(&settings());
    put(&card, NEW);
    let bench = Bench::new(card.copy());
    bench.flash.borrow_mut().confirms_nothing = true;
    bench.world.run(async {
        for number in 1..=3 {
            assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
            let ended = bench.start_new(Duration::from_secs(3_600)).await;
            assert_eq!(ended, Some(Ended::TrialFailed));
            assert_eq!(tries(&bench.world.card), number);
        }
        assert_eq!(bench.start_old().await, None);
    });
}

#[test]
fn firmware_that_is_not_for_this_device_is_left_alone() {
    let unfit: [(&str, Label, Option<usize>); 4] = [
        ("the running one", OLD, None),
        ("another board's", Label::new("other-board", "1.1"), None),
        ("one with a damaged first block", NEW, Some(0)),
        ("one with a damaged last block", NEW, Some(FIRMWARE / IMAGE_PIECE)),
    ];
    for (name, label, damaged) in unfit {
        let card = card(&settings());
        let first = put(&card, label);
        if let Some(block) = damaged {
            card.rot(first + block as u32, 999);
        }
        let bench = Bench::new(card);
        bench.world.run(async {
            assert_eq!(bench.start_old().await, None, "{name}");
            Talk::greeted(&bench.world).await;
        });
        let flash = bench.flash.borrow();
        assert_eq!((flash.operations, flash.erased), (0, 0), "{name}");
    }
}

#[test]
fn flash_that_fails_costs_the_update_only() {
    let card = card(&settings());
    put(&card, NEW);
    let mut failed = 0;
    for operation in 1.. {
        let bench = Bench::new(card.copy());
        bench.flash.borrow_mut().failing = Some(operation);
        let ended = bench.world.run(bench.start_old());
        if ended.is_some() {
            break;
        }
        assert!(!bench.flash.take_start());
        bench.world.run(Talk::greeted(&bench.world));
        failed += 1;
    }
    // Once to see that it is not there, five sectors, each block written and read, the start.
    assert_eq!(failed, 1 + 5 + 2 * FIRMWARE.div_ceil(IMAGE_PIECE) + 1);
}

#[test]
fn a_card_that_fails_meanwhile_starts_nothing_that_was_not_noted() {
    let card = card(&settings());
    put(&card, NEW);
    let bench = Bench::new(card);
    bench.world.run(async {
        // Behind the two writes of the mount, and the post-mortem's.
        bench.world.card.fail(Call::Write, 3, 3);
        assert_eq!(bench.start_old().await, None);
        assert!(!bench.flash.take_start() && !bench.world.card.fail_no_more());
        assert_eq!(bench.start_old().await, Some(Ended::NewFirmware));
    });
}

/// Neither the watchdog nor the mail waits for a card that takes its time.
#[test]
fn a_slow_card_is_waited_for_and_not_for_long() {
    let card = card(&settings());
    put(&card, NEW);
    for (slow_us, wanted) in [(4_000_000, Some(Ended::NewFirmware)), (12_000_000, None)] {
        let bench = Bench::new(card.copy());
        bench.world.slow_us.set(slow_us);
        bench.world.run(async {
            assert_eq!(bench.start_old_for(Duration::from_secs(3_600)).await, wanted);
            if wanted.is_none() {
                assert!(!bench.flash.take_start() && tries(&bench.world.card) == 0);
                Talk::greeted(&bench.world).await;
            }
        });
        let longest = bench.flash.borrow().longest_unfed;
        assert!(longest.is_some_and(|it| it <= Duration::from_secs(2)), "{longest:?}");
    }
}
