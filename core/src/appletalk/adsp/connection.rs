//! One connection: its states, and what is owed to the peer.

use core::fmt::{self, Display};
use core::task::Waker;
use core::time::Duration;

use super::is_due;
use super::packet::{Content, Open, OpenKind, Packet, VERSION};
use super::receiver::Receiver;
use super::sender::{Piece, Sender};
use crate::appletalk::Address;
use crate::time::Instant;
use crate::wire::{NoRoom, Out};

/// A request that comes so soon after the connection was opened by it is a late copy.
const COPIES_FOR: Duration = Duration::from_secs(5);
/// From one open packet to the next.
const OPEN_EVERY: Duration = Duration::from_secs(1);
/// Open packets before nobody is there.
const OPEN_TRIES: u8 = 10;
/// A peer that says nothing for so long is asked, and asked again after the same time.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// What was written before a close waits for a peer so long: one that answers, and takes nothing,
/// would else have the channel for ever.
const LINGER: Duration = Duration::from_secs(30);
/// The silence that ends a connection is so many times as long.
const PROBES: u8 = 4;

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the peer has closed the connection",
            Self::Denied => "the peer does not take the connection",
            Self::NoAnswer => "nobody answers there",
            Self::Silent => "the peer is silent",
            Self::Reset => "the peer has reset the connection",
        })
    }
}

impl core::error::Error for End {}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it; what it sent before can be read.
    Closed,
    /// The peer did not want it.
    Denied,
    /// Nobody answered.
    NoAnswer,
    /// The peer said nothing for two minutes.
    Silent,
    /// The peer took back what it had sent: the dialogue on it makes no sense any more.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody's.
    Free,
    /// We asked for it, or were asked and have said yes.
    Begun {
        by_us: bool,
        tries: u8,
        due: Instant,
    },
    Open,
    Ended(End),
}

/// A channel: a connection, or the place of one. It holds `R` octets that were received and not
/// read, and `S` octets that were sent and not acknowledged.
#[derive(Debug)]
pub struct Connection<const R: usize, const S: usize> {
    state: State,
    /// Our number of it, and the peer's.
    own: u16,
    theirs: u16,
    peer: Address,
    receiver: Receiver<R>,
    sender: Sender<S>,
    /// The number of the attention message that is expected next.
    attention: u32,
    owes: Owes,
    /// When the peer's silence is to be asked about, and how often it was.
    silent: Instant,
    probes: u8,
    was_begun_by_us: bool,
    is_accepted: bool,
    is_closing: bool,
    /// Until when a copy of the request that opened it may still be on its way.
    copies: Instant,
    /// Until when what was written before the close waits for the peer.
    linger: Instant,
    is_reset: bool,
    waker: Option<Waker>,
}

/// What is sent as soon as anything is.
#[derive(Debug, Clone, Copy, Default)]
struct Owes {
    open: Option<OpenKind>,
    attention: bool,
    reset: bool,
    probe: bool,
}

impl<const R: usize, const S: usize> Connection<R, S> {
    /// A channel that nobody has.
    pub const FREE: Self = Self {
        state: State::Free,
        own: 0,
        theirs: 0,
        peer: Address { network: 0, node: 0, socket: 0 },
        receiver: Receiver::NEW,
        sender: Sender::NEW,
        attention: 0,
        owes: Owes { open: None, attention: false, reset: false, probe: false },
        silent: Instant::FAR,
        probes: 0,
        was_begun_by_us: false,
        is_accepted: false,
        is_closing: false,
        copies: Instant::FAR,
        linger: Instant::FAR,
        is_reset: false,
        waker: None,
    };

    /// The peer.
    pub const fn peer(&self) -> Address {
        self.peer
    }

    /// Whether the channel is nobody's.
    pub const fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }

    /// Whether octets can go both ways.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// How it ended, if it has.
    pub const fn end(&self) -> Option<End> {
        match self.state {
            State::Open | State::Ended(_) if self.is_reset => Some(End::Reset),
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Whether there are octets to read. There are none behind a reset: to go on after what the
    /// peer took back would join the halves of two dialogues.
    pub const fn can_read(&self) -> bool {
        !self.is_reset && self.receiver.len() > 0
    }

    /// Moves octets to `buffer`; how many.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        if self.can_read() { self.receiver.read(buffer) } else { 0 }
    }

    /// Takes as much of `octets` as there is room for; how much that is.
    pub fn write(&mut self, octets: &[u8]) -> usize {
        if self.is_open() && !self.is_closing { self.sender.write(octets) } else { 0 }
    }

    /// Octets that [`Connection::write`] takes.
    pub const fn free(&self) -> usize {
        self.sender.free()
    }

    /// Whether the peer has acknowledged all that was written.
    pub const fn is_flushed(&self) -> bool {
        self.sender.is_empty()
    }

    /// Nothing more is read or written. The channel is free once the peer has acknowledged what was
    /// written, is gone, or has not taken it within half a minute.
    pub fn close(&mut self) {
        match self.state {
            State::Open => self.is_closing = true,
            _ => self.state = State::Free,
        }
    }

    /// Wakes `waker` once, when anything has changed.
    pub fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(present) => present.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Instant {
        match self.state {
            State::Free | State::Ended(_) => Instant::FAR,
            State::Begun { due, .. } => due,
            State::Open => {
                let halves = self.receiver.deadline().min(self.sender.deadline());
                halves.min(self.silent).min(self.linger)
            }
        }
    }

    pub(super) const fn own(&self) -> u16 {
        self.own
    }

    /// Whether a packet of `source` at `from` is of this connection.
    pub(super) fn is_of(&self, source: u16, from: Address) -> bool {
        let has_peer = match self.state {
            State::Free => false,
            State::Begun { by_us, .. } => !by_us,
            State::Open | State::Ended(_) => true,
        };
        has_peer && self.theirs == source && self.peer.is_same(from)
    }

    /// Whether it is open and nobody was told; says so once.
    pub(super) fn accept(&mut self) -> bool {
        let is_new = self.is_open() && !self.was_begun_by_us && !self.is_accepted;
        self.is_accepted |= is_new;
        is_new
    }

    /// Asks `peer` for a connection.
    pub(super) fn begin(&mut self, own: u16, peer: Address, now: Instant) {
        let state = State::Begun { by_us: true, tries: 0, due: now };
        *self = Self { state, own, peer, was_begun_by_us: true, ..Self::FREE };
    }

    /// Says yes to `request`.
    pub(super) fn answer(&mut self, own: u16, request: &Packet<'_>, peer: Address, now: Instant) {
        let state = State::Begun { by_us: false, tries: 0, due: now };
        *self = Self { state, own, theirs: request.source, peer, ..Self::FREE };
        self.receiver.begin(request.first_byte);
        self.sender.begin(request.next_receive, request.window);
    }

    /// Hears a step to the connection that is addressed to it.
    pub(super) fn hear_open(
        &mut self,
        kind: OpenKind,
        packet: &Packet<'_>,
        from: Address,
        now: Instant,
    ) {
        match (self.state, kind) {
            (State::Begun { by_us: true, .. }, OpenKind::Denial) => {
                self.finish(End::Denied);
            }
            // A listener may answer from another socket than it was asked at.
            (
                State::Begun { by_us: true, .. },
                OpenKind::Acknowledgement | OpenKind::RequestAndAcknowledgement,
            ) => {
                (self.theirs, self.peer) = (packet.source, from);
                self.receiver.begin(packet.first_byte);
                self.sender.begin(packet.next_receive, packet.window);
                self.owes.open = Some(OpenKind::Acknowledgement);
                self.opened(now);
            }
            (State::Begun { by_us: false, .. }, OpenKind::Acknowledgement)
                if self.is_of(packet.source, from) =>
            {
                self.opened(now);
                self.sender.hear(packet.next_receive, packet.window, now);
            }
            // It was asked again: the answer was lost.
            (State::Begun { by_us: false, .. }, OpenKind::Request) => {
                self.owes.open = Some(OpenKind::RequestAndAcknowledgement);
            }
            (State::Open, OpenKind::Request) => self.hear_request_again(now),
            (State::Open, OpenKind::RequestAndAcknowledgement)
                if self.was_begun_by_us
                    && self.is_of(packet.source, from)
                    && self.receiver.is_untouched() =>
            {
                self.owes.open = Some(OpenKind::Acknowledgement);
            }
            _ => {}
        }
    }

    /// The peer asks for the connection that it has: because our answer was lost, or because it
    /// has forgotten all and begins anew with the same number. Its new octets are not the rest of
    /// the old ones.
    fn hear_request_again(&mut self, now: Instant) {
        if self.receiver.is_untouched() && self.sender.is_untouched() {
            self.owes.open = Some(OpenKind::RequestAndAcknowledgement);
        } else if is_due(self.copies, now) {
            // What is unread may be a whole message: its 250 would go nowhere.
            self.is_reset = true;
            self.finish(End::Reset);
        }
    }

    fn opened(&mut self, now: Instant) {
        self.state = State::Open;
        self.copies = now.after(COPIES_FOR);
        self.heard(now);
    }

    fn heard(&mut self, now: Instant) {
        (self.silent, self.probes) = (now.after(PROBE_EVERY), 0);
    }

    /// Whoever has it hears of the end; where nobody has it, nobody would ever close it.
    fn finish(&mut self, end: End) {
        let is_owned = (self.was_begun_by_us || self.is_accepted) && !self.is_closing;
        self.state = if is_owned { State::Ended(end) } else { State::Free };
    }

    /// Hears any other packet of the peer's.
    pub(super) fn hear(&mut self, packet: &Packet<'_>, now: Instant) {
        if !self.is_open() {
            return;
        }
        self.heard(now);
        match packet.content {
            Content::Attention(_) => {
                let ahead = super::distance(self.attention, packet.first_byte);
                if ahead == 0 {
                    self.attention = self.attention.wrapping_add(1);
                }
                // One that was seen is acknowledged again: else a lost answer would stop them all.
                self.owes.attention = ahead <= 0;
                return;
            }
            Content::AttentionAcknowledgement | Content::Open(_) => return,
            _ => self.sender.hear(packet.next_receive, packet.window, now),
        }
        match packet.content {
            Content::Data { data, ends_message } => {
                let first = packet.first_byte;
                self.receiver.take(first, data, ends_message, packet.answer, now);
            }
            Content::CloseAdvice => self.receiver.hear_close(packet.first_byte, now),
            Content::ForwardReset => {
                self.is_reset |= self.receiver.reset(packet.first_byte);
                self.owes.reset = true;
            }
            Content::RetransmitAdvice => self.sender.hear_advice(packet.next_receive, now),
            _ if packet.answer => self.receiver.owe_answer(now),
            _ => {}
        }
        self.see_close(now);
    }

    fn see_close(&mut self, now: Instant) {
        if self.receiver.is_closed(now) {
            self.finish(End::Closed);
        }
    }

    /// Wakes whoever waits for it.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Sees what time has done.
    fn expire(&mut self, now: Instant) {
        let before = self.state;
        match &mut self.state {
            State::Begun { by_us, tries, due } if is_due(*due, now) => {
                if *tries < OPEN_TRIES {
                    *tries = tries.saturating_add(1);
                    *due = now.after(OPEN_EVERY);
                    self.owes.open = Some(match by_us {
                        true => OpenKind::Request,
                        false => OpenKind::RequestAndAcknowledgement,
                    });
                } else if *by_us {
                    self.finish(End::NoAnswer);
                } else {
                    self.state = State::Free;
                }
            }
            State::Open => {
                if self.is_closing && self.linger == Instant::FAR {
                    self.linger = now.after(LINGER);
                }
                self.sender.expire(now);
                self.see_close(now);
                self.see_silence(now);
            }
            _ => {}
        }
        if self.state != before {
            self.wake();
        }
    }

    fn see_silence(&mut self, now: Instant) {
        if !is_due(self.silent, now) {
            return;
        }
        self.probes = self.probes.saturating_add(1);
        self.silent = now.after(PROBE_EVERY);
        if self.probes >= PROBES {
            self.finish(End::Silent);
        } else {
            self.owes.probe = true;
        }
    }

    /// Appends the packet that is to go to the peer, if one is; call it until it says false.
    ///
    /// # Errors
    /// When it does not fit.
    pub(super) fn transmit(&mut self, now: Instant, out: &mut Out<'_>) -> Result<bool, NoRoom> {
        self.expire(now);
        if matches!(self.state, State::Free | State::Ended(_)) {
            return Ok(false);
        }
        if let Some(kind) = self.owes.open.take() {
            let destination = if kind == OpenKind::Request { 0 } else { self.theirs };
            let attention_receive = self.attention;
            let open = Open { kind, version: VERSION, destination, attention_receive };
            // The peer begins at the number in it, also where we have sent more already.
            self.header(self.sender.unacknowledged(), false, Content::Open(open)).write(out)?;
            self.receiver.told();
            return Ok(true);
        }
        if !self.is_open() {
            return Ok(false);
        }
        if core::mem::take(&mut self.owes.attention) {
            let (source, next_receive) = (self.own, self.attention);
            let content = Content::AttentionAcknowledgement;
            let packet =
                Packet { source, first_byte: 0, next_receive, window: 0, answer: false, content };
            return packet.write(out).map(|()| true);
        }
        if core::mem::take(&mut self.owes.reset) {
            return self.control(Content::ForwardResetAcknowledgement, false, out);
        }
        if self.receiver.take_advice() {
            return self.control(Content::RetransmitAdvice, false, out);
        }
        if self.send_data(now, out)? {
            return Ok(true);
        }
        if self.is_closing && (self.sender.is_empty() || is_due(self.linger, now)) {
            self.state = State::Free;
            return self.control(Content::CloseAdvice, false, out);
        }
        let probes = core::mem::take(&mut self.owes.probe) | self.sender.take_probe();
        if probes || self.receiver.owes_answer(now) {
            return self.control(Content::Acknowledgement, probes, out);
        }
        Ok(false)
    }

    fn send_data(&mut self, now: Instant, out: &mut Out<'_>) -> Result<bool, NoRoom> {
        let Some(Piece { front, back, answer }) = self.sender.packet() else { return Ok(false) };
        let content = Content::Data { data: front, ends_message: false };
        self.header(self.sender.next(), answer, content).write(out)?;
        out.put(back)?;
        let length = front.len().saturating_add(back.len());
        self.sender.left(length, answer, now);
        self.receiver.told();
        Ok(true)
    }

    fn control(
        &mut self,
        content: Content<'_>,
        answer: bool,
        out: &mut Out<'_>,
    ) -> Result<bool, NoRoom> {
        self.header(self.sender.sent(), answer, content).write(out)?;
        self.receiver.told();
        Ok(true)
    }

    fn header<'p>(&self, first_byte: u32, answer: bool, content: Content<'p>) -> Packet<'p> {
        let (next_receive, window) = (self.receiver.next(), self.receiver.window());
        Packet { source: self.own, first_byte, next_receive, window, answer, content }
    }
}
