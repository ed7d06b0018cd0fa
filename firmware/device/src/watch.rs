//! What looks after the rest: it feeds the watchdog while all goes on, and shows how things stand.

use core::cell::Cell;

use embassy_time::{Instant, Timer};
use postern_card::Card;

use crate::board::Board;
use crate::log::{info, warning};
use crate::status::{Condition, SLOT_MS};
use crate::storage::SharedStorage;
use crate::trial::Trial;

/// Slots between two feeds of the watchdog: a second.
const FEED_SLOTS: u64 = 1000 / SLOT_MS;
/// Seconds that the storage may be locked by one task whose card does nothing.
const LOCK_S: u64 = 60;
/// Seconds that it may be locked by one task at all: the longest there is, recording what became
/// of 100 recipients on a card that takes a second for each block, takes some minutes.
const WORK_S: u64 = 900;

/// Whether those who want the storage get it.
pub(crate) struct Health<'h> {
    /// How many calls of the card have ended.
    calls: &'h Cell<u32>,
    /// Who had the storage at the last look, and how many calls had ended by then.
    seen: Cell<(Option<u32>, u32)>,
    /// When somebody got the storage, or it was free.
    locked_at: Cell<Instant>,
    /// The same, or when a call ended.
    moved_at: Cell<Instant>,
}

impl<'h> Health<'h> {
    pub(crate) fn new(calls: &'h Cell<u32>) -> Self {
        let now = Instant::now();
        let (locked_at, moved_at) = (Cell::new(now), Cell::new(now));
        Self { calls, seen: Cell::new((None, 0)), locked_at, moved_at }
    }

    /// Looks, and returns whether all is well.
    pub(crate) fn look<C: Card>(&self, storage: &SharedStorage<C>) -> bool {
        let now = Instant::now();
        let seen = (storage.locked(), self.calls.get());
        let (locked, _) = self.seen.get();
        if seen.0.is_none() || seen.0 != locked {
            self.locked_at.set(now);
        }
        if seen.0.is_none() || seen != self.seen.replace(seen) {
            self.moved_at.set(now);
        }
        let seconds = |since: &Cell<Instant>| (now - since.get()).as_secs();
        seconds(&self.moved_at) < LOCK_S && seconds(&self.locked_at) < WORK_S
    }
}

/// Feeds the watchdog each second for as long as `look` finds all healthy, notes for the
/// post-mortem how long that was since `started`, and shows what it finds. Once firmware on
/// `trial` is proven, it is confirmed.
pub(crate) async fn watch<B: Board>(
    board: &mut B,
    started: Instant,
    trial: &Trial,
    look: &dyn Fn() -> Condition,
) -> ! {
    let survivor = board.last_reset().survivor;
    let (mut shown, mut feed_at, mut was_healthy) = (None, 0, true);
    loop {
        let now = Instant::now().as_millis();
        let slot = now / SLOT_MS;
        let condition = look();
        let status = condition.status();
        if shown.is_none_or(|(before, _)| before != status) {
            info!("status: {}", status);
        }
        let lit = status.is_lit(slot);
        if shown.replace((status, lit)) != Some((status, lit)) {
            board.show(status, lit);
        }
        if slot >= feed_at {
            feed_at = (slot / FEED_SLOTS + 1) * FEED_SLOTS;
            survivor.running(started.elapsed().as_secs() as u32, condition.network);
            if condition.is_healthy {
                board.feed_watchdog();
            } else if was_healthy {
                warning!("nobody gets the card any more: the watchdog is not fed");
            }
            was_healthy = condition.is_healthy;
            trial.confirm(board);
        }
        let next = feed_at.min(status.next_change(slot));
        Timer::at(Instant::from_millis(next * SLOT_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Waker};

    use embassy_futures::block_on;
    use embassy_time::Instant;
    use postern_card::{Block, Card, Label};

    use super::{Health, watch};
    use crate::reset::{Cause, LastReset, Survivor};
    use crate::status::{CardCondition, Condition, Status};
    use crate::storage::Storage;
    use crate::trial::Trial;
    use crate::{Board, NoSlot, test_clock};

    /// A board that notes when it was fed, and the status that it showed last.
    struct Noting {
        last_reset: LastReset,
        fed_s: Vec<u64>,
        shown: Option<(Status, bool)>,
    }

    impl Board for Noting {
        const LABEL: Label = Label::new("noting", "0");
        const RAM: usize = usize::MAX;

        type Slot = NoSlot;

        fn random(&mut self) -> [u8; 32] {
            [0; 32]
        }

        fn last_reset(&self) -> LastReset {
            self.last_reset
        }

        fn feed_watchdog(&mut self) {
            self.fed_s.push(Instant::now().as_secs());
        }

        fn show(&mut self, status: Status, lit: bool) {
            assert_ne!(self.shown.replace((status, lit)), Some((status, lit)), "nothing changed");
        }
    }

    struct NoCard;

    impl Card for NoCard {
        type Error = ();

        fn blocks(&self) -> u32 {
            0
        }

        async fn read(&mut self, _: u32, _: &mut Block) -> Result<(), ()> {
            Err(())
        }

        async fn write(&mut self, _: u32, _: &Block) -> Result<(), ()> {
            Err(())
        }

        async fn flush(&mut self) -> Result<(), ()> {
            Err(())
        }
    }

    /// Runs a board's watch for so long, over storage that changes as `each_second` says, and
    /// returns the seconds in which it was fed.
    fn fed(seconds: u64, mut each_second: impl FnMut(u64, &Cell<u32>)) -> Vec<u64> {
        test_clock::restart();
        let survivor: &'static Survivor = Box::leak(Box::new(Survivor::new()));
        let last_reset = survivor.begin(Cause::Power);
        let mut board = Noting { last_reset, fed_s: Vec::new(), shown: None };
        let (calls, storage) = (Cell::new(0), Storage::shared(NoCard));
        let health = Health::new(&calls);
        // Somebody has it, and does not give it back.
        let lock = block_on(storage.lock());
        {
            let look = || Condition {
                card: CardCondition::Mounted { waiting: 0, failed: 0 },
                network: None,
                is_healthy: health.look(&storage),
            };
            let trial = Trial::none();
            let mut watch = pin!(watch(&mut board, Instant::MIN, &trial, &look));
            let mut context = Context::from_waker(Waker::noop());
            for second in 0..seconds {
                each_second(second, &calls);
                assert!(watch.as_mut().poll(&mut context).is_pending());
                test_clock::advance(Instant::from_secs(second + 1).as_ticks());
            }
        }
        drop(lock);
        survivor.panicked([0; 4]);
        let past = survivor.begin(Cause::Panic).post_mortem;
        assert_eq!(u64::from(past.uptime_s), seconds - 1, "what was noted for a post-mortem");
        board.fed_s
    }

    #[test]
    fn it_is_fed_no_more_when_nobody_gets_the_storage() {
        assert!(fed(200, |_, _| {}).into_iter().eq(0..60));
    }

    #[test]
    fn a_card_that_works_may_be_slow() {
        let each_50_s = |second: u64, calls: &Cell<u32>| {
            if second.is_multiple_of(50) {
                calls.set(calls.get() + 1);
            }
        };
        assert!(fed(1000, each_50_s).into_iter().eq(0..900), "but not for ever");
    }
}
