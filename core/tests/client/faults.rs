//! The client against peers that break the protocol, and callers that break the contract.

use core::time::Duration;

use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, Pace, play, play_at, recipient};
use postern_core::client::reply::{REPLY_MAX, parse};
use postern_core::client::{
    CallError, Client, Config, End, Fault, Mail, Mechanism, Mechanisms, Need, Next, Recipient,
    Step, TlsPolicy, Waiting,
};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::{MailParams, Notify, RcptParams};
use proptest::prelude::*;

const EHLO: &str = "EHLO mx2.example\r\n";
const START: Instant = Instant::from_millis(1_000);

/// A client that has read the replies in `input`, each once it was due, and the need it came to.
fn after(input: &[u8], config: Config<'static>) -> (Client<'static>, Need) {
    let mut client = Client::new(config);
    let mut need = go_on(&mut client, b"");
    let mut rest = input;
    while let Some(reply) = parse(rest).expect("good replies") {
        let (reply, behind) = rest.split_at(reply.length());
        need = go_on(&mut client, reply);
        rest = behind;
    }
    (client, need)
}

fn go_on(client: &mut Client<'_>, mut input: &[u8]) -> Need {
    loop {
        let mut buffer = [0; 2000];
        let Step { consumed, next } = client.step(START, input, &mut Out::new(&mut buffer));
        input = &input[consumed..];
        if let Next::Need(need) = next {
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
    let go = ("DATA\r\n", "354 go\r\n");
    let script = [greeting, plain, (mail, "250 ok\r\n"), rcpt, go, ("1\r\n.\r\n", "354 go on\r\n")];
    let fault = "fault: the peer said 354 where that has no meaning";
    assert_eq!(play(CONFIG, &jobs, &script), ["rcpt 0: 250 ok", fault]);
}

#[test]
fn a_second_reply_between_transactions_is_a_lost_step() {
    let (mut client, need) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    assert_eq!(need, Need::Transaction);
    let mut buffer = [0; 2000];
    let step = client.step(START, b"250 ok\r\n", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Next::End(End::Fault(Fault::Unexpected(250)))), "{step:?}");
}

#[test]
fn plaintext_behind_the_answer_to_starttls_ends_the_connection() {
    let config = Config { tls: TlsPolicy::Opportunistic, ..CONFIG };
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 STARTTLS\r\n", config);
    let mut buffer = [0; 2000];
    let step = client.step(START, b"220 go\r\n250 injected\r\n", &mut Out::new(&mut buffer));
    let fault = End::Fault(Fault::PlaintextAfterStartTls);
    assert!(matches!(step.next, Next::End(end) if end == fault));
    assert_eq!(go_on(&mut client, b""), Need::Close);

    // Also where it comes later.
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 STARTTLS\r\n", config);
    assert_eq!(go_on(&mut client, b"220 go\r\n"), Need::Tls);
    let step = client.step(START, b"2", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Next::End(end) if end == fault));
}

/// HELO says nothing anew: what EHLO said in clear must not stand for it.
#[test]
fn what_was_offered_in_clear_is_not_believed_within_tls() {
    let config = Config { tls: TlsPolicy::Required, ..CONFIG };
    let offers =
        b"220 hi\r\n250-peer\r\n250-SIZE 5\r\n250-ETRN\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n\
        220 go\r\n";
    let (mut client, need) = after(offers, config);
    assert_eq!((need, client.size_limit()), (Need::Tls, Some(5)));
    assert!(client.mechanisms().has(Mechanism::Plain));
    client.tls_started().expect("it was asked for");
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!(go_on(&mut client, b"500 what?\r\n"), Need::Input, "HELO was said");
    assert_eq!(go_on(&mut client, b"250 peer\r\n"), Need::Transaction);
    assert_eq!((client.size_limit(), client.mechanisms()), (None, Mechanisms::NONE));
    let mut buffer = [0; 2000];
    let etrn = client.etrn(b"b.example", &mut Out::new(&mut buffer));
    assert_eq!(etrn, Err(CallError::EtrnNotOffered));
}

#[test]
fn each_wait_has_its_own_time() {
    let minutes = |count: u64| START.after(Duration::from_secs(60 * count));
    let (mut client, _) = after(b"", CONFIG);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Greeting, minutes(5)));
    assert_eq!(client.expire(START), None);
    assert_eq!(client.expire(minutes(5)), Some(Fault::TimedOut(Waiting::Greeting)));
    assert_eq!(client.deadline(), Instant::FAR, "it has expired once");
    assert_eq!(go_on(&mut client, b"220 too late\r\n"), Need::Close);

    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 PIPELINING\r\n", CONFIG);
    assert_eq!(client.waiting(), Waiting::Nothing);
    assert_eq!(client.deadline(), Instant::FAR, "our own slowness is not the peer's");
    let mut buffer = [0; 4000];
    let mut out = Out::new(&mut buffer);
    client.mail(&MAIL, &mut out).expect("MAIL is next");
    assert_eq!(client.waiting(), Waiting::Command);
    assert_eq!(go_on(&mut client, b""), Need::Recipient { index: 0 });
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    assert_eq!(go_on(&mut client, b""), Need::Recipient { index: 1 });
    client.rcpt_end().expect("RCPT is next");
    assert_eq!(go_on(&mut client, b"250 o"), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Command, minutes(5)));
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Input);
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Data, minutes(2)));
    assert_eq!(go_on(&mut client, b"354 go\r\n"), Need::Body);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Room, Instant::FAR));
    let full = client.step(START, b"", &mut Out::new(&mut [0; 4]));
    assert!(matches!(full.next, Next::Need(Need::Room)));
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Room, minutes(3)));
    assert_eq!(go_on(&mut client, b""), Need::Body);
    client.body_end(&mut out).expect("the body is next");
    client.mail_behind(&MAIL, &mut out).expect("there is room, and PIPELINING");
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Verdict, minutes(10)));
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Input);
    let seconds = |count: u64| START.after(Duration::from_secs(count));
    assert_eq!((client.waiting(), client.deadline()), (Waiting::QueuedMail, seconds(10)));
    assert_eq!(client.expire(seconds(10)), Some(Fault::TimedOut(Waiting::QueuedMail)));

    let (mut client, _) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    client.quit().expect("QUIT is one of the answers");
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!((client.waiting(), client.deadline()), (Waiting::Quit, seconds(5)));
}

#[test]
fn a_peer_that_takes_none_of_the_message_runs_out_of_time() {
    let mut client = at_the_body();
    let mut buffer = [0; 20];
    let mut out = Out::new(&mut buffer);
    client.body(&[b'x'; 20], &mut out).expect("the body is next");
    let later = START.after(Duration::from_secs(100));
    let step = client.step(later, b"", &mut out);
    assert!(matches!(step.next, Next::Need(Need::Room)));
    let deadline = later.after(Duration::from_secs(180));
    assert_eq!(client.deadline(), deadline, "from when the output was full");
    assert_eq!(client.expire(deadline), Some(Fault::TimedOut(Waiting::Room)));
}

#[test]
fn a_part_of_a_reply_wins_no_time() {
    let (mut client, _) = after(b"", CONFIG);
    let deadline = client.deadline();
    let mut buffer = [0; 2000];
    let later = START.after(Duration::from_secs(100));
    let step = client.step(later, b"220-one\r\n220-tw", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Next::Need(Need::Input)));
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
    assert_eq!(client.tls_started(), Err(CallError::OutOfTurn));
    assert_eq!(client.quit(), Err(CallError::OutOfTurn));
    assert!(out.is_empty());
    assert_eq!(go_on(&mut client, b"220 hi\r\n"), Need::Input);
    assert_eq!(go_on(&mut client, b"250 peer\r\n"), Need::Transaction);
}

/// Without PIPELINING each command waits for the reply before it (RFC 2920 §3.1): the step between
/// says when.
#[test]
fn a_call_answers_one_step() {
    let (mut client, _) = after(b"220 hi\r\n250 peer\r\n", CONFIG);
    let mut buffer = [0; 4000];
    let mut out = Out::new(&mut buffer);
    client.mail(&MAIL, &mut out).expect("MAIL is next");
    let sent = out.len();
    assert_eq!(client.rcpt(&recipient("b@b.example"), &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.rcpt_end(), Err(CallError::OutOfTurn));
    assert_eq!(client.abandon(), Err(CallError::OutOfTurn));
    assert_eq!(client.mail(&MAIL, &mut out), Err(CallError::OutOfTurn));
    assert_eq!(out.len(), sent);
    assert_eq!(go_on(&mut client, b"250 ok\r\n"), Need::Recipient { index: 0 });
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    assert_eq!(client.rcpt(&recipient("c@b.example"), &mut out), Err(CallError::OutOfTurn));

    let mut client = at_the_body();
    let mut buffer = [0; 20];
    let mut out = Out::new(&mut buffer);
    assert_eq!(client.mail_behind(&MAIL, &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.body(&[b'x'; 30], &mut out), Ok(20));
    assert_eq!(client.body_end(&mut out), Err(CallError::OutOfTurn), "not: there is no room");
    assert_eq!(client.body(b"x", &mut out), Err(CallError::OutOfTurn));
    out.clear();
    assert_eq!(go_on(&mut client, b""), Need::Body);
    client.body_end(&mut out).expect("the body is next");
    assert_eq!(client.mail_behind(&MAIL, &mut out), Err(CallError::PipeliningNotOffered));
    assert_eq!(client.body_end(&mut out), Err(CallError::OutOfTurn));
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!(client.mail_behind(&MAIL, &mut out), Err(CallError::OutOfTurn), "it has left");
    assert_eq!(out.written(), b"\r\n.\r\n");
}

#[test]
fn an_address_cannot_carry_a_command() {
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 DSN\r\n", CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    let bad: [&[u8]; 8] = [
        b"a@b\r\nDATA",
        b"a@b> SIZE=0",
        b"a b@c",
        b"\"a@b",
        b"\"a\\\"@b",
        b"a\\>@b",
        b"a\x7f@b",
        b"\"a\x7f\"@b",
    ];
    for reverse_path in bad {
        let mail = Mail { reverse_path, ..MAIL };
        assert_eq!(client.mail(&mail, &mut out), Err(CallError::BadText));
    }
    for envid in [&b"a b"[..], b"a\r\nb", b"a\x7f", b""] {
        let mail = Mail { params: MailParams { envid: Some(envid), ..NO_PARAMS }, ..MAIL };
        assert_eq!(client.mail(&mail, &mut out), Err(CallError::BadText));
    }
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

/// A client that has come to the body of a message of `size` octets, by BDAT.
fn at_the_chunk(size: u64) -> Client<'static> {
    let (mut client, _) = after(b"220 hi\r\n250-peer\r\n250 CHUNKING\r\n", CONFIG);
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    let params = MailParams { size: Some(size), ..NO_PARAMS };
    client.mail(&Mail { params, ..MAIL }, &mut out).expect("MAIL is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt(&recipient("b@b.example"), &mut out).expect("RCPT is next");
    go_on(&mut client, b"250 ok\r\n");
    client.rcpt_end().expect("RCPT is next");
    assert_eq!(go_on(&mut client, b""), Need::Body);
    client
}

#[test]
fn a_body_of_another_size_than_announced_is_not_ended() {
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    let mut client = at_the_chunk(4);
    assert_eq!(client.body(b"123", &mut out), Ok(3));
    assert_eq!(go_on(&mut client, b""), Need::Body);
    assert_eq!(client.body_end(&mut out), Err(CallError::SizeMismatch));
    assert_eq!(client.body(b"45", &mut out), Err(CallError::SizeMismatch));
    assert_eq!(out.written(), b"123");
    let mut client = at_the_chunk(0);
    assert_eq!(client.body(b"1", &mut out), Err(CallError::SizeMismatch));
}

/// A peer must not have the message whole before the caller knows that it read it right.
#[test]
fn the_last_octet_of_a_chunk_waits_for_the_end() {
    let mut buffer = [0; 2000];
    for (size, pieces) in [(4, &["1234"][..]), (4, &["1", "", "23", "4"]), (1, &["1"]), (0, &[])] {
        let mut client = at_the_chunk(size);
        let mut out = Out::new(&mut buffer);
        for piece in pieces {
            assert_eq!(client.body(piece.as_bytes(), &mut out), Ok(piece.len()));
            assert_eq!(go_on(&mut client, b""), Need::Body);
        }
        assert_eq!(out.len() as u64, size.saturating_sub(1), "{pieces:?}");
        client.body_end(&mut out).expect("all of it was given");
        let whole = if size == 0 { "BDAT 0 LAST\r\n".to_owned() } else { pieces.concat() };
        assert_eq!(out.written(), whole.as_bytes());
    }
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
    assert_eq!(go_on(&mut client, b""), Need::Input);
    assert_eq!(go_on(&mut client, b"354 go\r\n"), Need::Body);
    client
}

proptest! {
    #[test]
    fn dots_are_stuffed_whatever_the_pieces_and_the_room(
        body in prop::collection::vec(prop::sample::select(&b"\r\n.x"[..]), 0..60),
        piece in 1..30_usize,
        room in 16..30_usize,
    ) {
        let mut client = at_the_body();
        let (mut sent, mut from) = (Vec::new(), 0);
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        loop {
            match client.step(START, b"", &mut out).next {
                Next::Need(Need::Room) => {
                    sent.extend_from_slice(out.written());
                    out.clear();
                }
                Next::Need(Need::Body) if from == body.len() => {
                    client.body_end(&mut out).expect("room");
                }
                Next::Need(Need::Body) => {
                    let end = body.len().min(from + piece);
                    from += client.body(&body[from..end], &mut out).expect("the body is next");
                }
                _ => break,
            }
        }
        sent.extend_from_slice(out.written());
        prop_assert_eq!(sent.escape_ascii().to_string(), stuffed(&body).escape_ascii().to_string());
    }
}
