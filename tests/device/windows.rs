//! A device that asks, and listens, in the windows of a schedule only, by a clock that it has from
//! the network.

use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};

use postern_tests::card::CardImage;
use postern_tests::mail::{self, Mail, compare};
use postern_tests::network::Client;
use postern_tests::qemu::{Device, firmware};

use crate::cable::{Cable, until};
use crate::rig::{CARD, Rig};

/// Monday, 2023-11-20, 7:00 in Berlin, seconds since 1970-01-01T00:00:00Z.
const OPENS: u64 = 1_700_460_000;
/// From there to 1900, where NTP's time begins.
const NTP_EPOCH: u64 = 2_208_988_800;
/// The window.
const WINDOW: &str = "mon 07:00-09:00";
const WINDOW_S: u64 = 2 * 3600;

/// A holder of the device's mail, which delivers what it was asked for.
fn holder() -> Cable {
    Cable::new(|_| {
        "[hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"10.77.0.2:25\"\n\
        etrn_from = [\"10.77.0.0/24\"]\nretry_every = \"never\"\n"
            .to_owned()
    })
}

/// A card for a device that asks the holder at this address, and closes when nothing came for so
/// long.
fn card(holder: &str, idle: &str) -> CardImage {
    let text = format!(
        "hostname = \"mx.example\"\n\
        [receive]\nlistener = \"scheduled\"\nidle = \"{idle}\"\nwait = \"5s\"\n\
        [link]\nschedule = [\"{WINDOW}\"]\ntime_zone = \"Europe/Berlin\"\n\
        [[wakeup]]\netrn = \"{holder}\"\n\
        [hold.\"client.example\"]\nrecipients = [\"user\"]\ndeliver_to = \"10.77.0.1:9\"\n\
        retry_every = \"never\"\netrn_from = [\"10.77.0.1/32\"]\n\
        [device]\naddress = \"10.77.0.2/24\"\ntime_server = \"10.77.0.1\"\n"
    );
    CardImage::make(&text, CARD)
}

/// A time server (RFC 5905 §14): each of `times` answers one question.
fn tell_time(cable: &Cable, times: [u64; 2]) -> JoinHandle<()> {
    let bind = || UdpSocket::bind("10.77.0.1:123").expect("nobody else is on this cable");
    let socket = cable.namespace.within(bind);
    thread::spawn(move || {
        for time in times {
            let mut packet = [0; 48];
            let (length, device) = socket.recv_from(&mut packet).expect("the socket is open");
            assert_eq!((length, packet[0]), (48, 4 << 3 | 3), "a client's question");
            // The question's own time is repeated, and ours stands in its place.
            packet.copy_within(40..48, 24);
            packet[..2].copy_from_slice(&[4 << 3 | 4, 1]);
            let seconds = (time + NTP_EPOCH) as u32;
            packet[40..44].copy_from_slice(&seconds.to_be_bytes());
            packet[44..].fill(0);
            socket.send_to(&packet, device).expect("the device is on the cable");
        }
    })
}

/// Has the server hold a message.
fn hold(cable: &Cable, server: &str, message: Mail) {
    let connect = || TcpStream::connect(server).expect("it listens");
    let stream = cable.namespace.within(connect);
    let mut client = Client::new(stream, None).expect("the connection was just made");
    mail::greet(&mut client).expect("it stays");
    mail::send(&mut client, message).expect("it takes mail");
    mail::quit(&mut client).expect("it says good-bye");
}

/// The lines that say `text`, as seconds of the device's clock since its start.
fn said_at(lines: &[String], text: &str) -> Vec<f64> {
    let said = lines.iter().filter(|line| line.contains(text));
    let time = |line: &String| line.split_whitespace().next()?.parse().ok();
    said.map(|line| time(line).unwrap_or_else(|| panic!("no time: {line}"))).collect()
}

/// What a device says.
const DOUBTS: &str = "the time would be";
const KNOWS: &str = "the time is";
const OPEN: &str = "clients are let in";
const ANSWER: &str = "the holder says b\"25";
const CLOSED: &str = "nobody is let in";

#[test]
fn before_its_window_a_device_asks_nobody_and_lets_nobody_in() {
    let cable = holder();
    let server = cable.server();
    let held = Mail { number: 1, octets: 3_000 };
    hold(&cable, &server, held);
    // Sixteen seconds lie between its questions: the first answer is not believed.
    let (doubted, told) = (OPENS - 35, OPENS - 15);
    let clock = tell_time(&cable, [doubted, told]);
    let card = card(&server, "5s");
    let device = Device::start_in(&cable.namespace, &firmware(), &card.path());
    let says = |text: &'static str| {
        let what = |lines: &[String]| said_at(lines, text).first().copied();
        device.wait_for(text, what)
    };
    says(DOUBTS);
    let known = says(KNOWS);
    let early = cable.namespace.within(|| TcpStream::connect("10.77.0.2:25"));
    let refused = early.map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "it listens outside its window");
    let (opened, answered) = (says(OPEN), says(ANSWER));
    // The device's clock has whole seconds.
    let window = known + (OPENS - told - 1) as f64;
    assert!(window <= opened && opened <= answered, "{window}: {:?}", device.log());
    says("accepted");
    until("the holder has let go", || {
        let listed = cable.run(&["queue", "list", "--json"]);
        listed.stdout.is_empty().then_some(())
    });
    says(CLOSED);
    let log = device.log();
    assert_eq!([DOUBTS, OPEN, ANSWER].map(|text| said_at(&log, text).len()), [1; 3], "{log:?}");
    clock.join().expect("it was asked twice");
    let mut messages = Rig { device, card }.end().messages();
    for message in &mut messages {
        let id = b"Message-ID: <";
        let start = message.body.windows(id.len()).position(|octets| octets == id);
        message.body.drain(..start.expect("it was sent with one"));
    }
    assert_eq!(messages.len(), 1);
    compare(&messages, &[held]);
}

#[test]
fn when_its_window_ends_a_device_lets_nobody_in_any_more() {
    let cable = holder();
    let server = cable.server();
    let ends = OPENS + WINDOW_S;
    let clock = tell_time(&cable, [ends - 30, ends - 10]);
    // It would stay open for longer than this test runs.
    let card = card(&server, "1h");
    let device = Device::start_in(&cable.namespace, &firmware(), &card.path());
    let closed = device.wait_for("the end", |lines| said_at(lines, CLOSED).first().copied());
    let log = device.log();
    let first = |text| said_at(&log, text)[0];
    let (known, opened, answered) = (first(KNOWS), first(OPEN), first(ANSWER));
    assert!(known <= opened && opened <= answered, "{log:?}");
    assert!((known + 8.0..known + 12.0).contains(&closed), "{log:?}");
    clock.join().expect("it was asked twice");
    assert_eq!(Rig { device, card }.end().messages().len(), 0);
}
