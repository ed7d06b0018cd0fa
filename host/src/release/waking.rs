//! Which hosts were woken, and when one is woken again.
//!
//! A host that sleeps is woken by a packet, and is tried while it starts. It goes back to sleep by
//! itself, so mail that comes for it is collected: without somebody who asks, it is woken no
//! more often than its operator wants.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use postern_core::ladder::TRY_INTERVAL;
use postern_core::time::Instant;

use crate::policy::Wake;

/// Boots without a connection before a person is told, and only the timer wakes it.
const BOOTS_IN_VAIN: u32 = 3;

/// The hosts that were woken.
#[derive(Debug)]
pub(super) struct Waking<H> {
    woken: HashMap<H, Woken>,
}

#[derive(Debug)]
struct Woken {
    at: Instant,
    /// It has its time to start, and was not reached yet.
    starts: bool,
    /// Boots since it was last reached that led to no connection.
    in_vain: u32,
    /// The highest epoch of a domain that it was asked for in.
    asked: Option<u64>,
}

/// What a failed try means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// It still starts: it is tried again at this time.
    Starts(Instant),
    /// It sleeps, or did not start: mail is collected for so long.
    Collect(Duration),
    /// It has not started too often: a person is to be told.
    Alarm,
    /// No more than of a host that is not woken.
    Away,
}

impl<H: Clone + Eq + Hash> Waking<H> {
    pub(super) fn new() -> Self {
        Self { woken: HashMap::new() }
    }

    /// Whether a turn that is about to connect to `host` sends it the packet. `asked`: the epoch of
    /// its domain, whose mail somebody asked for; each asking may wake it once. Epochs are numbered
    /// over all domains: those that were asked for together are one asking.
    pub(super) fn wakes(
        &mut self,
        host: &H,
        wake: &Wake,
        asked: Option<u64>,
        now: Instant,
    ) -> bool {
        let Some(woken) = self.woken.get_mut(host) else {
            let woken = Woken { at: now, starts: true, in_vain: 0, asked };
            self.woken.insert(host.clone(), woken);
            return true;
        };
        let is_new = asked > woken.asked;
        woken.asked = asked.max(woken.asked);
        if woken.starts && now < woken.at.after(wake.patience) {
            // One packet may be lost.
            return true;
        }
        let begins = is_new || now >= woken.at.after(wake.at_most);
        if begins {
            (woken.at, woken.starts) = (now, true);
        }
        begins
    }

    /// Whether `host` has its time to start now.
    pub(super) fn starts(&self, host: &H) -> bool {
        self.woken.get(host).is_some_and(|woken| woken.starts)
    }

    /// A turn could not connect to `host`.
    pub(super) fn missed(&mut self, host: &H, wake: &Wake, now: Instant) -> Missed {
        let Some(woken) = self.woken.get_mut(host) else { return Missed::Away };
        let again = now.after(TRY_INTERVAL);
        if woken.starts && again <= woken.at.after(wake.patience) {
            return Missed::Starts(again);
        }
        if std::mem::take(&mut woken.starts) {
            woken.in_vain += 1;
            if woken.in_vain == BOOTS_IN_VAIN {
                return Missed::Alarm;
            }
        }
        let left = woken.at.after(wake.at_most).millis_since(now);
        if woken.in_vain >= BOOTS_IN_VAIN || left == 0 {
            return Missed::Away;
        }
        Missed::Collect(Duration::from_millis(left))
    }

    /// Nothing is delivered to `host` any more.
    pub(super) fn forget(&mut self, host: &H) {
        self.woken.remove(host);
    }

    /// `host` took a connection; whether it had not, for so long that a person was told.
    pub(super) fn reached(&mut self, host: &H) -> bool {
        let Some(woken) = self.woken.get_mut(host) else { return false };
        woken.starts = false;
        std::mem::take(&mut woken.in_vain) >= BOOTS_IN_VAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "mail.client.example";
    const PATIENCE: u64 = 180;
    const AT_MOST: u64 = 900;

    fn wake() -> Wake {
        Wake {
            address: [2, 0, 0, 0, 0, 1],
            to: ([127, 0, 0, 1], 9).into(),
            at_most: Duration::from_secs(AT_MOST),
            patience: Duration::from_secs(PATIENCE),
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// A host, and what befalls it.
    struct Night {
        waking: Waking<&'static str>,
        boots: Vec<u64>,
        now: u64,
    }

    impl Night {
        fn new() -> Self {
            Self { waking: Waking::new(), boots: Vec::new(), now: 0 }
        }

        /// A turn that reaches nobody; what it comes to.
        fn missed(&mut self, asked: Option<u64>) -> Missed {
            let sent = self.waking.wakes(&HOST, &wake(), asked, at(self.now));
            let boot = self.waking.woken[HOST].at;
            if sent && boot == at(self.now) {
                self.boots.push(self.now);
            }
            self.waking.missed(&HOST, &wake(), at(self.now))
        }

        /// Tries until it is not tried any more.
        fn boot(&mut self, asked: Option<u64>) -> Missed {
            loop {
                match self.missed(asked) {
                    Missed::Starts(again) => self.now = again.millis_since(at(0)) / 1000,
                    end => return end,
                }
            }
        }
    }

    #[test]
    fn a_host_has_its_time_to_start() {
        let mut night = Night::new();
        let collect = Missed::Collect(Duration::from_secs(AT_MOST - PATIENCE));
        assert_eq!(night.boot(None), collect);
        assert_eq!((night.now, night.boots.len()), (PATIENCE, 1));
        assert!(!night.waking.starts(&HOST));
    }

    /// Mail that comes each second, for ever: it is collected.
    #[test]
    fn spam_boots_nothing_more_often_than_it_may() {
        let mut night = Night::new();
        while night.now < 8 * 3600 {
            match night.missed(None) {
                Missed::Starts(again) => assert_eq!(again, at(night.now + 5)),
                // The domain is put off, and nevertheless tried.
                Missed::Collect(_) | Missed::Alarm | Missed::Away => {}
            }
            night.now += 1;
        }
        let apart: Vec<_> = night.boots.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(apart.iter().all(|apart| *apart >= AT_MOST), "{apart:?}");
        assert_eq!(night.boots.len(), 32, "and as often as it may");
    }

    #[test]
    fn who_asks_wakes_it_at_once_and_once() {
        let mut night = Night::new();
        night.boot(None);
        night.now += 60;
        night.boot(None);
        assert_eq!(night.boots.len(), 1, "it is collected");
        night.boot(Some(7));
        assert_eq!(night.boots.len(), 2);
        night.boot(Some(7));
        assert_eq!(night.boots.len(), 2, "the same asking");
        night.boot(Some(6));
        assert_eq!(night.boots.len(), 2, "another domain of the same asking");
        assert!(!night.waking.reached(&HOST));
        night.boot(Some(8));
        assert_eq!(night.boots.len(), 3, "it slept again, and he asks again");
    }

    #[test]
    fn three_boots_in_vain_are_told_once_until_it_is_reached() {
        let mut night = Night::new();
        let mut ends = Vec::new();
        for _ in 0..5 {
            ends.push(night.boot(None));
            night.now = night.boots.last().expect("it booted") + AT_MOST;
        }
        let collect = Missed::Collect(Duration::from_secs(AT_MOST - PATIENCE));
        let expected = [collect, collect, Missed::Alarm, Missed::Away, Missed::Away];
        assert_eq!(ends, expected);
        assert!(night.waking.reached(&HOST), "all is well again");
        assert!(!night.waking.reached(&HOST));
        assert_eq!(night.boot(None), collect);
    }

    #[test]
    fn a_host_that_is_up_is_tried_without_a_packet_while_mail_is_collected() {
        let mut night = Night::new();
        night.missed(None);
        night.waking.reached(&HOST);
        night.now = 400;
        assert!(!night.waking.wakes(&HOST, &wake(), None, at(400)));
        let left = Duration::from_secs(AT_MOST - 400);
        assert_eq!(night.waking.missed(&HOST, &wake(), at(400)), Missed::Collect(left));
        assert_eq!(night.waking.missed(&HOST, &wake(), at(AT_MOST)), Missed::Away);
    }
}
