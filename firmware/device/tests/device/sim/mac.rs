//! A mailer on AppleTalk: core's own node and streams, on a host of the cable.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_futures::select::{Either3, select3};
use embassy_net::Stack;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer};
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::{self, End, Endpoint, PACKET_MAX};
use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::llap::FRAME_MAX;
use postern_core::appletalk::ltoudp::{self, DATAGRAM_MAX, GROUP, PORT};
use postern_core::appletalk::nbp::{Function, Name, Packet, Registration};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::drive::adsp::{Channels, Stream as CoreStream};
use postern_core::time::Instant;
use postern_core::wire::Out;

use super::host::Host;
use super::talk::{Line, Talk};
use super::world::World;

const BUFFER: usize = 4096;
const SOCKET: u8 = 200;
/// Questions for a name, and one each so often: a node that starts asks for its number for two
/// seconds, and for its names for two more.
const TRIES: u32 = 16;
const TRY_EVERY: Duration = Duration::from_millis(500);

type Connection = adsp::Connection<BUFFER, BUFFER>;
/// A connection of one.
pub type Stream = CoreStream<Ports, BUFFER, BUFFER>;

/// A mailer.
pub struct Mac(Ports);

/// Its connections. A clone has the same.
#[derive(Clone)]
pub struct Ports(Rc<State>);

struct State {
    endpoint: RefCell<Endpoint>,
    channels: RefCell<[Connection; 1]>,
    changed: Signal<NoopRawMutex, ()>,
    /// Who is asked for, and who answered.
    asked: Cell<Option<&'static [u8]>>,
    found: Cell<Option<Address>>,
}

impl Mac {
    /// One at this host, whose numbers begin with `random`.
    pub fn new(world: &World, host: &Host, random: u32) -> Self {
        Self::named(world, host, random, b"")
    }

    /// One that is called so.
    pub fn named(world: &World, host: &Host, random: u32, name: &'static [u8]) -> Self {
        let ports = Ports(Rc::new(State {
            endpoint: RefCell::new(Endpoint::new(SOCKET, random as u16)),
            channels: RefCell::new([Connection::FREE]),
            changed: Signal::new(),
            asked: Cell::new(None),
            found: Cell::new(None),
        }));
        let (stack, at_work) = (host.stack, ports.clone());
        world.tasks.spawn(async move { at_work.run(stack, random, name).await });
        Self(ports)
    }

    /// Looks for whoever is called `name`.
    pub async fn find(&self, name: &'static [u8]) -> Option<Address> {
        let state = &self.0.0;
        state.found.set(None);
        for _ in 0..TRIES {
            state.asked.set(Some(name));
            state.changed.signal(());
            Timer::after(TRY_EVERY).await;
            if let Some(found) = state.found.get() {
                return Some(found);
            }
        }
        None
    }

    /// Opens a connection.
    pub async fn open(&self, peer: Address) -> Result<Talk<Stream>, End> {
        let state = &self.0.0;
        let opened =
            state.endpoint.borrow_mut().open(&mut state.channels.borrow_mut()[..], peer, now());
        let channel = opened.expect("it has none yet");
        state.changed.signal(());
        let mut stream = Stream::new(self.0.clone(), channel);
        stream.opened().await?;
        Ok(Talk::on(stream))
    }
}

fn now() -> Instant {
    Instant::from_millis(embassy_time::Instant::now().as_millis())
}

impl Ports {
    async fn run(&self, stack: Stack<'static>, random: u32, name: &'static [u8]) {
        let meta = || vec![PacketMetadata::EMPTY; 16].leak();
        let room = || vec![0; 16 * DATAGRAM_MAX].leak();
        let mut socket = UdpSocket::new(stack, meta(), room(), meta(), room());
        socket.bind(PORT).expect("the socket is new");
        stack.join_multicast_group(GROUP).expect("there is place for it");
        let mut names: Vec<_> =
            Name::new(name).map(|name| Registration::new(name, SOCKET)).into_iter().collect();
        let mut node = Node::new(&mut names, random, now());
        loop {
            let mut frame = [0; FRAME_MAX];
            let mut out = Out::new(&mut frame);
            if self.transmit(&mut node, &mut out) {
                send(&socket, random, out.written()).await;
                continue;
            }
            let own = self.0.endpoint.borrow().deadline(&self.0.channels.borrow()[..]);
            let deadline = node.deadline().min(own);
            let wait = Duration::from_millis(deadline.millis_since(now()).min(60_000));
            let mut datagram = [0; DATAGRAM_MAX];
            let received = socket.recv_from(&mut datagram);
            let waited = select3(received, self.0.changed.wait(), Timer::after(wait)).await;
            let Either3::First(Ok((octets, _))) = waited else { continue };
            let Some(heard) = ltoudp::unwrap(&datagram[..octets], random) else { continue };
            let mut frame = [0; FRAME_MAX];
            let mut out = Out::new(&mut frame);
            if self.hear(&mut node, heard, &mut out) {
                send(&socket, random, out.written()).await;
            }
        }
    }

    fn transmit(&self, node: &mut Node<'_>, out: &mut Out<'_>) -> bool {
        if node.transmit(now(), out).expect("there is room") {
            return true;
        }
        if node.number().is_none() {
            return false;
        }
        if let Some(name) = self.0.asked.take() {
            let name = Name::new(name).expect("a name");
            return node.look_up(&name, None, SOCKET, now(), out).is_ok();
        }
        let mut packet = [0; PACKET_MAX];
        let mut packet = Out::new(&mut packet);
        let (mut endpoint, mut channels) =
            (self.0.endpoint.borrow_mut(), self.0.channels.borrow_mut());
        let Some(to) = endpoint.transmit(&mut channels[..], now(), &mut packet) else {
            return false;
        };
        let datagram = Outgoing { from: SOCKET, to, kind: ddp::ADSP, data: packet.written() };
        node.send(&datagram, now(), out).is_ok()
    }

    /// Whether there is an answer.
    fn hear(&self, node: &mut Node<'_>, frame: &[u8], out: &mut Out<'_>) -> bool {
        match node.receive(frame, now(), out) {
            Heard::Reply => return true,
            Heard::Datagram(Datagram { source, kind: ddp::ADSP, data, .. }) => {
                let (mut endpoint, mut channels) =
                    (self.0.endpoint.borrow_mut(), self.0.channels.borrow_mut());
                endpoint.receive(&mut channels[..], source, data, now());
            }
            Heard::Datagram(Datagram { kind: ddp::NBP, data, .. }) => {
                let reply = Packet::parse(data).filter(|it| it.function == Function::Reply);
                let found = reply.and_then(|reply| Some(reply.tuples().next()?.address));
                self.0.found.set(found.or(self.0.found.get()));
            }
            _ => {}
        }
        false
    }
}

async fn send(socket: &UdpSocket<'static>, sender: u32, frame: &[u8]) {
    let datagram = [&sender.to_be_bytes(), frame].concat();
    socket.send_to(&datagram, (GROUP, PORT)).await.expect("it has an address");
}

impl Channels<BUFFER, BUFFER> for Ports {
    fn with<T>(&self, channel: usize, work: impl FnOnce(&mut Connection) -> T) -> T {
        work(&mut self.0.channels.borrow_mut()[channel])
    }

    fn changed(&self) {
        self.0.changed.signal(());
    }
}

impl Line for Stream {
    async fn read(&mut self, octets: &mut [u8]) -> Option<usize> {
        embedded_io_async::Read::read(self, octets).await.ok()
    }

    async fn write(&mut self, octets: &[u8]) -> Option<usize> {
        embedded_io_async::Write::write(self, octets).await.ok()
    }
}
