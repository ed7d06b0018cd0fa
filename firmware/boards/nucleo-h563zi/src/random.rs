//! The chip's generator of random numbers.

use embassy_stm32::Peri;
use embassy_stm32::interrupt::typelevel::{self, Binding};
use embassy_stm32::peripherals::RNG;
use embassy_stm32::rng::{InterruptHandler, Rng};
use postern_boards::{Stage, Start, enter, entropy};

use crate::reset::Stm32H5;

/// What it gives in a short time. Its driver waits without end for one that does not start: the
/// watchdog ends that, and the next start does without.
pub async fn random(
    start: Start,
    generator: Peri<'static, RNG>,
    interrupts: impl Binding<typelevel::RNG, InterruptHandler<RNG>> + 'static,
) -> [u8; 32] {
    if start.hung_in(Stage::Random) {
        return [0; 32];
    }
    enter::<Stm32H5>(Stage::Random);
    let mut generator = Rng::new(generator, interrupts);
    entropy(async |octets| {
        // A failed test of its own leaves zeros, or a part.
        generator.async_fill_bytes(octets).await.ok();
    })
    .await
}
