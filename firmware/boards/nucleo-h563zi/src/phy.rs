//! The PHY, behind two of its registers (IEEE 802.3, 22.2.4).

use embassy_stm32::eth::{GenericPhy, Sma, StationManagement};
use embassy_stm32::peripherals::ETH_SMA;
use embassy_time::{Duration, Instant};

/// What its driver is.
pub type Phy = GenericPhy<Management>;

const CONTROL: u8 = 0;
/// CONTROL: begin to agree with the other side anew.
const AGREE_ANEW: u16 = 1 << 9;
const STATUS: u8 = 1;
const OFFER: u8 = 4;
/// OFFER: 100BASE-TX, both ways at once, by IEEE 802.3.
const ONLY_100_FULL: u16 = 1 << 8 | 1;
/// How long a status is believed. The stack asks at each of its turns, and a reading takes 30 µs in
/// which nothing else goes on.
const BELIEVED: Duration = Duration::from_millis(100);

/// What leads to the PHY's registers.
pub struct Management {
    registers: Sma<'static, ETH_SMA>,
    status: u16,
    read: Option<Instant>,
}

/// The PHY on these pins.
pub fn new(registers: Sma<'static, ETH_SMA>) -> Phy {
    GenericPhy::new_auto(Management { registers, status: 0, read: None })
}

impl StationManagement for Management {
    fn smi_read(&mut self, phy: u8, register: u8) -> u16 {
        if register != STATUS {
            return self.registers.smi_read(phy, register);
        }
        if self.read.is_none_or(|read| read.elapsed() > BELIEVED) {
            self.status = self.registers.smi_read(phy, STATUS);
            self.read = Some(Instant::now());
        }
        self.status
    }

    /// The controller's driver sets it to 100 Mbit/s, both ways at once, whatever the two PHYs
    /// agree on: so that no other is offered, where it would be a link that is up and silent.
    fn smi_write(&mut self, phy: u8, register: u8, value: u16) {
        if register == CONTROL && value & AGREE_ANEW != 0 {
            self.registers.smi_write(phy, OFFER, ONLY_100_FULL);
        }
        self.registers.smi_write(phy, register, value);
    }
}
