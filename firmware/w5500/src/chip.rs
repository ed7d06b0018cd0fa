//! What is done with the chip: it is started, receives, sends, and is asked how it is.

use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer};
use embedded_hal_async::spi::SpiDevice;

use crate::bus::{Bus, Result};
use crate::fault::Fault;
use crate::registers::{
    ALL_KIB, BUFFER, COMMAND, Command, HARDWARE_ADDRESS, INTERRUPT_MASK, INTERRUPTS,
    MACRAW_FILTERED, MODE, MODE_RESET, NEXT, OF_SOCKET_0, PHY, PHY_LINK, Place, RECEIVED, SEND_END,
    SENT, SOCKET_INTERRUPTS, SOCKET_MODE, SOCKETS, STATUS, STATUS_MACRAW, VERSION, VERSION_W5500,
    WAITING_AND_NEXT, buffer_sizes,
};

/// Octets of the longest frame, without its checksum.
pub const FRAME_MAX: usize = 1514;
/// Octets of an Ethernet header.
const HEADER: u16 = 14;
/// The same of the longest that the chip may let through: with a tag of 802.1Q, and a second one.
const TAGGED_MAX: u16 = FRAME_MAX as u16 + 2 * 4;
/// Octets of the shortest frame on the wire, without its checksum.
const FRAME_MIN: usize = 60;
/// Octets of the length in front of a received frame, which it includes.
const LENGTH: u16 = 2;
/// How often a length is read that can't be true: the wires may have changed a bit.
const LENGTH_READINGS: u8 = 3;

/// How long the chip takes after a reset until it answers (§5.5.1: 1 ms), with much to spare.
const START_TRIES: u8 = 20;
const START_PAUSE: Duration = Duration::from_millis(10);
/// How long it may take to obey a command: some microseconds.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(20);
/// How long it may take to send a frame: at 10 Mbit/s and with all 16 collisions some 60 ms.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// The chip.
pub(crate) struct Chip<S> {
    bus: Bus<S>,
    hardware_address: [u8; 6],
    /// Where the next received frame begins.
    next: u16,
    /// Where the next frame to be sent begins.
    send_end: u16,
    /// The last one is not known to have gone.
    is_sending: bool,
}

/// What was found where received frames wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A frame longer than ours are; it was passed over.
    TooLong,
    /// A frame of so many octets.
    Frame(usize),
}

impl<S: SpiDevice> Chip<S> {
    pub(crate) fn new(spi: S, hardware_address: [u8; 6]) -> Self {
        Self { bus: Bus(spi), hardware_address, next: 0, send_end: 0, is_sending: false }
    }

    /// Gives the chip its settings, once its reset line was let go.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.bus.release().await?;
        self.find().await?;
        // Where the reset line is not connected, this is the only reset.
        self.bus.write(MODE, &[MODE_RESET]).await?;
        self.wait_for(MODE, COMMAND_TIMEOUT, |mode| mode & MODE_RESET == 0).await?;
        // All buffers together may not be larger than what there is (§4.2), so that the others'
        // come first.
        for socket in (0..SOCKETS).rev() {
            let kib = if socket == 0 { ALL_KIB } else { 0 };
            self.bus.write(buffer_sizes(socket), &[kib; 2]).await?;
        }
        self.bus.write(HARDWARE_ADDRESS, &self.hardware_address).await?;
        self.bus.write(SOCKET_INTERRUPTS, &[OF_SOCKET_0]).await?;
        self.bus.write(INTERRUPT_MASK, &[RECEIVED]).await?;
        self.bus.write(SOCKET_MODE, &[MACRAW_FILTERED]).await?;
        self.open().await?;
        self.check().await
    }

    /// Waits until the chip answers.
    async fn find(&mut self) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.bus.settled(VERSION).await? {
                [VERSION_W5500] => return Ok(()),
                [version] if tries == START_TRIES => return Err(Fault::NotFound(version)),
                _ => tries += 1,
            }
            Timer::after(START_PAUSE).await;
        }
    }

    async fn open(&mut self) -> Result<()> {
        self.command(Command::Open).await?;
        if self.bus.settled(STATUS).await? != [STATUS_MACRAW] {
            return Err(Fault::SettingsLost);
        }
        let [_, _, high, low] = self.bus.settled(WAITING_AND_NEXT).await?;
        self.next = u16::from_be_bytes([high, low]);
        self.send_end = u16::from_be_bytes(self.bus.settled(SEND_END).await?);
        self.is_sending = false;
        Ok(())
    }

    /// Begins with empty buffers. The link stays up.
    pub(crate) async fn reopen(&mut self) -> Result<()> {
        self.command(Command::Close).await?;
        self.bus.write(INTERRUPTS, &[RECEIVED | SENT]).await?;
        self.open().await
    }

    /// Reads the next frame into `frame`, which holds [`FRAME_MAX`] octets.
    pub(crate) async fn receive(&mut self, frame: &mut [u8]) -> Result<Found> {
        // Before the look at what waits: a frame that comes behind it raises the line again.
        self.bus.write(INTERRUPTS, &[RECEIVED]).await?;
        let waiting = self.waiting().await?;
        if waiting == 0 {
            return Ok(Found::Nothing);
        }
        let length = self.length(waiting).await?;
        let octets = usize::from(length);
        let mut found = Found::TooLong;
        if let Some(frame) = frame.get_mut(..octets) {
            let place = Place::received(self.next.wrapping_add(LENGTH));
            self.bus.read(place, frame).await?;
            found = Found::Frame(octets);
        }
        self.next = self.next.wrapping_add(LENGTH + length);
        self.bus.write(NEXT, &self.next.to_be_bytes()).await?;
        self.command(Command::Receive).await?;
        Ok(found)
    }

    /// How many octets wait: the lengths, and the frames behind them.
    async fn waiting(&mut self) -> Result<u16> {
        let [next_high, next_low] = self.next.to_be_bytes();
        // The number may change between its octets. If there is something now, the line says so;
        // and most looks end here.
        if self.bus.octets(WAITING_AND_NEXT).await? == [0, 0, next_high, next_low] {
            return Ok(0);
        }
        let [high, low, next @ ..]: [u8; 4] = self.bus.settled(WAITING_AND_NEXT).await?;
        let waiting = u16::from_be_bytes([high, low]);
        // Else the chip counts from where it was not told to.
        let is_in_step = next == [next_high, next_low] && waiting <= BUFFER;
        if is_in_step { Ok(waiting) } else { Err(Fault::Desynchronised) }
    }

    /// How many octets the next frame has.
    async fn length(&mut self, waiting: u16) -> Result<u16> {
        for _ in 0..LENGTH_READINGS {
            let length = u16::from_be_bytes(self.bus.octets(Place::received(self.next)).await?);
            if (LENGTH + HEADER..=(LENGTH + TAGGED_MAX).min(waiting)).contains(&length) {
                return Ok(length - LENGTH);
            }
        }
        Err(Fault::Desynchronised)
    }

    /// Sends a frame: it is on its way then, and the one before has gone.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<()> {
        let padding = [0; FRAME_MIN];
        let padding = &padding[frame.len().min(FRAME_MIN)..];
        self.bus.write_both(Place::sent(self.send_end), frame, padding).await?;
        // A second one behind it would become a part of it.
        self.sent().await?;
        let octets = (frame.len() + padding.len()) as u16;
        self.send_end = self.send_end.wrapping_add(octets);
        self.bus.write(SEND_END, &self.send_end.to_be_bytes()).await?;
        self.command(Command::Send).await?;
        self.is_sending = true;
        Ok(())
    }

    /// Waits until all has gone.
    pub(crate) async fn sent(&mut self) -> Result<()> {
        if !self.is_sending {
            return Ok(());
        }
        self.wait_for(INTERRUPTS, SEND_TIMEOUT, |interrupts| interrupts & SENT != 0).await?;
        self.bus.write(INTERRUPTS, &[SENT]).await?;
        self.is_sending = false;
        // If it arrived as another number, another frame has gone.
        let send_end = u16::from_be_bytes(self.bus.settled(SEND_END).await?);
        if send_end == self.send_end { Ok(()) } else { Err(Fault::Desynchronised) }
    }

    /// Finds out whether the chip is as it was started.
    pub(crate) async fn check(&mut self) -> Result<()> {
        let address = self.hardware_address;
        let is_as_started = self.bus.settled(VERSION).await? == [VERSION_W5500]
            && self.bus.settled(SOCKET_MODE).await? == [MACRAW_FILTERED]
            && self.bus.settled(STATUS).await? == [STATUS_MACRAW]
            && self.bus.settled(buffer_sizes(0)).await? == [ALL_KIB; 2]
            && self.bus.settled(INTERRUPT_MASK).await? == [RECEIVED]
            && self.bus.settled(SOCKET_INTERRUPTS).await? == [OF_SOCKET_0]
            && self.bus.settled(HARDWARE_ADDRESS).await? == address;
        if is_as_started { Ok(()) } else { Err(Fault::SettingsLost) }
    }

    /// Whether there is a cable, with something at its other end.
    pub(crate) async fn is_link_up(&mut self) -> Result<bool> {
        let [phy] = self.bus.settled(PHY).await?;
        Ok(phy & PHY_LINK != 0)
    }

    async fn command(&mut self, command: Command) -> Result<()> {
        self.bus.write(COMMAND, &[command as u8]).await?;
        self.wait_for(COMMAND, COMMAND_TIMEOUT, |command| command == 0).await
    }

    /// Waits until the octet at `place` is what it is to be.
    async fn wait_for(
        &mut self,
        place: Place,
        limit: Duration,
        is_done: impl Fn(u8) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            let [octet] = self.bus.octets(place).await?;
            if is_done(octet) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Fault::TimedOut);
            }
            yield_now().await;
        }
    }
}
