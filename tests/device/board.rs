//! The board: it starts, rests, and starts again.

use std::thread;
use std::time::{Duration, Instant};

use postern_tests::card::CardImage;
use postern_tests::device::HOLDING;
use postern_tests::mail::{self, Mail, compare};
use postern_tests::play::Peer;
use postern_tests::qemu::{Device, arithmetic, silent_firmware};

use crate::rig::{CARD, Rig};

/// Within this a card that is not busy is mounted; one that seems to be is waited for longer.
const NOT_BUSY_S: f64 = 2.0;

#[test]
fn it_says_what_led_to_its_start() {
    let begun = Instant::now();
    let mut rig = Rig::start(HOLDING);
    drop(rig.client());
    println!("{} ms to the first greeting", begun.elapsed().as_millis());
    rig.device.reset();
    let starts = rig.device.wait_for("two starts", |lines| {
        let starts = lines.iter().filter_map(|line| line.split("reset by ").nth(1));
        let starts: Vec<_> = starts.map(str::to_owned).collect();
        (starts.len() == 2).then_some(starts)
    });
    assert!(starts[0].starts_with("Power"), "{starts:?}");
    assert!(starts[1].starts_with("Watchdog"), "{starts:?}");
    drop(rig.client());
    let log = rig.device.log();
    let mounts_s: Vec<_> = log.iter().filter_map(|line| mounted_s(line)).collect();
    assert!(mounts_s.len() == 2 && mounts_s.iter().all(|s| *s < NOT_BUSY_S), "{mounts_s:?}");
    rig.end();
}

/// The time of a start at which its card was mounted, if `line` says so.
fn mounted_s(line: &str) -> Option<f64> {
    let (time_s, _) = line.split_once(" INFO card mounted")?;
    time_s.trim().parse().ok()
}

#[test]
fn it_rests_when_there_is_nothing_to_do() {
    let rig = Rig::start(HOLDING);
    let idle_session = rig.client();
    let (begun, used) = (Instant::now(), rig.device.cpu_time());
    while begun.elapsed() < Duration::from_secs(2) {
        thread::park_timeout(Duration::from_secs(2));
    }
    let share = (rig.device.cpu_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{:.0} % of a processor while idle", 100.0 * share);
    assert!(share < 0.3, "{share}");
    drop(idle_session);
    rig.end();
}

#[test]
fn without_a_card_of_ours_it_takes_no_mail() {
    let rig = Rig::with_card(CardImage::blank(CARD));
    let why =
        |lines: &[String]| lines.iter().find(|line| line.contains("no Postern on it")).cloned();
    rig.device.wait_for("what is wrong", why);
    let mut client = rig.client_in_vain();
    mail::expect(&mut client, "421").expect("the device says so");
    client.closed().expect("the device hangs up");
    rig.end();
}

#[test]
fn its_arithmetic_is_right() {
    let card = CardImage::blank(CARD);
    let device = Device::start(&arithmetic(), &card.path(), &[]);
    let verdict = |lines: &[String]| lines.iter().find(|line| line.contains("arithmetic")).cloned();
    let verdict = device.wait_for("its verdict", verdict);
    assert!(verdict.contains("right"), "{verdict}");
}

#[test]
fn without_its_log_it_takes_mail_too() {
    let rig = Rig::with(&silent_firmware(), CardImage::make(HOLDING, CARD), &[]);
    let (mut client, mail) = (rig.client(), Mail { number: 1, octets: 5000 });
    mail::greet(&mut client).expect("the device stays");
    mail::send(&mut client, mail).expect("the device stays");
    compare(&rig.end().messages(), &[mail]);
}
