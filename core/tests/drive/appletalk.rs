//! A session on an ADSP connection whose peer says what it likes, packet by packet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::packet::{Content, Open, OpenKind, Packet, VERSION};
use postern_core::appletalk::adsp::{Connection, End, Endpoint, PACKET_MAX};
use postern_core::drive::adsp::{Channels, Stream};
use postern_core::drive::{Broken, Exit};
use postern_core::time::Instant;
use postern_core::wire::Out;

use crate::DATA;
use crate::rig::{CONFIG, Rig, Time, codes};

const PEER: Address = Address { network: 0, node: 7, socket: 250 };
/// What both call the connection.
const THEIRS: u16 = 5;
const OURS: u16 = 100;
const NOW: Instant = Instant::from_millis(0);

/// What the peer sends once the last reply that it has heard is of that code.
type Says = VecDeque<(&'static str, Vec<(u32, Content<'static>)>)>;

struct Cable {
    endpoint: Endpoint,
    channels: [Connection<2048, 1024>; 1],
    says: Says,
    heard: Vec<u8>,
}

impl Cable {
    fn new(says: Says) -> Self {
        let mut endpoint = Endpoint::new(72, OURS - 1);
        endpoint.listen(true);
        let mut cable = Self { endpoint, channels: [Connection::FREE], says, heard: Vec::new() };
        let open = |kind, destination| {
            Content::Open(Open { kind, version: VERSION, destination, attention_receive: 0 })
        };
        cable.hear(0, open(OpenKind::Request, 0));
        cable.hear(0, open(OpenKind::Acknowledgement, OURS));
        assert_eq!(cable.endpoint.accept(&mut cable.channels), Some(0));
        cable
    }

    fn hear(&mut self, first_byte: u32, content: Content<'_>) {
        let next_receive = self.heard.len().try_into().expect("replies are short");
        let (source, window) = (THEIRS, 1024);
        let packet = Packet { source, first_byte, next_receive, window, answer: false, content };
        let mut buffer = [0; PACKET_MAX];
        let mut out = Out::new(&mut buffer);
        packet.write(&mut out).expect("it fits");
        self.endpoint.receive(&mut self.channels, PEER, out.written(), NOW);
    }

    /// The peer hears what is sent, and says what it says to that.
    fn move_packets(&mut self) {
        let mut buffer = [0; PACKET_MAX];
        loop {
            let mut out = Out::new(&mut buffer);
            if self.endpoint.transmit(&mut self.channels, NOW, &mut out).is_none() {
                break;
            }
            let packet = Packet::parse(out.written()).expect("a packet");
            if let Content::Data { data, .. } = packet.content {
                self.heard.extend_from_slice(data);
            }
        }
        let last = codes(&self.heard).pop().unwrap_or_default().to_owned();
        if let Some((_, said)) = self.says.pop_front_if(|(code, _)| *code == last) {
            said.into_iter().for_each(|(first, content)| self.hear(first, content));
        }
    }
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Cable>>);

impl Channels<2048, 1024> for Shared {
    fn with<T>(&self, channel: usize, work: impl FnOnce(&mut Connection<2048, 1024>) -> T) -> T {
        work(&mut self.0.borrow_mut().channels[channel])
    }

    fn changed(&self) {
        self.0.borrow_mut().move_packets();
    }
}

/// Runs a session with a peer that says `says`.
fn run(says: Says) -> (Result<Exit, Broken<End>>, Rig) {
    let shared = Shared(Rc::new(RefCell::new(Cable::new(says))));
    let (mut rig, mut stream) = (Rig::new(CONFIG), Stream::new(shared, 0));
    let ended = rig.serve_on(&mut stream, Rc::new(Time::default()));
    (ended, rig)
}

fn data(data: &'static [u8]) -> Content<'static> {
    Content::Data { data, ends_message: false }
}

const LENGTH: u32 = DATA.len() as u32;

#[test]
fn a_message_whose_middle_the_peer_took_back_is_not_taken() {
    let reset = vec![
        (LENGTH + 106, Content::ForwardReset),
        (LENGTH + 106, data(b".\r\n")),
        (LENGTH + 109, Content::CloseAdvice),
    ];
    let start = vec![(0, data(DATA)), (LENGTH, data(b"half\r\n"))];
    let (ended, rig) = run([("220", start), ("354", reset)].into());
    assert_eq!(rig.log(), ["open", "discard HangUp"]);
    assert_eq!((ended, rig.keeper.messages.len()), (Err(Broken::Link(End::Reset)), 0));
}

#[test]
fn a_message_that_is_whole_is_taken() {
    let start = vec![(0, data(DATA)), (LENGTH, data(b"half\r\n"))];
    let (end, quit) = (vec![(LENGTH + 6, data(b".\r\n"))], vec![(LENGTH + 9, data(b"QUIT\r\n"))]);
    let (ended, rig) = run([("220", start), ("354", end), ("250", quit)].into());
    assert_eq!((rig.log(), ended), (vec!["open", "commit"], Ok(Exit::Closed)));
    assert_eq!(rig.keeper.messages, [b"half\r\n"]);
}
