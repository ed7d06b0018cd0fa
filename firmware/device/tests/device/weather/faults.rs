//! What fails, and for how long.

use std::cell::Cell;

use embassy_futures::select::{Either, select};
use embassy_net::Ipv4Address;
use embassy_time::{Duration, Timer, with_timeout};
use postern_card::settings::Protocol;

use super::servers::{Names, Taking, Time};
use super::story::Story;
use crate::sim::hop::Hop;
use crate::sim::link::Impairment;
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{DEVICE, HOLDER_PORT, HOP_PORT};

/// Where the device is in another network.
const ELSEWHERE: Ipv4Address = Ipv4Address::new(192, 0, 2, 77);

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
    /// The DHCP server answers nobody.
    NoLeases,
    /// It refuses what it has offered.
    LeasesRefused,
    /// It has another address for the device, perhaps since the network is another.
    Moved,
    Names(Names),
    Time(Time),
    Taking(Taking),
    /// The next hop is not there.
    HopAway,
    /// It is there, and says nothing.
    HopMute,
    /// It thinks for minutes before each verdict.
    HopPonders,
    /// It takes messages, and does not say so.
    HopSilent,
    HolderAway,
    HolderRefuses,
    /// The card is out.
    CardOut,
    CardSlow,
    /// A call of it never ends.
    CardHangs,
    /// Some of its calls fail.
    CallsFail,
    /// A block can't be read for a while.
    NoContact,
    /// A bit of a block rots.
    Rot,
    /// A block can't be written any more.
    Wear,
    /// The program panics.
    Panic,
}

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 3600;

const DAY_S: i64 = 24 * 3600;

impl Fault {
    pub const ALL: [Self; 36] = [
        Self::Flaps,
        Self::Unplugged,
        Self::BadLink,
        Self::Outage,
        Self::CutAtWrite,
        Self::Cut,
        Self::NoLeases,
        Self::LeasesRefused,
        Self::Moved,
        Self::Names(Names::Silent),
        Self::Names(Names::Fail),
        Self::Names(Names::Unknown),
        Self::Names(Names::Lie),
        Self::Time(Time::Silent),
        Self::Time(Time::Kiss),
        Self::Time(Time::Ahead(5 * 365 * DAY_S)),
        Self::Time(Time::Ahead(-DAY_S)),
        Self::Taking(Taking::Busy),
        Self::Taking(Taking::DefersRecipients),
        Self::Taking(Taking::DefersMessages),
        Self::Taking(Taking::Refuses),
        Self::Taking(Taking::BreaksOff),
        Self::HopAway,
        Self::HopMute,
        Self::HopPonders,
        Self::HopSilent,
        Self::HolderAway,
        Self::HolderRefuses,
        Self::CardOut,
        Self::CardSlow,
        Self::CardHangs,
        Self::CallsFail,
        Self::NoContact,
        Self::Rot,
        Self::Wear,
        Self::Panic,
    ];

    /// What it is counted as.
    pub fn name(self) -> String {
        format!("fault: {self:?}")
    }
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
            Fault::NoLeases => self.lease_nothing().await,
            Fault::LeasesRefused => self.refuse_leases().await,
            Fault::Moved => self.move_it().await,
            Fault::Names(names) => self.while_it_is(&self.moods.names, names, Names::Well).await,
            Fault::Time(time) => self.lie(time).await,
            Fault::Taking(taking) => {
                self.while_it_is(&self.moods.taking, taking, Taking::Well).await;
            }
            Fault::HopAway | Fault::HopMute => self.leave(fault == Fault::HopMute).await,
            Fault::HopPonders => {
                let seconds = Duration::from_secs(self.between(30, 580));
                self.count("hop ponders");
                self.while_it_is(&self.hop.ponders, seconds, Duration::MIN).await;
            }
            Fault::HopSilent => self.while_it_is(&self.hop.is_silent, true, false).await,
            Fault::HolderAway => self.leave_holder().await,
            Fault::HolderRefuses => self.while_it_is(&self.moods.holder, true, false).await,
            Fault::CardOut => self.pull_card_out().await,
            Fault::CardSlow => self.slow_card().await,
            Fault::CardHangs => self.hang().await,
            Fault::CallsFail => self.fail_calls().await,
            Fault::NoContact => self.lose_contact().await,
            Fault::Rot => self.rot(),
            Fault::Wear => self.wear(),
            Fault::Panic => self.panic().await,
        }
    }

    /// Lets time pass: mostly minutes, seldom hours.
    async fn for_a_while(&self) {
        let most = if self.below(6) == 0 { 8 * HOUR_S } else { 50 * MINUTE_S };
        Timer::after_secs(self.between(30, most)).await;
    }

    async fn while_it_is<T>(&self, mood: &Cell<T>, bad: T, well: T) {
        mood.set(bad);
        self.for_a_while().await;
        mood.set(well);
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

    async fn lease_nothing(&self) {
        let before = self.dhcp.ignored.get();
        self.while_it_is(&self.dhcp.answers, false, true).await;
        self.add("DHCP not answered", u64::from(self.dhcp.ignored.get() - before));
    }

    async fn refuse_leases(&self) {
        let before = self.dhcp.refused.get();
        self.while_it_is(&self.dhcp.keeps_offers, false, true).await;
        self.add("lease refused", u64::from(self.dhcp.refused.get() - before));
    }

    async fn move_it(&self) {
        let there = if self.dhcp.address.get() == DEVICE { ELSEWHERE } else { DEVICE };
        self.dhcp.address.set(there);
        self.dhcp.remembers.set(self.below(2) == 0);
        self.flap().await;
        self.dhcp.remembers.set(true);
        self.count("another address");
    }

    /// A time that is believed expires mail behind an hour; no lie lasts so long.
    async fn lie(&self, time: Time) {
        self.moods.time.set(time);
        Timer::after_secs(self.between(MINUTE_S, 50 * MINUTE_S)).await;
        self.moods.time.set(Time::Well);
    }

    /// The next hop goes, or says nothing; when it is back, it may ask for its mail.
    async fn leave(&self, is_mute: bool) {
        let Some(hop) = self.hop_here.take() else { return };
        hop.leave(&self.world);
        if is_mute {
            let mute = Hop::arrive_mute(&self.world, HOP_PORT);
            self.for_a_while().await;
            mute.leave(&self.world);
            self.count("hop was mute");
        } else {
            self.for_a_while().await;
            self.count("hop was away");
        }
        let hop = Hop::arrive(&self.world, HOP_PORT, self.protocol, &self.hop);
        self.hop_here.replace(Some(hop));
        if self.below(2) == 0 {
            let asked = with_timeout(Duration::from_secs(60), self.ask()).await;
            self.count(if asked.is_ok_and(|asked| asked.is_ok()) { "asked" } else { "not asked" });
        }
    }

    async fn ask(&self) -> Result<(), Gone> {
        let mut talk = Talk::connect(&self.world).await.map_err(|_| Gone)?;
        for words in ["", "EHLO hop.example\r\n", "ETRN branch\r\n", "QUIT\r\n"] {
            if !talk.say(words).await?.starts_with('2') {
                return Err(Gone);
            }
        }
        Ok(())
    }

    async fn leave_holder(&self) {
        let Some(holder) = self.holder_here.take() else { return };
        holder.leave(&self.world);
        self.for_a_while().await;
        let holder = Hop::arrive(&self.world, HOLDER_PORT, Protocol::Smtp, &self.holder);
        self.holder_here.replace(Some(holder));
        self.count("holder was away");
    }
}
