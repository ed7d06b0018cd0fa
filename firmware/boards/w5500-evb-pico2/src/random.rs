//! The chip's generator of random numbers.

use embassy_rp::Peri;
use embassy_rp::interrupt::typelevel::{Binding, TRNG_IRQ};
use embassy_rp::interrupt::{self, InterruptExt};
use embassy_rp::pac;
use embassy_rp::peripherals::TRNG;
use embassy_rp::trng::{Config, InterruptHandler, Trng};
use postern_boards::{Stage, Start, enter, entropy};

use crate::reset::Rp2350;

/// What it gives in a short time. When one of its tests fails it gives nothing more; its driver
/// waits then, and its interrupts may keep everything else from going on.
pub async fn random(
    start: Start,
    generator: Peri<'static, TRNG>,
    interrupts: impl Binding<TRNG_IRQ, InterruptHandler<TRNG>> + 'static,
) -> [u8; 32] {
    if start.hung_in(Stage::Random) {
        return [0; 32];
    }
    enter::<Rp2350>(Stage::Random);
    let mut generator = Trng::new(generator, interrupts, Config::default());
    let random = entropy(async |octets| generator.fill_bytes(octets).await).await;
    // Its driver leaves it on when it is not awaited to its end.
    pac::TRNG.rnd_source_enable().write(|source| source.set_rnd_src_en(false));
    interrupt::TRNG_IRQ.disable();
    random
}
