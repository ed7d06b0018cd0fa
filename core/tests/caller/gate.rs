//! The gate: what keeps the link in use, whatever the listener's mode.

use std::time::Duration;

use postern_core::gate::Gate;
use postern_core::listener::{Mode, State};
use postern_core::time::Instant;

const IDLE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// It came without a wake-up, while nothing else used the link.
#[test]
fn who_is_there_uses_the_link_in_any_mode() {
    for mode in [Mode::Always, Mode::OnLink] {
        let mut gate = Gate::new(mode, 3, IDLE);
        gate.link(true);
        assert_eq!(gate.state(at(0)), State::Open);
        assert!(gate.used_until(at(0)) <= at(0), "nobody needs it");
        gate.session_began(at(10));
        assert_eq!(gate.used_until(at(5000)), Instant::FAR, "{mode:?}");
        gate.session_ended(at(5000), false);
        assert!(gate.used_until(at(5000)) <= at(5000), "it brought nothing");
        gate.session_began(at(6000));
        gate.session_ended(at(6010), true);
        assert_eq!(gate.used_until(at(6010)), at(6070), "more may follow");
    }
}

#[test]
fn nobody_is_idle_while_a_holder_is_asked_nor_for_a_while_behind() {
    let mut gate = Gate::new(Mode::Scheduled { idle: IDLE }, 3, IDLE);
    gate.wake_up(at(0));
    gate.asking_began();
    assert_eq!(gate.used_until(at(1000)), Instant::FAR);
    gate.pass(at(1000));
    assert_eq!(gate.state(at(1000)), State::Open);
    gate.asking_ended(at(1001));
    assert_eq!((gate.used_until(at(1001)), gate.closes(at(1001))), (at(1061), at(1061)));
    gate.expect(at(1002), at(1302));
    assert_eq!((gate.used_until(at(1002)), gate.closes(at(1002))), (at(1302), at(1302)));
    gate.window_ended();
    assert!(gate.used_until(at(1003)) <= at(1003), "nobody else is waited for");
    assert_eq!(gate.state(at(1003)), State::Closed);
}

#[test]
fn another_idle_time_is_the_links_as_well() {
    let mut gate = Gate::new(Mode::OnLink, 3, IDLE);
    gate.link(true);
    gate.configure(Mode::OnLink, 3, IDLE * 2);
    gate.wake_up(at(0));
    assert_eq!(gate.used_until(at(0)), at(120));
}
