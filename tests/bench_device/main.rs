//! What the device costs, in QEMU. Prints figures; asserts nothing.
//!
//! QEMU runs as fast as this machine lets it: messages a second say nothing of a chip. Under
//! `-icount shift=5` an instruction takes 32 ns of the device's own time, which its log tells; with
//! one session that never lets the device rest, that is a count of its instructions.

mod fill;

use std::thread;
use std::time::Instant;

use postern_tests::card::CardImage;
use postern_tests::device::HOLDING;
use postern_tests::mail::{self, Mail};
use postern_tests::network::Client;
use postern_tests::qemu::{Device, firmware};

const ICOUNT: [&str; 2] = ["-icount", "shift=5,sleep=on"];
const INSTRUCTION_NS: f64 = 32.0;
/// Octets of the card.
const CARD: u64 = 1 << 30;

fn main() {
    for messages in [0, 100, 1_000, 10_000, 10_250] {
        start(messages);
    }
    for sessions in [1, 2] {
        println!("{sessions} session(s), 8 KiB: {:.0} messages/s", speed(sessions, 300));
    }
    let [small, large] = [8 << 10, 64 << 10].map(instructions);
    let octet = (large - small) / ((64 - 8) << 10) as f64;
    println!("a message of 8 KiB: {small:.0} instructions; of 64 KiB: {large:.0}");
    println!("an octet more: {octet:.0} instructions");
}

fn greeted(device: &Device) -> Client {
    let mut client = Client::new(device.connect(), None).expect("the connection was just made");
    mail::greet(&mut client).expect("the device stays");
    client
}

fn send(client: &mut Client, numbers: impl Iterator<Item = usize>, octets: usize) {
    for number in numbers {
        mail::send(client, Mail { number, octets }).expect("the device stays");
    }
}

/// Prints what a start takes with so many messages on the card.
fn start(messages: usize) {
    let card = CardImage::make(HOLDING, CARD);
    fill::fill(&card.path(), messages);
    let begun = Instant::now();
    let device = Device::start(&firmware(), &card.path(), &[]);
    drop(device.connect());
    let greeting_ms = begun.elapsed().as_millis();
    let mounted = device.wait_for("the card", |lines| {
        lines.iter().find(|line| line.contains("card mounted")).cloned()
    });
    println!("{greeting_ms} ms to the first greeting; {mounted}");
}

/// Messages a second.
fn speed(sessions: usize, messages: usize) -> f64 {
    let card = CardImage::make(HOLDING, CARD);
    let device = Device::start(&firmware(), &card.path(), &[]);
    let clients: Vec<_> = (0..sessions).map(|_| greeted(&device)).collect();
    let begun = Instant::now();
    thread::scope(|scope| {
        for (session, mut client) in clients.into_iter().enumerate() {
            let numbers = (session..messages).step_by(sessions);
            scope.spawn(move || send(&mut client, numbers, 8 << 10));
        }
    });
    messages as f64 / begun.elapsed().as_secs_f64()
}

/// Instructions that a message costs, from one acknowledgement to the next.
fn instructions(octets: usize) -> f64 {
    const MESSAGES: usize = 50;
    let card = CardImage::make(HOLDING, CARD);
    let device = Device::start(&firmware(), &card.path(), &ICOUNT);
    send(&mut greeted(&device), 0..MESSAGES, octets);
    let times: Vec<f64> = device.wait_for("all messages", |lines| {
        let accepted = lines.iter().filter(|line| line.contains("accepted"));
        let times: Vec<_> = accepted.map(|line| seconds(line)).collect();
        (times.len() == MESSAGES).then_some(times)
    });
    let time = times[MESSAGES - 1] - times[0];
    time * 1e9 / INSTRUCTION_NS / (MESSAGES - 1) as f64
}

/// The time in front of a line of the log.
fn seconds(line: &str) -> f64 {
    let time = line.split(' ').next().and_then(|time| time.parse().ok());
    time.unwrap_or_else(|| panic!("no time in {line}"))
}
