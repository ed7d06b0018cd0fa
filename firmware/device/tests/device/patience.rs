//! Peers that take their time, as long as RFC 5321 §4.5.3.2 gives them.

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Protocol, Settings};

use crate::sim::contents;
use crate::sim::hop::{Hop, Notes};
use crate::sim::link::Impairment;
use crate::sim::messages::message;
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

/// A day after a message came, how often a next hop that thinks for `seconds` has got it, and how
/// many are left on the card.
fn deliveries_to_one_that_thinks_for(seconds: u64) -> (usize, usize) {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.ponders.set(Duration::from_secs(seconds));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&["joe@client.example"], &message(1, 5_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        client.expect(&[("QUIT\r\n", "221 ")]).await;
        Timer::after_secs(24 * 3600).await;
    });
    (hop.count(), contents::held(&world.card).len())
}

#[test]
fn a_next_hop_may_think_for_ten_minutes() {
    for seconds in [60, 110, 130, 290, 310, 595] {
        assert_eq!(deliveries_to_one_that_thinks_for(seconds), (1, 0), "{seconds} s");
    }
}

#[test]
fn a_client_may_be_silent_for_five_minutes() {
    for seconds in [100, 119, 121, 200, 299] {
        let world = World::new(card(CARD_OCTETS, &settings()), 2);
        world.switch_on();
        world.run(async {
            let mut client = Talk::greeted(&world).await;
            Timer::after_secs(seconds).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
            // What is longer is not allowed, and it is told so.
            let ended = client.reply().await.expect("it says why");
            assert!(ended.starts_with("421 4.4.2 "), "{ended}");
            assert_eq!(client.line().await, Err(Gone));
        });
    }
}

/// Keep-alive must not keep alive what is dead.
#[test]
fn a_client_that_vanishes_frees_its_channel_in_two_minutes() {
    let settings = Settings { channels: 1, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 2);
    world.switch_on();
    world.run(async {
        let _vanished = Talk::greeted(&world).await;
        world.cable.impair(Impairment { lost: 100, ..Impairment::default() });
        Timer::after_secs(125).await;
        world.cable.impair(Impairment::default());
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
        assert!(Instant::now() < Instant::from_secs(150));
    });
}
