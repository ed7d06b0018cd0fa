//! The store on the card: what it costs to write many blocks at once, and one by one.

use std::time::Duration;

use postern_card::settings::Settings;
use postern_card::{Card, Store, format};
use postern_sd::SdCardWithRuns;

use crate::clock::{now_ns, run};
use crate::sim::{Behaviour, PAGED, STANDARD, SimSpi};
use crate::{SimSd, card};

const MESSAGES: u32 = 50;
const MESSAGE: usize = 8 << 10;
/// What a session of a small board, and of a large one, hands to the store at once.
const SMALL: usize = 576;
const LARGE: usize = 4096;

/// Writes messages in such pieces; returns the time that each took, and the card's wires.
fn speed<C: Card>(
    behaviour: Behaviour,
    piece: usize,
    wrap: impl FnOnce(SimSd) -> C,
) -> (Duration, SimSpi) {
    let (card, spi) = card(behaviour);
    let mut card = wrap(card);
    let settings = Settings { hostname: "mx.example", ..Settings::DEFAULT };
    run(card.start()).expect("a card");
    let made = run(format(&mut card, &settings, [].into_iter(), [7; 32], 0));
    assert!(made.is_ok(), "{made:?}");
    let Ok((mut store, _)) = run(Store::mount(card)) else { panic!("it was just made") };
    spi.0.borrow_mut().card.commands.clear();
    let (begun, body) = (now_ns(), [b'm'; MESSAGE]);
    for _ in 0..MESSAGES {
        run(async {
            let mut draft = store.begin(9_000).await.expect("room");
            store.append(&mut draft, &[b'e'; 300]).await.expect("room");
            draft.end_envelope();
            for piece in body.chunks(piece) {
                store.append(&mut draft, piece).await.expect("room");
            }
            store.commit(draft).await.expect("room");
        });
    }
    let took = Duration::from_nanos(now_ns() - begun) / MESSAGES;
    let Ok(Some(first)) = run(store.next(None)) else { panic!("it is there") };
    let (mut body, mut read) = (first.body(), Vec::new());
    loop {
        let mut piece = [0; 512];
        let Ok(octets) = run(store.read(&mut body, &mut piece)) else { panic!("it can be read") };
        if octets == 0 {
            break;
        }
        read.extend_from_slice(&piece[..octets]);
    }
    assert!(read == [b'm'; MESSAGE] && store.messages() == MESSAGES);
    (took, spi)
}

#[test]
fn many_blocks_at_once_take_less_time_and_fewer_commands() {
    for (name, behaviour) in [("500 us a block", STANDARD), ("500 us a page", PAGED)] {
        let (small, _) = speed(behaviour, SMALL, |card| card);
        let (single, one) = speed(behaviour, LARGE, |card| card);
        let (many, runs) = speed(behaviour, LARGE, SdCardWithRuns::<_, _, 8>::new);
        let writes = |spi: &SimSpi| {
            let commands = &spi.0.borrow().card.commands;
            commands.iter().filter(|command| matches!(command, 24 | 25)).count()
        };
        let (singly, at_once) = (writes(&one), writes(&runs));
        let rate = |took: Duration| 1.0 / took.as_secs_f64();
        println!(
            "a card that is busy for {name}: messages of 8 KiB a second, in pieces of 576 {:.0}, \
             of 4,096 {:.0}, with 8 blocks at once {:.0}; commands to write {} and {}",
            rate(small),
            rate(single),
            rate(many),
            singly / MESSAGES as usize,
            at_once / MESSAGES as usize,
        );
        assert!(at_once * 3 < singly * 2, "{at_once} and {singly} commands");
        assert!(many < single, "{many:?} and {single:?}");
    }
}
