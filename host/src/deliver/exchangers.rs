//! The mail exchangers of a domain: those that its DNS prefers to this host, the best first
//! (RFC 5321 section 5.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tokio::task::spawn_blocking;

use super::connection::{Connection, Open};
use super::not_open::{Failed, NotOpen};
use crate::config::{DomainName, Endpoint, Host, Machine, MxRoute, Protocol};
use crate::net::names::is_public;
use crate::net::resolver::Exchangers;

/// The port of every mail exchanger.
const SMTP: u16 = 25;
/// Exchangers that are tried.
const HOSTS_MAX: usize = 10;
/// Exchangers of one preference that are looked up.
const OF_RANK_MAX: usize = 50;

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
        let own = spawn_blocking(|| Machine::this().own).await.unwrap_or_default();
        let (mut failure, mut tried) = (None, 0);
        for rank in self.ranks(&route.domain).await?.into_values() {
            let Some(exchangers) = self.better(rank, route, &own, &mut failure).await else {
                break;
            };
            for Exchanger { to, addresses } in exchangers {
                if tried == HOSTS_MAX {
                    break;
                }
                tried += 1;
                match self.connect_at(&to, addresses, self.tls).await {
                    Ok(connection) => return Ok(connection),
                    // What is behind it in the list is no better than we are.
                    Err(not_open) if not_open.failed == Failed::Ourselves => {
                        return Err(failure.unwrap_or(not_open));
                    }
                    Err(not_open) => note(&mut failure, not_open),
                }
            }
        }
        let domain = &route.domain;
        Err(failure.unwrap_or_else(|| {
            unrouted(format!("no mail exchanger of {domain} is better than this host"))
        }))
    }

    /// The names of the exchangers of `domain` by preference; its own where it has none.
    async fn ranks(&self, domain: &DomainName) -> Result<BTreeMap<u16, BTreeSet<String>>, NotOpen> {
        let name = domain.as_str();
        match self.connector.exchangers(name).await {
            Ok(Exchangers::Hosts(ranks)) => Ok(ranks),
            Ok(Exchangers::Absent) => Ok([(0, [name.to_owned()].into())].into()),
            Ok(Exchangers::Null) => Err(unrouted(format!("{name} takes no mail (null MX)"))),
            Ok(Exchangers::NoSuchName) => Err(unrouted(format!("there is no name {name}"))),
            Err(error) => Err(unrouted(format!("looking up the MX of {name}: {error}"))),
        }
    }

    /// Those of one preference that have an address to send to, in any order; none where we are one
    /// of them.
    async fn better(
        &self,
        rank: BTreeSet<String>,
        route: &MxRoute,
        own: &[IpAddr],
        failure: &mut Option<NotOpen>,
    ) -> Option<Vec<Exchanger>> {
        if rank.contains(self.hostname) {
            return None;
        }
        let mut exchangers = Vec::new();
        for name in rank.into_iter().take(OF_RANK_MAX) {
            let Some(host) = DomainName::from_wire(name.as_bytes()) else {
                note(failure, unrouted(format!("{name:?} is no name of a mail exchanger")));
                continue;
            };
            let to = Endpoint { protocol: Protocol::Smtp, host: Host::Name(host), port: SMTP };
            let mut addresses = match self.addresses(&to).await {
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
