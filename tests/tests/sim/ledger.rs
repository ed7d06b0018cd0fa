//! What is known of each message: who has answered for it, and how often it may come.

use std::collections::{BTreeMap, BTreeSet};

use postern_spool::{Domain, MsgId};

/// What is passed on, in one piece: one sender's message, or what a machine holds of one for a
/// domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    Sent(usize),
    Held { machine: usize, domain: Domain, id: MsgId },
}

/// What a machine knows of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// It has answered for it.
    Holds,
    /// The disk failed when that it had been delivered was recorded.
    Unsure,
    /// It has recorded that it was delivered.
    Done,
}

#[derive(Debug)]
struct Entry {
    number: usize,
    stand: Stand,
    /// How often it was taken, and how often its sender cannot have known.
    taken: u32,
    excused: u32,
    /// One that is being sent, and whether it was taken meanwhile.
    attempt: Option<bool>,
}

/// A message as it was written.
pub struct Letter {
    pub domains: Vec<Domain>,
    pub body: Vec<u8>,
    /// Copies that may come of each, beyond the first.
    pub copies: u32,
    pub acknowledged: bool,
    pub delivered: BTreeMap<Domain, u32>,
}

#[derive(Default)]
pub struct Ledger {
    pub letters: Vec<Letter>,
    items: BTreeMap<Item, Entry>,
}

impl Ledger {
    /// A new message; its number stands at the end of its first line.
    pub fn write(&mut self, domains: Vec<Domain>, text: &str) -> usize {
        let number = self.letters.len();
        let body = format!("Message-ID: <{number}>\r\n\r\n{text}").into_bytes();
        let (copies, acknowledged, delivered) = (0, false, BTreeMap::new());
        self.letters.push(Letter { domains, body, copies, acknowledged, delivered });
        self.items.insert(Item::Sent(number), Entry::new(number));
        number
    }

    /// The number of a message that came whole.
    pub fn number(&self, body: &[u8]) -> Result<usize, String> {
        let line = body.split(|octet| *octet == b'>').next().unwrap_or_default();
        let digits = line.strip_prefix(b"Message-ID: <").and_then(|n| std::str::from_utf8(n).ok());
        let number: Option<usize> = digits.and_then(|digits| digits.parse().ok());
        match number.filter(|number| self.letters.get(*number).is_some_and(|l| l.body == body)) {
            Some(number) => Ok(number),
            None => Err(format!("nobody wrote this: {:?}", String::from_utf8_lossy(body))),
        }
    }

    pub fn begin(&mut self, item: &Item) -> Result<(), String> {
        let entry = self.items.get_mut(item).ok_or_else(|| format!("{item:?} is sent, unknown"))?;
        entry.attempt = Some(false);
        Ok(())
    }

    /// The next hop has it, durably. `is_heard`: else it comes over a connection that broke, and
    /// that its sender has left.
    pub fn taken(&mut self, item: &Item, is_heard: bool) -> Result<(), String> {
        let entry = self.items.get_mut(item).ok_or_else(|| format!("{item:?} came, unknown"))?;
        entry.taken += 1;
        if !is_heard {
            entry.excused += 1;
            self.letters[entry.number].copies += 1;
            return Ok(());
        }
        entry.attempt = entry.attempt.map(|_| true);
        match (entry.stand, entry.taken > 1 + entry.excused) {
            (Stand::Done, _) => Err(format!("{item:?} was sent again though it was done")),
            (_, true) => Err(format!("{item:?} came twice, and no final reply was lost")),
            (_, false) => Ok(()),
        }
    }

    /// The next hop may have it: its disk failed meanwhile.
    pub fn maybe_taken(&mut self, item: &Item) {
        let number = self.items.get_mut(item).map(|entry| entry.number);
        number.into_iter().for_each(|number| self.letters[number].copies += 1);
    }

    /// It is not being sent any more; what was lost with its final reply. `Err`: nothing was.
    pub fn ended(&mut self, item: &Item, knows: bool, is_broken: bool) -> Result<bool, String> {
        let Some(entry) = self.items.get_mut(item) else { return Ok(false) };
        let was_taken = entry.attempt.take() == Some(true);
        match (was_taken, knows) {
            (true, false) if is_broken => {
                entry.excused += 1;
                self.letters[entry.number].copies += 1;
                Ok(true)
            }
            (true, false) => Err(format!("{item:?} was taken, and its sender does not know")),
            (false, true) => Err(format!("{item:?} counts as delivered, and nobody has it")),
            _ => Ok(false),
        }
    }

    /// A sender has its 250.
    pub fn acknowledged(&mut self, number: usize) {
        self.letters[number].acknowledged = true;
    }

    /// A machine has answered for a message.
    pub fn holds(&mut self, item: Item, number: usize) {
        self.items.insert(item, Entry::new(number));
    }

    /// A delivery was recorded, or the disk failed meanwhile.
    pub fn settled(&mut self, item: &Item, is_certain: bool) {
        let entry = self.items.get_mut(item).expect("it was claimed");
        entry.stand = if is_certain { Stand::Done } else { Stand::Unsure };
        if !is_certain {
            entry.excused += 1;
            self.letters[entry.number].copies += 1;
        }
    }

    /// The machine stopped: whatever it was sending, it knows nothing of.
    pub fn stopped(&mut self, machine: usize) -> u64 {
        let of = |item: &Item| matches!(item, Item::Held { machine: of, .. } if *of == machine);
        let open = self.items.iter().filter(|(item, entry)| of(item) && entry.attempt.is_some());
        let open: Vec<_> = open.map(|(item, _)| item.clone()).collect();
        let lost = open.iter().filter(|item| {
            let recorded = self.items[*item].stand == Stand::Done;
            self.ended(item, recorded, true) == Ok(true)
        });
        lost.count() as u64
    }

    /// What a machine found after a start: each item, and the number of its message.
    pub fn found(&mut self, machine: usize, found: &BTreeMap<Item, usize>) -> Result<(), String> {
        let of = |item: &Item| matches!(item, Item::Held { machine: of, .. } if *of == machine);
        for (item, entry) in self.items.iter_mut().filter(|(item, _)| of(item)) {
            match (found.get(item), entry.stand) {
                (Some(number), _) if *number != entry.number => {
                    return Err(format!("{item:?} is another message"));
                }
                (Some(_), Stand::Done) => return Err(format!("{item:?} is back, and was done")),
                (None, Stand::Holds) => return Err(format!("{item:?} is lost")),
                (Some(_), _) => entry.stand = Stand::Holds,
                (None, _) => entry.stand = Stand::Done,
            }
        }
        for (item, number) in found {
            self.items.entry(item.clone()).or_insert_with(|| Entry::new(*number));
        }
        Ok(())
    }

    /// It has come to where it is read.
    pub fn delivered(&mut self, number: usize, domain: &Domain) -> Result<bool, String> {
        let letter = &mut self.letters[number];
        if !letter.domains.contains(domain) {
            return Err(format!("message {number} came to {domain}, where nobody sent it"));
        }
        let count = letter.delivered.entry(domain.clone()).or_default();
        *count += 1;
        match *count > 1 + letter.copies {
            true => Err(format!("message {number} came {count} times to {domain}")),
            false => Ok(*count > 1),
        }
    }

    /// Messages that have not come to each of their domains.
    pub fn open(&self) -> BTreeSet<usize> {
        let is_there =
            |letter: &Letter| letter.acknowledged && letter.delivered.len() == letter.domains.len();
        (0..self.letters.len()).filter(|number| !is_there(&self.letters[*number])).collect()
    }
}

impl Entry {
    fn new(number: usize) -> Self {
        Self { number, stand: Stand::Holds, taken: 0, excused: 0, attempt: None }
    }
}
