//! What the simulated card does not let pass: a driver that did it would panic in all tests.

use embassy_embedded_hal::SetConfig;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;

use crate::ready;
use crate::sim::{FAST, HIGH_CAPACITY, SLOW, SimSelect, SimSpi};

const RESET: [u8; 6] = [0x40, 0, 0, 0, 0, 0x95];
const STATUS: [u8; 6] = [0x4D, 0, 0, 0, 0, 0x0D];

/// A card that is ready or not, in the hands of a bad driver.
fn wires(is_ready: bool) -> (SimSpi, SimSelect) {
    let spi = if is_ready { ready(HIGH_CAPACITY).1 } else { SimSpi::new(HIGH_CAPACITY) };
    let select = spi.select();
    (spi, select)
}

fn send(spi: &mut SimSpi, octets: &[u8]) {
    let Ok(()) = spi.write(octets);
    let Ok(()) = spi.flush();
}

fn set_speed(spi: &mut SimSpi, speed: u32) {
    let Ok(()) = spi.set_config(&speed);
}

fn set(select: &mut SimSelect, selected: bool) {
    let Ok(()) = if selected { select.set_low() } else { select.set_high() };
}

#[test]
#[should_panic = "72 clocks before it"]
fn fewer_than_74_clocks() {
    let (mut spi, mut select) = wires(false);
    set_speed(&mut spi, SLOW);
    send(&mut spi, &[0xFF; 9]);
    set(&mut select, true);
    send(&mut spi, &RESET);
}

#[test]
#[should_panic = "0 clocks before it"]
fn clocks_while_it_is_selected() {
    let (mut spi, mut select) = wires(false);
    set_speed(&mut spi, SLOW);
    set(&mut select, true);
    send(&mut spi, &[0xFF; 10]);
    send(&mut spi, &RESET);
}

#[test]
#[should_panic = "a clock of 400001 before it is ready"]
fn too_fast_to_begin_with() {
    let (mut spi, mut select) = wires(false);
    set_speed(&mut spi, SLOW);
    send(&mut spi, &[0xFF; 10]);
    set_speed(&mut spi, SLOW + 1);
    set(&mut select, true);
    send(&mut spi, &RESET);
}

#[test]
#[should_panic = "a clock of 25000000 before it is ready"]
fn fast_before_it_is_ready() {
    let (mut spi, mut select) = wires(false);
    set_speed(&mut spi, SLOW);
    send(&mut spi, &[0xFF; 10]);
    set(&mut select, true);
    send(&mut spi, &RESET);
    set(&mut select, false);
    set_speed(&mut spi, FAST);
    send(&mut spi, &[0xFF]);
    set(&mut select, true);
    send(&mut spi, &[0xFF]);
}

#[test]
#[should_panic = "a clock of 25000001"]
fn faster_than_any_card() {
    let (mut spi, mut select) = wires(true);
    set_speed(&mut spi, FAST + 1);
    set(&mut select, true);
    send(&mut spi, &[0xFF]);
}

#[test]
#[should_panic = "the clock changes while the card is selected"]
fn another_clock_while_it_is_selected() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    set_speed(&mut spi, SLOW);
}

#[test]
#[should_panic = "no clocks between two selections"]
fn no_clocks_before_it_is_selected_again() {
    let (mut spi, mut select) = wires(true);
    for _ in 0..2 {
        set(&mut select, true);
        send(&mut spi, &[0xFF]);
        set(&mut select, false);
    }
}

#[test]
#[should_panic = "the select line changes while the controller is busy"]
fn an_edge_before_the_last_clock() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    let Ok(()) = spi.write(&[0xFF]);
    set(&mut select, false);
}

#[test]
#[should_panic = "a command with a wrong checksum"]
fn a_wrong_checksum() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    send(&mut spi, &[0x4D, 0, 0, 0, 0, 0xFF]);
}

#[test]
#[should_panic = "a command right behind an answer"]
fn no_octet_between_an_answer_and_a_command() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    send(&mut spi, &STATUS);
    send(&mut spi, &[0xFF; 3]);
    send(&mut spi, &STATUS);
}

#[test]
#[should_panic = "a command to a card that is busy"]
fn a_command_to_a_busy_card() {
    let (mut spi, mut select) = wires(true);
    spi.0.borrow_mut().card.busy_until_ns = u64::MAX;
    set(&mut select, true);
    send(&mut spi, &STATUS);
}

#[test]
#[should_panic = "the line to the card is not high while it answers"]
fn zeros_while_it_answers() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    send(&mut spi, &STATUS);
    let Ok(()) = spi.read(&mut [0xFF; 3]);
}

#[test]
#[should_panic = "blocks without checksums"]
fn checksums_left_off() {
    let (mut spi, mut select) = wires(true);
    spi.0.borrow_mut().card.checks = false;
    set(&mut select, true);
    send(&mut spi, &[0x51, 0, 0, 0, 0, 0x55]);
}

#[test]
#[should_panic = "a token right behind an answer"]
fn no_octet_between_an_answer_and_a_block() {
    let (mut spi, mut select) = wires(true);
    set(&mut select, true);
    send(&mut spi, &[0x58, 0, 0, 0, 0, 0x6F]);
    send(&mut spi, &[0xFF, 0xFF, 0xFE]);
}
