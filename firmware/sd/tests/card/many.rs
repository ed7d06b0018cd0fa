//! Many blocks at once.

use postern_card::{Block, Card};
use postern_sd::Fault;

use crate::clock::run;
use crate::ready;
use crate::sim::{Bad, HIGH_CAPACITY, STANDARD, VERSION_1};

fn contents<const N: usize>() -> [Block; N] {
    std::array::from_fn(|number| [number as u8 + 1; 512])
}

#[test]
fn many_blocks_are_written_at_once() {
    for behaviour in [HIGH_CAPACITY, STANDARD, VERSION_1] {
        let (mut card, spi) = ready(behaviour);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.commands.clear();
        assert_eq!(run(card.write_all(100, &contents)), Ok(()));
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
        (Bad::Response(0xED), Fault::NotTaken(0xED)),
        (Bad::Status(0x04), Fault::NotWritten(0x04)),
        (Bad::Busy, Fault::Stalls),
    ] {
        let (mut card, spi) = ready(HIGH_CAPACITY);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.bad.insert(105, (bad, usize::MAX));
        assert_eq!(run(card.write_all(100, &contents)), Err((105, fault)));
        {
            let wires = spi.0.borrow();
            assert_eq!(wires.card.faults, 4, "once among many, and three times alone");
            assert!((100..105).all(|block| wires.card.blocks.contains_key(&block)));
            assert!(!wires.selected);
        }
        assert_eq!(run(card.write_all(200, &contents)), Ok(()));
    }
}

#[test]
fn what_went_wrong_once_is_done_again() {
    for bad in [Bad::Response(0xED), Bad::Status(0x04), Bad::Busy] {
        let (mut card, spi) = ready(HIGH_CAPACITY);
        let contents = contents::<8>();
        spi.0.borrow_mut().card.bad.insert(107, (bad, 1));
        assert_eq!(run(card.write_all(100, &contents)), Ok(()));
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
    assert_eq!(run(card.write_all(100, &contents::<3>())), Ok(()));
    assert_eq!(spi.0.borrow().card.blocks.len(), 3);
    assert!(!spi.0.borrow().card.commands.contains(&24));
}

#[test]
fn none_are_written_where_the_card_ends() {
    let (mut card, spi) = ready(STANDARD);
    let end = card.blocks();
    for first in [end - 1, end, u32::MAX] {
        assert_eq!(run(card.write_all(first, &contents::<2>())), Err((first, Fault::OutOfRange)));
    }
    assert_eq!(run(card.write_all(end, &[])), Ok(()));
    assert!(spi.0.borrow().card.blocks.is_empty());
    assert_eq!(run(card.write_all(end - 2, &contents::<2>())), Ok(()));
}
