//! Two sessions at once, for as long as it takes to find what only time brings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::card::CardImage;
use postern_tests::device::HOLDING;
use postern_tests::mail::{self, Mail, compare};
use postern_tests::network::Client;

use crate::rig::{Rig, long};

/// Sessions at once: all that a device gives to one address, which all clients have in QEMU.
pub const SESSIONS: usize = 2;
/// Octets of a message.
const MESSAGE: usize = 8 << 10;
/// Octets of the card: five minutes fill no more.
const CARD: u64 = 1 << 30;

#[test]
fn two_sessions_send_for_a_minute() {
    let rig = Rig::with_card(CardImage::make(HOLDING, CARD));
    let time = Duration::from_secs(if long() { 300 } else { 60 });
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    let mut acknowledged = Vec::new();
    thread::scope(|scope| {
        let session = || {
            let mut client = rig.client();
            send_until(&mut client, &next, begun + time)
        };
        let sessions = [0; SESSIONS].map(|_| scope.spawn(session));
        for session in sessions {
            acknowledged.extend(session.join().expect("all is taken"));
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let count = acknowledged.len();
    let rate = count as f64 / seconds;
    let kib = rate * MESSAGE as f64 / 1024.0;
    println!("{SESSIONS} sessions: {count} messages of 8 KiB, {rate:.0}/s, {kib:.0} KiB/s");
    let stored = rig.end().messages();
    assert_eq!(stored.len(), count);
    compare(&stored, &acknowledged);
}

/// Sends one message after another, and ends the session.
fn send_until(client: &mut Client, next: &AtomicUsize, end: Instant) -> Vec<Mail> {
    let mut acknowledged = Vec::new();
    mail::greet(client).expect("the device stays");
    while Instant::now() < end {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let mail = Mail { number, octets: MESSAGE };
        mail::send(client, mail).expect("the device stays");
        acknowledged.push(mail);
    }
    mail::quit(client).expect("the device stays");
    acknowledged
}
