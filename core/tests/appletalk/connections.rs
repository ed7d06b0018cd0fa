//! How connections begin and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::packet::{Content, Open, OpenKind, Packet, VERSION};
use postern_core::appletalk::adsp::{Connection, End, Endpoint, PACKET_MAX};
use postern_core::time::Instant;
use postern_core::wire::Out;

use crate::cable::{Cable, Trouble};

type Channel = Connection<2048, 4096>;

const MAC: Address = Address { network: 0, node: 7, socket: 250 };
const OPEN: Open =
    Open { kind: OpenKind::Request, version: VERSION, destination: 0, attention_receive: 0 };

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// A listening endpoint, spoken to packet by packet.
struct Server {
    endpoint: Endpoint,
    channels: Vec<Channel>,
}

impl Server {
    fn new(channels: usize) -> Self {
        let mut endpoint = Endpoint::new(72, 99);
        endpoint.listen(true);
        Self { endpoint, channels: (0..channels).map(|_| Channel::FREE).collect() }
    }

    fn hear(&mut self, from: Address, packet: &Packet<'_>, ms: u64) {
        let mut buffer = [0; PACKET_MAX];
        let mut out = Out::new(&mut buffer);
        packet.write(&mut out).expect("it fits");
        self.endpoint.receive(&mut self.channels, from, out.written(), at(ms));
    }

    /// What it sends now: to whom, and the octets.
    fn says(&mut self, ms: u64) -> Vec<(Address, Vec<u8>)> {
        let mut said = Vec::new();
        let mut buffer = [0; PACKET_MAX];
        loop {
            let mut out = Out::new(&mut buffer);
            let to = self.endpoint.transmit(&mut self.channels, at(ms), &mut out);
            let Some(to) = to else { return said };
            said.push((to, out.written().to_vec()));
        }
    }

    /// The descriptors of what it sends now.
    fn descriptors(&mut self, ms: u64) -> Vec<u8> {
        self.says(ms).iter().map(|(_, packet)| packet[12]).collect()
    }

    /// The two steps by which `from` opens a connection that it calls `source`.
    fn open(&mut self, from: Address, source: u16, ms: u64) {
        self.hear(from, &open(source, OPEN), ms);
        let said = self.says(ms);
        assert_eq!((said.len(), said[0].0, said[0].1[12]), (1, from, 0x83));
        let destination = u16::from_be_bytes([said[0].1[0], said[0].1[1]]);
        let kind = OpenKind::Acknowledgement;
        self.hear(from, &open(source, Open { kind, destination, ..OPEN }), ms);
        assert!(self.endpoint.accept(&mut self.channels).is_some());
    }

    /// Hears on connection 5 of `MAC` that all before number `next` has arrived.
    fn acknowledged(&mut self, next: u32, content: Content<'_>, ms: u64) {
        self.hear(MAC, &acknowledges(next, 2000, content), ms);
    }
}

fn open(source: u16, open: Open) -> Packet<'static> {
    packet(source, 0, false, Content::Open(open))
}

fn packet(source: u16, first_byte: u32, answer: bool, content: Content<'_>) -> Packet<'_> {
    Packet { source, first_byte, next_receive: 0, window: 2000, answer, content }
}

fn acknowledges(next_receive: u32, window: u16, content: Content<'_>) -> Packet<'_> {
    Packet { next_receive, window, ..packet(5, 0, false, content) }
}

fn data(octets: &[u8]) -> Content<'_> {
    Content::Data { data: octets, ends_message: false }
}

#[test]
fn nothing_is_sent_before_the_third_step_and_data_is_discarded() {
    let mut server = Server::new(1);
    server.hear(MAC, &open(5, OPEN), 0);
    server.hear(MAC, &packet(5, 0, true, data(b"early")), 0);
    assert_eq!(server.descriptors(0), [0x83]);
    assert_eq!(server.endpoint.accept(&mut server.channels), None);
    assert_eq!((server.channels[0].write(b"220"), server.channels[0].can_read()), (0, false));
    // The answer was lost, and nobody is told twice of one connection.
    server.hear(MAC, &open(5, OPEN), 500);
    assert_eq!(server.descriptors(500), [0x83]);
    assert_eq!(server.endpoint.deadline(&server.channels), at(1000));
    assert_eq!(server.descriptors(1000), [0x83]);
    let destination = 100;
    let kind = OpenKind::Acknowledgement;
    server.hear(MAC, &open(5, Open { kind, destination, ..OPEN }), 1001);
    assert_eq!(server.endpoint.accept(&mut server.channels), Some(0));
    assert_eq!(server.endpoint.accept(&mut server.channels), None);
    assert_eq!(server.channels[0].write(b"220"), 3);
    assert_eq!(server.descriptors(1001), [0x40]);
}

#[test]
fn one_that_is_never_confirmed_frees_its_channel() {
    let mut server = Server::new(1);
    server.hear(MAC, &open(5, OPEN), 0);
    let answers: usize = (0..=10_000).map(|ms| server.says(ms).len()).sum();
    assert_eq!((answers, server.channels[0].is_free()), (10, true));
}

#[test]
fn one_more_than_there_are_channels_is_denied_until_one_is_free() {
    let mut server = Server::new(2);
    server.open(MAC, 5, 0);
    // One node may have several, also from one socket, and two nodes the same number.
    server.open(Address { node: 8, ..MAC }, 5, 0);
    server.hear(MAC, &open(6, OPEN), 0);
    let said = server.says(0);
    let denial = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x84, 1, 0, 0, 6, 0, 0, 0, 0];
    assert_eq!(said, [(MAC, denial.to_vec())]);
    server.hear(MAC, &packet(5, 0, false, Content::CloseAdvice), 10);
    assert_eq!(server.channels[0].end(), Some(End::Closed));
    server.hear(MAC, &open(6, OPEN), 11);
    assert_eq!(server.descriptors(11), [0x84], "its reader is not done with it");
    server.channels[0].close();
    server.open(MAC, 6, 12);
    assert!(server.channels.iter().all(Channel::is_open));
}

#[test]
fn who_does_not_listen_and_who_speaks_another_version_is_denied() {
    let mut server = Server::new(1);
    server.hear(MAC, &open(5, Open { version: 0x0200, ..OPEN }), 0);
    assert_eq!(server.descriptors(0), [0x84]);
    server.endpoint.listen(false);
    server.hear(MAC, &open(5, OPEN), 0);
    assert_eq!(server.descriptors(0), [0x84]);
    assert!(server.channels[0].is_free());
}

#[test]
fn packets_of_no_connection_change_nothing() {
    let mut server = Server::new(2);
    server.open(MAC, 5, 0);
    for from in [Address { node: 8, ..MAC }, Address { socket: 251, ..MAC }] {
        server.hear(from, &packet(5, 0, true, data(b"x")), 0);
        server.hear(from, &packet(5, 0, false, Content::CloseAdvice), 0);
    }
    server.hear(MAC, &packet(6, 0, true, data(b"x")), 0);
    for kind in [OpenKind::Acknowledgement, OpenKind::RequestAndAcknowledgement, OpenKind::Denial] {
        server.hear(MAC, &open(5, Open { kind, destination: 9, ..OPEN }), 0);
        server.hear(MAC, &open(5, Open { kind, destination: 100, ..OPEN }), 0);
    }
    assert!(server.channels[0].is_open() && !server.channels[0].can_read());
    assert_eq!(server.descriptors(0), []);
    // A cable's number that one side does not know yet is no other address.
    let numbered = Address { network: 9, ..MAC };
    server.hear(numbered, &packet(5, 0, true, data(b"x")), 0);
    assert!(server.channels[0].can_read());
}

#[test]
fn an_answer_is_owed_where_it_is_asked_for_and_for_what_came_twice() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    assert_eq!(server.descriptors(0), []);
    server.hear(MAC, &packet(5, 0, false, data(b"ab")), 10);
    assert_eq!(server.descriptors(10), []);
    server.hear(MAC, &packet(5, 2, true, data(b"cd")), 20);
    assert_eq!(server.descriptors(20), [0x80]);
    server.hear(MAC, &packet(5, 0, false, data(b"ab")), 30);
    assert_eq!(server.descriptors(30), [0x80], "our answer was lost");
    // Part of it is new.
    server.hear(MAC, &packet(5, 2, false, data(b"cdef")), 40);
    assert_eq!((server.descriptors(40), server.descriptors(240)), (vec![], vec![0x80]));
    // Out of order: the third packet in a row brings the advice to send again.
    let end = Content::Data { data: b"", ends_message: true };
    server.hear(MAC, &packet(5, 7, true, data(b"h")), 300);
    assert_eq!(server.descriptors(300), [0x80]);
    server.hear(MAC, &packet(5, 8, false, data(b"i")), 300);
    server.hear(MAC, &packet(5, 9, false, data(b"j")), 300);
    assert_eq!(server.descriptors(300), [0x88]);
    server.hear(MAC, &packet(5, 6, true, end), 301);
    let said = server.says(301);
    assert_eq!(said[0].1[6..10], [0, 0, 0, 7], "the end of a message takes a number");
    let mut read = [0; 9];
    assert_eq!((server.channels[0].read(&mut read), &read[..6]), (6, &b"abcdef"[..]));
}

#[test]
fn what_a_peer_cannot_have_received_is_not_believed() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    assert_eq!(server.channels[0].write(b"220 hello"), 9);
    assert_eq!(server.descriptors(0), [0x40]);
    for next_receive in [10, u32::MAX, 1 << 31] {
        let lie = Packet { next_receive, ..packet(5, 0, false, Content::Acknowledgement) };
        server.hear(MAC, &lie, 1);
        assert!(!server.channels[0].is_flushed(), "{next_receive}");
    }
    let truth = Packet { next_receive: 9, ..packet(5, 0, false, Content::Acknowledgement) };
    server.hear(MAC, &truth, 1);
    assert!(server.channels[0].is_flushed());
}

#[test]
fn attention_is_acknowledged_each_time_and_its_window_is_not_the_streams() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    let attention =
        |number| Packet { window: 0, ..packet(5, number, true, Content::Attention(b"\x00\x01")) };
    server.hear(MAC, &attention(0), 1);
    let expected = [0, 100, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x90];
    assert_eq!(server.says(1), [(MAC, expected.to_vec())]);
    server.hear(MAC, &attention(0), 2);
    assert_eq!(server.says(2), [(MAC, expected.to_vec())], "its sender would stop for ever");
    server.hear(MAC, &attention(2), 3);
    assert_eq!(server.descriptors(3), []);
    server.channels[0].write(b"220");
    assert_eq!(server.descriptors(4), [0x40]);
}

#[test]
fn a_forward_reset_is_answered_always_and_ends_the_dialogue_if_it_holds() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    server.hear(MAC, &packet(5, 0, false, data(b"MAIL FROM")), 0);
    server.hear(MAC, &packet(5, 5000, false, Content::ForwardReset), 1);
    assert_eq!((server.descriptors(1), server.channels[0].end()), (vec![0x87], None));
    assert!(server.channels[0].can_read());
    server.hear(MAC, &packet(5, 100, false, Content::ForwardReset), 2);
    assert_eq!((server.descriptors(2), server.channels[0].end()), (vec![0x87], Some(End::Reset)));
    // What comes behind it is no rest of what came before.
    server.hear(MAC, &packet(5, 100, true, data(b".\r\n")), 3);
    assert_eq!(server.descriptors(3), [0x80]);
    let mut read = [0; 9];
    let channel = &mut server.channels[0];
    assert_eq!((channel.can_read(), channel.read(&mut read)), (false, 0));
    server.hear(MAC, &packet(5, 103, false, Content::CloseAdvice), 4);
    let channel = &mut server.channels[0];
    assert_eq!((channel.end(), channel.read(&mut read)), (Some(End::Reset), 0));
    channel.close();
    server.open(MAC, 6, 5);
    server.hear(MAC, &packet(6, 0, false, data(b"EHLO")), 5);
    assert_eq!((server.channels[0].end(), server.channels[0].can_read()), (None, true));
}

#[test]
fn a_peer_that_has_forgotten_its_connection_is_not_joined_to_it() {
    for takes in [true, false] {
        let mut server = Server::new(1);
        server.open(MAC, 5, 0);
        // Nothing has passed: it may be that our answer was lost, and the octets are still to come.
        server.channels[0].write(b"220 mx2");
        assert_eq!(server.descriptors(0), [0x40]);
        server.hear(MAC, &open(5, OPEN), 1);
        let said = server.says(1);
        assert_eq!((said[0].1[12], &said[0].1[2..6]), (0x83, &[0, 0, 0, 0][..]));
        match takes {
            true => server.hear(MAC, &packet(5, 0, false, data(b"DATA\r\nhalf ")), 2),
            false => server.acknowledged(7, Content::Acknowledgement, 2),
        }
        // A copy that was late on its way.
        server.hear(MAC, &open(5, OPEN), 4999);
        let opens = |said: Vec<u8>| said.into_iter().filter(|it| *it == 0x83).count();
        assert_eq!((opens(server.descriptors(4999)), server.channels[0].end()), (0, None));
        let woken = Arc::new(Woken::default());
        server.channels[0].wait(&Arc::clone(&woken).into());
        server.hear(MAC, &open(5, OPEN), 5000);
        assert_eq!(server.channels[0].end(), Some(End::Reset), "{takes}");
        assert!(woken.0.load(Ordering::Relaxed), "whoever reads is to hear of it");
        assert!(!server.channels[0].can_read(), "nobody is there for what an answer would say");
        assert_eq!(server.descriptors(5000), []);
        server.channels[0].close();
        server.open(MAC, 5, 6000);
        assert!(!server.channels[0].can_read());
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_connection_that_ends_before_anybody_took_it_frees_its_channel() {
    for ends in [Content::CloseAdvice, Content::ForwardReset] {
        let mut server = Server::new(1);
        server.hear(MAC, &open(5, OPEN), 0);
        assert_eq!(server.descriptors(0), [0x83]);
        let kind = OpenKind::Acknowledgement;
        server.hear(MAC, &open(5, Open { kind, destination: 100, ..OPEN }), 1);
        server.hear(MAC, &packet(5, 0, false, ends), 2);
        server.hear(MAC, &packet(5, 0, false, Content::CloseAdvice), 3);
        assert_eq!(server.endpoint.accept(&mut server.channels), None);
        assert!(server.channels[0].is_free(), "{ends:?}");
        server.descriptors(3);
        server.open(MAC, 6, 4);
    }
}

/// A server whose peer has opened connection 5 with room for so many octets.
fn with_window(window: u16) -> Server {
    let mut server = Server::new(1);
    server.hear(MAC, &Packet { window, ..open(5, OPEN) }, 0);
    server.descriptors(0);
    let opened = Open { kind: OpenKind::Acknowledgement, destination: 100, ..OPEN };
    server.hear(MAC, &Packet { window, ..open(5, opened) }, 0);
    server
}

/// Writes so many full packets.
fn write(server: &mut Server, packets: usize) {
    let octets = vec![b'x'; 572 * packets];
    assert_eq!(server.channels[0].write(&octets), octets.len());
}

#[test]
fn advice_repeats_what_is_missed_once_for_each_time_that_an_answer_takes() {
    let mut server = with_window(8000);
    write(&mut server, 4);
    assert_eq!(server.descriptors(0), [0, 0, 0, 0x40]);
    let advice = Content::RetransmitAdvice;
    server.acknowledged(572, advice, 10);
    assert_eq!(server.descriptors(10), [0, 0, 0x40]);
    server.acknowledged(572, advice, 11);
    server.acknowledged(572, advice, 12);
    assert_eq!(server.descriptors(12), [], "it speaks of the same packets");
    server.acknowledged(0, advice, 13);
    assert_eq!(server.descriptors(13), [], "it is late");
    server.acknowledged(1144, advice, 14);
    assert_eq!(server.descriptors(14), [0, 0x40], "another is missed");
}

#[test]
fn advice_halves_what_is_in_flight() {
    let mut server = with_window(8000);
    // Four at first, and one more for each answer.
    for next in 1..=4 {
        write(&mut server, 1);
        assert_eq!(server.descriptors(0), [0x40]);
        server.hear(MAC, &acknowledges(572 * next, 8000, Content::Acknowledgement), 0);
    }
    write(&mut server, 7);
    assert_eq!(server.descriptors(0).len(), 7);
    server.hear(MAC, &acknowledges(572 * 4, 8000, Content::RetransmitAdvice), 1);
    assert_eq!(server.descriptors(1), [0, 0, 0, 0x40]);
}

#[test]
fn a_window_that_opens_again_is_asked_about_as_soon_as_before() {
    let mut server = with_window(3);
    let window = |window, next| acknowledges(next, window, Content::Acknowledgement);
    server.channels[0].write(b"220");
    assert_eq!(server.descriptors(0), [0x40]);
    server.hear(MAC, &window(0, 3), 10);
    server.channels[0].write(b"250");
    let mut probes = 0;
    for ms in (10..60_000).step_by(10) {
        probes += server.descriptors(ms).iter().filter(|it| **it == 0xc0).count();
        if ms % 20_000 == 0 {
            server.hear(MAC, &window(0, 3), ms);
        }
    }
    assert!(probes > 5, "{probes}");
    server.hear(MAC, &window(2000, 3), 60_000);
    assert_eq!(server.descriptors(60_000), [0x40]);
    assert_eq!(server.endpoint.deadline(&server.channels), at(60_200), "a round trip was 10 ms");
}

#[test]
fn a_close_that_overtakes_octets_waits_for_them() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    server.hear(MAC, &packet(5, 4, false, Content::CloseAdvice), 0);
    assert_eq!(server.channels[0].end(), None);
    server.hear(MAC, &packet(5, 0, true, data(b"QUIT")), 1);
    assert_eq!(server.channels[0].end(), Some(End::Closed));
    assert!(server.channels[0].can_read());
    // Those that never come are not waited for without end.
    server.channels[0].close();
    server.open(MAC, 6, 10);
    server.hear(MAC, &packet(6, 4, false, Content::CloseAdvice), 20);
    assert_eq!(server.endpoint.deadline(&server.channels), at(5020));
    assert_eq!(server.descriptors(5020), []);
    assert_eq!(server.channels[0].end(), Some(End::Closed));
}

#[test]
fn a_close_waits_for_what_was_written() {
    let mut cable = Cable::<2048, 1024>::new(Trouble { lost: 20, ..Trouble::default() }, 7);
    cable.sides[1].to_write = b"221 2.0.0 Bye\r\n".to_vec();
    cable.open();
    assert!(cable.run(60_000, |cable| cable.sides[1].written == 15));
    cable.sides[1].connection().close();
    assert!(cable.run(60_000, |cable| cable.sides[1].connection().is_free()));
    assert_eq!(cable.sides[0].read, b"221 2.0.0 Bye\r\n");
}

#[test]
fn a_peer_that_answers_and_takes_nothing_does_not_keep_the_channel() {
    let mut server = Server::new(1);
    server.hear(MAC, &Packet { window: 0, ..open(5, OPEN) }, 0);
    assert_eq!(server.descriptors(0), [0x83]);
    let (kind, destination) = (OpenKind::Acknowledgement, 100);
    let confirmed = open(5, Open { kind, destination, ..OPEN });
    server.hear(MAC, &Packet { window: 0, ..confirmed }, 1);
    assert_eq!(server.channels[0].write(b"421"), 3);
    server.channels[0].close();
    let mut said = Vec::new();
    for ms in (1..=30_001).step_by(1000) {
        said.extend(server.descriptors(ms));
        let none = Packet { window: 0, ..packet(5, 0, false, Content::Acknowledgement) };
        server.hear(MAC, &none, ms);
    }
    assert_eq!((said.last(), server.channels[0].is_free()), (Some(&0x85), true));
    assert!(said.iter().filter(|descriptor| **descriptor == 0xc0).count() > 3, "{said:02x?}");
}

#[test]
fn silence_is_asked_about_three_times_and_ends_after_two_minutes() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    let mut probes = Vec::new();
    while let Some(ms) =
        Some(server.endpoint.deadline(&server.channels)).filter(|at| *at != Instant::FAR)
    {
        let ms = ms.as_millis();
        probes.extend(server.descriptors(ms).into_iter().map(|descriptor| (ms, descriptor)));
    }
    assert_eq!(probes, [(30_000, 0xc0), (60_000, 0xc0), (90_000, 0xc0)]);
    assert_eq!(server.channels[0].end(), Some(End::Silent));
    server.channels[0].close();
    server.open(MAC, 6, 120_001);
    // A probe of the peer's is answered, and so two idle stacks go on.
    server.hear(MAC, &packet(6, 0, true, Content::Acknowledgement), 149_000);
    assert_eq!(server.descriptors(149_000), [0x80]);
    assert_eq!(server.endpoint.deadline(&server.channels), at(179_000));
}

#[test]
fn a_client_takes_either_answer_from_wherever_it_comes() {
    for kind in [OpenKind::Acknowledgement, OpenKind::RequestAndAcknowledgement] {
        let mut client = Server::new(1);
        client.endpoint.listen(false);
        let opened = client.endpoint.open(&mut client.channels, MAC, at(0));
        assert_eq!((opened, client.descriptors(0)), (Ok(0), vec![0x81]));
        let elsewhere = Address { node: 9, ..MAC };
        client.hear(elsewhere, &open(77, Open { kind, destination: 100, ..OPEN }), 5);
        assert_eq!(client.channels[0].peer(), elsewhere);
        assert_eq!(client.descriptors(5), [0x82]);
        // It was lost, and the listener asks again.
        let again = Open { kind: OpenKind::RequestAndAcknowledgement, destination: 100, ..OPEN };
        client.hear(elsewhere, &open(77, again), 1000);
        assert_eq!(client.descriptors(1000), [0x82]);
        client.hear(elsewhere, &packet(77, 0, true, data(b"220 hi")), 1001);
        assert_eq!(client.descriptors(1001), [0x80]);
        client.hear(elsewhere, &open(77, again), 1002);
        assert_eq!(client.descriptors(1002), [], "it is late");
    }
}

#[test]
fn a_client_hears_a_denial_and_gives_up_where_nobody_is() {
    let mut client = Server::new(1);
    assert_eq!(client.endpoint.open(&mut client.channels, MAC, at(0)), Ok(0));
    assert_eq!(client.endpoint.open(&mut client.channels, MAC, at(0)).ok(), None);
    let requests: usize = (0..=10_000).map(|ms| client.says(ms).len()).sum();
    assert_eq!((requests, client.channels[0].end()), (10, Some(End::NoAnswer)));
    client.channels[0].close();
    assert_eq!(client.endpoint.open(&mut client.channels, MAC, at(20_000)), Ok(0));
    let denied = Open { kind: OpenKind::Denial, destination: 102, ..OPEN };
    client.hear(MAC, &open(0, denied), 20_001);
    assert_eq!(client.channels[0].end(), Some(End::Denied));
}

/// Else an idle mailer would be hung up on after two minutes.
#[test]
fn a_peer_that_answers_each_probe_stays() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    for ms in (1..=20).map(|nth| nth * 30_000) {
        assert_eq!(server.descriptors(ms), [0xc0], "{ms}");
        server.hear(MAC, &packet(5, 0, false, Content::Acknowledgement), ms);
    }
    assert_eq!(server.channels[0].end(), None);
}

/// Nobody has it any more who would close it again.
#[test]
fn a_channel_that_is_being_closed_is_free_once_the_peer_closes() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    server.channels[0].write(b"221 2.0.0 Bye");
    assert_eq!(server.descriptors(1), [0x40]);
    server.channels[0].close();
    server.hear(MAC, &packet(5, 0, false, Content::CloseAdvice), 2);
    assert!(server.channels[0].is_free());
}

#[test]
fn part_of_a_packet_waits_while_another_is_in_flight() {
    let mut server = with_window(1000);
    write(&mut server, 2);
    assert_eq!(server.descriptors(0), [0x40]);
    server.hear(MAC, &acknowledges(572, 1000, Content::Acknowledgement), 1);
    assert_eq!(server.says(1)[0].1.len(), 13 + 572);
}

/// The answer to what was sent twice may be to the first, and says nothing of how long one takes.
#[test]
fn what_is_not_answered_is_sent_again_by_half_and_is_no_measure() {
    let mut server = with_window(8000);
    write(&mut server, 4);
    assert_eq!(server.descriptors(0), [0, 0, 0, 0x40]);
    assert_eq!(server.descriptors(2000), [0, 0x40]);
    server.hear(MAC, &acknowledges(572 * 4, 8000, Content::Acknowledgement), 2001);
    write(&mut server, 1);
    assert_eq!(server.descriptors(2002), [0x40]);
    assert_eq!(server.endpoint.deadline(&server.channels), at(4002));
}

/// Whoever reads tells so by itself.
#[test]
fn a_window_that_has_just_closed_has_two_seconds_to_open() {
    let mut server = with_window(3);
    server.channels[0].write(b"220");
    assert_eq!(server.descriptors(0), [0x40]);
    server.hear(MAC, &acknowledges(3, 0, Content::Acknowledgement), 10);
    server.channels[0].write(b"250");
    assert_eq!(server.descriptors(20), []);
    assert_eq!(server.endpoint.deadline(&server.channels), at(2020));
}

/// A peer may repeat it until it hears something.
#[test]
fn a_close_that_is_said_again_waits_no_longer_for_what_is_missed() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    for ms in [1000, 4000] {
        server.hear(MAC, &packet(5, 9, false, Content::CloseAdvice), ms);
    }
    server.descriptors(5999);
    assert_eq!(server.channels[0].end(), None);
    server.descriptors(6000);
    assert_eq!(server.channels[0].end(), Some(End::Closed));
}

#[test]
fn packets_behind_a_gap_are_counted_anew_once_it_is_filled() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    for (first, octets) in [(2, &b"c"[..]), (3, b"d"), (0, b"ab"), (9, b"j")] {
        server.hear(MAC, &packet(5, first, false, data(octets)), 1);
    }
    assert_eq!(server.descriptors(1), []);
}

/// A peer that sends more than it may hears at once how far it came.
#[test]
fn what_there_is_no_room_for_is_answered_at_once() {
    let mut server = Server::new(1);
    server.open(MAC, 5, 0);
    let octets = [b'x'; 572];
    for first in [0, 572, 1144] {
        server.hear(MAC, &packet(5, first, false, data(&octets)), 1);
        assert_eq!(server.descriptors(1), []);
    }
    server.hear(MAC, &packet(5, 1716, false, data(&octets)), 1);
    let said = server.says(1);
    assert_eq!((said[0].1[12], &said[0].1[6..12]), (0x80, &[0, 0, 8, 0, 0, 0][..]));
}

/// 0 is the number of no connection.
#[test]
fn no_connection_has_the_number_0() {
    let mut server = Server::new(1);
    server.hear(MAC, &open(0, OPEN), 0);
    assert_eq!((server.descriptors(0), server.channels[0].is_free()), (vec![0x84], true));
    server.endpoint = Endpoint::new(72, u16::MAX);
    server.endpoint.listen(true);
    server.hear(MAC, &open(5, OPEN), 0);
    assert_eq!(server.says(0)[0].1[..2], [0, 1]);
}

#[test]
fn an_answer_of_another_version_opens_nothing() {
    let mut client = Server::new(1);
    assert_eq!(client.endpoint.open(&mut client.channels, MAC, at(0)), Ok(0));
    assert_eq!(client.descriptors(0), [0x81]);
    let kind = OpenKind::RequestAndAcknowledgement;
    client.hear(MAC, &open(77, Open { kind, version: 0x0200, destination: 100, ..OPEN }), 1);
    assert_eq!((client.descriptors(1), client.channels[0].is_open()), (vec![], false));
}
