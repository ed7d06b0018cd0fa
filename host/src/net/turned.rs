//! Connections on which the roles have turned (RFC 2645 section 5.3).

use std::net::SocketAddr;
use std::pin::Pin;

use postern_spool::Domain;

use super::stream::Stream;

/// A connection on which the client is the server from now on: its greeting is next.
pub struct Turned {
    /// The connection.
    pub stream: Stream,
    /// What was received behind the command that turned it, or its answer, and is not read yet.
    pub unread: Vec<u8>,
    /// Where the other side is.
    pub address: SocketAddr,
    /// Whether it is encrypted.
    pub is_secure: bool,
}

/// What goes on until a connection is closed.
pub type Fetching<'f> = Pin<Box<dyn Future<Output = ()> + Send + 'f>>;

/// Hands held mail to those who fetch it.
pub trait Fetch: Send + Sync {
    /// Delivers what is held for `domains` over `to`, and takes leave.
    fn deliver(&self, domains: Vec<Domain>, to: Turned) -> Fetching<'_>;
}
