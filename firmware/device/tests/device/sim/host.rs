//! A host on the cable.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use embassy_futures::poll_once;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, with_deadline};

use super::link::{Cable, Side};
use super::tasks::Tasks;

/// Sockets of a host at once.
const SOCKETS: usize = 64;
/// Octets of each of a connection's buffers.
const BUFFER: usize = 4 << 10;
/// How long a host waits for one that does not answer at all.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it asks one that has nothing to say for a sign of life: its stack's time-out counts
/// silence, too.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// How long the reset of a connection that was left may take to leave.
const RESET: Duration = Duration::from_secs(1);
/// Any port but 0, which can't be listened at.
const PORT_OF_NONE: u16 = 1;

/// A host. A clone is the same one.
#[derive(Clone)]
pub struct Host {
    pub stack: Stack<'static>,
    sockets: Rc<Sockets>,
}

/// Sockets that are not in use, those that were closed longest ago first.
struct Sockets {
    idle: RefCell<VecDeque<TcpSocket<'static>>>,
    /// Those whose connection was left, and until when its reset may take to leave.
    left: RefCell<VecDeque<(Instant, TcpSocket<'static>)>>,
    leaves: Signal<NoopRawMutex, ()>,
}

impl Host {
    /// A host at one end of `cable`, with `address`.
    pub fn new(tasks: &Tasks, cable: &Cable, side: Side, address: Ipv4Address) -> Self {
        let config = Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, 24),
            gateway: None,
            dns_servers: Default::default(),
        });
        // Leaked: a test has few hosts.
        let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
        let seed = address.to_bits().into();
        let (stack, mut runner) = embassy_net::new(cable.plug(side), config, resources, seed);
        tasks.spawn(async move { runner.run().await });
        let (idle, left) = (RefCell::default(), RefCell::default());
        let sockets = Rc::new(Sockets { idle, left, leaves: Signal::new() });
        let sweeps = sockets.clone();
        tasks.spawn(async move { sweeps.sweep().await });
        Self { stack, sockets }
    }

    /// A socket that is in no connection.
    pub fn socket(&self) -> Socket {
        let idle = self.sockets.idle.borrow_mut().pop_front();
        let socket = idle.unwrap_or_else(|| {
            // Leaked: a stack that is never dropped may hold on to them.
            let (receive, send) = (vec![0; BUFFER].leak(), vec![0; BUFFER].leak());
            let mut socket = TcpSocket::new(self.stack, receive, send);
            socket.set_timeout(Some(PATIENCE));
            socket.set_keep_alive(Some(KEEP_ALIVE));
            socket.set_nagle_enabled(false);
            socket
        });
        Socket { socket: Some(socket), sockets: self.sockets.clone() }
    }
}

impl Sockets {
    /// Drops connections whose reset can't leave, since nobody has the peer's address any more.
    /// smoltcp would try each for ever, and asks for one address a second at most: this host would
    /// find nobody else.
    async fn sweep(&self) -> ! {
        loop {
            self.leaves.wait().await;
            while let Some((until, mut socket)) = self.next_left() {
                if with_deadline(until, socket.flush()).await.is_err() {
                    // To listen is what drops it.
                    let _listens = poll_once(socket.accept(PORT_OF_NONE));
                    socket.close();
                }
                self.idle.borrow_mut().push_back(socket);
            }
        }
    }

    fn next_left(&self) -> Option<(Instant, TcpSocket<'static>)> {
        self.left.borrow_mut().pop_front()
    }
}

/// A socket of a host's, which gets it back, and resets the connection if it is open yet.
pub struct Socket {
    socket: Option<TcpSocket<'static>>,
    sockets: Rc<Sockets>,
}

impl Deref for Socket {
    type Target = TcpSocket<'static>;

    fn deref(&self) -> &Self::Target {
        self.socket.as_ref().expect("it is here until it is dropped")
    }
}

impl DerefMut for Socket {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.socket.as_mut().expect("it is here until it is dropped")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.abort();
            self.sockets.left.borrow_mut().push_back((Instant::now() + RESET, socket));
            self.sockets.leaves.signal(());
        }
    }
}
