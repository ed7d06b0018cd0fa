//! The block device on simulated cards.

mod clock;
mod faults;
mod many;
mod noise;
mod sim;
mod starting;
mod store;
mod strict;

use clock::run;
use postern_card::{Block, Card};
use postern_sd::{Clocks, SdCard};
use sim::{Behaviour, FAST, SLOW, SimSelect, SimSpi};

/// What is written.
const OURS: Block = [0xA5; 512];

type SimSd = SdCard<SimSpi, SimSelect>;

/// A card, and the wires to it.
fn card(behaviour: Behaviour) -> (SimSd, SimSpi) {
    let spi = SimSpi::new(behaviour);
    (on(&spi), spi)
}

/// A driver for what is at the end of these wires.
fn on(spi: &SimSpi) -> SimSd {
    SdCard::new(spi.clone(), spi.select(), Clocks { slow: SLOW, fast: FAST })
}

/// A card that is ready, and the wires to it.
fn ready(behaviour: Behaviour) -> (SimSd, SimSpi) {
    let (mut card, spi) = card(behaviour);
    assert_eq!(run(card.start()), Ok(()));
    (card, spi)
}

/// Writes a block and reads it again.
fn keeps(card: &mut SimSd, block: u32) -> bool {
    let mut content = [0; 512];
    let written = run(card.write(block, &OURS));
    let read = run(card.read(block, &mut content));
    written.is_ok() && read.is_ok() && content == OURS
}
