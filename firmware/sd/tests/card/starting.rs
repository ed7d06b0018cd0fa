//! How a card is made ready, and found and lost.

use std::time::Duration;

use postern_card::Card;
use postern_sd::Fault;

use crate::clock::{now_ns, run};
use crate::sim::{Bad, Behaviour, FAST, HIGH_CAPACITY, MMC, STANDARD, SimCard, VERSION_1};
use crate::{OURS, card, keeps, on, ready};

#[test]
fn cards_of_high_capacity_are_addressed_in_blocks() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    assert_eq!(card.blocks(), 32 << 21);
    assert!(keeps(&mut card, 7));
    assert_eq!(run(card.flush()), Ok(()));
    let wires = spi.0.borrow();
    assert_eq!(wires.card.blocks[&7], OURS);
    assert_eq!(wires.speed, FAST);
    assert!(!wires.selected);
}

#[test]
fn cards_of_standard_capacity_are_addressed_in_octets() {
    for behaviour in [STANDARD, VERSION_1] {
        let (mut card, spi) = ready(behaviour);
        assert_eq!(card.blocks(), 64 << 11);
        assert!(keeps(&mut card, 7));
        assert_eq!(spi.0.borrow().card.blocks[&7], OURS);
    }
}

#[test]
fn every_delay_that_is_allowed_is_waited_for() {
    for answers_after in 1..=8 {
        let behaviour = Behaviour {
            answers_after,
            initialises_for: Duration::from_millis(990),
            reads_for: Duration::from_millis(490),
            writes_for: Duration::from_millis(2_990),
            ..HIGH_CAPACITY
        };
        let (mut card, spi) = ready(behaviour);
        assert!(keeps(&mut card, 7));
        assert_eq!(spi.0.borrow().card.commands.iter().filter(|command| **command == 0).count(), 1);
    }
}

#[test]
fn a_card_that_is_not_busy_is_not_waited_for() {
    let qemu = Behaviour { answers_at_once: true, ocr_response: 1, csd: None, ..HIGH_CAPACITY };
    for behaviour in [HIGH_CAPACITY, STANDARD, VERSION_1, qemu] {
        let begun_ns = now_ns();
        let _ready = ready(behaviour);
        let took = Duration::from_nanos(now_ns() - begun_ns);
        assert!(took < behaviour.initialises_for + Duration::from_millis(10), "{took:?}");
    }
}

#[test]
fn oddities_of_qemu_are_taken() {
    let behaviour = Behaviour { ocr_response: 1, csd: None, says_status: false, ..HIGH_CAPACITY };
    let (mut card, _) = ready(behaviour);
    assert_eq!(card.blocks(), u32::MAX);
    assert!(keeps(&mut card, 7));
}

#[test]
fn cards_that_can_not_be_used_are_refused() {
    let fault = |behaviour: Behaviour| {
        let (mut card, spi) = card(behaviour);
        let fault = run(card.start()).err();
        assert!(!spi.0.borrow().selected);
        fault
    };
    assert_eq!(fault(MMC), Some(Fault::Refused { command: 41, response: 0x05 }));
    // Neither our supply nor what we sent.
    assert_eq!(fault(Behaviour { echo: 0x0AA, ..HIGH_CAPACITY }), Some(Fault::NotReady));
    assert_eq!(fault(Behaviour { echo: 0x1AB, ..HIGH_CAPACITY }), Some(Fault::NotReady));
    let endless = Behaviour { initialises_for: Duration::MAX / 4_000_000_000, ..HIGH_CAPACITY };
    assert_eq!(fault(endless), Some(Fault::NotReady));
    let odd = Behaviour { ocr_response: 0x05, ..HIGH_CAPACITY };
    assert_eq!(fault(odd), Some(Fault::Refused { command: 58, response: 0x05 }));
}

#[test]
fn a_card_that_does_not_check_is_refused() {
    let (mut card, spi) = card(HIGH_CAPACITY);
    spi.0.borrow_mut().card.refusals.insert(59, (0x05, usize::MAX));
    assert_eq!(run(card.start()), Err(Fault::Refused { command: 59, response: 0x05 }));
}

#[test]
fn a_card_that_is_put_in_later_is_found() {
    let (mut card, spi) = card(HIGH_CAPACITY);
    spi.0.borrow_mut().card.is_present = false;
    let mut content = [0; 512];
    assert_eq!(run(card.start()), Err(Fault::NoCard));
    assert_eq!(run(card.read(0, &mut content)), Err(Fault::NotReady));
    spi.0.borrow_mut().card.is_present = true;
    assert_eq!(run(card.start()), Ok(()));
    assert!(keeps(&mut card, 0));
}

#[test]
fn a_card_that_was_pulled_out_is_not_used_again() {
    let at_once = Behaviour { answers_at_once: true, ..HIGH_CAPACITY };
    for (behaviour, is_another) in [(HIGH_CAPACITY, false), (HIGH_CAPACITY, true), (at_once, true)]
    {
        let (mut card, spi) = ready(behaviour);
        assert!(keeps(&mut card, 0));
        spi.0.borrow_mut().card.pull_out();
        assert_eq!(run(card.write(1, &OURS)), Err(Fault::NoCard));
        if is_another {
            spi.0.borrow_mut().card = SimCard::new(behaviour);
        }
        spi.0.borrow_mut().card.is_present = true;
        for _ in 0..2 {
            assert_eq!(run(card.start()), Ok(()));
            assert_eq!(run(card.write(1, &OURS)), Err(Fault::NoCard));
            assert_eq!(run(card.read(1, &mut [0; 512])), Err(Fault::NoCard));
        }
        assert!(!spi.0.borrow().card.blocks.contains_key(&1));
        // Not before the next start of the device.
        let mut card = on(&spi);
        assert_eq!(run(card.start()), Ok(()));
        assert!(keeps(&mut card, 1));
    }
}

#[test]
fn a_card_that_is_exchanged_within_a_read_is_not_used() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    // It is silent for half a second, in which it is exchanged.
    spi.0.borrow_mut().card.bad.insert(5, (Bad::Silent, usize::MAX));
    spi.0.borrow_mut().replaced_at_ns = Some(now_ns() + 200_000_000);
    assert_eq!(run(card.read(5, &mut [0; 512])), Err(Fault::NoCard));
    assert_eq!(run(card.write(5, &OURS)), Err(Fault::NoCard));
    let wires = spi.0.borrow();
    assert_eq!(wires.replaced_at_ns, None);
    assert!(wires.card.blocks.is_empty() && !wires.card.commands.contains(&0));
}
