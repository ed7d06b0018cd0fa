//! The chip's registers: the only place that reaches memory by its address.
#![allow(unsafe_code)]

/// A register.
#[derive(Clone, Copy)]
pub struct Register(usize);

impl Register {
    /// Reads it.
    pub fn read(self) -> u32 {
        // SAFETY: every `Register` is a constant of this file, an aligned word that the chip's
        // manual names and that no Rust object lies on.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: u32) {
        // SAFETY: as above; and no peripheral of this chip writes to memory by itself.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    /// Sets some of its bits.
    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }
}

/// System control (manual, §6).
pub mod system {
    use super::Register;

    pub const RIS: Register = Register(0x400F_E050);
    pub const RESC: Register = Register(0x400F_E05C);
    pub const RCC: Register = Register(0x400F_E060);
    pub const RCGC0: Register = Register(0x400F_E100);
    pub const RCGC1: Register = Register(0x400F_E104);
    pub const RCGC2: Register = Register(0x400F_E108);

    /// RIS: the PLL runs evenly.
    pub const PLL_LOCKED: u32 = 1 << 6;
    /// RCC: the crystal of 8 MHz, and the main oscillator that it drives.
    pub const OSCILLATOR: u32 = 0xE << 6;
    /// RCC: the clock is the oscillator's, not the PLL's.
    pub const BYPASS: u32 = 1 << 11;
    /// RCC: the PLL has no power.
    pub const PLL_OFF: u32 = 1 << 13;
    /// RCC: a quarter of the PLL's 200 MHz.
    pub const DIVIDED_BY_4: u32 = 1 << 22 | 3 << 23;

    /// RCGC0: the watchdog's clock.
    pub const WATCHDOG: u32 = 1 << 3;
    /// RCGC1: the clock of SSI 0.
    pub const SSI0: u32 = 1 << 4;
    /// RCGC2: the clocks of ports A and D, of the Ethernet controller and of its PHY.
    pub const PORT_A: u32 = 1;
    pub const PORT_D: u32 = 1 << 3;
    pub const ETHERNET: u32 = 1 << 28;
    pub const PHY: u32 = 1 << 30;
}

/// The watchdog (manual, §11).
pub mod watchdog {
    use super::Register;

    pub const LOAD: Register = Register(0x4000_0000);
    pub const CTL: Register = Register(0x4000_0008);
    pub const ICR: Register = Register(0x4000_000C);
}

/// Ports A and D (manual, §9).
pub mod gpio {
    use super::Register;

    pub const A_AFSEL: Register = Register(0x4000_4420);
    pub const A_DEN: Register = Register(0x4000_451C);
    /// Bit 0 of port D, and none else.
    pub const D_DATA_0: Register = Register(0x4000_7004);
    pub const D_DIR: Register = Register(0x4000_7400);
    pub const D_DEN: Register = Register(0x4000_751C);
}

/// The synchronous serial interface (manual, §14).
pub mod ssi {
    use super::Register;

    pub const CR0: Register = Register(0x4000_8000);
    pub const CR1: Register = Register(0x4000_8004);
    pub const DR: Register = Register(0x4000_8008);
    pub const SR: Register = Register(0x4000_800C);
    pub const CPSR: Register = Register(0x4000_8010);
}

/// The Ethernet controller (manual, §16).
pub mod ethernet {
    use super::Register;

    /// RIS when it is read, IACK when it is written.
    pub const RIS: Register = Register(0x4004_8000);
    pub const IM: Register = Register(0x4004_8004);
    pub const RCTL: Register = Register(0x4004_8008);
    pub const TCTL: Register = Register(0x4004_800C);
    pub const DATA: Register = Register(0x4004_8010);
    pub const IA0: Register = Register(0x4004_8014);
    pub const IA1: Register = Register(0x4004_8018);
    pub const THR: Register = Register(0x4004_801C);
    pub const NP: Register = Register(0x4004_8034);
    pub const TR: Register = Register(0x4004_8038);
}
