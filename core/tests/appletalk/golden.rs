//! Packets, octet by octet, from the field tables of Inside AppleTalk.

use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::packet::{Content, Open, OpenKind, Packet};
use postern_core::appletalk::aep::Echo;
use postern_core::appletalk::ddp::{self, Datagram, Fault};
use postern_core::appletalk::llap::Frame;
use postern_core::appletalk::nbp::{self, Function, Name, Tuple};
use postern_core::wire::{NoRoom, Out};

fn written(write: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    write(&mut out).expect("it fits");
    out.written().to_vec()
}

const ECHO: Datagram<'static> = Datagram {
    source: Address { network: 0x1234, node: 5, socket: 130 },
    destination: Address { network: 0x1234, node: 200, socket: 4 },
    kind: ddp::AEP,
    data: b"\x01hi",
};

#[test]
fn frames() {
    let frame = Frame { destination: 200, source: 5, kind: 1, data: b"x" };
    let octets = written(|out| frame.write(out));
    assert_eq!(octets, [200, 5, 1, b'x']);
    assert_eq!(Frame::parse(&octets), Some(frame));
    assert_eq!(Frame::parse(&octets[..2]), None);
    assert_eq!((Frame::parse(&[0; 603]).is_some(), Frame::parse(&[0; 604])), (true, None));
}

#[test]
fn short_datagrams() {
    let octets = written(|out| ECHO.write_short(out));
    assert_eq!(octets, *b"\x00\x08\x04\x82\x04\x01hi");
    let address = |address: Address| Address { network: 0, ..address };
    let short =
        Datagram { source: address(ECHO.source), destination: address(ECHO.destination), ..ECHO };
    assert_eq!(Datagram::parse_short(5, 200, &octets), Ok(short));
    assert_eq!(Datagram::parse_short(5, 200, &octets[..7]), Err(Fault::Length));
    assert_eq!(Datagram::parse_short(5, 200, &octets[..4]), Err(Fault::Size));
    let reserved = [&[0x04], &octets[1..]].concat();
    assert_eq!(Datagram::parse_short(5, 200, &reserved), Err(Fault::Length));
}

#[test]
fn extended_datagrams_and_their_checksum() {
    let octets = written(|out| ECHO.write_extended(out));
    assert_eq!(octets[..4], [0x00, 0x10, 0x4e, 0x7e]);
    assert_eq!(octets[4..], *b"\x12\x34\x12\x34\xc8\x05\x04\x82\x04\x01hi");
    assert_eq!(Datagram::parse_extended(&octets), Ok(ECHO));
    // A router counts hops outside of the checksum.
    let hopped = [&[0x3c], &octets[1..]].concat();
    assert_eq!(Datagram::parse_extended(&hopped), Ok(ECHO));
    for at in 4..octets.len() {
        let mut changed = octets.clone();
        changed[at] ^= 0x10;
        assert_eq!(Datagram::parse_extended(&changed), Err(Fault::Checksum), "octet {at}");
        (changed[2], changed[3]) = (0, 0);
        assert!(Datagram::parse_extended(&changed).is_ok(), "0 is no checksum");
    }
    // Sums of 0 and of all ones are written alike.
    assert_eq!((ddp::checksum(0, &[]), ddp::checksum(0, &[0])), (0xffff, 0xffff));
    assert_eq!((ddp::checksum(0xffff, &[0]), ddp::checksum(0xffff, &[1])), (0xffff, 0xffff));
    assert_eq!(Datagram::parse_extended(&octets[..15]), Err(Fault::Length));
    let longest = Datagram { data: &[0; ddp::DATA_MAX], ..ECHO };
    let octets = written(|out| longest.write_extended(out));
    assert_eq!((octets.len(), Datagram::parse_extended(&octets)), (599, Ok(longest)));
    let longer = Datagram { data: &[0; ddp::DATA_MAX + 1], ..ECHO };
    let mut buffer = [0; 1024];
    assert_eq!(longer.write_extended(&mut Out::new(&mut buffer)), Err(NoRoom));
}

#[test]
fn a_checksum_of_0_is_written_as_all_ones() {
    assert_eq!(ddp::checksum(0, b""), 0xffff);
    assert_eq!(ddp::checksum(0, &[0; 9]), 0xffff);
    assert_eq!(ddp::checksum(0, &[0x80, 1]), 0x0202);
    assert_eq!(ddp::checksum(0xc000, &[0]), 0x8001, "it is rotated");
}

#[test]
fn echoes() {
    assert_eq!(written(|out| Echo::Request(b"hi").write(out)), b"\x01hi");
    assert_eq!(Echo::parse(b"\x02hi"), Some(Echo::Reply(b"hi")));
    assert_eq!((Echo::parse(b""), Echo::parse(b"\x03hi")), (None, None));
    assert_eq!(Echo::parse(&[1; ddp::DATA_MAX + 1]), None);
}

#[test]
fn names() {
    let tuple = Tuple {
        address: Address { network: 0x1234, node: 5, socket: 2 },
        enumerator: 1,
        name: Name::new(b"mx2:SMTP@*").expect("a name"),
    };
    let octets = written(|out| nbp::write(Function::LookUp, 9, [tuple].into_iter(), out));
    assert_eq!(octets, *b"\x21\x09\x12\x34\x05\x02\x01\x03mx2\x04SMTP\x01*");
    let packet = nbp::Packet::parse(&octets).expect("a packet");
    assert_eq!((packet.function, packet.id), (Function::LookUp, 9));
    assert_eq!(packet.tuples().collect::<Vec<_>>(), [tuple]);
    for (at, octet) in [(0, 0x22), (0, 0x51), (7, 33), (16, 2)] {
        let mut bad = octets.clone();
        bad[at] = octet;
        assert!(nbp::Packet::parse(&bad).is_none(), "octet {at}");
    }
    let two = written(|out| nbp::write(Function::LookUp, 9, [tuple; 2].into_iter(), out));
    assert!(nbp::Packet::parse(&two).is_none(), "a question is one");
    // An answer holds as many as fit, and 15 at most.
    let many = written(|out| nbp::write(Function::Reply, 9, [tuple; 16].into_iter(), out));
    assert_eq!((many[0], many.len()), (0x3f, 2 + 15 * 16));
    let mut buffer = [0; 40];
    let mut out = Out::new(&mut buffer);
    assert_eq!(nbp::write(Function::Reply, 9, [tuple; 5].into_iter(), &mut out), Ok(()));
    assert_eq!((out.written()[0], out.len()), (0x32, 34));
}

#[test]
fn streams() {
    let packet = |descriptor: u8| {
        let head = [0x12, 0x34, 0, 0, 0, 5, 0, 0, 0, 9, 0x08, 0, descriptor];
        head.to_vec()
    };
    let head = |answer, content| Packet {
        source: 0x1234,
        first_byte: 5,
        next_receive: 9,
        window: 2048,
        answer,
        content,
    };
    let open = |kind| {
        let (version, destination, attention_receive) = (0x0100, 0x4321, 7);
        Content::Open(Open { kind, version, destination, attention_receive })
    };
    let data = |ends_message| Content::Data { data: b"hi", ends_message };
    let opening = &[1, 0, 0x43, 0x21, 0, 0, 0, 7];
    let cases: [(u8, bool, Content<'_>, &[u8]); 16] = [
        (0x00, false, data(false), b"hi"),
        (0x40, true, data(false), b"hi"),
        (0x60, true, data(true), b"hi"),
        (0x80, false, Content::Acknowledgement, b""),
        (0xc0, true, Content::Acknowledgement, b""),
        (0x81, false, open(OpenKind::Request), opening),
        (0x82, false, open(OpenKind::Acknowledgement), opening),
        (0x83, false, open(OpenKind::RequestAndAcknowledgement), opening),
        (0x84, false, open(OpenKind::Denial), opening),
        (0x85, false, Content::CloseAdvice, b""),
        (0x86, false, Content::ForwardReset, b""),
        (0x87, false, Content::ForwardResetAcknowledgement, b""),
        (0x88, false, Content::RetransmitAdvice, b""),
        (0x50, true, Content::Attention(b"\x00\x01"), b"\x00\x01"),
        (0x90, false, Content::AttentionAcknowledgement, b""),
        (0xc5, true, Content::CloseAdvice, b""),
    ];
    for (descriptor, answer, content, body) in cases {
        let octets = [&packet(descriptor), body].concat();
        let expected = head(answer, content);
        assert_eq!(written(|out| expected.write(out)), octets, "{descriptor:02x}");
        assert_eq!(Packet::parse(&octets), Some(expected), "{descriptor:02x}");
    }
    for reserved in (0x89..=0x8f).chain([0x01, 0x91, 0x51]) {
        assert_eq!(Packet::parse(&packet(reserved)), None, "{reserved:02x}");
    }
    assert_eq!(Packet::parse(&packet(0x80)[..12]), None);
    assert_eq!(Packet::parse(&[&packet(0x81)[..], &opening[..7]].concat()), None);
    assert_eq!(Packet::parse(&[&packet(0x50)[..], &[0]].concat()), None, "it has no code");
    assert!(Packet::parse(&[&packet(0)[..], &[0; 572]].concat()).is_some());
    assert_eq!(Packet::parse(&[&packet(0)[..], &[0; 573]].concat()), None);
}
