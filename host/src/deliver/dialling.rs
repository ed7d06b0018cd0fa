//! Connecting to a host that has several addresses: one that is dead costs a moment, and not the
//! time that each has (RFC 8305 section 5).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use tokio::time::{sleep, timeout};

use super::connector::Connector;
use super::not_open::{Failed, NotOpen};
use super::told::Told;
use crate::net::stream::Stream;

/// How long an address is waited for alone, before the next one is tried beside it (RFC 8305
/// section 8).
const ALONE: Duration = Duration::from_millis(250);

type Connected = Result<Stream, NotOpen>;
type Connecting<'d> = Pin<Box<dyn Future<Output = Connected> + Send + 'd>>;

/// How an address is connected to.
#[derive(Clone, Copy)]
pub(super) struct Dial<'d> {
    pub(super) connector: &'d dyn Connector,
    /// How long each address may take.
    pub(super) within: Duration,
    pub(super) told: Told<'d>,
}

/// The addresses of a host, tried in their order.
pub(super) struct Dialling<'d> {
    dial: Dial<'d>,
    rest: vec::IntoIter<SocketAddr>,
    under_way: Vec<(SocketAddr, Connecting<'d>)>,
}

impl<'d> Dialling<'d> {
    pub(super) fn new(dial: Dial<'d>, addresses: Vec<SocketAddr>) -> Self {
        Self { dial, rest: addresses.into_iter(), under_way: Vec::new() }
    }

    /// The next address that has accepted a connection, or has not; none when all were tried.
    /// Those that are still being tried go on in the call behind it, or are given up.
    pub(super) async fn next(&mut self) -> Option<(SocketAddr, Connected)> {
        if self.under_way.is_empty() {
            self.begin();
        }
        while !self.under_way.is_empty() {
            let has_more = self.rest.len() > 0;
            let done = tokio::select! {
                biased;
                done = poll_fn(|context| self.poll_done(context)) => done,
                () = sleep(ALONE), if has_more => {
                    self.begin();
                    continue;
                }
            };
            if done.1.is_err() {
                self.begin();
            }
            return Some(done);
        }
        None
    }

    fn begin(&mut self) {
        if let Some(address) = self.rest.next() {
            self.dial.told.connecting(address);
            self.under_way.push((address, Box::pin(self.dial.stream(address))));
        }
    }

    fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<(SocketAddr, Connected)> {
        for (nth, (address, connecting)) in self.under_way.iter_mut().enumerate() {
            if let Poll::Ready(connected) = connecting.as_mut().poll(context) {
                let address = *address;
                drop(self.under_way.remove(nth));
                return Poll::Ready((address, connected));
            }
        }
        Poll::Pending
    }
}

impl Dial<'_> {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn stream(self, address: SocketAddr) -> Connected {
        let connected = timeout(self.within, self.connector.connect(address)).await;
        let what = format_args!("connecting to {address}");
        match connected {
            Ok(connected) => connected.map_err(|error| NotOpen::from_io(&error, what)),
            Err(_) => {
                let seconds = self.within.as_secs();
                let why = format_args!("{what}: no answer within {seconds} s");
                Err(NotOpen::new(Failed::Absent, why))
            }
        }
    }
}

#[cfg(test)]
mod tests;
