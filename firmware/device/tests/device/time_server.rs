//! Time servers that are wrong, lie, or don't answer.

use embassy_time::{Instant, Timer};
use postern_card::settings::{Protocol, Settings};
use postern_core::envelope::State;

use crate::sim::card::SimCard;
use crate::sim::contents;
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers::{answer_time, tell_time};
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, CREATED, HOP_PORT, World, card, settings};

const DAY_S: u64 = 24 * 3600;
const YEAR_S: u64 = 365 * DAY_S;
/// 2026-01-02T03:04:05Z.
const BOOT: u64 = 1_767_323_045;

fn timed() -> Settings<'static> {
    Settings { time_server: "192.0.2.1", expire_after_s: 2 * DAY_S as u32, ..settings() }
}

/// Hands over a message, and returns its id.
async fn send(world: &World, number: u64) -> String {
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&["joe@client.example"], &message(number, 2_000)).await;
    let reply = reply.expect("it answers");
    client.expect(&[("QUIT\r\n", "221 ")]).await;
    reply.strip_prefix("250 2.0.0 Held as ").expect("it is taken").to_owned()
}

/// The date of the Received field of a message that is sent now.
async fn date(world: &World, hop: &Notes) -> String {
    send(world, 1).await;
    Timer::after_secs(1).await;
    let (field, _) = hop.taken.borrow().last().expect("it is taken").split();
    field.rsplit_once(';').expect("a date is last").1.trim_start().to_owned()
}

/// A hop that greets nobody.
fn closed() -> std::rc::Rc<Notes> {
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Greeting).then_some("421 4.3.2 not yet"));
    hop
}

/// A card with three messages that came at a time that was known, and when that was.
fn waiting_mail() -> (SimCard, u64) {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &closed());
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(2 * 3600).await;
        for number in 0..3 {
            send(&world, number).await;
        }
        // So that the card knows the time.
        Timer::after_secs(DAY_S / 2).await;
        send(&world, 3).await;
    });
    world.switch_off();
    (world.card.copy(), BOOT + DAY_S / 2 + 2 * 3600)
}

/// Whether all of four messages still wait.
fn all_wait(card: &SimCard) -> bool {
    let held = contents::held(card);
    held.len() == 4 && held.iter().all(|one| one.recipients[0].1 == State::Waiting)
}

#[test]
fn an_answer_without_a_clock_behind_it_is_not_believed() {
    let changes: [fn(&mut [u8; 48]); 6] = [
        |answer| answer[0] |= 3 << 6,
        |answer| answer[1] = 0,
        |answer| answer[1] = 16,
        |answer| answer[40..].fill(0),
        |answer| answer[24] ^= 1,
        |answer| answer[0] = 0o45,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let world = World::new(card(CARD_OCTETS, &timed()), 4);
        let hop = Notes::new();
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let asked = answer_time(&world, |_| Some(BOOT), change);
        world.switch_on();
        world.run(async {
            Timer::after_secs(3600).await;
            let date = date(&world, &hop).await;
            assert!(date.starts_with("Tue, 14 Nov 2023 23:"), "change {number}: {date}");
            assert!(asked.get() > 3, "it was asked {} times", asked.get());
        });
    }
}

#[test]
fn a_time_before_the_card_was_made_is_refused() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    tell_time(&world, CREATED - DAY_S / 2);
    world.switch_on();
    world.run(async {
        Timer::after_secs(3600).await;
        let date = date(&world, &hop).await;
        assert!(date.starts_with("Tue, 14 Nov 2023 23:"), "{date}");
    });
}

#[test]
fn one_answer_that_jumps_changes_nothing() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let wrong = |number| Some(if number == 0 { BOOT + 5 * YEAR_S } else { BOOT });
    answer_time(&world, wrong, |_| {});
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        let date = date(&world, &hop).await;
        assert!(date.starts_with("Fri, 2 Jan 2026 03:05:"), "{date}");
    });
}

#[test]
fn a_server_that_is_years_ahead_for_a_while_expires_nothing() {
    let (card, now) = waiting_mail();
    // So many answers are wrong: one, and those of half an hour.
    for wrong in [1, 2] {
        let world = World::new(card.copy(), 5);
        let hop = closed();
        let open = Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let ahead = move |number| Some(if number < wrong { now + 5 * YEAR_S } else { now });
        let asked = answer_time(&world, ahead, |_| {});
        world.switch_on();
        world.run(async {
            Timer::after_secs(3 * 3600).await;
            assert!(asked.get() > wrong + 1, "it was asked {} times", asked.get());
            assert!(all_wait(&world.card), "{wrong}: {:?}", contents::held(&world.card));
            open.leave(&world);
            hop.answer(|_| None);
            Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
            Timer::after_secs(2 * 3600).await;
            assert_eq!(hop.count(), 4);
        });
    }
}

#[test]
fn mail_that_grew_old_while_the_device_was_off_is_tried_before_it_expires() {
    let (card, now) = waiting_mail();
    for away_s in [0, 1800] {
        let world = World::new(card.copy(), 5);
        let hop = Notes::new();
        tell_time(&world, now + 30 * DAY_S);
        world.switch_on();
        world.run(async {
            Timer::after_secs(away_s).await;
            Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
            Timer::after_secs(3 * 3600).await;
            assert_eq!(hop.count(), 4, "away for {away_s} s");
        });
        assert_eq!(contents::held(&world.card), []);
    }
}

#[test]
fn the_card_remembers_the_time() {
    let (card, now) = waiting_mail();
    let world = World::new(card, 5);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        let date = date(&world, &hop).await;
        // As of the last answer before the last write.
        assert!(date.starts_with("Fri, 2 Jan 2026 "), "{date}, and it was {now}");
    });
}

#[test]
fn time_goes_on_behind_2036() {
    // 2036-02-07T06:28:16Z is where the seconds of NTP begin again.
    let era = 2_085_978_496;
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    tell_time(&world, era - 3600);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        let before = date(&world, &hop).await;
        assert!(before.starts_with("Thu, 7 Feb 2036 05:29:"), "{before}");
        Timer::after_secs(DAY_S).await;
        let behind = date(&world, &hop).await;
        assert!(behind.starts_with("Fri, 8 Feb 2036 05:29:"), "{behind}");
    });
}

#[test]
fn a_server_that_does_not_answer_is_asked_less() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let asked = answer_time(&world, |_| None, |_| {});
    world.switch_on();
    world.run(Timer::after_secs(DAY_S));
    assert!((24..40).contains(&asked.get()), "{} questions in a day", asked.get());
}

#[test]
fn a_server_whose_answers_never_agree_is_asked_less() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let asked = answer_time(&world, |number| Some(BOOT + u64::from(number) * YEAR_S), |_| {});
    world.switch_on();
    world.run(Timer::after_secs(DAY_S));
    assert!((24..40).contains(&asked.get()), "{} questions in a day", asked.get());
}

/// Milliseconds in front of a message's id (RFC 9562 §5.7), and what is random in it.
fn parts(id: &str) -> (u64, String) {
    let digits: String = id.chars().filter(|digit| *digit != '-').collect();
    let ms = u64::from_str_radix(&digits[..12], 16).expect("an id is hexadecimal");
    (ms, digits[13..].to_owned())
}

#[test]
fn an_id_has_the_time_or_else_the_boot_and_is_never_there_twice() {
    let world = World::new(card(CARD_OCTETS, &timed()), 4);
    let mut ids = Vec::new();
    for boot in 1..4 {
        world.switch_on();
        let (ms, random) = parts(&world.run(send(&world, boot)));
        assert!(ms < 10, "the number of the boot: {ms}");
        assert!(!ids.contains(&random), "each boot has random numbers of its own");
        ids.push(random);
    }
    tell_time(&world, BOOT);
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        let (ms, _) = parts(&send(&world, 4).await);
        assert!(BOOT + Instant::now().as_secs() - ms / 1000 <= 1, "{ms}");
    });
}
