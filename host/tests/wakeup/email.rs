//! A holder that is woken by e-mail.

use postern_core::listener::State;

use super::holder::{Act, Holder, say, usual};
use super::{Host, NOW, folder, source};

const SOON: std::ops::RangeInclusive<u64> = 54..=67;

fn wakes(rest: &str) -> String {
    let table = "[[wakeup]]\nemail = \"wake@provider.example\"\nemail_host = ";
    source("scheduled", &format!("{table}{rest}\n"))
}

/// What a holder does that takes mail, but for `act` at the command that begins with `word`.
fn takes(word: &'static str, act: Act) -> impl Fn(&str) -> Act {
    move |command| {
        let verb = command.split([' ', ':']).next().unwrap_or_default();
        match verb {
            _ if verb == word => act.clone(),
            "MAIL" | "RCPT" | "." => say("250 2.0.0 Fine"),
            "DATA" => say("354 Go ahead"),
            _ => usual(command),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_message_is_marked_as_a_programs_and_tells_who_asks_for_what() {
    let (folder, holder) = (folder(), Holder::new(takes("NOOP", Act::Hang)));
    let host = Host::start(&wakes("\"mx2.example\""), &folder, &holder, NOW);
    host.until(0).await;
    let seen = holder.seen();
    assert_eq!((seen.hosts, seen.open), (vec!["mx2.example".to_owned()], vec![true]));
    assert_eq!(seen.paths, ["MAIL FROM:<>", "RCPT TO:<wake@provider.example>"]);
    let [message] = &seen.messages[..] else { panic!("{:?}", seen.messages) };
    let (date, rest) = message.split_once("\r\n").expect("lines");
    assert_eq!(date, "Date: Sun, 22 Nov 2026 00:17:45 +0000");
    let (before, rest) = rest.split_once("Message-ID: <").expect("an id");
    assert_eq!(before, "From: postmaster@home.client.example\r\nTo: wake@provider.example\r\n");
    let (id, rest) = rest.split_once("@home.client.example>\r\n").expect("an id");
    assert_eq!(id.len(), 36);
    assert_eq!(
        rest,
        "Auto-Submitted: auto-generated\r\nSubject: Wake-up from home.client.example\r\n\r\n\
         home.client.example is there, and asks for the mail of these domains:\r\n\
         client.example\r\n"
    );
    let last = host.last();
    let said = "e-mail to wake@provider.example: 250 2.0.0 Fine";
    assert_eq!(last.dialogue, ["connected to 192.0.2.53:25, in clear", said]);
    assert_eq!((last.outcome.as_str(), last.is_alarm), ("mail comes", false));
    assert_eq!((host.closes(), host.next()), (Some(300), 1800), "mail is expected from then");
    assert_eq!(host.shown().holder, "wake@provider.example at mx2.example:25");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_may_go_by_the_sender() {
    let (folder, holder) = (folder(), Holder::new(takes("NOOP", Act::Hang)));
    let keys = "\"mx2.example\"\nemail_from = \"me@client.example\"\nnames = [\"a.example\"]";
    let host = Host::start(&wakes(keys), &folder, &holder, NOW);
    host.until(0).await;
    let seen = holder.seen();
    assert_eq!(seen.paths[0], "MAIL FROM:<me@client.example>");
    assert!(seen.messages[0].contains("\r\nFrom: me@client.example\r\n"), "{:?}", seen.messages);
    assert!(seen.messages[0].ends_with(":\r\na.example\r\n"), "{:?}", seen.messages);
    host.end().await;
}

/// What each answer at each point means: the outcome, whether it is an alarm, when the listener
/// closes, and whether it is asked again soon.
#[tokio::test(start_paused = true)]
async fn only_a_2yz_behind_the_dot_wakes() {
    let mut cases = Vec::new();
    for word in ["MAIL", "RCPT", "DATA", "."] {
        for refusal in ["550 5.7.1 Not you", "554 No"] {
            cases.push((word, say(refusal), ("refused", true, Some(60), false)));
        }
        for act in [
            say("450 4.2.0 Later"),
            say("421 4.3.2 Going down"),
            say("nonsense"),
            Act::HangUp,
            Act::Flood("250-and more"),
        ] {
            cases.push((word, act, ("no answer", false, Some(60), true)));
        }
    }
    cases.push(("", say("554 5.7.1 Not you"), ("refused", true, Some(60), false)));
    cases.push(("", say("421 4.7.0 Not now"), ("no answer", false, Some(60), true)));
    // A verdict on what has not been sent is none.
    cases.push(("DATA", say("250 2.0.0 Taken"), ("no answer", false, Some(60), true)));
    for (word, act, expected) in cases {
        let (folder, holder) = (folder(), Holder::new(takes(word, act.clone())));
        let host = Host::start(&wakes("\"mx2.example\""), &folder, &holder, NOW);
        host.until(0).await;
        let last = host.last();
        let is_soon = SOON.contains(&host.next());
        let found = (last.outcome.as_str(), last.is_alarm, host.closes(), is_soon);
        assert_eq!(found, expected, "{word:?} {act:?}: {:?}", last.dialogue);
        assert!(is_soon || host.next() == 1800, "{}", host.next());
        host.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_hangs_is_given_up() {
    for (word, seconds) in [("", 300), ("MAIL", 300), ("DATA", 120), (".", 600)] {
        let (folder, holder) = (folder(), Holder::new(takes(word, Act::Hang)));
        let host = Host::start(&wakes("\"mx2.example\""), &folder, &holder, NOW);
        host.until(seconds - 1).await;
        assert!(host.shown().is_asking && host.phase() == State::Open, "{word:?}");
        host.until(seconds + 1).await;
        assert_eq!((host.outcome().as_str(), host.last().is_alarm), ("no answer", false));
        host.end().await;
    }
}

/// Again after 1, 2, 5 and 10 minutes, and no later than `every`.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_away_is_asked_again_after_growing_pauses() {
    let (folder, holder) = (folder(), Holder::new(takes("NOOP", Act::Hang)));
    holder.is_away(true);
    let host = Host::start(&wakes("\"mx2.example\"\nevery = \"7m\""), &folder, &holder, NOW);
    host.until(0).await;
    let mut before = 0;
    for minutes in [1, 2, 5, 7, 7] {
        let pause = host.next() - before;
        let jitter = minutes * 6 + 1;
        assert!(pause.abs_diff(minutes * 60) <= jitter, "{minutes}: {pause}");
        before = host.next();
        host.until(before).await;
    }
    holder.is_away(false);
    host.until(host.next()).await;
    assert_eq!(host.outcome(), "mail comes");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn names_of_one_holder_are_tried_in_order() {
    let (folder, holder) = (folder(), Holder::new(takes("NOOP", Act::Hang)));
    let names = "[\"unknown.example\", \"mx2.example:2525\"]";
    let host = Host::start(&wakes(names), &folder, &holder, NOW);
    host.until(0).await;
    let last = host.last();
    assert_eq!((last.host.as_str(), last.outcome.as_str()), ("mx2.example:2525", "mail comes"));
    assert_eq!((holder.seen().messages.len(), host.next()), (1, 1800));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_counts_from_the_last_answer() {
    let (folder, holder) = (folder(), Holder::new(takes(".", say("554 5.7.1 Not you"))));
    let source = wakes("\"mx2.example\"");
    let host = Host::start(&source, &folder, &holder, NOW);
    host.until(1).await;
    host.end().await;
    let mut now = NOW;
    now.unix_seconds += 600;
    let host = Host::start(&source, &folder, &holder, now);
    host.until(0).await;
    assert_eq!((host.next(), holder.seen().messages.len()), (1200, 1));
    assert!(host.last().is_alarm, "and so does the alarm");
    host.end().await;
}
