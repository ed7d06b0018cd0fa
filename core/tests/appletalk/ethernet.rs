//! Nodes on an Ethernet (EtherTalk, phase 2).

use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::ethertalk::{Ether, FRAME_MAX, Hardware, TO_ALL};
use postern_core::appletalk::nbp::{Function, Name, Packet, Registration, State};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::appletalk::{Address, llap};
use postern_core::time::Instant;
use postern_core::wire::Out;

const ANN: Hardware = [2, 0, 0, 0, 0, 1];
const BOB: Hardware = [2, 0, 0, 0, 0, 2];

fn sent(ether: &mut Ether, frame: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = [0; FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    ether.send(frame, &mut out).ok().map(|()| out.written().to_vec())
}

fn heard(ether: &mut Ether, frame: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = [0; llap::FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    ether.receive(frame, &mut out).map(|()| out.written().to_vec())
}

/// A frame with an AARP packet, as appendix C has it.
fn aarp(to: Hardware, from: Hardware, what: u8, stations: [(Hardware, [u8; 4]); 2]) -> Vec<u8> {
    let head = [0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3, 0, 1, 0x80, 0x9b, 6, 4, 0, what];
    let mut frame = [&to[..], &from, &head].concat();
    for (hardware, number) in stations {
        frame.extend([&hardware[..], &number].concat());
    }
    frame.resize(60, 0);
    frame
}

/// A LocalTalk frame with a datagram of these octets from `from` to `to`.
fn datagram(from: Address, to: Address, data: &[u8]) -> Vec<u8> {
    let mut buffer = [0; llap::FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    out.put(&[to.node, from.node, 2]).expect("room");
    let datagram = Datagram { source: from, destination: to, kind: ddp::AEP, data };
    datagram.write_extended(&mut out).expect("room");
    out.written().to_vec()
}

#[test]
fn a_number_is_asked_for_and_defended_by_aarp() {
    let (mut ann, mut bob) = (Ether::new(ANN, 0x12), Ether::new(BOB, 0x12));
    assert_eq!(ann.network(), 0xff12);
    assert_eq!(Ether::new(ANN, 0xff).network(), 0xfffe, "the last of the startup range");
    let number = [0, 0xff, 0x12, 130];
    let probe = aarp(TO_ALL, ANN, 3, [(ANN, number), ([0; 6], number)]);
    assert_eq!(sent(&mut ann, &[130, 130, 0x81]).as_ref(), Some(&probe));
    assert_eq!(heard(&mut bob, &probe), Some(vec![130, 130, 0x81]), "an ENQ");
    let response = aarp(ANN, BOB, 2, [(BOB, number), (ANN, number)]);
    assert_eq!(sent(&mut bob, &[130, 130, 0x82]).as_ref(), Some(&response), "an ACK");
    assert_eq!(heard(&mut ann, &response), Some(vec![130, 130, 0x82]));
    let request = aarp(TO_ALL, ANN, 1, [(ANN, [0, 0xff, 0x13, 7]), ([0; 6], number)]);
    assert_eq!(heard(&mut bob, &request), Some(vec![130, 130, 0x81]), "who has it answers");
    let elsewhere =
        aarp(TO_ALL, ANN, 3, [(ANN, [0, 0xff, 0x13, 130]), ([0; 6], [0, 0xff, 0x13, 130])]);
    assert_eq!(heard(&mut bob, &elsewhere), None, "another network's");
}

#[test]
fn a_datagram_goes_where_its_destination_was_heard_from() {
    let (mut ann, mut bob) = (Ether::new(ANN, 1), Ether::new(BOB, 2));
    let at = |network, node| Address { network, node, socket: 4 };
    let to_bob = datagram(at(0xff01, 130), at(0xff02, 140), b"ping");
    let request = aarp(TO_ALL, ANN, 1, [(ANN, [0, 0xff, 1, 130]), ([0; 6], [0, 0xff, 2, 140])]);
    assert_eq!(sent(&mut ann, &to_bob).as_ref(), Some(&request), "who is that?");
    assert_eq!(heard(&mut bob, &request), Some(vec![140, 140, 0x81]));
    let response = sent(&mut bob, &[140, 140, 0x82]).expect("an answer");
    assert_eq!(response[..6], ANN);
    assert_eq!(heard(&mut ann, &response), None, "another network's number");
    let frame = sent(&mut ann, &to_bob).expect("a frame");
    assert_eq!(frame[..14], [&BOB[..], &ANN, &[0, 25]].concat(), "its length is the true one");
    assert_eq!(frame.len(), 60);
    assert_eq!(heard(&mut bob, &frame).as_ref(), Some(&to_bob), "what fills it up is cut");
    // Who was heard needs no question.
    let back = datagram(at(0xff02, 140), at(0xff01, 130), &[7; 586]);
    let back = sent(&mut bob, &back).expect("a frame");
    assert_eq!((&back[..6], back.len()), (&ANN[..], FRAME_MAX - 603 + 3 + 13 + 586 - 3));
    let broadcast = sent(&mut ann, &datagram(at(0xff01, 130), at(0, 255), b"x")).expect("a frame");
    assert_eq!(broadcast[..6], TO_ALL);
}

#[test]
fn what_is_not_for_us_or_is_no_frame_is_dropped() {
    let (mut ann, mut bob) = (Ether::new(ANN, 1), Ether::new(BOB, 2));
    let at = |node| Address { network: 0, node, socket: 4 };
    let good = sent(&mut ann, &datagram(at(130), at(255), b"x")).expect("a frame");
    assert!(heard(&mut bob, &good).is_some());
    assert_eq!(heard(&mut ann, &good), None, "its own");
    let with = |place: usize, octet: u8| {
        let mut frame = good.clone();
        frame[place] = octet;
        frame
    };
    assert!(heard(&mut bob, &[&[9, 0, 7, 0, 0, 0xfc], &good[6..]].concat()).is_some(), "a zone");
    for other in [[9, 0, 7, 0, 0, 0xfd], ANN, [0xff; 6]] {
        assert_eq!(heard(&mut bob, &[&other, &good[6..]].concat()), None, "{other:?}");
    }
    for (place, octet) in [(13, 200), (13, 7), (12, 8), (14, 0), (21, 0x9c), (24, 1)] {
        assert_eq!(heard(&mut bob, &with(place, octet)), None, "{place}");
    }
    for length in 0..36 {
        assert_eq!(heard(&mut bob, &good[..length]), None, "{length}");
    }
    for frame in [&[][..], &[1, 2], &[130, 130, 0x84], &[130, 140, 1, 0], &[130, 140, 2, 0]] {
        assert_eq!(sent(&mut ann, frame), None, "{frame:?}");
    }
}

struct Host<'n> {
    node: Node<'n>,
    ether: Ether,
}

impl<'n> Host<'n> {
    fn new(own: Hardware, random: u8, names: &'n mut [Registration<'n>]) -> Self {
        let ether = Ether::new(own, random);
        let node = Node::new(names, u32::from(random), Instant::from_millis(0));
        Self { node: node.on_ethernet(ether.network()), ether }
    }

    /// All that is due now.
    fn due(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = [0; llap::FRAME_MAX];
        loop {
            let mut out = Out::new(&mut buffer);
            if !self.node.transmit(now, &mut out).expect("room") {
                return frames;
            }
            frames.extend(sent(&mut self.ether, out.written()));
        }
    }

    /// Hears a frame: what it answers, and the datagram that is for others.
    fn hear(&mut self, frame: &[u8], now: Instant) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let Some(frame) = heard(&mut self.ether, frame) else { return (None, None) };
        let mut buffer = [0; llap::FRAME_MAX];
        let mut out = Out::new(&mut buffer);
        match self.node.receive(&frame, now, &mut out) {
            Heard::Reply => (sent(&mut self.ether, out.written()), None),
            Heard::Datagram(datagram) => (None, Some(datagram.data.to_vec())),
            Heard::Nothing | Heard::Fault(_) => (None, None),
        }
    }
}

/// Two nodes, each on a network of its own, find each other by name.
#[test]
fn nodes_without_a_router_find_each_other() {
    let name = Name::new(b"mx2:SMTP@*").expect("a name");
    let mut names = [Registration::new(name, 72)];
    let (mut server, mut mailer) = (Host::new(ANN, 1, &mut names), Host::new(BOB, 2, &mut []));
    for step in 0..100 {
        let now = Instant::from_millis(step * 50);
        for frame in server.due(now) {
            mailer.hear(&frame, now);
        }
        for frame in mailer.due(now) {
            server.hear(&frame, now);
        }
    }
    let now = Instant::from_millis(5_000);
    assert!(matches!(server.node.registrations()[0].state(), State::Ours));
    let own = mailer.node.address(200, now).expect("a number");
    assert_eq!(own.network, 0xff02);
    let mut buffer = [0; llap::FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    mailer.node.look_up(&name, None, 200, now, &mut out).expect("room");
    let question = sent(&mut mailer.ether, out.written()).expect("a frame");
    assert_eq!(question[..6], TO_ALL);
    let (answer, _) = server.hear(&question, now);
    let answer = answer.expect("it is asked");
    assert_eq!(answer[..6], BOB);
    let (_, data) = mailer.hear(&answer, now);
    let data = data.expect("for the socket");
    let packet = Packet::parse(&data).expect("a packet");
    assert_eq!(packet.function, Function::Reply);
    let tuple = packet.tuples().next().expect("one");
    let address = server.node.address(72, now).expect("a number");
    assert_eq!((tuple.address, address.network), (address, 0xff01));
    let mut buffer = [0; llap::FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    let outgoing = Outgoing { from: 200, to: address, kind: ddp::ADSP, data: b"hello" };
    mailer.node.send(&outgoing, now, &mut out).expect("room");
    let frame = sent(&mut mailer.ether, out.written()).expect("a frame");
    assert_eq!(frame[..6], ANN);
    assert_eq!(server.hear(&frame, now).1.as_deref(), Some(&b"hello"[..]));
}

/// Whoever probes for a number may not get it, and then it is somebody else's.
#[test]
fn a_probe_tells_of_no_neighbour() {
    let (mut ann, at) = (Ether::new(ANN, 1), |node| Address { network: 0xff01, node, socket: 4 });
    let number = [0, 0xff, 1, 140];
    let is_asked = |ann: &mut Ether| {
        let frame = sent(ann, &datagram(at(130), at(140), b"x")).expect("a frame");
        frame[..6] == TO_ALL
    };
    heard(&mut ann, &aarp(TO_ALL, BOB, 3, [(BOB, number), ([0; 6], number)]));
    assert!(is_asked(&mut ann));
    heard(&mut ann, &aarp(ANN, BOB, 2, [(BOB, number), (ANN, [0, 0xff, 1, 130])]));
    assert!(!is_asked(&mut ann));
}

/// Those that were heard of last.
#[test]
fn so_many_neighbours_are_known() {
    let (mut ann, at) = (Ether::new(ANN, 1), |node| Address { network: 0xff01, node, socket: 4 });
    for node in 1..=33 {
        let number = [0, 0xff, 1, node];
        let hardware = [2, 0, 0, 0, 1, node];
        let stations = [(hardware, number), (ANN, [0, 0xff, 1, 130])];
        heard(&mut ann, &aarp(ANN, hardware, 2, stations));
    }
    for node in 1..=33 {
        let frame = sent(&mut ann, &datagram(at(130), at(node), b"x")).expect("a frame");
        let to = if node == 1 { TO_ALL } else { [2, 0, 0, 0, 1, node] };
        assert_eq!(frame[..6], to, "{node}");
    }
}
