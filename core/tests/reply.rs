//! Replies of peers, good and bad.

use std::cell::Cell;

use postern_core::client::reply::{Class, REPLY_MAX, Reply, ReplyFault, parse};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn whole(input: &[u8]) -> Reply<'_> {
    parse(input).expect("a good reply").expect("a whole reply")
}

#[test]
fn good_replies() {
    let cases: [(&[u8], u16, Class, &str); 9] = [
        (b"250 ok\r\n", 250, Class::Completion, "250 ok"),
        (b"250\r\n", 250, Class::Completion, "250"),
        (b"250 \r\n", 250, Class::Completion, "250"),
        (b"354 go on\r\n", 354, Class::Intermediate, "354 go on"),
        (b"452 4.2.2 full\r\n", 452, Class::Transient, "452 4.2.2 full"),
        (b"599 x\r\n", 599, Class::Permanent, "599 x"),
        (b"550-5.7.1 no\r\n550 5.7.1 way\r\n", 550, Class::Permanent, "550 5.7.1 no 5.7.1 way"),
        (b"220-\r\n220\r\n", 220, Class::Completion, "220"),
        (b"554 a\x1b[2Jb\xffc\r\n", 554, Class::Permanent, "554 a?[2Jb?c"),
    ];
    for (input, code, class, shown) in cases {
        let reply = whole(input);
        assert_eq!((reply.code(), reply.class()), (code, class), "{reply}");
        assert_eq!(reply.to_string(), shown);
        assert_eq!(reply.length(), input.len());
    }
}

#[test]
fn bad_replies() {
    let cases: [(&[u8], ReplyFault); 12] = [
        (b"\r\n", ReplyFault::Code),
        (b"25\r\n", ReplyFault::Code),
        (b"hello there\r\n", ReplyFault::Code),
        (b"199 low\r\n", ReplyFault::Code),
        (b"600 high\r\n", ReplyFault::Code),
        (b"+50 sign\r\n", ReplyFault::Code),
        (b" 250 indented\r\n", ReplyFault::Code),
        (b"2500 long\r\n", ReplyFault::Separator),
        (b"250\tok\r\n", ReplyFault::Separator),
        (b"250 ok\n", ReplyFault::LineEnd),
        (b"250-a\r\n251 b\r\n", ReplyFault::MixedCodes),
        (b"250-a\r\n\r\n", ReplyFault::Code),
    ];
    for (input, fault) in cases {
        assert_eq!(parse(input), Err(fault), "{}", input.escape_ascii());
    }
}

#[test]
fn a_reply_is_taken_whole_and_alone() {
    let input = b"250-one\r\n250-two\r\n250 three\r\n354 next\r\n";
    let length = input.len() - b"354 next\r\n".len();
    for end in 0..length {
        assert_eq!(parse(&input[..end]), Ok(None), "with {end} octets");
    }
    let reply = whole(input);
    assert_eq!(reply.length(), length);
    assert_eq!(reply.lines().collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_reply_ends_within_its_limit() {
    let line = format!("250 {}\r\n", "x".repeat(REPLY_MAX - 6));
    assert_eq!(line.len(), REPLY_MAX);
    assert_eq!(whole(line.as_bytes()).length(), REPLY_MAX);
    let longer = format!("250 {}\r\n", "x".repeat(REPLY_MAX - 5));
    assert_eq!(parse(longer.as_bytes()), Err(ReplyFault::TooLong));
    assert_eq!(parse(&longer.as_bytes()[..REPLY_MAX]), Err(ReplyFault::TooLong));
    assert_eq!(parse("250-x\r\n".repeat(REPLY_MAX).as_bytes()), Err(ReplyFault::TooLong));
}

#[test]
fn enhanced_codes() {
    let cases: [(&[u8], Option<&str>); 9] = [
        (b"250 2.1.5 ok\r\n", Some("2.1.5")),
        (b"550 5.1.1\r\n", Some("5.1.1")),
        (b"450-4.7.999 a\r\n450 b\r\n", Some("4.7.999")),
        (b"550 4.1.1 of another class\r\n", None),
        (b"250 2.1 short\r\n", None),
        (b"250 2.1.5.1 long\r\n", None),
        (b"250 2.1.5000 large\r\n", None),
        (b"250 2..5 hole\r\n", None),
        (b"250\r\n", None),
    ];
    for (input, expected) in cases {
        let shown = whole(input).enhanced().map(|code| code.to_string());
        assert_eq!(shown.as_deref(), expected, "{}", input.escape_ascii());
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        code in 200_u16..600,
        lines in prop::collection::vec("[ -~]{0,60}", 1..8),
    ) {
        let (last, before) = lines.split_last().expect("one line at least");
        let mut text = String::new();
        for line in before {
            text += &format!("{code}-{line}\r\n");
        }
        text += &format!("{code} {last}\r\n");
        let reply = whole(text.as_bytes());
        prop_assert_eq!(reply.code(), code);
        let read: Vec<_> = reply.lines().map(|line| String::from_utf8_lossy(line)).collect();
        prop_assert_eq!(read, lines);
    }
}

/// Any octets behind good codes: most of them would not get past the first.
#[test]
fn any_octets_behind_a_code_are_read_without_a_panic() {
    let text = prop::collection::vec(any::<u8>(), 0..80);
    let line = (200_u16..600, "[ -]", text, prop_oneof![9 => Just("\r\n"), 1 => Just("\n")]);
    let wholes = Cell::new(0);
    let lines = prop::collection::vec(line, 1..4);
    let run = TestRunner::deterministic().run(&lines, |lines| {
        let (first, ..) = lines[0];
        let mut input = Vec::new();
        for (code, separator, text, end) in &lines {
            let code = if code % 8 == 0 { *code } else { first };
            input.extend_from_slice(format!("{code}{separator}").as_bytes());
            input.extend_from_slice(text);
            input.extend_from_slice(end.as_bytes());
        }
        if let Ok(Some(reply)) = parse(&input) {
            wholes.set(wholes.get() + 1);
            prop_assert!(reply.length() <= input.len());
            prop_assert!(!reply.to_string().contains(char::is_control));
        }
        Ok(())
    });
    run.expect("no case fails");
    assert!(wholes.get() >= 64, "only {} replies were whole", wholes.get());
}
