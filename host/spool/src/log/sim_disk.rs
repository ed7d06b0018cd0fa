//! A disk in memory that keeps its promises and not one more: what was not synced may be lost, kept
//! in part, or kept in another order when the power goes.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::log::disk::{Disk, DiskFile, Space};

const SECTOR: usize = 512;

/// Small numbers that look random and are the same in every run.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Those of one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// What becomes of what was not synced.
#[derive(Debug, Clone)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// All of it is there: only the process died.
    Nothing,
    /// Each sector and each name is lost, kept or torn by itself.
    Some(Random),
    /// All is there, but of the write that was under way only so many sectors from its begin.
    First(usize),
    /// The same from its end.
    Last(usize),
}

/// What goes wrong, and at which operation (reading is none), counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The power goes during the operation.
    Cut(u64),
    /// The operation, if it is a sync, fails; what it should have synced never gets to the disk.
    Sync(u64),
    /// The operation, if it needs space, finds none: a write ends half way.
    Full(u64),
    /// The operation, if it needs a descriptor or memory, finds none.
    Busy(u64),
    /// The operation fails, whatever it is.
    Broken(u64),
    /// The operation, if it changes or syncs a folder's names, is refused so, and does nothing.
    Names(u64, io::ErrorKind),
}

/// What is so until it is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// No byte is free.
    pub full: bool,
    /// No byte is free, and the disk says that there are many: a quota.
    pub over_quota: bool,
    /// No inode is free.
    pub no_inodes: bool,
    /// No descriptor is free.
    pub no_descriptors: bool,
    /// Nothing can be changed.
    pub read_only: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
struct State {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<(String, Option<usize>)>,
    operations: u64,
    fault: Fault,
    condition: Condition,
    /// Bytes that are free, as the disk says.
    free: u64,
    /// What cannot be read, by file.
    unreadable: Vec<(usize, std::ops::Range<usize>)>,
    /// What cannot be opened, by name, and the error.
    unopenable: BTreeMap<String, io::ErrorKind>,
    /// The file whose last change was under way when the power went.
    under_way: Option<usize>,
    is_dead: bool,
    has_failed: bool,
    strikes: u64,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of it.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    content: usize,
}

/// How far an operation may go.
#[derive(PartialEq, Eq)]
enum Go {
    Ahead,
    HalfWay(io::ErrorKind),
}

impl Go {
    /// What was asked for could not begin, for want of something.
    fn is_refused(&self) -> bool {
        use io::ErrorKind::{ResourceBusy, StorageFull};
        matches!(self, Self::HalfWay(StorageFull | ResourceBusy))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Space,
    /// An inode, a descriptor and an entry of a folder.
    File,
    Sync,
    /// The names of a folder, to be changed.
    Names,
    /// The names of a folder, to be made durable.
    NamesSync,
    Nothing,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(fault: Fault) -> Self {
        Self::with(Vec::new(), BTreeMap::new(), fault)
    }

    fn with(contents: Vec<Content>, names: BTreeMap<String, usize>, fault: Fault) -> Self {
        Self(Arc::new(Mutex::new(State {
            contents,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            operations: 0,
            fault,
            condition: Condition::default(),
            free: 1 << 40,
            unreadable: Vec::new(),
            unopenable: BTreeMap::new(),
            under_way: None,
            is_dead: false,
            has_failed: false,
            strikes: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Operations that failed as they were told to, or for what is so.
    pub fn strikes(&self) -> u64 {
        self.state().strikes
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.state().is_dead
    }

    /// Whether what was to go wrong went wrong.
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// The disk as the next start finds it.
    pub fn after(&self, loss: Loss, fault: Fault) -> Self {
        let mut state = self.state();
        state.forget_nameless();
        if let Loss::First(_) | Loss::Last(_) = loss {
            return Self::with(state.torn(&loss), state.names.clone(), fault);
        }
        if let Loss::Nothing = loss {
            let next = Self::with(state.contents.clone(), state.names.clone(), fault);
            let mut changed = next.state();
            changed.durable_names = state.durable_names.clone();
            changed.pending_names = state.pending_names.clone();
            drop(changed);
            return next;
        }
        let mut random = match loss {
            Loss::Some(random) => Some(random),
            _ => None,
        };
        let mut contents = Vec::with_capacity(state.contents.len());
        for content in &state.contents {
            let mut durable = content.durable.clone();
            if let Some(random) = &mut random {
                content.pending.iter().for_each(|change| keep_some(&mut durable, change, random));
            }
            contents.push(Content { seen: durable.clone(), durable, pending: Vec::new() });
        }
        let mut names = state.durable_names.clone();
        for (name, content) in &state.pending_names {
            if random.as_mut().is_some_and(|random| random.below(2) == 0) {
                rename(&mut names, name, *content);
            }
        }
        Self::with(contents, names, fault)
    }

    /// Changes the bytes of a file as a bad disk does.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let content = state.names[name];
        let content = &mut state.contents[content];
        content.pending.clear();
        change(&mut content.seen);
        content.durable = content.seen.clone();
    }

    /// The bytes of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.contents[state.names[name]].seen.clone()
    }

    /// Sectors of the write that was under way when the power went; 0: it was no write.
    pub fn sectors_under_way(&self) -> usize {
        let state = self.state();
        let change = state.under_way.and_then(|content| state.contents[content].pending.last());
        match change {
            Some(Change::Write(offset, octets)) => sectors(*offset, octets.len()).count(),
            _ => 0,
        }
    }

    /// Makes bytes of a file unreadable, as a bad sector does.
    pub fn lose(&self, name: &str, range: std::ops::Range<usize>) {
        let mut state = self.state();
        let content = state.names[name];
        state.unreadable.push((content, range));
    }

    /// Has a file fail to be opened with this error.
    pub fn close_off(&self, name: &str, error: io::ErrorKind) {
        self.state().unopenable.insert(name.to_owned(), error);
    }

    /// Has the disk say that so many bytes are free.
    pub fn set_free(&self, free: u64) {
        self.state().free = free;
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Changes what is so from now on.
    pub fn set(&self, condition: Condition) {
        self.state().condition = condition;
    }

    /// The names there are.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    fn begin(&mut self, needs: Needs) -> io::Result<Go> {
        if self.is_dead {
            return Err(io::Error::other("the power is off"));
        }
        let number = self.operations;
        self.operations += 1;
        let Condition { full, over_quota, no_inodes, no_descriptors, read_only } = self.condition;
        let full = full || over_quota;
        if read_only {
            self.strikes += 1;
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if no_descriptors && needs == Needs::File {
            self.strikes += 1;
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let needs_space = matches!(needs, Needs::Space | Needs::File);
        if (full && needs_space) || (no_inodes && needs == Needs::File) {
            self.strikes += 1;
            return Ok(Go::HalfWay(io::ErrorKind::StorageFull));
        }
        let go = match self.fault {
            Fault::Cut(at) if at == number => {
                self.is_dead = true;
                Go::HalfWay(io::ErrorKind::Other)
            }
            Fault::Sync(at) if at == number && matches!(needs, Needs::Sync | Needs::NamesSync) => {
                Go::HalfWay(io::ErrorKind::Other)
            }
            Fault::Names(at, kind)
                if at == number && matches!(needs, Needs::Names | Needs::NamesSync) =>
            {
                Go::HalfWay(kind)
            }
            Fault::Full(at) if at == number && needs_space => {
                Go::HalfWay(io::ErrorKind::StorageFull)
            }
            Fault::Busy(at) if at == number && needs_space => {
                Go::HalfWay(io::ErrorKind::ResourceBusy)
            }
            Fault::Broken(at) if at == number => Go::HalfWay(io::ErrorKind::Other),
            _ => Go::Ahead,
        };
        self.has_failed |= go != Go::Ahead;
        self.strikes += u64::from(go != Go::Ahead);
        Ok(go)
    }

    /// The contents with but a part of the write that was under way.
    fn torn(&self, loss: &Loss) -> Vec<Content> {
        let mut contents = Vec::with_capacity(self.contents.len());
        for (number, content) in self.contents.iter().enumerate() {
            let mut durable = content.durable.clone();
            let whole = content.pending.len() - usize::from(self.under_way == Some(number));
            content.pending[..whole].iter().for_each(|change| apply(&mut durable, change));
            if let Some(Change::Write(offset, octets)) = content.pending.get(whole) {
                let parts = sectors(*offset, octets.len()).count();
                for (at, (from, to)) in sectors(*offset, octets.len()).enumerate() {
                    let is_kept = match loss {
                        Loss::First(kept) => at < *kept,
                        Loss::Last(kept) => at + kept >= parts,
                        _ => true,
                    };
                    if is_kept {
                        let part = octets[from - offset..to - offset].to_vec();
                        apply(&mut durable, &Change::Write(from, part));
                    }
                }
            }
            contents.push(Content { seen: durable.clone(), durable, pending: Vec::new() });
        }
        contents
    }

    /// Drops the contents that no name can lead to after any power cut.
    fn forget_nameless(&mut self) {
        let mut is_named = vec![false; self.contents.len()];
        let pending = self.pending_names.iter().filter_map(|(_, content)| content.as_ref());
        for content in self.names.values().chain(self.durable_names.values()).chain(pending) {
            is_named[*content] = true;
        }
        for (content, is_named) in self.contents.iter_mut().zip(is_named) {
            if !is_named {
                *content = Content::default();
            }
        }
    }

    fn name(&mut self, name: &str, content: Option<usize>) {
        rename(&mut self.names, name, content);
        self.pending_names.push((name.to_owned(), content));
    }
}

fn rename(names: &mut BTreeMap<String, usize>, name: &str, content: Option<usize>) {
    match content {
        Some(content) => names.insert(name.to_owned(), content),
        None => names.remove(name),
    };
}

/// The sectors, as far as they are in it, of `length` bytes at `offset`.
fn sectors(offset: usize, length: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = offset + length;
    (offset / SECTOR..end.div_ceil(SECTOR))
        .map(move |number| ((number * SECTOR).max(offset), ((number + 1) * SECTOR).min(end)))
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => content.resize(*length, 0),
        Change::Write(offset, octets) => {
            let end = offset + octets.len();
            content.resize(content.len().max(end), 0);
            content[*offset..end].copy_from_slice(octets);
        }
    }
}

/// Lets a power cut do to one change what it may do.
fn keep_some(content: &mut Vec<u8>, change: &Change, random: &mut Random) {
    let Change::Write(offset, octets) = change else {
        if random.below(2) == 0 {
            apply(content, change);
        }
        return;
    };
    let mut at = 0;
    while at < octets.len() {
        let border = SECTOR - (offset + at) % SECTOR;
        let end = (at + border).min(octets.len());
        let kept = match random.below(3) {
            0 => at,
            1 => end,
            _ => at + random.below(end - at + 1),
        };
        if kept > at {
            apply(content, &Change::Write(offset + at, octets[at..kept].to_vec()));
        }
        at = end;
    }
}

fn result(go: Go) -> io::Result<()> {
    match go {
        Go::Ahead => Ok(()),
        Go::HalfWay(kind) => Err(kind.into()),
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name}: not there"))
}

impl Disk for SimDisk {
    type File = SimFile;
    const WAITS: bool = false;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        let go = state.begin(Needs::File)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !go.is_refused() {
            state.contents.push(Content::default());
            let content = state.contents.len() - 1;
            state.name(name, Some(content));
        }
        result(go)?;
        Ok(SimFile { disk: self.clone(), content: state.contents.len() - 1 })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        if state.condition.no_descriptors {
            state.strikes += 1;
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        if let Some(error) = state.unopenable.get(name) {
            return Err((*error).into());
        }
        let content = *state.names.get(name).ok_or_else(|| not_found(name))?;
        Ok(SimFile { disk: self.clone(), content })
    }

    fn edit(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        if state.condition.read_only {
            state.strikes += 1;
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        drop(state);
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let go = state.begin(Needs::Names)?;
        let content = *state.names.get(from).ok_or_else(|| not_found(from))?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !go.is_refused() {
            state.name(to, Some(content));
            state.name(from, None);
        }
        result(go)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let go = state.begin(Needs::Names)?;
        if !state.names.contains_key(name) {
            return Err(not_found(name));
        }
        if !go.is_refused() {
            state.name(name, None);
        }
        result(go)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        result(state.begin(Needs::NamesSync)?)?;
        let pending = std::mem::take(&mut state.pending_names);
        let is_inside = |name: &str| name.split('/').next() == Some(folder);
        let (synced, pending): (Vec<_>, _) =
            pending.into_iter().partition(|(name, _)| is_inside(name));
        for (name, content) in synced {
            rename(&mut state.durable_names, &name, content);
        }
        state.pending_names = pending;
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let names = self.names();
        Ok(names.iter().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn strays(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn missing(&self) -> io::Result<Vec<&'static str>> {
        Ok(Vec::new())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        let Condition { full, no_inodes, .. } = state.condition;
        let free = if full { 0 } else { state.free };
        Ok(Space { total: 1 << 40, free, free_files: if no_inodes { 0 } else { 1 << 20 } })
    }
}

impl SimFile {
    fn change(&self, change: Change, needs: Needs) -> io::Result<()> {
        let mut state = self.disk.state();
        let length = state.contents[self.content].seen.len();
        let is_set_aside =
            matches!(&change, Change::Write(offset, octets) if offset + octets.len() <= length);
        let is_full = state.condition.full || state.condition.over_quota;
        let needs = if is_full && is_set_aside { Needs::Nothing } else { needs };
        let go = state.begin(needs)?;
        let content = &mut state.contents[self.content];
        let change = match (change, &go) {
            (Change::Write(offset, mut octets), go) if go.is_refused() => {
                octets.truncate(octets.len() / 2);
                Change::Write(offset, octets)
            }
            (Change::Length(_), refused) if refused.is_refused() => return result(go),
            (change, _) => change,
        };
        apply(&mut content.seen, &change);
        content.pending.push(change);
        if state.is_dead {
            state.under_way = Some(self.content);
        }
        result(go)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let octets: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.change(Change::Write(offset as usize, octets), Needs::Space)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let from = offset as usize;
        let to = from + buffer.len();
        let is_lost = |(content, range): &(usize, std::ops::Range<usize>)| {
            *content == self.content && range.start < to && from < range.end
        };
        if state.unreadable.iter().any(is_lost) {
            return Err(io::Error::other("a bad sector"));
        }
        let octets = state.contents[self.content].seen.get(from..from + buffer.len());
        buffer.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let length = self.length()?.max(length);
        self.change(Change::Length(length as usize), Needs::Space)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize), Needs::Nothing)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.content].seen.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let go = state.begin(Needs::Sync)?;
        let is_cut = state.is_dead;
        let content = &mut state.contents[self.content];
        if go == Go::Ahead {
            for change in std::mem::take(&mut content.pending) {
                apply(&mut content.durable, &change);
            }
        } else if !is_cut {
            // The kernel takes the pages for clean now: no later sync writes them.
            content.pending.clear();
        }
        result(go)
    }
}
