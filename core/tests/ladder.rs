//! The ladder of a host that asked for its mail.

use std::time::Duration;

use postern_core::ladder::{Ladder, Missed};
use postern_core::time::Instant;

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn pauses(ladder: &mut Ladder, how: Missed) -> Vec<u64> {
    let failed = || ladder.failed(how, at(100)).map(|pause| pause.as_secs());
    std::iter::from_fn(failed).collect()
}

#[test]
fn a_host_that_asked_is_tried_again_soon() {
    let mut ladder = Ladder::default();
    assert_eq!(ladder.asked(at(100)), Some(at(100)));
    assert_eq!(pauses(&mut ladder, Missed::Absent), [1, 2, 5, 10, 30, 60, 120]);
}

#[test]
fn one_that_did_not_ask_waits_for_the_timer() {
    assert_eq!(pauses(&mut Ladder::default(), Missed::Absent), [0_u64; 0]);
    assert_eq!(pauses(&mut Ladder::default(), Missed::TurnedAway), [0_u64; 0]);
}

#[test]
fn one_that_turns_us_away_is_tried_once_more() {
    let mut ladder = Ladder::default();
    ladder.asked(at(100));
    assert_eq!(ladder.failed(Missed::Absent, at(100)), Some(Duration::from_secs(1)));
    assert_eq!(pauses(&mut ladder, Missed::TurnedAway), [60]);
    assert!(!ladder.is_running());
}

#[test]
fn an_asking_that_needed_no_connection_is_forgotten() {
    let mut ladder = Ladder::default();
    ladder.asked(at(0));
    assert_eq!(ladder.failed(Missed::Absent, at(300)), None);
    assert_eq!(ladder.asked(at(310)), Some(at(310)));
    assert_eq!(ladder.failed(Missed::Absent, at(310)), Some(Duration::from_secs(1)));
}

#[test]
fn an_asking_behind_one_that_needed_no_connection_has_its_ladder() {
    let mut ladder = Ladder::default();
    ladder.asked(at(0));
    assert_eq!(ladder.asked(at(86_400)), None, "its next try is now");
    assert_eq!(ladder.failed(Missed::Absent, at(86_401)), Some(Duration::from_secs(1)));
}

#[test]
fn asking_again_does_not_start_it_anew() {
    let mut ladder = Ladder::default();
    ladder.asked(at(100));
    assert_eq!(ladder.failed(Missed::Absent, at(100)), Some(Duration::from_secs(1)));
    assert_eq!(ladder.asked(at(100)), None);
    assert_eq!(pauses(&mut ladder, Missed::Absent), [2, 5, 10, 30, 60, 120]);
}

#[test]
fn behind_a_failed_ladder_each_asking_gives_one_try_in_5_s() {
    let mut ladder = Ladder::default();
    ladder.asked(at(0));
    pauses(&mut ladder, Missed::Absent);
    for (asked, tried) in [(101, 105), (105, 105), (112, 112)] {
        assert_eq!(ladder.asked(at(asked)), Some(at(tried)), "asked at {asked}");
    }
    assert_eq!(ladder.failed(Missed::Absent, at(112)), None);
    assert_eq!(ladder.asked(at(113)), Some(at(117)));
}

#[test]
fn a_host_that_asks_again_much_later_has_a_ladder_again() {
    let mut ladder = Ladder::default();
    ladder.asked(at(0));
    pauses(&mut ladder, Missed::Absent);
    // The timer's tries.
    assert_eq!(ladder.failed(Missed::Absent, at(1700)), None);
    assert_eq!(ladder.asked(at(1799)), Some(at(1799)));
    assert_eq!(ladder.failed(Missed::Absent, at(1799)), None);
    assert_eq!(ladder.asked(at(1800)), Some(at(1804)));
    assert_eq!(ladder.failed(Missed::Absent, at(1804)), Some(Duration::from_secs(1)));
}

#[test]
fn a_try_of_the_timers_counts_for_the_5_s_too() {
    let mut ladder = Ladder::default();
    assert_eq!(ladder.failed(Missed::Absent, at(100)), None);
    assert_eq!(ladder.asked(at(102)), Some(at(105)), "and then a ladder runs");
    assert_eq!(pauses(&mut ladder, Missed::Absent), [1, 2, 5, 10, 30, 60, 120]);
}

#[test]
fn behind_a_ladder_that_failed_a_wake_up_brings_one_try_a_minute() {
    let mut ladder = Ladder::default();
    assert_eq!(ladder.woken(at(100)), Some(at(100)));
    assert_eq!(pauses(&mut ladder, Missed::Absent), [1, 2, 5, 10, 30, 60, 120]);
    assert_eq!(ladder.woken(at(101)), Some(at(160)));
    assert_eq!(ladder.woken(at(150)), Some(at(160)));
    assert_eq!(ladder.asked(at(101)), Some(at(105)), "an ETRN is quicker");
    assert_eq!(ladder.failed(Missed::Absent, at(160)), None);
    assert_eq!(ladder.woken(at(300)), Some(at(300)));
    assert_eq!(ladder.woken(at(1900)), Some(at(1900)), "half an hour later the next one begins");
    assert!(ladder.is_running());
}

#[test]
fn the_first_wake_up_behind_a_failure_waits_no_minute() {
    let mut ladder = Ladder::default();
    assert_eq!(ladder.failed(Missed::Absent, at(100)), None);
    assert_eq!(ladder.woken(at(101)), Some(at(105)));
}
