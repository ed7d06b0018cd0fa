//! A device at work: its card, and QEMU with what of its stack was used.

use std::path::Path;

use postern_tests::card::CardImage;
use postern_tests::network::Client;
use postern_tests::qemu::{Device, firmware};

/// Octets of the stack (memory.x), and of it those that must never be used.
pub const STACK: usize = 14 << 10;
const SPARE: usize = 4 << 10;

/// Octets of a card that has room for what a test sends.
pub const CARD: u64 = 64 << 20;

/// A device with its card.
pub struct Rig {
    /// The device.
    pub device: Device,
    /// Its card.
    pub card: CardImage,
}

impl Rig {
    /// Starts a device with a card of [`CARD`] octets that says `configuration`.
    pub fn start(configuration: &str) -> Self {
        Self::with_card(CardImage::make(configuration, CARD))
    }

    /// Starts a device with this card.
    pub fn with_card(card: CardImage) -> Self {
        Self::with(&firmware(), card, &[])
    }

    /// Starts a device with this image and this card, and QEMU with these options.
    pub fn with(image: &Path, card: CardImage, options: &[&str]) -> Self {
        let device = Device::start(image, &card.path(), options);
        Self { device, card }
    }

    /// A client whose connection the device has taken; the greeting is still to be read.
    pub fn client(&self) -> Client {
        Client::new(self.device.connect(), None).expect("the connection was just made")
    }

    /// A client that the device refuses; its reply is still to be read.
    pub fn client_in_vain(&self) -> Client {
        Client::new(self.device.connect_in_vain(), None).expect("the connection was just made")
    }

    /// Cuts the power, whatever the device is doing.
    pub fn cut_power(self) -> CardImage {
        drop(self.device);
        self.card
    }

    /// Looks at the stack, and then cuts the power.
    pub fn end(mut self) -> CardImage {
        let spare = self.device.stack_to_spare(STACK);
        println!("{spare} of {STACK} octets of the stack were never used");
        let log = self.device.log().join("\n");
        assert!(spare >= SPARE, "{spare} octets of the stack to spare\n{log}");
        assert!(!log.contains("panic"), "{log}");
        self.cut_power()
    }
}

/// Whether there is time for the full counts.
pub fn long() -> bool {
    std::env::var_os("POSTERN_LONG").is_some()
}
