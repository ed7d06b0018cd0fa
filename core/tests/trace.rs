//! The Received field and the hop count.

use std::net::IpAddr;

use postern_core::time::Timestamp;
use postern_core::trace::{
    HOP_LIMIT, HopCounter, Origin, Received, With, separator, separator_before,
};
use postern_core::wire::{Out, Text};
use proptest::prelude::*;

const ESMTP: With = With { esmtp: true, tls: false, auth: false, utf8: false };

fn received<'a>(helo: &'a [u8], recipient: Option<&'a [u8]>) -> Received<'a> {
    Received {
        helo,
        origin: Origin::Internet(IpAddr::from([192, 0, 2, 7])),
        by: Text::new(b"mx2.provider.example").expect("printable"),
        with: With { tls: true, ..ESMTP },
        id: Text::new(b"019aa8f0-7c1e-7b3a-9d52-0c4f6e1d2b3a").expect("printable"),
        recipient,
        time: Timestamp { unix_seconds: 1_795_306_665, known: true },
    }
}

fn text(field: Received<'_>) -> String {
    let mut buffer = [0; 2048];
    let mut out = Out::new(&mut buffer);
    field.write(&mut out).expect("2048 octets hold any field");
    String::from_utf8_lossy(out.written()).into_owned()
}

#[test]
fn a_field_with_one_recipient() {
    assert_eq!(
        text(received(b"client.example", Some(b"ann@held.example"))),
        "Received: from client.example ([192.0.2.7]) by mx2.provider.example\r\n \
         with ESMTPS id 019aa8f0-7c1e-7b3a-9d52-0c4f6e1d2b3a for <ann@held.example>;\r\n \
         Sun, 22 Nov 2026 00:17:45 +0000\r\n"
    );
}

#[test]
fn a_field_for_several_names_none() {
    let field = text(received(b"client.example", None));
    assert!(!field.contains("for <"), "{field}");
    assert!(field.contains("2b3a;"), "{field}");
}

#[test]
fn addresses_are_literals_and_mapped_ones_are_folded() {
    let with_address = |address: &str| {
        let origin = Origin::Internet(address.parse().expect("an address"));
        text(Received { origin, ..received(b"h", None) })
    };
    assert!(with_address("2001:db8::7").contains("([IPv6:2001:db8::7])"));
    assert!(with_address("::ffff:192.0.2.9").contains("([192.0.2.9])"));
}

#[cfg(feature = "appletalk")]
#[test]
fn a_mailer_on_appletalk_has_no_literal_but_a_comment() {
    let peer = postern_core::appletalk::Address { network: 65280, node: 254, socket: 253 };
    let field = text(Received { origin: Origin::AppleTalk(peer), ..received(b"Mac", None) });
    assert!(field.contains("from Mac (AppleTalk network 65280 node 254 socket 253)"), "{field}");
}

#[test]
fn the_types_of_rfc_3848_and_6531() {
    let name = |esmtp, tls, auth, utf8| With { esmtp, tls, auth, utf8 }.name();
    let all = [
        (name(false, false, false, false), "SMTP"),
        (name(true, false, false, false), "ESMTP"),
        (name(true, true, false, false), "ESMTPS"),
        (name(true, false, true, false), "ESMTPA"),
        (name(true, true, true, false), "ESMTPSA"),
        (name(true, false, false, true), "UTF8SMTP"),
        (name(true, true, false, true), "UTF8SMTPS"),
        (name(true, false, true, true), "UTF8SMTPA"),
        (name(true, true, true, true), "UTF8SMTPSA"),
    ];
    for (name, expected) in all {
        assert_eq!(name, expected);
    }
}

#[test]
fn a_helo_name_cannot_break_the_field() {
    let field = text(received(b"a\r\nBcc: b (c) ;\"\\\xff\0", None));
    assert!(field.starts_with("Received: from a??Bcc:?b??c??????? "), "{field}");
    assert_eq!(field.matches("\r\n").count(), field.matches("\r\n ").count() + 1, "{field}");
    assert!(text(received(b"", None)).starts_with("Received: from unknown "));
}

#[test]
fn a_helo_name_is_shown_up_to_255_octets() {
    let name = |octets: usize| text(received(&vec![b'x'; octets], None)).matches('x').count();
    let others = name(0);
    assert_eq!((name(255) - others, name(256) - others), (255, 255));
    assert!(text(received(b"my_host-1.[IPv6:a]", None)).contains("from my_host-1.[IPv6:a] "));
}

#[test]
fn a_recipient_that_could_break_the_field_is_left_out() {
    assert!(!text(received(b"h", Some(b"a\r\nb@held.example"))).contains("for <"));
    assert!(!text(received(b"h", Some("ö@held.example".as_bytes()))).contains("for <"));
    let with = With { utf8: true, ..ESMTP };
    let field = Received { with, ..received(b"h", Some("ö@held.example".as_bytes())) };
    assert!(text(field).contains("for <ö@held.example>;"));
}

#[test]
fn no_room_writes_nothing() {
    let field = received(b"client.example", Some(b"ann@held.example"));
    for room in 0..text(field).len() {
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        assert!(field.write(&mut out).is_err(), "{room} octets are too few");
        assert!(out.is_empty(), "a part was left with {room} octets of room");
    }
}

#[test]
fn a_message_never_goes_on_the_field() {
    let long = [b'x'; 1000];
    for begins in [
        &b" folded"[..],
        b"\tfolded",
        b" ",
        b"Hello!\r\n",
        b"Hello, world: it",
        b"one two",
        b": no name",
        b"\xc3\xa4: x",
        b"x\r",
        b"\0",
        &long,
    ] {
        assert_eq!(separator(begins), Some(&b"\r\n"[..]), "{}", begins.escape_ascii());
    }
    for begins in [
        &b"Subject: x"[..],
        b"subject:",
        b"X-1 \t:",
        b"\r\n text",
        b"\n",
        b"From ann@client.example",
        b">From ann",
    ] {
        assert_eq!(separator(begins), Some(&b""[..]), "{}", begins.escape_ascii());
    }
    for begins in [&b""[..], b"Hello!", b"From", b"Subject ", &long[..997]] {
        assert_eq!(separator(begins), None, "{}", begins.escape_ascii());
    }
}

/// The field's name must end within the octets that a line may have, its colon among them.
#[test]
fn a_first_line_is_told_by_its_998_octets() {
    let name = [b'x'; 998];
    let with_colon = |length: usize| [&name[..length], b":"].concat();
    for (octets, expected) in [
        (name[..997].to_vec(), None),
        (name.to_vec(), Some(&b"\r\n"[..])),
        (with_colon(996), Some(b"")),
        (with_colon(997), Some(b"")),
        (with_colon(998), Some(b"\r\n")),
        ([&name[..996], b" "].concat(), None),
        ([&name[..997], b" "].concat(), Some(b"\r\n")),
    ] {
        assert_eq!(separator(&octets), expected, "{} octets", octets.len());
    }
}

/// The pieces in which a message comes change nothing, and neither does its being whole at once.
#[test]
fn what_stands_before_a_message_is_the_same_at_every_split() {
    for (message, expected) in [
        (&b""[..], ""),
        (b"\r\n", ""),
        (b"H", "\r\n"),
        (b"Hello!\r\n", "\r\n"),
        (b" x\r\n", "\r\n"),
        (b":\r\n", "\r\n"),
        (b"a b: c\r\n", "\r\n"),
        (b"From", "\r\n"),
        (b"From x\r\n", ""),
        (b"A:", ""),
        (b"A \t: x\r\n", ""),
    ] {
        let whole = separator_before(message);
        assert_eq!(whole, expected.as_bytes(), "{}", message.escape_ascii());
        for split in 0..message.len() {
            let told = separator(&message[..split]);
            assert!(told.is_none_or(|it| it == whole), "{} at {split}", message.escape_ascii());
        }
    }
}

#[test]
fn dates_at_the_edges_of_the_calendar() {
    let cases = [
        (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
        (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
        (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 +0000"),
    ];
    for (unix_seconds, date) in cases {
        let time = Timestamp { unix_seconds, known: true };
        let field = text(Received { time, ..received(b"h", None) });
        assert!(field.ends_with(&format!("{date}\r\n")), "{unix_seconds}: {field}");
    }
}

const MESSAGE: &[u8] = b"Received: one\r\nRECEIVED:two\r\nreceived \t: three\r\n\
    \x20Received: folded\r\nX-Received: no\r\nReceive: no\r\nReceived-SPF: no\r\n\
    Subject: Received: no\r\nreceived: four\r\n\r\nReceived: body\r\n";

#[test]
fn hops_are_counted_in_the_header_alone_at_every_split() {
    for split in 0..=MESSAGE.len() {
        let (head, tail) = MESSAGE.split_at(split);
        let mut counter = HopCounter::new();
        counter.feed(head);
        counter.feed(tail);
        assert_eq!(counter.hops(), 4, "split at {split}");
    }
}

#[test]
fn a_message_may_come_with_a_hundred_hops() {
    let mut counter = HopCounter::new();
    for _ in 0..HOP_LIMIT {
        counter.feed(b"Received: hop\r\n");
    }
    assert!(!counter.looping());
    counter.feed(b"Received: hop\r\n\r\n");
    assert!(counter.looping());
}

proptest! {
    /// What is mapped is folded first, so that the two never differ there.
    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them(
        octets: [u8; 4],
        groups in prop::array::uniform8(prop_oneof![Just(0_u16), Just(0), any::<u16>()]),
    ) {
        let (ipv4, ipv6) = (IpAddr::from(octets), IpAddr::from(groups));
        prop_assume!(ipv6.to_canonical() == ipv6);
        let written = |address| {
            let origin = Origin::Internet(address);
            text(Received { origin, ..received(b"h", None) })
        };
        prop_assert!(written(ipv4).contains(&format!("([{ipv4}])")), "{}", ipv4);
        prop_assert!(written(ipv6).contains(&format!("([IPv6:{ipv6}])")), "{}", ipv6);
    }

    #[test]
    fn lines_stay_short_and_foldings_whole(helo in prop::collection::vec(any::<u8>(), 0..60)) {
        let field = text(received(&helo, Some(b"ann@held.example")));
        let body = field.strip_suffix("\r\n").expect("the field ends in CRLF");
        for (nth, line) in body.split("\r\n").enumerate() {
            prop_assert!(line.len() <= 78, "{line}");
            prop_assert!(nth == 0 || line.starts_with(' '), "{line}");
            prop_assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{line}");
        }
    }
}
