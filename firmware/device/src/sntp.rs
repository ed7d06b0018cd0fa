//! SNTP (RFC 5905 §14): asking for the time of day, and which answers are sound.

use core::future::pending;
use core::net::SocketAddr;

use embassy_time::Timer;
use postern_card::Card;

use crate::log::{info, warning};
use crate::net::Net;
use crate::shared::{Shared, SharedDatagrams};
use crate::time_of_day::{TRUST_AFTER_S, Worth};

const PORT: u16 = 123;
/// Octets of a packet without extensions (RFC 5905 §7.3).
const PACKET: usize = 48;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// Seconds between two questions once the time is trusted.
const EVERY_S: u64 = 6 * 3600;
/// Seconds until the second question after an answer that jumps: the shortest that a client may
/// leave between two (RFC 4330 §10).
const CONFIRM_S: u64 = 16;
/// Seconds after the first question in vain. Each further one doubles them, up to an hour, as do
/// answers that do not agree: a server that says that it is asked too often (RFC 5905 §7.4) is
/// asked less.
const AGAIN_S: u64 = 60;
const AGAIN_MAX_S: u64 = 3600;

/// Asks for the time of day, at boot and now and then.
pub(crate) async fn run<C: Card>(
    shared: &Shared<'_, C>,
    net: Net<'_>,
    datagrams: &SharedDatagrams<'_>,
) -> ! {
    if shared.settings.time_server.is_empty() {
        pending::<()>().await;
    }
    let (mut again, mut confirm) = (Growing(AGAIN_S), Growing(CONFIRM_S));
    loop {
        net.up().await;
        let pause_s = match ask(shared, net, datagrams).await {
            Some(unix_s) => {
                again = Growing(AGAIN_S);
                judge(shared, unix_s, &mut confirm).await
            }
            None => again.next(),
        };
        Timer::after_secs(pause_s).await;
    }
}

/// The next pause, in seconds. Each is twice as long as the one before, up to an hour.
struct Growing(u64);

impl Growing {
    fn next(&mut self) -> u64 {
        let pause_s = self.0;
        self.0 = AGAIN_MAX_S.min(pause_s * 2);
        pause_s
    }
}

/// Asks once.
async fn ask<C: Card>(
    shared: &Shared<'_, C>,
    net: Net<'_>,
    datagrams: &SharedDatagrams<'_>,
) -> Option<u64> {
    let server = SocketAddr::new(net.resolve(shared.settings.time_server).await?, PORT);
    let cookie = shared.random.u64();
    let near = shared.time_of_day.now().unix_seconds;
    let mut answer = [0; PACKET];
    let asked = datagrams.lock().await.ask(server, &question(cookie), &mut answer).await;
    asked.and_then(|()| sound(&answer, cookie, near))
}

/// Takes the time, if it can be believed, and returns the seconds until the next question.
async fn judge<C: Card>(shared: &Shared<'_, C>, unix_s: u64, confirm: &mut Growing) -> u64 {
    let worth = shared.time_of_day.hear(unix_s);
    if worth == Worth::Taken {
        *confirm = Growing(CONFIRM_S);
    }
    match worth {
        Worth::Taken if shared.time_of_day.is_trusted() => {
            shared.storage.lock().await.store.note_time(unix_s);
            info!("the time is {=u64}", unix_s);
            EVERY_S
        }
        Worth::Taken => {
            info!("the time is {=u64}", unix_s);
            TRUST_AFTER_S
        }
        Worth::Doubted => {
            warning!("the time would be {=u64}: another answer is to agree", unix_s);
            confirm.next()
        }
        Worth::Refused => {
            warning!("the time server says {=u64}: that was before now", unix_s);
            AGAIN_MAX_S
        }
    }
}

/// A question (RFC 5905 §14): version 4, from a client. Where its own time would stand is `cookie`,
/// which only who sees the question can repeat.
fn question(cookie: u64) -> [u8; PACKET] {
    let mut question = [0; PACKET];
    question[0] = 4 << 3 | 3;
    question[40..].copy_from_slice(&cookie.to_be_bytes());
    question
}

/// Seconds since 1970-01-01T00:00:00Z by an answer that is sound: from a server (mode 4) whose
/// clock is set, to the question with `cookie`. A packet has the low 32 bits of seconds only; they
/// begin again in 2036, and mean the time nearest to `near`.
fn sound(answer: &[u8; PACKET], cookie: u64, near: u64) -> Option<u64> {
    let [flags, stratum, ..] = *answer;
    let (leap, version, mode) = (flags >> 6, flags >> 3 & 7, flags & 7);
    let is_set = leap != 3 && (1..16).contains(&stratum);
    let is_answer = (1..=4).contains(&version) && mode == 4;
    let (_, transmit) = answer.split_last_chunk::<8>()?;
    let origin = answer.get(24..32)?;
    let [a, b, c, d, ..] = *transmit;
    if !is_set || !is_answer || origin != cookie.to_be_bytes() || *transmit == [0; 8] {
        return None;
    }
    let near_seconds = near.wrapping_add(NTP_EPOCH) as u32;
    let ahead = u32::from_be_bytes([a, b, c, d]).wrapping_sub(near_seconds).cast_signed();
    near.checked_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: u64 = 0x0102_0304_0506_0708;

    /// An answer at `unix_s`, with one octet changed.
    fn answer(unix_s: u64, change: Option<(usize, u8)>) -> [u8; PACKET] {
        let mut answer = [0; PACKET];
        answer[..2].copy_from_slice(&[4 << 3 | 4, 2]);
        answer[24..32].copy_from_slice(&COOKIE.to_be_bytes());
        answer[40..44].copy_from_slice(&((unix_s + NTP_EPOCH) as u32).to_be_bytes());
        if let Some((index, octet)) = change {
            answer[index] = octet;
        }
        answer
    }

    fn told(unix_s: u64, near: u64) -> Option<u64> {
        sound(&answer(unix_s, None), COOKIE, near)
    }

    #[test]
    fn a_sound_answer_is_its_time_in_any_era() {
        let card = 1_700_000_000;
        // 2023, some months before, both sides of 2036-02-07T06:28:16Z, 2040.
        for unix_s in [card, card - 9_999_999, 2_085_978_495, 2_085_978_497, 2_208_988_800] {
            assert_eq!(told(unix_s, card), Some(unix_s));
        }
        assert_eq!(told(3_650_000_000, 3_600_000_000), Some(3_650_000_000));
        assert_eq!(told(5_000_000_000, 4_999_000_000), Some(5_000_000_000), "in the third era");
    }

    #[test]
    fn the_first_second_of_an_era_is_a_time_and_no_timestamp_is_none() {
        let era = 2_085_978_496;
        assert_eq!(told(era, era), None, "all 64 bits are zero");
        assert_eq!(sound(&answer(era, Some((44, 1))), COOKIE, era), Some(era));
    }

    #[test]
    fn what_no_clock_stands_behind_is_not_believed() {
        let changes = [
            (0, 3 << 6 | 4 << 3 | 4), // Not synchronized.
            (0, 4 << 3 | 3),          // Our own question.
            (0, 4 << 3 | 5),          // A broadcast.
            (0, 4),                   // No version.
            (1, 0),                   // A kiss of death.
            (1, 16),                  // Not synchronized.
            (24, 9),                  // To another question.
            (31, 9),
        ];
        for change in changes {
            let answer = answer(1_800_000_000, Some(change));
            assert_eq!(sound(&answer, COOKIE, 1_700_000_000), None, "{change:?}");
        }
    }

    #[test]
    fn a_question_says_who_asks_and_what_is_to_be_repeated() {
        let question = question(COOKIE);
        assert_eq!((question[0], &question[40..]), (0x23, &COOKIE.to_be_bytes()[..]));
        assert_eq!(question[1..40], [0; 39]);
    }
}
