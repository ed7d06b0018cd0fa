//! A simulated card, octet by octet.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;

use postern_card::Block;
use postern_sd::{Bus, Speed};

/// How a card behaves.
pub struct Behaviour {
    /// Whether it is one of version 2 that is addressed in blocks.
    pub block_addressed: bool,
    /// Its description of itself; none: it refuses to tell.
    pub csd: Option<[u8; 16]>,
    /// How often it is asked to leave its idle state until it does.
    pub idle_turns: usize,
    /// R1 before what CMD58 reads.
    pub ocr_response: u8,
    /// The first octet of what it sends for a block.
    pub token: u8,
    /// What it says of a block that it is sent.
    pub data_response: u8,
    /// The second octet of its status; none: it refuses to tell.
    pub status: Option<u8>,
    /// For how many octets it is busy after a block.
    pub busy: usize,
}

/// A card of 32 GiB without a fault.
pub const GOOD: Behaviour = Behaviour {
    block_addressed: true,
    csd: Some([0x40, 0, 0, 0, 0, 9, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]),
    idle_turns: 2,
    ocr_response: 0,
    token: 0xFE,
    data_response: 0xE5,
    status: Some(0),
    busy: 3,
};

/// A card.
pub struct SimCard {
    /// Whether it is in its socket.
    pub present: bool,
    /// What it waits for.
    pub state: State,
    /// What is stored, by address.
    pub blocks: HashMap<u32, Block>,
    /// The commands that it was sent, by number.
    pub commands: Vec<u8>,
    behaviour: Behaviour,
    selected: bool,
    idle: bool,
    /// It has refused a command, and will say so once more, as QEMU 10's does.
    refused: bool,
    busy_left: usize,
    input: Vec<u8>,
    output: VecDeque<u8>,
}

/// What a card waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The command that puts it into SPI mode.
    Reset,
    /// Any command.
    Command,
    /// The token before a block for this address.
    Token(u32),
    /// The rest of that block.
    Data(u32),
}

impl SimCard {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            present: true,
            state: State::Reset,
            blocks: HashMap::new(),
            commands: Vec::new(),
            behaviour,
            selected: false,
            idle: true,
            refused: false,
            busy_left: 0,
            input: Vec::new(),
            output: VecDeque::new(),
        }
    }

    fn octet(&mut self, octet: u8) -> u8 {
        if !self.selected || !self.present {
            return 0xFF;
        }
        let answer = match self.output.pop_front() {
            Some(octet) => octet,
            None if self.busy_left > 0 => {
                self.busy_left -= 1;
                return 0;
            }
            None => 0xFF,
        };
        match self.state {
            State::Reset | State::Command => self.command_octet(octet),
            State::Token(address) if octet == 0xFE => self.state = State::Data(address),
            State::Token(_) => {}
            State::Data(address) => self.data_octet(address, octet),
        }
        answer
    }

    fn command_octet(&mut self, octet: u8) {
        if !self.input.is_empty() || octet & 0xC0 == 0x40 {
            self.input.push(octet);
        }
        if let [command, a, b, c, d, checksum] = self.input[..] {
            self.input.clear();
            let command = command & 0x3F;
            if self.state != State::Reset || (command, checksum) == (0, 0x95) {
                self.commands.push(command);
                self.output.push_back(0xFF);
                self.execute(command, u32::from_be_bytes([a, b, c, d]));
            }
        }
    }

    fn data_octet(&mut self, address: u32, octet: u8) {
        self.input.push(octet);
        if let Some((block, [_, _])) = self.input.split_first_chunk::<512>() {
            self.blocks.insert(address, *block);
            self.input.clear();
            self.output.push_back(self.behaviour.data_response);
            self.busy_left = self.behaviour.busy;
            self.state = State::Command;
        }
    }

    fn execute(&mut self, command: u8, argument: u32) {
        let refused = if std::mem::take(&mut self.refused) { 4 } else { 0 };
        let r1 = u8::from(self.idle) | refused;
        match command {
            0 => {
                self.state = State::Command;
                self.idle = true;
                self.output.push_back(1);
            }
            8 if self.behaviour.block_addressed => {
                self.output.push_back(r1);
                self.output.extend(argument.to_be_bytes());
            }
            9 if self.behaviour.csd.is_some() => {
                self.output.extend([0, 0xFF]);
                let csd = self.behaviour.csd.expect("it was looked at");
                self.send(&csd);
            }
            13 if self.behaviour.status.is_some() => {
                self.output.push_back(0);
                self.output.extend(self.behaviour.status);
            }
            17 => {
                self.output.extend([refused, 0xFF]);
                let block = self.blocks.get(&argument).copied().unwrap_or([0; 512]);
                self.send(&block);
            }
            24 => {
                self.output.push_back(refused);
                self.state = State::Token(argument);
            }
            41 => {
                let asked = argument & 1 << 30 != 0;
                self.idle =
                    self.behaviour.idle_turns > 0 || asked != self.behaviour.block_addressed;
                self.behaviour.idle_turns = self.behaviour.idle_turns.saturating_sub(1);
                self.output.push_back(u8::from(self.idle));
            }
            16 | 55 => self.output.push_back(r1),
            58 => self.output.extend([self.behaviour.ocr_response, 0xC0, 0xFF, 0x80, 0]),
            _ => {
                self.output.push_back(r1 | 4);
                self.refused = matches!(command, 9 | 13);
            }
        }
    }

    fn send(&mut self, data: &[u8]) {
        self.output.push_back(self.behaviour.token);
        if self.behaviour.token == 0xFE {
            self.output.extend(data);
            self.output.extend([0, 0]);
        }
    }
}

/// The way to a simulated card.
#[derive(Clone)]
pub struct SimBus(pub Rc<RefCell<SimCard>>);

impl SimBus {
    pub fn new(behaviour: Behaviour) -> Self {
        Self(Rc::new(RefCell::new(SimCard::new(behaviour))))
    }

    /// Takes the card out, and puts another one in.
    pub fn exchange(&self, behaviour: Behaviour) {
        *self.0.borrow_mut() = SimCard::new(behaviour);
    }
}

impl Bus for SimBus {
    type Error = Infallible;

    fn set_speed(&mut self, _: Speed) {}

    fn select(&mut self, selected: bool) {
        self.0.borrow_mut().selected = selected;
    }

    async fn exchange(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        let mut sim = self.0.borrow_mut();
        octets.iter_mut().for_each(|octet| *octet = sim.octet(*octet));
        Ok(())
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Infallible> {
        let mut sim = self.0.borrow_mut();
        for octet in octets {
            sim.octet(*octet);
        }
        Ok(())
    }
}
