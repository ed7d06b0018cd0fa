//! A next hop that is away, that takes nothing now, or not everything: what is tried again, when,
//! and what need not wait for it.

use embassy_time::{Duration, Timer};
use postern_card::settings::{Protocol, Settings};
use postern_core::envelope::State;

use crate::sim::contents::{self, Held};
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";

fn device(settings: &Settings<'_>) -> World {
    let world = World::new(card(CARD_OCTETS, settings), 6);
    world.switch_on();
    world
}

fn on_demand() -> Settings<'static> {
    Settings { retry_every_s: None, ..settings() }
}

async fn send(world: &World, recipient: &str, numbers: impl IntoIterator<Item = u64>) {
    let mut client = Talk::greeted(world).await;
    for number in numbers {
        let reply = client.mail(&[recipient], &message(number, 1_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
    }
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

async fn ask(world: &World) {
    Talk::greeted(world)
        .await
        .expect(&[("ETRN client.example\r\n", "25"), ("QUIT\r\n", "221 ")])
        .await;
}

/// The numbers of the messages that a hop has, in their order.
fn taken(hop: &Notes) -> Vec<u64> {
    let number = |octets: &[u8]| {
        let text = String::from_utf8_lossy(octets);
        let subject = text.lines().next().and_then(|line| line.rsplit(' ').next());
        subject.and_then(|number| number.parse().ok()).expect("it has its number")
    };
    hop.taken.borrow().iter().map(|taken| number(taken.message())).collect()
}

#[test]
fn on_demand_a_connection_that_breaks_is_made_again_until_all_is_there() {
    let (world, hop) = (device(&on_demand()), Notes::new());
    hop.answer(|asked| match asked {
        Asked::Message(_) => Some("250 2.0.0 fine\r\n421 4.3.2 enough for now"),
        _ => None,
    });
    world.run(async {
        send(&world, JOE, 1..6).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        ask(&world).await;
        Timer::after_secs(10).await;
        assert_eq!(taken(&hop), [1, 2, 3, 4, 5]);
        assert_eq!(hop.connections.get(), 5, "and none for nothing");
    });
}

#[test]
fn on_demand_a_hop_whose_listener_comes_late_gets_its_mail() {
    let (world, hop) = (device(&on_demand()), Notes::new());
    world.run(async {
        send(&world, JOE, 1..4).await;
        ask(&world).await;
        Timer::after_secs(90).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(180).await;
        assert_eq!(taken(&hop), [1, 2, 3]);
    });
}

/// One that asks each second, and puts everything off.
#[test]
fn on_demand_whoever_asks_all_the_time_is_not_called_all_the_time() {
    let (world, hop) = (device(&on_demand()), Notes::new());
    hop.answer(|asked| matches!(asked, Asked::Recipient(_)).then_some("450 4.2.1 not now"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        send(&world, JOE, 1..3).await;
        Timer::after_secs(60).await;
        for _ in 0..9 {
            ask(&world).await;
            Timer::after_secs(1).await;
        }
        assert_eq!(hop.connections.get(), 2);
    });
}

#[test]
fn a_hop_that_rises_minutes_after_the_device_gets_its_mail_then() {
    let (world, hop) = (device(&settings()), Notes::new());
    world.run(async {
        send(&world, JOE, 1..4).await;
        Timer::after_secs(150).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        // One minute, two, five, ± 10 %, and what the tries take.
        Timer::after_secs(450).await;
        assert_eq!(taken(&hop), [1, 2, 3]);
    });
}

#[test]
fn mail_that_is_put_off_does_not_hold_up_what_comes() {
    let (world, hop) = (device(&settings()), Notes::new());
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("ann") => Some("452 4.2.2 mailbox full"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        send(&world, ANN, [1]).await;
        Timer::after_secs(10).await;
        for number in 2..12 {
            send(&world, JOE, [number]).await;
            Timer::after_secs(5).await;
        }
        assert_eq!(taken(&hop), (2..12).collect::<Vec<_>>());
        let tries = hop.connections.get();
        hop.answer(|_| None);
        Timer::after_secs(2_000).await;
        assert_eq!(taken(&hop).last(), Some(&1), "and its own time comes");
        assert_eq!(hop.connections.get(), tries + 1);
    });
}

/// A refusal within a message, such as by a content filter that is out of memory.
#[test]
fn a_refusal_for_now_within_a_message_holds_up_no_other() {
    let (world, hop) = (device(&settings()), Notes::new());
    let mut messages = 0;
    hop.answer(move |asked| match asked {
        Asked::Data => {
            messages += 1;
            (messages == 1).then_some("354 go on\r\n451 4.3.0 out of memory")
        }
        _ => None,
    });
    world.run(async {
        send(&world, JOE, 1..5).await;
        Timer::after_secs(10).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        ask(&world).await;
        Timer::after_secs(20).await;
        assert_eq!(taken(&hop), [2, 3, 4]);
        assert_eq!(hop.connections.get(), 2);
        Timer::after_secs(2_000).await;
        assert_eq!(taken(&hop), [2, 3, 4, 1]);
    });
}

/// Three messages at which the hop hangs up each time, before all others.
#[test]
fn messages_that_break_their_connection_hold_up_no_other() {
    let (world, hop) = (device(&settings()), Notes::new());
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("ann") => Some("421 4.3.0 I crash"),
        _ => None,
    });
    world.run(async {
        send(&world, ANN, 1..4).await;
        send(&world, JOE, 4..8).await;
        Timer::after_secs(10).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        ask(&world).await;
        Timer::after_secs(20).await;
        assert_eq!((hop.connections.get(), hop.count()), (3, 0), "that is enough for now");
        Timer::after_secs(2_000).await;
        assert_eq!(taken(&hop), [4, 5, 6, 7], "the next run begins behind them");
        hop.answer(|_| None);
        Timer::after_secs(2 * 3600).await;
        assert_eq!(hop.count(), 7);
    });
}

/// A host whose directory is down says 451 to each recipient, and would do so a thousand times.
#[test]
fn a_hop_that_puts_off_everything_is_left_alone_and_gets_all_of_it_later() {
    let (world, hop) = (device(&settings()), Notes::new());
    let asked_for = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = std::rc::Rc::clone(&asked_for);
    hop.answer(move |asked| match asked {
        Asked::Recipient(_) => {
            counted.set(counted.get() + 1);
            Some("451 4.3.0 lookup failure")
        }
        _ => None,
    });
    world.run(async {
        send(&world, JOE, 1..51).await;
        Timer::after_secs(60).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        ask(&world).await;
        // The ladder's one more try is behind it.
        Timer::after_secs(120).await;
        assert_eq!((hop.connections.get(), asked_for.get()), (2, 40));
        send(&world, JOE, [51]).await;
        Timer::after_secs(60).await;
        assert_eq!(hop.connections.get(), 2, "new mail waits too");
        hop.answer(|_| None);
        Timer::after_secs(2_000).await;
        let mut all = taken(&hop);
        assert_eq!(all[0], 41, "what was not tried yet is first");
        all.sort_unstable();
        assert_eq!(all, (1..52).collect::<Vec<_>>());
        assert_eq!(hop.connections.get(), 3);
    });
}

#[test]
fn on_demand_nothing_expires_before_somebody_asked_for_it() {
    const BOOT: u64 = 1_767_323_045;
    let settings = Settings { time_server: "192.0.2.1", expire_after_s: 86_400, ..on_demand() };
    let (world, hop) = (device(&settings), Notes::new());
    servers::tell_time(&world, BOOT);
    let waiting = Held { is_flagged: false, recipients: vec![(JOE.to_owned(), State::Waiting)] };
    world.run(async {
        Timer::after_secs(7_200).await;
        send(&world, JOE, [1]).await;
        Timer::after_secs(9 * 86_400).await;
        assert_eq!(contents::held(&world.card), [waiting]);
        ask(&world).await;
        Timer::after_secs(60).await;
        assert_eq!(contents::held(&world.card).len(), 1, "its listener may still come");
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(200).await;
        assert_eq!(taken(&hop), [1]);
        // One that asked, and does not come, has had its chance.
        hop.answer(|asked| (asked == Asked::Greeting).then_some("421 4.3.2 not yet"));
        send(&world, JOE, [2]).await;
        Timer::after_secs(2 * 86_400).await;
        ask(&world).await;
        Timer::after_secs(600).await;
    });
    let expired = Held { is_flagged: true, recipients: vec![(JOE.to_owned(), State::Expired)] };
    assert_eq!(contents::held(&world.card), [expired]);
}

/// The link was down, and with it the way to a hop that has been there all the time.
#[test]
fn a_link_that_comes_up_brings_mail_on_its_way() {
    let (world, hop) = (device(&settings()), Notes::new());
    world.run(async {
        send(&world, JOE, 1..3).await;
        // Minutes, until the pauses are long.
        Timer::after_secs(1_300).await;
        world.cable.link(false);
        Timer::after_secs(60).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        world.cable.link(true);
        Timer::after_secs(70).await;
        assert_eq!(taken(&hop), [1, 2]);
    });
}

fn notified() -> Settings<'static> {
    Settings { failed_to: "root@admin.example", ..settings() }
}

/// Refuses Joe's mail for good, and answers a notice as told.
fn refuse_joe(hop: &Notes, notice: Option<&'static str>) {
    hop.answer(move |asked| match asked {
        Asked::Recipient(to) if to.starts_with("joe") => Some("550 5.1.1 who?"),
        Asked::Recipient(_) => notice,
        _ => None,
    });
}

#[test]
fn what_failed_is_told_once_and_again_with_more() {
    let (world, hop) = (device(&notified()), Notes::new());
    refuse_joe(&hop, None);
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        send(&world, JOE, [1]).await;
        Timer::after_secs(10).await;
        assert_eq!(hop.count(), 1);
        Timer::after_secs(20 * 86_400).await;
        assert_eq!(hop.count(), 1, "nothing has changed");
        send(&world, JOE, [2]).await;
        Timer::after_secs(10).await;
        send(&world, JOE, 3..30).await;
        Timer::after_secs(2 * 3600).await;
        assert_eq!(hop.count(), 3, "what comes close together is told together");
        world.switch_on();
        Timer::after_secs(10 * 86_400).await;
        assert_eq!(hop.count(), 3, "a restart is no news");
    });
}

#[test]
fn a_notice_that_is_refused_is_not_told_and_holds_up_nothing() {
    let (world, hop) = (device(&notified()), Notes::new());
    refuse_joe(&hop, Some("554 5.7.1 no notices"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.run(async {
        send(&world, JOE, [1]).await;
        Timer::after_secs(3 * 86_400).await;
        assert_eq!(hop.count(), 0);
        let tries = hop.connections.get();
        assert!((6..=8).contains(&tries), "{tries} in three days");
        refuse_joe(&hop, None);
        Timer::after(Duration::from_secs(86_400)).await;
        assert_eq!(hop.count(), 1, "it is told when it can be");
    });
}
