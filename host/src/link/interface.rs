//! A network interface, watched by netlink.
//!
//! The kernel's messages say when to look, and are not read: what they would tell is asked for, so
//! that one that is lost, or not understood, does no harm.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as BlockingSocket;

use nix::ifaddrs::getifaddrs;
use nix::libc::{ENOBUFS, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket,
};
use tokio::net::UnixDatagram;

/// Tells when anything about any interface may have changed. tokio takes the socket for one of
/// datagrams, which it is, of whatever family.
#[derive(Debug)]
pub(super) struct Watch(UnixDatagram);

impl Watch {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let family = AddressFamily::Netlink;
        let socket = socket(family, SockType::Datagram, flags, SockProtocol::NetlinkRoute)?;
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.unsigned_abs()))?;
        UnixDatagram::from_std(BlockingSocket::from(socket)).map(Self)
    }

    /// Waits for the next change.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        match self.0.recv(&mut buffer).await {
            // More has changed than there was room for.
            Err(error) if error.raw_os_error() != Some(ENOBUFS) => return Err(error),
            _ => {}
        }
        while self.0.try_recv(&mut buffer).is_ok() {}
        Ok(())
    }
}

/// Whether the interface of this name runs, and has an address that is good beyond its cable.
pub(super) fn is_up(name: &str) -> io::Result<bool> {
    let mut all = getifaddrs()?;
    let runs = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    Ok(all.any(|found| {
        let is_meant = found.interface_name == name && found.flags.contains(runs);
        is_meant && found.address.is_some_and(|address| is_good(&address))
    }))
}

fn is_good(address: &SockaddrStorage) -> bool {
    let four = address.as_sockaddr_in().map(|address| !address.ip().is_link_local());
    let six = address.as_sockaddr_in6().map(|address| !address.ip().is_unicast_link_local());
    four.or(six).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_there_is_up_and_one_that_is_not_is_down() {
        assert!(is_up("lo").expect("the system tells"));
        assert!(!is_up("nowhere0").expect("the system tells"));
    }

    #[tokio::test]
    async fn the_kernel_lets_us_watch() {
        let watch = Watch::open().expect("netlink");
        let waiting = std::pin::pin!(watch.changed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // Whatever happens on this machine just now is a change like any other.
        if let std::task::Poll::Ready(changed) = waiting.poll(&mut context) {
            changed.expect("netlink");
        }
    }
}
