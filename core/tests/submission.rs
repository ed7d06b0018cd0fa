//! What is added to a message that is submitted, and whom its From field names.

use postern_core::submission::{Added, BadFrom, Header};
use postern_core::time::Timestamp;
use postern_core::wire::{Out, Text};
use proptest::prelude::*;

const DATE: &str = "Date: Sun, 22 Nov 2026 00:17:45 +0000\r\n";
const ID: &str = "Message-ID: <019aa8f0@mx.example>\r\n";

/// What becomes of `message` when it comes in these pieces; and its header.
fn submitted(pieces: &[&[u8]]) -> (Vec<u8>, Header) {
    let (mut header, mut ended) = (Header::new(), false);
    let (mut held, mut whole) = (Vec::new(), Vec::new());
    let missing = |header: &Header| {
        let added = Added {
            time: Timestamp { unix_seconds: 1_795_306_665, known: true },
            id: Text::new(b"019aa8f0").expect("printable"),
            host: Text::new(b"mx.example").expect("printable"),
        };
        let mut buffer = [0; 512];
        let mut out = Out::new(&mut buffer);
        header.put_missing(&added, &mut out).expect("it fits");
        out.written().to_vec()
    };
    for piece in pieces {
        if ended {
            whole.extend_from_slice(piece);
            continue;
        }
        held.extend_from_slice(piece);
        let fed = header.feed(piece);
        whole.extend(held.drain(..fed.header));
        assert!(held.len() <= 1000 + piece.len() || fed.ended);
        if fed.ended {
            ended = true;
            whole.extend(missing(&header));
            whole.append(&mut held);
        }
    }
    if !ended {
        header.end();
        whole.extend(missing(&header));
        whole.append(&mut held);
    }
    (whole, header)
}

fn shown(message: &[u8]) -> String {
    let (whole, _) = submitted(&[message]);
    // Every way to split it in two and three, and octet by octet.
    let octets: Vec<&[u8]> = message.chunks(1).collect();
    assert_eq!(submitted(&octets).0, whole, "{}", message.escape_ascii());
    for first in 0..message.len().min(200) {
        let (one, rest) = message.split_at(first);
        assert_eq!(submitted(&[one, rest]).0, whole, "{first}: {}", message.escape_ascii());
    }
    String::from_utf8_lossy(&whole).into_owned()
}

#[test]
fn what_is_missing_is_added_and_nothing_else() {
    let both = format!("{DATE}{ID}");
    let long = "x".repeat(997);
    let too_long = "x".repeat(1100);
    for (message, expected) in [
        ("Subject: a\r\n\r\nb\r\n", format!("Subject: a\r\n{both}\r\nb\r\n")),
        (
            "DATE: x\r\nmessage-id : <y>\r\n\r\nb\r\n",
            "DATE: x\r\nmessage-id : <y>\r\n\r\nb\r\n".into(),
        ),
        ("Date: x\r\n\r\nb\r\n", format!("Date: x\r\n{ID}\r\nb\r\n")),
        ("Message-ID:\r\n <y>\r\n\r\nb\r\n", format!("Message-ID:\r\n <y>\r\n{DATE}\r\nb\r\n")),
        // Folded: what looks like a field is a part of another.
        ("Subject: a\r\n Date: x\r\n\r\n", format!("Subject: a\r\n Date: x\r\n{both}\r\n")),
        ("X-Date: x\r\nDates: y\r\n\r\n", format!("X-Date: x\r\nDates: y\r\n{both}\r\n")),
        ("Resent-Message-ID: <x>\r\n\r\n", format!("Resent-Message-ID: <x>\r\n{both}\r\n")),
        // In the body it is text.
        ("A: b\r\n\r\nDate: x\r\n", format!("A: b\r\n{both}\r\nDate: x\r\n")),
        // No header at all.
        ("\r\nb\r\n", format!("{both}\r\nb\r\n")),
        ("Hello there\r\n", format!("{both}\r\nHello there\r\n")),
        (" indented: x\r\n", format!("{both}\r\n indented: x\r\n")),
        (": x\r\n\r\n", format!("{both}\r\n: x\r\n\r\n")),
        ("für dich: x\r\n\r\n", format!("{both}\r\nfür dich: x\r\n\r\n")),
        ("", both.clone()),
        // 8-bit in a field is the client's affair.
        ("Subject: für\r\n\r\nü\r\n", format!("Subject: für\r\n{both}\r\nü\r\n")),
        // A header that a line ends which is no field: what is added stands before that.
        ("A: b\r\nHello\r\nC: d\r\n", format!("A: b\r\n{both}Hello\r\nC: d\r\n")),
        ("A: b\r\nHello there\r\n\r\n", format!("A: b\r\n{both}Hello there\r\n\r\n")),
        // A mailbox file's line.
        ("From a Mon\r\nA: b\r\n\r\nc\r\n", format!("From a Mon\r\nA: b\r\n{both}\r\nc\r\n")),
        ("A: b\r\nFrom a Mon\r\n\r\n", format!("A: b\r\n{both}From a Mon\r\n\r\n")),
        // No body, and no end of a line (BDAT).
        ("A: b\r\n", format!("A: b\r\n{both}")),
        ("A: b", format!("A: b\r\n{both}")),
        ("A: b\r\nC", format!("A: b\r\n{both}C")),
        ("Date: x\r\nMessage-ID: y", "Date: x\r\nMessage-ID: y".into()),
        (&format!("{long}:\r\n\r\n"), format!("{long}:\r\n{both}\r\n")),
        (&too_long, format!("{both}\r\n{too_long}")),
    ] {
        assert_eq!(shown(message.as_bytes()), expected, "{}", message.escape_debug());
    }
}

fn from(header: &str) -> Result<Vec<String>, BadFrom> {
    let (_, header) = submitted(&[format!("{header}\r\n\r\n").as_bytes()]);
    let text = |address: &[u8]| String::from_utf8_lossy(address).into_owned();
    header.from()?.map(|address| address.map(|address| text(address.as_bytes()))).collect()
}

#[test]
fn whom_a_from_field_names() {
    let ann = "ann@client.example";
    for (field, expected) in [
        ("From: ann@client.example", &[ann][..]),
        ("FROM : <ann@client.example>", &[ann]),
        ("From:ann@client.example", &[ann]),
        ("From: Ann Other <ann@client.example>", &[ann]),
        ("From: \"Other, Ann (A)\" <ann@client.example> (at home)", &[ann]),
        ("From: ann@client.example (Ann \\) (Other))", &[ann]),
        ("From: (c) A. Other\r\n <ann@client.example>", &[ann]),
        ("From: =?utf-8?q?J=C3=B6rg?= <ann@client.example>", &[ann]),
        ("From: Jörg <ann@client.example>", &[ann]),
        ("From: \"ceo@other.example\" <ann@client.example>", &[ann]),
        ("From: Ann <ann@client.example>,\r\n\tbob@b.example", &[ann, "bob@b.example"]),
        ("From: \"a b\"@c.example", &["\"a b\"@c.example"]),
        ("From: <a@[IPv6:::1]>", &["a@[IPv6:::1]"]),
    ] {
        let expected: Vec<_> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(from(field), Ok(expected), "{field}");
    }
}

#[test]
fn a_from_field_that_readers_may_differ_on_is_unclear() {
    for field in [
        "From:",
        "From: ",
        "From: (ann@client.example)",
        "From: Ann",
        "From: ann@client.example,",
        "From: ,ann@client.example",
        "From: ann@client.example bob@b.example",
        "From: ann@client.example <ceo@other.example>",
        "From: <ann@client.example> <ceo@other.example>",
        "From: <ann@client.example> x",
        "From: <<ann@client.example>>",
        "From: <@a.example:ann@client.example>",
        "From: group: ann@client.example, ceo@other.example;",
        "From: \"Ann <ann@client.example>",
        "From: Ann (other <ann@client.example>",
        "From: Ann <ann @client.example>",
        "From: Ann <ann@client.example",
        "From: \"a\"b@c.example <ann@client.example>",
        "From: ann\\@client.example <ann@client.example>",
    ] {
        assert_eq!(from(field).expect_err(field), BadFrom::Unclear, "{field}");
    }
    let twice = "From: ann@client.example\r\nFrom: ceo@other.example";
    assert_eq!(from(twice), Err(BadFrom::Repeated));
    assert_eq!(from("Sender: ann@client.example"), Err(BadFrom::Missing));
    assert_eq!(from("A: b\r\nHello\r\nFrom: ann@client.example"), Err(BadFrom::Unclear));
    let long = format!("From: {} <ann@client.example>", "x".repeat(2048));
    assert_eq!(from(&long), Err(BadFrom::TooLong));
}

const LINE: &str = "[ -~\t]{0,12}|(Date|From|Message-ID|>?From): ?[a-z<>@,(\"]{0,9}";

proptest! {
    /// Whatever comes, in whatever pieces: it is all there, in its order, and once.
    #[test]
    fn any_octets_stay_as_they_are(
        lines in prop::collection::vec(LINE, 0..8),
        end in any::<bool>(),
        sizes in prop::collection::vec(1_usize..20, 1..20),
    ) {
        let message = lines.join("\r\n") + if end { "\r\n" } else { "" };
        let (mut rest, mut pieces) = (message.as_bytes(), Vec::new());
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let (whole, header) = submitted(&pieces);
        prop_assert_eq!(&submitted(&[message.as_bytes()]).0, &whole);
        let whole = String::from_utf8(whole).expect("ASCII");
        let shorter = whole.replacen(DATE, "", 1).replacen(ID, "", 1);
        let same = shorter == message
            || shorter == format!("\r\n{message}")
            || shorter == format!("{message}\r\n");
        prop_assert!(same, "{whole:?} of {message:?}");
        let _told = header.from().map(Iterator::count);
    }
}
