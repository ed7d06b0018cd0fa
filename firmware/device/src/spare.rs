//! A spare socket refuses clients with 421 while all channels are busy. Without it they would get a
//! TCP reset, and take the host for broken.

use embedded_io_async::Write;
use postern_core::session::{Event, Next, Session, Transport, Verdict};
use postern_core::time::Instant;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

use crate::budget::{SESSION_OUT, SPARE_SEND};
use crate::channel::config;
use crate::gate::{Accept, Gate};
use crate::net::{Net, Socket};

/// The reply to a client that gets no session.
pub(crate) struct Refusal(heapless::Vec<u8, SPARE_SEND>);

impl Refusal {
    /// The reply that refuses a connection for `reason`.
    pub(crate) fn new(hostname: Text<'_>, reason: Reason) -> Self {
        let config = config(hostname);
        let mut session = Session::new(&config, 0, Transport::Clear);
        let mut buffer = [0; SESSION_OUT];
        let mut out = Out::new(&mut buffer);
        let step = session.step(Instant::from_millis(0), b"", &mut out);
        let Next::Event(Event::Connect { ask }) = step.next else {
            unreachable!("a session begins with its client's connection")
        };
        let answered = session.answer(ask, Verdict::Close(reason, None), &mut out);
        debug_assert!(answered.is_ok(), "the output is empty and large enough");
        Self(out.written().iter().copied().take(SPARE_SEND).collect())
    }
}

/// Refuses one client after another, while the `gate` is open, if there is one.
pub(crate) async fn run(
    refusal: &Refusal,
    net: Net<'_>,
    receive: &mut [u8],
    send: &mut [u8],
    gate: Option<&Gate>,
) -> ! {
    let mut socket = Socket::new(net, receive, send);
    loop {
        match gate {
            Some(gate) => _ = gate.accept(&mut socket).await,
            None => _ = socket.accept().await,
        }
        let _hung_up = socket.write_all(&refusal.0).await;
        socket.dismiss().await;
    }
}
