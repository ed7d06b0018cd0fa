//! Servers of datagrams: the time, addresses, and somebody who hears wake-up packets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_net::Ipv4Address;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::Instant;

use super::host::Host;
use super::world::{DEVICE, FAR, World};

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

const PIECE: usize = 2048;

fn socket(host: &Host, port: u16) -> UdpSocket<'static> {
    let (receive, send) = (vec![0; PIECE].leak(), vec![0; PIECE].leak());
    let received = vec![PacketMetadata::EMPTY; 8].leak();
    let sent = vec![PacketMetadata::EMPTY; 8].leak();
    let mut socket = UdpSocket::new(host.stack, received, receive, sent, send);
    socket.bind(port).expect("the port is free");
    socket
}

/// Tells the time (RFC 5905 §7.3): `boot_unix_s` when the world began.
pub fn tell_time(world: &World, boot_unix_s: u64) {
    answer_time(world, move |_| Some(boot_unix_s), |_| {});
}

/// Tells the time, which was `boot` of the question's number when the world began; none: there is
/// no answer. `change` does what it likes to each.
pub fn answer_time(
    world: &World,
    mut boot: impl FnMut(u32) -> Option<u64> + 'static,
    change: impl Fn(&mut [u8; 48]) + 'static,
) -> Rc<Cell<u32>> {
    let (socket, asked) = (socket(&world.far, 123), Rc::new(Cell::new(0)));
    let count = Rc::clone(&asked);
    world.tasks.spawn(async move {
        let mut datagram = [0; PIECE];
        loop {
            let Ok((48, from)) = socket.recv_from(&mut datagram).await else { continue };
            let number = asked.replace(asked.get() + 1);
            let Some(boot_unix_s) = boot(number) else { continue };
            let now = (NTP_EPOCH + boot_unix_s + Instant::now().as_secs()) as u32;
            let mut answer = [0; 48];
            // Version 4, a server, of stratum 1.
            answer[..2].copy_from_slice(&[0o44, 1]);
            answer[24..32].copy_from_slice(&datagram[40..48]);
            answer[32..36].copy_from_slice(&now.to_be_bytes());
            answer[40..44].copy_from_slice(&now.to_be_bytes());
            change(&mut answer);
            socket.send_to(&answer, from).await.expect("there is a way back");
        }
    });
    count
}

/// When wake-up packets came, and for whom.
pub type WakeUps = Rc<RefCell<Vec<(Instant, [u8; 6])>>>;

/// Hears Wake-on-LAN packets.
pub fn hear_wake_ups(world: &World) -> WakeUps {
    let heard = WakeUps::default();
    let (socket, hears) = (socket(&world.far, 9), Rc::clone(&heard));
    world.tasks.spawn(async move {
        let mut datagram = [0; PIECE];
        loop {
            let Ok((102, _)) = socket.recv_from(&mut datagram).await else { continue };
            assert_eq!(datagram[..6], [0xFF; 6], "a wake-up packet begins so");
            let host: [u8; 6] = datagram[6..12].try_into().expect("6 octets are 6 octets");
            assert_eq!(datagram[6..102], host.repeat(16)[..], "the address stands there 16 times");
            hears.borrow_mut().push((Instant::now(), host));
        }
    });
    heard
}

/// Datagrams, and when each came.
pub type Came = Rc<RefCell<Vec<(Instant, Vec<u8>)>>>;

/// Hears what is sent to `port`.
pub fn hear(world: &World, port: u16) -> Came {
    let came = Came::default();
    let (socket, hears) = (socket(&world.far, port), Rc::clone(&came));
    world.tasks.spawn(async move {
        let mut datagram = [0; PIECE];
        loop {
            let Ok((length, _)) = socket.recv_from(&mut datagram).await else { continue };
            hears.borrow_mut().push((Instant::now(), datagram[..length].to_vec()));
        }
    });
    came
}

/// Leases the device its address (RFC 2131).
pub fn lease(world: &World) {
    const OFFER: u8 = 2;
    const ACKNOWLEDGE: u8 = 5;
    let socket = socket(&world.far, 67);
    world.tasks.spawn(async move {
        let mut datagram = [0; PIECE];
        loop {
            let Ok((length, _)) = socket.recv_from(&mut datagram).await else { continue };
            let options = &datagram[240..length];
            // The message's type is the first option that any client sends.
            let kind = match options {
                [53, 1, 1, ..] => OFFER,
                [53, 1, 3, ..] => ACKNOWLEDGE,
                _ => continue,
            };
            let answer = lease_answer(&datagram, kind);
            let everybody = (Ipv4Address::BROADCAST, 68);
            socket.send_to(&answer, everybody).await.expect("the link is up");
        }
    });
}

fn lease_answer(question: &[u8], kind: u8) -> Vec<u8> {
    let mut answer = vec![0; 240];
    answer[..4].copy_from_slice(&[2, 1, 6, 0]);
    answer[4..8].copy_from_slice(&question[4..8]);
    answer[16..20].copy_from_slice(&DEVICE.octets());
    answer[28..44].copy_from_slice(&question[28..44]);
    answer[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    answer.extend([53, 1, kind, 54, 4]);
    answer.extend(FAR.octets());
    answer.extend([51, 4, 0, 1, 0x51, 0x80, 1, 4, 255, 255, 255, 0, 255]);
    answer
}

/// Answers questions for the address of `name`, which is ours, and no others.
pub fn name(world: &World, name: &str) {
    names(world, name, |_| Some(Ok(FAR)));
}

/// Why a name has no address (RFC 1035 §4.1.1): the server failed, there is no such name, or the
/// server does not answer such questions.
pub const SERVER_FAILURE: u8 = 2;
pub const NO_NAME: u8 = 3;
pub const NOT_IMPLEMENTED: u8 = 4;
pub const REFUSED: u8 = 5;

/// Answers questions for the address of `name` (RFC 1035 §4.1): `answer` of the question's number,
/// counted from 0, says it, or the code of the error; none: it is not answered. Counts them.
pub fn names(
    world: &World,
    name: &str,
    answer: impl FnMut(u32) -> Option<Result<Ipv4Address, u8>> + 'static,
) -> Rc<Cell<u32>> {
    all_names(world, &[name], answer)
}

/// The same for each of `names`.
pub fn all_names(
    world: &World,
    names: &[&str],
    answer: impl FnMut(u32) -> Option<Result<Ipv4Address, u8>> + 'static,
) -> Rc<Cell<u32>> {
    names_at(world, &world.far, names, answer)
}

/// The same, by another host.
pub fn names_at(
    world: &World,
    host: &Host,
    names: &[&str],
    mut answer: impl FnMut(u32) -> Option<Result<Ipv4Address, u8>> + 'static,
) -> Rc<Cell<u32>> {
    let known: Vec<Vec<u8>> = names.iter().map(|name| question_for(name)).collect();
    let (socket, asked) = (socket(host, 53), Rc::new(Cell::new(0)));
    let count = Rc::clone(&asked);
    world.tasks.spawn(async move {
        let mut datagram = [0; PIECE];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut datagram).await else { continue };
            let Some(wanted) = known.iter().find(|known| datagram[12..length] == ***known) else {
                continue;
            };
            let number = asked.replace(asked.get() + 1);
            let Some(said) = answer(number) else { continue };
            // Recursion is available; one question, one answer or none: the same name, for an hour.
            let (code, address) = said.map_or_else(|code| (code, None), |found| (0, Some(found)));
            let counts = [0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
            let mut packet = [&datagram[..2], &counts, wanted].concat();
            if let Some(address) = address {
                packet.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0x0E, 0x10, 0, 4]);
                packet.extend(address.octets());
            }
            socket.send_to(&packet, from).await.expect("there is a way back");
        }
    });
    count
}

fn question_for(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    // The root's label, type A, class IN.
    labels.chain([0, 0, 1, 0, 1]).collect()
}
