//! A simulated card. It is strict with a driver as long as no bit has changed on the wires.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use postern_card::Block;

use super::protocol::{
    ACCEPTED, Bad, Behaviour, GARBLED, Kind, R1_GARBLED, R1_IDLE, R1_ILLEGAL, R1_PARAMETER, START,
    START_OF_MANY, STOP, crc7, crc16,
};
use super::{FAST, HIGH, SLOW};
use crate::clock::now_ns;

/// The slowest clock until a card is ready (§6.4.1), and the clocks that it wants before that.
const SLOWEST: u32 = 100_000;
const WAKE_CLOCKS: u32 = 74;

/// How long it is busy after many blocks that were all written.
const ENDS_FOR: Duration = Duration::from_micros(20);

/// What a card waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Command,
    /// The token before a block, which is one of many or not.
    Token(u32, bool),
    /// The rest of that block.
    Data(u32, bool),
    /// The command that ends many blocks, one of which it did not take.
    Stop,
}

/// A card.
pub struct SimCard {
    pub behaviour: Behaviour,
    /// Whether it is in its socket.
    pub is_present: bool,
    /// Whether a bit has changed on the wires, so that no driver can be blamed for what arrives.
    pub is_disturbed: bool,
    /// What is stored.
    pub blocks: HashMap<u32, Block>,
    /// The blocks that are bad, how, and how many more times.
    pub bad: HashMap<u32, (Bad, usize)>,
    /// R1 that a command gets in place of being obeyed, the next so many times.
    pub refusals: HashMap<u8, (u8, usize)>,
    /// The commands that it has obeyed or refused.
    pub commands: Vec<u8>,
    /// How often something of `bad` or `refusals` has happened.
    pub faults: usize,
    /// Whether not even a reset ends its being busy.
    pub is_stuck: bool,
    /// Until when it is busy.
    pub busy_until_ns: u64,
    /// Whether it looks at checksums.
    pub checks: bool,
    is_spi: bool,
    wake_clocks: u32,
    is_idle: bool,
    knows_supply: bool,
    /// When it was first asked to leave its idle state.
    asked_ns: Option<u64>,
    is_application: bool,
    refused: bool,
    state: State,
    status: u8,
    /// How many blocks it was told to erase before many are written.
    pub erases: u32,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// A block that is sent from this time on.
    block: Option<(u64, Vec<u8>)>,
    /// Whether that is what it sends now.
    sends_block: bool,
    /// Octets since it sent something.
    quiet: usize,
}

impl SimCard {
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            is_present: true,
            is_disturbed: false,
            blocks: HashMap::new(),
            bad: HashMap::new(),
            refusals: HashMap::new(),
            commands: Vec::new(),
            faults: 0,
            is_stuck: false,
            busy_until_ns: 0,
            checks: false,
            is_spi: false,
            wake_clocks: 0,
            is_idle: true,
            knows_supply: false,
            asked_ns: None,
            is_application: false,
            refused: false,
            state: State::Command,
            status: 0,
            erases: 0,
            input: Vec::new(),
            output: VecDeque::new(),
            block: None,
            sends_block: false,
            quiet: 0,
        }
    }

    /// Pulls it out. What is stored stays.
    pub fn pull_out(&mut self) {
        let card = Self::new(self.behaviour);
        let out = std::mem::replace(self, card);
        self.blocks = out.blocks;
        self.bad = out.bad;
        self.commands = out.commands;
        self.is_present = false;
    }

    /// What a driver must not do.
    #[track_caller]
    fn demand(&self, is_right: bool, what: &str) {
        assert!(is_right || self.is_disturbed, "{what}");
    }

    pub fn select(&mut self, selected: bool) {
        self.input.clear();
        self.quiet = 1;
        if selected {
            return;
        }
        if !self.behaviour.goes_on {
            self.block = None;
            self.state = State::Command;
        }
        if !(self.behaviour.goes_on && self.sends_block) {
            self.output.clear();
        }
    }

    /// An octet while it is not selected.
    pub fn idle_octet(&mut self, octet: u8, speed: u32) {
        assert_eq!(octet, HIGH, "the line to the card is not high while it is not selected");
        if speed <= SLOW && self.is_present {
            self.wake_clocks = self.wake_clocks.saturating_add(8);
        }
    }

    /// An octet while it is selected, and what it sends meanwhile.
    pub fn octet(&mut self, octet: u8, speed: u32) -> u8 {
        if !self.is_present {
            return HIGH;
        }
        assert!(speed <= FAST, "a clock of {speed}");
        if self.is_spi && self.is_idle {
            assert!((SLOWEST..=SLOW).contains(&speed), "a clock of {speed} before it is ready");
        }
        if let Some(answer) = self.output.pop_front() {
            self.demand(octet == HIGH, "the line to the card is not high while it answers");
            self.quiet = 0;
            self.sends_block &= !self.output.is_empty();
            return answer;
        }
        let is_busy = now_ns() < self.busy_until_ns;
        match self.state {
            State::Command | State::Stop => self.command_octet(octet, speed),
            State::Token(block, many) => self.token_octet(block, many, octet, speed),
            State::Data(block, many) => self.data_octet(block, many, octet),
        }
        self.quiet += 1;
        if let Some((_, block)) = self.block.take_if(|(from_ns, _)| *from_ns <= now_ns()) {
            self.output.extend(block);
            self.sends_block = true;
        }
        if is_busy { 0 } else { HIGH }
    }

    fn command_octet(&mut self, octet: u8, speed: u32) {
        if self.input.is_empty() {
            if octet & 0xC0 != 0x40 {
                return;
            }
            self.demand(self.quiet > 0, "a command right behind an answer");
        }
        self.input.push(octet);
        if let [command, a, b, c, d, checksum] = self.input[..] {
            self.input.clear();
            let is_right = checksum == crc7(&[command, a, b, c, d]) << 1 | 1;
            self.demand(is_right, "a command with a wrong checksum");
            let argument = u32::from_be_bytes([a, b, c, d]);
            self.command(command & 0x3F, argument, is_right, speed);
        }
    }

    fn command(&mut self, command: u8, argument: u32, is_right: bool, speed: u32) {
        if !self.is_spi {
            // Any other is for the other mode, in which its answer would be on the other wire.
            let is_reset = command == 0 && is_right;
            if !is_reset && !self.behaviour.answers_at_once {
                return;
            }
            if is_reset {
                assert!(self.wake_clocks >= WAKE_CLOCKS, "{} clocks before it", self.wake_clocks);
                assert!(speed <= SLOW, "a clock of {speed} before it is ready");
                self.is_spi = true;
            }
        }
        if now_ns() < self.busy_until_ns && (command != 0 || self.is_stuck) {
            self.demand(command == 0, "a command to a card that is busy");
            return;
        }
        if matches!(self.state, State::Token(..)) && command != 0 {
            return;
        }
        if self.state == State::Stop && !matches!(command, 0 | 12) {
            self.demand(false, "many blocks that went wrong are not ended");
            return;
        }
        self.commands.push(command);
        let answers_after = self.behaviour.answers_after;
        self.output.extend(std::iter::repeat_n(HIGH, answers_after));
        if !is_right && (self.checks || command == 0 || command == 8) {
            self.respond(R1_GARBLED);
        } else if let Some((response, left)) = self.refusals.get_mut(&command)
            && *left > 0
        {
            *left -= 1;
            self.faults += 1;
            let response = *response;
            self.output.push_back(response);
        } else {
            self.obey(command, argument, speed);
        }
    }

    /// Sends R1.
    fn respond(&mut self, bits: u8) {
        self.output.push_back(bits | if self.is_idle { R1_IDLE } else { 0 });
    }

    fn obey(&mut self, command: u8, argument: u32, speed: u32) {
        let refused = if std::mem::take(&mut self.refused) { R1_ILLEGAL } else { 0 };
        let is_application = std::mem::take(&mut self.is_application);
        let kind = self.behaviour.kind;
        match command {
            0 => {
                assert!(speed <= SLOW, "a clock of {speed} to begin with");
                (self.is_idle, self.checks, self.knows_supply) = (true, false, false);
                (self.asked_ns, self.busy_until_ns, self.block) = (None, 0, None);
                self.state = State::Command;
                self.respond(0);
            }
            8 if matches!(kind, Kind::Standard | Kind::HighCapacity) => {
                self.demand(argument & 0xF00 == 0x100, "a supply that we do not have");
                self.knows_supply = true;
                self.respond(0);
                self.output.extend(self.behaviour.echo.to_be_bytes());
            }
            41 if is_application && kind != Kind::Mmc => self.initialise(argument),
            55 if kind != Kind::Mmc => {
                self.is_application = true;
                self.respond(0);
            }
            58 => {
                self.output.push_back(self.behaviour.ocr_response);
                let bits = match kind {
                    _ if self.is_idle => 0,
                    Kind::HighCapacity => 0xC0,
                    _ => 0x80,
                };
                self.output.extend([bits, 0xFF, 0x80, 0]);
            }
            59 => {
                self.checks = argument & 1 != 0;
                self.respond(0);
            }
            _ if self.is_idle => self.respond(R1_ILLEGAL),
            9 if let Some(csd) = self.behaviour.csd => {
                self.respond(0);
                self.send(&csd);
            }
            12 if self.state == State::Stop => {
                // Right behind the command comes an octet that is no answer.
                self.output.push_front(0x3F);
                self.respond(0);
                self.state = State::Command;
            }
            13 if self.behaviour.says_status => {
                self.respond(0);
                self.output.push_back(std::mem::take(&mut self.status));
            }
            16 => self.respond(refused),
            17 | 24 | 25 => self.transfer(command, argument, refused),
            23 if is_application => {
                self.erases = argument;
                self.respond(0);
            }
            _ => {
                self.respond(R1_ILLEGAL);
                self.refused = matches!(command, 9 | 13);
            }
        }
    }

    fn initialise(&mut self, argument: u32) {
        let asked_ns = *self.asked_ns.get_or_insert_with(now_ns);
        let initialises_for = self.behaviour.initialises_for;
        let is_large = argument & 1 << 30 != 0;
        self.demand(is_large == self.knows_supply, "a capacity that was not agreed on");
        let is_taken = self.behaviour.kind != Kind::HighCapacity || is_large;
        self.is_idle = !is_taken || now_ns() < asked_ns + nanos(initialises_for);
        self.respond(0);
    }

    fn transfer(&mut self, command: u8, argument: u32, refused: u8) {
        self.demand(self.checks, "blocks without checksums");
        let size = if self.behaviour.kind == Kind::HighCapacity { 1 } else { 512 };
        let block = argument / size;
        if !argument.is_multiple_of(size) {
            return self.respond(R1_PARAMETER);
        }
        self.respond(refused);
        match command {
            17 => self.read(block),
            24 => self.state = State::Token(block, false),
            _ => self.state = State::Token(block, true),
        }
    }

    fn read(&mut self, block: u32) {
        match self.fault(block, |bad| matches!(bad, Bad::Token(_) | Bad::Silent)) {
            Some(Bad::Token(token)) => self.block = Some((now_ns(), vec![token])),
            Some(_) => {}
            None => {
                let content = self.blocks.get(&block).copied().unwrap_or([0; 512]);
                self.send(&content);
            }
        }
    }

    fn send(&mut self, content: &[u8]) {
        let checksum = crc16(content).to_be_bytes();
        let block = [&[START], content, &checksum].concat();
        self.block = Some((now_ns() + nanos(self.behaviour.reads_for), block));
    }

    fn token_octet(&mut self, block: u32, many: bool, octet: u8, speed: u32) {
        let start = if many { START_OF_MANY } else { START };
        if octet == start || octet == STOP && many {
            self.demand(self.quiet > 0, "a token right behind an answer");
            self.demand(now_ns() >= self.busy_until_ns, "a token to a card that is busy");
            self.input.clear();
        }
        if octet == start {
            self.state = State::Data(block, many);
        } else if octet == STOP && many {
            self.state = State::Command;
            self.output.push_back(HIGH);
            // What is left of a page is written now.
            let is_whole = block.is_multiple_of(self.behaviour.page);
            let left = if is_whole { ENDS_FOR } else { self.behaviour.writes_for };
            self.busy_until_ns = now_ns() + nanos(left);
        } else if many {
            // A reset is heard; what else is no token is not.
            self.command_octet(octet, speed);
        }
    }

    fn data_octet(&mut self, block: u32, many: bool, octet: u8) {
        self.input.push(octet);
        let Some((content, checksum)) = self.input.split_first_chunk::<512>() else { return };
        let Ok(checksum) = <[u8; 2]>::try_from(checksum) else { return };
        let (content, is_right) = (*content, crc16(content).to_be_bytes() == checksum);
        self.input.clear();
        self.state = if many { State::Token(block + 1, true) } else { State::Command };
        let next = self.state;
        if many {
            self.state = State::Stop;
        }
        if self.checks && !is_right {
            return self.output.push_back(GARBLED);
        }
        let fault = self.fault(block, |bad| !matches!(bad, Bad::Token(_) | Bad::Silent));
        if let Some(Bad::Response(response)) = fault {
            return self.output.push_back(response);
        }
        self.state = next;
        self.output.push_back(ACCEPTED);
        if !many || (block + 1).is_multiple_of(self.behaviour.page) {
            self.busy_until_ns = now_ns() + nanos(self.behaviour.writes_for);
        }
        match fault {
            Some(Bad::Status(status)) => self.status = status,
            Some(Bad::Busy) => self.busy_until_ns = u64::MAX,
            _ => {
                self.blocks.insert(block, content);
            }
        }
    }

    /// What is bad of this block now.
    fn fault(&mut self, block: u32, concerns: impl Fn(&Bad) -> bool) -> Option<Bad> {
        let (bad, left) = self.bad.get_mut(&block)?;
        if *left == 0 || !concerns(bad) {
            return None;
        }
        *left -= 1;
        self.faults += 1;
        Some(*bad)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("no such long time")
}
