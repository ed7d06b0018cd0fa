//! Neighbours that are gone from the link, and those who want to be found meanwhile.

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{NextHop, Protocol, Settings};

use crate::sim::hop::{Hop, Notes};
use crate::sim::link::Side;
use crate::sim::messages::message;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

/// How soon who is there is to be reached, whoever else is not.
const FOUND: Duration = Duration::from_secs(6);

async fn send(world: &World, number: u8) {
    let host = world.host(number);
    let mut client = Talk::greeted_from(&host, world).await;
    let reply = client.mail(&["joe@client.example"], &message(1, 2_000)).await;
    assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

/// The device asks it for a sign of life, and first where it is: each second, and smoltcp asks for
/// one address a second.
#[test]
fn clients_that_vanish_keep_nobody_from_being_found() {
    for vanished in 1..=2 {
        let world = World::new(card(CARD_OCTETS, &settings()), 5);
        let hosts = [world.host(0), world.host(1)];
        let hop = Notes::new();
        world.switch_on();
        world.run(async {
            Timer::after_secs(1).await;
            let mut gone = Vec::new();
            for (number, host) in hosts.iter().enumerate().take(vanished) {
                gone.push(Talk::greeted_from(host, &world).await);
                Timer::after_millis(300).await;
                world.cable.away(Side::Other(number as u8), true);
            }
            Timer::after_secs(75).await;
            Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
            send(&world, 5).await;
            let since = Instant::now();
            while hop.count() == 0 {
                Timer::after_millis(100).await;
            }
            assert!(since.elapsed() < FOUND, "{} with {vanished} gone", since.elapsed());
        });
    }
}

/// A next hop that is switched off at night is on the link again in the morning.
#[test]
fn one_that_was_away_is_found_when_it_is_tried_again() {
    let next_hop = NextHop { protocol: Protocol::Smtp, host: "192.0.2.1", port: HOP_PORT };
    let world = World::new(card(CARD_OCTETS, &Settings { next_hop, ..settings() }), 5);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.cable.away(Side::Far, true);
    world.switch_on();
    world.run(async {
        Timer::after_secs(1).await;
        send(&world, 5).await;
        Timer::after_secs(10).await;
        world.cable.away(Side::Far, false);
        // The try that is under way, or the one after it.
        Timer::after_secs(90).await;
        assert_eq!(hop.count(), 1);
    });
}

/// What is sent to one who is away is a question, and none the less one a second at most.
#[test]
fn one_that_is_away_is_asked_for_and_nothing_else() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.cable.away(Side::Far, true);
    let sent = std::rc::Rc::new(std::cell::RefCell::new(Vec::<(Instant, Vec<u8>)>::new()));
    let frames = sent.clone();
    world.switch_on();
    world.run(async {
        Timer::after_secs(1).await;
        send(&world, 5).await;
        // What the client got is behind.
        Timer::after_secs(12).await;
        world.cable.tap(move |frame| {
            frames.borrow_mut().push((Instant::now(), frame.to_vec()));
        });
        Timer::after_secs(120).await;
    });
    let sent = sent.borrow();
    assert!((4..=40).contains(&sent.len()), "{} frames", sent.len());
    for (_, frame) in sent.iter() {
        assert_eq!((&frame[..6], &frame[12..14]), (&[0xFF; 6][..], &[8, 6][..]), "ARP's question");
        assert_eq!((frame[21], &frame[38..42]), (1, &[192, 0, 2, 1][..]), "for the next hop");
        assert!(frame[42..].iter().all(|octet| *octet == 0));
    }
}
