//! What a turn delivers to, once it is open: a host, or a Maildir.

use std::net::IpAddr;

use postern_core::dsn::Action;
use postern_spool::{Claim, Domain, Spool};

use super::connection::{Connection, Open, Probe};
use super::maildir::Maildir;
use super::not_open::{Failed, NotOpen};
use super::transfer::Sent;
use crate::config::DeliverTo;
use crate::policy::Policy;

/// Something open that takes messages.
pub enum Destination<'c> {
    /// A connection to a host.
    Host(Box<Connection<'c>>),
    /// A connection to the smarthost.
    Relay(Box<Connection<'c>>),
    /// A folder.
    Maildir(Maildir<'c>),
}

impl<'c> Open<'c> {
    /// Opens `to`, where the mail that `policy` holds for goes.
    ///
    /// # Errors
    /// Why nothing can be delivered there.
    pub async fn destination(
        &self,
        to: &'c DeliverTo,
        policy: &'c Policy,
    ) -> Result<Destination<'c>, NotOpen> {
        match to {
            DeliverTo::Relay(_) => self.smarthost(to).await,
            DeliverTo::Host(endpoint) => {
                let connected = self.connect(endpoint).await;
                connected.map(|connection| Destination::Host(Box::new(connection)))
            }
            DeliverTo::Mx(route) => {
                let connected = self.exchanger(route).await;
                connected.map(|connection| Destination::Host(Box::new(connection)))
            }
            DeliverTo::Maildir(path) => {
                let opened = Maildir::open(path, policy, self.told()).await;
                opened.map(Destination::Maildir)
            }
            DeliverTo::Asker => Err(NotOpen {
                failed: Failed::Absent,
                why: "it goes only to whoever fetches it".to_owned(),
            }),
        }
    }
}

impl<'c> Open<'c> {
    /// Opens a connection to the smarthost `to`.
    ///
    /// # Errors
    /// Why nothing can be sent to it.
    pub async fn smarthost(&self, to: &DeliverTo) -> Result<Destination<'c>, NotOpen> {
        let DeliverTo::Relay(endpoint) = to else {
            return Err(NotOpen::new(Failed::Absent, "it is no smarthost"));
        };
        let connected = self.relay(endpoint).await;
        connected.map(|connection| Destination::Relay(Box::new(connection)))
    }
}

impl Destination<'_> {
    /// Whether what is sent is encrypted on its way.
    pub const fn is_secure(&self) -> bool {
        match self {
            Self::Host(connection) | Self::Relay(connection) => connection.is_secure(),
            Self::Maildir(_) => false,
        }
    }

    /// Where it is in the network.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Host(connection) | Self::Relay(connection) => Some(connection.address().ip()),
            Self::Maildir(_) => None,
        }
    }

    /// Whether it takes internationalized mail (RFC 6531).
    pub const fn takes_utf8(&self) -> bool {
        match self {
            Self::Host(connection) | Self::Relay(connection) => connection.takes_utf8(),
            Self::Maildir(_) => true,
        }
    }

    /// What success at it is to the sender; none: it tells him itself (RFC 3461 section 5.2).
    pub const fn success(&self) -> Option<Action> {
        match self {
            Self::Host(connection) | Self::Relay(connection) if connection.takes_dsn() => None,
            Self::Host(_) | Self::Relay(_) => Some(Action::Relayed),
            Self::Maildir(_) => Some(Action::Delivered),
        }
    }

    /// Asks whether it takes mail for `domain` at all. A Maildir that is open does.
    pub async fn probe(&mut self, domain: &Domain) -> Probe {
        match self {
            Self::Host(connection) => connection.probe(domain).await,
            Self::Relay(connection) => connection.probe_sender().await,
            Self::Maildir(_) => Probe::Takes,
        }
    }

    /// Delivers a message to those recipients of its claim that wait; see [`Connection::send`].
    pub async fn send<S: Spool>(&mut self, claim: &Claim, next: Option<&Claim>, spool: &S) -> Sent {
        match self {
            Self::Host(connection) | Self::Relay(connection) => {
                connection.send(claim, next, spool).await
            }
            Self::Maildir(maildir) => maildir.send(claim, spool).await,
        }
    }

    /// Whether messages of another domain can follow over it.
    pub const fn is_between_messages(&self) -> bool {
        match self {
            Self::Host(connection) | Self::Relay(connection) => connection.is_between_messages(),
            Self::Maildir(_) => false,
        }
    }

    /// Takes leave.
    pub async fn quit(self) {
        if let Self::Host(connection) | Self::Relay(connection) = self {
            connection.quit().await;
        }
    }
}
