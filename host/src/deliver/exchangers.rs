//! The mail exchangers of a domain: those that its DNS prefers to this host, the best first
//! (RFC 5321 section 5.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::{Connection, Open};
use super::not_open::{Failed, NotOpen};
use crate::config::{DomainName, Endpoint, Host, Machine, MxRoute, Protocol};
use crate::net::names::is_public;
use crate::net::resolver::{Exchangers, LookUpError};

/// The port of every mail exchanger.
const SMTP: u16 = 25;
/// Exchangers that are looked up, of all preferences, and those that are tried: a zone may name
/// thousands.
const NAMES_MAX: usize = 30;
const HOSTS_MAX: usize = 10;
/// How long all of that may take.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// An exchanger, and where it is.
struct Exchanger {
    to: Endpoint,
    addresses: Vec<SocketAddr>,
}

impl<'c> Open<'c> {
    /// Connects to the best exchanger of `route` that greets us, of those that are better than we
    /// are.
    ///
    /// # Errors
    /// Why there is no connection over which mail can be sent.
    pub(super) async fn exchanger(&self, route: &MxRoute) -> Result<Connection<'c>, NotOpen> {
        let silent = |_| {
            let why = format_args!("no mail exchanger of {} within 10 minutes", route.domain);
            Err(NotOpen::new(Failed::Absent, why))
        };
        timeout(PATIENCE, self.best(route)).await.unwrap_or_else(silent)
    }

    async fn best(&self, route: &MxRoute) -> Result<Connection<'c>, NotOpen> {
        let domain = &route.domain;
        let none = || unrouted(format!("no mail exchanger of {domain} is better than this host"));
        let own = self.own_addresses().await;
        let (mut failure, mut names, mut hosts) = (None, NAMES_MAX, HOSTS_MAX);
        for rank in self.ranks(domain).await?.into_values() {
            let Some(exchangers) = self.better(rank, &mut names, route, &own, &mut failure).await
            else {
                break;
            };
            for Exchanger { to, addresses } in exchangers {
                let Some(left) = hosts.checked_sub(1) else { break };
                hosts = left;
                match self.connect_at(&to, addresses, self.tls).await {
                    Ok(connection) => return Ok(connection),
                    // What is behind it in the list is no better than we are.
                    Err(not_open) if not_open.failed == Failed::Ourselves => {
                        return Err(failure.unwrap_or_else(none));
                    }
                    Err(not_open) => note(&mut failure, not_open),
                }
            }
            if names == 0 || hosts == 0 {
                break;
            }
        }
        Err(failure.unwrap_or_else(none))
    }

    /// The machine's addresses, and those that our name leads to: behind NAT they are others.
    async fn own_addresses(&self) -> Vec<IpAddr> {
        let mut own = spawn_blocking(|| Machine::this().own).await.unwrap_or_default();
        let named = self.look_up(&absolute(self.hostname), SMTP).await.unwrap_or_default();
        own.extend(named.iter().map(|address| address.ip().to_canonical()));
        own
    }

    /// The names of the exchangers of `domain` by preference; its own where it has none.
    async fn ranks(&self, domain: &DomainName) -> Result<BTreeMap<u16, BTreeSet<String>>, NotOpen> {
        let name = domain.as_str();
        match self.connector.exchangers(name).await {
            Ok(Exchangers::Hosts(ranks)) => Ok(ranks),
            Ok(Exchangers::Absent) => Ok([(0, [name.to_owned()].into())].into()),
            Ok(Exchangers::Null) => Err(unrouted(format!("{name} takes no mail (null MX)"))),
            Ok(Exchangers::NoSuchName) => Err(unrouted(format!("there is no name {name}"))),
            Err(error) => {
                let is_short = error == LookUpError::Short;
                let failed = if is_short { Failed::Short } else { Failed::Unrouted };
                Err(NotOpen::new(failed, format_args!("looking up the MX of {name}: {error}")))
            }
        }
    }

    /// Those of one preference that have an address to send to, in any order; none where we are one
    /// of them.
    async fn better(
        &self,
        rank: BTreeSet<String>,
        names: &mut usize,
        route: &MxRoute,
        own: &[IpAddr],
        failure: &mut Option<NotOpen>,
    ) -> Option<Vec<Exchanger>> {
        if rank.contains(self.hostname) {
            return None;
        }
        let mut exchangers = Vec::new();
        for name in rank {
            let Some(left) = names.checked_sub(1) else { break };
            *names = left;
            let Some(host) = DomainName::from_wire(name.as_bytes()) else {
                note(failure, unrouted(format!("{name:?} is no name of a mail exchanger")));
                continue;
            };
            let to = Endpoint { protocol: Protocol::Smtp, host: Host::Name(host), port: SMTP };
            let mut addresses = match self.look_up(&absolute(&name), SMTP).await {
                Ok(addresses) => addresses,
                Err(not_open) => {
                    note(failure, not_open);
                    continue;
                }
            };
            let is_ours = |address: &SocketAddr| own.contains(&address.ip().to_canonical());
            if !route.private && addresses.iter().any(is_ours) {
                return None;
            }
            if !route.private {
                addresses.retain(|address| is_public(address.ip()));
            }
            if addresses.is_empty() {
                let why = format!("{name} has no address of the Internet (private_mx)");
                note(failure, unrouted(why));
                continue;
            }
            exchangers.push(Exchanger { to, addresses });
        }
        fastrand::shuffle(&mut exchangers);
        Some(exchangers)
    }
}

/// `name` as one that no search list completes: somebody else chose it.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn unrouted(why: String) -> NotOpen {
    NotOpen::new(Failed::Unrouted, why)
}

fn note(failure: &mut Option<NotOpen>, next: NotOpen) {
    *failure = Some(match failure.take() {
        Some(before) => before.and(next),
        None => next,
    });
}

#[cfg(test)]
mod tests;
