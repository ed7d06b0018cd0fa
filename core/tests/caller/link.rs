//! The link, rule by rule.

use postern_core::link::{Act, Demand, Link, Rules};
use postern_core::time::Instant;

/// Random, but in the middle.
const MIDDLE: u32 = 1 << 31;
const ALL: Rules = Rules { lowers: true, tells: true };

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn link(rules: Rules) -> Link {
    Link::new(rules, false, at(0))
}

fn used(until: u64) -> Demand {
    Demand { used_until: at(until), ..Demand::default() }
}

const REGULAR: Demand =
    Demand { regular: true, urgent: false, used_until: Instant::from_millis(0) };
const URGENT: Demand = Demand { regular: false, urgent: true, used_until: Instant::from_millis(0) };

/// Minutes until the next raising may begin.
fn pause(link: &Link, now: u64) -> u64 {
    match link.next(REGULAR, true, at(now)) {
        Act::Wait(until) => until.millis_since(at(now)).div_ceil(60_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn regular_requests_wait_for_a_window_and_a_person_does_not() {
    let link = link(ALL);
    assert_eq!(link.next(Demand::default(), true, at(0)), Act::Wait(Instant::FAR));
    assert_eq!(link.next(REGULAR, false, at(0)), Act::Wait(Instant::FAR));
    assert_eq!(link.next(REGULAR, true, at(0)), Act::Raise);
    assert_eq!(link.next(URGENT, false, at(0)), Act::Raise);
}

#[test]
fn one_that_is_up_serves_regular_requests_in_windows_only() {
    let mut link = link(ALL);
    assert!(!link.serves(true, true));
    link.seen(true, at(1), MIDDLE);
    let serves =
        [(false, false), (false, true), (true, false)].map(|(u, open)| link.serves(u, open));
    assert_eq!(serves, [false, true, true]);
}

#[test]
fn what_we_raised_goes_down_when_it_is_idle() {
    let mut link = link(ALL);
    link.raised(true, at(5), MIDDLE);
    assert_eq!(link.next(used(60), false, at(10)), Act::Wait(at(60)), "a window's end cuts nobody");
    assert_eq!(
        link.next(Demand { used_until: Instant::FAR, ..URGENT }, true, at(99)),
        Act::Wait(Instant::FAR)
    );
    assert_eq!(link.next(used(60), true, at(60)), Act::Lower);
    link.lowered(true, at(61), MIDDLE);
    assert_eq!((link.is_up(), link.is_ours()), (false, false));
    assert_eq!(link.next(REGULAR, true, at(61)), Act::Raise, "nothing has failed");
}

#[test]
fn what_somebody_else_raised_stays() {
    let mut link = link(ALL);
    link.seen(true, at(5), MIDDLE);
    assert_eq!(link.next(used(0), false, at(1_000_000)), Act::Wait(Instant::FAR));
    // Ours was lost, and somebody else raised it.
    link.seen(false, at(6), MIDDLE);
    link.raised(true, at(7), MIDDLE);
    link.seen(false, at(1000), MIDDLE);
    assert_eq!(link.next(used(0), false, at(1000)), Act::Lower, "who says so may err");
    link.lowered(true, at(1000), MIDDLE);
    link.seen(true, at(1001), MIDDLE);
    assert_eq!(
        (link.is_ours(), link.next(used(0), false, at(2000))),
        (false, Act::Wait(Instant::FAR))
    );
}

#[test]
fn a_raising_that_fails_is_cleared_away_and_tried_again_after_growing_pauses() {
    let mut link = link(ALL);
    let mut now = 0;
    let pauses = [(); 9].map(|()| {
        link.raised(false, at(now), MIDDLE);
        assert_eq!(link.next(REGULAR, true, at(now)), Act::Lower, "half a link may be there");
        link.lowered(false, at(now), MIDDLE);
        link.seen(false, at(now), MIDDLE);
        let minutes = pause(&link, now);
        now += minutes * 60;
        assert_eq!(link.next(REGULAR, true, at(now)), Act::Raise);
        minutes
    });
    assert_eq!(pauses, [1, 2, 5, 10, 20, 50, 60, 60, 60]);
    link.raised(false, at(now), MIDDLE);
    link.lowered(true, at(now), MIDDLE);
    assert_eq!(link.next(URGENT, false, at(now)), Act::Raise, "a person does not wait");
    link.raised(true, at(now), MIDDLE);
    link.lowered(true, at(now + 100), MIDDLE);
    link.raised(false, at(now + 200), MIDDLE);
    link.lowered(true, at(now + 200), MIDDLE);
    assert_eq!(pause(&link, now + 200), 1, "it worked in between");
}

/// Else mail would wait for up to an hour, and nothing would say why.
#[test]
fn one_that_a_person_raised_meanwhile_is_raised_again_at_once() {
    let fails = || {
        let mut link = link(ALL);
        for _ in 0..9 {
            link.raised(false, at(0), MIDDLE);
            link.lowered(true, at(0), MIDDLE);
        }
        assert_eq!(pause(&link, 0), 60);
        link.raised(true, at(10), MIDDLE);
        link
    };
    let mut idle = fails();
    idle.lowered(true, at(20), MIDDLE);
    assert_eq!(idle.next(REGULAR, true, at(20)), Act::Raise);
    let mut lost = fails();
    lost.seen(false, at(90), MIDDLE);
    lost.lowered(true, at(90), MIDDLE);
    assert_eq!(lost.next(REGULAR, true, at(90)), Act::Raise);
}

#[test]
fn half_a_link_that_stays_is_still_ours() {
    let mut link = link(ALL);
    link.raised(false, at(0), MIDDLE);
    link.lowered(false, at(0), MIDDLE);
    link.seen(true, at(1), MIDDLE);
    assert_eq!((link.is_ours(), link.next(used(0), true, at(1))), (true, Act::Lower));
    link.lowered(false, at(2), MIDDLE);
    assert_eq!(
        link.next(used(0), true, at(3)),
        Act::Wait(at(62)),
        "and is lowered again and again"
    );
    assert!(link.serves(false, true), "meanwhile it serves");
}

#[test]
fn a_lowering_that_worked_ends_the_pauses_between_those_that_did_not() {
    let mut link = link(ALL);
    let mut now = 0;
    for failures in [3, 1] {
        link.raised(true, at(now), MIDDLE);
        for _ in 0..failures {
            link.lowered(false, at(now), MIDDLE);
        }
        let minutes = if failures == 3 { 5 } else { 1 };
        let until = at(now + minutes * 60);
        assert_eq!(link.next(used(0), true, at(now)), Act::Wait(until), "{failures}");
        now += 1000;
        link.lowered(true, at(now), MIDDLE);
    }
}

#[test]
fn one_that_is_lost_at_once_is_a_failure_and_one_that_was_there_is_none() {
    let mut link = link(ALL);
    link.raised(true, at(0), MIDDLE);
    link.seen(false, at(10), MIDDLE);
    link.lowered(true, at(10), MIDDLE);
    assert_eq!(pause(&link, 10), 1);
    link.raised(true, at(70), MIDDLE);
    link.seen(false, at(80), MIDDLE);
    link.lowered(false, at(80), MIDDLE);
    assert_eq!(pause(&link, 80), 2, "a link that flaps is left alone for longer and longer");
    link.raised(true, at(200), MIDDLE);
    link.seen(false, at(900), MIDDLE);
    link.lowered(true, at(900), MIDDLE);
    assert_eq!(link.next(REGULAR, true, at(900)), Act::Raise);
}

#[test]
fn without_a_command_for_it_the_link_goes_by_itself() {
    let mut told = link(Rules { lowers: false, tells: true });
    told.raised(true, at(0), MIDDLE);
    assert_eq!(told.next(used(10), true, at(20)), Act::Wait(Instant::FAR), "it will say so");
    told.lower();
    assert_eq!(told.next(used(10), true, at(20)), Act::Wait(Instant::FAR));
    let mut silent = link(Rules { lowers: false, tells: false });
    silent.raised(true, at(0), MIDDLE);
    assert_eq!(silent.next(used(10), true, at(20)), Act::Lower, "it counts as gone");
    silent.lowered(true, at(20), MIDDLE);
    assert_eq!(silent.next(REGULAR, true, at(21)), Act::Raise);
    silent.raised(false, at(22), MIDDLE);
    assert_eq!(pause(&silent, 22), 1, "there is nothing to clear away by");
}

#[test]
fn a_restart_lowers_what_was_raised_before_it() {
    let mut link = Link::new(ALL, true, at(0));
    link.seen(true, at(0), MIDDLE);
    assert_eq!(link.next(used(60), false, at(1)), Act::Wait(at(60)));
    assert_eq!(link.next(used(60), false, at(60)), Act::Lower);
    let mut link = Link::new(ALL, true, at(0));
    link.seen(false, at(0), MIDDLE);
    link.lowered(true, at(1), MIDDLE);
    link.seen(true, at(9), MIDDLE);
    assert_eq!(link.next(used(60), false, at(60)), Act::Wait(Instant::FAR), "this is another's");
}

#[test]
fn a_person_lowers_whatever_is_there_once() {
    let mut link = link(ALL);
    link.seen(true, at(0), MIDDLE);
    link.lower();
    assert!(!link.serves(true, true), "it is on its way down");
    assert_eq!(link.next(Demand { used_until: Instant::FAR, ..URGENT }, true, at(1)), Act::Lower);
    link.lowered(false, at(2), MIDDLE);
    assert!(link.is_up());
    assert_eq!(link.next(used(0), true, at(10_000)), Act::Wait(Instant::FAR), "it was not ours");
}
