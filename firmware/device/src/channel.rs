//! A channel: a socket on which one session follows another.

use core::future::pending;
use core::pin::Pin;
use core::time::Duration;

use postern_card::Card;
use postern_core::drive::{Buffers, serve};
use postern_core::session::{Config, Session, Transport};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;

use crate::Board;
use crate::budget::{CHANNEL, RAM, SESSION_IN, SESSION_OUT};
use crate::handler::SessionHandler;
use crate::log::info;
use crate::memory::ChannelMemory;
use crate::net::{self, Net, Socket};
use crate::occupancy::SessionClock;
use crate::shared::Shared;

/// SMTP's port (RFC 5321 §4.5.4.2).
pub(crate) const PORT: u16 = 25;

/// Recipients of a message at most: as few as RFC 5321 §4.5.3.1.8 allows, and no more than one
/// transaction of the client's passes on.
const RECIPIENTS: u16 = 100;
/// Milliseconds of waiting for commands that a session may cost from message to message. Channels
/// are few: what says NOOP now and then must not hold one for an hour.
const SESSION_MS: u32 = 600_000;

/// What a device offers: nothing that needs more memory than this, and nothing that binds the next
/// hop to anything.
pub(crate) const fn config(hostname: Text<'_>) -> Config<'_> {
    let mut config = Config::new(hostname).with(Extension::Etrn);
    config.max_recipients = RECIPIENTS;
    config.session_timeout_ms = SESSION_MS;
    config
}

const LONGEST_NAME: [u8; Text::MAX] = [b'x'; Text::MAX];
const _: () = {
    let config = config(Text::new(&LONGEST_NAME).expect("it is printable"));
    assert!(SESSION_IN >= config.min_input() && SESSION_OUT >= config.min_out());
};

/// Bytes that are left for a channel's future.
const FUTURE: usize = CHANNEL - size_of::<ChannelMemory>() - net::SOCKET;

/// Does not compile for a future that the board has no room for.
pub(crate) const fn check_budget<B: Board, F>(_: &B, _: &Pin<&mut F>) {
    const { assert!(size_of::<F>() <= FUTURE || B::RAM > RAM) }
}

/// A channel's buffers: nobody else wants them, so they stay lent.
struct Own<'m> {
    input: &'m mut [u8],
    output: &'m mut [u8],
}

impl Buffers for Own<'_> {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.input, self.output)
    }

    fn give_back(&mut self) {}
}

/// Serves one client after another, if the settings open so many channels that number `number`,
/// counted from 1, is one of them.
pub(crate) async fn run<C: Card>(
    shared: &Shared<'_, C>,
    net: Net<'_>,
    memory: &mut ChannelMemory,
    number: u8,
) -> ! {
    if number > shared.settings.channels {
        pending::<()>().await;
    }
    let ChannelMemory { receive, send, input, output } = memory;
    let mut socket = Socket::new(net, receive, send);
    let mut buffers = Own { input, output };
    let (mut count, place) = (0_u32, usize::from(number) - 1);
    let patience = Duration::from_millis(u64::from(shared.config.idle_timeout_ms));
    loop {
        let client = socket.accept(PORT).await;
        count = count.wrapping_add(1);
        let is_admitted = shared.occupancy.enter(place, client.ip());
        let mut handler = SessionHandler::new(shared, client, is_admitted);
        let mut session = Session::new(&shared.config, count, Transport::Clear);
        let mut clock = SessionClock::new(&shared.occupancy, patience);
        let ended = serve(&mut session, &mut socket, &mut clock, &mut handler, &mut buffers).await;
        if ended.is_err() {
            info!("a client's connection broke");
        }
        handler.clear().await;
        if is_admitted {
            shared.occupancy.leave(place);
            socket.close().await;
        } else {
            socket.dismiss().await;
        }
    }
}
