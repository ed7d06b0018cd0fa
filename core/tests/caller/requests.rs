//! The requests to a holder, rule by rule.

use std::time::Duration;

use postern_core::time::Instant;
use postern_core::wakeup::{Answer, Due, Requests, Rules};

const EVERY: Duration = Duration::from_secs(7200);
/// Random, but in the middle.
const MIDDLE: u32 = 1 << 31;

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn holder(names: usize) -> Requests {
    Requests::new(Rules { every: EVERY, names }, None, at(0))
}

/// The second and the name of the next request.
fn next(requests: &Requests) -> (u64, usize) {
    let Due { at, name, .. } = requests.next();
    (at.as_millis().div_ceil(1000), name)
}

#[test]
fn it_is_asked_at_the_start_and_each_time_that_its_interval_is_over() {
    let mut requests = holder(1);
    assert_eq!(next(&requests), (0, 0));
    for answer in [Answer::Comes, Answer::NoneWaiting, Answer::Refused] {
        requests.ended(answer, at(100), MIDDLE);
        assert_eq!(next(&requests), (7300, 0), "{answer:?}");
    }
}

#[test]
fn a_start_counts_from_the_last_answer() {
    let after = |since_s| {
        let rules = Rules { every: EVERY, names: 1 };
        next(&Requests::new(rules, Some(Duration::from_secs(since_s)), at(50)))
    };
    assert_eq!(after(200), (7050, 0));
    assert_eq!(after(7200), (50, 0));
    assert_eq!(after(1_000_000), (50, 0));
}

#[test]
fn names_are_tried_in_order_until_one_serves() {
    let mut requests = holder(3);
    requests.ended(Answer::Refused, at(1), MIDDLE);
    assert_eq!(next(&requests), (1, 1));
    requests.ended(Answer::Missing, at(30), MIDDLE);
    assert_eq!(next(&requests), (30, 2));
    requests.ended(Answer::NoneWaiting, at(31), MIDDLE);
    assert_eq!(next(&requests), (7231, 0));
}

#[test]
fn a_holder_that_refuses_by_all_its_names_has_answered() {
    let mut requests = holder(2);
    for now in [1, 2] {
        requests.ended(Answer::Refused, at(now), MIDDLE);
    }
    assert_eq!(next(&requests), (7202, 0));
}

#[test]
fn one_that_does_not_answer_is_asked_again_after_growing_pauses() {
    let mut requests = holder(1);
    let pauses = [(); 9].map(|()| {
        let now = requests.next().at;
        requests.ended(Answer::Missing, now, MIDDLE);
        requests.next().at.millis_since(now).div_ceil(60_000)
    });
    assert_eq!(pauses, [1, 2, 5, 10, 20, 50, 100, 120, 120]);
    // One name of two is there, and does not know us: the other may be back soon.
    let mut requests = holder(2);
    requests.ended(Answer::Missing, at(0), MIDDLE);
    requests.ended(Answer::Refused, at(0), MIDDLE);
    assert_eq!(next(&requests), (60, 0));
}

#[test]
fn a_link_that_comes_up_is_a_reason_to_ask_who_did_not_answer() {
    let mut requests = holder(1);
    for _ in 0..6 {
        requests.ended(Answer::Missing, at(0), MIDDLE);
    }
    requests.link_up(at(10));
    assert_eq!(next(&requests), (60, 0), "a link that flaps makes it one a minute");
    requests.ended(Answer::Comes, at(60), MIDDLE);
    requests.link_up(at(1000));
    assert_eq!(next(&requests), (7260, 0));
}

#[test]
fn a_person_is_urgent_once() {
    let mut requests = holder(2);
    requests.ended(Answer::Comes, at(0), MIDDLE);
    requests.request(at(10));
    assert_eq!(requests.next(), Due { at: at(10), name: 0, is_urgent: true });
    requests.ended(Answer::Refused, at(11), MIDDLE);
    assert!(requests.next().is_urgent, "by all of its names");
    requests.ended(Answer::Missing, at(12), MIDDLE);
    assert!(!requests.next().is_urgent);
}

#[test]
fn a_round_is_answered_when_none_of_its_names_was_silent() {
    let mut requests = holder(2);
    assert!(!requests.is_answered(), "nobody was asked");
    requests.ended(Answer::Refused, at(1), MIDDLE);
    assert!(!requests.is_answered(), "there is another name");
    requests.ended(Answer::Refused, at(2), MIDDLE);
    assert!(requests.is_answered());
    requests.ended(Answer::Missing, at(7300), MIDDLE);
    requests.ended(Answer::Refused, at(7301), MIDDLE);
    assert!(!requests.is_answered());
    for now in [7400, 7401] {
        requests.ended(Answer::Refused, at(now), MIDDLE);
    }
    assert!(requests.is_answered(), "who was silent in the round before was not in this one");
    requests.ended(Answer::Comes, at(14_700), MIDDLE);
    assert!(requests.is_answered());
}
