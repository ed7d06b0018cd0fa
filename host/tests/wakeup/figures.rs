//! How long a caller needs its link, and how soon mail follows: `tests/run bench` prints it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postern_core::ladder::{Ladder, Missed};
use postern_core::time::Instant;
use postern_spool::{Domain, Spool};

use super::fetching;
use super::holder::{Act, Holder, say, usual};
use super::listening::{MESSAGE, talk};
use super::{HOLDER, Host, NOW, folder, source};

const DAY_S: u64 = 86_400;
const BATCHES: u64 = 10;
const BATCH: u32 = 10;

/// What a holder does that has this many messages, and says so; or that is not to be asked by ETRN,
/// and sends them to whoever has connected.
fn holder(waiting: &Arc<AtomicU32>, by_connection: bool) -> Holder {
    let waiting = Arc::clone(waiting);
    Holder::new(move |command| {
        let count = waiting.load(Ordering::Relaxed);
        match command.split(' ').next().unwrap_or_default() {
            "ETRN" if by_connection => say("459 4.7.1 Not allowed"),
            "ETRN" if count == 0 => say("251 2.0.0 Nothing waits"),
            "ETRN" => say(&format!("253 2.0.0 {count} pending messages started")),
            "ATRN" if count == 0 => say("453 4.7.1 You have no mail"),
            "220" => {
                let text = "MAIL FROM:<a@b.example>\r\nRCPT TO:<info@client.example>\r\nDATA\r\n";
                waiting.store(0, Ordering::Relaxed);
                // It goes on without hearing what is said.
                let all = format!("{text}Subject: one\r\n\r\none\r\n.\r\n").repeat(count as usize);
                say(&format!("EHLO p\r\n{all}QUIT"))
            }
            "354" => Act::Trickle("", 0),
            "MAIL" | "RCPT" => say("250 2.0.0 Ok"),
            "DATA" => say("354 Go"),
            "." => say("250 2.0.0 Taken"),
            "EHLO" => say("250-mx2.provider.example\r\n250-ETRN\r\n250-AUTH CRAM-MD5\r\n250 ATRN"),
            "AUTH" | "ATRN" | "334" => fetching::usual(command),
            _ if command.starts_with(|letter: char| letter.is_ascii_digit()) => Act::Trickle("", 0),
            "QUIT" | "" => usual(command),
            _ => say("235 2.7.0 Welcome"),
        }
    })
}

/// Seconds of a day in which the link is needed, beside what the octets take, where 100 messages
/// come in 10 batches.
async fn day(wakeup: Option<&str>, by_connection: bool) -> (u64, u64) {
    let (folder, waiting) = (folder(), Arc::new(AtomicU32::new(0)));
    let (listener, is_fetched) = (wakeup.map_or("off", |_| "scheduled"), wakeup.is_none());
    let wakeup = wakeup.map_or_else(|| fetching::table(&folder), str::to_owned);
    let host =
        Host::start(&source(listener, &wakeup), &folder, &holder(&waiting, by_connection), NOW);
    let session: Vec<_> = MESSAGE[..1]
        .iter()
        .chain(MESSAGE[1..5].iter().cycle().take(4 * BATCH as usize))
        .chain(&MESSAGE[5..])
        .copied()
        .collect();
    let session: &'static [&str] = session.leak();
    let (used, mut seconds) = (host.gate.used(), 0);
    for second in 0..DAY_S {
        if second % (DAY_S / BATCHES) == 600 {
            waiting.store(BATCH, Ordering::Relaxed);
        }
        host.until(second).await;
        seconds += u64::from(*used.borrow() > host.clock.instant());
        if let (false, [place, ..]) = (is_fetched, &host.gate.listening()[..])
            && waiting.load(Ordering::Relaxed) > 0
            && host
                .shown()
                .last
                .is_some_and(|last| last.unix_seconds >= NOW.unix_seconds + second - 1)
        {
            talk(*place, session).await;
            waiting.store(0, Ordering::Relaxed);
        }
    }
    let queue = host.spool.queue(&Domain::new("client.example")).await.expect("it works");
    host.end().await;
    (seconds, queue.map_or(0, |queue| queue.waiting))
}

#[tokio::test(start_paused = true)]
async fn seconds_a_day_for_which_the_link_is_needed() {
    let email = "[[wakeup]]\nemail = \"wake@mx2.provider.example\"\nemail_host = \"mx2.example\"\n";
    let etrn = format!("[[wakeup]]\netrn = {HOLDER:?}\n");
    let etrn = Some(etrn.as_str());
    for (name, wakeup) in
        [("ETRN", etrn), ("e-mail", Some(email)), ("connection", etrn), ("ATRN", None)]
    {
        let (seconds, came) = day(wakeup, name == "connection").await;
        assert_eq!(came, BATCHES * u64::from(BATCH), "{name}");
        println!("by {name}, every 30m: the link is needed for {seconds} s a day; {came} came");
    }
}

#[test]
fn seconds_from_an_etrn_to_the_mail() {
    for late in [5, 30, 90] {
        let at = |ms| Instant::from_millis(ms);
        let (mut ladder, mut now) = (Ladder::default(), 0_u64);
        ladder.asked(at(0));
        while now < late * 1000 {
            let pause =
                ladder.failed(Missed::Absent, at(now)).map_or(1800, |pause| pause.as_secs());
            now += Duration::from_secs(pause).as_millis() as u64;
        }
        assert!((late * 1000..=(2 * late + 10) * 1000).contains(&now), "{late} s: {now} ms");
        println!("listener {late} s late: mail {} s behind the ETRN", now / 1000);
    }
}
