//! A node of AppleTalk and its streams, run on a memory-mapped register, and nothing else.
//!
//! As for the session, the panic handler calls a function that is defined nowhere: what links
//! cannot panic.
#![no_std]
#![no_main]

use core::mem::size_of;
use core::panic::PanicInfo;
use core::task::Waker;

use postern_core::appletalk::adsp::{Connection, Endpoint, PACKET_MAX};
use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::llap::FRAME_MAX;
use postern_core::appletalk::nbp::{Name, Packet, Registration};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::appletalk::{Address, ltoudp};
use postern_core::wire::Out;
use postern_footprint::{now, read, write};

unsafe extern "C" {
    safe fn a_panic_path_is_left() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_path_is_left()
}

/// A device's channel.
type Channel = Connection<2048, 1024>;

const CHANNELS: usize = 2;
const SOCKET: u8 = 72;

/// Its symbol tells the size of a channel on this target.
#[used]
#[unsafe(no_mangle)]
static CHANNEL_SIZE: [u8; size_of::<Channel>()] = [1; size_of::<Channel>()];

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut channels = [const { Channel::FREE }; CHANNELS];
    loop {
        let mut text = [0; 64];
        text.fill_with(read);
        let length = usize::from(read());
        let Some(name) = text.get(..length).and_then(Name::new) else { continue };
        let mut names = [Registration::new(name, SOCKET)];
        let mut node = Node::new(&mut names, u32::from(read()), now());
        let mut endpoint = Endpoint::new(SOCKET, u16::from(read()));
        while read() != 0 {
            hear(&mut node, &mut endpoint, &mut channels);
            work(&mut node, &mut endpoint, &mut channels);
            speak(&mut node, &mut endpoint, &mut channels);
        }
        #[cfg(feature = "panicking")]
        write([0; 16][usize::from(read())]);
    }
}

/// A datagram of any octets.
fn hear(node: &mut Node<'_>, endpoint: &mut Endpoint, channels: &mut [Channel]) {
    let (mut datagram, mut answer) = ([0; ltoudp::DATAGRAM_MAX], [0; FRAME_MAX]);
    datagram.fill_with(read);
    let length = usize::from(read()) << 3;
    let own = u32::from(read());
    let frame = datagram.get(..length).and_then(|datagram| ltoudp::unwrap(datagram, own));
    let (Some(frame), mut out) = (frame, Out::new(&mut answer)) else { return };
    match node.receive(frame, now(), &mut out) {
        Heard::Nothing | Heard::Fault(_) => {}
        Heard::Reply => send(&mut out),
        Heard::Datagram(Datagram { source, kind: ddp::ADSP, data, .. }) => {
            endpoint.receive(channels, source, data, now());
        }
        Heard::Datagram(Datagram { data, .. }) => {
            let Some(packet) = Packet::parse(data) else { return };
            packet.tuples().for_each(|tuple| write(tuple.address.node));
        }
    }
}

/// What the owner of a node and its channels may do, right or wrong.
fn work(node: &mut Node<'_>, endpoint: &mut Endpoint, channels: &mut [Channel]) {
    let peer = Address { network: u16::from(read()), node: read(), socket: read() };
    endpoint.listen(read() == 0);
    if let Some(taken) = endpoint.accept(channels).or(endpoint.open(channels, peer, now()).ok()) {
        write(u8::from(taken == 0));
    }
    let mut octets = [0; 64];
    for channel in channels {
        octets.fill_with(read);
        let length = match read() {
            0 => channel.read(&mut octets),
            1 => channel.write(&octets),
            2 => channel.free(),
            3 => usize::from(channel.is_flushed()) + usize::from(channel.can_read()),
            4 => usize::from(channel.end().is_some()),
            5 => usize::from(channel.peer().node),
            6 => {
                channel.wait(Waker::noop());
                0
            }
            _ => {
                channel.close();
                0
            }
        };
        octets.iter().take(length).for_each(|octet| write(*octet));
    }
    let mut frame = [0; FRAME_MAX];
    let mut out = Out::new(&mut frame);
    if let Some(pattern) = Name::new(&octets)
        && node.look_up(&pattern, (read() == 0).then_some(peer), SOCKET, now(), &mut out).is_ok()
    {
        send(&mut out);
    }
    let states = node.registrations().iter().map(|name| name.name().is_pattern());
    write(u8::from(states.count() > 0) | u8::from(node.router(now()).is_some()));
}

/// All that is due.
fn speak(node: &mut Node<'_>, endpoint: &mut Endpoint, channels: &mut [Channel]) {
    let (mut frame, mut packet) = ([0; FRAME_MAX], [0; PACKET_MAX]);
    let mut out = Out::new(&mut frame);
    while node.transmit(now(), &mut out) == Ok(true) {
        send(&mut out);
    }
    loop {
        let mut data = Out::new(&mut packet);
        let Some(to) = endpoint.transmit(channels, now(), &mut data) else { break };
        let outgoing = Outgoing { from: SOCKET, to, kind: ddp::ADSP, data: data.written() };
        if node.send(&outgoing, now(), &mut out).is_ok() {
            send(&mut out);
        }
        out.clear();
    }
    let due = node.deadline().min(endpoint.deadline(channels));
    write(u8::from(due <= now()));
}

/// Sends a frame in a datagram.
fn send(out: &mut Out<'_>) {
    let mut header = [0; ltoudp::HEADER];
    let mut before = Out::new(&mut header);
    if ltoudp::write_header(u32::from(read()), &mut before).is_ok() {
        before.written().iter().chain(out.written()).for_each(|octet| write(*octet));
    }
    out.clear();
}
