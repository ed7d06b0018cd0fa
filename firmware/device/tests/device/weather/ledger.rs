//! What must have become of each message: what clients were told, and what the next hop took.

use std::collections::{BTreeMap, BTreeSet};

use embassy_time::Instant;
use postern_core::envelope::State;

use super::mail::PATIENCE;
use crate::sim::contents::Held;
use crate::sim::hop::Taken;
use crate::sim::messages::numbered;

/// What a client knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Acknowledged,
    /// The end was sent, and nothing came back, or that nobody knows.
    Unknown,
    /// It was not taken, or its end was not sent.
    Refused,
}

#[derive(Debug)]
struct Message {
    fate: Fate,
    at: Instant,
    recipients: Vec<&'static str>,
}

/// Calls of the card failed between these.
struct Excuse {
    begun: Instant,
    end: Instant,
    failed: u64,
    /// Which of what the next hop took then came again.
    again: BTreeSet<usize>,
}

/// What is known of all messages, each by its number.
#[derive(Default)]
pub struct Ledger {
    messages: BTreeMap<u64, Message>,
    /// Which of what the next hop took has come to whom, in order.
    copies: BTreeMap<(u64, String), Vec<usize>>,
    /// What of that was looked at.
    seen: usize,
    /// Whom the next hop refused for good.
    pub refused: BTreeSet<(u64, String)>,
    /// Messages that came again, since the device had not heard that they were taken.
    pub again: u64,
    /// The same, since the card did not take that they were.
    pub excused: u64,
    /// When calls of the card failed.
    excuses: Vec<Excuse>,
    /// Blocks of the card that were hurt. Each may cost one message, for a person to look at.
    pub hurt: u64,
    /// Messages that were flagged for that, or whose envelope can't be read.
    flagged: BTreeSet<u64>,
    /// Notices of what is wrong.
    pub notices: u64,
}

impl Ledger {
    /// A new message, whose end is not sent yet.
    pub fn begin(&mut self, recipients: &[&'static str]) -> u64 {
        let number = self.messages.len() as u64;
        let recipients = recipients.to_vec();
        let message = Message { fate: Fate::Refused, at: Instant::now(), recipients };
        self.messages.insert(number, message);
        number
    }

    pub fn learn(&mut self, number: u64, fate: Fate) {
        let message = self.messages.get_mut(&number).expect("it was begun");
        (message.fate, message.at) = (fate, Instant::now());
    }

    /// Looks at what the next hop has taken since the last time; it need not keep the contents.
    pub fn see(&mut self, taken: &mut [Taken]) -> Result<(), String> {
        for index in self.seen..taken.len() {
            self.seen = index + 1;
            if taken[index].from.is_empty() {
                self.notices += 1;
                continue;
            }
            let number = number_of(&taken[index].from).ok_or("a sender that nobody is")?;
            let message = self.messages.get(&number).ok_or("a message that nobody sent")?;
            if message.fate == Fate::Refused {
                return Err(format!("m{number} came, and was not taken from its client"));
            }
            if taken[index].message() != numbered(number) {
                return Err(format!("m{number} did not come whole"));
            }
            for to in taken[index].recipients.clone() {
                if !message.recipients.contains(&to.as_str()) {
                    return Err(format!("m{number} is not for {to}"));
                }
                let copies = self.copies.entry((number, to.clone())).or_default();
                // A hop that ponders takes one whose sender is gone behind the one that came next.
                let place = copies.partition_point(|copy| taken[*copy].at <= taken[index].at);
                copies.insert(place, index);
                let around = &copies[place.saturating_sub(1)..copies.len().min(place + 2)];
                for pair in around.windows(2) {
                    let [first, again] = [pair[0], pair[1]].map(|copy| &taken[copy]);
                    if !first.is_heard {
                        self.again += 1;
                    } else if is_excused(&mut self.excuses, first.at, pair[0]) {
                        self.excused += 1;
                    } else {
                        let at = [first.at, again.at].map(|at| at.as_secs());
                        return Err(format!("m{number} came to {to} without cause: {at:?} s"));
                    }
                }
            }
            taken[index].content = Vec::new();
        }
        Ok(())
    }

    /// So many calls of the card failed between these.
    pub fn excuse(&mut self, begun: Instant, end: Instant, failed: u64) {
        self.excuses.push(Excuse { begun, end, failed, again: BTreeSet::new() });
    }

    /// What has not gone on must be kept on the card, where a hurt block each is the reason.
    pub fn keep(
        &mut self,
        open: &[(u64, &str)],
        held: &[(Option<u64>, Held)],
    ) -> Result<(), String> {
        let is_kept = |message: &Held| message.is_flagged || message.recipients.is_empty();
        let kept = held.iter().filter(|(_, message)| is_kept(message));
        let kept: BTreeSet<u64> = kept.filter_map(|(number, _)| *number).collect();
        let open: BTreeSet<u64> = open.iter().map(|(number, _)| *number).collect();
        if let Some(missing) = open.difference(&kept).next() {
            let held = held.iter().find(|(number, _)| *number == Some(*missing));
            return Err(format!("m{missing} has not gone on; on the card: {held:?}"));
        }
        self.flagged.extend(open);
        if self.flagged.len() as u64 > self.hurt {
            let (kept, hurt) = (self.flagged.len(), self.hurt);
            return Err(format!("{kept} messages can't be read, and {hurt} blocks are hurt"));
        }
        Ok(())
    }

    /// Messages that can't be read.
    pub fn kept(&self) -> u64 {
        self.flagged.len() as u64
    }

    /// What was acknowledged before `since`, and has neither come nor been refused.
    pub fn open(&self, since: Instant) -> Vec<(u64, &'static str)> {
        let is_due = |message: &Message| message.fate == Fate::Acknowledged && message.at < since;
        let messages = self.messages.iter().filter(|(_, message)| is_due(message));
        let recipients = messages.flat_map(|(number, message)| {
            message.recipients.iter().map(|recipient| (*number, *recipient))
        });
        recipients.filter(|(number, to)| !self.is_settled(*number, to)).collect()
    }

    fn is_acknowledged(&self, number: u64) -> bool {
        self.messages.get(&number).is_some_and(|message| message.fate == Fate::Acknowledged)
    }

    /// Whether the last that its client heard, or missed, of a message was after `since`, or just
    /// before.
    fn is_young(&self, number: u64, since: Instant) -> bool {
        self.messages.get(&number).is_some_and(|message| message.at + PATIENCE >= since)
    }

    fn is_settled(&self, number: u64, to: &str) -> bool {
        let key = (number, to.to_owned());
        let is_kept = self.flagged.contains(&number);
        is_kept || self.copies.contains_key(&key) || self.refused.contains(&key)
    }

    /// What is on the card must be what has not come. What was sent before `since` has had its
    /// time; later messages may wait, or be on their way.
    pub fn check_card(
        &mut self,
        held: &[(Option<u64>, Held)],
        since: Instant,
    ) -> Result<(), String> {
        let open = self.open(since);
        self.keep(&open, held)?;
        let numbers: BTreeSet<u64> = held.iter().filter_map(|(number, _)| *number).collect();
        let all = self.open(Instant::MAX);
        if let Some((lost, to)) = all.iter().find(|(number, _)| !numbers.contains(number)) {
            return Err(format!("m{lost} has not come to {to}, and is not on the card"));
        }
        let held_for = held.iter().flat_map(|(number, message)| {
            message.recipients.iter().map(|(to, _)| (number.unwrap_or(u64::MAX), to.clone()))
        });
        let held_for: BTreeSet<_> = held_for.collect();
        if let Some(lost) = self.refused.iter().find(|key| {
            self.is_acknowledged(key.0) && !self.copies.contains_key(key) && !held_for.contains(key)
        }) {
            return Err(format!("{lost:?} is refused, and not on the card"));
        }
        for (number, message) in held {
            for (to, state) in &message.recipients {
                let Some(number) = *number else { continue };
                let key = (number, to.clone());
                let is_right = match state {
                    State::Delivered => self.copies.contains_key(&key),
                    State::Refused => self.refused.contains(&key) || self.flagged.contains(&number),
                    State::Waiting => self.is_young(number, since),
                    State::Expired => false,
                };
                if !is_right {
                    return Err(format!("m{} is on the card, for {to}: {state:?}", key.0));
                }
            }
        }
        Ok(())
    }
}

/// Whether a failed call of the card is left to excuse that the `copy` of a message, which the next
/// hop took `at` this time, came again.
fn is_excused(excuses: &mut [Excuse], at: Instant, copy: usize) -> bool {
    let mut then = excuses.iter_mut().filter(|it| (it.begun..it.end).contains(&at));
    then.any(|it| {
        it.again.contains(&copy) || (it.again.len() as u64) < it.failed && it.again.insert(copy)
    })
}

/// Who sends a message.
pub fn sender(number: u64) -> String {
    format!("m{number}@origin.example")
}

/// Whose number a sender is.
pub fn number_of(sender: &str) -> Option<u64> {
    sender.strip_prefix('m')?.split('@').next()?.parse().ok()
}
