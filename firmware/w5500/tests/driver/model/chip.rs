//! The chip: its registers (§4), its buffers, and what is wrong with it.

use std::collections::VecDeque;

use embassy_time::{Duration, Instant};

use crate::sim::card::Random;

/// Octets of each of a socket's buffers.
const BUFFER: u16 = 16 * 1024;
/// How long the reset line is to be held, and how long the chip takes then (§5.5.1).
const RESET: Duration = Duration::from_micros(500);
const LOCK: Duration = Duration::from_millis(1);
/// What a link takes to come up.
const NEGOTIATES: Duration = Duration::from_millis(1700);
/// How often a command that was given is seen in its register.
const OBEYS_AFTER: u8 = 2;

const SOCKET_0: u8 = 1;
const MR: u16 = 0x00;
const SHAR: usize = 0x09;
const SIMR: usize = 0x18;
const PHYCFGR: u16 = 0x2E;
const VERSIONR: u16 = 0x39;
const SN_MR: usize = 0x00;
const SN_CR: usize = 0x01;
const SN_IR: usize = 0x02;
const SN_SR: usize = 0x03;
const SN_RXBUF_SIZE: usize = 0x1E;
const SN_TXBUF_SIZE: usize = 0x1F;
const SN_TX_WR: usize = 0x24;
const SN_RX_RD: usize = 0x28;
const SN_IMR: usize = 0x2C;

const OPEN: u8 = 0x01;
const CLOSE: u8 = 0x10;
const SEND: u8 = 0x20;
const RECV: u8 = 0x40;
const IR_RECV: u8 = 0x04;
const IR_SENDOK: u8 = 0x10;
const SOCK_MACRAW: u8 = 0x42;

/// What is wrong with the chip, or with what leads to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Octets of a million in which a bit changes on the wires.
    pub noise: u64,
    /// Noise changes no more than one bit of an access, which no checksum of a frame's misses.
    pub is_noise_rare: bool,
    /// Nobody is there: each octet is this one.
    pub absent: Option<u8>,
    pub bus_fails: bool,
    pub bus_hangs: bool,
    /// The interrupt line never says anything, or always.
    pub line_mute: bool,
    pub line_stuck: bool,
    /// Until it is reset it hears nothing, obeys nothing, sends nothing.
    pub deaf: bool,
    pub disobeys: bool,
    pub stops_sending: bool,
    /// Lengths in front of so many frames are this one.
    pub lies: (u32, u16),
}

/// What happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub resets: u32,
    pub opens: u32,
    pub flips: u32,
    pub lies: u32,
    pub overflows: u32,
    pub filtered: u32,
}

pub struct Chip {
    pub faults: Faults,
    pub counts: Counts,
    pub transactions: u64,
    /// Frames that it has sent.
    pub on_cable: VecDeque<Vec<u8>>,
    /// Frames that come when so many more octets of registers and buffers were read or written.
    pub coming: VecDeque<(u64, Vec<u8>)>,
    is_plugged: bool,
    link_since: Instant,
    held: Option<Instant>,
    answers_from: Instant,
    is_strict: bool,
    /// A bit has changed since the chip was selected.
    is_access_hit: bool,
    random: Random,
    origin: u16,
    common: [u8; 0x3A],
    socket: [u8; 0x30],
    /// The sizes of all sockets' buffers, received and sent, in KiB.
    sizes: [[u8; 2]; 8],
    received: Vec<u8>,
    sent: Vec<u8>,
    /// Frames that wait: octets of each, with their lengths.
    frames: VecDeque<u16>,
    rx_end: u16,
    rx_begin: u16,
    tx_begin: u16,
    /// When what is being sent has gone, and where it begins.
    sending: Option<(Instant, u16)>,
    command_seen: u8,
}

impl Chip {
    pub fn new(origin: u16) -> Self {
        let mut chip = Self {
            faults: Faults::default(),
            counts: Counts::default(),
            transactions: 0,
            on_cable: VecDeque::new(),
            coming: VecDeque::new(),
            is_plugged: true,
            link_since: Instant::MIN,
            held: None,
            answers_from: Instant::MIN,
            is_strict: true,
            is_access_hit: false,
            random: Random(u64::from(origin)),
            origin,
            common: [0; 0x3A],
            socket: [0; 0x30],
            sizes: [[2; 2]; 8],
            received: vec![0; BUFFER.into()],
            sent: vec![0; BUFFER.into()],
            frames: VecDeque::new(),
            rx_end: 0,
            rx_begin: 0,
            tx_begin: 0,
            sending: None,
            command_seen: 0,
        };
        chip.forget();
        chip
    }

    /// Fails the test unless the driver is `right`, or bits have changed on the wires.
    pub fn check(&self, right: bool, wrong: &str) {
        assert!(right || !self.is_strict, "{wrong}");
    }

    /// From now on nobody knows what the driver means.
    pub fn set_noise(&mut self, per_million: u64) {
        self.is_strict = false;
        self.faults.noise = per_million;
    }

    pub fn plug(&mut self, is_plugged: bool) {
        self.is_plugged = is_plugged;
        self.link_since = Instant::now();
    }

    pub fn is_link_up(&self) -> bool {
        self.is_plugged && Instant::now() >= self.link_since + NEGOTIATES
    }

    /// The select line goes low.
    pub fn select(&mut self) {
        self.transactions += 1;
        self.is_access_hit = false;
    }

    /// What arrives of an octet.
    pub fn on_wires(&mut self, octet: u8) -> u8 {
        if self.faults.noise == 0 || self.random.below(1_000_000) >= self.faults.noise {
            return octet;
        }
        if self.faults.is_noise_rare && self.is_access_hit {
            return octet;
        }
        self.is_access_hit = true;
        self.counts.flips += 1;
        octet ^ 1 << self.random.below(8)
    }

    pub fn is_line_low(&self) -> bool {
        let says = self.socket[SN_IR] & self.socket[SN_IMR] != 0 && self.common[SIMR] & 1 != 0;
        self.faults.line_stuck || says && !self.faults.line_mute && self.answers()
    }

    fn answers(&self) -> bool {
        self.held.is_none() && Instant::now() >= self.answers_from && self.faults.absent.is_none()
    }

    pub fn hold_reset(&mut self) {
        self.held = Some(Instant::now());
    }

    pub fn release_reset(&mut self) {
        let Some(held) = self.held.take() else { return };
        assert!(held.elapsed() >= RESET, "the reset line is let go too soon");
        self.answers_from = Instant::now() + LOCK;
        let (random, on_cable) = (self.random.clone(), std::mem::take(&mut self.on_cable));
        self.counts.resets += 1;
        self.random = random;
        self.on_cable = on_cable;
        let Faults { deaf, disobeys, stops_sending, .. } = &mut self.faults;
        (*deaf, *disobeys, *stops_sending) = (false, false, false);
        self.forget();
    }

    /// All is as it is after a reset, for which the chip may have reasons of its own.
    pub fn forget(&mut self) {
        self.link_since = Instant::now();
        self.common = [0; 0x3A];
        self.socket = [0; 0x30];
        self.sizes = [[2; 2]; 8];
        self.frames.clear();
        (self.rx_begin, self.rx_end, self.tx_begin) = (0, 0, 0);
        self.sending = None;
        self.command_seen = 0;
    }

    /// A frame comes from the cable.
    pub fn arrive(&mut self, frame: &[u8]) {
        let is_open = self.socket[SN_SR] == SOCK_MACRAW && self.answers();
        if !is_open || !self.is_link_up() || self.faults.deaf {
            return;
        }
        let is_filtered = self.socket[SN_MR] & 0x80 != 0;
        if is_filtered && frame[0] & 1 == 0 && frame[..6] != self.common[SHAR..SHAR + 6] {
            self.counts.filtered += 1;
            return;
        }
        let octets = frame.len() as u16 + 2;
        if self.rx_end.wrapping_sub(self.rx_begin) > BUFFER - octets {
            self.counts.overflows += 1;
            return;
        }
        let mut length = octets;
        if let (lies @ 1.., lie) = &mut self.faults.lies {
            *lies -= 1;
            length = *lie;
            self.counts.lies += 1;
        }
        for octet in length.to_be_bytes().iter().chain(frame) {
            self.received[usize::from(self.rx_end % BUFFER)] = *octet;
            self.rx_end = self.rx_end.wrapping_add(1);
        }
        self.frames.push_back(octets);
        self.socket[SN_IR] |= IR_RECV;
    }

    /// What comes with the time.
    fn go_on(&mut self) {
        if let Some((gone, begin)) = self.sending
            && Instant::now() >= gone
        {
            self.sending = None;
            self.tx_begin = begin;
            self.socket[SN_IR] |= IR_SENDOK;
        }
        match self.coming.front_mut() {
            Some((0, _)) => {
                let (_, frame) = self.coming.pop_front().expect("it is there");
                self.arrive(&frame);
            }
            Some((octets, _)) => *octets -= 1,
            None => {}
        }
    }

    pub fn read(&mut self, block: u8, address: u16) -> u8 {
        self.go_on();
        if let Some(octet) = self.faults.absent {
            return octet;
        }
        if !self.answers() {
            return 0;
        }
        match (block, usize::from(address)) {
            (0, _) if address == VERSIONR => 4,
            (0, _) if address == PHYCFGR => 0b1011_1110 | u8::from(self.is_link_up()),
            (0, register @ ..0x3A) => self.common[register],
            (SOCKET_0, register @ ..0x30) => self.read_socket(register),
            (3, _) => {
                let ahead = address.wrapping_sub(self.rx_begin);
                let waiting = self.rx_end.wrapping_sub(self.rx_begin);
                let is_known = ahead < waiting || self.counts.lies > 0;
                self.check(is_known, "it reads what has not come");
                self.received[usize::from(address % BUFFER)]
            }
            _ => {
                self.check(false, "it reads where there is nothing");
                0
            }
        }
    }

    fn read_socket(&mut self, register: usize) -> u8 {
        let free = BUFFER - self.word(SN_TX_WR).wrapping_sub(self.tx_begin).min(BUFFER);
        let waiting = self.rx_end.wrapping_sub(self.rx_begin);
        match register {
            SN_CR if self.command_seen > 0 && !self.faults.disobeys => {
                self.command_seen -= 1;
                if self.command_seen == 0 {
                    self.socket[SN_CR] = 0;
                }
                self.socket[SN_CR]
            }
            SN_RXBUF_SIZE => self.sizes[0][0],
            SN_TXBUF_SIZE => self.sizes[0][1],
            0x20 | 0x21 => free.to_be_bytes()[register - 0x20],
            0x22 | 0x23 => self.tx_begin.to_be_bytes()[register - 0x22],
            0x26 | 0x27 => waiting.to_be_bytes()[register - 0x26],
            0x2A | 0x2B => self.rx_end.to_be_bytes()[register - 0x2A],
            _ => self.socket[register],
        }
    }

    fn word(&self, register: usize) -> u16 {
        u16::from_be_bytes([self.socket[register], self.socket[register + 1]])
    }

    fn set_word(&mut self, register: usize, word: u16) {
        self.socket[register..register + 2].copy_from_slice(&word.to_be_bytes());
    }

    pub fn write(&mut self, block: u8, address: u16, octet: u8) {
        self.go_on();
        if !self.answers() {
            return;
        }
        match (block, usize::from(address)) {
            (0, _) if address == MR && octet & 0x80 != 0 => self.forget(),
            (0, register @ ..0x2E) => self.common[register] = octet,
            (SOCKET_0, register @ ..0x30) => self.write_socket(register, octet),
            (2, _) => {
                let ahead = address.wrapping_sub(self.tx_begin);
                let sending = self.word(SN_TX_WR).wrapping_sub(self.tx_begin);
                let is_free = self.sending.is_none() || ahead >= sending;
                self.check(is_free, "it overwrites what is being sent");
                self.sent[usize::from(address % BUFFER)] = octet;
            }
            (5 | 9 | 13 | 17 | 21 | 25 | 29, register @ (SN_RXBUF_SIZE | SN_TXBUF_SIZE)) => {
                self.sizes[usize::from(block / 4)][register - SN_RXBUF_SIZE] = octet;
            }
            _ => self.check(false, "it writes where nothing can be written"),
        }
    }

    fn write_socket(&mut self, register: usize, octet: u8) {
        match register {
            SN_CR => self.command(octet),
            SN_IR => self.socket[SN_IR] &= !octet,
            SN_RXBUF_SIZE | SN_TXBUF_SIZE => self.sizes[0][register - SN_RXBUF_SIZE] = octet,
            SN_MR | SN_IMR | 0x24 | 0x25 | 0x28 | 0x29 => self.socket[register] = octet,
            _ => self.check(false, "it writes what can only be read"),
        }
    }

    fn command(&mut self, command: u8) {
        self.check(self.socket[SN_CR] == 0, "it gives a command while another is not obeyed");
        self.socket[SN_CR] = command;
        self.command_seen = OBEYS_AFTER;
        if self.faults.disobeys {
            return;
        }
        match command {
            OPEN => self.open(),
            CLOSE => self.socket[SN_SR] = 0,
            SEND => self.send(),
            RECV => self.free(),
            _ => self.check(false, "it gives a command that there is not"),
        }
    }

    fn open(&mut self) {
        let all = |direction: usize| self.sizes.iter().map(|size| size[direction]).sum::<u8>();
        self.check(all(0) <= 16 && all(1) <= 16, "there is not so much memory");
        self.check(self.socket[SN_MR] & 15 == 4, "the socket is to be opened in MACRAW mode");
        self.check(self.socket[SN_SR] == 0, "the socket is open");
        self.counts.opens += 1;
        self.socket[SN_SR] = SOCK_MACRAW;
        self.frames.clear();
        (self.rx_begin, self.rx_end, self.tx_begin) = (self.origin, self.origin, self.origin);
        self.set_word(SN_RX_RD, self.origin);
        self.set_word(SN_TX_WR, self.origin);
        self.sending = None;
    }

    fn send(&mut self) {
        let (begin, end) = (self.tx_begin, self.word(SN_TX_WR));
        let octets = end.wrapping_sub(begin);
        self.check(self.sending.is_none(), "it sends before the last frame has gone");
        self.check((60..=1514).contains(&octets), "it sends what is no frame");
        if self.faults.stops_sending || !self.is_link_up() {
            self.sending = Some((Instant::MAX, end));
            return;
        }
        let frame = (0..octets).map(|at| self.sent[usize::from(begin.wrapping_add(at) % BUFFER)]);
        // Runts and giants pass no switch.
        if (60..=1514).contains(&octets) {
            self.on_cable.push_back(frame.collect());
        }
        let gone = Instant::now() + Duration::from_micros(u64::from(octets) * 8 / 100 + 2);
        self.sending = Some((gone, end));
    }

    /// What is in front of the read pointer is no longer wanted.
    fn free(&mut self) {
        let begin = self.word(SN_RX_RD);
        let mut freed = begin.wrapping_sub(self.rx_begin);
        self.check(freed > 0, "it frees nothing");
        while let Some(frame) = self.frames.front()
            && freed >= *frame
        {
            freed -= frame;
            self.frames.pop_front();
        }
        self.check(freed == 0 || self.counts.lies > 0, "it frees half a frame");
        self.rx_begin = begin;
    }
}
