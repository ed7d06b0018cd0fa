//! Nodes of a cable: their numbers, names and echoes, with a router and without.

use postern_core::appletalk::Address;
use postern_core::appletalk::aep;
use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::llap::{EXTENDED_DDP, FRAME_MAX, SHORT_DDP};
use postern_core::appletalk::nbp::{self, Function, Name, Registration, State};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::time::Instant;
use postern_core::wire::Out;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// Lends a buffer; what was written into it.
fn out<T>(write: impl FnOnce(&mut Out<'_>) -> T) -> (T, Vec<u8>) {
    let mut buffer = [0; FRAME_MAX];
    let mut out = Out::new(&mut buffer);
    let result = write(&mut out);
    (result, out.written().to_vec())
}

fn transmit(node: &mut Node<'_>, ms: u64) -> Option<Vec<u8>> {
    let (sent, frame) = out(|out| node.transmit(at(ms), out));
    sent.expect("it fits").then_some(frame)
}

fn answer(node: &mut Node<'_>, frame: &[u8], ms: u64) -> Option<Vec<u8>> {
    let (heard, frame) = out(|out| node.receive(frame, at(ms), out) == Heard::Reply);
    heard.then_some(frame)
}

/// Runs `nodes` on one cable from `from_ms` to `to_ms`.
fn run(nodes: &mut [Node<'_>], from_ms: u64, to_ms: u64) {
    for ms in (from_ms..to_ms).step_by(50) {
        let mut frames: Vec<(usize, Vec<u8>)> = Vec::new();
        for (sender, node) in nodes.iter_mut().enumerate() {
            while let Some(frame) = transmit(node, ms) {
                frames.push((sender, frame));
            }
        }
        while let Some((sender, frame)) = frames.pop() {
            for (hearer, node) in nodes.iter_mut().enumerate() {
                if hearer != sender
                    && let Some(frame) = answer(node, &frame, ms)
                {
                    frames.push((hearer, frame));
                }
            }
        }
    }
}

/// A node with a number.
fn settled(node: &mut Node<'_>) -> u8 {
    run(std::slice::from_mut(node), 0, 3000);
    node.number().expect("nobody else is there")
}

#[test]
fn a_number_is_asked_for_eight_times_and_defended() {
    let mut node = Node::new(&mut [], 7, at(0));
    let first = transmit(&mut node, 0).expect("it asks at once");
    assert_eq!((first[0], first[2], first.len()), (first[1], 0x81, 3));
    assert!((128..=254).contains(&first[0]), "a server's");
    let mut enquiries = 1;
    while node.number().is_none() {
        let ms = node.deadline().as_millis();
        assert!(ms <= 2000);
        enquiries += usize::from(transmit(&mut node, ms).is_some());
    }
    assert_eq!((enquiries, node.number()), (8, Some(first[0])));
    let own = first[0];
    assert_eq!(answer(&mut node, &first, 3000), Some(vec![own, own, 0x82]));
    assert_eq!(answer(&mut node, &[own, own, 0x82], 3000), None);
}

#[test]
fn a_number_that_another_has_or_wants_is_left_to_it() {
    for taken in [0x81, 0x82] {
        let mut node = Node::new(&mut [], 7, at(0));
        let first = transmit(&mut node, 0).expect("it asks at once")[0];
        assert_eq!(answer(&mut node, &[first, first, taken], 1), None);
        // On a cable that is full, to ask at once would never end.
        assert_eq!(transmit(&mut node, 1), None);
        assert_eq!(node.deadline(), at(251));
        let second = transmit(&mut node, 251).expect("it asks for another")[0];
        assert_ne!(first, second);
        assert_eq!(settled(&mut node), second);
    }
}

#[test]
fn a_hundred_servers_have_a_hundred_numbers() {
    let node = |seed: u32| Node::new(&mut [], seed.wrapping_mul(2_654_435_761), at(0));
    let mut nodes: Vec<Node<'_>> = (0..100).map(node).collect();
    run(&mut nodes, 0, 100_000);
    let mut numbers: Vec<u8> = nodes.iter().filter_map(Node::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 100);
}

fn short(from: u8, to: u8, sockets: [u8; 2], kind: u8, data: &[u8]) -> Vec<u8> {
    let source = Address { network: 0, node: from, socket: sockets[0] };
    let destination = Address { network: 0, node: to, socket: sockets[1] };
    let datagram = Datagram { source, destination, kind, data };
    let (_, octets) = out(|out| datagram.write_short(out));
    [&[to, from, SHORT_DDP], &octets[..]].concat()
}

/// A router's broadcast: this is network 9, and I am node 250.
fn rtmp() -> Vec<u8> {
    short(250, 255, [1, 1], ddp::RTMP, &[0, 9, 8, 250, 0, 9, 0x80, 0, 9, 0x82])
}

#[test]
fn echoes_come_back_with_the_header_that_they_had() {
    let mut node = Node::new(&mut [], 7, at(0));
    let own = settled(&mut node);
    let ask = short(5, own, [130, aep::SOCKET], ddp::AEP, b"\x01hi");
    let expected = short(own, 5, [aep::SOCKET, 130], ddp::AEP, b"\x02hi");
    assert_eq!(answer(&mut node, &ask, 3000), Some(expected.clone()));
    let others = short(5, own - 1, [130, aep::SOCKET], ddp::AEP, b"\x01hi");
    assert_eq!(answer(&mut node, &others, 3000), None);
    assert_eq!(answer(&mut node, &rtmp(), 3000), None);
    assert_eq!(answer(&mut node, &ask, 3000), Some(expected.clone()), "it may not know yet");
    let source = Address { network: 9, node: 5, socket: 130 };
    let destination = Address { network: 9, node: own, socket: aep::SOCKET };
    let extended = |datagram: Datagram<'_>, to: u8, from: u8| {
        let (_, octets) = out(|out| datagram.write_extended(out));
        [&[to, from, EXTENDED_DDP], &octets[..]].concat()
    };
    let asked = Datagram { source, destination, kind: ddp::AEP, data: b"\x01hi" };
    let reply = Datagram { source: destination, destination: source, data: b"\x02hi", ..asked };
    let frame = extended(asked, own, 5);
    assert_eq!(answer(&mut node, &frame, 3001), Some(extended(reply, 5, own)));
    let mut changed = frame.clone();
    *changed.last_mut().expect("octets") ^= 1;
    let (heard, _) = out(|out| matches!(node.receive(&changed, at(3001), out), Heard::Fault(_)));
    assert!(heard, "a wrong checksum");
    // From another network, by way of the router.
    let far = Address { network: 77, ..source };
    let frame = extended(Datagram { source: far, ..asked }, own, 250);
    let expected = extended(Datagram { destination: far, ..reply }, 250, own);
    assert_eq!(answer(&mut node, &frame, 3002), Some(expected));
    // Once the router is gone, the cable has no number.
    let reply = answer(&mut node, &ask, 53_001).expect("an answer");
    assert_eq!(reply[2], SHORT_DDP);
    let outgoing = Outgoing { from: 4, to: source, kind: ddp::AEP, data: b"\x01" };
    let (sent, frame) = out(|out| node.send(&outgoing, at(53_001), out));
    assert_eq!((sent, frame[..3].to_vec()), (Ok(()), vec![5, own, SHORT_DDP]));
}

/// What `frame` answers: the names in it.
fn named(frame: &[u8]) -> Vec<(Address, Vec<u8>)> {
    let octets = &frame[3..];
    let datagram = match frame[2] {
        SHORT_DDP => Datagram::parse_short(frame[1], frame[0], octets),
        _ => Datagram::parse_extended(octets),
    };
    let packet = nbp::Packet::parse(datagram.expect("a datagram").data).expect("a packet");
    assert_eq!((packet.function, packet.id), (Function::Reply, 3));
    packet.tuples().map(|tuple| (tuple.address, tuple.name.object.to_vec())).collect()
}

fn question(own: u8, to: u8, pattern: &[u8]) -> Vec<u8> {
    let address = Address { network: 0, node: own, socket: 200 };
    let name = Name::new(pattern).expect("a pattern");
    let tuple = nbp::Tuple { address, enumerator: 0, name };
    let (_, data) = out(|out| nbp::write(Function::LookUp, 3, [tuple].into_iter(), out));
    short(own, to, [200, nbp::SOCKET], ddp::NBP, &data)
}

#[test]
fn names_are_ours_when_nobody_has_them_and_are_answered_for() {
    let name = |text| Registration::new(Name::new(text).expect("a name"), 72);
    let mut names = [name(b"mx2:SMTP"), name(b"mx2:Mail"), name(b"Other:SMTP")];
    let mut node = Node::new(&mut names, 7, at(0));
    run(std::slice::from_mut(&mut node), 0, 2500);
    let own = node.number().expect("nobody else is there");
    assert_eq!(answer(&mut node, &question(5, 255, b"=:="), 2500), None, "they are asked for");
    run(std::slice::from_mut(&mut node), 2500, 5000);
    assert!(node.registrations().iter().all(|name| name.state() == State::Ours));
    assert_eq!(node.deadline(), Instant::FAR);
    let address = Address { network: 0, node: own, socket: 72 };
    let asked = |node: &mut Node<'_>, pattern: &[u8], ms| {
        let frame = answer(node, &question(5, 255, pattern), ms)?;
        Some(named(&frame).into_iter().map(|(_, object)| object).collect::<Vec<_>>())
    };
    assert_eq!(asked(&mut node, b"MX2:smtp@*", 5000), Some(vec![b"mx2".to_vec()]));
    assert_eq!(asked(&mut node, b"=:SMTP", 5000).map(|all| all.len()), Some(2));
    assert_eq!(asked(&mut node, b"\xc5x2:=", 5000).map(|all| all.len()), Some(2));
    assert_eq!(asked(&mut node, b"mx:SMTP", 5000), None);
    assert_eq!(asked(&mut node, b"mx2:SMTP@Office", 5000), None, "no router, no zones");
    answer(&mut node, &rtmp(), 5001);
    assert_eq!(asked(&mut node, b"mx2:SMTP@Office", 5001).map(|all| all.len()), Some(1));
    // Confirmed: asked of the node that had it.
    let frame = answer(&mut node, &question(5, own, b"mx2:SMTP"), 5002).expect("an answer");
    let numbered = Address { network: 9, ..address };
    assert_eq!(named(&frame), [(numbered, b"mx2".to_vec())]);
}

#[test]
fn a_name_that_another_has_is_asked_for_again_in_a_minute() {
    let name = Registration::new(Name::new(b"mx2:SMTP").expect("a name"), 72);
    let (mut first, mut second) = ([name], [name]);
    let mut nodes = vec![Node::new(&mut first, 7, at(0))];
    run(&mut nodes, 0, 10_000);
    nodes.push(Node::new(&mut second, 8, at(10_000)));
    run(&mut nodes, 10_000, 20_000);
    let state = |node: &Node<'_>| node.registrations()[0].state();
    assert_eq!(state(&nodes[0]), State::Ours);
    assert_ne!(nodes[0].number(), nodes[1].number());
    let node = nodes[0].number().expect("settled");
    assert_eq!(state(&nodes[1]), State::Taken(Address { network: 0, node, socket: 72 }));
    run(&mut nodes[1..], 20_000, 90_000);
    assert_eq!(state(&nodes[1]), State::Ours);
}

#[test]
fn with_a_router_it_is_the_router_that_asks() {
    let mut node = Node::new(&mut [], 7, at(0));
    let own = settled(&mut node);
    let name = Name::new(b"=:SMTP@Office").expect("a pattern");
    let mut ask = |ms| out(|out| node.look_up(&name, None, 200, at(ms), out)).1;
    let frame = ask(3000);
    assert_eq!((&frame[..3], frame[8]), (&[255, own, SHORT_DDP][..], 0x21));
    answer(&mut node, &rtmp(), 3001);
    let (_, frame) = out(|out| node.look_up(&name, None, 200, at(3001), out));
    assert_eq!((&frame[..3], frame[16]), (&[250, own, EXTENDED_DDP][..], 0x11));
}

/// An answer that says `name` is at `address`.
fn named_at(own: u8, name: &[u8], address: Address) -> Vec<u8> {
    let name = Name::new(name).expect("a name");
    let tuple = nbp::Tuple { address, enumerator: 1, name };
    let (_, data) = out(|out| nbp::write(Function::Reply, 1, [tuple].into_iter(), out));
    short(5, own, [nbp::SOCKET, nbp::SOCKET], ddp::NBP, &data)
}

/// Neither by our own answer, nor by whoever claims it later.
#[test]
fn a_name_that_is_ours_is_not_given_up() {
    let mut names = [Registration::new(Name::new(b"mx2:SMTP").expect("a name"), 72)];
    let mut node = Node::new(&mut names, 7, at(0));
    run(std::slice::from_mut(&mut node), 0, 2500);
    let own = node.number().expect("nobody else is there");
    let here = Address { network: 0, node: own, socket: 72 };
    let state = |node: &Node<'_>| node.registrations()[0].state();
    answer(&mut node, &named_at(own, b"mx2:SMTP", here), 2500);
    assert_eq!(state(&node), State::Asking);
    run(std::slice::from_mut(&mut node), 2500, 5000);
    let elsewhere = Address { node: 5, ..here };
    answer(&mut node, &named_at(own, b"mx2:SMTP", elsewhere), 5000);
    assert_eq!(state(&node), State::Ours);
}

/// All frames of a cable over UDP come to all of its nodes.
#[test]
fn a_datagram_for_another_network_or_on_its_way_to_the_router_is_not_for_us() {
    let mut node = Node::new(&mut [], 7, at(0));
    let own = settled(&mut node);
    answer(&mut node, &rtmp(), 3000);
    let mut echoed = |to: u8, network: u16| {
        let source = Address { network: 9, node: 5, socket: 130 };
        let destination = Address { network, node: own, socket: aep::SOCKET };
        let asked = Datagram { source, destination, kind: ddp::AEP, data: b"\x01hi" };
        let (_, octets) = out(|out| asked.write_extended(out));
        answer(&mut node, &[&[to, 5, EXTENDED_DDP], &octets[..]].concat(), 3001).is_some()
    };
    assert!(echoed(own, 9) && echoed(own, 0));
    assert!(!echoed(own, 8), "another network's");
    assert!(!echoed(250, 9), "the router's");
}

#[test]
fn what_no_router_says_makes_no_router() {
    let mut node = Node::new(&mut [], 7, at(0));
    settled(&mut node);
    for (from, data) in [(5, [0, 9, 8, 250]), (250, [0, 9, 7, 250]), (250, [0, 0, 8, 250])] {
        answer(&mut node, &short(from, 255, [1, 1], ddp::RTMP, &data), 3000);
        assert_eq!(node.router(at(3000)), None, "{from} {data:?}");
    }
    answer(&mut node, &short(250, 255, [1, 1], ddp::RTMP, &[0, 9, 8, 250]), 3000);
    assert!(node.router(at(3000)).is_some());
}
