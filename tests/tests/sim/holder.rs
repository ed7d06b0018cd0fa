//! A holder: takes mail, keeps it, and delivers it when it is asked, or by its timer.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use postern::receive::auth::Entrance;

use crate::caller::{Caller, Method};
use crate::machine::Machine;
use crate::network::{Network, SMTP, caller};
use crate::receive::Source;
use crate::server::{Door, Server, accounts};
use crate::spool::SimSpool;
use crate::wire::Wire;

pub struct Holder {
    pub machine: Arc<Machine>,
    pub address: IpAddr,
    hostname: String,
    config: String,
    entrance: Entrance,
    server: Mutex<Option<Arc<Server>>>,
}

impl Holder {
    /// One that holds the mail of these callers, and is asked by each so.
    pub fn new(
        machine: Arc<Machine>,
        (nth, address): (u64, IpAddr),
        callers: &[(Arc<Caller>, Method)],
        entrance: Entrance,
    ) -> Arc<Self> {
        let hostname = format!("holder{nth}.example");
        let world = &machine.world;
        let file = accounts();
        let mut config = format!(
            "hostname = \"{hostname}\"\n[accounts]\nfile = {file:?}\n\
             [atrn]\nlisten = [\"[::]:366\"]\nclear_from = [\"10.1.0.0/16\"]\n"
        );
        for (of, method) in callers {
            let every = if world.below(3) == 0 { "never" } else { "30m" };
            let net = format!("10.1.{}.0/24", of.number);
            let is_asker = matches!(method, Method::Atrn | Method::EtrnByPassword);
            let to = match is_asker {
                true => "asker".to_owned(),
                false => SocketAddr::new(caller(of.number, 1), SMTP).to_string(),
            };
            let from = if is_asker { "authenticated" } else { &net };
            let connects = !is_asker && world.below(4) == 0;
            for (nth, domain) in of.domains.iter().enumerate() {
                machine.is_to_serve(domain);
                let _ = write!(
                    config,
                    "[hold.\"{domain}\"]\nrecipients = \"any\"\ndeliver_to = \"{to}\"\n\
                     expire_after = \"365d\"\netrn_from = [\"{from}\"]\n"
                );
                if !is_asker {
                    let wake = wake(of, nth, &hostname);
                    let _ =
                        write!(config, "retry_every = \"{every}\"\nwakeup_address = \"{wake}\"\n");
                }
                if connects {
                    let _ = writeln!(config, "release_on_connect = [\"{net}\"]");
                }
            }
        }
        let server = Mutex::default();
        Arc::new(Self { machine, address, hostname, config, entrance, server })
    }

    /// Starts it in its machine's present life.
    pub fn start(&self, spool: &Arc<SimSpool>) {
        let network = Network::new(&self.machine);
        let entrance = Some(self.entrance.clone());
        let server = Server::start((&self.machine, spool), &self.config, (Some(network), entrance));
        *self.server.lock().expect("no holder panics") = Some(server);
    }

    /// What serves, if it is up.
    pub fn server(&self) -> Option<Arc<Server>> {
        let server = self.server.lock().expect("no holder panics").clone();
        server.filter(|_| self.machine.is_up())
    }

    /// The address that mail for a caller's domain wakes it by.
    pub fn wake(&self, of: &Caller, nth: usize) -> String {
        wake(of, nth, &self.hostname)
    }

    /// A connection of somebody who writes.
    pub fn open(&self, client: SocketAddr) -> Option<Arc<Wire>> {
        let server = self.server()?;
        let wire = Wire::new(&self.machine.world);
        self.machine.keep(&wire);
        let session = server.serve((Arc::clone(&wire), Source::Sender), (client, Door::Mail), None);
        self.machine.spawn(async move {
            session.await;
        });
        Some(wire)
    }
}

fn wake(of: &Caller, nth: usize, hostname: &str) -> String {
    format!("wake-d{nth}-c{}@{hostname}", of.number)
}
