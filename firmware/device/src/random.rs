//! Random numbers, and message ids.

use core::cell::RefCell;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use crate::Board;

/// The source of random numbers.
pub(crate) struct Random(RefCell<ChaCha8Rng>);

impl Random {
    /// Seeded by the hardware, or else by the card's seed. Each boot has a stream of its own, so
    /// that TCP's sequence numbers differ after a restart.
    pub(crate) fn new(board: &mut impl Board, card_seed: [u8; 32], boot: u32) -> Self {
        let mut seed = card_seed;
        board.random(&mut seed);
        let mut generator = ChaCha8Rng::from_seed(seed);
        generator.set_stream(u64::from(boot));
        Self(RefCell::new(generator))
    }

    /// A uniformly distributed number.
    pub(crate) fn u32(&self) -> u32 {
        self.0.borrow_mut().next_u32()
    }

    /// A uniformly distributed number.
    pub(crate) fn u64(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// A new message id (UUIDv7, RFC 9562 §5.7). While the time of day is unknown, its timestamp is
    /// the number of the boot.
    pub(crate) fn id(&self, unix_s: Option<u64>, boot: u32) -> Uuid {
        let ms = unix_s.map_or(u64::from(boot), |seconds| seconds.saturating_mul(1000));
        let mut random = [0; 10];
        self.0.borrow_mut().fill_bytes(&mut random);
        Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }
}
