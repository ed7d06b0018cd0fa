//! Mail goes on to the next hop.

use postern_tests::dialogue::all;
use postern_tests::mail::{self, Mail};
use postern_tests::network::part_from_trace;
use postern_tests::play::Peer;

use crate::next_hop::{NextHop, behind_trace, passed_on};
use crate::rig::Rig;

#[test]
fn etrn_releases_it() {
    let next_hop = NextHop::start();
    let rig = Rig::start(&next_hop.configuration("never"));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device stays");
    let etrn = |client: &mut _, code| {
        Peer::send(client, b"ETRN client.example\r\n").expect("the device stays");
        mail::expect(client, code).expect("the device stays");
    };
    etrn(&mut client, "251");
    let mails = [0, 1, 2].map(|number| Mail { number, octets: number * 20_000 });
    for mail in mails {
        mail::send(&mut client, mail).expect("the device stays");
    }
    assert_eq!(passed_on(&rig.device.log()), 0, "nobody has asked");
    etrn(&mut client, "253");
    rig.device.wait_for("three passed on", |lines| (passed_on(lines) == 3).then_some(()));
    mail::quit(&mut client).expect("the device stays");
    assert_eq!(rig.end().messages().len(), 0);
    assert_eq!(next_hop.end(), mails);
}

/// As on the server, octet for octet, though the card has them as they came.
#[test]
fn what_dialogues_send_goes_on_as_from_a_server() {
    let scripts = all().into_iter().filter(|script| script.name.starts_with("data-"));
    let bodies = scripts.flat_map(|script| script.stored).map(|message| message.body);
    let mut bodies: Vec<_> = bodies.collect();
    let next_hop = NextHop::start();
    let rig = Rig::start(&next_hop.configuration("never"));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device stays");
    let mut say = |octets: &[u8], code| {
        Peer::send(&mut client, octets).expect("the device stays");
        mail::expect(&mut client, code).expect("the device stays");
    };
    for body in &bodies {
        say(b"MAIL FROM:<bob@sender.example>\r\n", "250");
        say(b"RCPT TO:<user@client.example>\r\n", "250");
        say(b"DATA\r\n", "354");
        say(&mail::stuffed(body), "250");
    }
    say(b"ETRN client.example\r\n", "253");
    let count = bodies.len();
    rig.device.wait_for("all passed on", |lines| (passed_on(lines) == count).then_some(()));
    assert_eq!(rig.end().messages().len(), 0);
    bodies.iter_mut().for_each(part_from_trace);
    let parted = bodies.iter().filter(|body| body.starts_with(b"\r\n")).count();
    assert!(parted >= 4, "only {parted} need it");
    let passed: Vec<_> =
        next_hop.took().iter().map(|message| behind_trace(message).to_vec()).collect();
    assert_eq!(passed, bodies);
}
