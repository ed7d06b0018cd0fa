//! The network's servers, and the moods that they are in.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Tally;
use super::ledger::number_of;
use crate::sim::hop::{Asked, Notes};
use crate::sim::servers::{NO_NAME, all_names, answer_time};
use crate::sim::world::{FAR, NOBODY, World};

/// 2026-01-02T03:04:05Z.
const BOOT: u64 = 1_767_323_045;
/// A name server can't answer (RFC 1035 §4.1.1).
const SERVER_FAILURE: u8 = 2;
/// The kiss of death (RFC 5905 §7.4) has this stratum.
const KISS: u8 = 0;

/// How names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Well,
    Silent,
    Fail,
    Unknown,
    /// They have the address of nobody.
    Lie,
}

/// What a time server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Well,
    Silent,
    Kiss,
    /// It is so many seconds ahead.
    Ahead(i64),
}

/// How the next hop takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    Well,
    /// 421 in place of a greeting.
    Busy,
    /// 450 to every second message's recipients.
    DefersRecipients,
    /// 451 to each message.
    DefersMessages,
    /// 550 to some recipients.
    Refuses,
    /// 421 where the message would come.
    BreaksOff,
}

/// How often what happened. A clone is the same one.
pub type Counts = Rc<RefCell<Tally>>;

/// The moods of all of them.
pub struct Moods {
    pub names: Cell<Names>,
    pub time: Cell<Time>,
    pub taking: Cell<Taking>,
    /// Whether the holder refuses.
    pub holder: Cell<bool>,
    /// Whom the next hop refused, of which message, since somebody looked.
    pub refused: RefCell<Vec<(u64, String)>>,
    counts: Counts,
}

impl Moods {
    /// Of servers that are well; starts those of names and of the time.
    pub fn new(world: &World, counts: &Counts) -> Rc<Self> {
        let moods = Rc::new(Self {
            names: Cell::new(Names::Well),
            time: Cell::new(Time::Well),
            taking: Cell::new(Taking::Well),
            holder: Cell::new(false),
            refused: RefCell::default(),
            counts: counts.clone(),
        });
        let names = moods.clone();
        let all = ["hop.example", "holder.example", "time.example"];
        all_names(world, &all, move |_| match names.names.get() {
            Names::Well => Some(Ok(FAR)),
            Names::Silent => names.count("name not answered", None),
            Names::Fail => names.count("SERVFAIL", Some(Err(SERVER_FAILURE))),
            Names::Unknown => names.count("no such name", Some(Err(NO_NAME))),
            Names::Lie => names.count("a wrong address", Some(Ok(NOBODY))),
        });
        let (tells, kisses) = (moods.clone(), moods.clone());
        let boot = move |_| match tells.time.get() {
            Time::Well | Time::Kiss => Some(BOOT),
            Time::Silent => tells.count("time not told", None),
            Time::Ahead(seconds) => tells.count("a wrong time", BOOT.checked_add_signed(seconds)),
        };
        answer_time(world, boot, move |answer| {
            if kisses.time.get() == Time::Kiss {
                answer[1] = kisses.count("kiss of death", KISS);
            }
        });
        moods
    }

    /// Has `hop` and `holder` answer by them.
    pub fn guide(self: &Rc<Self>, hop: &Notes, holder: &Notes) {
        let (moods, mut number) = (self.clone(), None);
        hop.answer(move |asked| {
            if let Asked::Mail(from) = asked {
                number = number_of(from);
            }
            moods.answer(number, asked)
        });
        let moods = self.clone();
        holder.answer(move |asked| match asked {
            Asked::Etrn(_) if moods.holder.get() => {
                moods.count("ETRN refused", Some("458 4.3.0 not now"))
            }
            _ => None,
        });
    }

    /// What the hop says, with message `number` in hand; none: a notice.
    fn answer(&self, number: Option<u64>, asked: Asked<'_>) -> Option<&'static str> {
        let is_one_of = |many: u64| number.is_none_or(|number| number.is_multiple_of(many));
        match (self.taking.get(), asked) {
            (Taking::Busy, Asked::Greeting) => {
                self.count("greeted with 421", Some("421 4.3.2 not yet"))
            }
            (Taking::DefersRecipients, Asked::Recipient(_)) if is_one_of(2) => {
                self.count("recipient put off", Some("450 4.2.1 later"))
            }
            (Taking::DefersMessages, Asked::Message(_)) => {
                self.count("message put off by the hop", Some("451 4.3.0 later"))
            }
            (Taking::Refuses, Asked::Recipient(to)) if is_one_of(5) => {
                let refused = number.map(|number| (number, to.to_owned()));
                self.refused.borrow_mut().extend(refused);
                self.count("recipient refused", Some("550 5.1.1 who?"))
            }
            (Taking::BreaksOff, Asked::Data) => self.count("broken off", Some("421 4.3.0 out")),
            _ => None,
        }
    }

    fn count<T>(&self, what: &str, answer: T) -> T {
        *self.counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
        answer
    }
}
