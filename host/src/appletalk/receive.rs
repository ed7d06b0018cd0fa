//! Mail that comes over AppleTalk.

use std::sync::Arc;
use std::time::Duration;

use postern_core::appletalk::Address;
use postern_core::appletalk::nbp::{Name, Registration};
use postern_spool::Spool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::cable::{Cable, Event, pause};
use super::link::Link;
use super::ports::{Ports, Stream};
use crate::config::AppleTalk;
use crate::net::channels::Short;
use crate::net::listener::{Reception, report, told};
use crate::receive::session::SessionHandler;

/// Our socket: one of those that are given out to nobody (64 to 127).
pub const SOCKET: u8 = 72;
/// How long running transactions may go on after a stop.
const GRACE: Duration = Duration::from_secs(30);
/// How long what was said last may take to arrive after that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes connections on the cable of `link` until the stop, then waits for running transactions to
/// end.
pub async fn receive<S: Spool>(
    reception: Arc<Reception<S>>,
    link: Link,
    settings: AppleTalk,
    hostname: Arc<str>,
) {
    let names: Vec<_> = settings.names.iter().map(|name| name.to_mac_roman(&hostname)).collect();
    let mut names: Vec<_> =
        names.iter().filter_map(|name| Some(Registration::new(Name::new(name)?, SOCKET))).collect();
    let channels = usize::try_from(settings.channels.get()).unwrap_or(usize::MAX);
    let ports = Ports::new(SOCKET, channels);
    let submits = settings.submission;
    ports.listen(true);
    let clock = reception.services.clock.clone();
    let mut cable = Cable::new(link, &mut names, ports.clone(), clock);
    let (mut sessions, mut stop) = (JoinSet::new(), reception.stop.clone());
    let short = Short::default();
    loop {
        tokio::select! {
            event = cable.next() => match event {
                Ok(Event::Opened(stream, peer)) => {
                    let client = Client { peer, submits, short: short.subscribe() };
                    sessions.spawn(attend(Arc::clone(&reception), stream, client));
                }
                Ok(Event::News) => cable.log(),
                Ok(Event::Datagram { .. }) => {}
                Err(error) => {
                    reception.log_failure(error);
                    pause().await;
                }
            },
            Some(ended) = sessions.join_next() => report(ended),
            () = told(&mut stop) => break,
        }
        // A mailer that says nothing would else keep all others out for as long as it may.
        let taken = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        short.judge(taken, settings.channels.get());
    }
    ports.listen(false);
    end(&mut cable, &ports, sessions).await;
}

/// Lets sessions end, and what they said last arrive.
async fn end(cable: &mut Cable<'_>, ports: &Ports, mut sessions: JoinSet<()>) {
    let grace = Instant::now() + GRACE;
    let mut last = None;
    while !(sessions.is_empty() && ports.are_free()) {
        if sessions.is_empty() && last.is_none() {
            last = Some(Instant::now() + LAST_WORDS);
        }
        let ended = tokio::select! {
            moved = timeout_at(last.unwrap_or(grace), cable.step()) => moved.is_err(),
            Some(ended) = sessions.join_next() => {
                report(ended);
                false
            }
        };
        if ended {
            sessions.shutdown().await;
            return;
        }
    }
}

/// Who has opened a connection.
pub struct Client {
    /// Where it is.
    pub peer: Address,
    /// It may send to anybody.
    pub submits: bool,
    /// Whether channels run short.
    pub short: watch::Receiver<bool>,
}

/// One mailer, from its connection to its end.
pub async fn attend<S: Spool>(reception: Arc<Reception<S>>, mut stream: Stream, client: Client) {
    let Client { peer, submits, short } = client;
    let terms = reception.terms.borrow().clone();
    let handler = SessionHandler::on_appletalk(
        Arc::clone(&reception.services),
        Arc::clone(&terms.policies),
        Arc::clone(&terms.hostname),
        peer,
    );
    let handler = handler.trusted(submits);
    if let Err(error) = reception.converse_on(&mut stream, handler, (&terms, short)).await {
        tracing::debug!(%peer, ?error, "the connection broke");
    }
}
