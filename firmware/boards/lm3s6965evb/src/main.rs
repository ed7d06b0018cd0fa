//! Postern on TI's lm3s6965evb, the board that QEMU runs.
#![no_std]
#![no_main]

mod reset;

use core::pin::pin;

use cortex_m_common::OneCore;
use cortex_m_rt::entry;
use embassy_executor::Spawner;
use lm3s6965::ethernet::{Ethernet, Frames};
use lm3s6965::spi::{Divisor, Select, Spi};
use lm3s6965::{chip, clock};
#[cfg(feature = "appletalk")]
use postern_device::SmallAppleTalkMemory as Memory;
#[cfg(not(feature = "appletalk"))]
use postern_device::SmallMemory as Memory;
use postern_device::reset::LastReset;
use postern_device::{Board, Label, NoSlot, Runner, Status};
use postern_sd::{Clocks, SdCard};
use static_cell::ConstStaticCell;

#[cfg(feature = "defmt")]
defmt::timestamp!("{=u64:ms}", embassy_time::Instant::now().as_millis());

/// 397 kHz and 25 MHz.
const CLOCKS: Clocks<Divisor> = Clocks { slow: Divisor(126), fast: Divisor(2) };

static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());
static MEMORY: ConstStaticCell<OneCore<Memory>> = ConstStaticCell::new(OneCore(Memory::new()));

#[entry]
fn main() -> ! {
    chip::start();
    let last_reset = reset::begin();
    reset::watch();
    clock::start(cortex_m::Peripherals::take().expect("they are taken once").SYST);
    #[cfg(feature = "defmt")]
    defmt::info!("reset by {}", last_reset.post_mortem.cause);
    let spawn = |spawner| application(spawner, last_reset).expect("it is spawned once");
    chip::run(|spawner| spawner.spawn(spawn(spawner)))
}

/// What the application wants of this board, which has no source of randomness.
struct Evb {
    last_reset: LastReset,
}

impl Board for Evb {
    const LABEL: Label = Label::new("lm3s6965evb", env!("CARGO_PKG_VERSION"));
    const RAM: usize = 64 * 1024;

    type Slot = NoSlot;

    fn random(&mut self) -> [u8; 32] {
        [0; 32]
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {
        reset::feed();
    }

    #[cfg(feature = "defmt")]
    fn log(&self) -> Option<&'static postern_device::LogBuffer> {
        Some(&postern_log::LOG)
    }

    /// QEMU has no LED: the log says it.
    fn show(&mut self, _: Status, _: bool) {}
}

#[embassy_executor::task]
async fn network(runner: &'static mut Runner<'static, Ethernet>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn application(spawner: Spawner, last_reset: LastReset) {
    let ethernet = Ethernet::start(FRAMES.take());
    let card = SdCard::new(Spi::start(), Select::start(), CLOCKS);
    let start = |runner| {
        static RUNNER: static_cell::StaticCell<Runner<'static, Ethernet>> =
            static_cell::StaticCell::new();
        spawner.spawn(network(RUNNER.init(runner)).expect("it is spawned once"));
    };
    // Awaited at once, it would be on the stack twice before it is where it stays.
    let mut evb = Evb { last_reset };
    let run = pin!(postern_device::run(ethernet, card, &mut evb, &mut MEMORY.take().0, start));
    let _ended = run.await;
    #[cfg(feature = "defmt")]
    defmt::warn!("restart: {}", _ended);
    reset::restart()
}
