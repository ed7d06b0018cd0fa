//! The whole device behind a W5500: driver, chip and wires as they are on a board.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use embassy_futures::join::join;
use embassy_net_driver::{Driver, RxToken, TxToken};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::Protocol;
use postern_w5500::State;

use crate::model::Model;
use crate::sim::contents;
use crate::sim::hop::{Hop, Notes};
use crate::sim::link::{Plug, Side};
use crate::sim::messages::{message, numbered, tally};
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const ADDRESS: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
const JOE: &str = "joe@client.example";

/// A device that is on, the chip that is its network, and the next hop.
fn device(seed: u16) -> (World, Model, Rc<Notes>) {
    let world = World::new(card(CARD_OCTETS, &settings()), seed.into());
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    let chip = Model::new(seed);
    // Leaked: a test has few devices.
    let state = Box::leak(Box::new(State::<4, 4>::new()));
    let (spi, interrupt, reset) = (chip.spi(), chip.interrupt(), chip.reset());
    let (driver, runner) = postern_w5500::new(ADDRESS, state, spi, interrupt, reset);
    world.tasks.spawn(async move {
        runner.run().await;
    });
    world.tasks.spawn(connect(world.cable.plug(Side::Device), chip.clone()));
    world.switch_on_behind(driver);
    (world, chip, hop)
}

/// Puts the chip at the end of the cable.
async fn connect(plug: Plug, chip: Model) {
    let plug = RefCell::new(plug);
    let comes = async {
        loop {
            let frame = poll_fn(|context| match plug.borrow_mut().receive(context) {
                Some((frame, _)) => Poll::Ready(frame.consume(|frame| frame.to_vec())),
                None => Poll::Pending,
            });
            chip.deliver(&frame.await);
        }
    };
    let goes = async {
        loop {
            let frame = chip.sent().await;
            poll_fn(|context| {
                let mut plug = plug.borrow_mut();
                let token = plug.transmit(context).expect("the cable takes all");
                token.consume(frame.len(), |octets| octets.copy_from_slice(&frame));
                Poll::Ready(())
            })
            .await;
        }
    };
    join(comes, goes).await;
}

#[test]
fn mail_goes_in_and_out_by_it() {
    let (world, chip, hop) = device(0xFF00);
    let message = message(1, 100_000);
    world.run(async {
        Timer::after_secs(5).await;
        let begun = Instant::now();
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE], &message).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        println!("{} ms for a message of 100 KB", begun.elapsed().as_millis());
        Timer::after_secs(5).await;
    });
    assert!(hop.taken.borrow().iter().map(|taken| taken.message()).eq([&message[..]]));
    let counts = chip.with(|chip| chip.counts);
    assert_eq!((counts.resets, counts.opens), (1, 1), "{counts:?}");
}

/// What happens to the chip, one after the other. Two wrong bits in one frame can cancel out in
/// TCP's checksum, the only one that there is on an SPI: no driver could tell.
async fn trouble(chip: Model) {
    chip.with(|chip| chip.faults.is_noise_rare = true);
    for round in 0..6 {
        chip.with(|chip| chip.set_noise(100));
        Timer::after_secs(30).await;
        chip.with(|chip| chip.set_noise(0));
        chip.with(|chip| match round {
            0 => chip.plug(false),
            1 => chip.faults.deaf = true,
            2 => chip.forget(),
            3 => chip.faults.stops_sending = true,
            4 => chip.faults.lies = (3, 0xFFFF),
            _ => chip.faults.disobeys = true,
        });
        Timer::after_secs(20).await;
        chip.with(|chip| chip.plug(true));
        Timer::after_secs(40).await;
    }
}

/// Hands a message over, and returns whether it was taken.
async fn hand_over(world: &World, number: u64) -> Result<bool, Gone> {
    let Ok(mut client) = Talk::connect(world).await else { return Ok(false) };
    if !client.reply().await?.starts_with("220 ") {
        return Ok(false);
    }
    client.say("EHLO client.example\r\n").await?;
    let reply = client.mail(&[JOE], &numbered(number)).await?;
    let _left = client.say("QUIT\r\n").await;
    Ok(reply.starts_with("250 "))
}

#[test]
fn no_trouble_with_the_chip_costs_mail() {
    let (world, chip, hop) = device(7);
    world.tasks.spawn(trouble(chip.clone()));
    let (acknowledged, counts) = world.run(async {
        Timer::after_secs(5).await;
        let mut acknowledged = Vec::new();
        for number in 0..200 {
            let handed = with_timeout(Duration::from_secs(60), hand_over(&world, number)).await;
            if handed == Ok(Ok(true)) {
                acknowledged.push(number);
            }
            Timer::after_secs(3).await;
        }
        let counts = chip.with(|chip| chip.counts);
        Timer::after_secs(4 * 3600).await;
        (acknowledged, counts)
    });
    println!("{} of 200 messages acknowledged; {counts:?}", acknowledged.len());
    assert!(acknowledged.len() > 100 && counts.resets >= 4 && counts.flips > 50, "{counts:?}");
    let tally = tally(&hop.taken.borrow());
    for number in &acknowledged {
        assert!(tally.contains_key(number), "message {number} was acknowledged");
    }
    assert_eq!(contents::held(&world.card), []);
}
