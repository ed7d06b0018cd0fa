//! Providers of ATRN that lie, flood, trickle and hang: each is over in its time, and told of in
//! one line.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use postern_spool::{Domain, Spool};
use tempfile::TempDir;

use super::holder::{Act, Holder, say};
use super::{Host, NOW, folder, source};

const TURNS: &str = "250 2.0.0 Turning";

/// What a provider does that works, and has one message. Once it is the client, it goes on without
/// hearing what is said.
pub fn usual(command: &str) -> Act {
    say(match command.split(' ').next().unwrap_or_default() {
        "" => "220 mx2.provider.example ESMTP",
        "EHLO" => "250-mx2.provider.example\r\n250-AUTH CRAM-MD5\r\n250 ATRN",
        "AUTH" => "334 PDEyMz4=",
        "ATRN" => TURNS,
        "220" => "EHLO p\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<info@client.example>\r\nDATA",
        "354" => "Subject: one\r\n\r\none\r\n.\r\nQUIT",
        "QUIT" => "221 2.0.0 Bye",
        reply if reply.starts_with(|letter: char| letter.is_ascii_digit()) => {
            return Act::Trickle("", 0);
        }
        _ => "235 2.7.0 Welcome",
    })
}

/// The same, but `act` behind `at`.
fn lying(at: &'static str, act: Act) -> Holder {
    Holder::new(move |command| {
        let word = command.split(' ').next().unwrap_or_default();
        if word == at { act.clone() } else { usual(command) }
    })
}

/// The table of a holder that mail is fetched from, in which a password is in `folder`.
pub fn table(folder: &TempDir) -> String {
    let file = folder.path().join("password");
    fs::write(&file, "s3cret pass\n").expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    format!(
        "[[wakeup]]\natrn = \"mx2.provider.example\"\nuser = \"ann\"\npassword_file = {file:?}\n\
         tls = \"off\"\n"
    )
}

fn fetches(holder: &Holder, folder: &TempDir) -> Host {
    Host::start(&source("off", &table(folder)), folder, holder, NOW)
}

async fn messages(host: &Host) -> u64 {
    let queue = host.spool.queue(&Domain::new("client.example")).await.expect("it works");
    queue.map_or(0, |queue| queue.waiting)
}

/// Asks a provider that does `act` behind `at`: when that is over, in seconds, and what is told of
/// it. Then the provider comes to its senses, and the message that it has comes.
async fn told(at: &'static str, act: Act) -> (u64, Vec<String>) {
    let (folder, holder) = (folder(), lying(at, act.clone()));
    let host = fetches(&holder, &folder);
    let mut seconds = 0;
    host.until(seconds).await;
    while host.shown().last.is_none() {
        assert!(seconds < 3600, "{at} {act:?} is never over");
        seconds += 10;
        host.until(seconds).await;
    }
    let last = host.last();
    assert_eq!((last.outcome.as_str(), messages(&host).await), ("no answer", 0), "{at} {act:?}");
    assert!((seconds..seconds + 80).contains(&host.next()), "{at} {act:?}: again in a minute");
    holder.behaves(usual);
    host.board.request().await;
    let came = (host.outcome(), messages(&host).await);
    assert_eq!(came, ("mail came".to_owned(), 1), "{at} {act:?}: {:?}", host.last().dialogue);
    host.end().await;
    (seconds, last.dialogue)
}

#[tokio::test(start_paused = true)]
async fn whatever_a_provider_does_is_over_in_its_time_and_nothing_is_lost() {
    const SLOW: &str = "EHLO provider.example\r\n";
    let nonsense = say(&["what?"; 30].join("\r\n"));
    let mut odd = Vec::new();
    for (at, act, minutes, line) in [
        ("", Act::Hang, 5, "timed out waiting for its greeting"),
        ("EHLO", Act::Hang, 5, "timed out waiting for"),
        ("AUTH", Act::Hang, 5, "timed out waiting for"),
        ("ATRN", Act::Hang, 10, "timed out waiting for"),
        ("220", Act::Hang, 5, "it turned the roles round, and sent nothing"),
        ("354", Act::Hang, 5, "it ended within a message"),
        ("", Act::HangUp, 0, "hung up"),
        ("ATRN", Act::HangUp, 0, "hung up"),
        ("220", Act::HangUp, 0, "it turned the roles round, and sent nothing"),
        ("354", Act::HangUp, 0, "it ended within a message"),
        ("", Act::Trickle("220 mx2.provider.example\r\n", 60), 5, "timed out waiting for"),
        ("ATRN", Act::Trickle("250 2.0.0 Turning\r\n", 60), 10, "timed out waiting for"),
        ("220", Act::Trickle(SLOW, 60), 5, "it turned the roles round, and sent nothing"),
        ("354", Act::Trickle("Subject: slow, and slow, and slower", 60), 5, "within a message"),
        ("", Act::Flood("220-and more"), 0, "reply"),
        ("EHLO", Act::Flood("250-and more"), 0, "reply"),
        ("ATRN", Act::Flood("250-and more"), 0, "reply"),
        ("220", Act::Flood("NOOP"), 0, "0 message(s) came"),
        ("220", nonsense.clone(), 0, "0 message(s) came"),
        ("", say("what?"), 0, "reply"),
        ("AUTH", say("235 2.7.0 Welcome\r\n250 2.0.0 Turning\r\nEHLO p"), 0, "not at this point"),
    ] {
        let (seconds, dialogue) = told(at, act.clone()).await;
        let said = dialogue.last().is_some_and(|last| last.contains(line));
        let is_short = dialogue.iter().all(|line| line.len() <= 200);
        if !said || !is_short || seconds > minutes * 60 + 10 {
            odd.push(format!("{at} {act:?}: {seconds} s, {dialogue:?}"));
        }
    }
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn mail_that_is_being_fetched_is_shown() {
    let (folder, holder) = (folder(), lying("354", Act::Hang));
    let host = fetches(&holder, &folder);
    host.until(10).await;
    let shown = host.shown();
    let fetching = shown.fetching.expect("it is shown");
    assert!(shown.is_asking && shown.last.is_none());
    assert_eq!(fetching.dialogue.last().map(String::as_str), Some("ATRN: 250 2.0.0 Turning"));
    assert_eq!(fetching.unix_seconds, NOW.unix_seconds);
    host.until(320).await;
    let shown = host.shown();
    assert!(shown.fetching.is_none() && shown.last.is_some(), "{shown:?}");
    host.end().await;
}
