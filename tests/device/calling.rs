//! A device that is not always there.

use std::net::TcpListener;
use std::thread;

use postern_tests::mail::{self, Mail, compare};
use postern_tests::play::Peer;

use crate::next_hop::{NextHop, passed_on};
use crate::provider::Provider;
use crate::rig::Rig;

/// What a device says when it opens its listener, and when that closes.
const OPEN: &str = "clients are let in";
const CLOSED: &str = "nobody is let in";

/// How many lines of the log have `text`.
fn said(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// Keys for a device behind `next_hop` that listens so, and asks what is at these addresses.
fn configuration(next_hop: &NextHop, receive: &str, wakeups: &str) -> String {
    format!("{}\n[device]\n[receive]\n{receive}\n{wakeups}", next_hop.configuration("never"))
}

/// A holder that hangs up at once, and its port.
fn curt() -> (thread::JoinHandle<()>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let holder = thread::spawn(move || drop(listener.accept().expect("the device comes")));
    (holder, port)
}

#[test]
fn a_scheduled_one_opens_for_its_request_and_closes_when_nothing_comes() {
    let (next_hop, holder) = (NextHop::start(), NextHop::start());
    let (gone, port) = curt();
    let asks = format!(
        "[[wakeup]]\netrn = [\"10.0.2.2:{port}\", \"{}\"]\nnames = [\"client.example\"]",
        holder.place()
    );
    let receive = "listener = \"scheduled\"\nidle = \"5s\"\nwait = \"5s\"";
    let rig = Rig::start(&configuration(&next_hop, receive, &asks));
    rig.device.wait_for("the other name's answer", |lines| {
        (said(lines, "the holder says") == 1).then_some(())
    });
    gone.join().expect("a holder that was asked");
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device listens");
    let sent = Mail { number: 0, octets: 3_000 };
    mail::send(&mut client, sent).expect("it takes mail");
    mail::quit(&mut client).expect("it says good-bye");
    rig.device.wait_for("its end", |lines| (said(lines, CLOSED) == 1).then_some(()));
    assert_eq!(said(&rig.device.log(), OPEN), 1);
    assert_eq!(passed_on(&rig.device.log()), 0, "nobody has asked for it");
    assert_eq!(rig.end().messages().len(), 1);
    assert_eq!((holder.end(), next_hop.end()), (Vec::new(), Vec::new()));
}

/// Its cable is in when it starts.
#[test]
fn on_a_link_that_is_up_clients_are_let_in() {
    let next_hop = NextHop::start();
    let rig = Rig::start(&configuration(&next_hop, "listener = \"on-link\"", ""));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device listens");
    mail::send(&mut client, Mail { number: 0, octets: 3_000 }).expect("it takes mail");
    mail::quit(&mut client).expect("it says good-bye");
    assert_eq!(said(&rig.device.log(), OPEN), 1);
    assert_eq!(rig.end().messages().len(), 1);
    next_hop.end();
}

#[test]
fn without_channels_nobody_is_let_in_and_holders_are_asked() {
    let (next_hop, holder) = (NextHop::start(), NextHop::start());
    let asks = format!("[[wakeup]]\netrn = [\"{}\"]", holder.place());
    let rig = Rig::start(&configuration(&next_hop, "channels = 0", &asks));
    rig.device.wait_for("the holder's answer", |lines| {
        (said(lines, "the holder says") == 1).then_some(())
    });
    assert_eq!(said(&rig.device.log(), OPEN), 0);
    rig.end();
    assert_eq!((holder.end(), next_hop.end()), (Vec::new(), Vec::new()));
}

#[test]
fn a_holder_is_woken_by_an_email_to_its_account() {
    let (next_hop, holder) = (NextHop::start(), NextHop::start());
    let asks = format!(
        "[[wakeup]]\nemail = \"user@client.example\"\nemail_host = \"{}\"\n\
        email_from = \"box@client.example\"",
        holder.place()
    );
    let receive = "listener = \"scheduled\"\nidle = \"5s\"\nwait = \"5s\"";
    let rig = Rig::start(&configuration(&next_hop, receive, &asks));
    rig.device.wait_for("its end", |lines| (said(lines, CLOSED) == 1).then_some(()));
    let lines = rig.device.log();
    assert_eq!(
        (said(&lines, OPEN), said(&lines, "the holder says 250 to the e-mail")),
        (1, 1),
        "{lines:?}"
    );
    rig.end();
    let taken = holder.took();
    let [email] = taken.as_slice() else { panic!("{} e-mails", taken.len()) };
    assert_eq!(email.from.path, b"box@client.example");
    let text = String::from_utf8_lossy(&email.body);
    assert!(text.contains("\r\nSubject: Wake-up from mx.example\r\n"), "{text}");
    assert!(text.ends_with(":\r\nclient.example\r\n"), "{text}");
}

#[test]
fn mail_is_fetched_by_atrn_while_nobody_is_let_in() {
    let (next_hop, provider) = (NextHop::start(), Provider::start());
    let held = [1, 2, 3].map(|number| Mail { number, octets: 3_000 * number as usize });
    provider.hold(&held);
    let rig = Rig::start(&configuration(&next_hop, "listener = \"off\"", &provider.wakeup()));
    rig.device
        .wait_for("the mail", |lines| (said(lines, "fetched messages: 3") == 1).then_some(()));
    assert_eq!(said(&rig.device.log(), OPEN), 0);
    assert_eq!(provider.held(), 0);
    let mut messages = rig.end().messages();
    for message in &mut messages {
        let trace = b"Received: from sender.example.org ([127.0.0.1]";
        assert!(message.body.starts_with(trace), "{}", message.body.escape_ascii());
        let id = b"Message-ID: <";
        let start = message.body.windows(id.len()).position(|octets| octets == id);
        message.body.drain(..start.expect("it was sent with one"));
    }
    compare(&messages, &held);
    assert_eq!(messages.len(), 3);
    assert_eq!(next_hop.end(), Vec::new());
}

#[test]
fn mail_for_null_is_discarded_and_a_route_on_is_none() {
    let next_hop = NextHop::start();
    let rig = Rig::start(&next_hop.configuration("never").replace("[\"user\"]", "\"any\""));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device stays");
    let mut say = |words: &str, code| {
        Peer::send(&mut client, words.as_bytes()).expect("the device stays");
        mail::expect(&mut client, code).expect(words);
    };
    say("MAIL FROM:<>\r\n", "250");
    say("RCPT TO:<null%mx.example@mx.example>\r\n", "250");
    say("DATA\r\n", "354");
    say("Subject: wake up\r\n\r\n.\r\n", "250");
    say("MAIL FROM:<>\r\n", "250");
    say("RCPT TO:<x%victim.example@client.example>\r\n", "550");
    say("QUIT\r\n", "221");
    rig.device.wait_for("what is counted", |lines| {
        (said(lines, "messages since the start: 1") == 1).then_some(())
    });
    assert_eq!(rig.end().messages().len(), 0);
    assert_eq!(next_hop.end(), Vec::new());
}
