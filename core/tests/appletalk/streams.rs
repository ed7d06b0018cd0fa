//! Octets arrive, all of them and in order, whatever the cable does.

use crate::cable::{Cable, Habit, Trouble};

const MEGABYTE: usize = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

/// A device's channel, and a server's.
type Small = Cable<2048, 1024>;
type Large = Cable<8192, 8192>;

fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Sends `length` octets each way and says how many milliseconds and packets that took.
fn exchange<const R: usize, const S: usize>(mut cable: Cable<R, S>, length: usize) -> (u64, usize) {
    let message = octets(length);
    cable.open();
    for side in &mut cable.sides {
        side.to_write = message.clone();
    }
    let start_ms = cable.now_ms;
    let is_done =
        cable.run(10 * HOUR_MS, |cable| cable.sides.iter().all(|side| side.read.len() >= length));
    let read = cable.sides.each_ref().map(|side| side.read.len());
    assert!(is_done, "{read:?} of {length} octets after {} ms", cable.now_ms - start_ms);
    for side in &cable.sides {
        assert!(side.read == message, "octets were changed");
    }
    (cable.now_ms - start_ms, cable.packets)
}

#[test]
fn a_megabyte_each_way_over_each_trouble() {
    let percent = [0, 1, 5, 20];
    println!(
        "lost repeated reordered %: octets a second each way, and packets for each that is full,"
    );
    println!("of a device's and of a server's channel");
    for trouble in (0..64).map(|at| Trouble {
        lost: percent[at % 4],
        repeated: percent[at / 4 % 4],
        reordered: percent[at / 16],
    }) {
        // All of them at once, each by itself, and none.
        let Trouble { lost, repeated, reordered } = trouble;
        let is_alone = [lost, repeated, reordered].iter().filter(|p| **p > 0).count() <= 1;
        if !is_alone && (lost != repeated || lost != reordered) {
            continue;
        }
        let length = if lost == 20 { MEGABYTE / 16 } else { MEGABYTE };
        let rate = |ms: u64| length as u64 * 1000 / ms;
        let share = |packets: usize| packets as f64 / (2.0 * length as f64 / 572.0);
        let (small_ms, small_packets) = exchange(Small::new(trouble, 1), length);
        let (large_ms, large_packets) = exchange(Large::new(trouble, 2), length);
        let (small, large) = (rate(small_ms), rate(large_ms));
        let (small_share, large_share) = (share(small_packets), share(large_packets));
        print!("{lost:>4} {repeated:>8} {reordered:>9}  {small:>8} {small_share:.2}");
        println!(" {large:>8} {large_share:.2}");
        assert!(lost > 5 || small > 4000 && large > 8000, "it stalls: {small} {large}");
        assert!(
            small_share < 4.0 && large_share < 4.0,
            "it multiplies: {small_share} {large_share}"
        );
    }
}

#[test]
fn other_stacks_habits_stall_nothing() {
    let trouble = Trouble { lost: 3, repeated: 1, reordered: 1 };
    let habits = [Habit::None, Habit::NeverAsksAgain, Habit::AnswersOnly];
    for (client, server) in habits.iter().flat_map(|one| habits.map(|other| (*one, other))) {
        // A pair of those two is known to stall, and we are not part of it.
        if client != Habit::None && server != Habit::None {
            continue;
        }
        let mut cable = Small::new(trouble, 3);
        (cable.sides[0].habit, cable.sides[1].habit) = (client, server);
        let (ms, _) = exchange(cable, MEGABYTE / 4);
        println!("{client:?} {server:?}: {} octets a second", MEGABYTE as u64 / 4 * 1000 / ms);
        assert!(ms < HOUR_MS / 4, "{client:?} {server:?}: {ms} ms");
    }
}

#[test]
fn octets_arrive_however_they_are_split() {
    for length in (0..40).chain(565..580).chain(1140..1150) {
        for read in [1, 7, 571, 572, 573] {
            let mut cable = Small::new(Trouble::default(), 4);
            cable.sides[1].read_octets = read;
            cable.open();
            cable.sides[0].to_write = octets(length);
            assert!(cable.run(60_000, |cable| cable.sides[1].read.len() == length));
            assert!(cable.sides[1].read == octets(length));
        }
    }
}

#[test]
fn a_slow_reader_closes_the_window_and_nothing_else() {
    let mut cable = Small::new(Trouble::default(), 5);
    (cable.sides[1].read_octets, cable.sides[1].read_every_ms) = (100, 1000);
    cable.open();
    cable.sides[0].to_write = octets(20_000);
    assert!(cable.run(250_000, |cable| cable.sides[1].read.len() == 20_000), "it is too slow");
    assert!(cable.sides[1].read == octets(20_000));
    assert!(cable.packets < 600, "{} packets for 200 reads", cable.packets);
}

#[test]
fn a_reader_that_stops_for_an_hour_loses_nothing() {
    let mut cable = Small::new(Trouble { lost: 5, ..Trouble::default() }, 6);
    cable.sides[1].read_every_ms = HOUR_MS;
    cable.open();
    cable.sides[0].to_write = octets(8000);
    assert!(cable.run(5 * HOUR_MS, |cable| cable.sides[1].read.len() == 8000));
    assert!(cable.sides.iter_mut().all(|side| side.connection().is_open()));
    // The sender asks at its longest wait, 10 s, and is answered.
    assert!(cable.packets < 5 * 3600 / 10 * 3, "{} packets", cable.packets);
}

#[test]
fn a_channel_of_a_device_fits_in_4_kib() {
    type Device = postern_core::appletalk::adsp::Connection<2048, 1024>;
    let bytes = size_of::<Device>();
    println!("a channel of 2,048 octets in and 1,024 out: {bytes} bytes");
    assert!(bytes <= 4096);
}
