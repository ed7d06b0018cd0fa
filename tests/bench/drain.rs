//! How fast held mail goes on to a Postfix that takes it and holds it.

use std::thread;
use std::time::{Duration, Instant};

use crate::Load;
use crate::server::Server;

const MESSAGES: usize = 100_000;
const SIZE: usize = 2 << 10;
const GOAL_SECONDS: f64 = 60.0;
/// After so long it is given up.
const PATIENCE: Duration = Duration::from_secs(3600);
/// A look at the queue starts a container, which takes from what is measured.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const QUEUE: [&str; 3] = ["/usr/bin/postern", "queue", "release"];

/// With the default of connections to a host, and with as many as Postfix takes gladly; and what
/// Postfix takes from its own source of mail, which no sender can exceed.
pub fn report() -> String {
    let load = Load { sessions: 2, size: SIZE, many: true };
    let most = Server::postfix().measure(load, MESSAGES / 5).messages_per_second;
    let drains = [2, 20].map(drain).join("\n");
    format!("{drains}\nFrom smtp-source over 2 connections Postfix takes {most:.0} a second")
}

/// Fills a Postern whose host is a Postfix, and measures from the release until nothing is held.
fn drain(connections: u32) -> String {
    let postfix = Server::postfix();
    let postern = Server::postern_for(&format!("{}:25", postfix.address()), connections);
    let load = Load { sessions: 64, size: SIZE, many: true };
    postern.measure(load, MESSAGES);
    assert_eq!(postern.held(), MESSAGES, "all of it waits to be asked for");
    let begun = Instant::now();
    postern.container().exec(&[&QUEUE[..], &["client.example"]].concat());
    let mut left = MESSAGES;
    while left > 0 {
        assert!(begun.elapsed() < PATIENCE, "{left} messages are left");
        thread::sleep(LOOK_EVERY);
        left = postern.held();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = MESSAGES as f64 / seconds;
    format!(
        "{MESSAGES} held messages of {} KiB to one Postfix over {connections} connections: \
        {seconds:.1} s, {rate:.0} a second (goal: {GOAL_SECONDS} s)",
        SIZE >> 10
    )
}
