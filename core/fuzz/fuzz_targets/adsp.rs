//! Any packets to an endpoint with two channels, one of them open: it sends packets only, and ends
//! in time whatever it was told.
//!
//! Packets follow one another: an octet of time, in seconds, and the sender's node; a length of two
//! octets, then as many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::packet::{Content, Open, OpenKind, Packet, VERSION};
use postern_core::appletalk::adsp::{Connection, Endpoint, PACKET_MAX};
use postern_core::time::Instant;
use postern_core::wire::Out;

type Channels = [Connection<700, 600>; 2];

const PEER: Address = Address { network: 0, node: 5, socket: 250 };

fuzz_target!(|data: &[u8]| {
    let mut endpoint = Endpoint::new(72, 0);
    let mut channels: Channels = [Connection::FREE, Connection::FREE];
    endpoint.listen(true);
    for (kind, destination) in [(OpenKind::Request, 0), (OpenKind::Acknowledgement, 1)] {
        let open = Open { kind, version: VERSION, destination, attention_receive: 0 };
        let content = Content::Open(open);
        let (source, window) = (1, 1000);
        let packet =
            Packet { source, first_byte: 0, next_receive: 0, window, answer: false, content };
        let mut buffer = [0; PACKET_MAX];
        let mut out = Out::new(&mut buffer);
        packet.write(&mut out).expect("it fits");
        endpoint.receive(&mut channels, PEER, out.written(), Instant::from_millis(0));
    }
    assert!(channels[0].is_open());
    let (mut rest, mut now_ms) = (data, 0);
    while let Some(([seconds, node, high, low], behind)) = rest.split_first_chunk() {
        now_ms += u64::from(*seconds) * 1000;
        let from = Address { node: *node % 8, ..PEER };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (packet, behind) = behind.split_at(length);
        endpoint.receive(&mut channels, from, packet, Instant::from_millis(now_ms));
        for channel in &mut channels {
            channel.write(&packet[..length / 2]);
            channel.read(&mut [0; 100]);
        }
        say(&mut endpoint, &mut channels, now_ms);
        rest = behind;
    }
    for channel in &mut channels {
        channel.close();
    }
    while endpoint.deadline(&channels) != Instant::FAR {
        now_ms = now_ms.max(endpoint.deadline(&channels).as_millis());
        say(&mut endpoint, &mut channels, now_ms);
    }
    say(&mut endpoint, &mut channels, now_ms);
    assert!(channels.iter().all(Connection::is_free));
});

/// All that the endpoint has to say at once.
fn say(endpoint: &mut Endpoint, channels: &mut Channels, now_ms: u64) {
    let mut buffer = [0; PACKET_MAX];
    for _ in 0..100 {
        let mut out = Out::new(&mut buffer);
        if endpoint.transmit(channels, Instant::from_millis(now_ms), &mut out).is_none() {
            return;
        }
        Packet::parse(out.written()).expect("it sends packets only");
    }
    panic!("it never ends");
}
