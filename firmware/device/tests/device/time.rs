//! The time of day: where it comes from, and what depends on it.

use embassy_time::Timer;
use postern_card::settings::{Protocol, Settings};
use postern_core::envelope::State;

use crate::sim::contents;
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers::tell_time;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const DAY_S: u64 = 24 * 3600;
/// 2026-01-02T03:04:05Z.
const BOOT: u64 = 1_767_323_045;
/// Seconds after which a server's time is taken: it is far from the card's, so two answers agree.
const KNOWN_S: u64 = 30;

fn timed() -> Settings<'static> {
    Settings { time_server: "192.0.2.1", expire_after_s: 2 * DAY_S as u32, ..settings() }
}

async fn send(world: &World, number: u64) {
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&["joe@client.example"], &message(number, 2_000)).await;
    assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

/// What became of the first message on the card.
fn first_state(world: &World) -> (bool, State) {
    let held = contents::held(&world.card);
    (held[0].is_flagged, held[0].recipients[0].1)
}

#[test]
fn the_time_server_says_when_mail_came() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(KNOWN_S).await;
        send(&world, 1).await;
        Timer::after_secs(1).await;
        let (field, _) = hop.taken.borrow()[0].split();
        assert!(field.contains("Fri, 2 Jan 2026 03:04:35 +0000\r\n"), "{field}");
    });
}

#[test]
fn without_a_server_the_card_has_the_best_guess() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(40).await;
        send(&world, 1).await;
        Timer::after_secs(1).await;
        let (field, _) = hop.taken.borrow()[0].split();
        assert!(field.contains("Tue, 14 Nov 2023 22:14:00 +0000\r\n"), "{field}");
    });
}

#[test]
fn mail_expires_and_stays_flagged() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(KNOWN_S).await;
        send(&world, 1).await;
        Timer::after_secs(2 * DAY_S - 3600).await;
        assert_eq!(first_state(&world), (false, State::Waiting));
        Timer::after_secs(2 * 3600).await;
        assert_eq!(first_state(&world), (true, State::Expired));
        // It is not tried any more.
        let hop = Notes::new();
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        send(&world, 2).await;
        Timer::after_secs(3600).await;
        assert_eq!((hop.count(), contents::held(&world.card).len()), (1, 1));
    });
}

/// By the try that finds it too old: its hop is never away.
#[test]
fn what_is_put_off_again_and_again_expires() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    hop.answer(|asked| matches!(asked, Asked::Recipient(_)).then_some("450 4.2.1 later"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(KNOWN_S).await;
        send(&world, 1).await;
        Timer::after_secs(2 * DAY_S - 3600).await;
        assert_eq!(first_state(&world), (false, State::Waiting));
        Timer::after_secs(2 * 3600).await;
        assert_eq!(first_state(&world), (true, State::Expired));
    });
}

#[test]
fn nothing_expires_while_the_time_is_unknown() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Greeting).then_some("421 4.3.2 not yet"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, 1).await;
        Timer::after_secs(5 * DAY_S).await;
        assert_eq!(first_state(&world), (false, State::Waiting));
        // Its age counts from when the time is known.
        tell_time(&world, BOOT);
        Timer::after_secs(DAY_S).await;
        assert_eq!(first_state(&world), (false, State::Waiting));
        Timer::after_secs(DAY_S + 3600).await;
        assert_eq!(first_state(&world), (true, State::Expired));
    });
}

#[test]
fn one_notice_tells_of_what_failed_since_the_last() {
    let settings = Settings { failed_to: "root@admin.example", ..timed() };
    let world = World::new(card(CARD_OCTETS, &settings), 4);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("joe") => Some("550 5.1.1 who?"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        send(&world, 0).await;
        Timer::after_secs(3_000).await;
        // Two more within the hour are told in one, when it is over.
        send(&world, 1).await;
        send(&world, 2).await;
        Timer::after_secs(30 * DAY_S).await;
        assert_eq!(hop.count(), 2);
        // It knows that after a restart too.
        world.switch_on();
        Timer::after_secs(2 * DAY_S).await;
        assert_eq!(hop.count(), 2);
        send(&world, 3).await;
        Timer::after_secs(3600).await;
    });
    let taken = hop.taken.borrow();
    let text = |index: usize| String::from_utf8_lossy(&taken[index].content).into_owned();
    let told = [0, 1, 2].map(text);
    let counts: Vec<_> = told.iter().filter_map(|text| text.split("too long: ").nth(1)).collect();
    assert_eq!(counts.len(), 3);
    assert!(counts.iter().zip(["1\r", "3\r", "4\r"]).all(|(text, n)| text.starts_with(n)));
    assert_eq!(
        (taken[0].from.as_str(), taken[0].recipients.concat().as_str()),
        ("", "root@admin.example")
    );
    assert!(told[2].starts_with("Date: Tue, 3 Feb 2026 "), "{}", told[2]);
}

#[test]
fn a_notice_that_is_refused_was_not_told() {
    let settings = Settings { failed_to: "root@admin.example", ..timed() };
    let world = World::new(card(CARD_OCTETS, &settings), 4);
    let hop = Notes::new();
    hop.answer(|asked| matches!(asked, Asked::Data).then_some("550 5.7.1 no"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        send(&world, 1).await;
        Timer::after_secs(3_000).await;
        hop.answer(|_| None);
        Timer::after_secs(3_600).await;
        assert_eq!(hop.count(), 1);
        Timer::after_secs(DAY_S).await;
        assert_eq!(hop.count(), 1);
    });
}

#[test]
fn a_notice_waits_for_the_next_hop() {
    let settings = Settings { failed_to: "root@admin.example", ..timed() };
    let world = World::new(card(CARD_OCTETS, &settings), 4);
    let hop = Notes::new();
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(KNOWN_S).await;
        send(&world, 1).await;
        Timer::after_secs(3 * DAY_S).await;
        assert_eq!(first_state(&world), (true, State::Expired));
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(3600).await;
    });
    assert_eq!(hop.taken.borrow()[0].recipients, ["root@admin.example"]);
}
