//! A card that answers, or fails.

use core::cell::Cell;

use embassy_time::{Duration, with_timeout};
use postern_card::{Block, Card};

/// Seconds that a card may take for one block, with all that its driver tries. An interrupt that
/// gets lost would else hold all who wait for the card, for ever.
const CALL_S: u64 = 30;

/// A card each of whose calls ends.
pub(crate) struct Guarded<'c, C> {
    card: C,
    /// How many calls have ended.
    calls: &'c Cell<u32>,
    /// Whether one has not. Its driver was left in the middle of it.
    has_hung: bool,
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum GuardedFault<E> {
    /// What the card's driver says.
    Card(E),
    /// The card, or its driver, did not answer.
    Hung,
}

impl<'c, C: Card> Guarded<'c, C> {
    pub(crate) const fn new(card: C, calls: &'c Cell<u32>) -> Self {
        Self { card, calls, has_hung: false }
    }

    async fn call<T, E>(
        &mut self,
        call: impl AsyncFnOnce(&mut C) -> Result<T, E>,
    ) -> Result<T, GuardedFault<E>> {
        if self.has_hung {
            return Err(GuardedFault::Hung);
        }
        let ended = with_timeout(Duration::from_secs(CALL_S), call(&mut self.card)).await;
        self.has_hung = ended.is_err();
        self.calls.set(self.calls.get().wrapping_add(1));
        ended.map_err(|_| GuardedFault::Hung)?.map_err(GuardedFault::Card)
    }
}

impl<C: Card> Card for Guarded<'_, C> {
    type Error = GuardedFault<C::Error>;

    async fn start(&mut self) -> Result<(), Self::Error> {
        self.call(async |card| card.start().await).await
    }

    fn blocks(&self) -> u32 {
        self.card.blocks()
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> Result<(), Self::Error> {
        self.call(async |card| card.read(block, content).await).await
    }

    async fn write(&mut self, block: u32, content: &Block) -> Result<(), Self::Error> {
        self.call(async |card| card.write(block, content).await).await
    }

    fn run(&mut self) -> &mut [Block] {
        self.card.run()
    }

    async fn write_run(&mut self, first: u32, count: usize) -> Result<(), Self::Error> {
        self.call(async |card| card.write_run(first, count).await).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.call(async |card| card.flush().await).await
    }

    fn is_of_block(fault: &Self::Error) -> bool {
        matches!(fault, GuardedFault::Card(error) if C::is_of_block(error))
    }

    fn is_refusal(fault: &Self::Error) -> bool {
        matches!(fault, GuardedFault::Card(error) if C::is_refusal(error))
    }
}
