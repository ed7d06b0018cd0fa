//! The block device on simulated cards.

mod clock;
mod sim;

use std::cell::Cell;

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use postern_card::Card;
use postern_sd::{Fault, SdCard};
use sim::{Behaviour, GOOD, SimBus, State};

const OURS: [u8; 512] = [0xA5; 512];

/// Makes the card ready, writes a block and reads it again.
fn works(card: &mut SdCard<SimBus>, block: u32) -> bool {
    let mut content = [0; 512];
    if block_on(card.start()).is_err() {
        return false;
    }
    let written = block_on(card.write(block, &OURS));
    let read = block_on(card.read(block, &mut content));
    written.is_ok() && read.is_ok() && content == OURS
}

#[test]
fn large_cards_are_addressed_in_blocks() {
    let bus = SimBus::new(GOOD);
    let mut card = SdCard::new(bus.clone());
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), 32 << 21);
    assert_eq!(bus.0.borrow().blocks[&7], OURS);
    assert_eq!(block_on(card.flush()), Ok(()));
}

#[test]
fn small_cards_are_addressed_in_octets() {
    let csd = [0, 0, 0, 0, 0, 9, 3, 0xFF, 0xC0, 1, 0x80, 0, 0, 0, 0, 0];
    let bus = SimBus::new(Behaviour { block_addressed: false, csd: Some(csd), ..GOOD });
    let mut card = SdCard::new(bus.clone());
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), 64 << 11);
    assert_eq!(bus.0.borrow().blocks[&(7 * 512)], OURS);
    assert!(bus.0.borrow().commands.contains(&16));
    assert_eq!(block_on(card.write(1 << 23, &OURS)), Err(Fault::OutOfRange));
}

#[test]
fn oddities_of_qemu_are_taken() {
    let bus = SimBus::new(Behaviour { ocr_response: 1, csd: None, status: None, ..GOOD });
    let mut card = SdCard::new(bus);
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), u32::MAX);
}

#[test]
fn a_card_that_is_put_in_later_is_found() {
    let bus = SimBus::new(GOOD);
    bus.0.borrow_mut().present = false;
    let mut card = SdCard::new(bus.clone());
    let mut content = [0; 512];
    assert_eq!(block_on(card.start()), Err(Fault::NoCard));
    assert_eq!(block_on(card.read(0, &mut content)), Err(Fault::NotReady));
    bus.0.borrow_mut().present = true;
    assert!(works(&mut card, 0));
}

#[test]
fn a_card_that_was_exchanged_is_not_written() {
    let bus = SimBus::new(GOOD);
    let mut card = SdCard::new(bus.clone());
    assert!(works(&mut card, 0));
    bus.0.borrow_mut().present = false;
    assert_eq!(block_on(card.write(1, &OURS)), Err(Fault::NoCard));
    bus.exchange(GOOD);
    assert!(!works(&mut card, 2));
    assert!(bus.0.borrow().blocks.is_empty());
}

#[test]
fn a_reset_in_the_middle_of_a_block_is_overcome() {
    for state in [State::Token(9), State::Data(9)] {
        let bus = SimBus::new(GOOD);
        bus.0.borrow_mut().state = state;
        assert!(works(&mut SdCard::new(bus), 0));
    }
}

#[test]
fn each_refusal_has_a_name() {
    let fault = |behaviour: Behaviour| {
        let mut card = SdCard::new(SimBus::new(behaviour));
        let mut content = [0; 512];
        let started = block_on(card.start());
        let written = started.and_then(|()| block_on(card.write(0, &OURS)));
        written.and_then(|()| block_on(card.read(0, &mut content))).err()
    };
    assert_eq!(fault(GOOD), None);
    let not_taken = Behaviour { data_response: 0xED, ..GOOD };
    assert_eq!(fault(not_taken), Some(Fault::NotTaken(0xED)));
    assert_eq!(fault(Behaviour { status: Some(0x04), ..GOOD }), Some(Fault::NotWritten(0x04)));
    assert_eq!(fault(Behaviour { token: 0x08, csd: None, ..GOOD }), Some(Fault::NotRead(0x08)));
    assert_eq!(fault(Behaviour { busy: usize::MAX, ..GOOD }), Some(Fault::TimedOut));
    assert_eq!(fault(Behaviour { idle_turns: usize::MAX, ..GOOD }), Some(Fault::NotReady));
    let refused = Fault::Refused { command: 58, response: 0x05 };
    assert_eq!(fault(Behaviour { ocr_response: 0x05, ..GOOD }), Some(refused));
}

#[test]
fn a_busy_card_holds_nothing_up() {
    let bus = SimBus::new(Behaviour { busy: 1000, ..GOOD });
    let mut card = SdCard::new(bus);
    assert_eq!(block_on(card.start()), Ok(()));
    let turns = Cell::new(0);
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            yield_now().await;
        }
    };
    let written = block_on(select(card.write(0, &OURS), others));
    assert!(matches!(written, Either::First(Ok(()))));
    assert!(turns.get() > 900, "{} turns", turns.get());
}
