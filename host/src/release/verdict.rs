//! What a host's replies mean for the message, and what a row of them means for the turn.

use std::time::Duration;

use postern_core::client::reply::Enhanced;

use crate::deliver::Stage;

/// Pauses before a full mailbox is tried again; the last is the pause from then on.
const FULL_PAUSES: [Duration; 4] = [
    Duration::from_secs(30 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(4 * 60 * 60),
];
/// Messages that a host may defer in a row before its domain is put off. Hosts that defer each
/// sender's first message (greylisting) must not be taken for those that take nothing.
const DEFERRED_IN_A_ROW: u32 = 20;
/// Messages that a host may refuse in a row, none taken, before it is asked whether it takes any.
pub(super) const REFUSED_IN_A_ROW: usize = 3;

/// What a reply means for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The host has it.
    Taken,
    /// Not now.
    Later,
    /// Not while the mailbox, or the disk, is full: a matter of hours.
    Full,
    /// Never.
    Refused,
    /// It is not about the message: the host closes the connection (421).
    Closing,
}

/// What `code`, with its enhanced status code (RFC 3463), means as the reply at `stage`.
pub(super) fn meaning(stage: Stage, code: u16, enhanced: Option<Enhanced>) -> Meaning {
    let status = enhanced.map(|enhanced| (enhanced.subject, enhanced.detail));
    match (code, status) {
        (421, _) => Meaning::Closing,
        (200..300, _) => Meaning::Taken,
        // RFC 3463: X.2.2, mailbox full.
        (400..600, Some((2, 2))) => Meaning::Full,
        // RFC 3463: X.3.4, message too big for system.
        (500..600, Some((3, 4))) => Meaning::Refused,
        // RFC 5321 §4.5.3.1.10: "exceeded storage allocation", or, from old servers, too many
        // recipients. Behind DATA it is about the size of this message.
        (552, _) if stage == Stage::Recipient => Meaning::Full,
        (500..600, _) => Meaning::Refused,
        _ => Meaning::Later,
    }
}

/// How long a full mailbox is left alone after so many attempts, this one included.
pub(super) fn full_pause(attempts: u16) -> Duration {
    let last = FULL_PAUSES.len() - 1;
    FULL_PAUSES[usize::from(attempts.saturating_sub(1)).min(last)]
}

/// What became of one message as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// Somebody got it.
    Taken,
    /// All were refused for good.
    Refused,
    /// The host took it for nobody, for reasons that may be its own.
    Deferred,
    /// For reasons of the message's, or none: it says nothing of the host.
    Neither,
}

/// What a turn does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next message.
    GoOn,
    /// Ask the host whether it takes mail for the domain's postmaster, before the refused messages
    /// are settled.
    Ask,
    /// End the turn; the domain waits for its next try.
    PutOff,
}

/// How a turn has gone so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Course {
    taken: bool,
    deferred: u32,
    refused: usize,
    /// The host has said that it takes mail for the domain.
    sound: bool,
    /// It was asked before anything was sent, and could not tell.
    asked_in_vain: bool,
}

impl Course {
    /// Notes what became of a message.
    pub(super) fn note(&mut self, whole: Whole) -> Then {
        match whole {
            Whole::Taken => {
                self.taken = true;
                (self.deferred, self.refused) = (0, 0);
            }
            Whole::Refused => (self.deferred, self.refused) = (0, self.refused + 1),
            Whole::Deferred => (self.deferred, self.refused) = (self.deferred + 1, 0),
            Whole::Neither => {}
        }
        if self.deferred >= DEFERRED_IN_A_ROW {
            Then::PutOff
        } else if self.is_suspect() && self.refused >= REFUSED_IN_A_ROW {
            Then::Ask
        } else {
            Then::GoOn
        }
    }

    /// Whether refusals may still turn out to be the host's fault: they are not settled yet.
    pub(super) const fn is_suspect(&self) -> bool {
        !self.taken && !self.sound
    }

    /// The host takes mail for the domain's postmaster: what it refuses is at fault itself.
    pub(super) const fn found_sound(&mut self) {
        self.sound = true;
    }

    /// The host was asked before anything was sent, and could not tell.
    pub(super) const fn asked_in_vain(&mut self) {
        self.asked_in_vain = true;
    }

    /// Whether asking the host once more before anything is sent would tell nothing new.
    pub(super) const fn was_asked_in_vain(&self) -> bool {
        self.asked_in_vain
    }

    /// Whether a message was taken.
    pub(super) const fn has_taken(&self) -> bool {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stage: Stage, reply: &str) -> Meaning {
        let reply = format!("{reply}\r\n");
        let parsed = postern_core::client::reply::parse(reply.as_bytes());
        let reply = parsed.expect("a reply").expect("a whole one");
        meaning(stage, reply.code(), reply.enhanced())
    }

    #[test]
    fn each_reply_has_its_meaning() {
        use Meaning::{Closing, Full, Later, Refused, Taken};
        use Stage::{Mail, Message, Recipient};
        for (stage, reply, expected) in [
            (Recipient, "250 2.1.5 ok", Taken),
            (Message, "250 queued", Taken),
            (Mail, "451 4.3.0 later", Later),
            (Recipient, "450 4.2.1 greylisted", Later),
            (Recipient, "452 too many recipients", Later),
            (Recipient, "452 4.2.2 over quota", Full),
            (Message, "452 4.2.2 over quota", Full),
            (Recipient, "550 5.2.2 over quota", Full),
            (Recipient, "552 over quota", Full),
            (Recipient, "552 5.2.2 over quota", Full),
            (Recipient, "552 5.3.4 too big", Refused),
            (Message, "552 5.2.2 over quota", Full),
            (Message, "552 too big", Refused),
            (Message, "552 5.3.4 too big", Refused),
            (Message, "552 5.2.3 longer than its owner allows", Refused),
            (Mail, "552 too big", Refused),
            (Mail, "550 5.7.1 not you", Refused),
            (Recipient, "550 5.1.1 nobody", Refused),
            (Message, "554 spam", Refused),
            (Mail, "421 4.7.0 too many messages on this connection", Closing),
            (Message, "421 4.2.2 closing", Closing),
            // An enhanced code of another class than the reply's is none.
            (Recipient, "550 4.2.2 odd", Refused),
        ] {
            assert_eq!(read(stage, reply), expected, "{reply} at {stage:?}");
        }
    }

    #[test]
    fn full_mailboxes_wait_longer_each_time() {
        let minutes = |attempts| full_pause(attempts).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 5, u16::MAX].map(minutes), [30, 30, 60, 120, 240, 240, 240]);
    }

    fn course(of: &[Whole]) -> Vec<Then> {
        let mut course = Course::default();
        of.iter().map(|whole| course.note(*whole)).collect()
    }

    #[test]
    fn a_host_that_defers_everything_is_left_alone() {
        let deferred = [Whole::Deferred; 20];
        assert_eq!(course(&deferred[..19]), [Then::GoOn; 19]);
        assert_eq!(course(&deferred).last(), Some(&Then::PutOff));
        let broken = [&deferred[..19], &[Whole::Taken], &deferred[..19]].concat();
        assert_eq!(course(&broken), [Then::GoOn; 39]);
        let full = [Whole::Neither; 100];
        assert_eq!(course(&full), [Then::GoOn; 100], "full mailboxes say nothing of the host");
    }

    #[test]
    fn a_host_that_refuses_everything_is_asked_once() {
        use Then::{Ask, GoOn};
        use Whole::{Deferred, Neither, Refused, Taken};
        assert_eq!(course(&[Refused; 3]), [GoOn, GoOn, Ask]);
        assert_eq!(course(&[Refused, Neither, Refused, Refused]), [GoOn, GoOn, GoOn, Ask]);
        assert_eq!(course(&[Refused, Refused, Deferred, Refused]), [GoOn; 4]);
        assert_eq!(course(&[Taken, Refused, Refused, Refused]), [GoOn; 4]);
        let mut asked = Course::default();
        asked.found_sound();
        assert_eq!([asked.note(Refused), asked.note(Refused), asked.note(Refused)], [GoOn; 3]);
    }
}
