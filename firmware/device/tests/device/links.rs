//! The cable is pulled out, and put in again; and what the device's first words on it are.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Address, Settings};

use crate::sim::frames::Segment;
use crate::sim::servers::lease;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, World, card, settings};

/// The longest time from when the cable is in again until somebody is served.
const SERVED_S: u64 = 10;

#[test]
fn a_cable_that_is_put_in_again_serves_at_once() {
    for address in [Address::Dhcp, settings().address] {
        let world = World::new(card(CARD_OCTETS, &Settings { address, ..settings() }), 5);
        let host = world.host(0);
        lease(&world);
        world.switch_on();
        world.run(async {
            Timer::after_secs(10).await;
            for seconds in [1, 100, 10_000] {
                let _left = Talk::greeted(&world).await;
                world.cable.link(false);
                Timer::after_secs(seconds).await;
                world.cable.link(true);
                let again = Instant::now();
                while Talk::connect_from(&host, &world).await.is_err() {
                    Timer::after_secs(1).await;
                }
                assert!(again.elapsed() < Duration::from_secs(SERVED_S), "{seconds} s");
            }
        });
    }
}

/// An old connection's segments must not fit a new one (RFC 6528): a device without a source of
/// randomness has only its card's seed, and the number of the boot.
#[test]
fn each_boot_has_its_own_sequence_numbers() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    let first = Rc::new(RefCell::new(Vec::new()));
    let numbers = first.clone();
    world.cable.tap(move |frame| {
        if let Some(segment) = Segment::parse(frame).filter(|segment| segment.is_first) {
            numbers.borrow_mut().push(segment.number);
        }
    });
    world.run(async {
        for _ in 0..10 {
            world.switch_on();
            Timer::after_secs(1).await;
            Talk::greeted(&world).await.close().await;
        }
    });
    assert_eq!(first.borrow().len(), 10);
    assert_eq!(first.borrow().iter().collect::<BTreeSet<_>>().len(), 10);
}
