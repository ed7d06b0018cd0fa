//! The client against peers that break the protocol, and callers that break the contract.

use core::time::Duration;

use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, Pace, play, play_at, recipient};
use postern_core::client::reply::REPLY_MAX;
use postern_core::client::{
    CallError, Class, Client, Config, Event, Fault, Mail, Need, Recipient, Step, TlsPolicy, Waiting,
};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::{MailParams, Notify, RcptParams};
use proptest::prelude::*;

const EHLO: &str = "EHLO mx2.example\r\n";
const START: Instant = Instant::from_millis(1_000);

/// A client that has read `input`, and the need it came to.
fn after(input: &[u8], config: Config<'static>) -> (Client<'static>, Need) {
    let mut client = Client::new(config);
    let need = go_on(&mut client, input);
    (client, need)
}

fn go_on(client: &mut Client<'_>, mut input: &[u8]) -> Need {
    loop {
        let mut buffer = [0; 2000];
        let Step { consumed, next } = client.step(START, input, &mut Out::new(&mut buffer));
        input = &input[consumed..];
        if let Err(need) = next {
            return need;
        }
    }
}

#[test]
fn a_faulty_reply_is_named_and_ends_the_connection() {
    let cases = [
        ("hello\r\n", "fault: a line of the reply has no code from 200 to 599"),
        ("220 hi\n", "fault: a line of the reply ends in LF without CR"),
        ("220-a\r\n221 b\r\n", "fault: the lines of the reply carry different codes"),
    ];
    for (greeting, report) in cases {
        assert_eq!(play(CONFIG, &[], &[("", greeting)]), [report]);
    }
    let endless = "220-x\r\n".repeat(REPLY_MAX);
    let pace = Pace { cut: 0, piece: 1, room: 2000 };
    assert_eq!(
        play_at(CONFIG, &[], &[("", &endless)], pace),
        ["fault: the reply has not ended within 4096 octets"]
    );
}

#[test]
fn a_reply_that_has_no_meaning_where_it_comes() {
    let greeting = ("", "220 hi\r\n");
    let plain = (EHLO, "250 peer\r\n");
    let mail = "MAIL FROM:<ann@a.example>\r\n";
    let jobs = [Job::Message { mail: MAIL, to: &["b@b.example"], body: b"1\r\n" }];
    let fault = "fault: the peer said 354 where that has no meaning";
    assert_eq!(play(CONFIG, &jobs, &[greeting, plain, (mail, "354 go\r\n")]), [fault]);
    let rcpt = ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n");
    let script = [greeting, plain, (mail, "250 ok\r\n"), rcpt, ("DATA\r\n", "250 ok\r\n")];
    let fault = "fault: the peer said 250 where that has no meaning";
    assert_eq!(play(CONFIG, &jobs, &script), ["rcpt 0: 250 ok", fault]);
}

#[test]
fn a_second_reply_between_transactions_is_a_lost_step() {
    let (mut client, need) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    assert_eq!(need, Need::Transaction);
    let mut buffer = [0; 2000];
    let step = client.step(START, b"250 ok\r\n", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Ok(Event::Fault(Fault::Unexpected(250)))), "{step:?}");
}

#[test]
fn plaintext_behind_the_answer_to_starttls_ends_the_connection() {
    let config = Config { tls: TlsPolicy::Opportunistic, ..CONFIG };
    let mut client = Client::new(config);
    let input = b"220 hi\r\n250-peer\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n";
    let mut buffer = [0; 2000];
    let step = client.step(START, input, &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Ok(Event::Fault(Fault::PlaintextAfterStartTls))), "{step:?}");
    assert_eq!(go_on(&mut client, b""), Need::Close);
}

#[test]
fn each_wait_has_its_own_time() {
    let minutes = |count: u64| START.after(Duration::from_secs(60 * count));
    let (mut client, _) = after(b"", CONFIG);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Greeting, minutes(5)));
    assert_eq!(client.expire(START), None);
    assert_eq!(client.expire(minutes(5)), Some(Fault::TimedOut(Waiting::Greeting)));
    assert_eq!(go_on(&mut client, b"220 too late\r\n"), Need::Close);

    let (mut client, _) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    assert_eq!(client.deadline(), Instant::FAR, "our own slowness is not the peer's");
    let mut buffer = [0; 4000];
    let mut out = Out::new(&mut buffer);
    client.mail(&MAIL, &mut out).expect("MAIL is next");
    assert_eq!(go_on(&mut client, b"250 o"), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Command, minutes(5)));
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Recipient { index: 0 });
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Recipient { index: 1 });
    client.rcpt_end().expect("RCPT is next");
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Data, minutes(2)));
    assert_eq!(go_on(&mut client, b"354 go\r\n"), Need::Body);
    assert_eq!(client.deadline(), Instant::FAR);
    client.body_end(&mut out).expect("the body is next");
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Verdict, minutes(10)));
}

#[test]
fn a_part_of_a_reply_wins_no_time() {
    let (mut client, _) = after(b"", CONFIG);
    let deadline = client.deadline();
    let mut buffer = [0; 2000];
    let later = START.after(Duration::from_secs(100));
    let step = client.step(later, b"220-one\r\n220-tw", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Err(Need::Input)));
    assert_eq!(client.deadline(), deadline);
}

#[test]
fn calls_out_of_turn_change_nothing() {
    let mut client = Client::new(CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    assert_eq!(client.mail(&MAIL, &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.rcpt(&recipient("b@b.example"), &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.rcpt_end(), Err(CallError::OutOfTurn));
    assert_eq!(client.body(b"x", &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.body_end(&mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.etrn(b"b.example", &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.secured(), Err(CallError::OutOfTurn));
    assert_eq!(client.quit(), Err(CallError::OutOfTurn));
    assert!(out.is_empty());
    assert_eq!(go_on(&mut client, b"220 hi\r\n250 peer\r\n"), Need::Transaction);
}

#[test]
fn an_address_cannot_carry_a_command() {
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 DSN\r\n", CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    let bad: [&[u8]; 5] = [b"a@b\r\nDATA", b"a@b> SIZE=0", b"a b@c", b"\"a@b", b"\"a\\\"@b"];
    for reverse_path in bad {
        let mail = Mail { reverse_path, ..MAIL };
        assert_eq!(client.mail(&mail, &mut out), Err(CallError::BadText));
    }
    let envid = Mail { params: MailParams { envid: Some(b"a b"), ..NO_PARAMS }, ..MAIL };
    assert_eq!(client.mail(&envid, &mut out), Err(CallError::BadText));
    assert!(out.is_empty(), "half a command was left");
    let long = "x".repeat(3000);
    let mail = Mail { reverse_path: long.as_bytes(), ..MAIL };
    assert_eq!(client.mail(&mail, &mut out), Err(CallError::NoRoom));
    assert!(out.is_empty(), "half a command was left");

    let quoted = Mail { reverse_path: b"\"a> \\\" b\"@c", ..MAIL };
    client.mail(&quoted, &mut out).expect("quoted, it is an address");
    go_on(&mut client, b"250 ok\r\n");
    let to = Recipient {
        forward_path: b"Postmaster",
        params: RcptParams {
            notify: Notify::SUCCESS.and(Notify::FAILURE).expect("they may stand together"),
            orcpt: Some(b"rfc822;b@b.example"),
        },
    };
    client.rcpt(&to, &mut out).expect("RCPT is next");
    let written = String::from_utf8_lossy(out.written()).into_owned();
    assert_eq!(
        written,
        "MAIL FROM:<\"a> \\\" b\"@c>\r\n\
         RCPT TO:<Postmaster> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@b.example\r\n"
    );
}

#[test]
fn a_body_of_another_size_than_announced_is_not_ended() {
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 CHUNKING\r\n", CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    client
        .mail(&Mail { params: MailParams { size: Some(4), ..NO_PARAMS }, ..MAIL }, &mut out)
        .expect("MAIL is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt_end().expect("RCPT is next");
    assert_eq!(go_on(&mut client, b""), Need::Body);
    assert_eq!(client.body(b"123", &mut out), Ok(3));
    assert_eq!(client.body_end(&mut out), Err(CallError::SizeMismatch));
    assert_eq!(client.body(b"45", &mut out), Err(CallError::SizeMismatch));
}

/// What DATA must carry for `body`, made the simple way: by whole lines.
fn stuffed(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            text.push(b'.');
        }
        text.extend_from_slice(line);
    }
    if !body.is_empty() && !body.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b".\r\n");
    text
}

/// A client that has come to the body of a message, by DATA.
fn at_the_body() -> Client<'static> {
    let (mut client, _) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    client.mail(&MAIL, &mut out).expect("MAIL is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt_end().expect("RCPT is next");
    assert_eq!(go_on(&mut client, b"354 go\r\n"), Need::Body);
    client
}

/// Answers whatever the client needs but input; whether the whole message was sent.
fn answer(client: &mut Client<'_>, need: Need, out: &mut Out<'_>) -> bool {
    match need {
        Need::Transaction => client.mail(&MAIL, out),
        Need::Recipient { index: 0 } => client.rcpt(&recipient("b@b.example"), out),
        Need::Recipient { .. } => client.rcpt_end(),
        Need::Body => client.body_end(out),
        Need::Tls => client.secured(),
        Need::Input | Need::Room | Need::Close => Ok(()),
    }
    .expect("the client asked for it");
    need == Need::Body
}

proptest! {
    #[test]
    fn dots_are_stuffed_whatever_the_pieces_and_the_room(
        body in prop::collection::vec(prop::sample::select(&b"\r\n.x"[..]), 0..60),
        piece in 1..30_usize,
        room in 8..20_usize,
    ) {
        let mut client = at_the_body();
        let (mut sent, mut from) = (Vec::new(), 0);
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        loop {
            match client.step(START, b"", &mut out).next {
                Err(Need::Room) => {
                    sent.extend_from_slice(out.written());
                    out.clear();
                }
                Err(Need::Body) if from == body.len() => client.body_end(&mut out).expect("room"),
                Err(Need::Body) => {
                    let end = body.len().min(from + piece);
                    from += client.body(&body[from..end], &mut out).expect("the body is next");
                }
                _ => break,
            }
        }
        sent.extend_from_slice(out.written());
        prop_assert_eq!(sent.escape_ascii().to_string(), stuffed(&body).escape_ascii().to_string());
    }

    #[test]
    fn no_peer_gets_a_verdict_out_of_a_message_that_was_not_sent(
        lines in prop::collection::vec(prop::sample::select(&[
            "220 hi\r\n", "250 ok\r\n", "250-more\r\n", "250 PIPELINING\r\n", "354 go\r\n",
            "250 STARTTLS\r\n", "421 bye\r\n", "451 no\r\n", "550 no\r\n", "500\r\n", "x\r\n",
        ][..]), 0..30),
        tls in prop::sample::select(&[TlsPolicy::Off, TlsPolicy::Opportunistic][..]),
    ) {
        let mut client = Client::new(Config { tls, ..CONFIG });
        let mut sent = false;
        for line in lines {
            let mut input = line.as_bytes();
            loop {
                let mut buffer = [0; 2000];
                let mut out = Out::new(&mut buffer);
                let Step { consumed, next } = client.step(START, input, &mut out);
                input = &input[consumed..];
                match next {
                    Ok(Event::Message(reply)) if reply.class() == Class::Completion => {
                        prop_assert!(sent, "{} came before the message", reply);
                        sent = false;
                    }
                    Ok(_) => {}
                    Err(Need::Input | Need::Close) => break,
                    Err(need) => sent |= answer(&mut client, need, &mut out),
                }
            }
        }
    }
}
