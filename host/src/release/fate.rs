//! What a host's replies mean for a message that is held.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use postern_core::retry::{Every, Next, Policy};
use postern_core::time::Timestamp;

use crate::config::{Hold, RetryEvery};
use postern_spool::{Fate, RecipientNo, Retry};

/// When mail of `hold` that arrived at `arrival` is tried again after a failure; `None`: not any
/// more, it has expired.
pub(super) fn next_try(hold: &Hold, arrival: Timestamp, now: Timestamp) -> Option<Retry> {
    let age = now.unix_seconds.saturating_sub(arrival.unix_seconds);
    let age = (now.known && arrival.known).then(|| Duration::from_secs(age));
    match policy(hold).next(1, age, random()) {
        Next::After(pause) => Some(Retry::In(pause)),
        Next::WhenAsked => Some(Retry::WhenAsked),
        Next::GiveUp => None,
    }
}

fn policy(hold: &Hold) -> Policy {
    Policy {
        every: match hold.retry_every {
            RetryEvery::Every(pause) => Every::Interval(pause),
            RetryEvery::Never => Every::Never,
        },
        expire_after: hold.expire_after,
    }
}

/// After twice as long.
pub(super) fn twice(retry: Retry) -> Retry {
    match retry {
        Retry::In(pause) => Retry::In(pause.saturating_mul(2)),
        Retry::Now | Retry::WhenAsked => retry,
    }
}

/// When the whole domain is tried again after its host could not be reached.
pub(super) fn next_try_of_domain(hold: &Hold) -> Retry {
    match policy(hold).next(1, None, random()) {
        Next::After(pause) => Retry::In(pause),
        Next::WhenAsked | Next::GiveUp => Retry::WhenAsked,
    }
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
    pub(super) fn of(fates: &[(RecipientNo, Fate)]) -> Self {
        fates.iter().fold(Self::default(), |mut tally, (_, fate)| {
            match fate {
                Fate::Delivered(_) => tally.delivered += 1,
                Fate::Refused(_) => tally.refused += 1,
                Fate::Deferred(_) => tally.deferred += 1,
                Fate::Expired(_) => tally.expired += 1,
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
pub(super) fn expire_waiting(fates: &mut [(RecipientNo, Fate)]) {
    for (_, fate) in fates {
        if let Fate::Deferred(reply) = fate {
            *fate = Fate::Expired(std::mem::take(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_one_word_for_it() {
        let word = |of: &[fn(Vec<u8>) -> Fate]| {
            let fates = of.iter().map(|fate| (RecipientNo(0), fate(Vec::new())));
            Tally::of(&fates.collect::<Vec<_>>()).word()
        };
        assert_eq!(word(&[Fate::Delivered, Fate::Delivered]), "delivered");
        assert_eq!(word(&[Fate::Deferred]), "deferred");
        assert_eq!(word(&[Fate::Refused, Fate::Refused]), "refused");
        assert_eq!(word(&[Fate::Expired]), "expired");
        assert_eq!(word(&[Fate::Delivered, Fate::Refused]), "partial");
    }

    #[test]
    fn what_waits_on_when_the_time_is_over_has_expired() {
        let mut fates = vec![
            (RecipientNo(0), Fate::Deferred(b"450 a".to_vec())),
            (RecipientNo(1), Fate::Refused(b"550 b".to_vec())),
        ];
        expire_waiting(&mut fates);
        assert_eq!(fates[0].1, Fate::Expired(b"450 a".to_vec()));
        assert_eq!(fates[1].1, Fate::Refused(b"550 b".to_vec()));
    }
}
