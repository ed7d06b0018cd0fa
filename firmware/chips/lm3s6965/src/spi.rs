//! SSI 0, with the card's chip select on bit 0 of port D.

use core::convert::Infallible;

use embassy_embedded_hal::SetConfig;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, SpiBus};

use crate::registers::gpio::{A_AFSEL, A_DEN, D_DATA_0, D_DEN, D_DIR};
use crate::registers::ssi::{CPSR, CR0, CR1, DR, SR};

/// Frames that its FIFOs hold.
const FIFO: usize = 8;
/// CR0: SPI, mode 0, 8 bits a frame.
const SPI_8_BITS: u32 = 7;
/// CR1: on.
const ON: u32 = 1 << 1;
/// SR: something has come.
const RECEIVED: u32 = 1 << 2;
/// The clock, transmit and receive pins of port A.
const PINS: u32 = 1 << 2 | 1 << 4 | 1 << 5;
/// 197 kHz.
const SLOWEST: Divisor = Divisor(254);

/// The controller.
pub struct Spi(());

/// What the chip's 50 MHz are divided by: an even number, 2 to 254.
pub struct Divisor(pub u8);

/// The card's chip select.
pub struct Select(());

impl Spi {
    /// Starts it, with the slowest clock.
    pub fn start() -> Self {
        A_AFSEL.set(PINS);
        A_DEN.set(PINS);
        CR1.write(0);
        CR0.write(SPI_8_BITS);
        CPSR.write(u32::from(SLOWEST.0));
        CR1.write(ON);
        Self(())
    }
}

impl Select {
    /// Drives it, high at first: nothing is driven before the pin is enabled, and QEMU keeps what
    /// is written only of a pin that is an output by then.
    pub fn start() -> Self {
        D_DIR.set(1);
        D_DATA_0.write(1);
        D_DEN.set(1);
        Self(())
    }
}

impl SetConfig for Spi {
    type Config = Divisor;
    type ConfigError = Infallible;

    fn set_config(&mut self, divisor: &Divisor) -> Result<(), Infallible> {
        CPSR.write(u32::from(divisor.0));
        Ok(())
    }
}

impl spi::ErrorType for Spi {
    type Error = Infallible;
}

impl SpiBus for Spi {
    fn read(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        octets.fill(0xFF);
        self.transfer_in_place(octets)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        self.transfer(&mut [], octets)
    }

    fn transfer(&mut self, received: &mut [u8], sent: &[u8]) -> Result<(), Infallible> {
        for at in 0..received.len().max(sent.len()) {
            DR.write(u32::from(sent.get(at).copied().unwrap_or(0xFF)));
            let octet = self::received();
            if let Some(received) = received.get_mut(at) {
                *received = octet;
            }
        }
        Ok(())
    }

    fn transfer_in_place(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        for octets in octets.chunks_mut(FIFO) {
            for octet in octets.iter() {
                DR.write(u32::from(*octet));
            }
            for octet in octets {
                *octet = received();
            }
        }
        Ok(())
    }

    /// What has come in was sent.
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// By polling: the FIFOs are short, and the clock is fast.
impl embedded_hal_async::spi::SpiBus for Spi {
    async fn read(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        SpiBus::read(self, octets)
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        SpiBus::write(self, octets)
    }

    async fn transfer(&mut self, received: &mut [u8], sent: &[u8]) -> Result<(), Infallible> {
        SpiBus::transfer(self, received, sent)
    }

    async fn transfer_in_place(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        SpiBus::transfer_in_place(self, octets)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        SpiBus::flush(self)
    }
}

impl digital::ErrorType for Select {
    type Error = Infallible;
}

impl OutputPin for Select {
    fn set_low(&mut self) -> Result<(), Infallible> {
        D_DATA_0.write(0);
        Ok(())
    }

    /// In QEMU the display hears what is said from now on.
    fn set_high(&mut self) -> Result<(), Infallible> {
        D_DATA_0.write(1);
        Ok(())
    }
}

/// Waits for what came in with an octet that was sent.
fn received() -> u8 {
    while SR.read() & RECEIVED == 0 {}
    let [octet, ..] = DR.read().to_le_bytes();
    octet
}
