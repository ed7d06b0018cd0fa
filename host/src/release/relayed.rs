//! What all turns of the relay found: whether it takes mail from somebody, and whom it refuses.

use std::collections::HashSet;
use std::time::Duration;

use postern_core::time::Instant;

use super::verdict::REFUSED_IN_A_ROW;

/// For how long a relay that took somebody's mail is trusted not to refuse all.
const LATELY: Duration = Duration::from_secs(24 * 60 * 60);
/// Turns in a row that it refused, of whomever, behind which it is left alone.
const TURNS_IN_A_ROW: u32 = 20;

/// Whom a relay took mail from, and whom it refused since.
#[derive(Debug)]
pub(super) struct Senders<H> {
    relay: Option<H>,
    taken: Option<Instant>,
    /// No more than tell that it is not one sender's fault.
    refused: HashSet<Vec<u8>>,
    turns: u32,
}

impl<H> Default for Senders<H> {
    fn default() -> Self {
        Self { relay: None, taken: None, refused: HashSet::new(), turns: 0 }
    }
}

impl<H: Clone + Eq> Senders<H> {
    fn of(&mut self, relay: &H) -> &mut Self {
        if self.relay.as_ref() != Some(relay) {
            *self = Self { relay: Some(relay.clone()), ..Self::default() };
        }
        self
    }

    /// `relay` has accepted a MAIL.
    pub(super) fn took(&mut self, relay: &H, now: Instant) {
        *self = Self { relay: Some(relay.clone()), taken: Some(now), ..Self::default() };
    }

    /// `relay` has refused mail of `sender`; whether that is his fault: it took another's lately,
    /// and has refused few since.
    pub(super) fn refused(&mut self, relay: &H, sender: &[u8], now: Instant) -> bool {
        let known = self.of(relay);
        // Many relays let nobody send as nobody.
        if !sender.is_empty() && known.refused.len() < REFUSED_IN_A_ROW {
            known.refused.insert(sender.to_vec());
        }
        let is_lately = known.taken.is_some_and(|taken| now < taken.after(LATELY));
        is_lately && known.refused.len() < REFUSED_IN_A_ROW
    }

    /// A turn has ended since `relay` refused its mail, and nobody's, too; whether no other is to
    /// be tried for now. If it were one sender's, his mail would keep that of all others.
    pub(super) fn refused_turn(&mut self, relay: &H) -> bool {
        let known = self.of(relay);
        known.turns += 1;
        let are_all = known.refused.len() >= REFUSED_IN_A_ROW || known.turns >= TURNS_IN_A_ROW;
        if are_all {
            // Behind the pause others may come first.
            *known = Self { relay: Some(relay.clone()), ..Self::default() };
        }
        are_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Instant {
        Instant::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_sender_is_at_fault_where_others_were_taken_lately() {
        let mut senders = Senders::default();
        assert!(!senders.refused(&"a", b"x", at(0)), "nothing is known of it");
        senders.took(&"a", at(0));
        assert!((0..100).all(|_| senders.refused(&"a", b"x", at(23))), "it is one");
        assert!(senders.refused(&"a", b"y", at(23)));
        assert!(senders.refused(&"a", b"", at(23)), "many let nobody send as nobody");
        assert!(!senders.refused(&"a", b"z", at(23)), "it may be all");
        senders.took(&"a", at(23));
        assert!(senders.refused(&"a", b"z", at(24)));
        assert!(!senders.refused(&"a", b"z", at(47)), "that was long ago");
        assert!(!senders.refused(&"b", b"z", at(24)), "it is another");
    }

    #[test]
    fn it_is_left_alone_once_it_refuses_many() {
        let mut senders = Senders::default();
        for (sender, expected) in [(b"x", false), (b"x", false), (b"y", false), (b"z", true)] {
            senders.refused(&"a", sender, at(0));
            assert_eq!(senders.refused_turn(&"a"), expected);
        }
        assert!((1..TURNS_IN_A_ROW).all(|_| !senders.refused_turn(&"a")), "others come first");
        assert!(senders.refused_turn(&"a"));
    }
}
