//! The log over the network: frames of defmt in datagrams, to where the card says. What nobody
//! reads, or what there is no room for, is lost; nothing waits for it.

use core::cell::RefCell;
use core::future::pending;
use core::net::IpAddr;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::Settings;

use crate::budget::LOG;
use crate::log::warning;
use crate::net::{LogOwner, LogSocket, Net};

/// Milliseconds from one datagram to the next, in which lines gather: ten a second at most.
const PAUSE_MS: u64 = 100;
/// Seconds until a receiver that can't be found is looked for again.
const AGAIN_S: u64 = 60;
/// How long its address is believed.
const KNOWN: Duration = Duration::from_secs(600);

/// Frames of a log that wait for the network. A board's logger fills one.
pub struct LogBuffer {
    frames: Mutex<CriticalSectionRawMutex, RefCell<Frames>>,
    came: Signal<CriticalSectionRawMutex, ()>,
}

/// As many whole frames as there is room for, and the beginning of one more.
struct Frames {
    octets: [u8; LOG],
    /// Octets of whole frames.
    whole: usize,
    /// The same with what there is of the next one.
    used: usize,
    /// That one did not fit.
    overflows: bool,
    /// Frames that did not.
    lost: u32,
}

impl Frames {
    const fn new() -> Self {
        Self { octets: [0; LOG], whole: 0, used: 0, overflows: false, lost: 0 }
    }

    fn push(&mut self, octets: &[u8]) {
        match self.octets.get_mut(self.used..).and_then(|free| free.get_mut(..octets.len())) {
            Some(place) if !self.overflows => {
                place.copy_from_slice(octets);
                self.used += octets.len();
            }
            _ => self.overflows = true,
        }
    }

    fn end(&mut self) {
        if self.overflows {
            self.lost = self.lost.saturating_add(1);
            self.used = self.whole;
        }
        self.overflows = false;
        self.whole = self.used;
    }

    /// Moves all whole frames into `datagram`, and returns how many octets they are, and how many
    /// frames were lost before.
    fn take(&mut self, datagram: &mut [u8]) -> (usize, u32) {
        let whole = self.octets.get(..self.whole).unwrap_or_default();
        let taken = datagram.get_mut(..whole.len());
        taken.map(|place| place.copy_from_slice(whole)).unwrap_or_default();
        let taken = core::mem::take(&mut self.whole);
        self.octets.copy_within(taken..self.used, 0);
        self.used -= taken;
        (taken, core::mem::take(&mut self.lost))
    }
}

impl LogBuffer {
    /// An empty one.
    pub const fn new() -> Self {
        Self { frames: Mutex::new(RefCell::new(Frames::new())), came: Signal::new() }
    }

    /// Adds octets to the frame that is being written.
    pub fn push(&self, octets: &[u8]) {
        self.frames.lock(|frames| frames.borrow_mut().push(octets));
    }

    /// Ends that frame. Without room for it all it is lost.
    pub fn end(&self) {
        self.frames.lock(|frames| frames.borrow_mut().end());
        self.came.signal(());
    }

    /// Waits until there is a whole frame.
    async fn wait(&self) {
        while self.frames.lock(|frames| frames.borrow().whole) == 0 {
            self.came.wait().await;
        }
    }

    fn take(&self, datagram: &mut [u8]) -> (usize, u32) {
        self.frames.lock(|frames| frames.borrow_mut().take(datagram))
    }
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The socket's buffer.
pub(crate) struct LogMemory([u8; LOG]);

impl LogMemory {
    pub(crate) const fn new() -> Self {
        Self([0; LOG])
    }
}

/// Sends what is in `buffer` to the receiver that the settings name, if they do.
pub(crate) async fn run(
    buffer: Option<&'static LogBuffer>,
    settings: &Settings<'_>,
    net: Net<'_>,
    memory: &mut LogMemory,
) -> ! {
    let (Some(buffer), Some(to)) = (buffer, settings.log) else {
        loop {
            pending::<()>().await;
        }
    };
    let mut owner = LogOwner::new();
    let mut socket = LogSocket::new(net, &mut memory.0, &mut owner);
    loop {
        buffer.wait().await;
        net.up().await;
        if let Some(address) = net.resolve(to.name).await {
            send_all(buffer, &mut socket, (address, to.port)).await;
        } else {
            Timer::after_secs(AGAIN_S).await;
        }
    }
}

/// Sends to `receiver` for as long as it can be reached, and where it is may be believed.
async fn send_all(buffer: &LogBuffer, socket: &mut LogSocket<'_>, receiver: (IpAddr, u16)) {
    let found_at = Instant::now();
    while found_at.elapsed() < KNOWN {
        buffer.wait().await;
        let mut lost = 0;
        let fill = |datagram: &mut [u8]| {
            let taken;
            (taken, lost) = buffer.take(datagram);
            taken
        };
        if socket.send(receiver, LOG, fill).await.is_none() {
            return Timer::after_secs(AGAIN_S).await;
        }
        if lost > 0 {
            warning!("{=u32} lines of the log were lost", lost);
        }
        Timer::after_millis(PAUSE_MS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, LOG};

    fn put(frames: &mut Frames, octets: &[u8]) {
        octets.chunks(3).for_each(|piece| frames.push(piece));
        frames.end();
    }

    fn take(frames: &mut Frames) -> (Vec<u8>, u32) {
        let mut datagram = [0xFF; LOG];
        let (taken, lost) = frames.take(&mut datagram);
        (datagram[..taken].to_vec(), lost)
    }

    #[test]
    fn whole_frames_are_taken_and_the_one_under_way_stays() {
        let mut frames = Frames::new();
        put(&mut frames, b"one\0");
        put(&mut frames, b"three\0");
        frames.push(b"fi");
        assert_eq!(take(&mut frames), (b"one\0three\0".to_vec(), 0));
        assert_eq!(take(&mut frames), (Vec::new(), 0));
        frames.push(b"ve\0");
        frames.end();
        assert_eq!(take(&mut frames), (b"five\0".to_vec(), 0));
    }

    #[test]
    fn a_frame_without_room_is_lost_whole_and_counted() {
        let mut frames = Frames::new();
        let line = [b'x'; LOG / 4];
        for _ in 0..7 {
            put(&mut frames, &line);
        }
        put(&mut frames, &[b'y'; LOG + 1]);
        let (taken, lost) = take(&mut frames);
        assert_eq!((taken, lost), ([b'x'; LOG].to_vec(), 4));
        put(&mut frames, b"z\0");
        assert_eq!(take(&mut frames), (b"z\0".to_vec(), 0));
    }
}
