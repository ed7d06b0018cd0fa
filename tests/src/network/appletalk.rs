//! The server's AppleTalk sessions behind a TCP port: a client there speaks through two endpoints
//! of ADSP that hand each other packets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use embedded_io_async::{Read, Write};
use postern::appletalk::receive::{Client, attend};
use postern::appletalk::{Ports, Stream};
use postern::net::listener::Reception;
use postern_core::appletalk::Address;
use postern_core::appletalk::adsp::PACKET_MAX;
use postern_core::drive::Link;
use postern_core::wire::Out;
use postern_spool::Spool;
use postern_spool::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const MAC: Address = Address { network: 0, node: 5, socket: 130 };
const SERVER: Address = Address { network: 0, node: 200, socket: 72 };

/// Takes one client at `listener` and speaks for it with a session of `reception`'s.
pub async fn bridge<S: Spool>(reception: Arc<Reception<S>>, listener: TcpListener) {
    let (ours, theirs) = (Ports::new(MAC.socket, 1), Ports::new(SERVER.socket, 1));
    theirs.listen(true);
    let clock = Clock::system();
    let mut tasks = JoinSet::new();
    tasks.spawn(pump(reception, ours.clone(), theirs, clock.clone()));
    let (tcp, _) = listener.accept().await.expect("a client");
    let mut stream = ours.open(SERVER, clock.instant()).expect("a channel");
    stream.opened().await.expect("it is taken");
    // A client that has gone is no fault.
    let _gone = copy(tcp, stream).await;
    // What was sent last, and that it is over, goes on its way.
    tasks.join_next().await;
}

/// Moves packets between both sides until the session has ended.
async fn pump<S: Spool>(reception: Arc<Reception<S>>, ours: Ports, theirs: Ports, clock: Clock) {
    let mut sessions = JoinSet::new();
    let (mut buffer, mut has_ended) = ([0; PACKET_MAX], false);
    loop {
        let now = clock.instant();
        let mut has_moved = false;
        for (from, at, to) in [(&ours, MAC, &theirs), (&theirs, SERVER, &ours)] {
            let mut out = Out::new(&mut buffer);
            while from.transmit(now, &mut out).is_some() {
                to.receive(at, out.written(), now);
                out.clear();
                has_moved = true;
            }
        }
        if let Some((stream, peer)) = theirs.accept() {
            let short = watch::Sender::new(false).subscribe();
            let client = Client { peer, submits: false, short };
            sessions.spawn(attend(Arc::clone(&reception), stream, client));
        }
        if has_moved {
            continue;
        }
        if has_ended && theirs.are_free() {
            return;
        }
        let deadline = ours.deadline().min(theirs.deadline());
        let left = Duration::from_millis(deadline.millis_since(clock.instant()).min(60_000));
        let waited = async {
            tokio::select! {
                () = ours.wait_for_change() => false,
                () = theirs.wait_for_change() => false,
                Some(ended) = sessions.join_next() => {
                    ended.expect("a session does not panic");
                    true
                }
            }
        };
        has_ended |= timeout(left, waited).await.unwrap_or(false);
    }
}

/// Copies octets both ways until either side ends.
async fn copy(mut tcp: TcpStream, mut stream: Stream) -> io::Result<()> {
    let (mut said, mut heard) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            read = tcp.read(&mut said) => match read? {
                0 => return Ok(()),
                octets => stream.write_all(&said[..octets]).await.map_err(io::Error::other)?,
            },
            ready = stream.ready() => {
                ready.map_err(io::Error::other)?;
                match stream.read(&mut heard).await.map_err(io::Error::other)? {
                    0 => return tcp.shutdown().await,
                    octets => tcp.write_all(&heard[..octets]).await?,
                }
            }
        }
    }
}

/// A free TCP port.
pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}
