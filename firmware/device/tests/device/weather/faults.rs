//! What fails, and for how long.

use embassy_futures::select::{Either, select};
use embassy_time::Timer;

use super::story::Story;
use crate::sim::link::Impairment;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The cable has a bad contact.
    Flaps,
    /// It is out.
    Unplugged,
    /// Frames get lost, doubled, late, damaged.
    BadLink,
    /// No frame comes through.
    Outage,
    /// Power fails while the card is being written.
    CutAtWrite,
    /// Power fails.
    Cut,
}

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 3600;

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::Flaps, Self::Unplugged, Self::BadLink, Self::Outage, Self::CutAtWrite, Self::Cut];
}

impl Story {
    /// Lets something fail, until it is well again.
    pub async fn happen(&self, fault: Fault) {
        match fault {
            Fault::Flaps => self.flap().await,
            Fault::Unplugged => self.unplug().await,
            Fault::BadLink => self.spoil().await,
            Fault::Outage => self.lose_all().await,
            Fault::CutAtWrite => self.cut_at_a_write().await,
            Fault::Cut => self.cut().await,
        }
    }

    /// Lets time pass: mostly minutes, seldom hours.
    async fn for_a_while(&self) {
        let most = if self.below(6) == 0 { 8 * HOUR_S } else { 50 * MINUTE_S };
        Timer::after_secs(self.between(30, most)).await;
    }

    async fn flap(&self) {
        for _ in 0..self.between(1, 8) {
            self.world.cable.link(false);
            Timer::after_millis(self.between(100, 70_000)).await;
            self.world.cable.link(true);
            self.count("link flapped");
            Timer::after_millis(self.between(100, 300_000)).await;
        }
    }

    async fn unplug(&self) {
        self.world.cable.link(false);
        self.for_a_while().await;
        self.world.cable.link(true);
        self.count("link was down");
    }

    async fn spoil(&self) {
        self.world.cable.impair(Impairment {
            lost: self.below(20),
            doubled: self.below(15),
            overtaken: self.below(30),
            corrupted: self.below(10),
        });
        self.for_a_while().await;
        self.world.cable.impair(Impairment::default());
        self.count("link was bad");
    }

    async fn lose_all(&self) {
        self.world.cable.impair(Impairment { lost: 100, ..Impairment::default() });
        self.for_a_while().await;
        self.world.cable.impair(Impairment::default());
        self.count("nothing came through");
    }

    async fn cut_at_a_write(&self) {
        self.world.card.cut_at(self.below(60), self.below(1 << 32));
        match select(self.power_fails.wait(), Timer::after_secs(2 * HOUR_S)).await {
            Either::First(()) => {
                self.count("power cut at a write");
                self.without_power().await;
            }
            Either::Second(()) => drop(self.world.card.power_on()),
        }
    }

    async fn cut(&self) {
        if self.is_on.get() {
            self.world.card.cut();
            self.count("power cut");
            self.without_power().await;
        }
    }

    async fn without_power(&self) {
        self.is_on.set(false);
        self.world.switch_off();
        if self.below(2) == 0 {
            self.for_a_while().await
        } else {
            Timer::after_secs(1).await
        }
        self.world.card.power_on();
        self.is_on.set(true);
        self.world.power_cycle();
    }
}
