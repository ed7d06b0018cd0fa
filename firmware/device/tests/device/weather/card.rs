//! What fails in the device itself: its card, and its program.

use embassy_time::{Duration, Instant, Timer};

use super::story::Story;
use crate::sim::card::Call;

const MINUTE_S: u64 = 60;
/// Seconds after which a card that could not be used, or hung, is tried again.
const AGAIN_S: u64 = 300;
/// Blocks of a card that are hurt for good, at most: with more, both places of something that is
/// there twice may be.
const HURT_MAX: u64 = 4;
/// Where the program was when it panicked.
const CALL: u32 = 0x1234;

impl Story {
    pub async fn pull_card_out(&self) {
        self.world.card.pull_out(true);
        Timer::after_secs(self.between(1, 20 * MINUTE_S)).await;
        self.world.card.pull_out(false);
        self.count("card was out");
    }

    pub async fn slow_card(&self) {
        self.world.slow_us.set(self.between(1_000, 150_000));
        Timer::after_secs(self.between(MINUTE_S, 20 * MINUTE_S)).await;
        self.world.slow_us.set(0);
        self.count("card was slow");
    }

    pub async fn hang(&self) {
        self.world.hangs.set(true);
        Timer::after_secs(self.between(5, 10 * MINUTE_S)).await;
        self.world.hangs.set(false);
        // What hung at the last moment is noticed, and tried again.
        Timer::after_secs(2 * AGAIN_S).await;
        self.count("card hung");
    }

    /// Some calls of the card fail, and others do not.
    pub async fn fail_calls(&self) {
        let (begun, before) = (Instant::now(), self.world.card.failed());
        for _ in 0..self.between(2, 12) {
            let call = [Call::Read, Call::Write, Call::Flush][self.below(3) as usize];
            self.world.card.fail(call, self.below(80), self.between(1, 12));
            Timer::after_secs(self.between(MINUTE_S, 8 * MINUTE_S)).await;
            if !self.world.card.fail_no_more() {
                self.count("calls of the card failed");
            }
        }
        Timer::after_secs(AGAIN_S).await;
        // What could not be written down may come again: one message for each call, at most.
        let end = Instant::now() + Duration::from_secs(AGAIN_S);
        let failed = self.world.card.failed() - before;
        self.ledger.borrow_mut().excuse(begun, end, failed);
    }

    /// A block can't be read for a while.
    pub async fn lose_contact(&self) {
        let block = self.any_block();
        self.world.card.make_unreadable(block);
        self.hurt(&format!("block {block} can't be read"), "block without contact");
        Timer::after_secs(self.between(MINUTE_S, 50 * MINUTE_S)).await;
        self.world.card.make_readable(block);
        Timer::after_secs(AGAIN_S).await;
    }

    /// One bit of a block is another from now on.
    pub fn rot(&self) {
        let block = self.any_block();
        if self.may_hurt() {
            self.world.card.rot(block, self.below(4096) as usize);
            self.hurt(&format!("block {block} rots"), "bit rotted");
        }
    }

    /// A block takes no content any more.
    pub fn wear(&self) {
        let block = self.any_block();
        if self.may_hurt() {
            self.world.card.make_unwritable(block);
            self.hurt(&format!("block {block} is worn"), "block worn");
        }
    }

    /// The program panics.
    pub async fn panic(&self) {
        for _ in 0..self.between(1, 2) {
            if self.is_on.get() {
                self.note("panic");
                self.world.panic(CALL);
                self.count("panic");
            }
            Timer::after_secs(self.between(1, 20 * MINUTE_S)).await;
        }
    }

    fn any_block(&self) -> u32 {
        let written = self.world.card.written();
        written[self.below(written.len() as u64) as usize]
    }

    fn may_hurt(&self) -> bool {
        self.hurt_for_good.replace(self.hurt_for_good.get() + 1) < HURT_MAX
    }

    fn hurt(&self, what: &str, kind: &str) {
        self.note(what);
        self.count(kind);
        self.ledger.borrow_mut().hurt += 1;
    }
}
