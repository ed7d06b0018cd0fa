//! What a host's replies mean for a message that is held.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use postern_core::envelope::State;
use postern_core::retry::{Every, Next, Policy};
use postern_core::time::Timestamp;

use crate::config::{Hold, RetryEvery};
use postern_spool::{Fate, Outcome};

/// 9999-12-31T23:59:59Z: until it is released.
const WHEN_ASKED: u64 = 253_402_300_799;

/// When mail of `hold` that arrived at `arrival` is tried again after a failure; `None`: not any
/// more, it has expired.
pub(super) fn next_try(hold: &Hold, arrival: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let policy = Policy {
        every: match hold.retry_every {
            RetryEvery::Every(pause) => Every::Interval(pause),
            RetryEvery::Never => Every::Never,
        },
        expire_after: hold.expire_after,
    };
    let age = now.unix_seconds.saturating_sub(arrival.unix_seconds);
    let age = (now.known && arrival.known).then(|| Duration::from_secs(age));
    let unix_seconds = match policy.next(1, age, random()) {
        Next::After(pause) => now.unix_seconds.saturating_add(pause.as_secs()),
        Next::WhenAsked => WHEN_ASKED,
        Next::GiveUp => return None,
    };
    Some(Timestamp { unix_seconds, known: now.known })
}

/// As long again after `until` as that is after `now`.
pub(super) fn twice(until: Timestamp, now: Timestamp) -> Timestamp {
    let pause = until.unix_seconds.saturating_sub(now.unix_seconds);
    Timestamp { unix_seconds: until.unix_seconds.saturating_add(pause).min(WHEN_ASKED), ..until }
}

/// When the whole domain is tried again after its host could not be reached.
pub(super) fn next_try_of_domain(hold: &Hold, now: Timestamp) -> Timestamp {
    next_try(hold, now, now).expect("what arrives now has not expired")
}

/// Evenly distributed: every `RandomState` has keys of its own.
fn random() -> u32 {
    let [.., a, b, c, d] = RandomState::new().build_hasher().finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// How many recipients came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: usize,
    pub(super) refused: usize,
    pub(super) deferred: usize,
    pub(super) expired: usize,
}

impl Tally {
    pub(super) fn of(fates: &[Fate]) -> Self {
        fates.iter().fold(Self::default(), |mut tally, fate| {
            match fate.state {
                State::Delivered => tally.delivered += 1,
                State::Refused => tally.refused += 1,
                State::Waiting => tally.deferred += 1,
                State::Expired => tally.expired += 1,
            }
            tally
        })
    }

    /// The one word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self { refused: 0, deferred: 0, expired: 0, .. } => "delivered",
            Self { delivered: 0, refused: 0, expired: 0, .. } => "deferred",
            Self { delivered: 0, deferred: 0, expired: 0, .. } => "refused",
            Self { delivered: 0, refused: 0, deferred: 0, .. } => "expired",
            _ => "partial",
        }
    }
}

/// Gives up those that wait on.
pub(super) fn expire_waiting(fates: &mut [Fate]) {
    for fate in fates.iter_mut().filter(|fate| fate.state == State::Waiting) {
        fate.state = State::Expired;
    }
}

/// What is to be settled when a claim's recipients came to `fates`; those that wait on are tried
/// again at `until`.
pub(super) fn outcome(fates: Vec<Fate>, until: Option<Timestamp>) -> Outcome {
    let until = until.unwrap_or(Timestamp { unix_seconds: WHEN_ASKED, known: false });
    let first = fates.first().expect("a claim has recipients");
    let all = |state| fates.iter().all(|fate| fate.state == state);
    let alike = fates.iter().all(|fate| fate == first);
    match first.state {
        State::Delivered if all(State::Delivered) => Outcome::Delivered,
        State::Expired if all(State::Expired) => Outcome::Expired,
        State::Waiting if alike => Outcome::Defer { until, reply: first.reply.clone() },
        State::Refused if alike => Outcome::Refused { reply: first.reply.clone() },
        _ => Outcome::Partial { fates, until },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

    fn fates(of: &[(State, &str)]) -> Vec<Fate> {
        let fate = |(state, reply): &(State, &str)| Fate { state: *state, reply: (*reply).into() };
        of.iter().map(fate).collect()
    }

    #[test]
    fn a_message_is_settled_as_one_only_where_all_say_the_same() {
        use State::{Delivered, Expired, Refused, Waiting};
        let outcome = |of| outcome(fates(of), Some(UNTIL));
        assert_eq!(outcome(&[(Delivered, "250 a"), (Delivered, "250 b")]), Outcome::Delivered);
        assert_eq!(outcome(&[(Expired, "450 a"), (Expired, "450 b")]), Outcome::Expired);
        assert_eq!(
            outcome(&[(Waiting, "450 a"), (Waiting, "450 a")]),
            Outcome::Defer { until: UNTIL, reply: b"450 a".to_vec() }
        );
        assert_eq!(
            outcome(&[(Refused, "550 a"), (Refused, "550 a")]),
            Outcome::Refused { reply: b"550 a".to_vec() }
        );
        let mixed: [&[(State, &str)]; 4] = [
            &[(Delivered, "250 a"), (Waiting, "450 b")],
            &[(Waiting, "450 a"), (Waiting, "450 b")],
            &[(Refused, "550 a"), (Refused, "550 b")],
            &[(Expired, "450 a"), (Refused, "550 b")],
        ];
        for of in mixed {
            assert_eq!(outcome(of), Outcome::Partial { fates: fates(of), until: UNTIL });
        }
    }

    #[test]
    fn the_log_has_one_word_for_it() {
        use State::{Delivered, Refused, Waiting};
        let word = |of: &[State]| {
            let silent: Vec<_> = of.iter().map(|state| (*state, "")).collect();
            Tally::of(&fates(&silent)).word()
        };
        assert_eq!(word(&[Delivered, Delivered]), "delivered");
        assert_eq!(word(&[Waiting]), "deferred");
        assert_eq!(word(&[Refused, Refused]), "refused");
        assert_eq!(word(&[State::Expired]), "expired");
        assert_eq!(word(&[Delivered, Refused]), "partial");
    }
}
