//! What is recorded, by what the host said.

use postern_core::client::reply::parse;
use postern_core::wire::params::{Body, Ret};
use postern_spool::{Envelope, MsgId, Recipient, RecipientNo};

use super::*;
use crate::config::Config;
use crate::deliver::{Answer, Stage};
use crate::policy::Policies;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };
const DAY: u64 = 24 * 60 * 60;

/// One for two recipients, of this age.
fn claim(age_seconds: u64) -> Claim {
    let recipients = ["ann@client.example", "bob@client.example"];
    let envelope = Envelope {
        arrival: Timestamp { unix_seconds: NOW.unix_seconds - age_seconds, known: true },
        client: None,
        client_port: 0,
        helo: b"x.example".to_vec(),
        esmtp: true,
        tls: false,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"cid@x.example".to_vec(),
        body: Body::Unstated,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: recipients.iter().map(|path| Recipient::new(path.as_bytes())).collect(),
    };
    Claim { id: MsgId::now(), size: 100, envelope }
}

fn said(stage: Stage, line: &str) -> Option<Verdict> {
    let octets = format!("{line}\r\n");
    let reply = parse(octets.as_bytes()).expect("a reply").expect("a whole one");
    Some(Verdict::Reply(stage, Answer::from(reply)))
}

fn sent(ann: Option<Verdict>, bob: Option<Verdict>, loss: Option<Loss>) -> Sent {
    Sent { verdicts: vec![ann, bob], loss }
}

fn come_to(claim: &Claim, sent: &Sent, rest: &str) -> Outcome {
    let text = format!(
        "[hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"192.0.2.1:25\"\n{rest}"
    );
    let config = Config::parse(std::path::Path::new("test.toml"), &text).expect("a configuration");
    let policies = Policies::new(&config);
    outcome(claim, sent, policies.of(&postern_spool::Domain::new("client.example")), NOW)
}

fn words(outcome: &Outcome) -> Vec<(u32, &'static str)> {
    let word = |fate: &Fate| match fate {
        Fate::Delivered(_) => "delivered",
        Fate::Deferred(_) => "deferred",
        Fate::Refused(_) => "refused",
        Fate::Expired(_) => "expired",
        Fate::Delayed(_) | Fate::Returned(_) => {
            unreachable!("nobody is told before it is recorded")
        }
    };
    outcome.settled.fates.iter().map(|(RecipientNo(no), fate)| (*no, word(fate))).collect()
}

fn minutes(retry: Retry) -> Option<u64> {
    if let Retry::In(pause) = retry { Some(pause.as_secs() / 60) } else { None }
}

#[test]
fn each_recipient_has_its_own_fate() {
    let came = sent(
        said(Stage::Message, "250 2.0.0 taken"),
        said(Stage::Recipient, "550 5.1.1 nobody"),
        None,
    );
    let outcome = come_to(&claim(0), &came, "");
    assert_eq!(words(&outcome), [(0, "delivered"), (1, "refused")]);
    assert_eq!((outcome.whole, outcome.tally.word()), (Whole::Taken, "partial"));
    assert_eq!(outcome.reply, "550 5.1.1 nobody");
}

#[test]
fn a_recipient_that_was_not_tried_is_not_named() {
    let closing = Some(Loss::Closing("421 4.7.0 too many messages".to_owned()));
    let came = sent(said(Stage::Recipient, "550 5.1.1 nobody"), None, closing);
    let outcome = come_to(&claim(0), &came, "");
    assert_eq!(words(&outcome), [(0, "refused")]);
    assert_eq!(outcome.whole, Whole::Neither);
    let not_begun = Some(Loss::NotBegun("timed out".to_owned()));
    let outcome = come_to(&claim(6 * DAY), &sent(None, None, not_begun), "");
    assert_eq!(words(&outcome), [], "and does not expire");
    assert_eq!(outcome.tally.word(), "untried");
}

/// What the host said of another recipient puts off nobody that it was not asked about.
#[test]
fn who_was_not_tried_waits_for_the_next_turn_and_no_longer() {
    let closing = || Some(Loss::Closing("421 closing".to_owned()));
    for ann in ["550 5.1.1 nobody", "250 ok"] {
        let stage = if ann.starts_with('2') { Stage::Message } else { Stage::Recipient };
        for rest in ["", "retry_every = \"never\""] {
            let outcome = come_to(&claim(0), &sent(said(stage, ann), None, closing()), rest);
            assert_eq!(outcome.settled.retry, Retry::Now, "{ann}, {rest:?}");
        }
    }
    let later = said(Stage::Recipient, "450 4.2.1 later");
    let outcome = come_to(&claim(0), &sent(later, None, closing()), "");
    assert!(minutes(outcome.settled.retry).is_some_and(|minutes| minutes >= 27));
}

#[test]
fn a_full_mailbox_waits_longer_each_time_and_says_nothing_of_the_host() {
    let full = || said(Stage::Recipient, "552 5.2.2 over quota");
    let mut claim = claim(0);
    for expected in [30, 60, 120, 240, 240] {
        let outcome = come_to(&claim, &sent(full(), full(), None), "");
        assert_eq!(words(&outcome), [(0, "deferred"), (1, "deferred")]);
        assert_eq!(minutes(outcome.settled.retry), Some(expected));
        assert_eq!(outcome.whole, Whole::Neither);
        claim.envelope.recipients.iter_mut().for_each(|recipient| recipient.attempts += 1);
    }
    let outcome = come_to(&claim, &sent(full(), said(Stage::Recipient, "450 later"), None), "");
    assert!((27..=33).contains(&minutes(outcome.settled.retry).expect("a pause")));
}

#[test]
fn a_message_that_breaks_the_connection_waits_twice_as_long() {
    let broken = Some(Loss::Broken("it hung up".to_owned()));
    let outcome = come_to(&claim(0), &sent(None, None, broken), "");
    assert_eq!(words(&outcome), [(0, "deferred"), (1, "deferred")]);
    assert!((54..=66).contains(&minutes(outcome.settled.retry).expect("a pause")));
    assert_eq!(outcome.reply, "it hung up");
}

#[test]
fn mail_that_goes_when_asked_waits_for_that() {
    let later = || said(Stage::Mail, "451 4.3.0 later");
    let outcome = come_to(&claim(0), &sent(later(), later(), None), "retry_every = \"never\"");
    assert_eq!(outcome.settled.retry, Retry::WhenAsked);
    assert_eq!(outcome.whole, Whole::Deferred);
}

#[test]
fn mail_expires_at_the_try_that_fails_too_late() {
    let later = || said(Stage::Mail, "451 4.3.0 later");
    let outcome = come_to(&claim(5 * DAY), &sent(later(), later(), None), "");
    assert_eq!(words(&outcome), [(0, "expired"), (1, "expired")]);
    let young = come_to(&claim(5 * DAY - 1), &sent(later(), later(), None), "");
    assert_eq!(words(&young), [(0, "deferred"), (1, "deferred")]);
}

#[test]
fn what_cannot_be_sent_is_refused_by_us_and_not_by_the_host() {
    let why = || Some(Verdict::Unsendable("the message needs SMTPUTF8".to_owned()));
    let outcome = come_to(&claim(0), &sent(why(), why(), None), "");
    assert_eq!(words(&outcome), [(0, "refused"), (1, "refused")]);
    assert_eq!(outcome.whole, Whole::Neither);
    let refused = || said(Stage::Mail, "550 5.7.1 not you");
    assert_eq!(come_to(&claim(0), &sent(refused(), refused(), None), "").whole, Whole::Refused);
}

#[test]
fn a_damaged_message_waits_for_a_person() {
    let damaged = Some(Loss::Unreadable(Error::Damaged("rot".to_owned())));
    let outcome = come_to(&claim(0), &sent(None, None, damaged), "");
    assert_eq!(outcome.settled.retry, Retry::WhenAsked);
    assert_eq!(words(&outcome), [(0, "deferred"), (1, "deferred")]);
    let gone = come_to(&claim(0), &sent(None, None, Some(Loss::Unreadable(Error::Gone))), "");
    assert_eq!(words(&gone), []);
}

/// 421 closes the connection: it is no word on the recipient, and no attempt is counted.
#[test]
fn a_host_that_closes_has_not_tried_the_recipient() {
    let closing = sent(said(Stage::Recipient, "421 4.3.2 closing"), None, None);
    let outcome = come_to(&claim(60), &closing, "");
    assert_eq!((words(&outcome), outcome.whole), (vec![], Whole::Neither));
}
