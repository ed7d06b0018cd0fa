//! The socket of an Ethernet that is a cable of AppleTalk (EtherTalk, phase 2): a packet socket of
//! the kernel's, which gets the frames with a length in place of a type.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as BlockingSocket;
use std::sync::{Mutex, PoisonError};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, SockaddrLike, bind};
use postern_core::appletalk::ethertalk::{Ether, FRAME_MAX, TO_ALL};
use postern_core::appletalk::llap;
use postern_core::wire::Out;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use tokio::net::UnixDatagram;

use super::ltoudp::Frame;

/// ETH_P_802_2: what has a length in place of a type.
const WITH_LENGTH: u16 = 0x0004;

/// An Ethernet that we are on.
#[derive(Debug)]
pub struct Link {
    /// tokio takes it for one of datagrams, which it is, of whatever family.
    socket: UnixDatagram,
    interface: String,
    index: usize,
    ether: Mutex<Ether>,
}

impl Link {
    /// Opens the interface.
    ///
    /// # Errors
    /// The system's own: it takes CAP_NET_RAW, and an Ethernet of this name.
    pub fn open(interface: &str) -> io::Result<Self> {
        let (socket, address) = open(interface)?;
        let ether = Ether::new(address.addr().unwrap_or_default(), fastrand::u8(..));
        let (interface, ether) = (interface.to_owned(), Mutex::new(ether));
        Ok(Self { socket, interface, index: address.ifindex(), ether })
    }

    /// Our network number.
    pub fn network(&self) -> u16 {
        self.ether(|ether| ether.network())
    }

    /// The same Ethernet anew, where its interface has gone and come back.
    ///
    /// # Errors
    /// While there is no such interface.
    pub fn reopen_if_stale(&mut self) -> io::Result<()> {
        let address = address_of(&self.interface)?;
        if address.ifindex() != self.index {
            let (socket, address) = open(&self.interface)?;
            (self.socket, self.index) = (socket, address.ifindex());
        }
        self.ether(|ether| ether.moved(address.addr().unwrap_or_default()));
        Ok(())
    }

    fn ether<T>(&self, work: impl FnOnce(&mut Ether) -> T) -> T {
        work(&mut self.ether.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a frame of another's, and gives it as one of LocalTalk.
    ///
    /// # Errors
    /// The system's own.
    pub async fn receive(&self) -> io::Result<Frame> {
        loop {
            // What is longer is cut, and no frame then.
            let mut frame = [0; FRAME_MAX];
            let length = self.socket.recv(&mut frame).await?;
            let mut octets = [0; llap::FRAME_MAX];
            let mut out = Out::new(&mut octets);
            let frame = frame.get(..length).unwrap_or_default();
            if self.ether(|ether| ether.receive(frame, &mut out)).is_some() {
                let length = out.len();
                return Ok((octets, length));
            }
        }
    }

    /// Sends a frame. One that cannot be sent is lost, as frames are.
    pub fn send(&self, frame: &[u8]) {
        let mut buffer = [0; FRAME_MAX];
        let mut out = Out::new(&mut buffer);
        if self.ether(|ether| ether.send(frame, &mut out)).is_ok() {
            let _lost = self.socket.try_send(out.written());
        }
    }
}

fn open(interface: &str) -> io::Result<(UnixDatagram, LinkAddr)> {
    let address = address_of(interface)?;
    let protocol = NonZeroU32::new(u32::from(WITH_LENGTH.to_be())).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol);
    let socket = socket.map_err(|error| match io::Error::from(error) {
        error if error.kind() == io::ErrorKind::PermissionDenied => {
            io::Error::new(error.kind(), "a packet socket takes the capability CAP_NET_RAW")
        }
        error => error,
    })?;
    // Its protocol is that of the socket: the address has none.
    bind(socket.as_raw_fd(), &address)?;
    if !hears_all(interface) {
        let all = TO_ALL.map(|octet| format!("{octet:02x}")).join(":");
        tracing::warn!(
            interface,
            "may not hear what is for all nodes: ip maddress add {all} dev {interface}"
        );
    }
    Ok((UnixDatagram::from_std(BlockingSocket::from(socket))?, address))
}

/// Where the Ethernet `interface` is in the kernel, and on the wire.
fn address_of(interface: &str) -> io::Result<LinkAddr> {
    let all = getifaddrs()?.filter(|found| found.interface_name == interface);
    let mut links = all.filter_map(|found| found.address?.as_link_addr().copied());
    links
        .find(|link| link.len() > 0 && link.halen() == 6)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no Ethernet of this name"))
}

/// Whether the interface lets frames for all nodes in: they are asked for, or it lets in all.
fn hears_all(interface: &str) -> bool {
    /// IFF_PROMISC and IFF_ALLMULTI.
    const ALL: u32 = 0x300;
    let flags = fs::read_to_string(format!("/sys/class/net/{interface}/flags"));
    let flags =
        flags.ok().and_then(|it| u32::from_str_radix(it.trim().trim_start_matches("0x"), 16).ok());
    let asked = fs::read_to_string("/proc/net/dev_mcast").unwrap_or_default();
    let group = TO_ALL.map(|octet| format!("{octet:02x}")).concat();
    let is_asked = asked.lines().any(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        words.get(1) == Some(&interface) && words.last() == Some(&group.as_str())
    });
    is_asked || flags.is_some_and(|flags| flags & ALL != 0)
}
