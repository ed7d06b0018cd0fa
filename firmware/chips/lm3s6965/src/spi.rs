//! SSI 0, with the card's chip select on bit 0 of port D.

use core::convert::Infallible;

use postern_sd::{Bus, Speed};

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

/// The bus of the board's card.
pub struct Spi(());

impl Spi {
    /// Starts it.
    pub fn start() -> Self {
        A_AFSEL.set(PINS);
        A_DEN.set(PINS);
        D_DIR.set(1);
        D_DEN.set(1);
        CR1.write(0);
        CR0.write(SPI_8_BITS);
        CPSR.write(2);
        CR1.write(ON);
        Self(())
    }
}

impl Bus for Spi {
    type Error = Infallible;

    fn set_speed(&mut self, speed: Speed) {
        // Divides 50 MHz.
        CPSR.write(match speed {
            Speed::Slow => 126,
            Speed::Fast => 2,
        });
    }

    /// In QEMU the display hears what is said while the card is not selected.
    fn select(&mut self, selected: bool) {
        D_DATA_0.write(u32::from(!selected));
    }

    async fn exchange(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
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

    async fn send(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        for octets in octets.chunks(FIFO) {
            for octet in octets {
                DR.write(u32::from(*octet));
            }
            for _ in octets {
                received();
            }
        }
        Ok(())
    }
}

/// Waits for what came in with an octet that was sent.
fn received() -> u8 {
    while SR.read() & RECEIVED == 0 {}
    let [octet, ..] = DR.read().to_le_bytes();
    octet
}
