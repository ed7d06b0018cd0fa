//! ETRN, as it is answered and as it is asked.

use embassy_time::{Duration, Timer};
use postern_card::settings::{Holder, Host, List, Network, Protocol, Settings, Way};

use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOLDER_PORT, HOP_PORT, World, card, settings};

/// Only when asked.
fn on_demand() -> Settings<'static> {
    Settings { retry_every_s: None, ..settings() }
}

fn device(settings: &Settings<'_>) -> World {
    let world = World::new(card(CARD_OCTETS, settings), 3);
    world.switch_on();
    world
}

async fn send(client: &mut Talk, count: u64) {
    for number in 0..count {
        let reply = client.mail(&["joe@client.example"], &message(number, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
    }
}

#[test]
fn who_may_ask_is_counted_for_and_served_at_once() {
    let (world, hop) = (device(&on_demand()), Notes::new());
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("ETRN client.example\r\n", "251 ")]).await;
        send(&mut client, 3).await;
        Timer::after_secs(24 * 3600).await;
        assert_eq!(hop.connections.get(), 0, "nobody has asked");
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("ETRN Client.Example\r\n", "253 2.0.0 3 ")]).await;
        Timer::after_secs(1).await;
        assert_eq!(hop.count(), 3);
        client.expect(&[("ETRN client.example\r\n", "251 ")]).await;
    });
}

#[test]
fn a_restart_is_no_request() {
    let (world, hop) = (device(&on_demand()), Notes::new());
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        send(&mut Talk::greeted(&world).await, 1).await;
        world.switch_on();
        Timer::after_secs(3600).await;
        assert_eq!(hop.connections.get(), 0);
    });
}

#[test]
fn the_names_that_mean_our_mail() {
    let world = device(&on_demand());
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        send(&mut client, 1).await;
        for name in ["client.example", "branch", "BRANCH", "192.0.2.1"] {
            client.expect(&[(&format!("ETRN {name}\r\n"), "25")]).await;
            // Nobody is there to take it.
            Timer::after_secs(60).await;
        }
        client.expect(&[("ETRN @client.example\r\n", "250 "), ("ETRN @example\r\n", "250 ")]).await;
        for name in ["elsewhere.example", "@elsewhere.example", "#queue", "sub.client.example"] {
            client.expect(&[(&format!("ETRN {name}\r\n"), "459 ")]).await;
        }
        client.expect(&[("ETRN\r\n", "501 "), ("MAIL FROM:<>\r\n", "250 ")]).await;
        client.expect(&[("ETRN client.example\r\n", "503 ")]).await;
    });
}

#[test]
fn other_networks_may_not_ask() {
    let other = Network { address: [198, 51, 100, 0].into(), prefix: 24 };
    let etrn_from = [other].into_iter().collect();
    let world = device(&Settings { etrn_from, ..on_demand() });
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("ETRN client.example\r\n", "459 ")]).await;
    });
}

#[test]
fn a_request_during_a_run_that_fails_is_kept() {
    let (world, hop) = (device(&settings()), Notes::new());
    let mute = Hop::arrive_mute(&world, HOP_PORT);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        send(&mut client, 1).await;
        Timer::after_secs(10).await;
        mute.leave(&world);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        client.expect(&[("ETRN client.example\r\n", "250 ")]).await;
        // The run waits for a greeting in vain.
        Timer::after_secs(300).await;
        assert_eq!(hop.count(), 1);
    });
}

#[test]
fn a_request_during_a_run_starts_no_other_beside_it() {
    let (world, hop) = (device(&settings()), Notes::new());
    // The run lasts while QUIT has no answer, and that is waited for for five seconds.
    hop.pause.set(Duration::from_secs(4));
    hop.answer(|asked| match asked {
        Asked::Message(_) => Some("451 4.3.0 not now"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        send(&mut client, 1).await;
        Timer::after_secs(1).await;
        assert_eq!(hop.connections.get(), 1);
        client.expect(&[("ETRN client.example\r\n", "250 ")]).await;
        Timer::after_secs(2).await;
        assert_eq!(hop.connections.get(), 1);
        hop.answer(|_| None);
        Timer::after_secs(60).await;
        assert_eq!((hop.connections.get(), hop.count()), (2, 1), "the next run follows it");
    });
}

/// Times of the requests that a holder got, in seconds.
fn asked_at(holder: &Notes, name: &str) -> Vec<u64> {
    let etrns = holder.etrns.borrow();
    etrns.iter().filter(|(asked, _)| asked == name).map(|(_, at)| at.as_secs()).collect()
}

/// After a power cut the router needs minutes, and the device one second.
#[test]
fn a_holder_that_can_not_be_reached_at_the_start_is_asked_minutes_later() {
    let hosts = [Host { name: "192.0.2.1", port: HOLDER_PORT }].into_iter().collect();
    let names: List<&str> = ["client.example"].into_iter().collect();
    let holders = [Holder { hosts, names, every_s: 86_400, way: Way::Etrn }].into_iter().collect();
    let world = World::new(card(CARD_OCTETS, &Settings { holders, ..settings() }), 3);
    let holder = Notes::new();
    world.switch_on();
    world.run(async {
        Timer::after_secs(200).await;
        Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &holder);
        // One minute, two, five, ± 10 %, and what the tries take.
        Timer::after_secs(500).await;
        assert_eq!(asked_at(&holder, "client.example").len(), 1);
    });
}

#[test]
fn a_caller_asks_its_holder_at_boot_and_at_the_interval() {
    let names: List<&str> = ["client.example", "@branch.example"].into_iter().collect();
    let hosts = [Host { name: "192.0.2.1", port: HOLDER_PORT }].into_iter().collect();
    let holders = [Holder { hosts, names, every_s: 3600, way: Way::Etrn }].into_iter().collect();
    let settings = Settings { holders, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 3);
    let (holder, hop) = (Notes::new(), Notes::new());
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let open = Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &holder);
    holder.answer(|asked| match asked {
        Asked::Etrn("client.example") => Some("253 2.0.0 1 pending messages started"),
        Asked::Etrn(_) => Some("459 5.7.1 not allowed"),
        _ => None,
    });
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        assert_eq!(asked_at(&holder, "client.example"), [0]);
        assert_eq!(asked_at(&holder, "@branch.example"), [0], "each is asked for");
        // What it holds comes, and goes on.
        send(&mut Talk::greeted(&world).await, 1).await;
        Timer::after_secs(1).await;
        assert_eq!(hop.count(), 1);
        open.leave(&world);
        Timer::after_secs(2 * 3600).await;
        Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &holder);
        Timer::after_secs(2 * 3600).await;
        let times = asked_at(&holder, "client.example");
        assert_eq!(times.len(), 3, "{times:?}");
        assert!((3590..3700).contains(&(times[2] - times[1])), "{times:?}");
    });
}
