//! Rule by rule.

use std::time::Duration;

use postern_core::agenda::{Agenda, Cause, Due, Outcome, Rules, Stand};
use postern_core::ladder::Missed;
use postern_core::retry::Every;
use postern_core::time::Instant;

const EVERY: Duration = Duration::from_secs(1800);
/// Random, but in the middle.
const MIDDLE: u32 = 1 << 31;
const DAY_S: u64 = 24 * 3600;

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn waiting(messages: u32) -> Stand {
    Stand { waiting: messages, ..Stand::default() }
}

fn agenda(retry: Every) -> Agenda {
    Agenda::new(Rules { retry }, at(0))
}

fn on_demand() -> Agenda {
    agenda(Every::Never)
}

const fn failed(how: Missed) -> Outcome {
    Outcome::Failed { how, moved: false }
}

/// The next run's cause and second, when one message waits.
fn next(agenda: &Agenda) -> Option<(Cause, u64)> {
    agenda.next(waiting(1)).map(|Due { at, cause }| (cause, at.as_millis().div_ceil(1000)))
}

/// The seconds between runs that all end so.
fn pauses(agenda: &mut Agenda, outcome: Outcome, count: usize) -> Vec<u64> {
    let mut now = 0;
    let pause = || {
        let Due { at: due, cause } = agenda.next(waiting(1))?;
        let now = std::mem::replace(&mut now, due.as_millis().div_ceil(1000));
        agenda.run_ended(cause, outcome, due, MIDDLE);
        Some(due.as_millis().div_ceil(1000) - now)
    };
    std::iter::from_fn(pause).take(count).collect()
}

#[test]
fn what_waits_at_the_start_is_tried_unless_it_goes_on_demand() {
    assert_eq!(next(&agenda(Every::Interval(EVERY))), Some((Cause::Retry, 0)));
    assert_eq!(agenda(Every::Interval(EVERY)).next(Stand::default()), None);
    assert_eq!(next(&on_demand()), None);
}

#[test]
fn a_host_that_is_away_is_tried_after_growing_pauses_up_to_the_interval() {
    let mut agenda = agenda(Every::Interval(EVERY));
    let pauses = pauses(&mut agenda, failed(Missed::Absent), 8);
    assert_eq!(pauses, [0, 60, 120, 300, 600, 1200, 1800, 1800]);
    let mut hurried = self::agenda(Every::Interval(Duration::from_secs(30)));
    assert_eq!(self::pauses(&mut hurried, failed(Missed::Absent), 3), [0, 30, 30]);
}

#[test]
fn one_that_turns_us_away_is_left_alone_for_the_interval() {
    let mut agenda = agenda(Every::Interval(EVERY));
    assert_eq!(pauses(&mut agenda, failed(Missed::TurnedAway), 3), [0, 1800, 1800]);
}

#[test]
fn one_that_has_taken_some_over_a_poor_link_is_tried_again_soon() {
    let mut agenda = agenda(Every::Interval(EVERY));
    let moved = Outcome::Failed { how: Missed::TurnedAway, moved: true };
    assert_eq!(pauses(&mut agenda, moved, 3), [0, 60, 60]);
}

#[test]
fn new_mail_goes_at_once_unless_the_host_did_not_serve_us() {
    let mut agenda = agenda(Every::Interval(EVERY));
    agenda.run_ended(Cause::Retry, Outcome::Done { put_off: true }, at(10), MIDDLE);
    assert_eq!(next(&agenda), Some((Cause::PutOff, 1810)));
    let fresh = Stand { fresh: true, ..waiting(2) };
    assert_eq!(agenda.next(fresh).map(|due| due.cause), Some(Cause::Arrived));
    agenda.run_ended(Cause::Arrived, Outcome::Done { put_off: true }, at(100), MIDDLE);
    assert_eq!(next(&agenda), Some((Cause::PutOff, 1810)), "what was put off first keeps its time");
    agenda.run_ended(Cause::Arrived, failed(Missed::TurnedAway), at(200), MIDDLE);
    assert_eq!(agenda.next(fresh).map(|due| due.cause), Some(Cause::Retry), "all of it waits");
    agenda.run_ended(Cause::Retry, Outcome::Done { put_off: false }, at(2000), MIDDLE);
    assert_eq!(next(&agenda), None, "all of it went");
}

#[test]
fn a_host_that_asks_is_tried_by_the_ladder() {
    for (retry, then) in [(Every::Never, None), (Every::Interval(EVERY), Some(60))] {
        let mut agenda = agenda(retry);
        agenda.run_ended(Cause::Retry, Outcome::Done { put_off: false }, at(0), MIDDLE);
        agenda.asked(waiting(1), at(100));
        assert_eq!(next(&agenda), Some((Cause::Asked, 100)));
        agenda.run_ended(Cause::Asked, failed(Missed::Absent), at(100), MIDDLE);
        let tries = pauses(&mut agenda, failed(Missed::Absent), 7);
        assert_eq!(tries[1..], [2, 5, 10, 30, 60, 120]);
        let over = at(100 + 1 + 2 + 5 + 10 + 30 + 60 + 120);
        assert_eq!(agenda.next(waiting(1)).map(|due| due.at.millis_since(over) / 1000), then);
    }
}

#[test]
fn a_connection_that_broke_behind_a_message_begins_the_ladder_anew() {
    let mut agenda = on_demand();
    agenda.asked(waiting(5), at(100));
    for now in [100, 101] {
        agenda.run_ended(Cause::Asked, failed(Missed::Absent), at(now), MIDDLE);
    }
    let moved = Outcome::Failed { how: Missed::Absent, moved: true };
    agenda.run_ended(Cause::Asked, moved, at(110), MIDDLE);
    assert_eq!(next(&agenda), Some((Cause::Asked, 111)));
}

#[test]
fn who_asks_again_and_again_causes_a_run_each_five_seconds() {
    let mut agenda = on_demand();
    let mut runs = 0;
    for now in (0..600_000).step_by(100).map(Instant::from_millis) {
        agenda.asked(waiting(1), now);
        if agenda.next(waiting(1)).is_some_and(|due| due.at <= now) {
            runs += 1;
            agenda.run_ended(Cause::Asked, Outcome::Done { put_off: true }, now, MIDDLE);
        }
    }
    assert_eq!(runs, 600 / 5 - 1);
}

#[test]
fn what_was_asked_for_and_is_gone_is_no_request_for_later_mail() {
    let mut agenda = on_demand();
    agenda.asked(waiting(1), at(10));
    agenda.run_ended(Cause::Asked, Outcome::Done { put_off: false }, at(11), MIDDLE);
    agenda.asked(waiting(0), at(11));
    assert_eq!(next(&agenda), None);
}

#[test]
fn too_old_mail_is_given_up_only_when_no_try_follows_soon() {
    let mut agenda = agenda(Every::Interval(EVERY));
    let mut given_up = Vec::new();
    for now in 1..=6 {
        agenda.run_ended(Cause::Retry, failed(Missed::Absent), at(now * 2000), MIDDLE);
        given_up.push(agenda.is_long_away());
    }
    assert_eq!(given_up, [false, false, false, false, false, true]);
    agenda.run_ended(Cause::Retry, Outcome::Done { put_off: true }, at(20_000), MIDDLE);
    assert!(!agenda.is_long_away());

    let mut agenda = on_demand();
    agenda.asked(waiting(1), at(10));
    for now in 0..7 {
        agenda.run_ended(Cause::Asked, failed(Missed::Absent), at(20 + now), MIDDLE);
        assert!(!agenda.is_long_away());
    }
    agenda.run_ended(Cause::Asked, failed(Missed::Absent), at(30), MIDDLE);
    assert!(agenda.is_long_away());
}

#[test]
fn a_link_that_comes_up_causes_a_try_a_minute_at_most() {
    let mut agenda = agenda(Every::Interval(EVERY));
    agenda.link_up(at(0));
    for now in [1000, 2000, 3000, 4000, 5000] {
        agenda.run_ended(Cause::Retry, failed(Missed::Absent), at(now), MIDDLE);
    }
    assert_eq!(next(&agenda), Some((Cause::Retry, 6200)));
    agenda.link_up(at(5010));
    assert_eq!(next(&agenda), Some((Cause::Retry, 5060)));
    agenda.run_ended(Cause::Retry, failed(Missed::TurnedAway), at(5060), MIDDLE);
    agenda.link_up(at(5200));
    assert_eq!(next(&agenda), Some((Cause::Retry, 6860)), "who was there is left alone");
}

const NEWS: Stand = Stand { waiting: 0, fresh: false, news: true };

#[test]
fn a_notice_is_sent_when_there_is_news_and_at_most_once_an_hour() {
    let mut agenda = agenda(Every::Interval(EVERY));
    assert_eq!(agenda.next(Stand::default()), None);
    assert_eq!(agenda.next(NEWS), Some(Due { at: at(0), cause: Cause::Notice }));
    assert!(agenda.wants_notice(NEWS, at(10)));
    agenda.notice_ended(true, at(10));
    assert!(!agenda.wants_notice(Stand::default(), at(365 * DAY_S)), "nothing is new");
    assert_eq!(agenda.next(Stand::default()), None);
    let next = agenda.next(NEWS).expect("something is");
    assert_eq!(next, Due { at: at(3610), cause: Cause::Notice });
    assert!(!agenda.wants_notice(NEWS, at(3609)) && agenda.wants_notice(NEWS, at(3610)));
}

#[test]
fn a_notice_that_is_refused_is_tried_again_after_longer_and_longer() {
    let mut agenda = agenda(Every::Interval(EVERY));
    let mut hours = Vec::new();
    for _ in 0..7 {
        let now = agenda.next(NEWS).expect("it was not told").at;
        agenda.notice_ended(false, now);
        let next = agenda.next(NEWS).expect("it still was not").at;
        hours.push(next.millis_since(now) / 3_600_000);
    }
    assert_eq!(hours, [1, 2, 4, 8, 16, 24, 24]);
}

#[test]
fn a_notice_waits_for_a_host_that_is_away_and_is_no_reason_to_call_one_that_goes_on_demand() {
    let mut away = agenda(Every::Interval(EVERY));
    away.run_ended(Cause::Arrived, failed(Missed::TurnedAway), at(100), MIDDLE);
    assert_eq!(away.next(NEWS).map(|due| due.at.as_millis().div_ceil(1000)), Some(1900));
    let on_demand = on_demand();
    assert_eq!(on_demand.next(NEWS), None);
    assert!(on_demand.wants_notice(NEWS, at(10)), "but it goes along");
}
