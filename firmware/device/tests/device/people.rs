//! What a person sees of a device, from outside and on its card, when something is wrong.

use std::cell::RefCell;
use std::rc::Rc;

use embassy_net_driver::{Driver, TxToken};
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Address, Protocol, Settings};
use postern_device::Status;

use crate::sim::card::SimCard;
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::link::Side;
use crate::sim::messages::message;
use crate::sim::servers::lease;
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, DEVICE, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";

/// Hands a message over, which must be taken.
async fn send(world: &World, number: u64) {
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&[JOE], &message(number, 2_000)).await.expect("it answers");
    assert!(reply.starts_with("250 "), "{reply}");
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

fn status(world: &World) -> Status {
    world.shown.borrow().last().expect("something is shown").1
}

#[test]
fn the_led_shows_what_hinders_most() {
    let dhcp = Settings { address: Address::Dhcp, ..settings() };
    let world = World::new(card(CARD_OCTETS, &dhcp), 5);
    world.cable.link(false);
    world.switch_on();
    let hop = Notes::new();
    world.run(async {
        Timer::after_secs(1).await;
        assert_eq!(world.shown.borrow()[0].1, Status::Starting);
        assert_eq!(status(&world), Status::NoLink);
        world.cable.link(true);
        Timer::after_secs(3).await;
        assert_eq!(status(&world), Status::NoAddress);
        lease(&world);
        Timer::after_secs(60).await;
        assert_eq!(status(&world), Status::Well);
        send(&world, 1).await;
        Timer::after_secs(60).await;
        assert_eq!(status(&world), Status::MailWaits);
        hop.answer(|asked| matches!(asked, Asked::Data).then_some("550 5.7.1 no"));
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(2_400).await;
        assert_eq!(status(&world), Status::MailFailed);
    });
    // What a LED did in those seconds, of which each change is noted.
    let shown = world.shown.borrow();
    let well: Vec<_> = shown.iter().filter(|(_, status, _)| *status == Status::Well).collect();
    let spans = well.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(spans.skip(1).take(20).all(|span| span == Duration::from_secs(1)));
    assert!(well.windows(2).all(|pair| pair[0].2 != pair[1].2));
}

#[test]
fn the_led_tells_no_card_from_a_useless_one() {
    let world = World::new(SimCard::new(4_096), 5);
    world.card.pull_out(true);
    world.switch_on();
    world.run(async {
        Timer::after_secs(5).await;
        assert_eq!(status(&world), Status::NoCard);
        world.card.pull_out(false);
        Timer::after_secs(30).await;
        assert_eq!(status(&world), Status::CardUseless);
    });
}

/// The sum of the Internet's checksums (RFC 1071).
fn checksum(octets: &[u8]) -> [u8; 2] {
    let sum: u32 = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    (!((sum & 0xFFFF) + (sum >> 16)) as u16).to_be_bytes()
}

#[test]
fn it_answers_a_ping() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    let _host = world.host(0);
    // An echo request (RFC 792) from that host: number 7, of 8 octets.
    let mut echo = [8, 0, 0, 0, 0, 1, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum);
    let mut header = [0x45, 0, 0, 36, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, 10, 0, 0, 0, 0];
    header[16..].copy_from_slice(&DEVICE.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 10, 8, 0];
    let frame = [&ethernet[..], &header, &echo].concat();
    let answers = Rc::new(RefCell::new(Vec::new()));
    let seen = answers.clone();
    world.cable.tap(move |frame| seen.borrow_mut().push(frame.to_vec()));
    world.switch_on();
    world.run(async {
        Timer::after_secs(5).await;
        let mut plug = world.cable.plug(Side::Other(0));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // The first one makes the device ask for the host's address.
        for _ in 0..2 {
            let token = plug.transmit(&mut context).expect("the cable has room");
            token.consume(frame.len(), |octets| octets.copy_from_slice(&frame));
            Timer::after_secs(1).await;
        }
    });
    let answers = answers.borrow();
    let is_reply = |frame: &&Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0;
    let reply = answers.iter().find(is_reply).expect("it answers");
    assert_eq!(reply[38..50], echo[4..], "with what it was sent");
}

#[test]
fn a_dhcp_server_is_told_its_name() {
    let dhcp = Settings { address: Address::Dhcp, ..settings() };
    let world = World::new(card(CARD_OCTETS, &dhcp), 5);
    lease(&world);
    let names = Rc::new(RefCell::new(0));
    let seen = names.clone();
    world.cable.tap(move |frame| {
        // Option 12 (RFC 2132 §3.14): the end of its hardware address is 00:02.
        let option = b"\x0C\x0Cpostern-0002";
        let is_named = frame.windows(option.len()).any(|octets| octets == option);
        *seen.borrow_mut() += u32::from(is_named);
    });
    world.switch_on();
    world.run(async {
        Timer::after_secs(20).await;
        Talk::greeted(&world).await;
    });
    assert!(*names.borrow() >= 2, "in its DISCOVER and its REQUEST");
}

#[test]
fn a_card_that_does_not_answer_is_not_waited_for_for_ever() {
    let world = World::new(card(CARD_OCTETS, &settings()), 5);
    world.switch_on();
    world.run(async {
        Timer::after_secs(1).await;
        let mut client = Talk::greeted(&world).await;
        world.hangs.set(true);
        let hung_at = Instant::now();
        let reply = client.mail(&[JOE], &message(1, 2_000)).await.expect("it says so");
        assert!(reply.starts_with("4"), "{reply}");
        assert_eq!(world.ended().await, postern_device::Ended::CardFailed);
        assert!(hung_at.elapsed() < Duration::from_secs(60));
        assert!(world.longest_unfed.get() <= Duration::from_secs(1));
    });
}
