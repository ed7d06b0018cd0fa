//! Octets of any kind: nothing panics, and what is alive goes on.

use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::packet::{Content, Packet};
use postern_core::appletalk::adsp::{Connection, Endpoint, PACKET_MAX};
use postern_core::appletalk::llap::FRAME_MAX;
use postern_core::appletalk::nbp::{Name, Registration};
use postern_core::appletalk::node::Node;
use postern_core::appletalk::{aep, ddp, ltoudp, nbp};
use postern_core::time::Instant;
use postern_core::wire::Out;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cable::{Cable, Trouble};

/// Octets that often look like something.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let often = prop_oneof![Just(0_u8), Just(1), Just(2), Just(4), Just(7), Just(255), any::<u8>()];
    prop_oneof![vec(any::<u8>(), 0..40), vec(often, 0..700)]
}

/// A packet of ADSP's whose fields are near those of a connection that has just begun.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let near = || prop_oneof![0..20_u32, (u32::MAX - 20)..=u32::MAX, any::<u32>()];
    let source = prop_oneof![Just(1001_u16), any::<u16>()];
    let fields = (source, near(), near(), any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..600));
    fields.prop_map(|(source, first, next, window, descriptor, data)| {
        let mut octets = source.to_be_bytes().to_vec();
        octets.extend_from_slice(&first.to_be_bytes());
        octets.extend_from_slice(&next.to_be_bytes());
        octets.extend_from_slice(&window.to_be_bytes());
        octets.push(descriptor);
        octets.extend_from_slice(&data);
        octets
    })
}

proptest! {
    #[test]
    fn frames_of_any_octets(frames in vec(octets(), 1..20)) {
        let name = Name::new(b"mx2:SMTP").expect("a name");
        let mut names = [Registration::new(name, 72)];
        let mut node = Node::new(&mut names, 7, Instant::from_millis(0));
        let mut buffer = [0; FRAME_MAX];
        for ms in (0..10_000).step_by(100) {
            let mut out = Out::new(&mut buffer);
            while node.transmit(Instant::from_millis(ms), &mut out).expect("it fits") {
                out.clear();
            }
        }
        let own = node.number().expect("a number");
        for (ms, mut frame) in frames.into_iter().enumerate() {
            let now = Instant::from_millis(10_000 + ms as u64);
            node.receive(&frame, now, &mut Out::new(&mut buffer));
            if let Some(destination) = frame.first_mut() {
                *destination = own;
            }
            node.receive(&frame, now, &mut Out::new(&mut buffer));
            ltoudp::unwrap(&frame, 7);
        }
        prop_assert_eq!(node.number(), Some(own));
    }

    #[test]
    fn what_is_read_is_written_as_it_was(data in octets(), packet in packet()) {
        let mut buffer = [0; 1024];
        for octets in [&data, &packet] {
            let mut out = Out::new(&mut buffer);
            if let Some(packet) = Packet::parse(octets) {
                packet.write(&mut out).expect("it fits");
                prop_assert_eq!(Packet::parse(out.written()), Some(packet));
            }
            let mut out = Out::new(&mut buffer);
            if let Some(packet) = nbp::Packet::parse(octets)
                && packet.tuples().count() > 0
            {
                nbp::write(packet.function, packet.id, packet.tuples(), &mut out)
                    .expect("it fits");
                prop_assert!(octets.starts_with(out.written()));
            }
            let mut out = Out::new(&mut buffer);
            if let Some(echo) = aep::Echo::parse(octets) {
                echo.write(&mut out).expect("it fits");
                prop_assert_eq!(out.written(), &octets[..]);
            }
            let mut out = Out::new(&mut buffer);
            if let Ok(datagram) = ddp::Datagram::parse_extended(octets) {
                datagram.write_extended(&mut out).expect("it fits");
                prop_assert_eq!(ddp::Datagram::parse_extended(out.written()), Ok(datagram));
            }
        }
    }

    /// Nobody but the peer can end a connection, and what a liar on the peer's address does ends in
    /// an end, a reset or octets, never in more than the channel holds.
    #[test]
    fn packets_of_any_octets_to_an_open_connection(packets in vec(packet(), 1..60)) {
        let mut cable = Cable::<2048, 1024>::new(Trouble::default(), 1);
        cable.open();
        prop_assert!(cable.run(10_000, |cable| cable.sides[1].channel.is_some()));
        cable.sides[1].connection().write(b"220 mx2.example ESMTP");
        let (peer, own) = (cable.sides[0].address, &mut cable.sides[1]);
        let stranger = Address { node: 99, ..peer };
        for packet in &packets {
            own.endpoint.receive(&mut own.channels, stranger, packet, Instant::from_millis(2000));
            drain(&mut own.endpoint, &mut own.channels, 2000);
            prop_assert!(own.channels[0].is_open());
        }
        for (ms, packet) in packets.iter().enumerate() {
            let ms = 3000 + 10 * ms as u64;
            own.endpoint.receive(&mut own.channels, peer, packet, Instant::from_millis(ms));
            prop_assert!(drain(&mut own.endpoint, &mut own.channels, ms) <= 60);
        }
    }
}

/// What an endpoint has to say, packet by packet; how many.
fn drain(endpoint: &mut Endpoint, channels: &mut [Connection<2048, 1024>], ms: u64) -> usize {
    let mut buffer = [0; PACKET_MAX];
    let mut packets = 0;
    loop {
        let mut out = Out::new(&mut buffer);
        if endpoint.transmit(channels, Instant::from_millis(ms), &mut out).is_none() {
            return packets;
        }
        let packet = Packet::parse(out.written()).expect("we send packets only");
        assert!(packet.source != 0 || matches!(packet.content, Content::Open(_)));
        packets += 1;
        assert!(packets < 100, "it never ends");
    }
}
