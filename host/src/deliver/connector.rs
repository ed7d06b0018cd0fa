//! How a stream to a host comes about.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::descriptors;
use crate::net::names::Names;
use crate::net::resolver::{Exchangers, LookUpError};
use crate::net::stream::Stream;

/// What a connector is doing; dropped, it is given up.
pub type Connecting<'c, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'c>>;
/// A look-up of mail exchangers; dropped, it is given up.
pub type LookingUp<'c> = Pin<Box<dyn Future<Output = Result<Exchangers, LookUpError>> + Send + 'c>>;

/// Finds hosts, and connects to them.
pub trait Connector: Send + Sync {
    /// The addresses of the host `name`, in the order in which they are to be tried. One that ends
    /// with a dot is not completed by the system's search list.
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>>;

    /// The mail exchangers of `domain`. One without a DNS gets no answer.
    fn exchangers<'c>(&'c self, _domain: &'c str) -> LookingUp<'c> {
        Box::pin(async { Err(LookUpError::NoAnswer) })
    }

    /// A stream to what listens at `address`. Where we are short of something ourselves, the error
    /// is one of [`are_short`](descriptors::are_short).
    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream>;
}

/// TCP, and names as [`Names`] looks them up.
pub struct Tcp(Names);

impl Tcp {
    /// With `names`.
    pub const fn new(names: Names) -> Self {
        Self(names)
    }

    /// With the machine's name servers.
    pub fn system() -> Self {
        Self(Names::system())
    }
}

impl Connector for Tcp {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move {
            descriptors::leave_reserved()?;
            let failed = |error| match error {
                LookUpError::Short => Errno::MFILE.into(),
                error => io::Error::other(error),
            };
            let found = self.0.addresses(name).await.map_err(failed)?;
            Ok(found.into_iter().map(|address| (address, port).into()).collect())
        })
    }

    fn exchangers<'c>(&'c self, domain: &'c str) -> LookingUp<'c> {
        Box::pin(async move {
            descriptors::leave_reserved().map_err(|_| LookUpError::Short)?;
            self.0.exchangers(domain).await
        })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            descriptors::leave_reserved()?;
            let stream = TcpStream::connect(address).await?;
            // Whole groups of commands are written at once: nothing is gained by waiting.
            let _slower = stream.set_nodelay(true);
            let stream: Stream = Box::new(QuickAck::new(stream));
            Ok(stream)
        })
    }
}

/// A TCP stream that acknowledges at once what it receives.
///
/// A host that writes a reply in two pieces without TCP_NODELAY sends the second when the first is
/// acknowledged (RFC 896), which would take 40 ms for each message.
struct QuickAck(TcpStream);

impl QuickAck {
    const fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// The kernel turns it off again by itself.
    #[cfg(target_os = "linux")]
    fn arm(&self) {
        // Without it the mail goes all the same.
        let _slower = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }

    #[cfg(not(target_os = "linux"))]
    const fn arm(&self) {}
}

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.arm();
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt::{set_tcp_quickack, tcp_quickack};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_received_is_acknowledged_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let ours = TcpStream::connect(address).await.expect("it listens");
        let (mut theirs, _) = listener.accept().await.expect("a connection");
        let mut ours = QuickAck::new(ours);
        for _ in 0..3 {
            set_tcp_quickack(&ours.0, false).expect("a TCP socket");
            assert!(!tcp_quickack(&ours.0).expect("a TCP socket"));
            theirs.write_all(b"a reply").await.expect("connected");
            ours.read_exact(&mut [0; 7]).await.expect("it was sent");
            assert!(tcp_quickack(&ours.0).expect("a TCP socket"));
        }
    }
}
