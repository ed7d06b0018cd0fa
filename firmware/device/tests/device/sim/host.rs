//! A host on the cable.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::Duration;

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

/// A host. A clone is the same one.
#[derive(Clone)]
pub struct Host {
    pub stack: Stack<'static>,
    /// Sockets that are not in use, those that were closed longest ago first.
    idle: Rc<RefCell<VecDeque<TcpSocket<'static>>>>,
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
        Self { stack, idle: Rc::default() }
    }

    /// A socket that is in no connection.
    pub fn socket(&self) -> Socket {
        let idle = self.idle.borrow_mut().pop_front();
        let socket = idle.unwrap_or_else(|| {
            // Leaked: a stack that is never dropped may hold on to them.
            let (receive, send) = (vec![0; BUFFER].leak(), vec![0; BUFFER].leak());
            let mut socket = TcpSocket::new(self.stack, receive, send);
            socket.set_timeout(Some(PATIENCE));
            socket.set_keep_alive(Some(KEEP_ALIVE));
            socket.set_nagle_enabled(false);
            socket
        });
        Socket { socket: Some(socket), idle: self.idle.clone() }
    }
}

/// A socket of a host's, which gets it back, and resets the connection if it is open yet.
pub struct Socket {
    socket: Option<TcpSocket<'static>>,
    idle: Rc<RefCell<VecDeque<TcpSocket<'static>>>>,
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
            self.idle.borrow_mut().push_back(socket);
        }
    }
}
