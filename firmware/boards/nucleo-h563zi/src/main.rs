//! Postern on ST's NUCLEO-H563ZI, which has a controller and a PHY for Ethernet.
//!
//! What is `unsafe` is in `reset.rs`.
#![no_std]
#![no_main]

mod address;
mod card;
mod clock;
mod phy;
mod random;
mod reset;

use cortex_m_common::OneCore;
use embassy_executor::Spawner;
use embassy_stm32::eth::{self, PacketQueue, Sma};
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::peripherals::{ETH, GPDMA1_CH0, GPDMA1_CH1, RNG};
use embassy_stm32::rng;
use embassy_stm32::spi::Spi;
use embassy_stm32::{bind_interrupts, dma};
use postern_boards::{Chip as _, Stage, enter, restart};
use postern_device::reset::LastReset;
use postern_device::{Board, Label, LargeMemory, NoSlot, Runner, Status};
use static_cell::{ConstStaticCell, StaticCell};

use phy::Phy;
use random::random;
use reset::Stm32H5;

#[cfg(feature = "defmt")]
defmt::timestamp!("{=u64:ms}", embassy_time::Instant::now().as_millis());

/// Frames that wait in each direction.
const FRAMES: usize = 4;

static FRAMES_WAITING: ConstStaticCell<PacketQueue<FRAMES, FRAMES>> =
    ConstStaticCell::new(PacketQueue::new());
static MEMORY: ConstStaticCell<OneCore<LargeMemory>> =
    ConstStaticCell::new(OneCore(LargeMemory::new()));

bind_interrupts!(struct Interrupts {
    ETH => eth::InterruptHandler;
    GPDMA1_CHANNEL0 => dma::InterruptHandler<GPDMA1_CH0>;
    GPDMA1_CHANNEL1 => dma::InterruptHandler<GPDMA1_CH1>;
    RNG => rng::InterruptHandler<RNG>;
});

type Ethernet = eth::Ethernet<'static, ETH, Phy>;

/// What the application wants of this board.
struct Nucleo {
    random: [u8; 32],
    led: Output<'static>,
    last_reset: LastReset,
}

impl Board for Nucleo {
    const LABEL: Label = Label::new("nucleo-h563zi", env!("CARGO_PKG_VERSION"));
    const RAM: usize = 640 * 1024;

    type Slot = NoSlot;

    fn random(&mut self) -> [u8; 32] {
        self.random
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {
        Stm32H5::feed_watchdog();
    }

    #[cfg(feature = "defmt")]
    fn log(&self) -> Option<&'static postern_device::LogBuffer> {
        Some(&postern_log::LOG)
    }

    fn show(&mut self, _: Status, lit: bool) {
        self.led.set_level(lit.into());
    }
}

#[embassy_executor::task]
async fn network(runner: &'static mut Runner<'static, Ethernet>) -> ! {
    runner.run().await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) -> ! {
    #[cfg(feature = "defmt")]
    postern_log::start();
    let p = embassy_stm32::init(clock::config());
    // Before anything takes its time: a card that is selected hears noise.
    let select = Output::new(p.PD14, Level::High, Speed::Medium);
    // Before all that waits for its hardware without end.
    let start = Stm32H5::start(p.IWDG);
    let mut board = Nucleo {
        random: random(start, p.RNG, Interrupts).await,
        led: Output::new(p.PB0, Level::High, Speed::Low),
        last_reset: start.last_reset,
    };

    enter::<Stm32H5>(Stage::Network);
    let ethernet = Ethernet::new_with_phy(
        FRAMES_WAITING.take(),
        p.ETH,
        Interrupts,
        p.PA1,
        p.PA7,
        p.PC4,
        p.PC5,
        p.PG13,
        p.PB15,
        p.PG11,
        address::hardware(),
        phy::new(Sma::new(p.ETH_SMA, p.PA2, p.PC1)),
    );
    enter::<Stm32H5>(Stage::Application);

    let bus =
        Spi::new(p.SPI1, p.PA5, p.PB5, p.PG9, p.GPDMA1_CH0, p.GPDMA1_CH1, Interrupts, card::slow());
    let card = card::new(bus, select);
    let start = |runner| {
        static RUNNER: StaticCell<Runner<'static, Ethernet>> = StaticCell::new();
        spawner.spawn(network(RUNNER.init(runner)).expect("it is spawned once"));
    };
    let _ended = postern_device::run(ethernet, card, &mut board, &mut MEMORY.take().0, start).await;
    #[cfg(feature = "defmt")]
    defmt::warn!("restart: {}", _ended);
    restart::<Stm32H5>()
}
