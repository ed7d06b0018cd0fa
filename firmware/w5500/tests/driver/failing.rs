//! A chip that does not work, or not for long: the driver brings it back.

use embassy_net_driver_channel::driver::LinkState;
use embassy_time::{Duration, Instant, Timer};

use crate::model::{Chip, Model};
use crate::rig::Rig;
use crate::sim::clock;

const BROADCAST: [u8; 6] = [0xFF; 6];
/// A reset, the pause before it, and what the link takes.
const RESET_TAKES: Duration = Duration::from_secs(5);

fn resets(rig: &Rig) -> u32 {
    rig.chip.with(|chip| chip.counts.resets)
}

#[test]
fn a_length_that_lies_costs_what_waits_and_not_the_link() {
    for lie in [0, 1, 2, 15, 59, 63, 1525, 1600, 16_384, 0x7FFF, 0x8000, 0xFFFF] {
        Rig::run(async |rig| {
            rig.chip.with(|chip| chip.faults.lies = (1, lie));
            rig.chip.deliver(&rig.frame(60));
            Timer::after_millis(50).await;
            // What was cut out of the ring there is no frame of ours, but it is one.
            while rig.received(Duration::from_millis(50)).await.is_some() {}
            rig.works().await;
            assert!(rig.is_up(), "{lie}");
            assert_eq!((resets(rig), rig.chip.with(|chip| chip.counts.lies)), (1, 1), "{lie}");
        });
    }
}

#[test]
fn a_chip_whose_lengths_all_lie_is_reset() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.faults.lies = (10, 0xFFFF));
        assert!(rig.heals().await < RESET_TAKES);
        let lies = rig.chip.with(|chip| chip.counts.lies);
        assert!(resets(rig) > 1 && lies >= 4, "{} resets, {lies} lies", resets(rig));
        rig.works().await;
    });
}

/// Breaks a chip that works, and expects it back.
fn comes_back_from(fault: impl Fn(&mut Chip)) {
    Rig::run(async |rig| {
        rig.chip.with(&fault);
        // What is to be sent finds it out.
        for _ in 0..2 {
            rig.send(&rig.frame_to(BROADCAST, 100)).await;
        }
        rig.link(LinkState::Down).await;
        let took = rig.heals().await;
        assert!(took < RESET_TAKES, "{took}");
        assert_eq!(resets(rig), 2);
        rig.works().await;
    });
}

#[test]
fn a_chip_that_stops_sending_is_reset() {
    comes_back_from(|chip| chip.faults.stops_sending = true);
}

#[test]
fn a_chip_that_obeys_no_command_is_reset() {
    comes_back_from(|chip| chip.faults.disobeys = true);
}

#[test]
fn a_chip_that_lost_its_settings_is_given_them_again() {
    comes_back_from(Chip::forget);
}

#[test]
fn a_chip_that_cannot_send_is_noticed_while_nothing_follows() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.faults.stops_sending = true);
        rig.send(&rig.frame_to(BROADCAST, 100)).await;
        Timer::after_secs(1).await;
        assert!(!rig.is_up());
        rig.up().await;
        rig.works().await;
    });
}

#[test]
fn a_bus_that_fails_or_hangs_is_tried_again() {
    for hangs in [false, true] {
        Rig::run(async |rig| {
            let broken = |is_broken| {
                move |chip: &mut Chip| match hangs {
                    true => chip.faults.bus_hangs = is_broken,
                    false => chip.faults.bus_fails = is_broken,
                }
            };
            rig.chip.with(broken(true));
            rig.link(LinkState::Down).await;
            rig.chip.with(broken(false));
            rig.up().await;
            rig.works().await;
        });
    }
}

#[test]
fn a_chip_that_is_not_there_is_looked_for() {
    for octet in [0x00, 0xFF, 0x55] {
        clock::restart();
        let rig = Rig::new(Model::new(0));
        rig.chip.with(|chip| chip.faults.absent = Some(octet));
        rig.block_on(async {
            Timer::after_secs(600).await;
            assert!(!rig.is_up());
            let tries = resets(&rig);
            assert!((300..=600).contains(&tries), "{tries} tries in ten minutes");
            rig.chip.with(|chip| chip.faults.absent = None);
            rig.up().await;
            rig.works().await;
        });
    }
}

/// What another chip, or a bit that always changes, would look like.
#[test]
fn a_chip_that_is_gone_takes_the_link_along() {
    for octet in [0x00, 0xFF] {
        Rig::run(async |rig| {
            rig.chip.with(|chip| chip.faults.absent = Some(octet));
            Timer::after_secs(1).await;
            assert!(!rig.is_up());
            rig.chip.with(|chip| chip.faults.absent = None);
            rig.up().await;
            rig.works().await;
        });
    }
}

#[test]
fn the_link_is_told_and_what_is_sent_without_it_is_lost() {
    Rig::run(async |rig| {
        for _ in 0..5 {
            rig.chip.with(|chip| chip.plug(false));
            let told =
                embassy_time::with_timeout(Duration::from_secs(1), rig.link(LinkState::Down));
            assert!(told.await.is_ok());
            let begun = Instant::now();
            for _ in 0..50 {
                rig.send(&rig.frame_to(BROADCAST, 100)).await;
            }
            assert!(begun.elapsed() < Duration::from_secs(1), "they wait for nothing");
            rig.chip.with(|chip| chip.plug(true));
            rig.up().await;
            rig.works().await;
        }
        assert_eq!(resets(rig), 1);
    });
}

/// The link goes while a frame is on its way, which then never goes: no more than one reset of a
/// chip that has no link is to come of it.
#[test]
fn a_link_that_goes_under_a_frame_costs_a_reset_at_most() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.plug(false));
        for _ in 0..8 {
            rig.send(&rig.frame_to(BROADCAST, 1000)).await;
        }
        rig.link(LinkState::Down).await;
        Timer::after_secs(60).await;
        assert!(resets(rig) <= 2);
        rig.chip.with(|chip| chip.plug(true));
        rig.up().await;
        rig.works().await;
    });
}

#[test]
fn a_deaf_chip_is_reset_after_five_minutes() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.faults.deaf = true);
        // Whoever sends and hears no answer goes on sending.
        for _ in 0..290 {
            rig.send(&rig.frame_to(BROADCAST, 100)).await;
            rig.chip.sent().await;
            Timer::after_secs(1).await;
        }
        assert_eq!(resets(rig), 1);
        Timer::after_secs(15).await;
        assert_eq!(resets(rig), 2);
        rig.up().await;
        assert!(rig.hears_within(Duration::from_millis(20)).await);
    });
}

/// It costs the link each time, and whatever else the device begins anew with it.
#[test]
fn where_nobody_speaks_the_chip_is_reset_less_and_less() {
    Rig::run(async |rig| {
        let day = Duration::from_secs(24 * 3600);
        Timer::after(day).await;
        // After 5, 15, 35 minutes and so on, and then each six hours.
        assert_eq!(resets(rig), 1 + 9);
        Timer::after(day).await;
        assert_eq!(resets(rig), 1 + 9 + 4);
        // What is heard once is to be heard again.
        assert!(rig.hears_within(Duration::from_millis(20)).await);
        Timer::after_secs(310).await;
        assert_eq!(resets(rig), 1 + 9 + 4 + 1);
    });
}

#[test]
fn a_chip_that_hears_something_now_and_then_is_left_alone() {
    Rig::run(async |rig| {
        for _ in 0..10 {
            Timer::after_secs(290).await;
            assert!(rig.hears_within(Duration::from_millis(20)).await);
        }
        assert_eq!(resets(rig), 1);
    });
}

#[test]
fn without_its_interrupt_line_it_is_slow_and_not_deaf() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.faults.line_mute = true);
        for _ in 0..20 {
            Timer::after_millis(37).await;
            assert!(rig.hears_within(Duration::from_millis(520)).await);
        }
        assert_eq!(resets(rig), 1);
    });
}

#[test]
fn an_interrupt_line_that_hangs_low_keeps_nobody_busy() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.faults.line_stuck = true);
        let before = rig.chip.with(|chip| chip.transactions);
        Timer::after_secs(60).await;
        let used = rig.chip.with(|chip| chip.transactions) - before;
        assert!(used < 60 * 100, "{used} transactions in a minute");
        rig.works().await;
        assert_eq!(resets(rig), 1);
    });
}
