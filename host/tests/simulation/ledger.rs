//! What must have become of each message, as the hosts and the spool saw it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use postern_spool::MsgId;

use crate::world::State;

/// What a recipient's host thinks of it, whatever its mood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Plain,
    /// 550.
    Refused,
    /// 452 4.2.2, until the end.
    Full,
    /// 450 so many times.
    Later(u32),
    /// The host hangs up at it, until the end.
    Poison,
}

#[derive(Debug)]
pub struct Message {
    pub id: MsgId,
    pub body: Vec<u8>,
    /// Its header is not ASCII.
    pub needs_utf8: bool,
    pub recipients: Vec<Recipient>,
}

#[derive(Debug)]
pub struct Recipient {
    pub path: String,
    pub domain: usize,
    pub nature: Nature,
    /// When a host took the message for it, and whether it could say so.
    pub accepted: Vec<Accepted>,
    /// A host refused it for good, and whether that refuses everything.
    pub refused: bool,
    pub by_host: bool,
    /// The spool has recorded its delivery.
    pub recorded: bool,
    pub removed: Option<u64>,
    pub held: bool,
    /// Since when it may go: its arrival, or when a person let it go.
    pub free: u64,
    /// Nothing but its host, the spool and people can hold its message up.
    pub is_plain: bool,
}

/// Who sends a message: in which life of the server, and under which turns.
#[derive(Debug, Clone, Default)]
pub struct Sender {
    pub life: u32,
    /// For each domain of the message that was claimed, its turn.
    pub turns: Vec<(usize, u64)>,
}

/// A host has taken a message.
#[derive(Debug)]
pub struct Accepted {
    /// Under which turn, and in which life of the server.
    turn: Option<u64>,
    life: u32,
    /// The host did not say so.
    silent: bool,
}

#[derive(Debug)]
pub struct Domain {
    pub name: String,
    pub host: usize,
    pub on_demand: bool,
    /// When its configuration was last another.
    pub changed: u64,
    pub held: bool,
    /// The last time that something held its mail up, and when something last put it off.
    pub delayed: u64,
    pub put_off: Option<u64>,
    /// When it was last released.
    pub asked: Option<u64>,
    /// It was put off since its host could not be reached; and when that was reached after all.
    pub waits_for_host: bool,
    pub woken: Option<u64>,
    /// Messages that are kept since its host last took one, which had not shown in that turn that
    /// it takes any.
    pub unproved: BTreeSet<usize>,
}

impl Domain {
    pub const fn new(name: String, host: usize, on_demand: bool) -> Self {
        Self {
            name,
            host,
            on_demand,
            changed: 0,
            held: false,
            delayed: 0,
            put_off: None,
            asked: None,
            waits_for_host: false,
            woken: None,
            unproved: BTreeSet::new(),
        }
    }
}

impl Recipient {
    pub const fn new(path: String, domain: usize, nature: Nature, is_plain: bool) -> Self {
        Self {
            path,
            domain,
            nature,
            accepted: Vec::new(),
            refused: false,
            by_host: false,
            recorded: false,
            removed: None,
            held: false,
            free: 0,
            is_plain,
        }
    }
}

/// A turn, as the spool saw it.
#[derive(Debug, Default)]
pub struct Turn {
    pub domain: usize,
    pub begun: u64,
    pub suspended: bool,
    /// What it claimed: the recipients in the claim's order.
    pub claims: HashMap<MsgId, (usize, Vec<usize>)>,
    /// It has lost its right to send, or could not record what it sent.
    pub lapsed: bool,
    /// A host took something of it.
    pub taken: bool,
    /// Since when nothing can be recorded, and how many bodies were opened since.
    pub trouble: Option<u64>,
    pub opened_in_trouble: BTreeSet<usize>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub messages: Vec<Message>,
    pub by_id: HashMap<MsgId, usize>,
    pub domains: Vec<Domain>,
    pub turns: BTreeMap<u64, Turn>,
    /// Which turn claimed a message of a domain last.
    pub claimed_by: BTreeMap<(usize, usize), u64>,
    /// Grows with each restart.
    pub life: u32,
    /// Domains whose postmaster's mail a host took, or refused, and when.
    pub probed: BTreeMap<(usize, bool), u64>,
}

impl Ledger {
    pub fn domain(&self, name: &str) -> Option<usize> {
        self.domains.iter().position(|domain| domain.name == name)
    }

    /// A message's recipient for whom it is still to be delivered.
    pub fn open(&self) -> impl Iterator<Item = (usize, usize, &Recipient)> {
        let all = self.messages.iter().enumerate().flat_map(|(number, message)| {
            let recipients = message.recipients.iter().enumerate();
            recipients.map(move |(nth, recipient)| (number, nth, recipient))
        });
        all.filter(|(_, _, recipient)| !recipient.recorded && recipient.removed.is_none())
    }
}

impl State {
    /// Whether a domain's host can't be sent the message at all.
    pub fn is_unsendable(&self, number: usize, domain: usize) -> bool {
        let (message, host) = (&self.ledger.messages[number], self.ledger.domains[domain].host);
        let host = &self.hosts[host];
        let is_too_large = host.size_max.is_some_and(|max| message.body.len() > max);
        is_too_large || message.needs_utf8 && !host.offers_word("SMTPUTF8")
    }

    /// Who sends a message now.
    pub fn sender(&self, number: usize, life: u32) -> Sender {
        let claimed_by = self.ledger.claimed_by.range((number, 0)..(number + 1, 0));
        let turns = claimed_by.map(|((_, domain), turn)| (*domain, *turn)).collect();
        Sender { life, turns }
    }

    /// A host has taken a message whose content began at `begun`.
    pub fn accepted(
        &mut self,
        (number, nth): (usize, usize),
        sender: &Sender,
        begun: u64,
        silent: bool,
    ) {
        let life = self.ledger.life;
        let domain = self.ledger.messages[number].recipients[nth].domain;
        let turn = sender.turns.iter().find(|(of, _)| *of == domain).map(|(_, turn)| *turn);
        let recipient = &self.ledger.messages[number].recipients[nth];
        let is_lost = |earlier: &Accepted| {
            let lapsed = |turn| self.ledger.turns.get(turn).is_some_and(|turn| turn.lapsed);
            earlier.silent || earlier.life < life || earlier.turn.as_ref().is_some_and(lapsed)
        };
        let path = recipient.path.clone();
        let violation = if recipient.recorded {
            Some("was delivered, which was recorded, and is sent again")
        } else if recipient.removed.is_some_and(|removed| removed < begun) {
            Some("was removed, and is delivered")
        } else if !recipient.accepted.iter().all(is_lost) {
            Some("is sent twice, though its verdict was not lost")
        } else {
            None
        };
        self.count(if recipient.accepted.is_empty() { "taken" } else { "taken twice" });
        let recipient = &mut self.ledger.messages[number].recipients[nth];
        recipient.accepted.push(Accepted { turn, life: sender.life, silent });
        if let Some(turn) = turn.and_then(|turn| self.ledger.turns.get_mut(&turn)) {
            turn.taken = true;
        }
        if let Some(violation) = violation {
            self.violated(format!("{path} {violation}"));
        }
    }

    /// A turn can't record any more what it has sent.
    pub fn lapsed(&mut self, fence: u64) {
        if let Some(turn) = self.ledger.turns.get_mut(&fence) {
            turn.lapsed = true;
        }
    }

    /// Something holds up all mail for so many milliseconds.
    pub fn delay_all(&mut self, lasts: u64) {
        let until = self.now + lasts;
        let domains = self.ledger.domains.iter_mut();
        domains.for_each(|domain| domain.delayed = domain.delayed.max(until));
    }

    /// Who was woken may have been forgotten.
    pub fn forget_woken(&mut self) {
        self.ledger.domains.iter_mut().for_each(|domain| domain.woken = None);
    }

    /// A host has answered EHLO: what could not reach it before goes now.
    pub fn greeted(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].greeted = Some(now);
        for domain in self.ledger.domains.iter_mut().filter(|domain| domain.host == host) {
            if std::mem::take(&mut domain.waits_for_host) {
                domain.woken = Some(now);
            }
        }
    }

    /// Something put off what goes to `host`.
    pub fn put_off_host(&mut self, host: usize) {
        let now = self.now;
        let domains = self.ledger.domains.iter_mut().filter(|domain| domain.host == host);
        domains.for_each(|domain| domain.put_off = Some(now));
    }

    /// Somebody asked for a domain.
    pub fn asked(&mut self, domain: usize) {
        self.ledger.domains[domain].asked = Some(self.now);
        let host = self.ledger.domains[domain].host;
        self.hosts[host].allow_more(12);
    }

    /// The hour's allowance of connections grows with what there is to do.
    pub fn has_work(&mut self, domain: usize) {
        let host = self.ledger.domains[domain].host;
        self.hosts[host].allow_more(4);
    }
}
