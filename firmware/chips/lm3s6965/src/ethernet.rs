//! The Ethernet controller, as a driver of the network stack's.

use core::iter;
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

use crate::interrupt::{self, Interrupt};
use crate::registers::ethernet::{DATA, IA0, IA1, IM, NP, RCTL, RIS, TCTL, THR, TR};

/// Octets of a frame at most, without its checksum.
const FRAME: usize = 1514;
/// Octets of an Ethernet header.
const HEADER: usize = 14;
/// Octets of the length that stands before a frame in the FIFO, and of the checksum behind it.
const LENGTH: usize = 2;
const CHECKSUM: usize = 4;

/// RIS, IM: a frame has come.
const RECEIVED: u32 = 1;
const ALL: u32 = 0x7F;
/// RCTL: on, with multicast; or empties the FIFO.
const RECEIVE: u32 = 0b11;
const EMPTY: u32 = 1 << 4;
/// TCTL: on, short frames filled up, checksums added, both ways at once.
const SEND: u32 = 0b1_0111;
/// THR: a frame goes when TR says so.
const WHOLE: u32 = 0x3F;

/// Woken by the interrupt.
static WAKER: AtomicWaker = AtomicWaker::new();

/// A buffer for a frame received and one for a frame to be sent.
pub struct Frames {
    received: [u8; LENGTH + FRAME + CHECKSUM],
    sent: [u8; LENGTH + FRAME],
}

impl Frames {
    /// Empty buffers.
    pub const fn new() -> Self {
        Self { received: [0; LENGTH + FRAME + CHECKSUM], sent: [0; LENGTH + FRAME] }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// The driver.
pub struct Ethernet(&'static mut Frames);

impl Ethernet {
    /// Starts the controller.
    pub fn start(frames: &'static mut Frames) -> Self {
        // After a reset there may be frames in the FIFO, the first of them half read. They are read
        // to the end, since those that QEMU keeps behind a full FIFO come only after the last one.
        while NP.read() != 0 {
            DATA.read();
        }
        RCTL.write(EMPTY);
        RIS.write(ALL);
        IM.write(0);
        THR.write(WHOLE);
        TCTL.write(SEND);
        RCTL.write(RECEIVE);
        interrupt::enable(Interrupt::Ethernet);
        Self(frames)
    }

    /// Takes the next frame out of the FIFO, whole whatever its length, and returns what of it is a
    /// frame; none when it is too long, or no frame.
    fn take(&mut self) -> Option<usize> {
        let first = DATA.read();
        let length = (first & 0xFFFF) as usize;
        let rest = (1..length.div_ceil(4)).map(|_| DATA.read());
        let mut words = self.0.received.chunks_exact_mut(4);
        for word in iter::once(first).chain(rest) {
            if let Some(into) = words.next() {
                into.copy_from_slice(&word.to_le_bytes());
            }
        }
        let frame = length.checked_sub(LENGTH + CHECKSUM)?;
        (HEADER..=FRAME).contains(&frame).then_some(frame)
    }
}

/// Wakes the stack, which lets the interrupt through again when it has seen all frames.
pub extern "C" fn interrupt() {
    IM.write(0);
    WAKER.wake();
}

impl Driver for Ethernet {
    type RxToken<'f> = Received<'f>;
    type TxToken<'f> = Sent<'f>;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received<'_>, Sent<'_>)> {
        WAKER.register(context.waker());
        // Before the look at what is there: a frame that comes behind it raises the flag again.
        RIS.write(RECEIVED);
        while NP.read() != 0 {
            if let Some(octets) = self.take() {
                let Frames { received, sent } = &mut *self.0;
                let frame = &mut received[LENGTH..LENGTH + octets];
                return Some((Received(frame), Sent(sent)));
            }
        }
        IM.write(RECEIVED);
        None
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Sent<'_>> {
        Some(Sent(&mut self.0.sent))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    /// The one that the controller has from QEMU, or from the boot loader.
    fn hardware_address(&self) -> HardwareAddress {
        let [a, b, c, d] = IA0.read().to_le_bytes();
        let [e, f, ..] = IA1.read().to_le_bytes();
        HardwareAddress::Ethernet([a, b, c, d, e, f])
    }
}

/// A received frame.
pub struct Received<'f>(&'f mut [u8]);

impl embassy_net_driver::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, use_frame: F) -> R {
        use_frame(self.0)
    }
}

/// The buffer of a frame to be sent.
pub struct Sent<'f>(&'f mut [u8; LENGTH + FRAME]);

impl embassy_net_driver::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, octets: usize, fill: F) -> R {
        let filled = fill(&mut self.0[LENGTH..LENGTH + octets]);
        // The length counts what is behind the header only.
        let length = u16::try_from(octets - HEADER).expect("a frame is at most 1514 octets");
        self.0[..LENGTH].copy_from_slice(&length.to_le_bytes());
        // The one before it is on its way for 0.1 ms at most.
        while TR.read() != 0 {}
        for word in self.0.chunks_exact(4).take((LENGTH + octets).div_ceil(4)) {
            DATA.write(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        TR.write(1);
        filled
    }
}
