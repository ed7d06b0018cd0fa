//! A card in memory that loses power, fails, ages, lies, or is pulled out.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use embassy_futures::yield_now;
use postern_card::{BLOCK, Block, Card};

/// A small generator of numbers that look random (SplitMix64): every run is the same.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Why the simulated card did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// There is no power.
    Off,
    /// There is no card.
    Out,
    /// It is locked by a password.
    Locked,
    /// There is no such block.
    Outside,
    /// A block can't be read: its writing was cut, or it is bad.
    Unreadable,
    /// A block is bad and takes no content.
    Unwritable,
    /// A test said so.
    Asked,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Flush,
}

/// What becomes of a write that the card says it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    Dropped,
    /// It goes to this block instead.
    Misplaced(u32),
    /// It goes to this block too.
    Repeated(u32),
}

#[derive(Clone)]
struct State {
    blocks: u32,
    /// What is on the medium; none: can't be read. A block that never was written is zeros.
    durable: HashMap<u32, Option<Block>>,
    /// What was written since the last flush, oldest first.
    cached: BTreeMap<u32, Vec<Block>>,
    /// Writes and flushes so far.
    operations: u64,
    cut_at: Option<u64>,
    is_off: bool,
    is_out: bool,
    is_locked: bool,
    /// No block takes anything.
    is_worn_out: bool,
    /// The calls that fail, how many of their kind come before, and how many they are.
    failing: Option<(Call, u64, u64)>,
    /// How many have.
    failed: u64,
    unreadable: HashSet<u32>,
    unwritable: HashSet<u32>,
    /// The lies about the next write of a block.
    lies: HashMap<u32, Lie>,
    /// Blocks that a cut hurts together with one that is being written; 1: that one only.
    page: u32,
    /// Flushed blocks that cuts have hurt.
    hurt: u64,
    reads: u64,
    writes: HashMap<u32, u32>,
    /// How often several blocks were written at once.
    runs: u64,
    random: Random,
}

/// A handle on a simulated card: a clone is the same card.
#[derive(Clone)]
pub struct SimCard {
    state: Rc<RefCell<State>>,
    /// Where blocks wait that are written at once.
    run: Vec<Block>,
}

impl SimCard {
    pub fn new(blocks: u32) -> Self {
        let state = State {
            blocks,
            durable: HashMap::new(),
            cached: BTreeMap::new(),
            operations: 0,
            cut_at: None,
            is_off: false,
            is_out: false,
            is_locked: false,
            is_worn_out: false,
            failing: None,
            failed: 0,
            unreadable: HashSet::new(),
            unwritable: HashSet::new(),
            lies: HashMap::new(),
            page: 1,
            hurt: 0,
            reads: 0,
            writes: HashMap::new(),
            runs: 0,
            random: Random(1),
        };
        Self { state: Rc::new(RefCell::new(state)), run: Vec::new() }
    }

    /// The same card, which takes up to so many blocks at once.
    pub fn with_runs_of(mut self, blocks: u64) -> Self {
        self.run = vec![[0; BLOCK]; blocks as usize];
        self
    }

    /// How often it did.
    pub fn runs(&self) -> u64 {
        self.state.borrow().runs
    }

    /// Takes the blocks from number `blocks` on away.
    pub fn shrink(&self, blocks: u32) {
        self.state.borrow_mut().blocks = blocks;
    }

    /// Another card with the same content.
    pub fn copy(&self) -> Self {
        Self { state: Rc::new(RefCell::new(self.state.borrow().clone())), run: self.run.clone() }
    }

    /// Cuts power at the write or flush that is number `operation` from now on; `seed` decides what
    /// becomes of each write since the last flush.
    pub fn cut_at(&self, operation: u64, seed: u64) {
        let mut state = self.state.borrow_mut();
        state.cut_at = Some(state.operations + operation);
        state.random = Random(seed);
    }

    /// Cuts power now, and brings it back.
    pub fn cut(&self) {
        self.state.borrow_mut().cut();
        self.power_on();
    }

    /// Takes the card out, or puts it in again, with power on: what it has in its cache stays.
    pub fn pull_out(&self, is_out: bool) {
        self.state.borrow_mut().is_out = is_out;
    }

    /// Locks the card by a password, or unlocks it.
    pub fn lock(&self, is_locked: bool) {
        self.state.borrow_mut().is_locked = is_locked;
    }

    /// Lets the card take no more writes, or take them again.
    pub fn wear_out(&self, is_worn_out: bool) {
        self.state.borrow_mut().is_worn_out = is_worn_out;
    }

    /// Brings power back, and no cut is to come. Returns whether there had been one.
    pub fn power_on(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.cut_at = None;
        std::mem::take(&mut state.is_off)
    }

    /// Makes `count` calls fail, after `before` of their kind.
    pub fn fail(&self, call: Call, before: u64, count: u64) {
        self.state.borrow_mut().failing = Some((call, before, count));
    }

    /// Makes no call fail; returns whether one was still to.
    pub fn fail_no_more(&self) -> bool {
        self.state.borrow_mut().failing.take().is_some()
    }

    /// Calls that failed since a test said so.
    pub fn failed(&self) -> u64 {
        self.state.borrow().failed
    }

    /// From now on a block can't be read: and a write does not mend it.
    pub fn make_unreadable(&self, block: u32) {
        self.state.borrow_mut().unreadable.insert(block);
    }

    /// A block that could not be read can be.
    pub fn make_readable(&self, block: u32) {
        self.state.borrow_mut().unreadable.remove(&block);
    }

    /// From now on a block can't be written, and keeps what it has.
    pub fn make_unwritable(&self, block: u32) {
        self.state.borrow_mut().unwritable.insert(block);
    }

    /// The card lies about the next write of a block.
    pub fn lie(&self, block: u32, lie: Lie) {
        self.state.borrow_mut().lies.insert(block, lie);
    }

    /// Lies that are still to be told.
    pub fn lies(&self) -> usize {
        self.state.borrow().lies.len()
    }

    /// Turns one bit of a block over.
    pub fn rot(&self, block: u32, bit: usize) {
        self.change(block, |content| content[bit / 8 % BLOCK] ^= 1 << (bit % 8));
    }

    /// A cut that hits a write may hurt all of the `page` blocks that lie in one page of the flash
    /// with it.
    pub fn share_pages(&self, page: u32) {
        self.state.borrow_mut().page = page;
    }

    /// Flushed blocks that cuts have hurt.
    pub fn hurt(&self) -> u64 {
        self.state.borrow().hurt
    }

    /// Writes and flushes so far.
    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.state.borrow().reads
    }

    /// How often each block was written.
    pub fn writes(&self) -> HashMap<u32, u32> {
        self.state.borrow().writes.clone()
    }

    /// Changes what is on the medium.
    pub fn change(&self, block: u32, change: impl FnOnce(&mut Block)) {
        let mut state = self.state.borrow_mut();
        state.flush();
        let mut content = state.durable.get(&block).copied().flatten().unwrap_or([0; BLOCK]);
        change(&mut content);
        state.durable.insert(block, Some(content));
    }

    /// The blocks that are on the medium and not zeros.
    pub fn written(&self) -> Vec<u32> {
        let state = self.state.borrow();
        let mut blocks: Vec<u32> = state.durable.keys().copied().collect();
        blocks.sort_unstable();
        blocks
    }
}

impl State {
    fn flush(&mut self) {
        for (block, contents) in std::mem::take(&mut self.cached) {
            let last = *contents.last().expect("a cached block was written");
            self.durable.insert(block, Some(last));
        }
    }

    /// Each block written since the last flush keeps its content, has one of those that it got, or
    /// a mixture, or garbage, or can't be read.
    fn cut(&mut self) {
        self.is_off = true;
        let cached = std::mem::take(&mut self.cached);
        self.hurt_neighbours(&cached);
        for (block, contents) in cached {
            let old = self.durable.get(&block).copied().unwrap_or(Some([0; BLOCK]));
            let one = contents[self.random.below(contents.len() as u64) as usize];
            let fate = self.random.below(8);
            let after = match fate {
                0..3 => Some(*contents.last().expect("a cached block was written")),
                3 => Some(one),
                4 => old,
                5 => {
                    let mut torn = old.unwrap_or([0xFF; BLOCK]);
                    let octets = self.random.below(BLOCK as u64) as usize;
                    torn[..octets].copy_from_slice(&one[..octets]);
                    Some(torn)
                }
                6 => Some([self.random.next() as u8; BLOCK]),
                _ => None,
            };
            self.durable.insert(block, after);
        }
    }

    /// Each page of the flash that is being written may lose what it held.
    fn hurt_neighbours(&mut self, cached: &BTreeMap<u32, Vec<Block>>) {
        let pages: BTreeMap<u32, u64> =
            cached.keys().map(|block| (block / self.page, self.random.next())).collect();
        for (page, fate) in pages.into_iter().filter(|(_, fate)| fate % 2 == 0) {
            for block in page * self.page..(page + 1) * self.page {
                if !cached.contains_key(&block) && self.durable.contains_key(&block) {
                    let after = (fate % 4 == 0).then_some([fate as u8; BLOCK]);
                    self.durable.insert(block, after);
                    self.hurt += 1;
                }
            }
        }
    }

    /// The blocks that a write to `block` changes.
    fn targets(&mut self, block: u32) -> Vec<u32> {
        match self.lies.remove(&block) {
            None => vec![block],
            Some(Lie::Dropped) => vec![],
            Some(Lie::Misplaced(other)) => vec![other],
            Some(Lie::Repeated(other)) => vec![block, other],
        }
    }

    fn check(&self, block: u32) -> Result<(), SimFault> {
        if self.is_off {
            return Err(SimFault::Off);
        }
        if self.is_out {
            return Err(SimFault::Out);
        }
        if self.is_locked {
            return Err(SimFault::Locked);
        }
        if block < self.blocks { Ok(()) } else { Err(SimFault::Outside) }
    }

    /// Counts down to the calls that fail.
    fn fail(&mut self, call: Call) -> Result<(), SimFault> {
        let Some((failing, before, count)) = &mut self.failing else { return Ok(()) };
        if *failing != call {
            return Ok(());
        }
        if *before > 0 {
            *before -= 1;
            return Ok(());
        }
        *count -= 1;
        if *count == 0 {
            self.failing = None;
        }
        self.failed += 1;
        Err(SimFault::Asked)
    }

    /// Counts a write or flush, and cuts power at it if it is the one.
    fn operate(&mut self) -> Result<(), SimFault> {
        let is_cut = self.cut_at == Some(self.operations);
        self.operations += 1;
        if is_cut {
            self.cut();
            return Err(SimFault::Off);
        }
        Ok(())
    }
}

impl Card for SimCard {
    type Error = SimFault;

    fn blocks(&self) -> u32 {
        self.state.borrow().blocks
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), SimFault> {
        yield_now().await;
        let mut state = self.state.borrow_mut();
        state.check(block)?;
        state.reads += 1;
        state.fail(Call::Read)?;
        if state.unreadable.contains(&block) {
            return Err(SimFault::Unreadable);
        }
        let cached = state.cached.get(&block).and_then(|contents| contents.last());
        let durable = || state.durable.get(&block).copied().unwrap_or(Some([0; BLOCK]));
        *content = cached.copied().or_else(durable).ok_or(SimFault::Unreadable)?;
        Ok(())
    }

    async fn write(&mut self, block: u32, content: &Block) -> Result<(), SimFault> {
        yield_now().await;
        let mut state = self.state.borrow_mut();
        state.check(block)?;
        state.fail(Call::Write)?;
        if state.is_worn_out || state.unwritable.contains(&block) {
            return Err(SimFault::Unwritable);
        }
        *state.writes.entry(block).or_default() += 1;
        for target in state.targets(block) {
            state.cached.entry(target).or_default().push(*content);
        }
        state.operate()
    }

    fn run(&mut self) -> &mut [Block] {
        &mut self.run
    }

    /// Power may go at each of them.
    async fn write_run(&mut self, first: u32, count: usize) -> Result<(), SimFault> {
        self.state.borrow_mut().runs += 1;
        for (block, index) in (first..).zip(0..count) {
            let content = self.run[index];
            self.write(block, &content).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SimFault> {
        yield_now().await;
        let mut state = self.state.borrow_mut();
        state.check(0)?;
        state.fail(Call::Flush)?;
        state.operate()?;
        state.flush();
        Ok(())
    }

    fn is_of_block(fault: &SimFault) -> bool {
        matches!(fault, SimFault::Unreadable | SimFault::Unwritable)
    }

    fn is_refusal(fault: &SimFault) -> bool {
        matches!(fault, SimFault::Locked)
    }
}
