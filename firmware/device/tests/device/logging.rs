//! The log over the network: what of it comes, and that no mail waits for it.

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::{Address, Host, Settings};
use postern_device::LogBuffer;

use crate::sim::messages::message;
use crate::sim::servers::{hear, name};
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, DEVICE, FAR, World, card, settings};

const PORT: u16 = 5514;
const JOE: &str = "joe@client.example";
/// Octets of a line.
const LINE: usize = 24;

fn logging(receiver: &'static str) -> Settings<'static> {
    let address =
        Address::Static { network: (DEVICE, 24), gateway: None, dns: [FAR].into_iter().collect() };
    Settings { log: Some(Host { name: receiver, port: PORT }), address, ..settings() }
}

/// A world in whose device somebody logs into the buffer. Leaked: a test has one.
fn world(settings: &Settings<'_>) -> (World, &'static LogBuffer) {
    let world = World::new(card(CARD_OCTETS, settings), 11);
    let log: &'static LogBuffer = Box::leak(Box::new(LogBuffer::new()));
    world.log.set(Some(log));
    (world, log)
}

/// A line, as a frame: it ends with the one zero in it.
fn write(log: &LogBuffer, number: u32) {
    let text = format!("{number:0width$}\0", width = LINE - 1);
    text.as_bytes().chunks(5).for_each(|piece| log.push(piece));
    log.end();
}

/// The numbers of lines in a datagram, of which each is whole.
fn numbers(datagram: &[u8]) -> Vec<u32> {
    let lines = datagram.chunks(LINE);
    let number = |line: &[u8]| {
        let text = line.strip_suffix(b"\0").expect("a line is whole");
        str::from_utf8(text).expect("digits").parse().expect("a number")
    };
    lines.map(number).collect()
}

async fn send(world: &World, number: u64) -> Duration {
    let begun = Instant::now();
    let mut client = Talk::greeted(world).await;
    let reply = client.mail(&[JOE], &message(number, 2_000)).await;
    let reply = reply.expect("it answers");
    assert!(reply.starts_with("250 "), "{reply}");
    client.expect(&[("QUIT\r\n", "221 ")]).await;
    begun.elapsed()
}

#[test]
fn what_was_logged_before_the_network_was_up_comes_too_and_all_of_it_in_order() {
    let (world, log) = world(&logging("192.0.2.1"));
    let came = hear(&world, PORT);
    (0..3).for_each(|number| write(log, number));
    world.switch_on();
    world.run(async {
        Timer::after_secs(5).await;
        write(log, 3);
        Timer::after_secs(5).await;
    });
    let came = came.borrow();
    let came: Vec<_> = came.iter().map(|(_, datagram)| numbers(datagram)).collect();
    assert_eq!(came, [vec![0, 1, 2], vec![3]]);
}

#[test]
fn a_flood_of_lines_is_cut_and_delays_no_mail() {
    let (world, log) = world(&logging("192.0.2.1"));
    let came = hear(&world, PORT);
    world.switch_on();
    let (quiet, loud) = world.run(async {
        let quiet = send(&world, 1).await;
        let flood = async {
            for number in 0.. {
                write(log, number);
                Timer::after_millis(1).await;
            }
        };
        let mails = async {
            let mut longest = Duration::MIN;
            for number in 2..12 {
                longest = longest.max(send(&world, number).await);
            }
            longest
        };
        let begun = Instant::now();
        let Either::Second(loud) = select(flood, mails).await else { panic!("no end to lines") };
        Timer::at(begun + Duration::from_secs(20)).await;
        (quiet, loud)
    });
    assert!(loud <= quiet + Duration::from_millis(50), "{quiet:?} without, {loud:?} with");
    let came = came.borrow();
    let mut last = None;
    for (_, datagram) in came.iter() {
        for number in numbers(datagram) {
            assert!(last < Some(number), "in order");
            last = Some(number);
        }
    }
    let count = |second| came.iter().filter(|(at, _)| at.as_secs() == second).count();
    let busiest = (0..30).map(count).max();
    assert!(busiest.is_some_and(|count| (2..=11).contains(&count)), "{busiest:?} in a second");
}

#[test]
fn a_receiver_that_is_not_there_delays_no_mail() {
    let (world, log) = world(&logging("192.0.2.99"));
    world.switch_on();
    world.run(async {
        let quiet = send(&world, 1).await;
        for number in 2..12 {
            write(log, number as u32);
            let loud = send(&world, number).await;
            // smoltcp asks for one address a second.
            assert!(loud <= quiet + Duration::from_millis(50), "{quiet:?} without, {loud:?} with");
            Timer::after_secs(3).await;
        }
    });
}

#[test]
fn a_receiver_without_an_address_is_looked_up_again() {
    let (world, log) = world(&logging("log.example"));
    let came = hear(&world, PORT);
    world.switch_on();
    world.run(async {
        write(log, 1);
        Timer::after_secs(60).await;
        name(&world, "log.example");
        let wait = async {
            while came.borrow().is_empty() {
                Timer::after_secs(1).await;
            }
        };
        with_timeout(Duration::from_secs(180), wait).await.expect("the line comes");
    });
    assert_eq!(numbers(&came.borrow()[0].1), [1]);
}

#[test]
fn without_the_setting_nothing_is_sent() {
    let (world, log) = world(&Settings { log: None, ..settings() });
    let came = hear(&world, PORT);
    (0..100).for_each(|number| write(log, number));
    world.switch_on();
    world.run(Timer::after_secs(120));
    assert!(came.borrow().is_empty());
}
