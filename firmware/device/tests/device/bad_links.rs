//! Bad links: whatever they do to frames, each message that was acknowledged is passed on whole,
//! none is passed on twice without cause, and everything ends.

use std::cell::RefCell;
use std::rc::Rc;

use embassy_futures::join::join_array;
use embassy_futures::select::select;
use embassy_time::{Duration, Timer, with_timeout};
use postern_card::settings::Protocol;
use postern_device::Ended;

use crate::sim::card::Random;
use crate::sim::contents;
use crate::sim::hop::{Hop, Notes};
use crate::sim::host::Host;
use crate::sim::link::{Cable, Impairment};
use crate::sim::messages::{numbered, tally};
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const SEEDS: u64 = 24;
const CLIENTS: u64 = 4;
const MESSAGES: u64 = 5;
const OUTAGES: u64 = 12;

/// What clients know of their messages, by number: each try has a message of its own.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<u64>,
    /// The client does not know: it sent the end, and heard nothing.
    uncertain: Vec<u64>,
}

/// One client hands over some messages, and tries until each is taken.
async fn client(world: &World, number: u64, sent: &RefCell<Sent>) {
    let (host, mut tries) = (world.host(number as u8), 0);
    for message in 0..MESSAGES {
        loop {
            tries += 1;
            let message_number = number * 1_000 + message * 100 + tries;
            let patience = Duration::from_secs(600);
            match with_timeout(patience, hand_over(world, &host, message_number)).await {
                Ok(Ok(true)) => {
                    sent.borrow_mut().acknowledged.push(message_number);
                    break;
                }
                Ok(Ok(false)) => {}
                Ok(Err(Gone)) | Err(_) => sent.borrow_mut().uncertain.push(message_number),
            }
            assert!(tries < 99, "one of the tries succeeds");
            Timer::after_secs(7).await;
        }
    }
}

/// Hands a message over, and returns whether it was taken.
async fn hand_over(world: &World, host: &Host, number: u64) -> Result<bool, Gone> {
    let Ok(mut client) = Talk::connect_from(host, world).await else { return Ok(false) };
    if !client.reply().await?.starts_with("220 ") {
        return Ok(false);
    }
    client.say("EHLO client.example\r\n").await?;
    let reply = client.mail(&["joe@client.example"], &numbered(number)).await?;
    let _left = client.say("QUIT\r\n").await;
    Ok(reply.starts_with("250 "))
}

fn bad(seed: u64) -> Impairment {
    Impairment {
        lost: 10 + seed % 3 * 5,
        doubled: seed % 5 * 3,
        overtaken: seed % 7 * 5,
        corrupted: seed % 4 * 3,
    }
}

/// Now and then nothing comes through, for longer than a connection lives.
async fn outages(cable: Cable, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..OUTAGES {
        cable.impair(bad(seed));
        Timer::after_millis(5_000 + random.below(20_000)).await;
        cable.impair(Impairment { lost: 100, ..bad(seed) });
        Timer::after_secs(60 + random.below(600)).await;
    }
    cable.impair(bad(seed));
}

/// After outages one behind the other, a device may think its driver deaf.
async fn restarts(world: &World) {
    loop {
        assert_eq!(world.ended().await, Ended::Deaf);
        world.restart();
    }
}

fn survive(seed: u64) -> usize {
    let world = World::new(card(CARD_OCTETS, &settings()), seed);
    world.tasks.spawn(outages(world.cable.clone(), seed));
    let (hop, sent) = (Notes::new(), Rc::new(RefCell::new(Sent::default())));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        let clients: [u64; CLIENTS as usize] = std::array::from_fn(|number| number as u64 + 1);
        let mail = async {
            join_array(clients.map(|number| client(&world, number, &sent))).await;
            Timer::after_secs(4 * 3600).await;
        };
        select(mail, restarts(&world)).await;
    });
    let (tally, sent) = (tally(&hop.taken.borrow()), sent.borrow());
    for number in &sent.acknowledged {
        assert!(tally.contains_key(number), "seed {seed}: message {number} was acknowledged");
    }
    for number in tally.keys() {
        let is_known = sent.acknowledged.contains(number) || sent.uncertain.contains(number);
        assert!(is_known, "seed {seed}: message {number} was refused");
    }
    assert_eq!(contents::held(&world.card), [], "seed {seed}");
    sent.uncertain.len()
}

#[test]
fn what_is_acknowledged_arrives_whole_over_any_link() {
    let uncertain: usize = (0..SEEDS).map(survive).sum();
    let messages = SEEDS * CLIENTS * MESSAGES;
    println!("{SEEDS} seeds, {messages} messages, {uncertain} tries that ended without a word");
}
