//! What outsiders and operators repeat: nothing is lost, memory and log stay bounded, and behind it
//! there is service as before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{AWAY, END, PATIENCE, Place, Server, hold};

/// KiB by which a server may grow between the first tenth of a storm and its end.
const GROWTH: u64 = 8 << 10;
/// Lines of the log for one client that asks and asks: those at once, one for each minute that the
/// test may take, and those of a server that starts and ends.
const LINES: usize = 60;

/// So many here, and fifty times as many where there is time.
fn times(few: usize) -> usize {
    if std::env::var_os("POSTERN_LONG").is_some() { 50 * few } else { few }
}

/// Does `act` so often; the server's memory must not grow with that.
fn storm(server: &Server, times: usize, mut act: impl FnMut(usize)) {
    (0..times / 10).for_each(&mut act);
    let before = server.memory();
    (times / 10..times).for_each(&mut act);
    let after = server.memory();
    println!("{times} times: {before} KiB, and then {after}");
    assert!(after <= before + GROWTH, "{before} KiB, and then {after}");
}

/// Takes a message, still holds all that were sent, and ends; what it logged since it was ready.
fn ends_well(place: &Place, server: Server, held: usize) -> Vec<Value> {
    server.send("info@client.example");
    assert_eq!(place.queue().len(), held + 1);
    place.run(&["health"]);
    server.end()
}

fn count(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

/// Says all of it at once, and hears until the server has enough.
fn hear_all(server: &Server, said: &str) -> String {
    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    // It may have hung up before the last line.
    let _sent = stream.write_all(said.as_bytes());
    let mut heard = Vec::new();
    let _reset = stream.read_to_end(&mut heard);
    String::from_utf8(heard).expect("text")
}

#[test]
fn etrns_without_end_release_nothing_for_outsiders_and_cost_no_tries() {
    const AT_ONCE: usize = 20;
    for (may, reply) in [(false, "459 "), (true, "25")] {
        let text = hold(AWAY, "\"any\"");
        let place =
            Place::new(&if may { text } else { text.replace("127.0.0.0/8", "192.0.2.0/24") });
        let server = place.serve();
        server.send("info@client.example");
        let etrns = format!("ETRN client.example{END}").repeat(AT_ONCE);
        let said = format!("EHLO a.example{END}{etrns}QUIT{END}");
        let begun = Instant::now();
        storm(&server, times(2_000) / AT_ONCE, |_| {
            let heard = hear_all(&server, &said);
            let answers = heard.lines().filter(|line| line.starts_with(reply)).count();
            assert!(answers >= AT_ONCE - 1, "{heard}");
        });
        let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a test ends");
        let lines = ends_well(&place, server, 1);
        // Its host is tried once each 5 s at most, and by one ladder.
        let tries = count(&lines, "no delivery") + count(&lines, "no delivery yet: it asked");
        let most = if may { 9 + seconds / 5 } else { 0 };
        assert!(tries <= most, "{tries} in {seconds} s");
        assert!(lines.len() <= LINES + 2 * most, "{} lines", lines.len());
    }
}

#[test]
fn reloads_without_end_under_traffic_lose_nothing() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let reloads = times(200);
    storm(&server, reloads, |_| {
        server.signal(Signal::HUP);
        server.send("info@client.example");
    });
    let lines = ends_well(&place, server, reloads);
    // Signals that come while one is heeded are one.
    assert!((1..=reloads).contains(&count(&lines, "the configuration was read again")));
    assert_eq!(count(&lines, "accepted"), reloads + 1);
}

#[test]
fn connections_without_end_leave_nothing_behind() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    server.send("info@client.example");
    let descriptors = server.descriptors();
    // In turn they take their leave, hang up within a transaction, and say nothing at all.
    let quit = format!("EHLO a.example{END}QUIT{END}");
    let within = format!("EHLO a.example{END}MAIL FROM:<>{END}RCPT TO:<info@client.example>{END}");
    storm(&server, times(2_000), |nth| match nth % 3 {
        0 => assert!(hear_all(&server, &quit).contains("221 ")),
        1 => {
            let mut stream = TcpStream::connect(server.address).expect("the server listens");
            stream.write_all(within.as_bytes()).expect("the server listens");
        }
        _ => drop(TcpStream::connect(server.address).expect("the server listens")),
    });
    let end = Instant::now() + PATIENCE;
    while server.descriptors() > descriptors {
        assert!(Instant::now() < end, "{} descriptors, {descriptors} before", server.descriptors());
    }
    let lines = ends_well(&place, server, 1);
    assert!(lines.len() <= LINES, "{} lines", lines.len());
}
