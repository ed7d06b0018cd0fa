extern crate std;

use std::string::String;

use super::{MAX_REPLY, Reason, Stage, refusal};
use crate::wire::{Out, Text};

const STAGES: [Stage; 12] = [
    Stage::Connect,
    Stage::Hello,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Chunk,
    Stage::End,
    Stage::Etrn,
    Stage::Atrn,
    Stage::StartTls,
    Stage::Auth,
    Stage::Xclient,
];

/// Each reason with what is said to a client that connects, to EHLO, and in a session.
const TABLE: [(Reason, &str, &str, &str); 24] = [
    (Reason::Busy, "421", "421", "451 4.3.2"),
    (Reason::TooManySessions, "421", "421", "421 4.7.0"),
    (Reason::ShuttingDown, "421", "421", "421 4.3.2"),
    (Reason::Down, "421", "421", "421 4.3.2"),
    (Reason::Full, "421", "421", "452 4.3.1"),
    (Reason::Quota, "421", "421", "452 4.2.2"),
    (Reason::TooBig, "554", "550", "552 5.3.4"),
    (Reason::TooManyRecipients, "421", "421", "452 4.5.3"),
    (Reason::UnknownUser, "554", "550", "550 5.1.1"),
    (Reason::Unverified, "421", "421", "450 4.3.2"),
    (Reason::RelayDenied, "554", "550", "550 5.7.1"),
    (Reason::Policy, "554", "550", "550 5.7.1"),
    (Reason::NullMx, "554", "550", "556 5.1.10"),
    (Reason::Uncertain, "421", "421", "451 4.3.0"),
    (Reason::NoUtf8, "554", "550", "553 5.6.7"),
    (Reason::Loop, "554", "550", "554 5.4.6"),
    (Reason::NeedTls, "554", "550", "530 5.7.0"),
    (Reason::NeedAuth, "554", "550", "530 5.7.0"),
    (Reason::BadCredentials, "554", "550", "535 5.7.8"),
    (Reason::BadEncoding, "554", "550", "501 5.5.2"),
    (Reason::UnknownMechanism, "554", "550", "504 5.5.4"),
    (Reason::NoMail, "421", "421", "453 4.0.0"),
    (Reason::NoTls, "421", "421", "454 4.7.0"),
    (Reason::NotOffered, "554", "550", "502 5.5.1"),
];

fn expected(
    stage: Stage,
    reason: Reason,
    connecting: &'static str,
    greeting: &'static str,
    said: &'static str,
) -> &'static str {
    match (stage, reason) {
        (Stage::Connect, _) => connecting,
        (Stage::Hello, _) => greeting,
        // RFC 7505 §4.1: the sender's domain sends no mail.
        (Stage::Mail, Reason::NullMx) => "550 5.7.27",
        // RFC 6531 §4.2: a header in UTF-8 cannot be passed on.
        (Stage::End, Reason::NoUtf8) => "554 5.6.9",
        // RFC 2645 §5.2.1 knows 450 only.
        (Stage::Atrn, Reason::Policy) => "450 4.7.1",
        (Stage::Atrn, Reason::TooManySessions) => "450 4.3.2",
        // RFC 4954 §6: a temporary failure.
        (Stage::Auth, Reason::Busy) => "454 4.7.0",
        _ => said,
    }
}

fn written(stage: Stage, reason: Reason, text: Option<Text<'_>>) -> String {
    let mut buffer = [0; MAX_REPLY];
    let mut out = Out::new(&mut buffer);
    let reply = refusal(stage, reason);
    let done = match text {
        Some(text) => reply.write_text(text, &mut out),
        None => reply.write(&mut out),
    };
    done.expect("the longest reply fits");
    String::from_utf8(out.written().to_vec()).expect("replies are ASCII")
}

#[test]
fn every_refusal_has_its_codes() {
    for (reason, connecting, greeting, said) in TABLE {
        for stage in STAGES {
            let codes = expected(stage, reason, connecting, greeting, said);
            let line = written(stage, reason, None);
            let words = line.strip_prefix(codes).and_then(|rest| rest.strip_prefix(' '));
            let words = words.and_then(|rest| rest.strip_suffix("\r\n"));
            let words = words.unwrap_or_else(|| panic!("{stage:?}, {reason:?}: {line:?}"));
            assert!(words.starts_with(char::is_alphabetic), "{line:?}: an enhanced code too many");
            assert!(Text::new(words.as_bytes()).is_some(), "{line:?}");
        }
    }
}

#[test]
fn the_longest_text_fits_every_refusal() {
    let longest = [b'x'; Text::MAX];
    for (reason, ..) in TABLE {
        for stage in STAGES {
            let line = written(stage, reason, Text::new(&longest));
            assert!(line.ends_with("x\r\n") && line.len() <= MAX_REPLY, "{line:?}");
        }
    }
}

#[test]
fn a_reply_is_written_whole_or_not_at_all() {
    let whole = written(Stage::Mail, Reason::Policy, None);
    for room in 0..=whole.len() {
        let mut buffer = [0; MAX_REPLY];
        let mut out = Out::new(&mut buffer[..room]);
        let done = refusal(Stage::Mail, Reason::Policy).write(&mut out);
        assert_eq!((done.is_ok(), out.is_empty()), (room == whole.len(), room < whole.len()));
    }
}

/// The table is whole: a reason that it lacks does not compile here.
#[test]
fn every_reason_is_in_the_table() {
    for (index, (reason, ..)) in TABLE.iter().enumerate() {
        let number = match reason {
            Reason::Busy => 0,
            Reason::TooManySessions => 1,
            Reason::ShuttingDown => 2,
            Reason::Down => 3,
            Reason::Full => 4,
            Reason::Quota => 5,
            Reason::TooBig => 6,
            Reason::TooManyRecipients => 7,
            Reason::UnknownUser => 8,
            Reason::Unverified => 9,
            Reason::RelayDenied => 10,
            Reason::Policy => 11,
            Reason::NullMx => 12,
            Reason::Uncertain => 13,
            Reason::NoUtf8 => 14,
            Reason::Loop => 15,
            Reason::NeedTls => 16,
            Reason::NeedAuth => 17,
            Reason::BadCredentials => 18,
            Reason::BadEncoding => 19,
            Reason::UnknownMechanism => 20,
            Reason::NoMail => 21,
            Reason::NoTls => 22,
            Reason::NotOffered => 23,
        };
        assert_eq!(number, index, "{reason:?} stands elsewhere, or twice");
    }
}
