//! The client against a scripted peer, at every split of what the peer says.

use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, play};
use postern_core::client::{Config, Mail, Protocol, RECIPIENTS_MAX, TlsPolicy};
use postern_core::wire::params::{Body, MailParams, Ret};

const EHLO: &str = "EHLO mx2.example\r\n";
const GREETING: (&str, &str) = ("", "220 peer.example ready\r\n");
const QUIT: (&str, &str) = ("QUIT\r\n", "221 bye\r\n");
const PLAIN: (&str, &str) = (EHLO, "250 peer.example\r\n");
const PIPELINING: (&str, &str) = (EHLO, "250-peer.example\r\n250 PIPELINING\r\n");
const LMTP: Config<'static> = Config { protocol: Protocol::Lmtp, ..CONFIG };

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
    let report = play(
        CONFIG,
        &[message(&["b@b.example"], b"secret\r\n")],
        &[
            GREETING,
            PIPELINING,
            (group, "250 ok\r\n550 no\r\n354 go\r\n"),
            (".\r\n", "554 no recipients\r\n"),
            QUIT,
        ],
    );
    assert_eq!(report, ["rcpt 0: 550 no"]);
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
fn parameters_go_where_they_are_offered() {
    let mail = Mail {
        reverse_path: b"",
        params: MailParams {
            size: Some(4),
            body: Body::EightBitMime,
            smtputf8: true,
            ret: Ret::Headers,
            envid: Some(b"id+3D1"),
            auth: None,
        },
    };
    let job = Job::Message { mail, to: &[], body: b"" };
    let all = "250-p\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n";
    let offered = "MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+3D1\r\n";
    let report = play(
        CONFIG,
        &[job],
        &[GREETING, (EHLO, all), (offered, "250 ok\r\n"), ("RSET\r\n", "250 ok\r\n"), QUIT],
    );
    assert_eq!(report, [""; 0]);

    let plain = Mail { params: MailParams { smtputf8: false, ..mail.params }, ..mail };
    let jobs = [job, Job::Message { mail: plain, to: &[], body: b"" }];
    let script =
        [GREETING, PLAIN, ("MAIL FROM:<>\r\n", "250 ok\r\n"), ("RSET\r\n", "250 ok\r\n"), QUIT];
    let report = play(CONFIG, &jobs, &script);
    assert_eq!(report, ["error: the message needs SMTPUTF8, which the peer does not offer"]);
}

#[test]
fn binary_mail_goes_by_bdat_or_not_at_all() {
    let params = MailParams { size: Some(3), body: Body::BinaryMime, ..NO_PARAMS };
    let mail = Mail { params, ..MAIL };
    let job = Job::Message { mail, to: &["b@b.example"], body: b"\n.\0" };
    let report = play(CONFIG, &[job], &[GREETING, (EHLO, "250-p\r\n250 CHUNKING\r\n"), QUIT]);
    assert_eq!(report, ["error: the message needs BINARYMIME, which the peer does not offer"]);
    let script = [
        GREETING,
        (EHLO, "250-p\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"),
        ("MAIL FROM:<ann@a.example> BODY=BINARYMIME\r\n", "250 ok\r\n"),
        ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n"),
        ("BDAT 3 LAST\r\n\n.\0", "250 ok\r\n"),
        QUIT,
    ];
    assert_eq!(play(CONFIG, &[job], &script), ["rcpt 0: 250 ok", "message: 250 ok"]);
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
        assert_eq!(report, [format!("refused: {}", greeting.trim_end())]);
    }
    let report = play(CONFIG, &[], &[GREETING, (EHLO, "450 later\r\n"), QUIT]);
    assert_eq!(report, ["refused: 450 later"]);
    let helo = ("HELO mx2.example\r\n", "550 no\r\n");
    let report = play(CONFIG, &[], &[GREETING, (EHLO, "502 no\r\n"), helo, QUIT]);
    assert_eq!(report, ["refused: 550 no"]);
    let report = play(LMTP, &[], &[GREETING, ("LHLO mx2.example\r\n", "500 no\r\n"), QUIT]);
    assert_eq!(report, ["refused: 500 no"], "LMTP has no HELO");
}

#[test]
fn a_421_ends_it_wherever_it_comes() {
    let group = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
    let jobs = [message(&["b@b.example"], b"1\r\n")];
    let gone = "421 4.3.2 going down\r\n";
    let accepted = "250 ok\r\n250 ok\r\n354 go\r\n";
    let halfway = format!("250 ok\r\n250 ok\r\n{gone}");
    assert_eq!(play(CONFIG, &jobs, &[("", gone)]), ["refused: 421 4.3.2 going down"]);
    assert_eq!(
        play(CONFIG, &jobs, &[GREETING, PIPELINING, (group, &halfway)]),
        ["rcpt 0: 250 ok", "refused: 421 4.3.2 going down"]
    );
    assert_eq!(
        play(CONFIG, &jobs, &[GREETING, PIPELINING, (group, accepted), ("1\r\n.\r\n", gone)]),
        ["rcpt 0: 250 ok", "refused: 421 4.3.2 going down"]
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
fn starttls_as_the_policy_says() {
    let offered = (EHLO, "250-peer\r\n250 STARTTLS\r\n");
    let config = |tls| Config { tls, ..CONFIG };
    let go = ("STARTTLS\r\n", "220 go\r\n");
    let not_now = ("STARTTLS\r\n", "454 not now\r\n");
    let off = play(config(TlsPolicy::Off), &[], &[GREETING, offered, QUIT]);
    assert_eq!(off, [""; 0]);
    for tls in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
        let report = play(config(tls), &[], &[GREETING, offered, go, PLAIN, QUIT]);
        assert_eq!(report, ["tls"], "{tls:?}: EHLO again, and no STARTTLS within TLS");
    }
    let optional = config(TlsPolicy::Opportunistic);
    assert_eq!(play(optional, &[], &[GREETING, PLAIN, QUIT]), [""; 0]);
    assert_eq!(play(optional, &[], &[GREETING, offered, not_now, QUIT]), [""; 0]);
    let required = config(TlsPolicy::Required);
    assert_eq!(play(required, &[], &[GREETING, offered, not_now, QUIT]), ["refused: 454 not now"]);
    assert_eq!(
        play(required, &[], &[GREETING, PLAIN]),
        ["fault: TLS is required, and the peer does not offer it"]
    );
    assert_eq!(
        play(required, &[], &[GREETING, (EHLO, "500 what?\r\n"), QUIT]),
        ["refused: 500 what?"],
        "HELO would mean to go without TLS"
    );
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
