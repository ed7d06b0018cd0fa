//! Who got a message can't be written down: the card is full, takes no more, or can't be read.

use embassy_time::Timer;
use postern_card::settings::{NextHop, Protocol, Settings};
use postern_core::envelope::State;

use crate::sim::contents;
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";
const BOB: &str = "bob@client.example";
const DAY_S: u64 = 24 * 3600;
/// Messages of which something is remembered while it can't be written down.
const LISTED: usize = 4;
/// Envelopes that are rewritten where clients have left no room.
const KEPT_BACK: usize = 4;

fn lmtp() -> Settings<'static> {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    Settings { next_hop, ..settings() }
}

async fn is_taken(client: &mut Talk, recipients: &[&str], number: u64) -> bool {
    let reply = client.mail(recipients, &message(number, 2_000)).await.expect("it answers");
    assert!(reply.starts_with("250 ") || reply.starts_with("452 "), "{reply}");
    reply.starts_with("250 ")
}

/// How many messages the hop has for `recipient`, and how many of them are different.
fn count(hop: &Notes, recipient: &str) -> (usize, usize) {
    let taken = hop.taken.borrow();
    let taken = taken.iter().filter(|one| one.recipients == [recipient]);
    let mut messages: Vec<_> = taken.map(|one| one.message().to_vec()).collect();
    let all = messages.len();
    messages.sort_unstable();
    messages.dedup();
    (all, messages.len())
}

/// Eight messages for two, one of whom puts off, and what is for one alone between them.
#[test]
fn on_a_card_that_takes_no_more_nobody_gets_any_of_many_again() {
    let world = World::new(card(CARD_OCTETS, &lmtp()), 2);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Message(ANN)).then_some("451 4.2.0 not now"));
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for number in 0..8 {
            assert!(is_taken(&mut client, &[JOE, ANN], number).await);
            assert!(is_taken(&mut client, &[BOB], 10 + number).await);
        }
        let last = world.card.written().into_iter().max().expect("a message");
        (last + 1..CARD_OCTETS / 512).for_each(|block| world.card.make_unwritable(block));
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(DAY_S).await;
    });
    assert_eq!(count(&hop, JOE), (LISTED, LISTED), "and the others wait");
    assert_eq!(count(&hop, BOB), (8, 8), "what needs no room goes");
    assert_eq!(contents::held(&world.card).len(), 8);
}

/// As soon as there is room it is written down who got them, and the others go.
#[test]
fn on_a_full_card_each_of_many_messages_goes_once_to_each() {
    const MANY: usize = 2 * (KEPT_BACK + LISTED);
    let world = World::new(card(512 << 10, &lmtp()), 2);
    let hop = Notes::new();
    let puts_off = |asked: Asked<'_>| (asked == Asked::Message(ANN)).then_some("451 4.2.0 no");
    hop.answer(puts_off);
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for number in 0..MANY as u64 {
            assert!(is_taken(&mut client, &[JOE, ANN], number).await);
        }
        let mut number = 100;
        while is_taken(&mut client, &[ANN], number).await {
            number += 1;
        }
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(DAY_S).await;
        let (all, different) = count(&hop, JOE);
        assert_eq!(all, different);
        assert_eq!(all, KEPT_BACK + LISTED, "the others wait");
        let recorded = contents::held(&world.card);
        let delivered = (JOE.to_owned(), State::Delivered);
        let recorded = recorded.iter().filter(|one| one.recipients.contains(&delivered));
        assert_eq!(recorded.count(), KEPT_BACK);
        hop.answer(|_| None);
        Timer::after_secs(DAY_S).await;
        assert_eq!(count(&hop, JOE), (MANY, MANY));
        let for_ann = MANY + (number - 100) as usize;
        assert_eq!(count(&hop, ANN), (for_ann, for_ann));
    });
    assert_eq!(contents::held(&world.card), []);
}

/// Its verdict was heard, and the envelope that it belongs into can't be read for a while.
#[test]
fn where_an_envelope_cant_be_read_for_a_while_nobody_gets_its_message_again() {
    let world = World::new(card(CARD_OCTETS, &lmtp()), 2);
    let hop = Notes::new();
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        assert!(is_taken(&mut client, &[JOE, ANN], 1).await);
        client.expect(&[("QUIT\r\n", "221 ")]).await;
        let envelope = contents::block_with(&world.card, &["sender@origin.example", JOE]);
        let card = world.card.clone();
        hop.answer(move |asked| {
            (asked == Asked::Message(ANN)).then(|| {
                card.make_unreadable(envelope);
                "451 4.2.0 not now"
            })
        });
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(300).await;
        assert_eq!(count(&hop, JOE), (1, 1));
        hop.answer(|_| None);
        world.card.make_readable(envelope);
        Timer::after_secs(2 * 3600).await;
    });
    assert_eq!([count(&hop, JOE), count(&hop, ANN)], [(1, 1); 2]);
    assert_eq!(contents::held(&world.card), []);
}
