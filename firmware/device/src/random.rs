//! Random numbers, and message ids.

use core::array;
use core::cell::RefCell;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use crate::Board;

/// The source of random numbers.
pub(crate) struct Random(RefCell<ChaCha8Rng>);

impl Random {
    /// Seeded by the hardware and by the card: either is enough. Each boot has a stream of its own,
    /// so that TCP's sequence numbers differ after a restart.
    pub(crate) fn new(board: &mut impl Board, card_seed: [u8; 32], boot: u32) -> Self {
        let hardware = board.random();
        let seed = array::from_fn(|at| card_seed[at] ^ hardware[at]);
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

#[cfg(test)]
mod tests {
    use postern_card::Label;

    use super::Random;
    use crate::reset::{Cause, LastReset, Survivor};
    use crate::{Board, NoSlot, Status};

    static SURVIVOR: Survivor = Survivor::new();

    struct Hardware([u8; 32]);

    impl Board for Hardware {
        const LABEL: Label = Label::new("test", "0");
        const RAM: usize = usize::MAX;

        type Slot = NoSlot;

        fn random(&mut self) -> [u8; 32] {
            self.0
        }

        fn last_reset(&self) -> LastReset {
            SURVIVOR.begin(Cause::Power)
        }

        fn feed_watchdog(&mut self) {}

        fn show(&mut self, _: Status, _: bool) {}
    }

    fn first(hardware: u8, card: u8, boot: u32) -> u64 {
        Random::new(&mut Hardware([hardware; 32]), [card; 32], boot).u64()
    }

    #[test]
    fn hardware_card_and_boot_each_make_other_numbers() {
        let all = [first(0, 0, 1), first(0, 9, 1), first(7, 9, 1), first(7, 9, 2)];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{all:?}");
        }
        assert_eq!(first(7, 9, 2), all[3]);
    }
}
