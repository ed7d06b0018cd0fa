//! Every wait for a client ends.

use embedded_io_async::ErrorKind;
use postern_core::drive::{Broken, Exit};
use postern_core::session::Config;

use crate::rig::{CONFIG, Ends, Script, Takes, codes, run, script};

const NOOP: &[u8] = b"NOOP\r\n";

#[test]
fn a_silent_client_is_told_and_closed() {
    let lines = b"HELO c\r\nMAIL FROM:<>\r\n";
    let (ended, rig, link) = run(CONFIG, Script { ends: Ends::Silent, ..script(&[lines]) });
    assert_eq!(ended, Ok(Exit::Closed));
    assert_eq!(codes(&link.said), ["220", "250", "250", "421"]);
    assert_eq!(rig.log(), ["discard TimedOut"]);
    assert_eq!(link.time.get(), u64::from(CONFIG.idle_timeout_ms));
}

#[test]
fn a_client_that_takes_no_replies_is_given_up() {
    for takes in [Takes::Nothing, Takes::NoFlush] {
        let (ended, _, link) = run(CONFIG, Script { takes, ..script(&[NOOP]) });
        assert_eq!(ended, Err(Broken::Stuck), "{takes:?}");
        assert_eq!(link.time.get(), u64::from(CONFIG.idle_timeout_ms), "{takes:?}");
    }
}

#[test]
fn a_link_that_breaks_ends_the_session() {
    let broken = Broken::Link(ErrorKind::BrokenPipe);
    for (takes, ended) in
        [(Takes::Fails, broken), (Takes::FlushFails, broken), (Takes::Zero, Broken::Stuck)]
    {
        let (how, rig, _) = run(CONFIG, Script { takes, ..script(&[NOOP]) });
        assert_eq!(how, Err(ended), "{takes:?}");
        assert!(rig.lender.lent.is_none());
    }
}

/// One deadline for a whole output, not one for each octet of it.
#[test]
fn an_output_in_drips_is_given_up() {
    let takes = Takes::Slowly(240_000);
    let (ended, _, link) = run(CONFIG, Script { takes, ..script(&[NOOP]) });
    assert_eq!(ended, Err(Broken::Stuck));
    assert!(link.time.get() <= 2 * 240_000, "{}", link.time.get());
}

#[test]
fn a_slow_reader_uses_up_its_session() {
    let config = Config { max_idle_commands: 0, ..CONFIG };
    let slow = Script { ends: Ends::Repeats, takes: Takes::Slowly(1000), ..script(&[NOOP]) };
    let (ended, _, link) = run(config, slow);
    assert_eq!(ended, Err(Broken::Stuck));
    let session_ms = u64::from(CONFIG.session_timeout_ms);
    assert!((session_ms..session_ms + 60_000).contains(&link.time.get()), "{}", link.time.get());
}

#[test]
fn a_link_that_does_not_close_is_dropped() {
    let (ended, _, link) = run(CONFIG, Script { close_hangs: true, ..script(&[b"QUIT\r\n"]) });
    assert_eq!((ended, link.time.get(), link.closed), (Ok(Exit::Closed), 5_000, 1));
}

/// What ended for want of time gets no more of it.
#[test]
fn a_client_that_timed_out_is_not_waited_for_again() {
    let silent = Script { ends: Ends::Silent, close_hangs: true, ..script(&[]) };
    let (ended, _, link) = run(CONFIG, silent);
    assert_eq!((ended, link.time.get()), (Ok(Exit::Closed), u64::from(CONFIG.idle_timeout_ms)));
}
