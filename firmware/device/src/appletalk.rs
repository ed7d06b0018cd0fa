//! SMTP over AppleTalk: a node of ours on a LocalTalk cable, which is a multicast group.
//!
//! ```text
//!  group ─── net::Cable ─── cable (core's node) ─── adsp (core's streams) ─── a session
//! ```
//!
//! It is ready whatever the listener's settings say, and goes by no gate: who is on the cable may
//! send to the domains of the device.

mod cable;

use core::future::pending;
use core::pin::{Pin, pin};

use embassy_futures::join::join;
use postern_card::Card;
use postern_card::settings::AppleTalk;
use postern_core::drive::serve;
use postern_core::session::{Config, Session, Transport};
use postern_core::wire::ehlo::Extension;

use crate::Board;
use crate::adsp::Ports;
use crate::budget::{APPLETALK, RAM};
use crate::channel::{Own, patience};
use crate::handler::SessionHandler;
use crate::link::Link;
use crate::log::info;
use crate::memory::AppleTalkMemory;
use crate::net::{self, Cable, CableOwners, Net};
use crate::occupancy::SessionClock;
use crate::peer::Peer;
use crate::shared::Shared;

/// Our socket: one of those that are given out to nobody (64 to 127), as on the server.
const SOCKET: u8 = 72;

/// Bytes that are left for its future on the smallest board.
const FUTURE: usize = APPLETALK - size_of::<AppleTalkMemory>() - net::SOCKET;

/// Does not compile for a future that the board has no room for.
const fn check_budget<B: Board, F>(_: &Pin<&mut F>) {
    const { assert!(size_of::<F>() <= FUTURE || B::RAM > RAM) }
}

/// Takes mail over AppleTalk, if the settings say so.
pub(crate) async fn run<B: Board, C: Card>(
    shared: &Shared<'_, C>,
    net: Net<'_>,
    memory: &mut AppleTalkMemory,
) -> ! {
    let Some(settings) = &shared.settings.appletalk else { pending().await };
    let work = pin!(work(settings, shared, net, memory));
    check_budget::<B, _>(&work);
    work.await
}

async fn work<C: Card>(
    settings: &AppleTalk<'_>,
    shared: &Shared<'_, C>,
    net: Net<'_>,
    memory: &mut AppleTalkMemory,
) -> ! {
    let AppleTalkMemory { cable, input, output } = memory;
    let mut owners = CableOwners::new();
    let random = shared.random.u64();
    let mut cable = Cable::new(net, cable, &mut owners, random as u32);
    let ports = Ports::new(SOCKET, shared.random.u64() as u16);
    let moving = pin!(cable::run(settings, net, &mut cable, &ports, (random >> 32) as u32));
    let mailers = pin!(attend(shared, &ports, Own { input, output }));
    join(moving, mailers).await.0
}

/// Serves one mailer after another.
async fn attend<C: Card>(shared: &Shared<'_, C>, ports: &Ports, mut buffers: Own<'_>) -> ! {
    let extensions = shared.config.extensions.without(Extension::Etrn);
    let config = Config { extensions, ..shared.config };
    let mut count = 0_u32;
    loop {
        let (stream, peer) = ports.accept().await;
        count = count.wrapping_add(1);
        let mut handler = SessionHandler::new(shared, Peer::AppleTalk(peer), true);
        let mut clock = SessionClock::apart(&shared.occupancy, shared.gate, patience(&config));
        let link = &mut Link::AppleTalk(stream);
        let mut session = Session::new(&config, count, Transport::Clear);
        let ended = serve(&mut session, link, &mut clock, &mut handler, &mut buffers).await;
        if ended.is_err() {
            info!("a mailer's connection broke");
        }
        handler.clear().await;
    }
}
