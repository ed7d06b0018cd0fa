//! DHCP leases: held while the link flaps, renewed, refused, lost, and changed.

use std::cell::Cell;
use std::rc::Rc;

use embassy_net::Ipv4Address;
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Address, Settings};

use crate::sim::dhcp::Server;
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, World, card, settings};

/// The longest time until somebody is served again.
const SERVED: Duration = Duration::from_secs(10);
/// Where the device is after it was somewhere else.
const ELSEWHERE: Ipv4Address = Ipv4Address::new(192, 0, 2, 77);

/// A device that leases its address, and serves.
fn device() -> (World, Rc<Server>) {
    let settings = Settings { address: Address::Dhcp, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 5);
    let server = Server::start(&world);
    world.switch_on();
    (world, server)
}

/// Waits until somebody is served, and returns how long that took.
async fn served(world: &World) -> Duration {
    let since = Instant::now();
    loop {
        let talk = embassy_time::with_timeout(Duration::from_secs(1), Talk::connect(world)).await;
        if let Ok(Ok(mut talk)) = talk {
            talk.expect(&[("", "220 "), ("QUIT\r\n", "221 ")]).await;
            return since.elapsed();
        }
        Timer::after_millis(100).await;
    }
}

async fn flap(world: &World, seconds: u64) {
    world.cable.link(false);
    Timer::after_secs(seconds).await;
    world.cable.link(true);
}

#[test]
fn a_link_that_flaps_costs_no_session() {
    let (world, server) = device();
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        for (times, seconds) in [(1, 1), (2, 1), (3, 30), (4, 59)] {
            flap(&world, seconds).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
            Timer::after_secs(5).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
            assert_eq!(server.asked.get(), times, "the lease is asked for once each time");
        }
        assert!(served(&world).await < SERVED);
    });
}

#[test]
fn without_a_link_for_long_the_lease_is_dropped_and_taken_again() {
    let (world, server) = device();
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        flap(&world, 100).await;
        assert!(served(&world).await < SERVED);
        assert_eq!(server.asked.get(), 0, "the lease is a new one");
        assert!(client.say("NOOP\r\n").await.is_err());
    });
}

#[test]
fn behind_a_flap_the_network_may_be_another() {
    for remembers in [true, false] {
        let (world, server) = device();
        world.run(async {
            Timer::after_secs(5).await;
            let mut client = Talk::greeted(&world).await;
            server.address.set(ELSEWHERE);
            server.remembers.set(remembers);
            flap(&world, 2).await;
            world.device_at.set(ELSEWHERE);
            let served = served(&world).await;
            assert!(served < SERVED, "{} ms", served.as_millis());
            assert!(server.asked.get() > 0);
            assert_eq!(client.say("NOOP\r\n").await, Err(Gone), "it was at the old address");
        });
    }
}

#[test]
fn a_lease_is_renewed_without_a_pause() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        for _ in 0..3 {
            Timer::after_secs(150).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
        }
        assert!(server.asked.get() >= 6, "renewed {} times", server.asked.get());
    });
}

#[test]
fn a_renewal_that_is_refused_leads_to_another_address() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(30).await;
        server.address.set(ELSEWHERE);
        while server.refused.get() == 0 {
            Timer::after_millis(100).await;
        }
        world.device_at.set(ELSEWHERE);
        assert!(served(&world).await < SERVED);
    });
}

#[test]
fn a_lease_that_ran_out_is_taken_again_when_the_server_is_back() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(5).await;
        server.answers.set(false);
        Timer::after_secs(3600).await;
        server.answers.set(true);
        let served = served(&world).await;
        assert!(served < SERVED, "{} ms", served.as_millis());
    });
}

/// smoltcp asks anew at once when it is refused.
#[test]
fn a_server_that_refuses_what_it_offers_is_not_asked_without_a_pause() {
    let (world, server) = device();
    server.keeps_offers.set(false);
    let asked = Rc::new(Cell::new(0));
    let asks = asked.clone();
    world.cable.tap(move |frame| {
        // From port 68 to port 67 of UDP.
        let is_dhcp = frame.get(23) == Some(&17) && frame.get(34..38) == Some(&[0, 68, 0, 67]);
        asks.set(asks.get() + u32::from(is_dhcp));
    });
    world.run(async {
        Timer::after_secs(600).await;
        println!("{} questions in 10 minutes, {} refused", asked.get(), server.refused.get());
        assert!((20..=300).contains(&asked.get()), "{} questions in 10 minutes", asked.get());
        server.keeps_offers.set(true);
        Timer::after_secs(20).await;
        Talk::greeted(&world).await.close().await;
    });
}
