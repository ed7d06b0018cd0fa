//! The socket of a LocalTalk cable that is a multicast group.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as BlockingSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrIn, recvmsg, setsockopt, sockopt,
};
use postern_core::appletalk::llap::FRAME_MAX;
use postern_core::appletalk::ltoudp::{self, DATAGRAM_MAX, GROUP, PORT};
use postern_core::wire::Out;
use prometheus_client::metrics::counter::Counter;
use rustix::net::sockopt::{
    set_ip_add_membership_with_ifindex, set_ip_multicast_if_with_ifindex, set_ip_multicast_loop,
    set_ip_multicast_ttl, set_socket_reuseaddr, set_socket_reuseport,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, netdevice, socket_with};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams that are no longer than this are read whole; what is longer is no frame.
const BUFFER: usize = DATAGRAM_MAX + 1;

/// A frame that came in.
pub type Frame = ([u8; FRAME_MAX], usize);

/// A cable that we are on.
#[derive(Debug)]
pub struct Link {
    socket: UdpSocket,
    interface: String,
    index: u32,
    /// Tells us our own datagrams.
    sender: u32,
    /// Those that came by another interface, or for another address.
    strangers: Counter,
}

impl Link {
    /// Joins the group on `interface`. `strangers` counts the datagrams that are dropped.
    ///
    /// # Errors
    /// The system's own; there may be no such interface.
    pub fn open(interface: &str, strangers: Counter) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        let index = netdevice::name_to_index(&socket, interface)?;
        // Others on this machine are on the cable, too.
        set_socket_reuseaddr(&socket, true)?;
        set_socket_reuseport(&socket, true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))?;
        let any = Ipv4Addr::UNSPECIFIED;
        set_ip_add_membership_with_ifindex(&socket, &GROUP, &any, index)?;
        set_ip_multicast_if_with_ifindex(&socket, &GROUP, &any, index)?;
        set_ip_multicast_ttl(&socket, 1)?;
        set_ip_multicast_loop(&socket, true)?;
        let socket = UdpSocket::from_std(BlockingSocket::from(socket))?;
        let (interface, sender) = (interface.to_owned(), fastrand::u32(..));
        Ok(Self { socket, interface, index, sender, strangers })
    }

    /// The same cable anew, where its interface has gone and come back: its group is forgotten by
    /// then.
    ///
    /// # Errors
    /// While there is no such interface.
    pub fn reopen_if_stale(&mut self) -> io::Result<()> {
        if netdevice::name_to_index(&self.socket, &self.interface)? != self.index {
            *self = Self::open(&self.interface, self.strangers.clone())?;
        }
        Ok(())
    }

    /// Waits for a frame of another's.
    ///
    /// # Errors
    /// The system's own.
    pub async fn receive(&self) -> io::Result<Frame> {
        loop {
            let mut datagram = [0; BUFFER];
            let read = || self.read(&mut datagram);
            let read = self.socket.async_io(Interest::READABLE, read).await?;
            let Some(length) = read else {
                self.strangers.inc();
                continue;
            };
            if let Some(frame) = ltoudp::unwrap(&datagram[..length], self.sender) {
                let mut octets = [0; FRAME_MAX];
                octets[..frame.len()].copy_from_slice(frame);
                return Ok((octets, frame.len()));
            }
        }
    }

    /// Reads a datagram; `None` where it did not come as one of the cable's.
    fn read(&self, datagram: &mut [u8; BUFFER]) -> io::Result<Option<usize>> {
        let mut control = cmsg_space!(in_pktinfo);
        let mut pieces = [IoSliceMut::new(datagram)];
        let flags = MsgFlags::empty();
        let fd = self.socket.as_raw_fd();
        let read: RecvMsg<'_, '_, SockaddrIn> =
            recvmsg(fd, &mut pieces, Some(&mut control), flags)?;
        let is_ours = read.cmsgs()?.any(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                to == GROUP && u32::try_from(info.ipi_ifindex) == Ok(self.index)
            }
            _ => false,
        });
        Ok(is_ours.then_some(read.bytes))
    }

    /// Sends a frame. One that cannot be sent is lost, as frames are.
    pub async fn send(&self, frame: &[u8]) {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut out = Out::new(&mut buffer);
        let written = ltoudp::write_header(self.sender, &mut out).and_then(|()| out.put(frame));
        if written.is_ok() {
            let _lost = self.socket.send_to(out.written(), (GROUP, PORT)).await;
        }
    }
}
