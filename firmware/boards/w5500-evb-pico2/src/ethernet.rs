//! The W5500, which moves whole frames: the network stack is ours, not the chip's.

use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{PIN_17, PIN_20, PIN_21, SPI0};
use embassy_rp::spi::{Async, Config, Spi};
use embassy_rp::{Peri, otp};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use postern_w5500::{Device, Runner, State};
use static_cell::ConstStaticCell;

/// The chip is good for 33.3 MHz; 25 MHz is what divides ours below it.
const BUS_HZ: u32 = 33_300_000;

/// Frames that wait in each direction.
const FRAMES: usize = 4;

static FRAMES_WAITING: ConstStaticCell<State<FRAMES, FRAMES>> = ConstStaticCell::new(State::new());

type Bus = Spi<'static, SPI0, Async>;
type Selected = ExclusiveDevice<Bus, Output<'static>, Delay>;

/// The driver.
pub type Ethernet = Device<'static>;

/// What moves frames between the chip and the driver.
pub type Chip = Runner<'static, Selected, Input<'static>, Output<'static>>;

/// How the chip's bus is to be set.
pub fn bus() -> Config {
    let mut config = Config::default();
    config.frequency = BUS_HZ;
    config
}

/// The chip on this bus. It starts when what moves its frames runs.
pub fn new(
    bus: Bus,
    select: Peri<'static, PIN_17>,
    reset: Peri<'static, PIN_20>,
    interrupt: Peri<'static, PIN_21>,
) -> (Ethernet, Chip) {
    let select = Output::new(select, Level::High);
    let Ok(selected) = ExclusiveDevice::new(bus, select, Delay);
    let interrupt = Input::new(interrupt, Pull::Up);
    let reset = Output::new(reset, Level::High);
    postern_w5500::new(address(), FRAMES_WAITING.take(), selected, interrupt, reset)
}

/// The hardware address: locally administered, with 40 bits of the chip's number, which is random.
/// A number that can't be read must not keep the device from working.
fn address() -> [u8; 6] {
    let [a, b, c, d, e, ..] = otp::get_chipid().unwrap_or_default().to_le_bytes();
    [0x02, a, b, c, d, e]
}
