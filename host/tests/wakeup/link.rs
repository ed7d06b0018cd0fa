//! Windows of time, and a link that is watched, in virtual time.

use postern_core::listener::State;
use postern_core::time::Timestamp;

use super::holder::{Holder, say, usual};
use super::{HOLDER, Host, NOW, folder, source};

/// `NOW` is Sunday 2026-11-22T00:17:45Z.
const MORNING: &str = "[link]\nschedule = [\"sun 2-3\"]\ntime_zone = \"Europe/London\"\n";
/// Seconds until two o'clock, and until three.
const OPENS: u64 = 6135;
const ENDS: u64 = OPENS + 3600;

fn in_the_morning(listener: &str, keys: &str) -> String {
    source(listener, &format!("{MORNING}[[wakeup]]\netrn = {HOLDER:?}\n{keys}"))
}

#[tokio::test(start_paused = true)]
async fn a_regular_request_waits_for_a_window_and_a_person_does_not() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&in_the_morning("scheduled", ""), &folder, &holder, NOW);
    host.until(OPENS - 1).await;
    assert_eq!((holder.seen().etrn.len(), host.phase()), (0, State::Closed));
    assert!(!host.link.stand().is_open);
    host.board.request().await;
    assert_eq!((holder.seen().etrn.len(), host.phase()), (1, State::Open));
    host.until(OPENS + 1700).await;
    assert_eq!(holder.seen().etrn.len(), 1, "the person's answer counts");
    host.until(OPENS + 1801).await;
    assert_eq!(holder.seen().etrn.len(), 2);
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_due_is_asked_when_the_window_opens() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let every = "every = \"45m\"\n";
    let host = Host::start(&in_the_morning("scheduled", every), &folder, &holder, NOW);
    host.until(OPENS + 1).await;
    assert_eq!(holder.seen().etrn.len(), 1);
    host.until(ENDS + 1).await;
    assert_eq!(holder.seen().etrn.len(), 2);
    host.until(ENDS + 6 * 86_400).await;
    assert_eq!(holder.seen().etrn.len(), 2, "a week without a window");
    host.until(OPENS + 7 * 86_400 + 1).await;
    assert_eq!(holder.seen().etrn.len(), 3);
    host.end().await;
}

/// The holder has promised mail for five minutes, and nobody came in two.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_window_closes_a_scheduled_listener() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let host =
        Host::start(&in_the_morning("scheduled", "every = \"58m\"\n"), &folder, &holder, NOW);
    host.until(ENDS - 10).await;
    assert_eq!((holder.seen().etrn.len(), host.phase()), (2, State::Open));
    host.until(ENDS + 1).await;
    assert_eq!(host.phase(), State::Closed);
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_window_closes_no_other_listener() {
    for listener in ["always", "on-link"] {
        let (folder, holder) = (folder(), Holder::new(usual));
        let host = Host::start(&in_the_morning(listener, ""), &folder, &holder, NOW);
        for second in [1, OPENS + 10, ENDS + 10] {
            host.until(second).await;
            assert_eq!(host.phase(), State::Open, "{listener}: its link is always there");
        }
        host.end().await;
    }
}

/// A device learns the time over its link, and so does a server after a day without a battery.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_not_known_opens_every_window_and_one_that_is_set_closes_it() {
    let unknown = Timestamp { unix_seconds: 60, known: false };
    let (folder, holder) = (folder(), Holder::answering(say("251 2.0.0 None")));
    let host = Host::start(&in_the_morning("scheduled", ""), &folder, &holder, unknown);
    host.until(1).await;
    assert_eq!(holder.seen().etrn.len(), 1);
    // It jumps to an hour outside of all windows, and to one inside.
    host.clock.set(NOW);
    host.until(2000).await;
    assert_eq!(holder.seen().etrn.len(), 1);
    host.clock.set(Timestamp { unix_seconds: NOW.unix_seconds + OPENS, ..NOW });
    host.until(2031).await;
    assert_eq!(holder.seen().etrn.len(), 2);
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_of_nothing_never_opens() {
    let never =
        "[link]\nschedule = []\ntime_zone = \"Europe/London\"\n[[wakeup]]\netrn = \"a.example\"\n";
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source("scheduled", never), &folder, &holder, NOW);
    host.until(30 * 86_400).await;
    assert_eq!(holder.seen().etrn.len(), 0);
    host.board.request().await;
    assert_eq!(holder.seen().etrn.len(), 1);
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_its_interface_nobody_is_asked_and_nothing_listens() {
    for (interface, times, phase) in [("lo", 1, State::Open), ("nowhere0", 0, State::Closed)] {
        let link = format!("[link]\nkind = \"interface\"\ninterface = {interface:?}\n");
        let rest = format!("{link}[[wakeup]]\netrn = {HOLDER:?}\n");
        let (folder, holder) = (folder(), Holder::new(usual));
        let host = Host::start(&source("on-link", &rest), &folder, &holder, NOW);
        host.until(100).await;
        assert_eq!((holder.seen().etrn.len(), host.phase()), (times, phase), "{interface}");
        host.board.request().await;
        assert_eq!(holder.seen().etrn.len(), times + 1, "a person may know better");
        host.end().await;
    }
}

/// In real time: its command runs.
#[tokio::test]
async fn a_request_of_a_person_dials_once() {
    let link = "[link]\nkind = \"command\"\nup = [\"/bin/false\"]\n\
                schedule = []\ntime_zone = \"Europe/London\"\n";
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source("scheduled", link), &folder, &holder, NOW);
    for _ in 0..3 {
        let why = host.link.raise().await.expect_err("it never comes up");
        assert_eq!(why, "link.up ended by 1");
        assert_eq!(host.link.stand().doing, None, "it is dialled again for nobody");
    }
    host.end().await;
}

/// SIGHUP brings another schedule.
#[tokio::test(start_paused = true)]
async fn another_schedule_is_followed() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&in_the_morning("scheduled", ""), &folder, &holder, NOW);
    host.until(10).await;
    assert_eq!(holder.seen().etrn.len(), 0);
    host.configure(&in_the_morning("scheduled", "").replace("sun 2-3", "sun"));
    host.until(11).await;
    assert_eq!(holder.seen().etrn.len(), 1);
    host.configure(&in_the_morning("scheduled", ""));
    host.until(12).await;
    assert_eq!(host.phase(), State::Closed, "its window is over");
    host.end().await;
}
