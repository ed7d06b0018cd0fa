//! Mailers on AppleTalk: who is served, by whom a datagram counts, and what outlives the cable.

use embassy_net::Ipv4Address;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::{AppleTalk, Listener, Protocol, Settings};
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::End;
use postern_core::appletalk::ltoudp::{GROUP, PORT};

use crate::sim::contents;
use crate::sim::hop::{Hop, Notes};
use crate::sim::link::Impairment;
use crate::sim::mac::Mac;
use crate::sim::messages::message;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, DEVICE, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const NAME: &[u8] = b"mx2:SMTP@*";

fn on_appletalk() -> Settings<'static> {
    let names = [NAME].into_iter().collect();
    Settings { appletalk: Some(AppleTalk { channels: 1, names }), ..settings() }
}

fn device(settings: &Settings<'_>) -> World {
    let world = World::new(card(CARD_OCTETS, settings), 3);
    world.switch_on();
    world
}

/// Hands a message over, which must be taken.
async fn send(mac: &Mac, to: Address, number: u64, octets: usize) {
    let mut mailer = mac.open(to).await.expect("its channel is free");
    mailer.expect(&[("", "220 "), ("EHLO mac.example\r\n", "250 ")]).await;
    let reply = mailer.mail(&[JOE], &message(number, octets)).await.expect("it answers");
    assert!(reply.starts_with("250 2.0.0 Held as "), "{reply}");
    mailer.expect(&[("QUIT\r\n", "221 ")]).await;
    drop(mailer);
    // That it is over is on its way.
    Timer::after_secs(1).await;
}

#[test]
fn a_mailers_message_goes_on_and_its_field_tells_where_it_was() {
    let world = device(&on_appletalk());
    let hop = Notes::new();
    world.run(async {
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let mac = Mac::new(&world, &world.host(0), 7);
        let found = mac.find(NAME).await.expect("it has its name");
        assert_eq!((found.network, found.socket), (0, 72));
        assert!(found.node >= 128, "servers have the upper half");
        send(&mac, found, 1, 5_000).await;
        // As often as anybody likes.
        send(&mac, found, 2, 5_000).await;
        Timer::after_secs(60).await;
    });
    let taken = hop.taken.borrow();
    assert_eq!(taken.len(), 2);
    let (field, content) = taken[0].split();
    assert!(content == message(1, 5_000));
    let field = field.replace("\r\n ", " ");
    assert!(field.starts_with("Received: from mac.example (AppleTalk network 0 node "), "{field}");
    assert!(field.contains(" socket 200) by mx2.provider.example with ESMTP id "), "{field}");
}

#[test]
fn it_is_for_the_domains_of_the_device_and_offers_no_release() {
    let world = device(&on_appletalk());
    world.run(async {
        let mac = Mac::new(&world, &world.host(0), 7);
        let found = mac.find(NAME).await.expect("it has its name");
        let mut mailer = mac.open(found).await.expect("its channel is free");
        mailer.expect(&[("", "220 "), ("EHLO mac.example\r\n", "250 ")]).await;
        mailer.expect(&[("ETRN client.example\r\n", "502 ")]).await;
        mailer.expect(&[("MAIL FROM:<>\r\n", "250 ")]).await;
        mailer.expect(&[("RCPT TO:<joe@elsewhere.example>\r\n", "550 5.7.1 ")]).await;
        mailer.expect(&[("RCPT TO:<eve@client.example>\r\n", "550 5.1.1 ")]).await;
    });
}

#[test]
fn the_second_mailer_is_denied_until_the_first_has_gone() {
    let world = device(&on_appletalk());
    world.run(async {
        let (one, two) = (world.host(0), world.host(1));
        let (one, two) = (Mac::new(&world, &one, 7), Mac::new(&world, &two, 8));
        let found = one.find(NAME).await.expect("it has its name");
        let mut first = one.open(found).await.expect("its channel is free");
        first.expect(&[("", "220 ")]).await;
        assert_eq!(two.open(found).await.err(), Some(End::Denied));
        // Over TCP there is another.
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
        drop(first);
        Timer::after_secs(1).await;
        send(&two, found, 1, 5_000).await;
    });
    world.switch_off();
    assert_eq!(contents::held(&world.card).len(), 1);
}

/// Unicast can come from anywhere: whoever reaches the device could write to it as if he were on
/// the cable.
#[test]
fn a_datagram_that_was_not_for_the_group_is_dropped() {
    let world = device(&on_appletalk());
    let asked = |number: u8, to: Ipv4Address| {
        let world = &world;
        async move {
            let meta = || vec![PacketMetadata::EMPTY; 4].leak();
            let room = || vec![0; 4096].leak();
            let stack = world.host(number).stack;
            let mut socket = UdpSocket::new(stack, meta(), room(), meta(), room());
            socket.bind(PORT).expect("the socket is new");
            stack.join_multicast_group(GROUP).expect("there is place");
            for node in 128..=254 {
                // Is there a node of this number?
                let enquiry = [0, 0, 0, 9, node, node, 0x81];
                socket.send_to(&enquiry, (to, PORT)).await.expect("it has an address");
                // The device keeps four until it reads them.
                Timer::after_millis(5).await;
            }
            let mut answer = [0; 700];
            let answered = socket.recv_from(&mut answer);
            with_timeout(Duration::from_secs(3), answered).await.is_ok()
        }
    };
    world.run(async {
        Timer::after_secs(10).await;
        assert!(!asked(0, DEVICE).await, "somebody answers to unicast");
        assert!(asked(1, GROUP).await, "and nobody to the group");
    });
}

#[test]
fn it_is_ready_whatever_the_listener_is() {
    let world = device(&Settings { listener: Listener::Off, ..on_appletalk() });
    world.run(async {
        let mac = Mac::new(&world, &world.host(0), 7);
        let found = mac.find(NAME).await.expect("it has its name");
        assert!(Talk::connect(&world).await.is_err(), "over TCP nobody is let in");
        send(&mac, found, 1, 5_000).await;
    });
}

#[test]
fn without_its_settings_it_is_on_no_cable() {
    let world = device(&settings());
    let frames = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = frames.clone();
    world.cable.tap(move |frame| {
        // To a group's hardware address, and IPv4.
        seen.set(seen.get() + u32::from(frame.starts_with(&[0x01, 0x00, 0x5E])));
    });
    world.run(async {
        let mac = Mac::new(&world, &world.host(0), 7);
        assert_eq!(mac.find(NAME).await, None);
    });
    assert_eq!(frames.get(), 0);
}

#[test]
fn a_name_that_another_has_is_left_to_it() {
    let world = World::new(card(CARD_OCTETS, &on_appletalk()), 3);
    world.run(async {
        let (one, two) = (world.host(0), world.host(1));
        let _first = Mac::named(&world, &one, 7, NAME);
        let mac = Mac::new(&world, &two, 8);
        Timer::after_secs(10).await;
        world.switch_on();
        Timer::after_secs(10).await;
        let found = mac.find(NAME).await.expect("the other has it");
        assert_eq!(found.socket, 200);
    });
}

#[test]
fn frames_that_are_lost_doubled_and_overtaken_cost_time_alone() {
    let world = device(&on_appletalk());
    let hop = Notes::new();
    world.run(async {
        let mac = Mac::new(&world, &world.host(0), 7);
        let found = mac.find(NAME).await.expect("it has its name");
        world.cable.impair(Impairment { lost: 5, doubled: 5, overtaken: 5, corrupted: 0 });
        let begun = Instant::now();
        send(&mac, found, 1, 60_000).await;
        println!("60,000 octets in {} ms", begun.elapsed().as_millis());
        world.cable.impair(Impairment::default());
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(3_600).await;
    });
    assert!(hop.taken.borrow()[0].message() == message(1, 60_000));
}

#[test]
fn it_is_on_the_cable_again_after_that_was_away() {
    let world = device(&on_appletalk());
    world.run(async {
        let mac = Mac::new(&world, &world.host(0), 7);
        let found = mac.find(NAME).await.expect("it has its name");
        let mut amid = mac.open(found).await.expect("its channel is free");
        amid.expect(&[("", "220 "), ("EHLO mac.example\r\n", "250 ")]).await;
        world.cable.link(false);
        Timer::after_secs(300).await;
        world.cable.link(true);
        drop(amid);
        Timer::after_secs(40).await;
        assert_eq!(mac.find(NAME).await, Some(found), "under its old number");
        send(&mac, found, 1, 5_000).await;
    });
}
