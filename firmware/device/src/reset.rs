//! What outlives a reset: what led to it, and what the device was doing.

use core::sync::atomic::{AtomicU32, Ordering};

pub use postern_card::Cause;
use postern_card::{CALLS, Ended, MessageId, Network, PostMortem};

/// A device that ran for so long has started well: what resets it then does not follow from what
/// reset it before.
const STABLE_S: u32 = 600;
/// Seconds to wait at a start, by the crashes in a row before it. A device that always crashes must
/// not wear its card out, which notes each start.
const PAUSES_S: [u64; 7] = [0, 1, 5, 30, 60, 300, 600];
/// Crashes in a row with the same message in hand after which it is set aside.
pub(crate) const STRIKES: u32 = 3;

/// What a device was doing when it was reset, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It was at work.
    Running = 0x706F_7301,
    /// It had panicked.
    Panicked,
    /// The application wanted the reset.
    Restarted,
}

/// Where each thing is among a survivor's words.
mod word {
    use postern_card::CALLS;

    pub(super) const MARK: usize = 0;
    pub(super) const ENDED: usize = 1;
    pub(super) const STAGE: usize = 2;
    pub(super) const NETWORK: usize = 3;
    pub(super) const ADDRESS: usize = 4;
    pub(super) const UPTIME_S: usize = 5;
    pub(super) const CRASHES: usize = 6;
    pub(super) const STRIKES: usize = 7;
    pub(super) const CALLS_FROM: usize = 8;
    pub(super) const MESSAGE: usize = CALLS_FROM + CALLS;
    pub(super) const SUSPECT: usize = MESSAGE + 3;
    pub(super) const CHECKSUM: usize = SUSPECT + 3;
}

type Words = [u32; word::CHECKSUM + 1];

/// Memory that a reset leaves as it is, and that is lost without power. A board has one, in a
/// section that start-up does not clear, such as cortex-m-rt's `.uninit`: its words may be anything
/// then, which the checksum tells from what was written.
pub struct Survivor([AtomicU32; word::CHECKSUM + 1]);

/// What is known of the last reset, and where to note what the next one is to be known by.
#[derive(Clone, Copy)]
pub struct LastReset {
    /// What is known of it.
    pub post_mortem: PostMortem,
    /// What [`Survivor::entering`] was told last.
    pub stage: u32,
    pub(crate) survivor: &'static Survivor,
}

impl Survivor {
    /// Memory that says nothing.
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; word::CHECKSUM + 1])
    }

    /// What the device was doing when it was reset, if it had power since.
    pub fn mark(&self) -> Option<Mark> {
        let words = self.read()?;
        let all = [Mark::Running, Mark::Panicked, Mark::Restarted];
        all.into_iter().find(|mark| *mark as u32 == words[word::MARK])
    }

    /// Begins anew, after a reset by `cause`. To be called once, at the start.
    pub fn begin(&'static self, cause: Cause) -> LastReset {
        let old = self.read().unwrap_or_default();
        let mut past = PostMortem::new(cause);
        past.ended = Ended::from_code(old[word::ENDED] as u8);
        past.network = Network::decode(old[word::NETWORK] as u8, old[word::ADDRESS].into());
        past.uptime_s = old[word::UPTIME_S];
        past.calls = core::array::from_fn(|index| old[word::CALLS_FROM + index]);
        past.message = message_at(&old, word::MESSAGE);
        let mut new = Words::default();
        new[word::MARK] = Mark::Running as u32;
        let (mut suspect, mut strikes) = (message_at(&old, word::SUSPECT), old[word::STRIKES]);
        if past.is_crash() {
            let before = old[word::CRASHES];
            // What it waited at its start was not spent well.
            let stable_s = STABLE_S + pause_s(before) as u32;
            let before = if past.uptime_s < stable_s { before } else { 0 };
            past.crashes = before.saturating_add(1);
            if past.message.is_some() {
                strikes = if suspect == past.message { strikes.saturating_add(1) } else { 1 };
                suspect = past.message;
                past.strikes = strikes;
            }
        }
        new[word::CRASHES] = past.crashes;
        new[word::STRIKES] = strikes;
        put_message(&mut new, word::SUSPECT, suspect);
        self.write(new);
        LastReset { post_mortem: past, stage: old[word::STAGE], survivor: self }
    }

    /// Notes how far a start has got, by a number of the board's, which is not 0.
    pub fn entering(&self, stage: u32) {
        self.change(|words| words[word::STAGE] = stage);
    }

    /// Notes a panic, and the calls that had not returned, the last one first. Returns false if
    /// there is one already: what is done for a panic has panicked.
    pub fn panicked(&self, calls: [u32; CALLS]) -> bool {
        let is_first = self.mark() != Some(Mark::Panicked);
        if is_first {
            self.change(|words| {
                words[word::MARK] = Mark::Panicked as u32;
                words[word::CALLS_FROM..word::MESSAGE].copy_from_slice(&calls);
            });
        }
        is_first
    }

    /// Notes that the application wanted the reset that comes now.
    pub fn restarting(&self) {
        self.change(|words| words[word::MARK] = Mark::Restarted as u32);
    }

    /// Notes why the application wants to be reset.
    pub(crate) fn ending(&self, ended: Ended) {
        self.change(|words| words[word::ENDED] = ended as u32);
    }

    /// Notes for how long the device has run, and how far its network is up.
    pub(crate) fn running(&self, uptime_s: u32, network: Option<Network>) {
        let (network, address) = Network::encode(network);
        self.change(|words| {
            words[word::UPTIME_S] = uptime_s;
            words[word::NETWORK] = network.into();
            words[word::ADDRESS] = address.to_bits();
        });
    }

    /// Notes which message is in hand.
    pub(crate) fn sending(&self, message: Option<MessageId>) {
        self.change(|words| put_message(words, word::MESSAGE, message));
    }

    fn change(&self, change: impl FnOnce(&mut Words)) {
        // A panic that comes between is noted last, and writes a checksum of all.
        let mut words = self.words();
        change(&mut words);
        self.write(words);
    }

    fn words(&self) -> Words {
        core::array::from_fn(|index| self.0[index].load(Ordering::Relaxed))
    }

    fn read(&self) -> Option<Words> {
        let words = self.words();
        (words[word::CHECKSUM] == checksum(&words)).then_some(words)
    }

    fn write(&self, mut words: Words) {
        words[word::CHECKSUM] = checksum(&words);
        for (kept, word) in self.0.iter().zip(words) {
            kept.store(word, Ordering::Relaxed);
        }
    }
}

impl Default for Survivor {
    fn default() -> Self {
        Self::new()
    }
}

/// FNV-1a over words: what no power has left is told from what was written.
fn checksum(words: &Words) -> u32 {
    let covered = words.iter().take(word::CHECKSUM);
    covered.fold(0x811C_9DC5, |sum, word| (sum ^ word).wrapping_mul(0x0100_0193).rotate_left(7))
}

fn message_at(words: &Words, at: usize) -> Option<MessageId> {
    MessageId::from_words([words[at], words[at + 1], words[at + 2]])
}

fn put_message(words: &mut Words, at: usize, message: Option<MessageId>) {
    let octets = message.map_or([0; 3], MessageId::words);
    words[at..at + octets.len()].copy_from_slice(&octets);
}

/// Seconds to wait at the start after so many crashes in a row.
pub(crate) fn pause_s(crashes: u32) -> u64 {
    let last = PAUSES_S.len() - 1;
    let index = usize::try_from(crashes).map_or(last, |crashes| crashes.min(last));
    PAUSES_S[index]
}

#[cfg(test)]
mod tests {
    use postern_card::{MessageId, Network};

    use super::{Cause, Mark, STABLE_S, Survivor, pause_s, word};
    use crate::Ended;

    fn survivor() -> &'static Survivor {
        Box::leak(Box::new(Survivor::new()))
    }

    fn message(number: u32) -> Option<MessageId> {
        MessageId::from_words([1, number, 3])
    }

    #[test]
    fn memory_without_power_says_nothing() {
        let survivor = survivor();
        for pattern in [0, u32::MAX, 0xAAAA_AAAA, Mark::Running as u32] {
            survivor.0.iter().for_each(|word| word.store(pattern, super::Ordering::Relaxed));
            assert_eq!(survivor.mark(), None, "{pattern:x}");
        }
        let past = survivor.begin(Cause::Power).post_mortem;
        assert_eq!((past.uptime_s, past.crashes, past.message), (0, 0, None));
        assert_eq!(survivor.mark(), Some(Mark::Running));
        let word = &survivor.0[word::CRASHES];
        word.store(word.load(super::Ordering::Relaxed) ^ 1 << 9, super::Ordering::Relaxed);
        assert_eq!(survivor.mark(), None, "one bit was lost");
    }

    #[test]
    fn what_was_going_on_is_known_after_a_reset() {
        let survivor = survivor();
        survivor.begin(Cause::Power);
        let network = Some(Network::Up([192, 0, 2, 7].into()));
        survivor.running(77, network);
        survivor.sending(message(5));
        survivor.entering(2);
        assert!(survivor.panicked([4, 3, 2, 1]));
        assert!(!survivor.panicked([9; 4]), "the first panic is the one to know of");
        assert_eq!(survivor.mark(), Some(Mark::Panicked));
        let last = survivor.begin(Cause::Panic);
        assert_eq!(last.stage, 2);
        let past = last.post_mortem;
        assert_eq!((past.uptime_s, past.network, past.calls), (77, network, [4, 3, 2, 1]));
        assert_eq!((past.message, past.strikes, past.crashes), (message(5), 1, 1));
        survivor.ending(Ended::Deaf);
        survivor.restarting();
        assert_eq!(survivor.mark(), Some(Mark::Restarted));
        let last = survivor.begin(Cause::Restart);
        assert_eq!(last.stage, 0);
        let past = last.post_mortem;
        assert_eq!((past.ended, past.uptime_s, past.message), (Some(Ended::Deaf), 0, None));
        assert_eq!((past.calls, past.crashes, past.strikes), ([0; 4], 0, 0));
    }

    #[test]
    fn crashes_in_a_row_are_counted_until_one_start_went_well() {
        let survivor = survivor();
        let crash_after = |uptime_s| {
            survivor.running(uptime_s, None);
            survivor.begin(Cause::Watchdog).post_mortem.crashes
        };
        survivor.begin(Cause::Power);
        assert_eq!([5, 5, STABLE_S - 1].map(crash_after), [1, 2, 3]);
        // The last start waited for 30 s first.
        assert_eq!([STABLE_S + 29, STABLE_S + 60, 5].map(crash_after), [4, 1, 2]);
        survivor.begin(Cause::Restart);
        assert_eq!(crash_after(5), 1);
        let pauses = [0, 1, 2, 3, 6, 7, u32::MAX].map(pause_s);
        assert_eq!(pauses, [0, 1, 5, 30, 600, 600, 600]);
    }

    #[test]
    fn a_message_is_suspected_while_it_is_in_hand_each_time() {
        let survivor = survivor();
        survivor.begin(Cause::Power);
        let crash_with = |number: u32| {
            // An hour between: the next hop was away.
            survivor.running(3600, None);
            survivor.sending(message(number));
            survivor.begin(Cause::Panic).post_mortem.strikes
        };
        assert_eq!([1, 1].map(crash_with), [1, 2]);
        // Without one in hand, or with a reset of another kind between, it stays suspected.
        assert_eq!(survivor.begin(Cause::Panic).post_mortem.strikes, 0);
        assert_eq!(survivor.begin(Cause::Restart).post_mortem.strikes, 0);
        assert_eq!([1, 2, 1].map(crash_with), [3, 1, 1]);
    }
}
