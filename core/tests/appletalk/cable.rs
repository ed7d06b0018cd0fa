//! Two endpoints on a cable that loses, repeats and reorders, in virtual time.

use fastrand::Rng;
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::{Connection, Endpoint, PACKET_MAX};
use postern_core::time::Instant;
use postern_core::wire::Out;

/// What a packet takes to the other side.
const WAY_MS: u64 = 5;
/// What a reordered one takes more, at most.
const DETOUR_MS: u64 = 60;

/// What happens to packets, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    pub lost: u8,
    pub repeated: u8,
    pub reordered: u8,
}

/// What other stacks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    None,
    /// It never asks for an answer to what it sends again.
    NeverAsksAgain,
    /// It acknowledges only what asks for an answer.
    AnswersOnly,
}

/// One side.
pub struct Side<const R: usize, const S: usize> {
    pub address: Address,
    pub endpoint: Endpoint,
    pub channels: Vec<Connection<R, S>>,
    pub channel: Option<usize>,
    pub habit: Habit,
    /// What is still to be written, and what was read.
    pub to_write: Vec<u8>,
    pub written: usize,
    pub read: Vec<u8>,
    /// Octets that it reads each time, and how often.
    pub read_octets: usize,
    pub read_every_ms: u64,
    next_read_ms: u64,
    /// The number behind what it has sent, and whether the other has asked since its last answer.
    sent: u32,
    is_asked: bool,
}

impl<const R: usize, const S: usize> Side<R, S> {
    pub fn new(node: u8, channels: usize, random: u16) -> Self {
        let address = Address { network: 0, node, socket: 72 };
        Self {
            address,
            endpoint: Endpoint::new(address.socket, random),
            channels: (0..channels).map(|_| Connection::FREE).collect(),
            channel: None,
            habit: Habit::None,
            to_write: Vec::new(),
            written: 0,
            read: Vec::new(),
            read_octets: usize::MAX,
            read_every_ms: 0,
            next_read_ms: 0,
            sent: 0,
            is_asked: false,
        }
    }

    pub fn connection(&mut self) -> &mut Connection<R, S> {
        let channel = self.channel.expect("a connection");
        &mut self.channels[channel]
    }

    /// The application: reads and writes what it can.
    fn work(&mut self, now_ms: u64) {
        if self.channel.is_none() {
            self.channel = self.endpoint.accept(&mut self.channels);
        }
        let Some(channel) = self.channel else { return };
        let connection = &mut self.channels[channel];
        self.written += connection.write(&self.to_write[self.written..]);
        if now_ms < self.next_read_ms {
            return;
        }
        let mut buffer = vec![0; self.read_octets.min(R)];
        let length = connection.read(&mut buffer);
        self.read.extend_from_slice(&buffer[..length]);
        self.next_read_ms = now_ms + self.read_every_ms;
    }

    /// The packet that is to be sent, as somebody with its habit sends it.
    fn transmit(&mut self, now: Instant) -> Option<(Address, Option<Vec<u8>>)> {
        let mut buffer = [0; PACKET_MAX];
        let mut out = Out::new(&mut buffer);
        let to = self.endpoint.transmit(&mut self.channels, now, &mut out)?;
        let mut packet = out.written().to_vec();
        let is_data = packet[12] & 0x90 == 0;
        let first = u32::from_be_bytes(packet[2..6].try_into().expect("four octets"));
        let asks_again = is_data && first.wrapping_sub(self.sent) as i32 <= -1;
        let is_unasked = packet[12] == 0x80 && !self.is_asked;
        match self.habit {
            Habit::NeverAsksAgain if asks_again => packet[12] &= !0x40,
            Habit::AnswersOnly if is_unasked => return Some((to, None)),
            _ => {}
        }
        self.is_asked = false;
        let behind = first.wrapping_add((packet.len() - 13) as u32);
        if is_data && behind.wrapping_sub(self.sent) as i32 > 0 {
            self.sent = behind;
        }
        Some((to, Some(packet)))
    }
}

/// Two sides and what is between them.
pub struct Cable<const R: usize, const S: usize> {
    pub now_ms: u64,
    pub trouble: Trouble,
    /// The client and the server.
    pub sides: [Side<R, S>; 2],
    /// Packets that were sent.
    pub packets: usize,
    /// When each arrives, at which side.
    flying: Vec<(u64, usize, Vec<u8>)>,
    random: Rng,
}

impl<const R: usize, const S: usize> Cable<R, S> {
    pub fn new(trouble: Trouble, seed: u64) -> Self {
        let mut sides = [Side::new(5, 1, 1000), Side::new(200, 3, 65530)];
        sides[1].endpoint.listen(true);
        let random = Rng::with_seed(seed);
        Self { now_ms: 1000, trouble, sides, packets: 0, flying: Vec::new(), random }
    }

    /// The client asks for a connection.
    pub fn open(&mut self) {
        let (to, now) = (self.sides[1].address, self.now());
        let [client, _] = &mut self.sides;
        client.channel = client.endpoint.open(&mut client.channels, to, now).ok();
    }

    pub fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    /// Goes on until `is_done`, for `limit_ms` at most; whether it is.
    pub fn run(&mut self, limit_ms: u64, mut is_done: impl FnMut(&mut Self) -> bool) -> bool {
        let end_ms = self.now_ms + limit_ms;
        loop {
            self.move_packets();
            if is_done(self) {
                return true;
            }
            let Some(next_ms) = self.next_ms() else { return false };
            if next_ms > end_ms {
                self.now_ms = end_ms;
                return false;
            }
            self.now_ms = next_ms.max(self.now_ms);
            self.deliver();
        }
    }

    fn move_packets(&mut self) {
        let now = self.now();
        for at in 0..2 {
            self.sides[at].work(self.now_ms);
            while let Some((_, packet)) = self.sides[at].transmit(now) {
                if let Some(packet) = packet {
                    self.send(1 - at, packet);
                }
            }
        }
    }

    fn send(&mut self, to: usize, packet: Vec<u8>) {
        self.packets += 1;
        if self.happens(self.trouble.lost) {
            return;
        }
        for _ in 0..1 + usize::from(self.happens(self.trouble.repeated)) {
            let detour_ms = match self.happens(self.trouble.reordered) {
                true => self.random.u64(1..DETOUR_MS),
                false => 0,
            };
            self.flying.push((self.now_ms + WAY_MS + detour_ms, to, packet.clone()));
        }
    }

    fn happens(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    fn next_ms(&self) -> Option<u64> {
        let flying = self.flying.iter().map(|(due, ..)| *due);
        let sides = self.sides.iter();
        let timers = sides.map(|side| side.endpoint.deadline(&side.channels).as_millis());
        let reads = self
            .sides
            .iter()
            .filter(|side| side.channel.is_some_and(|channel| side.channels[channel].can_read()));
        let reads = reads.map(|side| side.next_read_ms);
        flying.chain(timers).chain(reads).min().filter(|due| *due != u64::MAX)
    }

    fn deliver(&mut self) {
        let now = self.now();
        let (due, later) = self.flying.drain(..).partition(|(due, ..)| *due <= self.now_ms);
        self.flying = later;
        let due: Vec<(u64, usize, Vec<u8>)> = due;
        for (_, to, packet) in due {
            let from = self.sides[1 - to].address;
            let Side { endpoint, channels, is_asked, .. } = &mut self.sides[to];
            *is_asked |= packet[12] & 0x40 != 0;
            endpoint.receive(channels, from, &packet, now);
        }
    }
}
