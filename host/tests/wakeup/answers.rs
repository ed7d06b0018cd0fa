//! What each answer of a holder means for the listener, and for when it is asked next.

use postern_core::listener::State;

use super::holder::{Act, Holder, say, usual};
use super::{Host, folder};

/// The next request after no answer: a minute, 10 % more or less.
const SOON: std::ops::RangeInclusive<u64> = 54..=67;

/// What came of asking a holder that answers ETRN by `act`: the outcome, when the listener closes,
/// and when the holder is asked next, in seconds.
async fn ask(act: Act) -> (String, Option<u64>, u64) {
    let folder = folder();
    let host = Host::asking(Holder::answering(act), &folder);
    host.until(0).await;
    let found = (host.outcome(), host.closes(), host.next());
    host.end().await;
    found
}

#[tokio::test(start_paused = true)]
async fn mail_is_expected_after_250_252_and_253() {
    for reply in [
        "250 2.0.0 Queuing started",
        "250 OK",
        "252 2.0.0 OK, pending messages for node client.example started",
        "253 2.0.0 3 pending messages for node client.example started",
        "253-more\r\n253 than a line",
    ] {
        let expected = ("mail comes".to_owned(), Some(300), 1800);
        assert_eq!(ask(say(reply)).await, expected, "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_expected_after_251() {
    let expected = ("nothing waits".to_owned(), Some(60), 1800);
    assert_eq!(ask(say("251 2.0.0 No messages waiting")).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_refuses_has_answered() {
    for reply in [
        "458 4.3.2 Unable to queue messages for node client.example",
        "459 4.7.1 Node client.example not allowed",
        "500 5.5.2 Syntax error",
        "501 5.5.2 Syntax error in parameters",
        "503 5.5.1 Not now",
    ] {
        assert_eq!(ask(say(reply)).await, ("refused".to_owned(), Some(60), 1800), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_is_asked_again_soon() {
    for act in [
        say("421 4.3.2 Going down"),
        say("450 4.2.1 Later"),
        say("299 What is this?"),
        say("354 Go ahead"),
        say("hello"),
        say("25"),
        say(""),
        Act::HangUp,
        Act::Flood("251-and more"),
        Act::Flood("x"),
    ] {
        let (outcome, closes, next) = ask(act.clone()).await;
        assert_eq!((outcome.as_str(), closes), ("no answer", Some(60)), "{act:?}");
        assert!(SOON.contains(&next), "{act:?}: {next}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_hangs_is_given_up_and_the_listener_stays_open_meanwhile() {
    for hangs_at in ["", "EHLO", "ETRN"] {
        let behaviour = move |command: &str| {
            let word = command.split(' ').next().unwrap_or_default();
            if word == hangs_at { Act::Hang } else { usual(command) }
        };
        let folder = folder();
        let host = Host::asking(Holder::new(behaviour), &folder);
        host.until(290).await;
        assert!(host.shown().is_asking, "five minutes are the least that RFC 5321 grants");
        assert_eq!((host.phase(), host.closes()), (State::Open, None), "{hangs_at:?}");
        host.until(301).await;
        assert_eq!((host.outcome().as_str(), host.closes()), ("no answer", Some(360)));
        host.until(361).await;
        assert_ne!(host.closes(), Some(360), "it is asked again");
        host.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_serve_is_told_from_who_is_not_there() {
    let without = |command: &str| match command.starts_with("EHLO") {
        true => say("250 mx2.provider.example"),
        false => usual(command),
    };
    let greets = |text: &'static str| {
        move |command: &str| if command.is_empty() { say(text) } else { usual(command) }
    };
    for (holder, outcome, line) in [
        (Holder::new(without), "refused", "it does not offer ETRN"),
        (Holder::new(greets("554 5.7.1 Not you")), "refused", "554 5.7.1 Not you"),
        (Holder::new(greets("421 4.3.2 Busy")), "no answer", "421 4.3.2 Busy"),
    ] {
        let folder = folder();
        let host = Host::asking(holder, &folder);
        host.until(0).await;
        let last = host.last();
        assert_eq!(last.outcome, outcome, "{line}");
        assert!(last.dialogue.iter().any(|said| said.contains(line)), "{last:?}");
        assert_eq!(SOON.contains(&host.next()), outcome == "no answer", "{line}");
        host.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_not_there_is_asked_at_growing_pauses_up_to_the_interval() {
    let folder = folder();
    let holder = Holder::new(usual);
    holder.is_away(true);
    let host = Host::asking(holder, &folder);
    let mut asked_at = vec![0];
    for _ in 0..6 {
        host.until(asked_at[asked_at.len() - 1]).await;
        asked_at.push(host.next());
    }
    let pauses: Vec<_> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, minutes) in pauses.iter().zip([1, 2, 5, 10, 20, 30]) {
        let about = minutes * 54..=minutes * 67;
        assert!(about.contains(pause), "{minutes} min, but {pauses:?}");
    }
    assert!(host.last().dialogue[0].contains("connection refused"), "{:?}", host.last());
    host.holder.is_away(false);
    host.until(host.next()).await;
    assert_eq!(host.outcome(), "mail comes");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_dialogue_is_shown_as_it_went() {
    let folder = folder();
    let reply = "253 2.0.0 3 pending messages for node client.example started";
    let host = Host::asking(Holder::answering(say(reply)), &folder);
    host.until(0).await;
    let last = host.last();
    let expected =
        ["connected to 192.0.2.53:25, in clear", &format!("ETRN client.example: {reply}")];
    assert_eq!(last.dialogue, expected);
    assert_eq!((last.host.as_str(), last.unix_seconds), (super::HOLDER, super::NOW.unix_seconds));
    host.end().await;
}
