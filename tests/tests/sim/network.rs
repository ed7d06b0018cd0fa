//! Who is where, and how machines reach each other.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::deliver::{Connecting, Connector, Stream};
use postern_core::wire::reply::Reason;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::holder::Holder;
use crate::machine::Machine;
use crate::receive::{Source, Store};
use crate::server::Door;
use crate::wire::Wire;
use crate::world::World;

/// Whoever was at an address may be called there for so long: 15 min after he said it, or last took
/// mail there, a turn that has just begun another 10 min.
const CALLED_FOR: Duration = Duration::from_secs(26 * 60);

/// Where mail is brought, and where it is fetched.
pub const SMTP: u16 = 25;
pub const ODMR: u16 = 366;

/// Who is at an address.
#[derive(Clone)]
pub enum Site {
    Holder(Arc<Holder>),
    Caller(Arc<Caller>),
    Store(Arc<Store>),
    /// Nobody, since then.
    Left(Instant),
}

pub const fn holder(nth: u64) -> IpAddr {
    address([10, 0, nth as u8, 1])
}

/// A caller has another address each time that its link comes up, if its link is such.
pub const fn caller(nth: u64, time: u8) -> IpAddr {
    address([10, 1, nth as u8, time])
}

pub const fn store(nth: u64) -> IpAddr {
    address([10, 2, nth as u8, 1])
}

const fn address([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

impl World {
    pub fn site(&self, address: IpAddr) -> Option<Site> {
        self.sites.lock().expect("no holder panics").get(&address).cloned()
    }

    pub fn settle(&self, address: IpAddr, site: Site) {
        self.sites.lock().expect("no holder panics").insert(address, site);
    }

    pub fn leave(&self, address: IpAddr) {
        self.settle(address, Site::Left(Instant::now()));
    }
}

/// The network as a machine has it.
pub struct Network {
    from: Arc<Machine>,
    /// Of a machine whose link may be down.
    caller: Option<Arc<Caller>>,
    last: Mutex<Option<Arc<Wire>>>,
}

impl Network {
    pub fn new(from: &Arc<Machine>) -> Self {
        Self { from: Arc::clone(from), caller: None, last: Mutex::default() }
    }

    pub fn over_link(caller: &Arc<Caller>) -> Self {
        Self { caller: Some(Arc::clone(caller)), ..Self::new(&caller.machine) }
    }

    /// The last connection that was made.
    pub fn last(&self) -> Option<Arc<Wire>> {
        self.last.lock().expect("no holder panics").clone()
    }

    /// A connection, if somebody is there who listens.
    fn reach(&self, to: SocketAddr) -> Result<Arc<Wire>, Missed> {
        let world = &self.from.world;
        let source = Source::Machine(self.from.number);
        let client = match &self.caller {
            Some(caller) if !caller.is_up() => return Err(Missed::Silence),
            Some(caller) => caller.address(),
            None => address([10, 3, self.from.number as u8, 1]),
        };
        let site = world.site(to.ip()).ok_or(Missed::Silence)?;
        if let Site::Left(at) = site {
            world.count("nobody there any more");
            if at.elapsed() > CALLED_FOR {
                let from = &self.from.name;
                let what = format!("{from} connects to {to}, which was left long ago");
                world.demand::<()>(Err(what));
            }
            return Err(Missed::Silence);
        }
        let wire = Wire::new(world);
        self.from.keep(&wire);
        if let Some(caller) = &self.caller {
            caller.keep(&wire);
        }
        let client = SocketAddr::new(client, 1024);
        match site {
            Site::Holder(holder) => {
                let door = if to.port() == ODMR { Door::Atrn } else { Door::Mail };
                let server = holder.server().ok_or(Missed::Silence)?;
                holder.machine.keep(&wire);
                let session = server.serve((Arc::clone(&wire), source), (client, door), None);
                holder.machine.spawn(async move {
                    session.await;
                });
            }
            Site::Caller(caller) => caller.let_in(&wire, source, client)?,
            Site::Left(_) => return Err(Missed::Silence),
            Site::Store(store) => {
                store.machine.keep(&wire);
                let (served, machine) = (Arc::clone(&wire), Arc::clone(&store.machine));
                machine.spawn(async move { store.serve(served, source).await });
            }
        }
        *self.last.lock().expect("no holder panics") = Some(Arc::clone(&wire));
        Ok(wire)
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing answers.
    Silence,
    /// The machine answers that nobody listens.
    Refused,
}

/// What a client is told whom there is no channel for.
pub const NO_CHANNEL: Reason = Reason::TooManySessions;

impl Connector for Network {
    fn look_up<'c>(&'c self, _: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            self.from.world.pass_some(1).await;
            match self.reach(address) {
                Ok(wire) => {
                    let stream: Stream = Box::new(wire.end(0));
                    Ok(stream)
                }
                Err(Missed::Silence) => pending().await,
                Err(Missed::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}
