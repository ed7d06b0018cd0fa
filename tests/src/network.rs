//! Scripts on the server, over TCP, over TLS and over AppleTalk.

mod appletalk;
mod client;
mod server;

use std::net::TcpStream;
use std::sync::Arc;

use postern_core::trace::separator_before;
use tokio::runtime::Runtime;

use crate::dialogue::{Script, Settings, Step};
use crate::play;
pub use client::Client;
pub use server::Server;

/// The way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// TCP.
    Tcp,
    /// AppleTalk's ADSP, without its network.
    AppleTalk,
    /// TLS after STARTTLS, inside which the script begins behind the greeting.
    Tls,
}

/// What became of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Played {
    /// Every step was as the script says.
    Well,
    /// It does not run on this way, and why.
    Skipped(String),
}

/// What a server offers, whatever its configuration.
const OFFERED: [&str; 5] = ["PIPELINING", "SMTPUTF8", "CHUNKING", "ETRN", "STARTTLS"];
/// Those of them that it offers over AppleTalk: all but the last two.
const OFFERED_BARE: usize = 3;
/// The least that `receive.max_recipients` may be.
const LEAST_RECIPIENTS: u16 = 100;

/// Why a script can't run on the server on this way, if it can't.
fn obstacle(settings: &Settings, way: Way) -> Option<String> {
    let offered = match way {
        Way::AppleTalk => &OFFERED[..OFFERED_BARE],
        Way::Tcp | Way::Tls => &OFFERED[..],
    };
    let offered = |name: &&String| offered.contains(&name.as_str());
    let lacks = settings.needs.iter().find(|need| !offered(need));
    let always = settings.without.iter().filter(offered).find(|name| *name != "STARTTLS");
    let no_tls = settings.without.iter().any(|name| name == "STARTTLS");
    match way {
        _ if settings.core_only.is_some() => settings.core_only.clone(),
        _ if lacks.is_some() => lacks.map(|name| format!("{name} is not offered")),
        _ if always.is_some() => always.map(|name| format!("{name} is always offered")),
        _ if settings.max_recipients < LEAST_RECIPIENTS => {
            Some("the limit of recipients can't be so low".to_owned())
        }
        Way::Tls if no_tls => Some("there is no TLS without STARTTLS".to_owned()),
        Way::Tls => settings.plain_only.clone(),
        Way::Tcp | Way::AppleTalk => None,
    }
}

/// Plays `script` on a server of its own; the error says at which step what differs.
pub fn play(script: &Script, way: Way, runtime: &Runtime) -> Result<Played, String> {
    if let Some(why) = obstacle(&script.settings, way) {
        return Ok(Played::Skipped(why));
    }
    let server = match way {
        Way::Tcp | Way::Tls => Server::start(&script.settings, runtime),
        Way::AppleTalk => Server::start_on_appletalk(&script.settings, runtime),
    };
    let stream = TcpStream::connect(server.address).map_err(|error| error.to_string())?;
    let mut client = Client::new(stream, Some(Arc::clone(&server.trust)))?;
    if way == Way::Tls {
        client.begin_tls()?;
    }
    // Inside TLS the greeting was heard before the handshake.
    let greeted = way == Way::Tls && matches!(script.steps.first(), Some(Step::Expect(_)));
    let played = play::play(script, usize::from(greeted), &mut client);
    drop(client);
    let mut stored = server.stop(runtime);
    played?;
    let mut script = script.clone();
    // The spool files recipients by their domains.
    for message in stored.iter_mut().chain(&mut script.stored) {
        message.to.sort();
    }
    for message in &mut script.stored {
        part_from_trace(&mut message.body);
    }
    play::compare_stored(&script, &stored)?;
    Ok(Played::Well)
}

/// Puts the empty line before a message that would else go on the trace field that is put on top
/// (RFC 5322 §2.2.3).
pub fn part_from_trace(body: &mut Vec<u8>) {
    body.splice(..0, separator_before(body).iter().copied());
}
