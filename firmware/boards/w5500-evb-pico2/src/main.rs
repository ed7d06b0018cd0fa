//! Postern on WIZnet's W5500-EVB-Pico2: an RP2350, with a W5500 for the network.
//!
//! What is `unsafe` is in `reset.rs`.
#![no_std]
#![no_main]

mod card;
mod ethernet;
mod random;
mod reset;

use cortex_m_common::OneCore;
use embassy_executor::Spawner;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, DMA_CH2, DMA_CH3, TRNG};
use embassy_rp::spi::Spi;
use embassy_rp::trng;
use embassy_rp::{bind_interrupts, dma};
use postern_boards::{Chip as _, Stage, enter, restart};
use postern_device::reset::LastReset;
use postern_device::{Board, Label, LargeMemory, NoSlot, Runner, Status};
use static_cell::{ConstStaticCell, StaticCell};

use ethernet::{Chip, Ethernet};
use random::random;
use reset::Rp2350;

#[cfg(feature = "defmt")]
defmt::timestamp!("{=u64:ms}", embassy_time::Instant::now().as_millis());

static MEMORY: ConstStaticCell<OneCore<LargeMemory>> =
    ConstStaticCell::new(OneCore(LargeMemory::new()));

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>,
        dma::InterruptHandler<DMA_CH2>, dma::InterruptHandler<DMA_CH3>;
    TRNG_IRQ => trng::InterruptHandler<TRNG>;
});

/// What the application wants of this board.
struct Pico {
    random: [u8; 32],
    led: Output<'static>,
    last_reset: LastReset,
}

impl Board for Pico {
    const LABEL: Label = Label::new("w5500-evb-pico2", env!("CARGO_PKG_VERSION"));
    const RAM: usize = 520 * 1024;

    type Slot = NoSlot;

    fn random(&mut self) -> [u8; 32] {
        self.random
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {
        Rp2350::feed_watchdog();
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
async fn chip(chip: Chip) -> ! {
    chip.run().await
}

#[embassy_executor::task]
async fn network(runner: &'static mut Runner<'static, Ethernet>) -> ! {
    runner.run().await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) -> ! {
    #[cfg(feature = "defmt")]
    postern_log::start();
    let p = embassy_rp::init(Default::default());
    // Before anything takes its time: a card that is selected hears noise.
    let select = Output::new(p.PIN_13, Level::High);
    let start = Rp2350::start(p.WATCHDOG);
    let mut board = Pico {
        random: random(start, p.TRNG, Interrupts).await,
        led: Output::new(p.PIN_25, Level::High),
        last_reset: start.last_reset,
    };
    enter::<Rp2350>(Stage::Network);

    let bus = Spi::new(
        p.SPI0,
        p.PIN_18,
        p.PIN_19,
        p.PIN_16,
        p.DMA_CH0,
        p.DMA_CH1,
        Interrupts,
        ethernet::bus(),
    );
    let (ethernet, runner) = ethernet::new(bus, p.PIN_17, p.PIN_20, p.PIN_21);
    spawner.spawn(chip(runner).expect("it is spawned once"));
    enter::<Rp2350>(Stage::Application);

    let bus = Spi::new(
        p.SPI1,
        p.PIN_14,
        p.PIN_15,
        p.PIN_12,
        p.DMA_CH2,
        p.DMA_CH3,
        Interrupts,
        Default::default(),
    );
    let card = card::new(bus, select);
    let start = |runner| {
        static RUNNER: StaticCell<Runner<'static, Ethernet>> = StaticCell::new();
        spawner.spawn(network(RUNNER.init(runner)).expect("it is spawned once"));
    };
    let _ended = postern_device::run(ethernet, card, &mut board, &mut MEMORY.take().0, start).await;
    #[cfg(feature = "defmt")]
    defmt::warn!("restart: {}", _ended);
    restart::<Rp2350>()
}
