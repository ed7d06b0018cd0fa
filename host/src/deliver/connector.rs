//! How a stream to a host comes about.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::link::QuickAck;

/// What can be read and written.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> ReadWrite for T {}

/// A stream to a host.
pub type Stream = Box<dyn ReadWrite>;

/// What a connector is doing; dropped, it is given up.
pub type Connecting<'c, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'c>>;

/// Finds hosts, and connects to them.
pub trait Connector: Send + Sync {
    /// The addresses of the host `name`, in the order in which they are to be tried.
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>>;

    /// A stream to what listens at `address`.
    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream>;
}

/// TCP, and the system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Connector for Tcp {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move { Ok(lookup_host((name, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // Whole groups of commands are written at once: nothing is gained by waiting.
            let _slower = stream.set_nodelay(true);
            let stream: Stream = Box::new(QuickAck::new(stream));
            Ok(stream)
        })
    }
}
