//! The client against a scripted peer, at every split of what the peer says.

use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, play, recipient};
use postern_core::client::{
    Class, Client, Config, Event, Mail, Need, Next, Protocol, RECIPIENTS_MAX, TlsPolicy,
};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::MailParams;

pub const EHLO: &str = "EHLO mx2.example\r\n";
pub const GREETING: (&str, &str) = ("", "220 peer.example ready\r\n");
pub const QUIT: (&str, &str) = ("QUIT\r\n", "221 bye\r\n");
pub const PLAIN: (&str, &str) = (EHLO, "250 peer.example\r\n");
pub const PIPELINING: (&str, &str) = (EHLO, "250-peer.example\r\n250 PIPELINING\r\n");
pub const LMTP: Config<'static> = Config { protocol: Protocol::Lmtp, ..CONFIG };

fn message<'a>(to: &'a [&'a str], body: &'a [u8]) -> Job<'a> {
    Job::Message { mail: MAIL, to, body }
}

#[test]
fn one_command_at_a_time_without_pipelining() {
    let jobs = [message(&["bob@b.example", "cid@b.example"], b"hi\r\n")];
    let report = play(
        CONFIG,
        &jobs,
        &[
            GREETING,
            PLAIN,
            ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<bob@b.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<cid@b.example>\r\n", "550-5.1.1 who\r\n550 5.1.1 is that\r\n"),
            ("DATA\r\n", "354 go\r\n"),
            ("hi\r\n.\r\n", "250 2.0.0 held\r\n"),
            QUIT,
        ],
    );
    assert_eq!(
        report,
        ["rcpt 0: 250 ok", "rcpt 1: 550 5.1.1 who 5.1.1 is that", "message: 250 2.0.0 held"]
    );
}

#[test]
fn envelope_and_data_in_one_group_with_pipelining() {
    let jobs =
        [message(&["b@b.example", "c@b.example"], b"one\r\n"), message(&["d@b.example"], b"")];
    let report = play(
        CONFIG,
        &jobs,
        &[
            GREETING,
            PIPELINING,
            (
                "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\n\
                 RCPT TO:<c@b.example>\r\nDATA\r\n",
                "250 ok\r\n452 later\r\n251 will forward\r\n354 go\r\n",
            ),
            ("one\r\n.\r\n", "250 first\r\n"),
            (
                "MAIL FROM:<ann@a.example>\r\nRCPT TO:<d@b.example>\r\nDATA\r\n",
                "250 ok\r\n250 ok\r\n354 go\r\n",
            ),
            (".\r\n", "451 second\r\n"),
            QUIT,
        ],
    );
    assert_eq!(
        report,
        [
            "rcpt 0: 452 later",
            "rcpt 1: 251 will forward",
            "message: 250 first",
            "rcpt 0: 250 ok",
            "message: 451 second"
        ]
    );
}

#[test]
fn a_refused_sender_is_followed_by_rset_and_the_next_message() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let jobs = [message(&["b@b.example"], b"1\r\n"), message(&["b@b.example"], b"2\r\n")];
    let report = play(
        CONFIG,
        &jobs,
        &[
            GREETING,
            PIPELINING,
            (group, "550 no\r\n503 MAIL first\r\n503 MAIL first\r\n"),
            ("RSET\r\n", "250 ok\r\n"),
            (group, "250 ok\r\n250 ok\r\n354 go\r\n"),
            ("2\r\n.\r\n", "250 ok\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["mail refused: 550 no", "rcpt 0: 250 ok", "message: 250 ok"]);
}

#[test]
fn a_354_for_nobody_gets_an_empty_message() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let secret = message(&["b@b.example"], b"secret\r\n");
    let report = play(
        CONFIG,
        &[secret, secret],
        &[
            GREETING,
            PIPELINING,
            (group, "250 ok\r\n550 no\r\n354 go\r\n"),
            (".\r\n", "554 no recipients\r\n"),
            (group, "250 ok\r\n550 no\r\n354 go\r\n"),
            (".\r\n", "250 ok\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["rcpt 0: 550 no", "rcpt 0: 550 no"]);
}

#[test]
fn a_message_for_nobody_is_not_sent() {
    let script = [
        GREETING,
        PIPELINING,
        ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
        QUIT,
    ];
    assert_eq!(play(CONFIG, &[message(&[], b"secret\r\n")], &script), [""; 0]);
}

/// Nobody was accepted, so the refusal of DATA is nobody's verdict.
#[test]
fn a_refused_data_for_nobody_says_nothing() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let script = [
        GREETING,
        PIPELINING,
        (group, "250 ok\r\n550 no\r\n554 no recipients\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
        QUIT,
    ];
    assert_eq!(play(CONFIG, &[message(&["b@b.example"], b"1\r\n")], &script), ["rcpt 0: 550 no"]);
}

/// A peer that refuses the sender, then says yes to all the rest, has still refused the sender.
#[test]
fn nothing_is_accepted_behind_a_refused_sender() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let script = [
        GREETING,
        PIPELINING,
        (group, "550 no\r\n250 yes\r\n354 yes\r\n"),
        (".\r\n", "250 yes\r\n"),
        QUIT,
    ];
    let report = play(CONFIG, &[message(&["b@b.example"], b"secret\r\n")], &script);
    assert_eq!(report, ["mail refused: 550 no"]);
}

#[test]
fn a_refused_rset_ends_the_connection() {
    let script = [
        GREETING,
        PLAIN,
        ("MAIL FROM:<ann@a.example>\r\n", "550 no\r\n"),
        ("RSET\r\n", "500 no\r\n"),
        QUIT,
    ];
    let report = play(CONFIG, &[message(&["b@b.example"], b"1\r\n")], &script);
    assert_eq!(report, ["mail refused: 550 no", "refused in Mail: 500 no"]);
}

/// From an old server, 552 to RCPT means too many recipients (RFC 5321 §4.5.3.1.10). It is told as
/// it was said; elsewhere it is for good.
#[test]
fn a_552_to_rcpt_is_for_now() {
    let mut client = Client::new(CONFIG);
    let mut buffer = [0; 4000];
    let mut out = Out::new(&mut buffer);
    let mut heard = Vec::new();
    for mut input in ["220 hi\r\n", "250 peer\r\n", "250 ok\r\n", "552 5.5.3 enough\r\n"] {
        loop {
            let step = client.step(Instant::from_millis(0), input.as_bytes(), &mut out);
            input = &input[step.consumed..];
            match step.next {
                Next::Event(Event::Recipient { reply, .. }) => {
                    heard.push((reply.code(), reply.class(), reply.to_string()));
                    assert_eq!(
                        reply.enhanced().map(|code| code.to_string()).as_deref(),
                        Some("5.5.3")
                    );
                }
                Next::Event(_) => {}
                Next::Need(Need::Transaction) => {
                    client.mail(&MAIL, &mut out).expect("MAIL is next")
                }
                Next::Need(Need::Recipient { index: 0 }) => {
                    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
                }
                _ => break,
            }
        }
    }
    assert_eq!(heard, [(452, Class::Transient, "552 5.5.3 enough".to_owned())]);
    let script = [
        GREETING,
        PLAIN,
        ("MAIL FROM:<ann@a.example>\r\n", "552 no\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
        QUIT,
    ];
    assert_eq!(play(CONFIG, &[message(&["b@b.example"], b"")], &script), ["mail refused: 552 no"]);
}

#[test]
fn a_refused_data_is_the_messages_verdict() {
    let report = play(
        CONFIG,
        &[message(&["b@b.example"], b"1\r\n")],
        &[
            GREETING,
            PLAIN,
            ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "451 4.3.0 not now\r\n"),
            ("RSET\r\n", "250 ok\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["rcpt 0: 250 ok", "message: 451 4.3.0 not now"]);
}

#[test]
fn bdat_waits_for_the_verdicts_on_recipients() {
    let mail = Mail { params: MailParams { size: Some(9), ..NO_PARAMS }, ..MAIL };
    let group = "MAIL FROM:<ann@a.example> SIZE=9\r\nRCPT TO:<b@b.example>\r\n";
    let job = Job::Message { mail, to: &["b@b.example"], body: b".x\r\n.\r\nab" };
    let report = play(
        CONFIG,
        &[job, job],
        &[
            GREETING,
            (EHLO, "250-peer\r\n250-chunking\r\n250-SIZE 1000000\r\n250 PIPELINING\r\n"),
            (group, "250 ok\r\n550 no\r\n"),
            ("RSET\r\n", "250 ok\r\n"),
            (group, "250 ok\r\n250 ok\r\n"),
            ("BDAT 9 LAST\r\n.x\r\n.\r\nab", "250 2.0.0 nine octets\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["rcpt 0: 550 no", "rcpt 0: 250 ok", "message: 250 2.0.0 nine octets"]);
}

#[test]
fn helo_when_ehlo_is_unknown() {
    let report = play(
        CONFIG,
        &[message(&["b@b.example"], b"1\r\n")],
        &[
            GREETING,
            (EHLO, "500 what?\r\n"),
            ("HELO mx2.example\r\n", "250 peer\r\n"),
            ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "354 go\r\n"),
            ("1\r\n.\r\n", "250 ok\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["rcpt 0: 250 ok", "message: 250 ok"]);
}

#[test]
fn a_peer_that_does_not_serve_us() {
    for greeting in ["554 no SMTP service here\r\n", "450 come back\r\n"] {
        let report = play(CONFIG, &[], &[("", greeting), QUIT]);
        assert_eq!(report, [format!("refused in Greeting: {}", greeting.trim_end())]);
    }
    let twice = play(CONFIG, &[], &[("", "554 no\r\n554 I said no\r\n"), QUIT]);
    assert_eq!(twice, ["refused in Greeting: 554 no"], "it hears QUIT whatever else it says");
    let report = play(CONFIG, &[], &[GREETING, (EHLO, "450 later\r\n"), QUIT]);
    assert_eq!(report, ["refused in Hello: 450 later"]);
    let helo = ("HELO mx2.example\r\n", "550 no\r\n");
    let report = play(CONFIG, &[], &[GREETING, (EHLO, "502 no\r\n"), helo, QUIT]);
    assert_eq!(report, ["refused in Hello: 550 no"]);
    let report = play(LMTP, &[], &[GREETING, ("LHLO mx2.example\r\n", "500 no\r\n"), QUIT]);
    assert_eq!(report, ["refused in Hello: 500 no"], "LMTP has no HELO");
}

#[test]
fn a_421_ends_it_wherever_it_comes() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let jobs = [message(&["b@b.example"], b"1\r\n")];
    let gone = "421 4.3.2 going down\r\n";
    let accepted = "250 ok\r\n250 ok\r\n354 go\r\n";
    let halfway = format!("250 ok\r\n250 ok\r\n{gone}");
    assert_eq!(play(CONFIG, &jobs, &[("", gone)]), ["refused in Greeting: 421 4.3.2 going down"]);
    assert_eq!(
        play(CONFIG, &jobs, &[GREETING, PIPELINING, (group, &halfway)]),
        ["rcpt 0: 250 ok", "refused in Mail: 421 4.3.2 going down"]
    );
    assert_eq!(
        play(CONFIG, &jobs, &[GREETING, PIPELINING, (group, accepted), ("1\r\n.\r\n", gone)]),
        ["rcpt 0: 250 ok", "refused in Mail: 421 4.3.2 going down"]
    );
}

#[test]
fn lmtp_answers_for_each_accepted_recipient() {
    let jobs = [message(&["b@x.example", "c@x.example", "d@x.example"], b"1\r\n")];
    let report = play(
        LMTP,
        &jobs,
        &[
            GREETING,
            ("LHLO mx2.example\r\n", "250-peer\r\n250 PIPELINING\r\n"),
            (
                "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\n\
                 RCPT TO:<d@x.example>\r\nDATA\r\n",
                "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n",
            ),
            ("1\r\n.\r\n", "250 in b\r\n452 4.2.2 d is full\r\n"),
            QUIT,
        ],
    );
    assert_eq!(
        report,
        [
            "rcpt 0: 250 ok",
            "rcpt 1: 550 no",
            "rcpt 2: 250 ok",
            "delivered 0: 250 in b",
            "delivered 2: 452 4.2.2 d is full"
        ]
    );
}

#[test]
fn a_421_between_the_verdicts_of_lmtp_leaves_the_others_waiting() {
    let jobs = [message(&["b@x.example", "c@x.example"], b"1\r\n")];
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@x.example>\r\n\
                 RCPT TO:<c@x.example>\r\nDATA\r\n";
    let script = [
        GREETING,
        ("LHLO mx2.example\r\n", "250-peer\r\n250 PIPELINING\r\n"),
        (group, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
        ("1\r\n.\r\n", "250 in b\r\n421 going down\r\n"),
    ];
    let verdicts = ["delivered 0: 250 in b", "refused in Mail: 421 going down"];
    assert_eq!(play(LMTP, &jobs, &script)[2..], verdicts);
}

#[test]
fn lmtp_by_bdat_answers_for_each_accepted_recipient() {
    let mail = Mail { params: MailParams { size: Some(3), ..NO_PARAMS }, ..MAIL };
    let to: &[&str] = &["b@x.example", "c@x.example", "d@x.example"];
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@x.example>\r\n\
                 RCPT TO:<c@x.example>\r\nRCPT TO:<d@x.example>\r\n";
    let script = [
        GREETING,
        ("LHLO mx2.example\r\n", "250-peer\r\n250-CHUNKING\r\n250 PIPELINING\r\n"),
        (group, "250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n"),
        ("BDAT 3 LAST\r\n1\r\n", "250 in c\r\n550 d is gone\r\n"),
        QUIT,
    ];
    let report = play(LMTP, &[Job::Message { mail, to, body: b"1\r\n" }], &script);
    assert_eq!(report[3..], ["delivered 1: 250 in c", "delivered 2: 550 d is gone"]);
}

#[test]
fn starttls_as_the_policy_says() {
    let offered = (EHLO, "250-peer\r\n250 STARTTLS\r\n");
    let config = |tls| Config { tls, ..CONFIG };
    let go = ("STARTTLS\r\n", "220 go\r\n");
    let not_now = ("STARTTLS\r\n", "454 not now\r\n");
    let off = play(config(TlsPolicy::Off), &[], &[GREETING, offered, QUIT]);
    assert_eq!(off, [""; 0]);
    for tls in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
        for within in [PLAIN, offered] {
            let report = play(config(tls), &[], &[GREETING, offered, go, within, QUIT]);
            assert_eq!(report, ["tls"], "{tls:?}: EHLO again, and no STARTTLS within TLS");
        }
    }
    let optional = config(TlsPolicy::Opportunistic);
    assert_eq!(play(optional, &[], &[GREETING, PLAIN, QUIT]), [""; 0]);
    assert_eq!(play(optional, &[], &[GREETING, offered, not_now, QUIT]), [""; 0]);
    let required = config(TlsPolicy::Required);
    assert_eq!(
        play(required, &[], &[GREETING, offered, not_now, QUIT]),
        ["refused in Tls: 454 not now"]
    );
    assert_eq!(
        play(required, &[], &[GREETING, PLAIN]),
        ["fault: TLS is required, and the peer does not offer it"]
    );
    assert_eq!(
        play(required, &[], &[GREETING, (EHLO, "500 what?\r\n"), QUIT]),
        ["refused in Hello: 500 what?"],
        "HELO would mean to go without TLS"
    );
    let helo = ("HELO mx2.example\r\n", "250 peer\r\n");
    let within = [GREETING, offered, go, (EHLO, "500 what?\r\n"), helo, QUIT];
    assert_eq!(play(required, &[], &within), ["tls"], "within TLS it does not");
}

#[test]
fn offers_in_clear_are_forgotten_after_starttls() {
    let before = "250-peer\r\n250-PIPELINING\r\n250-ETRN\r\n250 STARTTLS\r\n";
    let report = play(
        Config { tls: TlsPolicy::Opportunistic, ..CONFIG },
        &[Job::Etrn("b.example")],
        &[GREETING, (EHLO, before), ("STARTTLS\r\n", "220 go\r\n"), PLAIN, QUIT],
    );
    assert_eq!(report, ["tls", "error: the peer does not offer ETRN"]);
}

#[test]
fn etrn_and_its_answers() {
    let report = play(
        CONFIG,
        &[Job::Etrn("b.example"), Job::Etrn("@c.example")],
        &[
            GREETING,
            (EHLO, "250-peer\r\n250 ETRN\r\n"),
            ("ETRN b.example\r\n", "253 2.0.0 7 pending messages started\r\n"),
            ("ETRN @c.example\r\n", "459 4.7.1 not yours\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["etrn: 253 2.0.0 7 pending messages started", "etrn: 459 4.7.1 not yours"]);
}

#[test]
fn a_transaction_has_a_hundred_recipients_at_most() {
    let names: Vec<String> = (0..150).map(|nth| format!("u{nth}@b.example")).collect();
    let to: Vec<&str> = names.iter().map(String::as_str).collect();
    let hundred = &names[..usize::from(RECIPIENTS_MAX)];
    let rcpts: String = hundred.iter().map(|name| format!("RCPT TO:<{name}>\r\n")).collect();
    let group = format!("MAIL FROM:<ann@a.example>\r\n{rcpts}DATA\r\n");
    let answers = format!("{}354 go\r\n", "250 ok\r\n".repeat(101));
    let script = [GREETING, PIPELINING, (&group, &answers), ("1\r\n.\r\n", "250 ok\r\n"), QUIT];
    let report = play(CONFIG, &[message(&to, b"1\r\n")], &script);
    assert_eq!(report.len(), 101);
    assert_eq!(report[99], "rcpt 99: 250 ok");
}
