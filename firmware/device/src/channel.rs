//! A channel: a socket on which one session follows another.

use core::future::pending;
use core::pin::{Pin, pin};
use core::time::Duration;

use embassy_futures::join::join;
use postern_card::Card;
use postern_core::drive::{Buffers, serve};
use postern_core::session::{Config, Session, Transport};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;

use crate::Board;
use crate::budget::{CHANNEL, RAM, SESSION_IN, SESSION_OUT, SMALL_WINDOW};
use crate::gate::Accept;
use crate::handler::SessionHandler;
use crate::link::over_tcp;
use crate::log::info;
use crate::memory::ChannelMemory;
use crate::net::{self, Net, Socket};
use crate::occupancy::SessionClock;
use crate::peer::Peer;
use crate::shared::Shared;

/// SMTP's port (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

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

/// Bytes that are left for a channel's future on the smallest board.
const FUTURE: usize = CHANNEL - size_of::<ChannelMemory<SMALL_WINDOW>>() - net::SOCKET;

/// Does not compile for a future that the board has no room for.
const fn check_budget<B: Board, F>(_: &Pin<&mut F>) {
    const { assert!(size_of::<F>() <= FUTURE || B::RAM > RAM) }
}

/// As many channels.
pub struct Count<const CHANNELS: usize>;

/// Channels that run beside each other.
pub(crate) trait Channels {
    /// Runs as many as there are of these memories, from this number on. Each is made where it
    /// stays: collected in an array first, all of them would lie on the stack.
    async fn run<B: Board, C: Card, const WINDOW: usize>(
        shared: &Shared<'_, C>,
        net: Net<'_>,
        memory: &mut [ChannelMemory<WINDOW>],
        number: u8,
    );
}

impl Channels for Count<0> {
    async fn run<B: Board, C: Card, const WINDOW: usize>(
        _: &Shared<'_, C>,
        _: Net<'_>,
        _: &mut [ChannelMemory<WINDOW>],
        _: u8,
    ) {
    }
}

macro_rules! one_and {
    ($($channels:literal: 1 + $others:literal;)*) => {$(
        impl Channels for Count<$channels> {
            async fn run<B: Board, C: Card, const WINDOW: usize>(
                shared: &Shared<'_, C>,
                net: Net<'_>,
                memory: &mut [ChannelMemory<WINDOW>],
                number: u8,
            ) {
                let Some((first, others)) = memory.split_first_mut() else { return };
                let first = pin!(run(shared, net, first, number));
                check_budget::<B, _>(&first);
                let others = Count::<$others>::run::<B, C, WINDOW>(shared, net, others, number + 1);
                join(first, pin!(others)).await;
            }
        }
    )*};
}

one_and!(1: 1 + 0; 2: 1 + 1; 3: 1 + 2; 4: 1 + 3; 5: 1 + 4; 6: 1 + 5; 7: 1 + 6; 8: 1 + 7;);

/// A session's buffers: nobody else wants them, so they stay lent.
pub(crate) struct Own<'m> {
    pub(crate) input: &'m mut [u8],
    pub(crate) output: &'m mut [u8],
}

impl Buffers for Own<'_> {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.input, self.output)
    }

    fn give_back(&mut self) {}
}

impl Accept for Socket<'_> {
    async fn accept(&mut self) -> Peer {
        Peer::Internet(self.client(PORT).await)
    }

    async fn reset(&mut self) {
        self.drop_connection().await;
    }
}

/// Serves one client after another, if the settings open so many channels that number `number`,
/// counted from 1, is one of them.
async fn run<C: Card, const WINDOW: usize>(
    shared: &Shared<'_, C>,
    net: Net<'_>,
    memory: &mut ChannelMemory<WINDOW>,
    number: u8,
) -> ! {
    if number > shared.settings.channels {
        pending::<()>().await;
    }
    let [receive, send, input, output] = memory.buffers();
    let mut socket = Socket::new(net, receive, send);
    let mut buffers = Own { input, output };
    let (mut count, place) = (0_u32, usize::from(number) - 1);
    loop {
        let client = shared.gate.accept(&mut socket).await;
        count = count.wrapping_add(1);
        let is_admitted = shared.occupancy.enter(place, client.host());
        if is_admitted {
            shared.gate.enter();
        }
        let mut handler = SessionHandler::new(shared, client, is_admitted);
        let mut clock = SessionClock::new(&shared.occupancy, shared.gate, patience(&shared.config));
        let link = over_tcp!(socket);
        let mut session = Session::new(&shared.config, count, Transport::Clear);
        let ended = serve(&mut session, link, &mut clock, &mut handler, &mut buffers).await;
        if ended.is_err() {
            info!("a client's connection broke");
        }
        handler.clear().await;
        if is_admitted {
            shared.occupancy.leave(place);
            shared.gate.leave(handler.counts());
            socket.close().await;
        } else {
            socket.dismiss().await;
        }
    }
}

/// What a client may take for a command.
pub(crate) fn patience(config: &Config<'_>) -> Duration {
    Duration::from_millis(u64::from(config.idle_timeout_ms))
}
