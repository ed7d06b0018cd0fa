//! The retry rule, at its edges and over random input.

use core::time::Duration;

use postern_core::retry::{Every, Next, Policy, growing};
use proptest::prelude::*;

const HALF_HOUR: Duration = Duration::from_secs(30 * 60);
const FIVE_DAYS: Duration = Duration::from_secs(5 * 24 * 60 * 60);
const POLICY: Policy = Policy { every: Every::Interval(HALF_HOUR), expire_after: FIVE_DAYS };

#[test]
fn new_mail_goes_at_once() {
    assert_eq!(POLICY.next(0, Some(Duration::ZERO), u32::MAX), Next::After(Duration::ZERO));
}

#[test]
fn the_pause_does_not_grow() {
    let first = POLICY.next(1, Some(HALF_HOUR), 7);
    assert_eq!(POLICY.next(1000, Some(HALF_HOUR), 7), first);
}

#[test]
fn the_jitter_reaches_both_ends() {
    assert_eq!(POLICY.next(1, None, 0), Next::After(Duration::from_secs(27 * 60)));
    let Next::After(longest) = POLICY.next(1, None, u32::MAX) else { panic!("no pause") };
    assert!(longest > Duration::from_secs(33 * 60 - 1), "{longest:?}");
}

#[test]
fn on_demand_only_waits_but_still_expires() {
    let policy = Policy { every: Every::Never, expire_after: FIVE_DAYS };
    assert_eq!(policy.next(0, Some(Duration::ZERO), 0), Next::WhenAsked);
    assert_eq!(policy.next(3, Some(FIVE_DAYS), 0), Next::GiveUp);
}

#[test]
fn the_age_decides_to_the_millisecond() {
    let just_before = FIVE_DAYS - Duration::from_millis(1);
    assert_ne!(POLICY.next(9, Some(just_before), 0), Next::GiveUp);
    assert_eq!(POLICY.next(9, Some(FIVE_DAYS), 0), Next::GiveUp);
    assert_ne!(POLICY.next(9, None, 0), Next::GiveUp, "nothing expires while the time is unknown");
}

#[test]
fn growing_pauses_are_those_of_a_ruler() {
    let minutes: Vec<u64> = (1..=7).map(|failures| growing(failures).as_secs() / 60).collect();
    assert_eq!(minutes, [1, 2, 5, 10, 20, 50, 100]);
    assert!(growing(u32::MAX) > growing(30), "and never overflow");
    assert_eq!(growing(0), growing(1));
}

proptest! {
    #[test]
    fn the_pause_stays_within_ten_percent(pause_ms in 0..u64::MAX / 2, random: u32) {
        let every = Every::Interval(Duration::from_millis(pause_ms));
        let policy = Policy { every, expire_after: FIVE_DAYS };
        let Next::After(pause) = policy.next(1, None, random) else { panic!("no pause") };
        let tenth_ms = u128::from(pause_ms / 10) + 1;
        prop_assert!(pause.as_millis() + tenth_ms >= u128::from(pause_ms));
        prop_assert!(pause.as_millis() <= u128::from(pause_ms) + tenth_ms);
    }
}
