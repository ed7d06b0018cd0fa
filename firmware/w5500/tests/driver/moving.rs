//! A chip that works: frames go through whole, in order, and at once.

use embassy_time::{Duration, Instant, Timer};

use crate::rig::Rig;

const SOON: Duration = Duration::from_millis(20);
const BROADCAST: [u8; 6] = [0xFF; 6];

/// Addresses at which the buffers wrap around, and at which the pointers do.
const ORIGINS: [u16; 3] = [0, 0x3FF0, 0xFFF1];

#[test]
fn frames_of_all_lengths_arrive_whole_over_many_laps() {
    for origin in ORIGINS {
        Rig::run_from(origin, async |rig| {
            for octets in 60..=1514 {
                let frame = rig.frame(octets);
                rig.chip.deliver(&frame);
                assert_eq!(rig.received(SOON).await, Some(frame), "{octets} octets");
            }
            assert_eq!(rig.chip.with(|chip| chip.counts.opens), 1);
        });
    }
}

#[test]
fn frames_of_all_lengths_are_sent_whole_over_many_laps() {
    for origin in ORIGINS {
        Rig::run_from(origin, async |rig| {
            for octets in 60..=1514 {
                let frame = rig.frame_to(BROADCAST, octets);
                rig.send(&frame).await;
                assert_eq!(rig.chip.sent().await, frame, "{octets} octets");
            }
            assert_eq!(rig.chip.with(|chip| chip.counts.opens), 1);
        });
    }
}

/// Whether the chip does so itself its data sheet does not say.
#[test]
fn short_frames_are_filled_up() {
    Rig::run(async |rig| {
        let frame = rig.frame_to(BROADCAST, 42);
        rig.send(&frame).await;
        let mut padded = frame;
        padded.resize(60, 0);
        assert_eq!(rig.chip.sent().await, padded);
    });
}

#[test]
fn a_burst_is_read_to_its_end_and_stays_in_order() {
    Rig::run(async |rig| {
        // As much as the chip holds, and far more than the stack has room for.
        let frames: Vec<_> = (0..100).map(|_| rig.frame(150)).collect();
        frames.iter().for_each(|frame| rig.chip.deliver(frame));
        Timer::after_secs(1).await;
        for frame in frames {
            assert_eq!(rig.received(SOON).await, Some(frame));
        }
        assert_eq!(rig.chip.with(|chip| chip.counts.overflows), 0);
        rig.works().await;
    });
}

#[test]
fn what_a_full_chip_drops_stops_nothing() {
    Rig::run(async |rig| {
        for _ in 0..100 {
            rig.chip.deliver(&rig.frame(1514));
        }
        let dropped = rig.chip.with(|chip| chip.counts.overflows);
        assert!(dropped > 80, "{dropped}");
        let mut read = 0;
        while rig.received(SOON).await.is_some() {
            read += 1;
        }
        assert_eq!(read, 100 - dropped);
        rig.works().await;
    });
}

/// Between the moment in which the driver says that it has heard, and its look at what waits, a
/// frame may come; and between any two other octets.
#[test]
fn a_frame_that_comes_at_any_octet_is_seen_at_once() {
    let mut late = Vec::new();
    // So many octets are read or written for the first frame, and to find that no second one waits.
    for octet in 0..115 {
        Rig::run(async |rig| {
            // Just after the chip was looked after, so that no look by the clock can help.
            Timer::after_millis(510 - Instant::now().as_millis() % 500).await;
            let (first, second) = (rig.frame(60), rig.frame(61));
            rig.chip.with(|chip| chip.coming.push_back((octet, second.clone())));
            rig.chip.deliver(&first);
            assert_eq!(rig.received(SOON).await, Some(first));
            if rig.received(SOON).await != Some(second) {
                late.push(octet);
            }
            let left = rig.chip.with(|chip| chip.coming.len());
            assert_eq!(left, 0, "no frame came at octet {octet}");
        });
    }
    assert!(late.is_empty(), "late when it came at octets {late:?}");
}

#[test]
fn frames_to_others_are_left_to_them() {
    Rig::run(async |rig| {
        rig.chip.deliver(&rig.frame_to([2, 0, 0, 0, 0, 8], 100));
        let broadcast = rig.frame_to(BROADCAST, 100);
        rig.chip.deliver(&broadcast);
        assert_eq!(rig.received(SOON).await, Some(broadcast));
        assert_eq!(rig.chip.with(|chip| chip.counts.filtered), 1);
    });
}

#[test]
fn a_frame_that_is_too_long_for_us_is_passed_over() {
    Rig::run(async |rig| {
        rig.chip.deliver(&rig.frame(1518));
        rig.works().await;
        assert_eq!(rig.chip.with(|chip| chip.counts.opens), 1);
    });
}

#[test]
fn a_flood_does_not_keep_it_from_sending() {
    Rig::run(async |rig| {
        let flood = async {
            loop {
                rig.chip.deliver(&rig.frame(60));
                rig.received(Duration::from_micros(10)).await;
            }
        };
        let sends = async {
            for _ in 0..200 {
                rig.send(&rig.frame_to(BROADCAST, 600)).await;
                rig.chip.sent().await;
            }
        };
        let both = embassy_futures::select::select(flood, sends);
        let done = embassy_time::with_timeout(Duration::from_secs(1), both).await;
        assert!(done.is_ok(), "200 frames were not sent within a second");
    });
}

#[test]
fn it_rests_when_nothing_happens() {
    Rig::run(async |rig| {
        let before = rig.chip.with(|chip| chip.transactions);
        Timer::after_secs(60).await;
        let used = rig.chip.with(|chip| chip.transactions) - before;
        assert!(used < 60 * 50, "{used} transactions in a minute");
    });
}
