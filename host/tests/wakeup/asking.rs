//! Whom a host asks, for what, and when.

use std::time::Duration;

use postern_core::time::Timestamp;
use tempfile::TempDir;

use super::holder::{Act, Holder, say, usual};
use super::{HOLD, Host, NOW, folder, scheduled, source};

#[tokio::test(start_paused = true)]
async fn a_holder_is_asked_at_the_start_and_at_its_interval() {
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    for (second, times) in [(0, 1), (1799, 1), (1801, 2), (3603, 3)] {
        host.until(second).await;
        assert_eq!(host.holder.seen().etrn.len(), times, "{second}");
    }
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_counts_from_the_last_answer() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let later = |seconds| Timestamp { unix_seconds: NOW.unix_seconds + seconds, known: true };
    let host = Host::start(&scheduled(), &folder, &holder, NOW);
    host.until(0).await;
    let said = host.last();
    host.end().await;

    let host = Host::start(&scheduled(), &folder, &holder, later(600));
    host.until(0).await;
    assert_eq!((host.next(), host.last()), (1200, said), "what it said is still shown");
    host.until(1199).await;
    assert_eq!(holder.seen().etrn.len(), 1);
    host.until(1201).await;
    assert_eq!(holder.seen().etrn.len(), 2);
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_asks_whoever_gave_no_answer() {
    let (folder, holder) = (folder(), Holder::answering(Act::HangUp));
    for times in 1..3 {
        let host = Host::start(&scheduled(), &folder, &holder, NOW);
        host.until(0).await;
        assert_eq!(holder.seen().etrn.len(), times);
        host.end().await;
    }
}

/// Without a battery a clock begins in 1970; one that was ahead comes back.
#[tokio::test(start_paused = true)]
async fn a_clock_that_cannot_be_right_counts_nothing() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let unknown = Timestamp { unix_seconds: 60, known: false };
    let before = Timestamp { unix_seconds: NOW.unix_seconds - 86_400, known: true };
    let behind = Timestamp { unix_seconds: NOW.unix_seconds + 600, known: true };
    for (times, now) in [(1, NOW), (2, unknown), (2, behind), (3, before), (3, before)] {
        let host = Host::start(&scheduled(), &folder, &holder, now);
        host.until(0).await;
        assert_eq!(holder.seen().etrn.len(), times, "{now:?}");
        host.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_moves_no_request() {
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    host.until(0).await;
    for unix_seconds in [NOW.unix_seconds + 86_400, 60] {
        host.clock.set(Timestamp { unix_seconds, known: true });
        host.until(1000).await;
        assert_eq!((host.next(), host.holder.seen().etrn.len()), (1800, 1));
    }
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn names_of_one_holder_are_tried_in_order() {
    let names = "etrn = [\"unknown.example\", \"mx2.provider.example:2525\", \"mx3.example\"]";
    let (folder, holder) = (folder(), Holder::new(usual));
    let rest = format!("[[wakeup]]\n{names}\n");
    let host = Host::start(&source("scheduled", &rest), &folder, &holder, NOW);
    host.until(0).await;
    assert_eq!(holder.seen().hosts, ["mx2.provider.example"]);
    let last = host.last();
    let told = (last.host.as_str(), last.outcome.as_str());
    assert_eq!(told, ("mx2.provider.example:2525", "mail comes"));
    assert_eq!(last.dialogue[0], "connected to 192.0.2.53:2525, in clear");

    holder.answers(say("459 4.7.1 Not you"));
    host.until(1802).await;
    assert_eq!(holder.seen().hosts[1..], ["mx2.provider.example", "mx3.example"]);
    assert_eq!(host.outcome(), "refused");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_holder_is_asked_since_each_holds_other_mail() {
    let rest = "[[wakeup]]\netrn = \"mx2.example\"\n[[wakeup]]\netrn = \"mx3.example\"\n\
        every = \"1h\"\nnames = [\"a.example\", \"b.example\"]\n";
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source("scheduled", rest), &folder, &holder, NOW);
    host.until(0).await;
    let mut asked = holder.seen().etrn;
    asked.sort();
    assert_eq!(asked, ["a.example", "b.example", "client.example"]);
    let holders = host.board.holders();
    let next: Vec<_> = holders.iter().map(|one| one.next.as_millis() / 1_000_000).collect();
    assert_eq!(next, [1, 3], "each at its own interval");
    host.end().await;
}

/// It would not be asked for the others as long as it runs.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_answered_for_keeps_no_other_from_being_asked_for() {
    let rest = "[[wakeup]]\netrn = \"mx2.example\"\nnames = [\"a.example\", \"b.example\"]\n";
    let (folder, holder) = (folder(), Holder::new(usual));
    holder.behaves(|command| match command {
        "ETRN b.example" => say("450 4.3.0 Later"),
        _ => usual(command),
    });
    let host = Host::start(&source("scheduled", rest), &folder, &holder, NOW);
    let times = |name: &str| holder.seen().etrn.iter().filter(|etrn| *etrn == name).count();
    host.until(1799).await;
    assert_eq!(times("a.example"), 1);
    host.until(2 * 1800 + 60).await;
    assert!(times("a.example") >= 2, "{:?}", holder.seen().etrn);
    assert!(times("b.example") > times("a.example"));
    host.end().await;
}

/// A host whose holder has answered for one of two names, and hung up at the other.
async fn half_answered(folder: &TempDir) -> (Holder, Host) {
    let rest = "[[wakeup]]\netrn = \"mx2.example\"\nnames = [\"a.example\", \"b.example\"]\n";
    let holder = Holder::new(usual);
    holder.behaves(|command| match command {
        "ETRN b.example" => Act::HangUp,
        _ => usual(command),
    });
    let host = Host::start(&source("scheduled", rest), folder, &holder, NOW);
    host.until(0).await;
    (holder, host)
}

/// A holder may count how often it is asked.
#[tokio::test(start_paused = true)]
async fn what_was_answered_is_not_asked_again_for_the_sake_of_the_rest() {
    let folder = folder();
    let (holder, host) = half_answered(&folder).await;
    assert_eq!(host.outcome(), "mail comes");
    assert_eq!(host.closes(), Some(300), "and is waited for");
    holder.behaves(usual);
    host.until(host.next()).await;
    assert_eq!(holder.seen().etrn, ["a.example", "b.example", "b.example"]);
    let second = host.next();
    assert!((1800..1900).contains(&second), "{second}");
    host.until(second).await;
    assert_eq!(holder.seen().etrn[3..], ["a.example", "b.example"], "the next round is whole");
    host.end().await;
}

/// Who says `--now` means now: more may have come for what was answered.
#[tokio::test(start_paused = true)]
async fn a_person_asks_anew_for_what_was_answered() {
    let folder = folder();
    let (holder, host) = half_answered(&folder).await;
    holder.behaves(usual);
    host.board.request().await;
    assert_eq!(holder.seen().etrn, ["a.example", "b.example", "a.example", "b.example"]);
    host.end().await;
}

/// A server ends a session that asks and asks.
#[tokio::test(start_paused = true)]
async fn many_domains_are_asked_for_over_several_connections() {
    let holds: String =
        (0..119).map(|nth| HOLD.replace("client.example", &format!("d{nth}.example"))).collect();
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&(scheduled() + &holds), &folder, &holder, NOW);
    host.until(0).await;
    let seen = holder.seen();
    assert_eq!((seen.etrn.len(), seen.hosts.len()), (120, 3));
    let last = host.last();
    assert_eq!((last.dialogue.len(), last.left_out), (20, 103), "one screen of it is shown");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_ask_at_any_time_and_hears_what_came_of_it() {
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    host.until(600).await;
    host.board.request().await;
    assert_eq!((host.holder.seen().etrn.len(), host.next()), (2, 2401));
    host.holder.is_away(true);
    host.board.request().await;
    assert_eq!(host.outcome(), "no answer");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_configuration_asks_others_and_leaves_the_rest_alone() {
    let table = |host: &str, keys: &str| format!("[[wakeup]]\netrn = \"{host}\"\n{keys}");
    let (folder, holder) = (folder(), Holder::new(usual));
    let first = source("scheduled", &table("mx2.example", ""));
    let host = Host::start(&first, &folder, &holder, NOW);
    host.until(600).await;
    host.configure(&(first.clone() + &table("mx3.example", "")));
    host.until(601).await;
    assert_eq!(holder.seen().hosts, ["mx2.example", "mx3.example"]);
    host.configure(&source("scheduled", &table("mx2.example", "every = \"20m\"\n")));
    host.until(602).await;
    assert_eq!(host.next(), 1201, "from its last answer, by the new interval");
    host.configure(&source("scheduled", ""));
    host.until(9999).await;
    assert_eq!((holder.seen().hosts.len(), host.board.holders().len()), (2, 0));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_domain_there_is_nothing_to_ask_for() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&scheduled().replace(HOLD, ""), &folder, &holder, NOW);
    host.until(0).await;
    assert!(holder.seen().hosts.is_empty(), "nobody is bothered");
    assert!(host.last().dialogue[0].contains("nothing to ask for"));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_cuts_a_dialogue_that_hangs() {
    let folder = folder();
    let host = Host::asking(Holder::answering(Act::Hang), &folder);
    host.until(10).await;
    let began = tokio::time::Instant::now();
    host.end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
