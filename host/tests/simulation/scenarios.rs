//! Single scenes, by the same means: what a seed may meet too seldom.

use std::io;
use std::sync::{Arc, Mutex};

use postern_spool::Domain as Name;

use crate::hosts::{Address, Host, Mood};
use crate::in_virtual_time;
use crate::ledger::{Domain, Nature};
use crate::story::{Limits, Story, minutes};

const BODY: &[u8] = b"Subject: hi\r\n\r\nhi\r\n";
const SECOND: u64 = 1000;

fn host(addresses: Vec<Address>) -> Host {
    let mut host = Host::new(1, true, addresses);
    host.offers = ["PIPELINING", "8BITMIME", "SIZE"].map(str::to_owned).to_vec();
    host
}

/// One domain at one host.
fn story(addresses: Vec<Address>, on_demand: bool, hold: &'static str) -> Story {
    let domain = Domain::new("d0.example".to_owned(), 0, on_demand);
    let limits = Limits { all: 10, per_host: 1, hold };
    Story::new(0, vec![host(addresses)], vec![domain], limits)
}

fn plain() -> Story {
    story(vec![Address::Serves], false, "")
}

impl Story {
    async fn receive_many(&self, messages: usize, nature: Nature) {
        for _ in 0..messages {
            self.receive(&[(0, nature)], BODY.to_vec(), false).await;
        }
    }

    fn tally(&self, what: &str) -> u64 {
        self.world.lock().tally.get(what).copied().unwrap_or(0)
    }

    fn assert_well(&self) {
        let state = self.world.lock();
        assert_eq!(state.violation, None, "{}", state.trace.join("\n"));
    }
}

#[test]
fn nothing_more_is_sent_while_a_settling_fails() {
    in_virtual_time(async {
        let mut story = plain();
        story.world.lock().faults.unsettled = minutes(5);
        story.receive_many(6, Nature::Plain).await;
        story.pass(minutes(4)).await;
        // The second may have been on its way when the first could not be recorded.
        assert!((1..=2).contains(&story.tally("taken")), "{}", story.tally("taken"));
        assert!(story.tally("settling failed") > 10);
        story.pass(minutes(3)).await;
        assert_eq!((story.tally("taken"), story.tally("taken twice")), (6, 0));
        story.assert_well();
    });
}

/// The host looks at what comes behind each message's end.
#[test]
fn no_mail_goes_behind_an_end_before_the_host_took_any() {
    in_virtual_time(async {
        let mut story = plain();
        story.world.lock().faults.unavailable = SECOND;
        story.receive_many(8, Nature::Plain).await;
        story.pass(minutes(2)).await;
        assert_eq!(story.tally("taken"), 8);
        assert!(story.tally("MAIL behind an end") >= 4);
        story.assert_well();
    });
}

/// The host looks at each QUIT.
#[test]
fn a_host_that_has_mail_of_a_message_that_does_not_follow_gets_no_quit() {
    in_virtual_time(async {
        let mut story = plain();
        story.receive_many(9, Nature::Plain).await;
        while story.tally("MAIL behind an end") < 2 {
            story.pass(1).await;
        }
        let now = story.world.lock().now;
        story.world.lock().faults.unsettled = now + minutes(1);
        story.pass(minutes(5)).await;
        let left = story.tally("left within a transaction");
        assert!(left > 0, "{}", story.world.lock().trace.join("\n"));
        assert_eq!((story.tally("taken"), story.tally("taken twice")), (9, 0));
        story.assert_well();
    });
}

#[test]
fn what_goes_when_asked_takes_no_turn_before_that() {
    in_virtual_time(async {
        let mut story = story(vec![Address::Serves], true, "");
        story.receive_many(1, Nature::Plain).await;
        story.pass(minutes(10)).await;
        assert!(story.world.lock().ledger.turns.is_empty());
        // Somebody asks, and the release is not recorded.
        story.triggers.asked(&Name::new("d0.example"));
        story.pass(minutes(10)).await;
        assert_eq!(story.tally("taken"), 0);
        story.ask(0).await;
        story.pass(minutes(1)).await;
        assert_eq!(story.tally("taken"), 1);
        story.assert_well();
    });
}

#[test]
fn mail_that_waits_to_be_asked_for_goes_by_a_timer_that_is_set_later() {
    in_virtual_time(async {
        let mut story = story(vec![Address::Serves], true, "");
        story.receive_many(1, Nature::Later(1)).await;
        story.ask(0).await;
        story.pass(minutes(60)).await;
        assert_eq!((story.tally("greylisted"), story.tally("taken")), (1, 0));
        story.world.lock().ledger.domains[0].on_demand = false;
        story.reload();
        story.pass(minutes(2)).await;
        assert_eq!(story.tally("taken"), 1);
        story.assert_well();
    });
}

/// The answer to ETRN was given: its tries come, whenever the server is killed.
#[test]
fn who_asked_before_a_crash_is_waited_for_behind_it() {
    for step in [0, 1, 2, 4, 9, 20, 50, 110] {
        in_virtual_time(async {
            let mut story = story(vec![Address::Serves], true, "");
            story.world.lock().hosts[0].mood = Mood::Absent;
            story.receive_many(1, Nature::Plain).await;
            story.ask(0).await;
            story.pass(step * SECOND).await;
            story.restart(true).await;
            story.pass(5 * SECOND).await;
            assert!(story.tally("address refused") >= 3, "killed after {step} s");
            story.world.lock().hosts[0].mood = Mood::Well;
            story.pass(minutes(1)).await;
            assert_eq!(story.tally("taken"), 1, "killed after {step} s");
            story.assert_well();
        });
    }
}

/// One domain reaches its host after a crash: all that waited for that before go as well. And no
/// number of crashes makes the timer's tries more.
#[test]
fn who_waits_for_a_host_is_known_behind_a_crash() {
    in_virtual_time(async {
        let names = ["d0.example", "d1.example", "d2.example"];
        let domains = names.map(|name| Domain::new(name.to_owned(), 0, false));
        let limits = Limits { all: 10, per_host: 1, hold: "" };
        let hosts = vec![host(vec![Address::Serves])];
        let mut story = Story::new(0, hosts, domains.into(), limits);
        story.world.lock().hosts[0].mood = Mood::Absent;
        for domain in 0..3 {
            story.receive(&[(domain, Nature::Plain)], BODY.to_vec(), false).await;
        }
        story.pass(10 * SECOND).await;
        let tries = story.tally("address refused");
        for _ in 0..10 {
            story.restart(true).await;
            story.pass(10 * SECOND).await;
        }
        assert_eq!(story.tally("address refused"), tries);
        story.world.lock().hosts[0].mood = Mood::Well;
        story.ask(0).await;
        story.pass(30 * SECOND).await;
        assert_eq!(story.tally("taken"), 3);
        story.assert_well();
    });
}

/// Nor does a crash add a try for what its host put off for reasons of its own.
#[test]
fn what_a_host_put_off_is_not_brought_back_by_a_crash() {
    for nature in [Nature::Full, Nature::Later(9)] {
        in_virtual_time(async {
            let names = ["d0.example", "d1.example"];
            let domains = names.map(|name| Domain::new(name.to_owned(), 0, false));
            let limits = Limits { all: 10, per_host: 1, hold: "" };
            let hosts = vec![host(vec![Address::Serves])];
            let mut story = Story::new(0, hosts, domains.into(), limits);
            // More than a host may defer in a row before its whole domain waits.
            for _ in 0..25 {
                story.receive(&[(0, nature)], BODY.to_vec(), false).await;
            }
            story.pass(10 * SECOND).await;
            let put_off = |story: &Story| story.tally("mailbox full") + story.tally("greylisted");
            let tries = put_off(&story);
            story.restart(true).await;
            story.receive(&[(1, Nature::Plain)], BODY.to_vec(), false).await;
            story.pass(minutes(5)).await;
            assert_eq!((story.tally("taken"), put_off(&story)), (1, tries), "{nature:?}");
            story.assert_well();
        });
    }
}

/// The store has no body for a while, and the host nothing to do with it.
#[test]
fn a_body_that_is_away_makes_no_connections_without_end() {
    in_virtual_time(async {
        let mut story = plain();
        story.world.lock().faults.bodiless = minutes(2);
        story.receive_many(1, Nature::Plain).await;
        story.pass(minutes(3)).await;
        let tries = story.tally("no body");
        assert!((2..=30).contains(&tries), "at each look: {tries}");
        assert_eq!(story.tally("taken"), 1);
        story.assert_well();
    });
}

#[test]
fn the_second_address_serves_where_the_first_refuses() {
    in_virtual_time(async {
        let mut story = story(vec![Address::Refuses, Address::Serves], false, "");
        story.receive_many(1, Nature::Plain).await;
        story.pass(SECOND).await;
        assert_eq!((story.tally("taken"), story.tally("address refused")), (1, 1));

        // A ladder goes on over both of them, and ends when one serves.
        story.world.lock().hosts[0].mood = Mood::Absent;
        story.receive_many(1, Nature::Plain).await;
        story.pass(10 * SECOND).await;
        story.ask(0).await;
        story.pass(5 * SECOND).await;
        assert!(story.tally("address refused") >= 7, "the timer's try, and three of the ladder's");
        story.world.lock().hosts[0].mood = Mood::Well;
        story.pass(10 * SECOND).await;
        assert_eq!(story.tally("taken"), 2);
        story.assert_well();
    });
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no holder panics").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_kept_for_long_enough_is_removed_with_a_line_each() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);
    in_virtual_time(async {
        let mut story = story(vec![Address::Serves], false, "kept_for = \"2h\"");
        story.receive_many(3, Nature::Refused).await;
        story.receive_many(1, Nature::Full).await;
        story.pass(minutes(110)).await;
        assert_eq!(story.held(|held| held.status == postern_spool::Status::Kept).await.len(), 3);
        story.pass(minutes(20)).await;
        assert_eq!(story.held(|_| true).await.len(), 1, "the one that waits");
    });
    let text = lines.0.lock().expect("no holder panics").clone();
    let text = String::from_utf8(text).expect("a log of text");
    let removed = text.lines().filter(|line| line.contains("removed: it was kept"));
    let ids: std::collections::BTreeSet<_> =
        removed.filter_map(|line| line.split("id=").nth(1)?.split(' ').next()).collect();
    assert_eq!(ids.len(), 3, "{text}");
}
