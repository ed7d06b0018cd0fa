//! MAIL behind the end of the message before (RFC 2920 §3.1), and transactions without a message.

use crate::dialogue::{EHLO, GREETING, LMTP, PIPELINING, PLAIN, QUIT};
use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, play};
use postern_core::client::{Client, End, Fault, Mail, Need, Next, Waiting};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::MailParams;

const TO: &[&str] = &["b@b.example"];
const FIRST: Job<'static> = Job::Message { mail: MAIL, to: TO, body: b"1\r\n" };
const SECOND: Job<'static> = Job::Behind { mail: MAIL, to: TO, body: b"2\r\n" };
const MAIL_RCPT_DATA: &str = "MAIL FROM:<ann@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";
const RCPT_DATA: &str = "RCPT TO:<b@b.example>\r\nDATA\r\n";

#[test]
fn mail_goes_behind_the_end_and_waits_for_its_answer() {
    let script = [
        GREETING,
        PIPELINING,
        (MAIL_RCPT_DATA, "250 ok\r\n250 ok\r\n354 go\r\n"),
        ("1\r\n.\r\nMAIL FROM:<ann@a.example>\r\n", "250 first\r\n250 ok\r\n"),
        (RCPT_DATA, "250 ok\r\n354 go\r\n"),
        ("2\r\n.\r\n", "451 second\r\n"),
        QUIT,
    ];
    let report = ["rcpt 0: 250 ok", "message: 250 first", "rcpt 0: 250 ok", "message: 451 second"];
    assert_eq!(play(CONFIG, &[FIRST, SECOND], &script), report);
    // The verdict alone is not enough to go on: the peer may have dropped MAIL unread.
    let script = [
        GREETING,
        PIPELINING,
        (MAIL_RCPT_DATA, "250 ok\r\n250 ok\r\n354 go\r\n"),
        ("1\r\n.\r\nMAIL FROM:<ann@a.example>\r\n", "550 first\r\n"),
        ("", "550 no\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
        QUIT,
    ];
    let report = ["rcpt 0: 250 ok", "message: 550 first", "mail refused: 550 no"];
    assert_eq!(play(CONFIG, &[FIRST, SECOND], &script), report);
}

#[test]
fn mail_goes_behind_a_last_chunk_and_behind_lmtp() {
    let mail = Mail { params: MailParams { size: Some(3), ..NO_PARAMS }, ..MAIL };
    let to: &[&str] = &["b@b.example", "c@b.example"];
    let jobs = [
        Job::Message { mail, to, body: b"1\r\n" },
        Job::Behind { mail, to, body: b"2\r\n" },
        Job::Behind { mail, to, body: b"3\r\n" },
    ];
    let rcpts = "RCPT TO:<b@b.example>\r\nRCPT TO:<c@b.example>\r\n";
    let group = format!("MAIL FROM:<ann@a.example>\r\n{rcpts}");
    let script = [
        GREETING,
        ("LHLO mx2.example\r\n", "250-peer\r\n250-CHUNKING\r\n250 PIPELINING\r\n"),
        (&group, "250 ok\r\n250 ok\r\n250 ok\r\n"),
        (
            "BDAT 3 LAST\r\n1\r\nMAIL FROM:<ann@a.example>\r\n",
            "250 b has 1\r\n452 4.2.2 c is full\r\n250 ok\r\n",
        ),
        (rcpts, "250 ok\r\n550 no\r\n"),
        ("BDAT 3 LAST\r\n2\r\nMAIL FROM:<ann@a.example>\r\n", "250 b has 2\r\n250 ok\r\n"),
        (rcpts, "550 no\r\n550 no\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
        QUIT,
    ];
    let report = [
        "rcpt 0: 250 ok",
        "rcpt 1: 250 ok",
        "delivered 0: 250 b has 1",
        "delivered 1: 452 4.2.2 c is full",
        "rcpt 0: 250 ok",
        "rcpt 1: 550 no",
        "delivered 0: 250 b has 2",
        "rcpt 0: 550 no",
        "rcpt 1: 550 no",
    ];
    assert_eq!(play(LMTP, &jobs, &script), report);
}

#[test]
fn without_pipelining_mail_waits_for_the_verdict() {
    let mail = ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n");
    let rcpt = ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n");
    let data = ("DATA\r\n", "354 go\r\n");
    let first = ("1\r\n.\r\n", "250 first\r\n");
    let second = ("2\r\n.\r\n", "250 second\r\n");
    let script = [GREETING, PLAIN, mail, rcpt, data, first, mail, rcpt, data, second, QUIT];
    assert_eq!(play(CONFIG, &[FIRST, SECOND], &script).len(), 4);
}

/// A 421 or a broken connection between the two: the first has its verdict, the second is untried.
#[test]
fn what_ends_the_connection_leaves_the_queued_message_untried() {
    let accepted = (MAIL_RCPT_DATA, "250 ok\r\n250 ok\r\n354 go\r\n");
    let end = "1\r\n.\r\nMAIL FROM:<ann@a.example>\r\n";
    let script = [GREETING, PIPELINING, accepted, (end, "250 first\r\n421 enough\r\n")];
    let report = ["rcpt 0: 250 ok", "message: 250 first", "refused in Mail: 421 enough"];
    assert_eq!(play(CONFIG, &[FIRST, SECOND], &script), report);

    let mut client = Client::new(CONFIG);
    let mut buffer = [0; 8000];
    let mut out = Out::new(&mut buffer);
    let mut replies = ["", "220 hi\r\n", "250-peer\r\n250 PIPELINING\r\n", "250 ok\r\n"]
        .into_iter()
        .chain(["250 ok\r\n", "354 go\r\n", "250 first\r\n"]);
    let mut input = "";
    let end = loop {
        let step = client.step(Instant::from_millis(0), input.as_bytes(), &mut out);
        input = &input[step.consumed..];
        match step.next {
            Next::Event(_) => Ok(()),
            Next::Need(Need::Transaction) => client.mail(&MAIL, &mut out),
            Next::Need(Need::Recipient { index: 0 }) => {
                client.rcpt(&crate::script::recipient(TO[0]), &mut out)
            }
            Next::Need(Need::Recipient { .. }) => client.rcpt_end(),
            Next::Need(Need::Body) => {
                client.body_end(&mut out).and_then(|()| client.mail_behind(&MAIL, &mut out))
            }
            Next::Need(Need::Input) => match replies.next() {
                Some(reply) => {
                    input = reply;
                    Ok(())
                }
                None => {
                    client.hung_up();
                    Ok(())
                }
            },
            Next::Need(need) => panic!("{need:?}"),
            Next::End(end) => break end,
        }
        .expect("the client asked for it");
    };
    assert_eq!(end, End::Fault(Fault::HungUp(Waiting::QueuedMail)));
}

#[test]
fn a_probe_asks_about_a_recipient_and_sends_nothing() {
    let jobs = [Job::Probe("postmaster@b.example"), Job::Probe("x@b.example"), FIRST];
    let (mail, reset) = ("MAIL FROM:<>\r\n", ("RSET\r\n", "250 ok\r\n"));
    let (first, second) = ("RCPT TO:<postmaster@b.example>\r\n", "RCPT TO:<x@b.example>\r\n");
    let both = [format!("{mail}{first}"), format!("{mail}{second}")];
    let script = [
        GREETING,
        PIPELINING,
        (&both[0], "250 ok\r\n250 for postmaster\r\n"),
        reset,
        (&both[1], "550 no null sender\r\n503 MAIL first\r\n"),
        reset,
        (MAIL_RCPT_DATA, "250 ok\r\n250 ok\r\n354 go\r\n"),
        ("1\r\n.\r\n", "250 ok\r\n"),
        QUIT,
    ];
    let report = [
        "rcpt 0: 250 for postmaster",
        "mail refused: 550 no null sender",
        "rcpt 0: 250 ok",
        "message: 250 ok",
    ];
    assert_eq!(play(CONFIG, &jobs, &script), report);
    let script = [
        GREETING,
        (EHLO, "250-peer\r\n250 CHUNKING\r\n"),
        (mail, "250 ok\r\n"),
        (first, "450 later\r\n"),
        reset,
        QUIT,
    ];
    assert_eq!(play(CONFIG, &jobs[..1], &script), ["rcpt 0: 450 later"]);
}
