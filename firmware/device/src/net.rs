//! The network: every type of embassy-net's and smoltcp's is here.

mod attachment;
mod frames;
#[cfg(feature = "udp-log")]
mod log;
#[cfg(feature = "appletalk")]
mod ltoudp;
mod names;
mod neighbours;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_futures::poll_once;
use embassy_futures::select::select;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{self, ConnectError, TcpSocket};
use embassy_net::udp::{PacketMetadata, UdpMetadata, UdpSocket};
use embassy_net::{
    Config, DhcpConfig, IpAddress, IpEndpoint, Ipv4Cidr, Stack, StackResources, StaticConfigV4,
};
use embassy_net_driver::{Driver, HardwareAddress};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use heapless::String;
use postern_card::Network;
use postern_card::settings::Address;
use postern_core::drive::Link;

use crate::counted::Counted;
use attachment::Attachment;
#[cfg(feature = "udp-log")]
pub(crate) use log::{LogOwner, LogSocket};
use neighbours::Neighbours;

#[cfg(feature = "appletalk")]
pub(crate) use ltoudp::{Cable, CableMemory, CableOwners};

/// What the stack keeps of its sockets.
pub(crate) type Resources<const SOCKETS: usize> = StackResources<SOCKETS>;
/// Octets of each socket that the stack keeps.
pub(crate) const SOCKET: usize = size_of::<StackResources<2>>() - size_of::<StackResources<1>>();
/// What moves frames between the driver and the sockets; its `run` never ends.
pub type Runner<'n, D> = embassy_net::Runner<'n, Attachment<Neighbours<Counted<'n, D>>>>;
/// What became of a connection that broke.
pub(crate) type Error = tcp::Error;

/// Seconds that a peer may leave our segments unacknowledged (RFC 1122 §4.2.3.5: at least 100).
const ACKNOWLEDGE_S: u64 = 120;
/// Seconds of silence after which a peer is asked for a sign of life. smoltcp's time-out counts
/// from the last segment that came, whether or not any is due: without such questions, a next hop
/// that thinks for longer than [`ACKNOWLEDGE_S`] (RFC 5321 §4.5.3.2.6 gives it ten minutes) would
/// lose its connection, and get the message again. Two may be lost.
const KEEP_ALIVE_S: u64 = 35;
/// Seconds that a client has to end its handshake: there are few sockets, and who only knocks at
/// them must not hold them for long.
const HANDSHAKE_S: u64 = 20;
/// Seconds that a peer has to take the rest of a connection that we close.
const CLOSE_S: u64 = 10;
/// Seconds that one has that was sent away.
const DISMISS_S: u64 = 2;
/// Any port but 0, which can't be listened at.
const PORT_OF_NONE: u16 = 1;
/// Seconds that a connection may take to be made.
const CONNECT_S: u64 = 30;
/// Seconds that a name may take to be looked up. smoltcp leaves a name server up to 15 before it
/// asks the next, and there may be three. One that can't answer has as much.
const NAME_S: u64 = 50;
/// Seconds that a server of datagrams has to answer.
const ANSWER_S: u64 = 5;

/// Seconds between two searches for a DHCP server: one that was away serves us soon again.
const DISCOVER_S: u64 = 5;

/// The stack.
#[derive(Clone, Copy)]
pub(crate) struct Net<'n>(Stack<'n>);

/// Starts the stack; nothing moves before the runner runs.
pub(crate) fn start<'n, D: Driver, const SOCKETS: usize>(
    driver: Counted<'n, D>,
    address: &Address,
    seed: u64,
    resources: &'n mut Resources<SOCKETS>,
) -> (Net<'n>, Runner<'n, D>) {
    let config = match address {
        Address::Dhcp => {
            let mut dhcp = DhcpConfig::default();
            dhcp.retry_config.discover_timeout = smoltcp::time::Duration::from_secs(DISCOVER_S);
            dhcp.hostname = Some(device_name(driver.hardware_address()));
            Config::dhcpv4(dhcp)
        }
        Address::Static { network: (address, prefix), gateway, dns } => {
            Config::ipv4_static(StaticConfigV4 {
                address: Ipv4Cidr::new(*address, *prefix),
                gateway: *gateway,
                dns_servers: dns.iter().copied().collect(),
            })
        }
    };
    let driver = Attachment::new(Neighbours::new(driver));
    let (stack, runner) = embassy_net::new(driver, config, resources, seed);
    (Net(stack), runner)
}

/// The name that a DHCP server shows (RFC 2132 §3.14): with the end of the hardware address, which
/// may stand on the box.
fn device_name<const N: usize>(address: HardwareAddress) -> String<N> {
    let mut name = String::new();
    // There is room for it.
    let _ = name.push_str("postern-");
    if let HardwareAddress::Ethernet([.., high, low]) = address {
        for octet in [high, low] {
            for digit in [octet >> 4, octet & 0xF] {
                let _ = name.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
    }
    name
}

impl<'n> Net<'n> {
    /// How far it is up.
    pub(crate) fn network(&self) -> Network {
        match self.0.config_v4() {
            _ if !self.has_link() => Network::NoLink,
            None => Network::NoAddress,
            Some(config) => Network::Up(config.address.address()),
        }
    }

    /// Whether there is a link.
    pub(crate) fn has_link(&self) -> bool {
        self.0.is_link_up()
    }

    /// Where other networks are reached.
    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        self.0.config_v4()?.gateway.map(IpAddr::from)
    }

    /// Who is asked for names first.
    pub(crate) fn name_server(&self) -> Option<IpAddr> {
        self.0.config_v4()?.dns_servers.first().copied().map(IpAddr::from)
    }

    /// Waits until there are a link and an address, and returns that.
    pub(crate) async fn up(&self) -> Ipv4Addr {
        loop {
            self.0.wait_link_up().await;
            self.0.wait_config_up().await;
            match self.0.config_v4() {
                Some(config) if self.0.is_link_up() => return config.address.address(),
                _ => {}
            }
        }
    }

    /// Whether there are both.
    pub(crate) fn is_up(&self) -> bool {
        self.0.is_link_up() && self.0.is_config_up()
    }

    /// Waits until one of them is gone.
    pub(crate) async fn down(&self) {
        select(self.0.wait_link_down(), self.0.wait_config_down()).await;
    }

    /// The address of a host that is named so, or is such an address already; none when it has
    /// none, or none can be found now.
    pub(crate) async fn resolve(&self, host: &str) -> Option<IpAddr> {
        let query = self.0.dns_query(host, DnsQueryType::A);
        let found = with_timeout(Duration::from_secs(NAME_S), query).await.ok()?.ok()?;
        found.first().map(|address| IpAddr::from(*address))
    }
}

/// A TCP socket: one connection after another.
pub(crate) struct Socket<'n>(TcpSocket<'n>);

impl<'n> Socket<'n> {
    /// A socket with these buffers. The receiving one should hold no more than two segments: with
    /// more, smoltcp's acknowledgements wait for its timer.
    pub(crate) fn new(net: Net<'n>, receive: &'n mut [u8], send: &'n mut [u8]) -> Self {
        let mut socket = TcpSocket::new(net.0, receive, send);
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(Duration::from_secs(KEEP_ALIVE_S)));
        Self(socket)
    }

    /// Waits for a client on `port`, and returns its address.
    pub(crate) async fn client(&mut self, port: u16) -> SocketAddr {
        self.0.set_timeout(Some(Duration::from_secs(HANDSHAKE_S)));
        loop {
            let accepted = self.0.accept(port).await;
            match self.0.remote_endpoint() {
                Some(client) if accepted.is_ok() && self.0.may_send() => {
                    self.0.set_timeout(Some(Duration::from_secs(ACKNOWLEDGE_S)));
                    return endpoint(client);
                }
                // It was gone before its handshake ended.
                _ => self.drop_connection().await,
            }
        }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.remote_endpoint().map(endpoint)
    }

    /// Connects.
    pub(crate) async fn connect(&mut self, address: IpAddr, port: u16) -> Result<(), ConnectError> {
        self.0.set_timeout(Some(Duration::from_secs(ACKNOWLEDGE_S)));
        let endpoint = IpEndpoint::new(address_of(address), port);
        let connect = self.0.connect(endpoint);
        match with_timeout(Duration::from_secs(CONNECT_S), connect).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    /// Closes: what was written goes out, and the peer has a while to close too, since a reset
    /// could take from it what it has not read yet.
    pub(crate) async fn close(&mut self) {
        self.close_within(CLOSE_S).await;
    }

    /// Closes the connection of one that was sent away: it must not hold its socket for long.
    pub(crate) async fn dismiss(&mut self) {
        self.close_within(DISMISS_S).await;
    }

    async fn close_within(&mut self, seconds: u64) {
        self.0.close();
        let end = async {
            if self.0.flush().await.is_ok() {
                let all = |octets: &mut [u8]| (octets.len(), ());
                while self.0.may_recv() && self.0.read_with(all).await.is_ok() {}
            }
        };
        let _given_up = with_timeout(Duration::from_secs(seconds), end).await;
        self.drop_connection().await;
    }

    /// Drops the connection, if there is one, and waits for none any more.
    pub(crate) async fn drop_connection(&mut self) {
        self.0.abort();
        if with_timeout(Duration::from_secs(1), self.0.flush()).await.is_err() {
            self.forget();
        }
    }

    /// Drops the connection without a reset to the peer. One that can't leave, since nobody on the
    /// link has the peer's address, would be tried each second for ever; and smoltcp asks for one
    /// address a second at most, so that it would find nobody else any more.
    fn forget(&mut self) {
        // To listen is what drops it. Nobody can connect: nothing moves before this is closed.
        let _listens = poll_once(self.0.accept(PORT_OF_NONE));
        self.0.close();
    }
}

impl ErrorType for Socket<'_> {
    type Error = Error;
}

impl Read for Socket<'_> {
    async fn read(&mut self, octets: &mut [u8]) -> Result<usize, Error> {
        self.0.read(octets).await
    }
}

impl Write for Socket<'_> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, Error> {
        self.0.write(octets).await
    }

    /// Nothing is held back: to wait for acknowledgements would cost a round trip a reply.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Link for Socket<'_> {
    /// embassy's own wait for a socket to be readable never ends when the peer hangs up; its
    /// reading does, and here it takes nothing.
    async fn ready(&mut self) -> Result<(), Error> {
        let _hung_up = self.0.read_with(|_| (0, ())).await;
        Ok(())
    }
}

/// Without IPv6 the stack has no address of that kind; one that it can't reach stands for it.
fn address_of(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => IpAddress::Ipv4(address),
        IpAddr::V6(_) => IpAddress::Ipv4(Ipv4Addr::UNSPECIFIED),
    }
}

fn endpoint(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(endpoint.addr.into(), endpoint.port)
}

/// Octets of the largest datagram: a Wake-on-LAN packet is one of 102, SNTP's has 48.
const DATAGRAM: usize = 128;

/// What a UDP socket keeps its datagrams in.
pub(crate) struct DatagramMemory {
    receive: [u8; DATAGRAM],
    send: [u8; DATAGRAM],
}

impl DatagramMemory {
    pub(crate) const fn new() -> Self {
        Self { receive: [0; DATAGRAM], send: [0; DATAGRAM] }
    }
}

/// Whose its datagrams are. Not in the static memory: with what is not zero in it, all of that
/// would lie in the flash, to be copied from there.
pub(crate) struct DatagramOwners([PacketMetadata; 2]);

impl DatagramOwners {
    pub(crate) const fn new() -> Self {
        Self([PacketMetadata::EMPTY; 2])
    }
}

/// A UDP socket.
pub(crate) struct Datagrams<'n>(UdpSocket<'n>);

impl<'n> Datagrams<'n> {
    pub(crate) fn new(
        net: Net<'n>,
        memory: &'n mut DatagramMemory,
        owners: &'n mut DatagramOwners,
    ) -> Self {
        let DatagramMemory { receive, send } = memory;
        let (received, sent) = owners.0.split_at_mut(1);
        Self(UdpSocket::new(net.0, received, receive, sent, send))
    }

    /// Sends a Wake-on-LAN packet for `hardware_address` to everybody on the link.
    pub(crate) async fn wake(&mut self, hardware_address: [u8; 6]) {
        let mut packet = heapless::Vec::<u8, DATAGRAM>::new();
        packet.extend([0xFF; 6]);
        packet.extend(core::iter::repeat_n(hardware_address, 16).flatten());
        if self.bind() {
            let everybody = (Ipv4Addr::BROADCAST, 9);
            let _not_up = self.0.send_to(&packet, everybody).await;
            self.0.flush().await;
        }
        self.0.close();
    }

    /// Sends an octet to the discard port (RFC 863) of `address`, for what comes back: an answer to
    /// ARP's question where that is, or that the port is closed. An empty datagram would count as
    /// sent while it waits for that answer, and be gone.
    pub(crate) async fn knock(&mut self, address: IpAddr) {
        if self.bind() {
            let discard = IpEndpoint::new(address_of(address), 9);
            let _not_up = self.0.send_to(&[0], discard).await;
            // It is held back until ARP is answered, if it ever is.
            let _given_up = with_timeout(Duration::from_secs(1), self.0.flush()).await;
        }
        self.0.close();
    }

    /// Asks `server` a question, and waits for a datagram from there that fills `answer`; what is
    /// behind that is dropped.
    pub(crate) async fn ask(
        &mut self,
        server: SocketAddr,
        question: &[u8],
        answer: &mut [u8],
    ) -> Option<()> {
        if !self.bind() {
            return None;
        }
        let server = IpEndpoint::new(address_of(server.ip()), server.port());
        let exchange = async {
            self.0.send_to(question, server).await.ok()?;
            loop {
                let take = |octets: &[u8], from: UdpMetadata| match octets.get(..answer.len()) {
                    Some(octets) if from.endpoint == server => {
                        answer.copy_from_slice(octets);
                        true
                    }
                    _ => false,
                };
                if self.0.recv_from_with(take).await {
                    return Some(());
                }
            }
        };
        let asked = with_timeout(Duration::from_secs(ANSWER_S), exchange).await;
        self.0.close();
        asked.ok().flatten()
    }

    /// Takes any port: replies to an earlier one must not be read.
    fn bind(&mut self) -> bool {
        self.0.bind(0).is_ok()
    }
}
