//! The block device on simulated cards.

mod clock;
mod sim;

use std::cell::Cell;

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use postern_card::Card;
use postern_sd::{Fault, SdCard};
use sim::{GOOD, Line, Manner, State};

const OURS: [u8; 512] = [0xA5; 512];

/// Makes the card ready, writes a block and reads it again.
fn works(card: &mut SdCard<Line>, block: u32) -> bool {
    let mut content = [0; 512];
    if block_on(card.start()).is_err() {
        return false;
    }
    let written = block_on(card.write(block, &OURS));
    let read = block_on(card.read(block, &mut content));
    written.is_ok() && read.is_ok() && content == OURS
}

#[test]
fn large_cards_count_in_blocks() {
    let line = Line::new(GOOD);
    let mut card = SdCard::new(line.clone());
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), 32 << 21);
    assert_eq!(line.0.borrow().blocks[&7], OURS);
    assert_eq!(block_on(card.flush()), Ok(()));
}

#[test]
fn small_cards_count_in_octets() {
    let csd = [0, 0, 0, 0, 0, 9, 3, 0xFF, 0xC0, 1, 0x80, 0, 0, 0, 0, 0];
    let line = Line::new(Manner { in_blocks: false, csd: Some(csd), ..GOOD });
    let mut card = SdCard::new(line.clone());
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), 64 << 11);
    assert_eq!(line.0.borrow().blocks[&(7 * 512)], OURS);
    assert!(line.0.borrow().commands.contains(&16));
    assert_eq!(block_on(card.write(1 << 23, &OURS)), Err(Fault::Beyond));
}

#[test]
fn oddities_of_qemu_are_taken() {
    let line = Line::new(Manner { ocr_response: 1, csd: None, status: None, ..GOOD });
    let mut card = SdCard::new(line);
    assert!(works(&mut card, 7));
    assert_eq!(card.blocks(), u32::MAX);
}

#[test]
fn a_card_that_is_put_in_later_is_found() {
    let line = Line::new(GOOD);
    line.0.borrow_mut().present = false;
    let mut card = SdCard::new(line.clone());
    let mut content = [0; 512];
    assert_eq!(block_on(card.start()), Err(Fault::NoCard));
    assert_eq!(block_on(card.read(0, &mut content)), Err(Fault::NotReady));
    line.0.borrow_mut().present = true;
    assert!(works(&mut card, 0));
}

#[test]
fn a_card_that_was_exchanged_is_not_written() {
    let line = Line::new(GOOD);
    let mut card = SdCard::new(line.clone());
    assert!(works(&mut card, 0));
    line.0.borrow_mut().present = false;
    assert_eq!(block_on(card.write(1, &OURS)), Err(Fault::NoCard));
    line.exchange(GOOD);
    assert!(!works(&mut card, 2));
    assert!(line.0.borrow().blocks.is_empty());
}

#[test]
fn a_reset_in_the_middle_of_a_block_is_overcome() {
    for state in [State::Token(9), State::Data(9)] {
        let line = Line::new(GOOD);
        line.0.borrow_mut().state = state;
        assert!(works(&mut SdCard::new(line), 0));
    }
}

#[test]
fn each_refusal_has_a_name() {
    let fault = |manner: Manner| {
        let mut card = SdCard::new(Line::new(manner));
        let mut content = [0; 512];
        let started = block_on(card.start());
        let written = started.and_then(|()| block_on(card.write(0, &OURS)));
        written.and_then(|()| block_on(card.read(0, &mut content))).err()
    };
    assert_eq!(fault(GOOD), None);
    let not_taken = Manner { data_response: 0xED, ..GOOD };
    assert_eq!(fault(not_taken), Some(Fault::NotTaken(0xED)));
    assert_eq!(fault(Manner { status: Some(0x04), ..GOOD }), Some(Fault::NotWritten(0x04)));
    assert_eq!(fault(Manner { token: 0x08, csd: None, ..GOOD }), Some(Fault::NotRead(0x08)));
    assert_eq!(fault(Manner { busy: usize::MAX, ..GOOD }), Some(Fault::Late));
    assert_eq!(fault(Manner { idle_turns: usize::MAX, ..GOOD }), Some(Fault::NotReady));
    let refused = Fault::Refused { command: 58, response: 0x05 };
    assert_eq!(fault(Manner { ocr_response: 0x05, ..GOOD }), Some(refused));
}

#[test]
fn a_busy_card_holds_nothing_up() {
    let line = Line::new(Manner { busy: 1000, ..GOOD });
    let mut card = SdCard::new(line);
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
