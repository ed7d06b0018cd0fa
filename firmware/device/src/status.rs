//! What a person can see from outside: one status at a time, and how a LED shows it.
//!
//! A LED that is lit most of the time says that the device works, one that is dark most of the time
//! that it can't, and its flashes are to be counted.

use postern_card::Network;

/// How things stand, the worst first: what comes first is shown, since it keeps the others from
/// being seen to, or seen at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Status {
    /// The card is being read, or the device waits after a crash. Lit.
    Starting,
    /// There is a card, but none of ours, or a damaged one. Four flashes.
    CardUseless,
    /// There is no card, or it does not answer. Three flashes.
    NoCard,
    /// The network has no link. One flash.
    NoLink,
    /// There is a link, and no address yet. Two flashes.
    NoAddress,
    /// Mail has failed and waits for a person. Twice a second.
    MailFailed,
    /// Mail waits for the next hop. Lit, with a wink every two seconds.
    MailWaits,
    /// All is well. One second lit, one second dark.
    Well,
}

/// Milliseconds that a LED is lit or dark at least.
pub(crate) const SLOT_MS: u64 = 125;
/// Slots after which a pattern begins again.
const SLOTS: u64 = 32;

impl Status {
    /// When the LED is lit: bit n for the nth eighth of a second, of four seconds that repeat.
    pub const fn pattern(self) -> u32 {
        match self {
            Self::Starting => !0,
            Self::CardUseless => 0x0000_3333,
            Self::NoCard => 0x0000_0333,
            Self::NoLink => 0x0000_0003,
            Self::NoAddress => 0x0000_0033,
            Self::MailFailed => 0x3333_3333,
            Self::MailWaits => 0x3FFF_3FFF,
            Self::Well => 0x00FF_00FF,
        }
    }

    /// Whether the LED is lit in slot number `slot`.
    pub(crate) fn is_lit(self, slot: u64) -> bool {
        self.pattern() >> (slot % SLOTS) & 1 == 1
    }

    /// The first slot behind `slot` in which that is otherwise, or in which the pattern has been
    /// gone through.
    pub(crate) fn next_change(self, slot: u64) -> u64 {
        let is_otherwise = |next: &u64| self.is_lit(*next) != self.is_lit(slot);
        (slot + 1..slot + SLOTS).find(is_otherwise).unwrap_or(slot + SLOTS)
    }
}

/// What is known of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CardCondition {
    Starting,
    None,
    Useless,
    /// It is mounted, with so much mail.
    Mounted {
        waiting: u32,
        failed: u32,
    },
}

/// All that a status is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) card: CardCondition,
    /// None before it is started.
    pub(crate) network: Option<Network>,
    /// Whether the storage can be used; if it can't for long, the watchdog is fed no more.
    pub(crate) is_healthy: bool,
}

impl Condition {
    /// That of a device whose card is being read.
    pub(crate) const STARTING: Self =
        Self { card: CardCondition::Starting, network: None, is_healthy: true };

    pub(crate) fn status(&self) -> Status {
        match (self.card, self.network) {
            (CardCondition::Useless, _) => Status::CardUseless,
            (CardCondition::None, _) => Status::NoCard,
            (CardCondition::Starting, _) | (_, None) => Status::Starting,
            (_, Some(Network::NoLink)) => Status::NoLink,
            (_, Some(Network::NoAddress)) => Status::NoAddress,
            (CardCondition::Mounted { failed: 1.., .. }, _) => Status::MailFailed,
            (CardCondition::Mounted { waiting: 1.., .. }, _) => Status::MailWaits,
            (CardCondition::Mounted { .. }, _) => Status::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_card::Network;

    use super::{CardCondition, Condition, SLOTS, Status};

    const ALL: [Status; 8] = [
        Status::Starting,
        Status::CardUseless,
        Status::NoCard,
        Status::NoLink,
        Status::NoAddress,
        Status::MailFailed,
        Status::MailWaits,
        Status::Well,
    ];

    /// How long the LED is lit and dark in turn, in eighths of a second, from the first slot on.
    fn spans(status: Status) -> Vec<u64> {
        let mut changes = vec![0];
        while changes[changes.len() - 1] < SLOTS {
            changes.push(status.next_change(changes[changes.len() - 1]));
        }
        changes.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn a_person_can_tell_them_apart() {
        assert_eq!(spans(Status::Starting), [32]);
        assert_eq!(spans(Status::NoLink), [2, 30]);
        assert_eq!(spans(Status::NoAddress), [2, 2, 2, 26]);
        assert_eq!(spans(Status::NoCard), [2, 2, 2, 2, 2, 22]);
        assert_eq!(spans(Status::CardUseless), [2, 2, 2, 2, 2, 2, 2, 18]);
        assert_eq!(spans(Status::MailFailed), [2; 16]);
        assert_eq!(spans(Status::MailWaits), [14, 2, 14, 2]);
        assert_eq!(spans(Status::Well), [8, 8, 8, 8]);
        for status in ALL {
            let slots = (0..SLOTS).filter(|slot| status.is_lit(*slot)).count() as u32;
            assert_eq!(slots, status.pattern().count_ones());
            assert_eq!(status.is_lit(SLOTS * 1000 + 3), status.is_lit(3));
        }
    }

    #[test]
    fn what_hinders_most_is_shown() {
        let up = Network::Up([192, 0, 2, 7].into());
        let mounted = |waiting, failed| CardCondition::Mounted { waiting, failed };
        let shown = |card, network| Condition { card, network, is_healthy: true }.status();
        let no_link = Some(Network::NoLink);
        assert_eq!(shown(CardCondition::Starting, None), Status::Starting);
        assert_eq!(shown(CardCondition::Useless, no_link), Status::CardUseless);
        assert_eq!(shown(CardCondition::None, no_link), Status::NoCard);
        assert_eq!(shown(mounted(9, 9), no_link), Status::NoLink);
        assert_eq!(shown(mounted(9, 9), Some(Network::NoAddress)), Status::NoAddress);
        assert_eq!(shown(mounted(9, 9), Some(up)), Status::MailFailed);
        assert_eq!(shown(mounted(9, 0), Some(up)), Status::MailWaits);
        assert_eq!(shown(mounted(0, 0), Some(up)), Status::Well);
    }
}
