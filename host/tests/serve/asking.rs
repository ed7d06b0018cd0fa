//! Recipients that the domain's host is asked about.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::place::{AWAY, END, Place};

/// A host that has `info` alone, whose mail it takes.
struct Primary {
    address: SocketAddr,
    /// How often it was asked about somebody.
    asked: Arc<AtomicU32>,
    has_gone: Arc<AtomicBool>,
}

impl Primary {
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn goes(self) {
        self.has_gone.store(true, Ordering::Relaxed);
        // The one that it wakes up for, and does not answer.
        drop(TcpStream::connect(self.address));
        while TcpStream::connect(self.address).is_ok() {}
    }
}

fn primary() -> Primary {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let asked = Arc::new(AtomicU32::new(0));
    let has_gone = Arc::new(AtomicBool::new(false));
    let (counted, gone) = (Arc::clone(&asked), Arc::clone(&has_gone));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            if gone.load(Ordering::Relaxed) {
                return;
            }
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let mut reply = "220 primary ESMTP";
            while write!(stream, "{reply}{END}").is_ok() {
                let end = if reply.starts_with("354") { "." } else { "" };
                let mut lines = lines.by_ref().map_while(Result::ok);
                let Some(line) = lines.find(|line| end.is_empty() || line == end) else { break };
                counted.fetch_add(u32::from(line.starts_with("RCPT ")), Ordering::Relaxed);
                reply = match &*line {
                    "RCPT TO:<info@client.example>" => "250 2.1.5 ok",
                    "DATA" => "354 go ahead",
                    _ if line.starts_with("RCPT ") => "550 5.1.1 no such user",
                    _ => "250 2.0.0 ok",
                };
            }
        }
    });
    Primary { address, asked, has_gone }
}

fn hold(host: &str, more: &str) -> String {
    format!(
        "[hold.\"client.example\"]\nrecipients = \"ask\"\ndeliver_to = \"{host}\"\n\
         retry_every = \"never\"\n{more}"
    )
}

#[test]
fn who_the_primary_knows_is_known_while_it_is_away() {
    let primary = primary();
    let place = Place::new(&hold(&primary.address.to_string(), ""));
    let server = place.serve();
    assert_eq!(&server.rcpt("info@client.example")[..3], "250");
    assert_eq!(&server.rcpt("nobody@client.example")[..9], "550 5.1.1");
    assert_eq!(&server.rcpt("Info+tag@client.example")[..3], "250", "what is listed stands for it");
    assert_eq!(&server.rcpt("postmaster@client.example")[..3], "250");
    assert_eq!(&server.rcpt("info%evil.example@client.example")[..9], "550 5.7.1");
    assert_eq!(primary.asked(), 3, "these two, and whether it takes anybody");
    let listed = place.run_until(&["recipients", "list"], "nobody@");
    assert!(listed.contains("info@client.example    yes     "), "{listed}");
    server.stop();

    // The primary has gone, and the server was restarted.
    primary.goes();
    let server = place.serve();
    assert_eq!(&server.rcpt("info@client.example")[..3], "250");
    assert_eq!(&server.rcpt("nobody@client.example")[..9], "550 5.1.1");
    assert_eq!(&server.rcpt("other@client.example")[..9], "450 4.3.2");
    assert_eq!(server.logged("refused")["word"], "unknown_user");
    assert_eq!(server.logged("refused")["word"], "unverified");
    let forgotten = place.run(&["recipients", "forget", "nobody@client.example"]);
    assert_eq!(forgotten, "1 address(es) forgotten\n");
    assert_eq!(&server.rcpt("nobody@client.example")[..9], "450 4.3.2");
    assert_eq!(place.run(&["recipients", "forget", "client.example"]), "1 address(es) forgotten\n");
    assert!(place.run(&["recipients", "list"]).contains("nothing was said"));
    let (code, text) = place.try_run(&["recipients", "forget", "-.example"]);
    assert!(code != Some(0) && !text.is_empty(), "{text}");
    server.stop();
    let kept = fs::read_to_string(place.path("spool/recipients")).expect("a file");
    assert_eq!(kept.lines().count(), 1, "{kept}");
}

#[test]
fn what_nothing_is_found_out_about_is_taken_where_that_is_wanted() {
    let place = Place::new(&hold(AWAY, "when_away = \"accept\"\n"));
    let server = place.serve();
    assert_eq!(&server.rcpt("info@client.example")[..3], "250");
    assert!(place.run(&["recipients", "list"]).contains("nothing was said"));
    server.stop();
}

#[test]
fn a_delivery_tells_of_recipients_too() {
    let primary = primary();
    let place = Place::new(&hold(AWAY, "when_away = \"accept\"\n"));
    let server = place.serve();
    server.send("info@client.example");
    server.send("sales+tag@client.example");
    server.send("nobody@client.example");
    server.stop();
    place.configure(&hold(&primary.address.to_string(), ""));
    let server = place.serve();
    place.run(&["queue", "release", "client.example"]);
    let listed = place.run_until(&["recipients", "list"], "nobody@client.example  no ");
    assert!(listed.contains("info@client.example    yes"), "{listed}");
    assert!(!listed.contains("sales"), "it may have no tags: {listed}");
    let before = primary.asked();
    assert_eq!(&server.rcpt("nobody@client.example")[..9], "550 5.1.1");
    assert_eq!(primary.asked(), before);
    server.stop();
}

#[test]
fn a_primary_that_does_not_want_to_be_asked_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = write!(stream.expect("a connection"), "421 4.7.0 too much{END}");
        }
    });
    let place = Place::new(&hold(&address.to_string(), ""));
    let server = place.serve();
    assert_eq!(&server.rcpt("info@client.example")[..9], "450 4.3.2");
    let (code, text) = place.try_run(&["health"]);
    let told = format!("{address} does not want to be asked who it takes mail for: ");
    assert!(code == Some(1) && text.contains(&told) && text.contains("421 4.7.0"), "{text}");
    server.stop();
}

#[test]
fn a_host_that_cannot_be_asked_is_an_error() {
    let table = "[hold.\"client.example\"]\nrecipients = \"ask\"\ndeliver_to = \"asker\"\n";
    let place = Place::new(table);
    let (code, text) = place.try_run(&["check"]);
    assert!(code == Some(2) && text.contains("names no host that could be asked"), "{text}");
}
