//! Many blocks at once.

use postern_card::{Block, Card};
use postern_sd::{Fault, SdCardWithRuns};

use crate::clock::run;
use crate::ready as plain;
use crate::sim::{Bad, Behaviour, HIGH_CAPACITY, STANDARD, SimSelect, SimSpi, VERSION_1};

pub type Many = SdCardWithRuns<SimSpi, SimSelect, 8>;
type Outcome = Result<(), <Many as Card>::Error>;

/// A card that is ready, with room for eight blocks, and the wires to it.
pub fn ready(behaviour: Behaviour) -> (Many, SimSpi) {
    let (card, spi) = plain(behaviour);
    (SdCardWithRuns::new(card), spi)
}

fn write_run(card: &mut Many, first: u32, contents: &[Block]) -> Outcome {
    card.run()[..contents.len()].copy_from_slice(contents);
    run(card.write_run(first, contents.len()))
}

/// As the store does: at once, and if that fails one by one. Returns the block that fails.
pub fn write_all(card: &mut Many, first: u32, contents: &[Block]) -> Result<(), (u32, String)> {
    if write_run(card, first, contents).is_ok() {
        return Ok(());
    }
    (first..).zip(contents).try_for_each(|(block, content)| {
        run(card.write(block, content)).map_err(|fault| (block, format!("{fault:?}")))
    })
}

fn contents<const N: usize>() -> [Block; N] {
    std::array::from_fn(|number| [number as u8 + 1; 512])
}

#[test]
fn many_blocks_are_written_at_once() {
    for behaviour in [HIGH_CAPACITY, STANDARD, VERSION_1] {
        let (mut card, spi) = ready(behaviour);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.commands.clear();
        assert_eq!(write_all(&mut card, 100, &contents), Ok(()));
        let wires = spi.0.borrow();
        assert_eq!(wires.card.commands, [55, 23, 25, 13]);
        assert_eq!(wires.card.erases, 8);
        assert_eq!(wires.card.blocks.len(), 8);
        for (block, content) in (100..).zip(&contents) {
            assert_eq!(wires.card.blocks[&block], *content);
        }
        assert!(!wires.selected);
    }
}

#[test]
fn a_bad_block_is_named_and_those_before_it_are_written() {
    for (bad, fault) in [
        (Bad::Response(0xED), "NotTaken(237)"),
        (Bad::Status(0x04), "NotWritten(4)"),
        (Bad::Busy, "Stalls"),
    ] {
        let (mut card, spi) = ready(HIGH_CAPACITY);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.bad.insert(105, (bad, usize::MAX));
        assert_eq!(write_all(&mut card, 100, &contents), Err((105, fault.to_owned())));
        {
            let wires = spi.0.borrow();
            assert_eq!(wires.card.faults, 4, "once among many, and three times alone");
            assert!((100..105).all(|block| wires.card.blocks.contains_key(&block)));
            assert!(!wires.selected);
        }
        assert_eq!(write_all(&mut card, 200, &contents), Ok(()));
    }
}

#[test]
fn what_went_wrong_once_is_done_again() {
    for bad in [Bad::Response(0xED), Bad::Status(0x04), Bad::Busy] {
        let (mut card, spi) = ready(HIGH_CAPACITY);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.bad.insert(107, (bad, 1));
        assert_eq!(write_all(&mut card, 100, &contents), Ok(()));
        let wires = spi.0.borrow();
        assert_eq!(wires.card.faults, 1);
        for (block, content) in (100..).zip(&contents) {
            assert_eq!(wires.card.blocks[&block], *content);
        }
    }
}

#[test]
fn a_card_that_erases_nothing_before_is_written_too() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    spi.0.borrow_mut().card.refusals.insert(23, (0x04, usize::MAX));
    assert_eq!(write_all(&mut card, 100, &contents::<3>()), Ok(()));
    assert_eq!(spi.0.borrow().card.blocks.len(), 3);
    assert!(!spi.0.borrow().card.commands.contains(&24));
}

#[test]
fn none_are_written_where_the_card_ends() {
    let (mut card, spi) = ready(STANDARD);
    let end = card.blocks();
    for first in [end - 1, end, u32::MAX] {
        assert_eq!(write_run(&mut card, first, &contents::<2>()), Err(Fault::OutOfRange));
    }
    assert_eq!(write_all(&mut card, end, &[]), Ok(()));
    assert!(spi.0.borrow().card.blocks.is_empty());
    assert_eq!(write_all(&mut card, end - 2, &contents::<2>()), Ok(()));
}
