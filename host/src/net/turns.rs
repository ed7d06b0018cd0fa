//! Sessions on connections of ours that a holder has turned round: the mail that was fetched by
//! ATRN (RFC 2645 section 5.3) comes in by them. They need no listener, and take no channel.

use std::io::Result;
use std::sync::Arc;

use embedded_io_async::{ErrorType, Read, Write};
use postern_core::drive::{Broken, Buffers, Link, serve_turned};
use postern_core::session::{Session, Transport};
use postern_spool::Spool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::listener::{Open, Reception, bare_config, end, report, told};
use super::stream::{SessionBuffers, SessionClock, Stream};
use super::turned::Turned;
use crate::receive::session::{Came, SessionHandler};

/// Hands connections on to the sessions that receive over them. Clones lead to the same place.
#[derive(Debug, Clone)]
pub struct Turns(mpsc::Sender<Handed>);

/// Where those connections come out.
#[derive(Debug)]
pub struct Turning(mpsc::Receiver<Handed>);

type Handed = (Turned, Held, oneshot::Sender<Came>);

/// What a session holds as long as it runs.
pub type Held = Arc<dyn Send + Sync>;

/// A way for connections that were turned round.
pub fn turns() -> (Turns, Turning) {
    let (sender, receiver) = mpsc::channel(1);
    (Turns(sender), Turning(receiver))
}

impl Turns {
    /// Receives what comes over `turned`, to its end. The session goes on when this is dropped, and
    /// `held` with it.
    ///
    /// `None`: the server stops, or the session failed.
    pub async fn receive(&self, turned: Turned, held: Held) -> Option<Came> {
        let (sender, came) = oneshot::channel();
        self.0.send((turned, held, sender)).await.ok()?;
        came.await.ok()
    }
}

impl<S: Spool> Reception<S> {
    /// Receives over what comes out of `turning` until the server stops, and then until running
    /// transactions have ended: for half a minute at most.
    pub async fn receive_turned(self: Arc<Self>, Turning(mut turning): Turning) {
        let (mut sessions, mut stop) = (JoinSet::new(), self.stop.clone());
        loop {
            tokio::select! {
                Some((turned, held, sender)) = turning.recv() => {
                    let reception = Arc::clone(&self);
                    sessions.spawn(async move {
                        // Whoever fetched may be gone.
                        let _ = sender.send(reception.attend_turned(turned).await);
                        drop(held);
                    });
                }
                Some(ended) = sessions.join_next() => report(ended),
                () = told(&mut stop) => break,
            }
        }
        drop(turning);
        end(sessions, stop).await;
    }

    /// One session, to its end.
    async fn attend_turned(&self, turned: Turned) -> Came {
        let Turned { stream, unread, address, is_secure } = turned;
        let _open = Open::count(&self.services.metrics.sessions_open);
        self.services.metrics.sessions.inc();
        let terms = self.terms.borrow().clone();
        let mut handler = SessionHandler::new(
            Arc::clone(&self.services),
            Arc::clone(&terms.policies),
            Arc::clone(&terms.hostname),
            address,
            None,
        );
        let mut transport = Transport::Clear;
        if is_secure {
            handler.tls_started(None);
            transport = Transport::Tls;
        }
        let (config, patience) = (bare_config(&terms), terms.config.receive.idle_timeout);
        let mut session = Session::new(&config, self.next_session(), transport);
        let (clock, stop) = (self.services.clock.clone(), self.stop.clone());
        let mut clock = SessionClock::new(clock, stop, self.short(), patience);
        let mut buffers = SessionBuffers::new(self.buffers());
        let (input, _) = buffers.lend().await;
        let room = input.get_mut(..unread.len()).expect("a reply's room is less than a session's");
        room.copy_from_slice(&unread);
        let mut link = TurnedLink(stream);
        let served = serve_turned(
            &mut session,
            &mut link,
            &mut clock,
            &mut handler,
            &mut buffers,
            unread.len(),
        );
        let broken = match served.await {
            Ok(_closed) => None,
            Err(Broken::Link(error)) => Some(error.to_string()),
            Err(Broken::Stuck) => Some("it takes no replies".to_owned()),
            Err(Broken::Misuse) => unreachable!("the buffers hold the longest line"),
        };
        handler.came(broken)
    }
}

/// A stream of ours for core's loop.
struct TurnedLink(Stream);

impl ErrorType for TurnedLink {
    type Error = std::io::Error;
}

impl Read for TurnedLink {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer).await
    }
}

impl Write for TurnedLink {
    async fn write(&mut self, octets: &[u8]) -> Result<usize> {
        self.0.write(octets).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.0.flush().await
    }
}

impl Link for TurnedLink {
    /// Nobody can tell of any stream whether a read would wait: the buffers stay lent.
    async fn ready(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.0.shutdown().await
    }
}
