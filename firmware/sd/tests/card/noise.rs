//! Bits that change on the wires.

use postern_card::{Block, Card};
use postern_sd::Fault;

use crate::clock::run;
use crate::many;
use crate::sim::{Behaviour, FAST, HIGH_CAPACITY, Noise, SLOW, STANDARD, Wire};
use crate::{OURS, card, ready};

/// What is around the block that is written.
const OTHERS: Block = [0x3C; 512];

/// Does `work` with each bit in turn that is exchanged for it, on each wire; that bit changes.
/// Returns how many there were.
fn each_bit(mut work: impl FnMut(Wire, usize) -> Noise) -> usize {
    let mut changes = 0;
    for wire in [Wire::Mosi, Wire::Miso] {
        for bit in 0.. {
            let noise = work(wire, bit);
            if noise.flip.is_some() {
                assert_eq!(noise.changed, 0);
                break;
            }
            assert_eq!(noise.changed, 1);
            changes += 1;
        }
    }
    changes
}

#[test]
fn no_bit_that_changes_is_stored_nor_makes_another_block_be_written() {
    for goes_on in [false, true] {
        for behaviour in [HIGH_CAPACITY, STANDARD] {
            let (mut card, spi) = ready(Behaviour { goes_on, ..behaviour });
            let changes = each_bit(|wire, bit| {
                {
                    let mut wires = spi.0.borrow_mut();
                    wires.noise = Noise { flip: Some((wire, bit)), ..Noise::default() };
                    wires.card.blocks.clear();
                    for block in (0..9).map(|bit| 0x107 ^ 1 << bit) {
                        wires.card.blocks.insert(block, OTHERS);
                    }
                }
                assert_eq!(run(card.write(0x107, &OURS)), Ok(()), "{wire:?}, bit {bit}");
                let mut wires = spi.0.borrow_mut();
                assert_eq!(wires.card.blocks.remove(&0x107), Some(OURS));
                assert_eq!(wires.card.blocks.len(), 9, "{wire:?}, bit {bit}");
                assert!(wires.card.blocks.values().all(|block| *block == OTHERS));
                wires.card.is_disturbed = false;
                std::mem::take(&mut wires.noise)
            });
            assert!(changes > 2 * 8 * 520, "{changes}");
        }
    }
}

#[test]
fn no_bit_that_changes_is_read() {
    for goes_on in [false, true] {
        let (mut card, spi) = ready(Behaviour { goes_on, ..HIGH_CAPACITY });
        spi.0.borrow_mut().card.blocks.insert(0x107, OURS);
        let changes = each_bit(|wire, bit| {
            spi.0.borrow_mut().noise = Noise { flip: Some((wire, bit)), ..Noise::default() };
            let mut content = [0; 512];
            assert_eq!(run(card.read(0x107, &mut content)), Ok(()), "{wire:?}, bit {bit}");
            assert_eq!(content, OURS, "{wire:?}, bit {bit}");
            let mut wires = spi.0.borrow_mut();
            assert_eq!(wires.card.blocks.len(), 1);
            wires.card.is_disturbed = false;
            std::mem::take(&mut wires.noise)
        });
        assert!(changes > 2 * 8 * 520, "{changes}");
    }
}

#[test]
fn no_bit_that_changes_makes_a_card_another() {
    for behaviour in [HIGH_CAPACITY, STANDARD] {
        let (good, _) = ready(behaviour);
        let changes = each_bit(|wire, bit| {
            let (mut card, spi) = card(behaviour);
            spi.0.borrow_mut().noise.flip = Some((wire, bit));
            assert_eq!(run(card.start()), Ok(()), "{wire:?}, bit {bit}");
            let noise = std::mem::take(&mut spi.0.borrow_mut().noise);
            assert_eq!(card.blocks(), good.blocks(), "{wire:?}, bit {bit}");
            assert_eq!(run(card.write(0x107, &OURS)), Ok(()));
            let wires = spi.0.borrow();
            assert_eq!(wires.card.blocks.keys().collect::<Vec<_>>(), [&0x107], "{wire:?}, {bit}");
            assert_eq!(wires.card.commands.last(), Some(&13));
            noise
        });
        assert!(changes > 1_000, "{changes}");
    }
}

#[test]
fn no_bit_that_changes_among_many_blocks_is_stored() {
    let (mut card, spi) = many::ready(HIGH_CAPACITY);
    let contents = [[1; 512], [2; 512]];
    let changes = each_bit(|wire, bit| {
        spi.0.borrow_mut().noise = Noise { flip: Some((wire, bit)), ..Noise::default() };
        spi.0.borrow_mut().card.blocks.clear();
        let written = many::write_all(&mut card, 0x107, &contents);
        assert_eq!(written, Ok(()), "{wire:?}, bit {bit}");
        let mut wires = spi.0.borrow_mut();
        assert_eq!(wires.card.blocks.len(), 2, "{wire:?}, bit {bit}");
        assert_eq!(wires.card.blocks[&0x107], contents[0]);
        assert_eq!(wires.card.blocks[&0x108], contents[1]);
        wires.card.is_disturbed = false;
        std::mem::take(&mut wires.noise)
    });
    assert!(changes > 4 * 8 * 520, "{changes}");
}

#[test]
fn wires_that_are_bad_at_the_fast_clock_are_used_with_the_slow_one() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    spi.0.borrow_mut().noise.one_of = Some(301);
    for block in 0..100 {
        assert_eq!(run(card.write(block, &OURS)), Ok(()));
    }
    {
        let wires = spi.0.borrow();
        assert_eq!(wires.speed, SLOW);
        assert!(wires.noise.changed >= 2, "{} bits", wires.noise.changed);
        assert!((0..100).all(|block| wires.card.blocks[&block] == OURS));
    }
    // Once they are good again the clock is fast again.
    spi.0.borrow_mut().noise.one_of = None;
    for block in 0..1024 {
        assert_eq!(run(card.write(block, &OURS)), Ok(()));
    }
    assert_eq!(spi.0.borrow().speed, FAST);
}

#[test]
fn wires_that_are_bad_at_any_clock_are_a_fault_of_the_bus() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    spi.0.borrow_mut().noise = Noise { one_of: Some(301), even_slow: true, ..Noise::default() };
    let fault = run(card.write(7, &OURS)).expect_err("no block gets through");
    assert!(!fault.is_of_block(), "{fault:?}");
    assert!(matches!(fault, Fault::Garbled | Fault::Refused { .. }), "{fault:?}");
    let wires = spi.0.borrow();
    assert!(wires.noise.changed >= 3 && wires.card.blocks.is_empty() && !wires.selected);
}
