//! Cards that are not there, not ours, broken, or pulled out.

use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::BLOCK;
use postern_card::settings::{Protocol, Settings};
use postern_core::envelope::State;
use postern_device::{Ended, Status};

use crate::sim::card::{Call, SimCard};
use crate::sim::contents::{self, damage};
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers::lease;
use crate::sim::talk::{Talk, stuffed};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const DAY_S: u64 = 24 * 3600;
const BLOCKS: u32 = CARD_OCTETS / BLOCK as u32;
/// Blocks of an extent of such a card.
const EXTENT: u32 = 32;

/// The reply that all clients of a device get that has no card.
async fn is_down(world: &World) {
    for _ in 0..3 {
        let mut client = Talk::connect(world).await.expect("somebody listens");
        let greeting = client.reply().await.expect("it says why");
        assert_eq!(greeting, "421 Can't take mail now, try later");
        client.close().await;
        Timer::after_secs(1).await;
    }
}

#[test]
fn without_a_card_clients_hear_so_until_there_is_one() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    lease(&world);
    world.card.pull_out(true);
    world.switch_on();
    world.run(async {
        Timer::after_secs(30).await;
        is_down(&world).await;
        world.card.pull_out(false);
        assert_eq!(world.ended().await, Ended::CardFound);
        assert!(Instant::now() < Instant::from_secs(60));
        world.switch_on();
        Timer::after_secs(1).await;
        Talk::greeted(&world).await;
    });
}

/// Its driver was left in the middle of a call, and the whole of a boot is tried again: whoever is
/// away can't cut the power.
#[test]
fn a_card_that_hangs_while_it_is_mounted_costs_five_minutes() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    lease(&world);
    world.hangs.set(true);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        is_down(&world).await;
        world.hangs.set(false);
        assert_eq!(world.ended().await, Ended::CardUseless);
        let seconds = Instant::now().as_secs();
        assert!((330..340).contains(&seconds), "{seconds} s");
        world.restart();
        Timer::after_secs(1).await;
        Talk::greeted(&world).await;
    });
}

#[test]
fn the_watchdog_is_fed_while_a_slow_card_is_mounted() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    // It is busy with its own blocks: three seconds for each of ours.
    world.slow_us.set(3_000_000);
    world.switch_on();
    world.run(async {
        let mut client = Talk::connect(&world).await;
        while client.is_err() {
            Timer::after_secs(1).await;
            client = Talk::connect(&world).await;
        }
        assert!(Instant::now() > Instant::from_secs(60), "{}", Instant::now());
        Timer::after_secs(2).await;
        let longest = world.longest_unfed.get();
        assert!(longest <= Duration::from_secs(2), "{longest}");
    });
}

#[test]
fn a_card_of_somebody_elses_is_left_alone() {
    let world = World::new(SimCard::new(BLOCKS), 5);
    lease(&world);
    world.switch_on();
    world.run(async {
        Timer::after_secs(30).await;
        is_down(&world).await;
    });
    assert!(world.card.writes().is_empty());
}

#[test]
fn a_card_whose_settings_are_damaged_is_none() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    lease(&world);
    let blocks = contents::blocks_with(&world.card, &["mx2.provider.example"]);
    assert_eq!(blocks.len(), 2);
    blocks.iter().for_each(|block| damage(&world.card, *block));
    world.switch_on();
    world.run(async {
        Timer::after_secs(30).await;
        is_down(&world).await;
        let writes = world.card.writes();
        assert_eq!(world.ended().await, Ended::CardUseless);
        assert!(Instant::now() > Instant::from_secs(300), "each mount writes");
        assert_eq!(world.card.writes(), writes);
        // The same octet again: it is mended.
        blocks.iter().for_each(|block| damage(&world.card, *block));
        world.switch_on();
        Timer::after_secs(1).await;
        Talk::greeted(&world).await;
    });
}

/// It takes mail, and then writes no more, as worn cards do, or reads nothing either, as one with a
/// password.
fn locked(lock: fn(&SimCard, bool)) {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    lease(&world);
    let hop = Notes::new();
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for number in 0..3 {
            let reply = client.mail(&[JOE], &message(number, 2_000)).await.expect("it answers");
            assert!(reply.starts_with("250 "), "{reply}");
        }
        lock(&world.card, true);
        // One draft has failed; with the next call of the card it is known that all do.
        let mut refused = 0;
        while with_timeout(Duration::from_secs(5), world.ended()).await.is_err() {
            let reply = client.mail(&[JOE], &message(3, 2_000)).await.expect("it answers");
            assert!(reply.starts_with('4') && refused < 3, "{reply}");
            refused += 1;
            client.say("RSET\r\n").await.ok();
        }
        assert!(refused > 0);
        world.restart();
        let mut boots = 0;
        while Instant::now() < Instant::from_secs(DAY_S) {
            if with_timeout(Duration::from_secs(60), world.ended()).await.is_ok() {
                boots += 1;
                world.restart();
            } else {
                is_down(&world).await;
                let shown = world.shown.borrow();
                assert_eq!(shown.last().map(|shown| shown.1), Some(Status::CardUseless));
            }
        }
        assert!((2..=DAY_S / 300 + 1).contains(&boots), "{boots} boots in a day");
        lock(&world.card, false);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        if with_timeout(Duration::from_secs(400), world.ended()).await.is_ok() {
            world.restart();
        }
        Timer::after_secs(3600).await;
    });
    let taken = hop.taken.borrow();
    let taken: Vec<_> = taken.iter().map(|one| one.message().to_vec()).collect();
    assert_eq!(taken, [0, 1, 2].map(|number| message(number, 2_000)));
}

#[test]
fn a_card_that_takes_no_more_writes_is_useless_and_keeps_its_mail() {
    locked(SimCard::wear_out);
}

#[test]
fn a_card_that_is_locked_by_a_password_is_useless_and_keeps_its_mail() {
    locked(SimCard::lock);
}

#[test]
fn a_useless_card_that_is_put_in_later_ends_the_boot() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    lease(&world);
    let blocks = contents::blocks_with(&world.card, &["mx2.provider.example"]);
    assert_eq!(blocks.len(), 2);
    blocks.iter().for_each(|block| damage(&world.card, *block));
    world.card.pull_out(true);
    world.switch_on();
    world.run(async {
        Timer::after_secs(30).await;
        world.card.pull_out(false);
        Timer::after_secs(30).await;
        is_down(&world).await;
        assert_eq!(world.ended().await, Ended::CardUseless);
    });
}

#[test]
fn a_card_that_is_pulled_out_ends_the_boot_and_keeps_what_was_taken() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    let hop = Notes::new();
    world.switch_on();
    world.run(async {
        let mut idle = Talk::greeted(&world).await;
        let mut busy = Talk::greeted(&world).await;
        let reply = busy.mail(&[JOE], &message(1, 5_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        busy.expect(&[("MAIL FROM:<a@b.example>\r\n", "250 ")]).await;
        busy.expect(&[("RCPT TO:<joe@client.example>\r\n", "250 "), ("DATA\r\n", "354 ")]).await;
        busy.send(&stuffed(&message(2, 5_000))).await.expect("it listens");
        world.card.pull_out(true);
        busy.send(&stuffed(&message(3, 5_000))).await.expect("it listens");
        let reply = busy.say(".\r\n").await;
        assert!(reply.as_ref().is_ok_and(|reply| reply.starts_with("4")), "{reply:?}");
        let reply = idle.mail(&[JOE], &message(4, 5_000)).await;
        assert!(reply.as_ref().is_ok_and(|reply| reply.starts_with("4")), "{reply:?}");
        assert_eq!(world.ended().await, Ended::CardFailed);
        assert!(Instant::now() < Instant::from_secs(10));
        world.card.pull_out(false);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        world.switch_on();
        Timer::after_secs(10).await;
    });
    let taken = hop.taken.borrow();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].message() == message(1, 5_000));
}

#[test]
fn a_block_that_cant_be_written_costs_one_message_and_no_boot() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        // A block of the envelope, one of the body, and the manifest's.
        for (number, bad) in [(2, 1), (3, 9), (4, 0)] {
            let reply = client.mail(&[JOE], &message(number, 1_000)).await.expect("it answers");
            assert!(reply.starts_with("250 "), "{reply}");
            // In the extent that is given out next.
            let last = world.card.written().into_iter().max().expect("a message");
            world.card.make_unwritable(last / EXTENT * EXTENT + EXTENT + bad);
            let reply = client.mail(&[JOE], &message(number, 10_000)).await.expect("it answers");
            assert!(reply.starts_with("452 "), "{reply}");
            client.expect(&[("RSET\r\n", "250 ")]).await;
        }
        let reply = client.mail(&[JOE], &message(5, 10_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        Timer::after_secs(60).await;
        client.expect(&[("NOOP\r\n", "250 ")]).await;
    });
}

#[test]
fn an_uncertain_commit_is_no_promise() {
    // Which flush of the commit fails: that of the data, or that of the journal.
    for flush in 0..2 {
        let world = World::new(card(CARD_OCTETS, &settings()), 5);
        world.switch_on();
        world.run(async {
            let mut client = Talk::greeted(&world).await;
            client.expect(&[("MAIL FROM:<a@b.example>\r\n", "250 ")]).await;
            client
                .expect(&[("RCPT TO:<joe@client.example>\r\n", "250 "), ("DATA\r\n", "354 ")])
                .await;
            world.card.fail(Call::Flush, flush, u64::MAX);
            client.send(&stuffed(&message(2, 5_000))).await.expect("it listens");
            client.expect(&[(".\r\n", "451 ")]).await;
            assert_eq!(world.ended().await, Ended::CardFailed);
        });
    }
}

/// A card with three messages, and the block of the second's that has all of `marks`.
fn three_messages(marks: &[&str], octets: usize) -> (World, u32) {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let recipients = ["joe@client.example", "ann@client.example", "bob@client.example"];
        for (number, recipient) in (1..).zip(recipients) {
            let reply = client.mail(&[recipient], &message(number, octets)).await;
            assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        }
        client.expect(&[("QUIT\r\n", "221 ")]).await;
    });
    world.switch_off();
    let block = contents::block_with(&world.card, marks);
    (world, block)
}

/// The others' messages go on, over as many connections as needed, and at once.
fn others_go_on(world: &World) {
    let hop = Notes::new();
    Hop::arrive(world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(30).await;
        let numbers: Vec<u8> = hop.taken.borrow().iter().map(|one| one.message()[17]).collect();
        assert_eq!(numbers, *b"13");
        // And nothing holds up what comes later.
        let mut client = Talk::greeted(world).await;
        let reply = client.mail(&[JOE], &message(4, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        Timer::after_secs(30).await;
        assert_eq!(hop.count(), 3);
        Timer::after_secs(2 * 3600).await;
        assert!(hop.connections.get() <= 5, "{}", hop.connections.get());
        // What could not be read twice in two hours is given up.
        let mut client = Talk::greeted(world).await;
        let reply = client.mail(&[JOE], &message(5, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        Timer::after_secs(30).await;
        assert_eq!(hop.count(), 4);
    });
    world.switch_off();
}

#[test]
fn a_message_that_cant_be_read_is_flagged_and_the_others_go_on() {
    let (world, first) = three_messages(&["Subject: message 2"], 20_000);
    damage(&world.card, first + 20);
    others_go_on(&world);
    let held = contents::held(&world.card);
    assert_eq!(held.len(), 1);
    assert!(held[0].is_flagged);
    assert_eq!(held[0].recipients, [("ann@client.example".to_owned(), State::Refused)]);
}

#[test]
fn a_message_that_cant_be_read_for_a_while_is_passed_on_later() {
    let (world, first) = three_messages(&["Subject: message 2"], 20_000);
    world.card.make_unreadable(first + 20);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        assert_eq!(hop.count(), 2);
        world.card.make_readable(first + 20);
        Timer::after_secs(2 * 3600).await;
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE], &message(4, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        Timer::after_secs(30).await;
        assert_eq!(hop.count(), 4);
    });
    assert_eq!(contents::held(&world.card), []);
}

/// A bad contact of some minutes, in which the mail is asked for again and again, condemns nothing.
#[test]
fn what_cant_be_read_for_nine_minutes_is_not_given_up() {
    let (world, first) = three_messages(&["Subject: message 2"], 20_000);
    world.card.make_unreadable(first + 20);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        for _ in 0..4 {
            let mut client = Talk::greeted(&world).await;
            client.expect(&[("ETRN client.example\r\n", "25"), ("QUIT\r\n", "221 ")]).await;
            Timer::after_secs(120).await;
        }
        assert_eq!(hop.count(), 2);
        world.card.make_readable(first + 20);
        Timer::after_secs(3600).await;
        assert_eq!(hop.count(), 3);
    });
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn one_that_cant_be_read_from_its_beginning_is_flagged_too() {
    let (world, first) = three_messages(&["Subject: message 2"], 1_000);
    damage(&world.card, first + 1);
    others_go_on(&world);
    assert!(contents::held(&world.card)[0].is_flagged);
}

#[test]
fn an_envelope_that_cant_be_read_stops_nobody() {
    let marks = ["sender@origin.example", "ann@client.example"];
    let (world, envelope) = three_messages(&marks, 20_000);
    damage(&world.card, envelope);
    others_go_on(&world);
    assert_eq!(contents::held(&world.card).len(), 1, "it is never thrown away");
}

#[test]
fn a_manifest_that_cant_be_read_stops_nobody() {
    let marks = ["sender@origin.example", "ann@client.example"];
    let (world, envelope) = three_messages(&marks, 20_000);
    damage(&world.card, envelope - 1);
    others_go_on(&world);
    assert_eq!(contents::held(&world.card).len(), 1);
}

#[test]
fn a_flagged_message_that_cant_be_read_any_more_hides_no_other() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| matches!(asked, Asked::Recipient(_)).then_some("550 5.1.1 who?"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let send = async |number| {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE], &message(number, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        Timer::after_secs(30).await;
    };
    world.switch_on();
    world.run(send(1));
    world.switch_off();
    assert!(contents::held(&world.card)[0].is_flagged);
    for envelope in contents::blocks_with(&world.card, &["sender@origin.example", JOE]) {
        damage(&world.card, envelope - 1);
    }
    hop.answer(|asked| matches!(asked, Asked::Recipient(_)).then_some("451 4.2.1 later"));
    world.switch_on();
    world.run(async {
        send(2).await;
        // Until the first one is given up.
        Timer::after_secs(5 * 3600).await;
        assert_eq!(hop.count(), 0);
        hop.answer(|_| None);
        Timer::after_secs(3 * 3600).await;
        assert_eq!(hop.count(), 1, "the one that waits is tried again and again");
    });
}

#[test]
fn a_card_that_fails_while_mail_goes_on_loses_none() {
    let (world, _) = three_messages(&["Subject: message 2"], 20_000);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    for read in [30, 60, 90] {
        world.card.fail(Call::Read, read, u64::MAX);
        world.switch_on();
        world.run(async { with_timeout(Duration::from_secs(20), world.ended()).await.ok() });
    }
    world.card.fail_no_more();
    world.switch_on();
    world.run(Timer::after_secs(60));
    let mut numbers: Vec<u8> = hop.taken.borrow().iter().map(|one| one.message()[17]).collect();
    numbers.dedup();
    assert_eq!(numbers, *b"123");
}

#[test]
fn a_name_that_no_reply_can_have_is_left_out() {
    let settings = Settings { hostname: "bad\u{7}name", ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 5);
    world.switch_on();
    world.run(async {
        let mut client = Talk::connect(&world).await.expect("somebody listens");
        client.expect(&[("", "220 postern.invalid ")]).await;
        client.hang_up().await;
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
    });
}
