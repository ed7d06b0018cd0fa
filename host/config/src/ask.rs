//! Who a domain takes mail for, as its host says when it is asked.

use std::time::Duration;

use super::settings::{Word, settings};
use super::values::{Count, unexpected};
use super::{Config, Faults, Recipients, Written};

settings! {
/// Domains with recipients = "ask": their host is asked by RCPT, without sending anything, and what
/// it says is remembered on the disk.
pub struct Ask {
    /// How long an answer is believed that there is such a mailbox. It is asked for again, by the
    /// way, once half of this is over.
    pub yes: Duration => Default("\"7d\""),
    /// How long one is believed that there is none.
    pub no: Duration => Default("\"1h\""),
    /// Answers that are remembered. A mailbox that there is never makes place for one that there
    /// is not.
    pub remember: Count<100> => Default("100000"),
    /// Questions to one host, as "10/min" or "600/h". Where several clients' recipients are asked
    /// about, each network has its share.
    pub rate: AskRate => Default("\"10/min\""),
}
}

/// Questions in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskRate {
    /// How many.
    pub questions: u32,
    /// In what time.
    pub per: Duration,
}

impl Word for AskRate {
    const EXPECTED: &'static str = "a rate such as \"10/min\" or \"600/h\"";

    fn parse(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, unit) = text.split_once('/')?;
            let questions = number.trim_end().parse().ok().filter(|number| *number > 0)?;
            let seconds = match unit.trim_start() {
                "s" => 1,
                "min" => 60,
                "h" => 3600,
                _ => return None,
            };
            Some(Self { questions, per: Duration::from_secs(seconds) })
        };
        read().ok_or_else(|| unexpected::<Self>(text))
    }
}

/// What becomes of a recipient that nothing can be found out about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAway {
    /// Its sender is told to try later.
    Defer,
    /// It is taken.
    Accept,
}

impl Word for WhenAway {
    const EXPECTED: &'static str = "\"defer\" or \"accept\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "defer" => Ok(Self::Defer),
            "accept" => Ok(Self::Accept),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

impl Config {
    /// Where mail is fetched, or put into files, nobody is there to be asked.
    pub(super) fn refuse_unanswered(&self, written: &Written, faults: &mut Faults<'_>) {
        for (domain, hold) in &self.hold {
            let is_host = hold.deliver_to.endpoint().is_some();
            if hold.recipients == Recipients::Ask && !is_host {
                let key = format!("hold.\"{domain}\".recipients");
                let reason = "is \"ask\", and deliver_to names no host that could be asked: write \
                    a list, a file or \"any\"";
                faults.add_at(written.line(&key), &key, reason.to_owned());
            }
        }
    }
}
