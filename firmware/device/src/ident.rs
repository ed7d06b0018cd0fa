//! Message ids, and the randomness in them.

use core::cell::RefCell;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use crate::Board;

/// A source of random numbers.
pub(crate) struct Dice(RefCell<ChaCha8Rng>);

impl Dice {
    /// Seeded by the hardware; where it has no source, by the card's seed, of which each boot takes
    /// a stream of its own: TCP's sequence numbers must not be the same after a restart.
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

    /// A new message id (UUIDv7, RFC 9562 §5.7). While the time of day is unknown, the number of
    /// the boot stands in its place.
    pub(crate) fn id(&self, unix_s: Option<u64>, boot: u32) -> Uuid {
        let ms = unix_s.map_or(u64::from(boot), |seconds| seconds.saturating_mul(1000));
        let mut random = [0; 10];
        self.0.borrow_mut().fill_bytes(&mut random);
        Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }
}
