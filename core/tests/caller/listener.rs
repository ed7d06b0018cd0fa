//! The listener, mode by mode.

use std::time::Duration;

use postern_core::listener::{Listener, Mode, State};
use postern_core::time::Instant;

const IDLE: Duration = Duration::from_secs(60);
const SCHEDULED: Mode = Mode::Scheduled { idle: IDLE };

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

#[test]
fn always_and_off_are_what_they_say_whatever_the_link_does() {
    for (mode, state) in [(Mode::Always, State::Open), (Mode::Off, State::Closed)] {
        let mut listener = Listener::new(mode, 3);
        assert_eq!(listener.state(at(0)), state);
        listener.link(true);
        listener.wake_up(at(1));
        listener.window_ended();
        assert_eq!((listener.state(at(9999)), listener.deadline()), (state, Instant::FAR));
    }
}

#[test]
fn without_channels_nothing_listens_in_any_mode() {
    for mode in [Mode::Always, Mode::OnLink, SCHEDULED, Mode::Off] {
        let mut listener = Listener::new(mode, 0);
        listener.link(true);
        listener.wake_up(at(0));
        assert_eq!(listener.state(at(1)), State::Closed);
        assert!(!listener.has_free_channel());
    }
}

#[test]
fn on_link_is_open_while_the_link_is_up_and_ends_its_transactions_behind() {
    let mut listener = Listener::new(Mode::OnLink, 3);
    assert_eq!(listener.state(at(0)), State::Closed);
    listener.link(true);
    assert_eq!(listener.state(at(1_000_000)), State::Open);
    listener.session_began(at(1_000_000));
    listener.link(false);
    assert_eq!(listener.state(at(1_000_001)), State::Draining);
    listener.session_ended(at(1_000_002), true);
    assert_eq!(listener.state(at(1_000_002)), State::Closed);
}

#[test]
fn a_scheduled_one_is_open_before_the_wake_up_and_while_mail_is_expected() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.link(true);
    assert_eq!(listener.state(at(0)), State::Closed, "a link is no reason");
    listener.wake_up(at(10));
    assert_eq!((listener.state(at(10)), listener.deadline()), (State::Open, at(70)));
    listener.expect(at(11), at(311));
    assert_eq!((listener.state(at(310)), listener.deadline()), (State::Open, at(311)));
    assert_eq!(listener.state(at(311)), State::Closed);
}

#[test]
fn the_first_session_ends_the_waiting_and_then_idle_alone_decides() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(10));
    listener.expect(at(11), at(311));
    listener.session_began(at(12));
    assert_eq!(listener.deadline(), Instant::FAR);
    assert_eq!(listener.state(at(5000)), State::Open, "a session is there");
    listener.session_ended(at(20), true);
    assert_eq!(listener.deadline(), at(80));
}

#[test]
fn two_holders_are_waited_for_by_the_later_promise() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.expect(at(1), at(301));
    listener.wake_up(at(2));
    listener.expect(at(3), at(103));
    assert_eq!(listener.deadline(), at(301));
}

/// The first holder's session says nothing of the second's.
#[test]
fn a_session_ends_no_other_holders_waiting() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.expect(at(1), at(301));
    listener.expect(at(2), at(302));
    for now in [10, 20, 290] {
        listener.session_began(at(now - 1));
        listener.session_ended(at(now), true);
    }
    assert_eq!(listener.deadline(), at(350));
    assert_eq!(listener.state(at(301)), State::Open);
    // What was promised once is over by then.
    listener.wake_up(at(1800));
    listener.expect(at(1801), at(2101));
    listener.session_began(at(1802));
    listener.session_ended(at(1810), true);
    assert_eq!(listener.deadline(), at(1870));
}

/// A long session that the first holder promised outlives that promise.
#[test]
fn a_session_that_was_there_before_a_wake_up_ends_no_waiting() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.expect(at(1), at(301));
    listener.session_began(at(1));
    listener.wake_up(at(350));
    listener.expect(at(351), at(651));
    listener.session_ended(at(400), true);
    assert_eq!(listener.deadline(), at(651));
}

/// What is gone before the promise is none of the sessions that it is to be told from.
#[test]
fn an_older_session_that_has_ended_prolongs_no_waiting() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.session_began(at(0));
    listener.wake_up(at(10));
    listener.session_ended(at(11), true);
    listener.expect(at(12), at(312));
    listener.session_began(at(20));
    listener.session_ended(at(30), true);
    assert_eq!(listener.deadline(), at(90));
}

#[test]
fn a_session_that_came_before_its_promise_was_read_ends_the_waiting() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.session_began(at(0));
    listener.asking(at(1));
    listener.expect(at(1), at(301));
    listener.session_ended(at(10), true);
    assert_eq!(listener.deadline(), at(70));
}

#[test]
fn mail_to_be_discarded_is_no_activity() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    for now in [50, 59, 100] {
        listener.session_began(at(now - 1));
        listener.session_ended(at(now), false);
    }
    assert_eq!(listener.deadline(), at(60));
    assert_eq!(listener.state(at(100)), State::Closed);
}

#[test]
fn when_the_window_ends_transactions_end_and_nobody_is_let_in() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.expect(at(1), at(301));
    listener.session_began(at(1));
    listener.window_ended();
    assert_eq!(listener.state(at(2)), State::Draining);
    listener.session_ended(at(3), true);
    assert_eq!(listener.state(at(3)), State::Closed);
    // What is under way then, and an answer that comes late, are no other reason.
    listener.asking(at(4));
    listener.expect(at(4), at(304));
    assert_eq!(listener.state(at(4)), State::Closed);
    listener.wake_up(at(5));
    assert_eq!(listener.state(at(5)), State::Open);
    // Another mode and back is no window's end.
    listener.configure(Mode::Always, 3);
    listener.configure(SCHEDULED, 3);
    listener.asking(at(6));
    assert_eq!(listener.state(at(6)), State::Open);
}

/// Whoever keeps on connecting must not keep a host, and its link, open for ever.
#[test]
fn sessions_without_mail_that_relieve_each_other_end() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.expect(at(0), at(100));
    listener.session_began(at(99));
    for now in (100..400).step_by(100) {
        let is_open = listener.state(at(now)) == State::Open;
        assert_eq!(is_open, now == 100, "as long as the first is there, which came in time");
        listener.session_began(at(now));
        listener.session_ended(at(now + 1), false);
    }
    assert_eq!(listener.state(at(400)), State::Draining);
    assert!(listener.is_occupied());
    // One that brings mail is a sign of life, and so is who is there beside it.
    listener.session_began(at(400));
    listener.session_ended(at(401), true);
    assert_eq!((listener.state(at(9999)), listener.deadline()), (State::Open, Instant::FAR));
    listener.session_ended(at(10_000), false);
    assert_eq!((listener.state(at(10_000)), listener.is_occupied()), (State::Closed, false));
}

#[test]
fn channels_bound_the_sessions() {
    let mut listener = Listener::new(Mode::Always, 2);
    listener.session_began(at(0));
    assert!(listener.has_free_channel());
    listener.session_began(at(0));
    assert!(!listener.has_free_channel());
    listener.session_ended(at(1), true);
    assert!(listener.has_free_channel());
}

#[test]
fn another_mode_keeps_count_of_the_sessions_that_are_there() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.session_began(at(0));
    listener.configure(Mode::Off, 3);
    assert_eq!((listener.state(at(1)), listener.deadline()), (State::Draining, Instant::FAR));
    listener.configure(SCHEDULED, 3);
    assert_eq!(listener.state(at(2)), State::Draining, "what it waited for is forgotten");
    listener.session_ended(at(3), true);
    assert_eq!(listener.state(at(3)), State::Closed);
    listener.configure(Mode::Always, 0);
    assert_eq!(listener.state(at(4)), State::Closed);
    listener.configure(Mode::Always, 1);
    assert_eq!(listener.state(at(4)), State::Open);
}

#[test]
fn another_idle_time_counts_from_the_next_event() {
    let mut listener = Listener::new(SCHEDULED, 3);
    listener.wake_up(at(0));
    listener.configure(Mode::Scheduled { idle: IDLE * 2 }, 3);
    assert_eq!(listener.deadline(), at(60));
    listener.wake_up(at(10));
    assert_eq!(listener.deadline(), at(130));
}
