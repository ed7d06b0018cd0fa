//! The board: it starts, rests, and starts again.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::qemu::{Device, firmware};
use tempfile::NamedTempFile;

/// Octets of the stack (memory.x).
const STACK: usize = 14 << 10;

/// An empty card of 64 MiB, which takes no place on the disk.
fn empty_card() -> NamedTempFile {
    let card = NamedTempFile::new().expect("a temporary file");
    File::set_len(card.as_file(), 64 << 20).expect("a sparse file");
    card
}

#[test]
fn it_says_what_led_to_its_start() {
    let card = empty_card();
    let mut device = Device::start(&firmware(), card.path(), &[]);
    let starts = |lines: &[String]| {
        let starts = lines.iter().filter_map(|line| line.split("reset by ").nth(1));
        starts.map(str::to_owned).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    drop(device.connect());
    println!("{} ms to the first greeting", begun.elapsed().as_millis());
    println!("{} of {STACK} octets of stack to spare", device.stack_to_spare(STACK));
    device.reset();
    drop(device.connect());
    let starts = device.wait_for("two starts", |lines| {
        let starts = starts(lines);
        (starts.len() == 2).then_some(starts)
    });
    assert!(starts[0].starts_with("Power"), "{starts:?}");
    assert!(starts[1].starts_with("Watchdog"), "{starts:?}");
}

#[test]
fn it_rests_when_there_is_nothing_to_do() {
    let card = empty_card();
    let device = Device::start(&firmware(), card.path(), &[]);
    let idle_session = device.connect();
    let (begun, used) = (Instant::now(), device.cpu_time());
    while begun.elapsed() < Duration::from_secs(2) {
        thread::park_timeout(Duration::from_secs(2));
    }
    let share = (device.cpu_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{:.0} % of a processor while idle", 100.0 * share);
    assert!(share < 0.3, "{share}");
    drop(idle_session);
}
