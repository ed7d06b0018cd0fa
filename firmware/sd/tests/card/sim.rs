//! The wires to a simulated card, octet by octet. They are strict: a driver that does what the
//! specification forbids panics, and so does one that relies on what embedded-hal leaves open.

mod card;
mod protocol;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use embassy_embedded_hal::SetConfig;
use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
use embedded_hal::spi::ErrorType;

pub use card::SimCard;
pub use protocol::{Bad, Behaviour, HIGH_CAPACITY, MMC, PAGED, STANDARD, VERSION_1};

use crate::clock;
use protocol::crc7;

/// Clocks a second: the slow clock and the fast one.
pub const SLOW: u32 = 400_000;
pub const FAST: u32 = 25_000_000;
/// What is on a wire that nobody drives.
const HIGH: u8 = 0xFF;

/// Which wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// To the card.
    Mosi,
    /// From it.
    Miso,
}

/// What is wrong with the wires.
#[derive(Default)]
pub struct Noise {
    /// A bit that flips, of those that are exchanged from now on while the card is selected.
    pub flip: Option<(Wire, usize)>,
    /// One octet of so many is changed, on either wire.
    pub one_of: Option<usize>,
    /// Whether that happens with the slow clock too.
    pub even_slow: bool,
    /// How many bits have changed.
    pub changed: usize,
    /// How many octets there were.
    pub octets: usize,
}

impl Noise {
    /// What arrives of an octet that is sent on `wire`.
    fn change(&mut self, wire: Wire, octet: u8, speed: u32) -> u8 {
        let mut mask = 0;
        if let Some((flipped, bit)) = self.flip
            && flipped == wire
        {
            if bit < 8 {
                mask = 0x80 >> bit;
                self.flip = None;
            } else {
                self.flip = Some((wire, bit - 8));
            }
        }
        if let Some(one_of) = self.one_of {
            self.octets += 1;
            if (speed > SLOW || self.even_slow) && self.octets.is_multiple_of(one_of) {
                mask |= 1 << (self.octets / one_of % 8);
            }
        }
        self.changed += usize::from(mask != 0);
        octet ^ mask
    }
}

/// The wires, and the card at their end.
pub struct Wires {
    pub card: SimCard,
    pub noise: Noise,
    pub selected: bool,
    /// Clocks a second.
    pub speed: u32,
    /// The fastest that was ever set.
    pub top_speed: u32,
    /// When another card is put in the place of this one.
    pub replaced_at_ns: Option<u64>,
    /// Octets since the card was last selected or not any more.
    since_edge: usize,
    /// Whether the controller may not have ended what it was given.
    is_sending: bool,
}

impl Wires {
    fn exchange(&mut self, sent: u8) -> u8 {
        clock::pass_ns(8_000_000_000 / u64::from(self.speed));
        self.is_sending = true;
        self.since_edge += 1;
        if self.replaced_at_ns.take_if(|at_ns| *at_ns <= clock::now_ns()).is_some() {
            self.card = SimCard::new(self.card.behaviour);
        }
        if !self.selected {
            self.card.idle_octet(sent, self.speed);
            return HIGH;
        }
        let arrived = self.noise.change(Wire::Mosi, sent, self.speed);
        self.card.is_disturbed |= self.noise.changed > 0;
        let answer = self.card.octet(arrived, self.speed);
        self.noise.change(Wire::Miso, answer, self.speed)
    }

    fn select(&mut self, selected: bool) {
        assert!(!self.is_sending, "the select line changes while the controller is busy");
        if selected && !self.selected {
            assert!(self.since_edge > 0, "no clocks between two selections");
        }
        if selected != self.selected {
            self.since_edge = 0;
            self.card.select(selected);
        }
        self.selected = selected;
    }
}

/// A controller of SPI, and the line that selects the card.
#[derive(Clone)]
pub struct SimSpi(pub Rc<RefCell<Wires>>);

/// The line that selects the card.
pub struct SimSelect(Rc<RefCell<Wires>>);

impl SimSpi {
    pub fn new(behaviour: Behaviour) -> Self {
        Self(Rc::new(RefCell::new(Wires {
            card: SimCard::new(behaviour),
            noise: Noise::default(),
            selected: false,
            speed: FAST,
            top_speed: 0,
            replaced_at_ns: None,
            since_edge: 1,
            is_sending: false,
        })))
    }

    pub fn select(&self) -> SimSelect {
        SimSelect(Rc::clone(&self.0))
    }

    /// What a reset of the board does to the wires: nobody holds the select line low.
    pub fn reset_board(&self) {
        let mut wires = self.0.borrow_mut();
        wires.is_sending = false;
        wires.select(false);
    }

    /// A transfer of a block, which a reset of the board breaks off after so many octets of data.
    pub fn break_off(&self, command: u8, block: u32, octets: usize) {
        let [a, b, c, d] = block.to_be_bytes();
        let frame = [0x40 | command, a, b, c, d];
        let content =
            [vec![0xA5; octets.min(512)], vec![HIGH; octets.saturating_sub(512)]].concat();
        self.0.borrow_mut().select(true);
        self.transfer(&mut [&frame[..], &[crc7(&frame) << 1 | 1, HIGH, HIGH, HIGH]].concat());
        match command {
            17 => self.transfer(&mut vec![HIGH; octets]),
            24 => self.transfer(&mut [vec![0xFE], content].concat()),
            _ => self.transfer(&mut [vec![0xFC], content].concat()),
        }
        // The next driver can't know of it.
        self.0.borrow_mut().card.is_disturbed = true;
        self.reset_board();
    }

    fn transfer(&self, octets: &mut [u8]) {
        let mut wires = self.0.borrow_mut();
        octets.iter_mut().for_each(|octet| *octet = wires.exchange(*octet));
    }

    /// What is sent while a controller only reads is left open: here it is the worst.
    fn read(&self, octets: &mut [u8]) {
        octets.fill(0);
        self.transfer(octets);
    }

    fn exchange(&self, received: &mut [u8], sent: &[u8]) {
        let mut octets = vec![0; received.len().max(sent.len())];
        octets[..sent.len()].copy_from_slice(sent);
        self.transfer(&mut octets);
        received.copy_from_slice(&octets[..received.len()]);
    }
}

impl ErrorType for SimSpi {
    type Error = Infallible;
}

impl embedded_hal::spi::SpiBus for SimSpi {
    fn read(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        SimSpi::read(self, octets);
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        self.exchange(&mut [], octets);
        Ok(())
    }

    fn transfer(&mut self, received: &mut [u8], sent: &[u8]) -> Result<(), Infallible> {
        self.exchange(received, sent);
        Ok(())
    }

    fn transfer_in_place(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        SimSpi::transfer(self, octets);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().is_sending = false;
        Ok(())
    }
}

impl embedded_hal_async::spi::SpiBus for SimSpi {
    async fn read(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        embedded_hal::spi::SpiBus::read(self, octets)
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        embedded_hal::spi::SpiBus::write(self, octets)
    }

    async fn transfer(&mut self, received: &mut [u8], sent: &[u8]) -> Result<(), Infallible> {
        embedded_hal::spi::SpiBus::transfer(self, received, sent)
    }

    async fn transfer_in_place(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        embedded_hal::spi::SpiBus::transfer_in_place(self, octets)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        embedded_hal::spi::SpiBus::flush(self)
    }
}

impl SetConfig for SimSpi {
    /// Clocks a second.
    type Config = u32;
    type ConfigError = Infallible;

    fn set_config(&mut self, speed: &u32) -> Result<(), Infallible> {
        let mut wires = self.0.borrow_mut();
        assert!(!wires.selected, "the clock changes while the card is selected");
        assert!(!wires.is_sending, "the clock changes while the controller is busy");
        wires.speed = *speed;
        wires.top_speed = wires.top_speed.max(*speed);
        Ok(())
    }
}

impl PinErrorType for SimSelect {
    type Error = Infallible;
}

impl OutputPin for SimSelect {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().select(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().select(false);
        Ok(())
    }
}
