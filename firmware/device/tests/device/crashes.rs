//! A device that panics, or whose network goes deaf: it starts again, slowly if it does so often,
//! and somebody is told.

use std::cell::Cell;
use std::rc::Rc;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Protocol, Settings};
use postern_card::{Cause, Network};
use postern_core::envelope::State;
use postern_device::Ended;

use crate::sim::contents::{self, Held};
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::link::{Impairment, Side};
use crate::sim::messages::message;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, DEVICE, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";
/// Where the program was.
const CALL: u32 = 0x1234;

fn told() -> Settings<'static> {
    Settings { failed_to: "root@admin.example", ..settings() }
}

async fn send(world: &World, to: &str, number: u64) {
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&[to], &message(number, 2_000)).await.expect("it answers");
    assert!(reply.starts_with("250 "), "{reply}");
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

type Panic = Signal<NoopRawMutex, ()>;

/// A hop that makes the device panic by what it says to messages for Joe.
fn deadly() -> (Rc<Notes>, Rc<Panic>) {
    let (hop, panic) = (Notes::new(), Rc::new(Panic::new()));
    let (panics, is_joe) = (panic.clone(), Cell::new(false));
    hop.answer(move |asked| {
        if let Asked::Recipient(to) = asked {
            is_joe.set(to == JOE);
        }
        if asked == Asked::Data && is_joe.get() {
            panics.signal(());
        }
        None
    });
    (hop, panic)
}

/// Lives for so long, and panics whenever it is made to; returns when that was.
async fn live(world: &World, panic: &Panic, duration: Duration) -> Vec<Instant> {
    let (end, mut panics) = (Timer::after(duration), Vec::new());
    let mut end = std::pin::pin!(end);
    loop {
        match select(panic.wait(), &mut end).await {
            Either::First(()) => {
                panics.push(Instant::now());
                world.panic(CALL);
            }
            Either::Second(()) => return panics,
        }
    }
}

#[test]
fn a_message_that_is_not_survived_is_set_aside_after_three_panics() {
    let world = World::new(card(CARD_OCTETS, &told()), 5);
    world.switch_on();
    let (hop, panic) = deadly();
    world.run(async {
        Timer::after_secs(1).await;
        send(&world, JOE, 1).await;
        send(&world, ANN, 2).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let panics = live(&world, &panic, Duration::from_secs(24 * 3600)).await;
        assert_eq!(panics.len(), 3, "{panics:?}");
        // Each start is later than the one before, and then all goes on.
        assert!(panics[1] - panics[0] >= Duration::from_secs(1));
        assert!(panics[2] - panics[1] >= Duration::from_secs(5));
        let taken: Vec<_> =
            hop.taken.borrow().iter().map(|taken| taken.recipients.concat()).collect();
        assert_eq!(taken, [ANN, "root@admin.example"]);
        let notice = String::from_utf8_lossy(&hop.taken.borrow()[1].content).into_owned();
        assert!(notice.contains("waited for too long: 1\r\n"), "{notice}");
        assert!(notice.contains("reset by a panic"), "{notice}");
        assert!(notice.contains("in a row: 3\r\nCalls: 0x00001234\r\n"), "{notice}");
        assert!(notice.contains("is set aside."), "{notice}");
        send(&world, ANN, 3).await;
        Timer::after_secs(1).await;
        assert_eq!(hop.count(), 3);
    });
    let recipients = vec![(JOE.to_owned(), State::Refused)];
    assert_eq!(contents::held(&world.card), [Held { is_flagged: true, recipients }]);
    let found = contents::post_mortems(&world.card);
    let causes: Vec<_> = found.iter().map(|it| (it.cause, it.crashes, it.set_aside)).collect();
    let crash = |count| (Cause::Panic, count, count == 3);
    assert_eq!(causes, [(Cause::Power, 0, false), crash(1), crash(2), crash(3)]);
    assert!(found[1..].iter().all(|it| it.calls == [CALL, 0, 0, 0] && it.message.is_some()));
    // It had no time to say so before the others.
    assert_eq!(found[1].network, Some(Network::Up(DEVICE)));
}

#[test]
fn a_message_that_can_t_even_be_set_aside_stops_no_other() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    let (hop, panic) = deadly();
    world.run(async {
        Timer::after_secs(1).await;
        send(&world, JOE, 1).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        let mut panics = 0;
        while panics < 3 {
            panic.wait().await;
            world.panic(CALL);
            panics += 1;
        }
        // It has waited, and sets the message aside.
        while contents::held(&world.card).is_empty() || !has_begun(&world) {
            Timer::after_millis(1).await;
        }
        world.panic(CALL);
        let more = live(&world, &panic, Duration::from_secs(24 * 3600)).await;
        // One more if it had it not in hand yet.
        assert!(more.len() <= 1, "{more:?}");
        send(&world, ANN, 2).await;
        Timer::after_secs(1).await;
        assert_eq!(hop.count(), 1);
    });
    let held = contents::held(&world.card);
    assert_eq!((held.len(), held[0].recipients[0].1), (1, State::Waiting));
}

/// All that it takes to set a message aside is behind the start of the watch: a card that is slow
/// then must not cost a crash more.
#[test]
fn a_message_is_set_aside_on_a_slow_card_too() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    let (hop, panic) = deadly();
    world.run(async {
        Timer::after_secs(1).await;
        send(&world, JOE, 1).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        for number in 1..=3 {
            panic.wait().await;
            world.slow_us.set(if number == 3 { 3_000_000 } else { 0 });
            world.panic(CALL);
        }
        Timer::after_secs(3600).await;
    });
    let longest = world.longest_unfed.get();
    assert!(longest <= Duration::from_secs(2), "{longest}");
    assert!(contents::held(&world.card)[0].is_flagged);
}

/// Whether the device has mounted its card after the third panic.
fn has_begun(world: &World) -> bool {
    contents::post_mortems(&world.card).last().is_some_and(|it| it.crashes == 3)
}

#[test]
fn a_device_that_always_panics_wears_its_card_little() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        let begun = Instant::now();
        let mut starts = 0;
        while begun.elapsed() < Duration::from_secs(24 * 3600) {
            // As soon as somebody could be served.
            while Talk::connect(&world).await.is_err() {
                Timer::after_millis(500).await;
            }
            world.panic(CALL);
            starts += 1;
        }
        println!("{starts} starts in a day");
        assert!((100..200).contains(&starts), "{starts}");
    });
}

#[test]
fn what_is_known_of_a_restart_is_on_the_card() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        Timer::after_secs(100).await;
        world.hangs.set(true);
        let mut client = Talk::greeted(&world).await;
        let _late = client.mail(&[JOE], &message(1, 2_000)).await;
        assert_eq!(world.ended().await, Ended::CardFailed);
        world.hangs.set(false);
        world.restart();
        Timer::after_secs(5).await;
        world.power_cycle();
        Timer::after_secs(5).await;
    });
    let found = contents::post_mortems(&world.card);
    let causes: Vec<_> = found.iter().map(|it| (it.cause, it.ended)).collect();
    let restart = (Cause::Restart, Some(Ended::CardFailed));
    assert_eq!(causes, [(Cause::Power, None), restart, (Cause::Power, None)]);
    assert!((130..140).contains(&found[1].uptime_s), "{found:?}");
    assert_eq!((found[2].uptime_s, found[2].network), (0, None));
    assert!(found.iter().all(|it| !it.program().is_empty()));
}

fn deaf() -> Impairment {
    Impairment { lost: 100, ..Impairment::default() }
}

#[test]
fn a_driver_that_goes_deaf_is_reset() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        Talk::greeted(&world).await.close().await;
        world.cable.impair_to(Side::Device, deaf());
        let since = Instant::now();
        assert_eq!(world.ended().await, Ended::Deaf);
        let silence = since.elapsed().as_secs();
        assert!((900..=1_000).contains(&silence), "{silence} s");
    });
}

#[test]
fn a_network_in_which_nobody_speaks_resets_nothing() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        Talk::greeted(&world).await.close().await;
        let quiet = Timer::after_secs(7 * 24 * 3600);
        assert!(matches!(select(world.ended(), quiet).await, Either::Second(())));
        // Nor does one that has no link.
        world.cable.link(false);
        let unlinked = Timer::after_secs(7 * 24 * 3600);
        assert!(matches!(select(world.ended(), unlinked).await, Either::Second(())));
    });
}

#[test]
fn where_nobody_ever_was_a_reset_is_tried_now_and_then() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.cable.impair_to(Side::Device, deaf());
    world.switch_on();
    world.run(async {
        for _ in 0..4 {
            let since = Instant::now();
            assert_eq!(world.ended().await, Ended::Deaf);
            let hours = since.elapsed().as_secs() / 3600;
            assert_eq!(hours, 6);
            world.restart();
        }
    });
}
