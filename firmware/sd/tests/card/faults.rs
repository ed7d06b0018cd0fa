//! Cards that fail, for a while or for good.

use std::cell::Cell;
use std::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use postern_card::Card;
use postern_sd::Fault;

use crate::clock::{now_ns, run};
use crate::sim::{Bad, Behaviour, FAST, HIGH_CAPACITY, STANDARD, SimSpi};
use crate::{OURS, SimSd, keeps, on, ready};

/// What is bad of a block, and what comes of it in the end.
const BAD: [(Bad, Fault<core::convert::Infallible>); 5] = [
    (Bad::Token(0x04), Fault::NotRead(0x04)),
    (Bad::Silent, Fault::Stalls),
    (Bad::Response(0xED), Fault::NotTaken(0xED)),
    (Bad::Status(0x10), Fault::NotWritten(0x10)),
    (Bad::Busy, Fault::Stalls),
];

/// Uses the block, for reading or writing as it is bad.
fn fault(card: &mut SimSd, block: u32) -> Option<Fault<core::convert::Infallible>> {
    run(card.write(block, &OURS)).and_then(|()| run(card.read(block, &mut [0; 512]))).err()
}

fn idle(spi: &SimSpi) -> bool {
    !spi.0.borrow().selected && spi.0.borrow().speed == FAST
}

#[test]
fn what_goes_wrong_twice_is_done_a_third_time() {
    for (bad, _) in BAD {
        for times in 1..=2 {
            let (mut card, spi) = ready(HIGH_CAPACITY);
            spi.0.borrow_mut().card.bad.insert(3, (bad, times));
            assert!(keeps(&mut card, 3), "{bad:?}, {times}");
            assert_eq!(spi.0.borrow().card.faults, times);
        }
    }
}

#[test]
fn one_bad_block_is_one_bad_block() {
    for (bad, what) in BAD {
        let (mut card, spi) = ready(HIGH_CAPACITY);
        spi.0.borrow_mut().card.bad.insert(3, (bad, usize::MAX));
        assert_eq!(fault(&mut card, 3), Some(what));
        assert!(what.is_of_block());
        assert_eq!(spi.0.borrow().card.faults, 3);
        assert!(idle(&spi), "{bad:?}");
        assert!(keeps(&mut card, 2) && keeps(&mut card, 4));
    }
}

#[test]
fn commands_that_are_refused_once_are_sent_again() {
    for command in [17, 24, 13] {
        for response in [0x01, 0x04, 0x08, 0x20, 0x40, 0x7F] {
            for times in 1..=2 {
                let (mut card, spi) = ready(HIGH_CAPACITY);
                spi.0.borrow_mut().card.refusals.insert(command, (response, times));
                assert!(keeps(&mut card, 3), "{command} answered with {response:#x}, {times}");
                assert_eq!(spi.0.borrow().card.faults, times);
            }
        }
    }
    let (mut card, spi) = ready(HIGH_CAPACITY);
    spi.0.borrow_mut().card.refusals.insert(24, (0x40, usize::MAX));
    let refused = Fault::Refused { command: 24, response: 0x40 };
    assert_eq!(run(card.write(3, &OURS)), Err(refused));
    assert!(!refused.is_of_block() && idle(&spi));
}

/// It is found, and says what it has; of its blocks it gives none (§4.3.7).
#[test]
fn a_card_that_is_locked_by_a_password_refuses() {
    let (mut card, spi) = crate::card(HIGH_CAPACITY);
    for command in [17, 24, 25] {
        spi.0.borrow_mut().card.refusals.insert(command, (0x04, usize::MAX));
    }
    assert_eq!(run(card.start()), Ok(()));
    for fault in [run(card.read(0, &mut [0; 512])), run(card.write(0, &OURS))] {
        assert!(fault.is_err_and(|fault| SimSd::is_refusal(&fault)), "{fault:?}");
    }
    spi.0.borrow_mut().card.is_present = false;
    let fault = run(card.read(0, &mut [0; 512]));
    assert!(fault.is_err_and(|fault| !SimSd::is_refusal(&fault)), "{fault:?}");
}

#[test]
fn each_command_of_the_start_may_be_refused_once() {
    for command in [0, 8, 59, 55, 41, 16, 58, 13, 9] {
        let (mut card, spi) = crate::card(HIGH_CAPACITY);
        spi.0.borrow_mut().card.refusals.insert(command, (0x7B, 1));
        assert_eq!(run(card.start()), Ok(()), "{command}");
        assert_eq!(card.blocks(), 32 << 21);
        assert!(keeps(&mut card, 3));
        assert_eq!(spi.0.borrow().card.faults, 1);
    }
}

#[test]
fn a_card_that_stays_busy_is_a_fault_of_the_card() {
    let (mut card, spi) = ready(HIGH_CAPACITY);
    spi.0.borrow_mut().card.bad.insert(3, (Bad::Busy, usize::MAX));
    spi.0.borrow_mut().card.is_stuck = true;
    assert_eq!(run(card.write(3, &OURS)), Err(Fault::TimedOut));
    assert!(!Fault::<()>::TimedOut.is_of_block() && !spi.0.borrow().selected);
}

#[test]
fn blocks_that_a_card_does_not_have_are_not_asked_for() {
    let silent = Behaviour { csd: None, ..STANDARD };
    for (behaviour, block) in [(HIGH_CAPACITY, 32 << 21), (STANDARD, 64 << 11), (silent, 1 << 23)] {
        let (mut card, spi) = ready(behaviour);
        let commands = spi.0.borrow().card.commands.len();
        assert_eq!(run(card.write(block, &OURS)), Err(Fault::OutOfRange));
        assert_eq!(run(card.read(block, &mut [0; 512])), Err(Fault::OutOfRange));
        assert_eq!(spi.0.borrow().card.commands.len(), commands);
        assert!(idle(&spi));
    }
}

#[test]
fn a_reset_in_the_middle_of_a_transfer_is_overcome() {
    for goes_on in [false, true] {
        for command in [17, 24, 25] {
            for octets in [0, 1, 100, 513, 514, 700] {
                let (mut card, spi) = ready(Behaviour { goes_on, ..HIGH_CAPACITY });
                assert!(keeps(&mut card, 9));
                drop(card);
                spi.break_off(command, 9, octets);
                let mut card = on(&spi);
                assert_eq!(run(card.start()), Ok(()), "{command} after {octets} octets");
                let mut content = [0; 512];
                assert_eq!(run(card.read(9, &mut content)), Ok(()));
                assert_eq!(content, OURS);
                assert!(keeps(&mut card, 8));
            }
        }
    }
}

#[test]
fn a_card_that_is_busy_at_our_reset_ends_what_it_writes() {
    let (mut card, spi) = ready(Behaviour { writes_for: Duration::from_secs(2), ..HIGH_CAPACITY });
    let begun = now_ns();
    run(select(card.write(9, &OURS), async {
        while spi.0.borrow().card.blocks.is_empty() {
            yield_now().await;
        }
    }));
    drop(card);
    spi.reset_board();
    let mut card = on(&spi);
    assert_eq!(run(card.start()), Ok(()));
    assert!(now_ns() - begun > 2_000_000_000);
    let mut content = [0; 512];
    assert_eq!(run(card.read(9, &mut content)), Ok(()));
    assert_eq!(content, OURS);
}

#[test]
fn a_card_that_was_stuck_before_our_reset_is_reset_too() {
    let (card, spi) = ready(HIGH_CAPACITY);
    drop(card);
    spi.0.borrow_mut().card.busy_until_ns = u64::MAX;
    let mut card = on(&spi);
    assert_eq!(run(card.start()), Ok(()));
    assert!(keeps(&mut card, 9));
}

#[test]
fn a_busy_card_holds_nothing_up() {
    let (mut card, _) = ready(Behaviour { writes_for: Duration::from_secs(2), ..HIGH_CAPACITY });
    let turns = Cell::new(0);
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            yield_now().await;
        }
    };
    let written = run(select(card.write(0, &OURS), others));
    assert!(matches!(written, Either::First(Ok(()))));
    assert!(turns.get() > 900, "{} turns", turns.get());
}
