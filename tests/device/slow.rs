//! Clients that take their time, and those that say nothing at all.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::device::HOLDING;
use postern_tests::mail::{self, Mail, compare};
use postern_tests::play::Peer;

use crate::rig::Rig;

/// Connections that say nothing, and how many of them at once.
const SILENT: usize = 1000;
const AT_ONCE: usize = 8;
/// Far more than a device that waits a second takes to end a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device that waits so many seconds for its clients.
fn impatient(seconds: u32) -> Rig {
    Rig::start(&format!("{HOLDING}[receive]\nidle_timeout = \"{seconds}s\"\n"))
}

#[test]
fn a_message_octet_by_octet() {
    let rig = impatient(5);
    let (mut client, mail) = (rig.client(), Mail { number: 1, octets: 2000 });
    mail::expect(&mut client, "220").expect("the device stays");
    let mut say = |text: &[u8], code: &str| {
        for octet in text {
            client.send(&[*octet]).expect("the device stays");
        }
        mail::expect(&mut client, code).expect("the device stays");
    };
    say(b"EHLO sender.example.org\r\n", "250");
    say(b"MAIL FROM:<bob@sender.example>\r\n", "250");
    say(b"RCPT TO:<user@client.example>\r\n", "250");
    say(b"DATA\r\n", "354");
    say(&mail.stuffed(), "250");
    compare(&rig.end().messages(), &[mail]);
}

#[test]
fn one_that_stalls_is_sent_away_and_leaves_nothing() {
    let rig = impatient(2);
    let mut stalled = rig.client();
    mail::greet(&mut stalled).expect("the device stays");
    stalled.send(b"MAIL FROM:<bob@sender.example>\r\n").expect("the device stays");
    mail::expect(&mut stalled, "250").expect("the device stays");
    stalled.send(b"RCPT TO:<user@client.example>\r\nDATA\r\n").expect("the device stays");
    mail::expect(&mut stalled, "250").expect("the device stays");
    mail::expect(&mut stalled, "354").expect("the device stays");
    let begun = Instant::now();
    stalled.send(&[b'x'; 900].repeat(20)).expect("the device stays");
    mail::expect(&mut stalled, "421").expect("the device says why");
    println!("sent away after {} ms", begun.elapsed().as_millis());
    assert!(begun.elapsed() >= Duration::from_secs(2), "too early");
    stalled.closed().expect("the device hangs up");
    let mut silent = rig.client();
    mail::expect(&mut silent, "220").expect("the device stays");
    mail::expect(&mut silent, "421").expect("the device says why");
    silent.closed().expect("the device hangs up");
    assert_eq!(rig.end().messages().len(), 0);
}

#[test]
fn a_thousand_say_nothing_and_then_there_is_service() {
    let rig = impatient(1);
    drop(rig.client());
    let (next, heard) = (AtomicUsize::new(0), [const { AtomicUsize::new(0) }; 4]);
    // A fast computer is through with all before the first two have been sent away.
    let until = Instant::now() + PATIENCE;
    let are_served = || heard[Heard::Greeting as usize].load(Ordering::Relaxed) >= 3;
    let goes_on = || !are_served() && Instant::now() < until;
    let connect = || {
        while next.fetch_add(1, Ordering::Relaxed) < SILENT || goes_on() {
            let stream = TcpStream::connect(rig.device.address()).expect("QEMU takes it");
            heard[first_word(stream) as usize].fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(connect);
        }
    });
    let [greeted, sent_away, closed, lost] = heard.map(AtomicUsize::into_inner);
    println!("{greeted} greeted, {sent_away} sent away, {closed} closed, {lost} lost by QEMU");
    assert!(greeted >= 3, "a device serves those that it can");
    let (mut client, mail) = (rig.client(), Mail { number: 1, octets: 2000 });
    mail::greet(&mut client).expect("the device stays");
    mail::send(&mut client, mail).expect("the device stays");
    mail::quit(&mut client).expect("the device stays");
    compare(&rig.end().messages(), &[mail]);
}

/// What a silent client hears first.
#[derive(Clone, Copy)]
enum Heard {
    Greeting,
    /// 421.
    Refusal,
    /// No socket was free.
    Nothing,
    /// QEMU's queue of connections has room for one: one more is nobody's.
    NotTaken,
}

/// Hears a connection to its end.
fn first_word(mut stream: TcpStream) -> Heard {
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let mut octets = Vec::new();
    let ended = stream.read_to_end(&mut octets).map_err(|error| error.kind());
    match (octets.get(..3), ended) {
        (None, Err(ErrorKind::WouldBlock)) => Heard::NotTaken,
        (_, Err(ErrorKind::WouldBlock)) => panic!("the device does not hang up"),
        (Some(b"220"), _) => Heard::Greeting,
        (Some(b"421"), _) => Heard::Refusal,
        (None, _) => Heard::Nothing,
        (Some(other), _) => panic!("the device says {}", other.escape_ascii()),
    }
}
