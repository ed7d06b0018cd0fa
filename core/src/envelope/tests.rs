extern crate std;

use std::vec::Vec;

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::wire::{NoRoom, Out};

fn sample_head() -> Head<'static> {
    Head {
        id: *b"0123456789abcdef",
        arrival: Timestamp { unix_seconds: 1_795_306_404, known: true },
        client: Some(Origin::Internet(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)))),
        client_port: 40_025,
        helo: b"relay.sender.example",
        esmtp: true,
        tls: true,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example",
        body: Body::EightBitMime,
        ret: Ret::Headers,
        envelope_id: b"QQ314159",
    }
}

fn sample_recipient() -> Recipient<'static> {
    Recipient {
        path: b"bob@client.example",
        notify: Notify::FAILURE.and(Notify::DELAY).expect("two that go together"),
        original: b"rfc822;bob@client.example",
        state: State::Waiting,
        attempts: 3,
        reply: b"450 4.2.1 try later",
    }
}

fn encode(head: &Head<'_>, recipients: &[Recipient<'_>]) -> Vec<u8> {
    let mut buffer = std::vec![0; 70_000 * (recipients.len() + 2)];
    let mut out = Out::new(&mut buffer);
    head.put(&mut out).expect("the buffer is large");
    for recipient in recipients {
        recipient.put(&mut out).expect("the buffer is large");
    }
    let count = u32::try_from(recipients.len()).expect("a few recipients");
    put_end(count, &mut out).expect("the buffer is large");
    out.written().to_vec()
}

fn sample() -> Vec<u8> {
    let unusual = Recipient { path: b"Postmaster", reply: b"", ..sample_recipient() };
    encode(&sample_head(), &[sample_recipient(), unusual])
}

#[test]
fn the_bytes_of_a_small_envelope() {
    let head = Head { helo: b"h", reverse_path: b"", envelope_id: b"", ..sample_head() };
    let expected: &[&[u8]] = &[
        b"H\x01\x2a\x00",
        b"0123456789abcdef",
        &1_795_306_404_u64.to_le_bytes(),
        b"\x07\x00\x02\x02",
        b"\x04\xc0\x00\x02\x07\x59\x9c",
        b"\x01\x00h\x00\x00\x00\x00",
    ];
    let expected = expected.concat();
    let bytes = encode(&head, &[]);
    assert_eq!(bytes.get(..expected.len()), Some(&expected[..]));
    let end = &bytes[expected.len() + 4..];
    assert_eq!(end.get(..8), Some(&b"E\x01\x04\x00\x00\x00\x00\x00"[..]));
    assert_eq!(end.len(), 12);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    for length in 0..bytes.len() {
        assert_eq!(Envelope::parse(&bytes[..length]).unwrap_err(), Fault::Truncated, "{length}");
    }
}

#[test]
fn every_flip_of_a_bit_is_an_error() {
    let mut bytes = sample();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Envelope::parse(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(Envelope::parse(&bytes).is_ok());
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let mut bytes = sample();
    bytes[1] = 2;
    let fault = Envelope::parse(&bytes).unwrap_err();
    assert_eq!(fault, Fault::UnknownVersion(2));
    let text = std::format!("{fault}");
    assert!(text.contains("version 2") && text.contains("version 1"), "{text}");
}

#[test]
fn records_that_do_not_belong_together_are_refused() {
    let one = encode(&sample_head(), &[sample_recipient()]);
    let none = encode(&sample_head(), &[]);
    let head_length = none.len() - 12;
    let swapped = [&one[..one.len() - 12], &none[head_length..]].concat();
    assert_eq!(Envelope::parse(&swapped).unwrap_err(), Fault::Order);
    assert_eq!(Envelope::parse(&one[head_length..]).unwrap_err(), Fault::Order);
    let two_heads = [&none[..head_length], &one[..]].concat();
    assert_eq!(Envelope::parse(&two_heads).unwrap_err(), Fault::Order);
    let trailing = [&one[..], b"x"].concat();
    assert_eq!(Envelope::parse(&trailing).unwrap_err(), Fault::Trailing);
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let long = [b'x'; 65_536];
    let mut buffer = [0; 70_000];
    let mut out = Out::new(&mut buffer);
    let head = Head { helo: &long, ..sample_head() };
    assert_eq!(head.put(&mut out), Err(NoRoom));
    assert_eq!(out.len(), 0);
    let whole = sample().len();
    for room in 0..whole {
        let mut out = Out::new(&mut buffer[..room]);
        let put = sample_head().put(&mut out);
        assert!(put.is_ok() || out.is_empty(), "{room}");
    }
}

#[test]
fn notify_never_stands_alone() {
    assert_eq!(Notify::NEVER.and(Notify::DELAY), None);
    assert_eq!(Notify::from_bits(16), None);
    let all = Notify::from_bits(14).expect("SUCCESS, FAILURE and DELAY");
    assert!(all.has(Notify::SUCCESS) && !Notify::DELAY.has(Notify::SUCCESS));
    let [failure, delay] = [Notify::FAILURE, Notify::DELAY];
    assert_eq!(failure.and(delay).map(Notify::told_of_delay), Some(failure));
    assert_eq!(
        (delay.told_of_delay(), Notify::NEVER.told_of_delay()),
        (Notify::NEVER, Notify::NEVER)
    );
    assert_eq!(Notify::UNSTATED.told_of_delay(), Notify::UNSTATED);
    assert!(!all.has(Notify::UNSTATED) && !Notify::UNSTATED.has(Notify::UNSTATED));
}

type Facts = (u64, u8, Option<Origin>, u16, [u8; 16]);

fn facts() -> impl Strategy<Value = Facts> {
    let address = prop_oneof![
        Just(None),
        any::<[u8; 4]>().prop_map(|octets| Some(IpAddr::V4(Ipv4Addr::from(octets)).into())),
        any::<[u8; 16]>().prop_map(|octets| Some(IpAddr::V6(Ipv6Addr::from(octets)).into())),
    ];
    (any::<u64>(), 0..64_u8, address, any::<u16>(), any::<[u8; 16]>())
}

fn strings() -> impl Strategy<Value = [Vec<u8>; 3]> {
    let string = || prop::collection::vec(any::<u8>(), 0..80);
    [string(), string(), string()]
}

fn make_head<'a>(facts: &Facts, strings: &'a [Vec<u8>; 3]) -> Head<'a> {
    let (unix_seconds, flags, client, client_port, id) = *facts;
    Head {
        id,
        arrival: Timestamp { unix_seconds, known: flags & 1 != 0 },
        client,
        client_port,
        helo: &strings[0],
        esmtp: flags & 2 != 0,
        tls: flags & 4 != 0,
        authenticated: flags & 8 != 0,
        smtp_utf8: flags & 16 != 0,
        submitted: flags & 32 != 0,
        reverse_path: &strings[1],
        body: [Body::Unstated, Body::SevenBit, Body::EightBitMime, Body::BinaryMime]
            [usize::from(id[0] % 4)],
        ret: [Ret::Unstated, Ret::Full, Ret::Headers][usize::from(id[1] % 3)],
        envelope_id: &strings[2],
    }
}

fn make_recipient(choice: u16, strings: &[Vec<u8>; 3]) -> Recipient<'_> {
    let notify = if choice & 1 == 0 { choice % 16 } else { 1 };
    Recipient {
        path: &strings[0],
        notify: Notify::from_bits(notify as u8).expect("even, or NEVER"),
        original: &strings[1],
        state: [State::Waiting, State::Delivered, State::Refused, State::Expired]
            [usize::from(choice / 16 % 4)],
        attempts: choice,
        reply: &strings[2],
    }
}

proptest! {
    #[test]
    fn what_was_put_is_parsed(
        facts in facts(),
        of_head in strings(),
        of_recipients in prop::collection::vec((any::<u16>(), strings()), 0..5),
    ) {
        let head = make_head(&facts, &of_head);
        let recipients: Vec<_> =
            of_recipients.iter().map(|(choice, text)| make_recipient(*choice, text)).collect();
        let bytes = encode(&head, &recipients);
        let parsed = Envelope::parse(&bytes).expect("just encoded");
        prop_assert_eq!(parsed.head(), head);
        prop_assert_eq!(parsed.recipients().collect::<Vec<_>>(), recipients);
    }
}

/// A program that knows nothing of AppleTalk reads its mail all the same.
#[test]
fn a_mailer_on_appletalk_is_one_by_network_node_and_socket() {
    #[cfg(feature = "appletalk")]
    let client = {
        let address = crate::appletalk::Address { network: 0x1234, node: 5, socket: 130 };
        Some(Origin::AppleTalk(address))
    };
    #[cfg(not(feature = "appletalk"))]
    let client = None;
    let mut bytes = encode(&Head { client: None, ..sample_head() }, &[]);
    bytes[2] += 4;
    bytes.splice(PREFIX + 28..=PREFIX + 28, [1, 0x12, 0x34, 5, 130]);
    let bytes = with_checksums(&bytes);
    let parsed = Envelope::parse(&bytes).expect("it is sound");
    assert_eq!(parsed.head(), Head { client, ..sample_head() });
    if cfg!(feature = "appletalk") {
        assert_eq!(encode(&parsed.head(), &[]), bytes);
    }
}

/// The records of `bytes`, as far as they are whole, each with the checksum that it should have.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut rest = bytes;
    while let [_, _, low, high, ..] = *rest {
        let length = PREFIX + usize::from(u16::from_le_bytes([low, high]));
        let Some((record, behind)) = rest.split_at_checked(length) else { break };
        made.extend_from_slice(record);
        made.extend_from_slice(&CRC32C.checksum(record).to_le_bytes());
        rest = behind.get(4..).unwrap_or_default();
    }
    made
}

/// Each field of a record whose checksum is right, with the values next to those it may have.
#[test]
fn what_a_field_can_not_be_is_malformed() {
    let head = encode(&Head { client: None, ..sample_head() }, &[]);
    let recipient = encode(&sample_head(), &[sample_recipient()]);
    let start = encode(&sample_head(), &[]).len() - 12;
    let cases: [(&[u8], usize, u8); 8] = [
        (&head, PREFIX + 16 + 8, 64),     // a flag that there is not
        (&head, PREFIX + 16 + 8 + 1, 1),  // another
        (&head, PREFIX + 16 + 8 + 2, 4),  // BODY
        (&head, PREFIX + 16 + 8 + 3, 3),  // RET
        (&head, PREFIX + 16 + 8 + 4, 5),  // the kind of address
        (&recipient, start + PREFIX, 3),  // NEVER with others
        (&recipient, start + PREFIX, 16), // a flag that there is not
        (&recipient, start + PREFIX + 1, 4),
    ];
    for (bytes, at, value) in cases {
        let mut bytes = bytes.to_vec();
        assert!(Envelope::parse(&bytes).is_ok());
        bytes[at] = value;
        let fault = Envelope::parse(&with_checksums(&bytes)).unwrap_err();
        assert_eq!(fault, Fault::Malformed, "{value} at {at}");
    }
}

#[test]
fn a_record_that_is_longer_than_its_fields_is_malformed() {
    let bytes = encode(&sample_head(), &[]);
    let end = bytes.len() - 12;
    let longer = [&bytes[..end], b"E\x01\x05\x00\x00\x00\x00\x00x\x00\x00\x00\x00"].concat();
    assert_eq!(Envelope::parse(&with_checksums(&longer)).unwrap_err(), Fault::Malformed);
}

#[test]
fn a_record_of_another_kind_is_refused_by_name() {
    let mut bytes = sample();
    bytes[0] = b'X';
    assert_eq!(Envelope::parse(&with_checksums(&bytes)).unwrap_err(), Fault::UnknownKind(b'X'));
}

#[test]
fn a_wrong_checksum_is_told_from_the_rest() {
    let mut bytes = sample();
    bytes[PREFIX] ^= 1;
    assert_eq!(Envelope::parse(&bytes).unwrap_err(), Fault::Checksum);
}

#[test]
fn what_was_checked_before_is_read_without_its_checksums() {
    let (right, mut bytes) = (sample(), sample());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let checked = Envelope::parse_checked(&bytes).unwrap();
    let parsed = Envelope::parse(&right).unwrap();
    assert_eq!(checked.head(), parsed.head());
    assert!(checked.recipients().eq(parsed.recipients()));
    for length in 0..right.len() {
        assert_eq!(Envelope::parse_checked(&right[..length]).unwrap_err(), Fault::Truncated);
    }
}

/// An envelope in which some bytes were changed, with the right checksums or with its own.
#[test]
fn no_bytes_make_it_panic() {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = (prop::collection::vec(change, 0..4), any::<bool>());
    let (read, refused) = (Cell::new(0), Cell::new(0));
    let run = TestRunner::deterministic().run(&changes, |(changes, with_right_checksums)| {
        let mut bytes = sample();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let bytes = if with_right_checksums { with_checksums(&bytes) } else { bytes };
        match Envelope::parse(&bytes) {
            Ok(envelope) => {
                read.set(read.get() + 1);
                let recipients: Vec<_> = envelope.recipients().collect();
                prop_assert_eq!(encode(&envelope.head(), &recipients), bytes);
            }
            Err(Fault::Malformed | Fault::Order) => refused.set(refused.get() + 1),
            Err(_) => {}
        }
        Ok(())
    });
    run.expect("no case fails");
    let (read, refused) = (read.get(), refused.get());
    assert!(read >= 50 && refused >= 20, "{read} were read, {refused} refused for their content");
}
