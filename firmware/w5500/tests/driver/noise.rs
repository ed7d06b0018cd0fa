//! Wires that change bits: nothing that comes of it is a panic, or lasts.

use embassy_futures::select::select;
use embassy_time::{Duration, Timer};

use crate::rig::Rig;

/// Frames go both ways for a while, over wires on which so many octets of a million are wrong.
fn under_noise(seed: u16, per_million: u64) -> (u32, u32) {
    let mut seen = (0, 0);
    Rig::run_from(seed, async |rig| {
        rig.chip.with(|chip| chip.set_noise(per_million));
        let comes = async {
            loop {
                rig.chip.deliver(&rig.frame(60 + usize::from(seed) % 1400));
                rig.received(Duration::from_millis(3)).await;
            }
        };
        let goes = async {
            loop {
                rig.send(&rig.frame_to([0xFF; 6], 100)).await;
                rig.chip.with(|chip| chip.on_cable.clear());
                Timer::after_millis(2).await;
            }
        };
        let traffic = select(comes, goes);
        let _never_ends = embassy_time::with_timeout(Duration::from_secs(1), traffic).await;
        let flips = rig.chip.with(|chip| {
            chip.set_noise(0);
            chip.counts.flips
        });
        rig.heals().await;
        seen = (flips, rig.chip.with(|chip| chip.counts.resets));
    });
    seen
}

#[test]
fn whatever_changes_on_the_wires_it_comes_back() {
    let (mut flips, mut resets) = (0, 0);
    for (per_million, seeds) in [(20, 4), (1_000, 8), (30_000, 8), (1_000_000, 2)] {
        for seed in 0..seeds {
            let (flipped, reset) = under_noise(seed * 4099, per_million);
            (flips, resets) = (flips + flipped, resets + reset);
        }
    }
    println!("{flips} wrong bits, {resets} resets");
    assert!(flips > 10_000 && resets > 10, "{flips} wrong bits, {resets} resets");
}

/// One wrong bit in a reading is read again: it is no reason to take the address from the stack.
#[test]
fn a_rare_wrong_bit_does_not_cost_the_link() {
    Rig::run(async |rig| {
        rig.chip.with(|chip| chip.set_noise(200));
        for _ in 0..600 {
            Timer::after_secs(1).await;
            rig.chip.deliver(&rig.frame(60));
            rig.received(Duration::from_millis(20)).await;
        }
        let counts = rig.chip.with(|chip| chip.counts);
        println!("{} wrong bits in ten minutes, {} resets", counts.flips, counts.resets - 1);
        assert!(counts.flips >= 10 && counts.resets == 1, "{counts:?}");
    });
}
