//! What is known of each message: who has answered for it, and how often it may come.

use std::collections::{BTreeMap, BTreeSet};

use postern_spool::{Domain, MsgId};

use crate::wire::Heard;

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
    /// That it had been delivered could not be recorded for certain.
    Unsure,
    /// It has recorded that it was delivered.
    Done,
}

/// A next hop took it, durably.
#[derive(Debug)]
struct Taking {
    heard: Heard,
    /// Whoever heard that has forgotten it.
    void: bool,
}

impl Taking {
    fn is_lost(&self) -> bool {
        self.void || self.heard.is_lost()
    }
}

#[derive(Debug)]
struct Entry {
    number: usize,
    stand: Stand,
    takings: Vec<Taking>,
}

/// A message as it was written.
pub struct Letter {
    pub domains: Vec<Domain>,
    pub body: Vec<u8>,
    /// Copies that may come to each domain, beyond the first.
    copies: BTreeMap<Domain, u32>,
    pub acknowledged: bool,
    pub delivered: BTreeMap<Domain, u32>,
}

impl Letter {
    fn may_come_again(&mut self, domains: &[Domain]) {
        domains.iter().for_each(|domain| *self.copies.entry(domain.clone()).or_default() += 1);
    }
}

#[derive(Default)]
pub struct Ledger {
    pub letters: Vec<Letter>,
    items: BTreeMap<Item, Entry>,
    /// What a machine may have though it has not answered for it.
    uncertain: BTreeSet<(usize, usize)>,
}

/// What a message is that came, by its octets.
pub struct Known {
    pub number: usize,
    /// Its id where it was held last.
    pub held: Option<MsgId>,
}

impl Ledger {
    /// A new message; its number stands at the end of its first line.
    pub fn write(&mut self, domains: Vec<Domain>, text: &str) -> usize {
        let number = self.letters.len();
        let body = format!("Message-ID: <{number}>\r\n\r\n{text}").into_bytes();
        let (copies, acknowledged, delivered) = (BTreeMap::new(), false, BTreeMap::new());
        self.letters.push(Letter { domains, body, copies, acknowledged, delivered });
        self.items.insert(Item::Sent(number), Entry::new(number));
        number
    }

    /// What a message is that came whole, with nothing but Received fields on top.
    pub fn identify(&self, message: &[u8]) -> Result<Known, String> {
        let nobody = || format!("nobody wrote this: {:?}", String::from_utf8_lossy(message));
        let mut rest = message;
        let mut held = None;
        while rest.starts_with(b"Received:") {
            let (field, behind) = split_field(rest).ok_or_else(nobody)?;
            if held.is_none() {
                held = Some(id_of(field).ok_or_else(nobody)?);
            }
            rest = behind;
        }
        let line = rest.split(|octet| *octet == b'>').next().unwrap_or_default();
        let digits = line.strip_prefix(b"Message-ID: <").and_then(|n| std::str::from_utf8(n).ok());
        let number: Option<usize> = digits.and_then(|digits| digits.parse().ok());
        let is_it = |number: &usize| self.letters.get(*number).is_some_and(|l| l.body == rest);
        number.filter(is_it).map(|number| Known { number, held }).ok_or_else(nobody)
    }

    /// The next hop has it, durably, and says so. True: it was there before, as it may be.
    pub fn taken(&mut self, item: &Item, heard: Heard) -> Result<bool, String> {
        let entry = self.items.get_mut(item).ok_or_else(|| format!("{item:?} came, unknown"))?;
        entry.takings.push(Taking { heard, void: false });
        let lost = entry.takings.iter().filter(|taking| taking.is_lost()).count();
        match (entry.stand, entry.takings.len() > 1 + lost) {
            (Stand::Done, _) => return Err(format!("{item:?} was sent again though it was done")),
            (_, true) => return Err(format!("{item:?} came twice, and no final reply was lost")),
            (_, false) => {}
        }
        if entry.takings.len() == 1 {
            return Ok(false);
        }
        let letter = &mut self.letters[entry.number];
        let domains = match item {
            Item::Sent(_) => letter.domains.clone(),
            Item::Held { domain, .. } => vec![domain.clone()],
        };
        letter.may_come_again(&domains);
        Ok(true)
    }

    /// The machine may have it: its disk failed meanwhile.
    pub fn maybe_holds(&mut self, machine: usize, number: usize) {
        self.uncertain.insert((machine, number));
    }

    /// Which message an item is of, if it is known.
    pub fn number(&self, item: &Item) -> usize {
        self.items.get(item).map_or(usize::MAX, |entry| entry.number)
    }

    /// All that is known of a message.
    pub fn describe(&self, number: usize) -> String {
        let items = self.items.iter().filter(|(_, entry)| entry.number == number);
        let items: Vec<_> =
            items.map(|(item, entry)| format!("{item:?}: {:?}", entry.stand)).collect();
        format!("m{number}: {}", items.join(", "))
    }

    /// A machine has answered for a message.
    pub fn holds(&mut self, item: Item, number: usize) {
        self.items.insert(item, Entry::new(number));
    }

    /// Whoever sends it knows that it was delivered, or that it was not.
    pub fn known(&self, item: &Item, delivered: bool) -> Result<(), String> {
        let entry = self.items.get(item).ok_or_else(|| format!("{item:?} is settled, unknown"))?;
        let is_heard = entry.takings.iter().any(|taking| taking.heard.is_heard() && !taking.void);
        match (delivered, is_heard) {
            (true, false) => Err(format!("{item:?} counts as delivered, and nobody has it")),
            (false, true) => Err(format!("{item:?} was taken, and its sender does not know")),
            _ => Ok(()),
        }
    }

    /// A delivery was recorded, or that is not certain.
    pub fn settled(&mut self, item: &Item, is_certain: bool) {
        let entry = self.items.get_mut(item).expect("it is known");
        entry.stand = if is_certain { Stand::Done } else { Stand::Unsure };
    }

    /// It is to be sent: what could not be recorded of it was not.
    pub fn claimed(&mut self, item: &Item) -> Result<(), String> {
        let entry = self.items.get_mut(item).ok_or_else(|| format!("{item:?} goes, unknown"))?;
        match entry.stand {
            Stand::Done => return Err(format!("{item:?} goes again though it was done")),
            Stand::Unsure => entry.takings.iter_mut().for_each(|taking| taking.void = true),
            Stand::Holds => {}
        }
        entry.stand = Stand::Holds;
        Ok(())
    }

    /// A sender has its 250.
    pub fn acknowledged(&mut self, number: usize) {
        self.letters[number].acknowledged = true;
        self.settled(&Item::Sent(number), true);
    }

    /// The machine stopped: what it had heard and not recorded it has forgotten. How often.
    pub fn stopped(&mut self, machine: usize) -> u64 {
        let mut forgotten = 0;
        for (_, entry) in self.items.iter_mut().filter(|(item, _)| item.is_of(machine)) {
            let is_open = entry.stand != Stand::Done;
            for taking in entry.takings.iter_mut().filter(|taking| is_open && !taking.void) {
                taking.void = true;
                forgotten += 1;
            }
        }
        forgotten
    }

    /// What a machine found after a start: each item, and the number of its message.
    pub fn found(&mut self, machine: usize, found: &BTreeMap<Item, usize>) -> Result<(), String> {
        for (item, entry) in self.items.iter_mut().filter(|(item, _)| item.is_of(machine)) {
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
            if self.items.contains_key(item) {
                continue;
            }
            if !self.uncertain.contains(&(machine, *number)) {
                return Err(format!("{item:?} is there, and was never taken"));
            }
            if let Item::Held { domain, .. } = item {
                self.letters[*number].may_come_again(std::slice::from_ref(domain));
            }
            self.items.insert(item.clone(), Entry::new(*number));
        }
        Ok(())
    }

    /// It has come to where it is read. True: not for the first time.
    pub fn delivered(&mut self, number: usize, domain: &Domain) -> Result<bool, String> {
        let letter = &mut self.letters[number];
        if !letter.domains.contains(domain) {
            return Err(format!("message {number} came to {domain}, where nobody sent it"));
        }
        let count = letter.delivered.entry(domain.clone()).or_default();
        *count += 1;
        match *count > 1 + letter.copies.get(domain).copied().unwrap_or_default() {
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

impl Item {
    fn is_of(&self, of: usize) -> bool {
        matches!(self, Self::Held { machine, .. } if *machine == of)
    }
}

impl Entry {
    fn new(number: usize) -> Self {
        Self { number, stand: Stand::Holds, takings: Vec::new() }
    }
}

/// The first field, folded or not, and what is behind it.
pub fn split_field(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += message[at..].windows(2).position(|two| two == b"\r\n")? + 2;
        if !matches!(message.get(at), Some(b' ' | b'\t')) {
            return Some(message.split_at(at));
        }
    }
}

/// The id in a Received field of ours.
fn id_of(field: &[u8]) -> Option<MsgId> {
    let text = std::str::from_utf8(field).ok()?;
    let mut words = text.split_ascii_whitespace().skip_while(|word| *word != "id").skip(1);
    words.next()?.split(['/', ';']).next()?.parse().ok()
}
