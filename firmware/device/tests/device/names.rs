//! The next hop by its name.

use embassy_net::Ipv4Address;
use embassy_time::Timer;
use postern_card::settings::{Address, NextHop, Protocol, Settings};

use crate::sim::hop::{Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers::{NO_NAME, NOT_IMPLEMENTED, REFUSED, SERVER_FAILURE, names, names_at};
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, DEVICE, FAR, HOP_PORT, NOBODY, World, card, settings};

/// A device with mail for `hop.example` and with these name servers.
fn device(dns: &[Ipv4Address]) -> World {
    let dns = dns.iter().copied().collect();
    let address = Address::Static { network: (DEVICE, 24), gateway: None, dns };
    let next_hop = NextHop { protocol: Protocol::Smtp, host: "hop.example", port: HOP_PORT };
    let settings = Settings { address, next_hop, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 1);
    world.switch_on();
    world
}

async fn send(world: &World, number: u64) {
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&["joe@client.example"], &message(number, 5_000)).await;
    assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

#[test]
fn a_dead_name_server_is_passed_over() {
    let other = Ipv4Address::new(192, 0, 2, 98);
    for servers in [vec![NOBODY, FAR], vec![NOBODY, other, FAR]] {
        let world = device(&servers);
        let hop = Notes::new();
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let asked = names(&world, "hop.example", |_| Some(Ok(FAR)));
        world.run(async {
            send(&world, 1).await;
            Timer::after_secs(45).await;
        });
        assert_eq!((hop.count(), asked.get()), (1, 1), "{servers:?}");
    }
}

/// What the first one can't say the second one can.
#[test]
fn a_name_server_that_fails_is_passed_over() {
    for failure in [SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED] {
        let world = device(&[FAR, Ipv4Address::new(192, 0, 2, 10)]);
        let (other, hop) = (world.host(0), Notes::new());
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let failed = names(&world, "hop.example", move |_| Some(Err(failure)));
        let asked = names_at(&world, &other, &["hop.example"], |_| Some(Ok(FAR)));
        world.run(async {
            send(&world, 1).await;
            Timer::after_secs(20).await;
        });
        assert_eq!((hop.count(), asked.get()), (1, 1), "{failure}");
        assert!((1..=5).contains(&failed.get()), "{} questions", failed.get());
    }
}

/// The only one there is may fail for a moment.
#[test]
fn a_name_server_that_fails_once_is_asked_again() {
    let world = device(&[FAR]);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    names(&world, "hop.example", |number| {
        Some(if number == 0 { Err(SERVER_FAILURE) } else { Ok(FAR) })
    });
    world.run(async {
        send(&world, 1).await;
        Timer::after_secs(3).await;
    });
    assert_eq!(hop.count(), 1);
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let world = device(&[FAR]);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    names(&world, "hop.example", |number| (number == 2).then_some(Ok(FAR)));
    world.run(async {
        send(&world, 1).await;
        Timer::after_secs(10).await;
    });
    assert_eq!(hop.count(), 1);
}

#[test]
fn a_name_that_does_not_exist_puts_the_mail_off() {
    let world = device(&[FAR]);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let asked = names(&world, "hop.example", |number| {
        Some(if number == 0 { Err(NO_NAME) } else { Ok(FAR) })
    });
    world.run(async {
        send(&world, 1).await;
        Timer::after_secs(20).await;
        assert_eq!((asked.get(), hop.count()), (1, 0), "one that answers is not asked again");
        Timer::after_secs(2 * 3600).await;
    });
    assert_eq!(hop.count(), 1);
}
/// Nothing is remembered of an answer: a host that has moved is found at once. Nor does one that is
/// not there keep the name server from being found: smoltcp asks for one address a second.
#[test]
fn each_connection_looks_the_name_up() {
    let world = device(&[FAR]);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let asked =
        names(&world, "hop.example", |number| Some(Ok(if number == 1 { NOBODY } else { FAR })));
    world.run(async {
        send(&world, 1).await;
        Timer::after_secs(10).await;
        send(&world, 2).await;
        Timer::after_secs(60).await;
        assert_eq!((asked.get(), hop.count()), (2, 1));
        Timer::after_secs(2 * 3600).await;
        assert_eq!((asked.get(), hop.connections.get(), hop.count()), (3, 2, 2));
    });
}
