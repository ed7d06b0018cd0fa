//! Fetching mail by ATRN (RFC 2645): the holder sends it over the connection that asked, so that
//! no listener is needed, and no address that others can reach.

use core::time::Duration;

use postern_card::Card;
use postern_card::settings::Holder;
use postern_core::client::{CallError, Event, Mechanism, Need};
use postern_core::drive::deliver::Turn;
use postern_core::drive::serve_turned;
use postern_core::sasl::cram_md5;
use postern_core::session::{Session, Transport};
use postern_core::wakeup::{Answer, Found};
use postern_core::wire::Out;

use crate::channel::Own;
use crate::connector::{Connector, Room};
use crate::dialogue::{Dialogue, Failure, text};
use crate::handler::SessionHandler;
use crate::link::over_tcp;
use crate::log::info;
use crate::occupancy::SessionClock;
use crate::peer::Peer;
use crate::shared::Shared;

/// Whether there is anything here.
pub(crate) const IS_THERE: bool = true;

/// The number of its sessions; those of channels count from 1.
const SESSION: u32 = 0;

/// Authenticates, and asks for the holder's mail; whether the roles have turned. `answer` is room
/// for what is said to a challenge.
pub(crate) async fn turn(
    dialogue: &mut Dialogue<'_, '_>,
    holder: &Holder<'_>,
    (user, password): (&str, &str),
    answer: &mut [u8],
    found: &mut Found,
) -> Result<bool, Failure> {
    let (mut is_known, mut octets) = (false, 0);
    loop {
        let said = match dialogue.next().await? {
            Turn::Need(Need::Transaction) if is_known => {
                let names = holder.names.iter().map(|name| name.as_bytes());
                dialogue.call(|client, out| client.atrn(names, out))
            }
            Turn::Need(Need::Transaction) => {
                dialogue.call(|client, out| client.auth(Mechanism::CramMd5, None, out))
            }
            Turn::Need(Need::Response) => {
                let answer = answer.get(..octets).unwrap_or_default();
                dialogue.call(|client, out| client.respond(answer, out))
            }
            Turn::Need(Need::Turn) => return Ok(true),
            Turn::Need(_) => return Err(Failure::Nonsense),
            Turn::Event(Event::Challenge(_)) => {
                let challenge = dialogue.reply().and_then(|reply| reply.lines().next());
                let mut out = Out::new(answer);
                let (user, password) = (user.as_bytes(), password.as_bytes());
                let answered = cram_md5(user, password, challenge.unwrap_or_default(), &mut out);
                answered.map_err(|_| Failure::Nonsense)?;
                octets = out.len();
                Ok(())
            }
            Turn::Event(Event::Auth(said)) => {
                is_known = said.code / 100 == 2;
                if !is_known {
                    return Err(Failure::Refused(said.code));
                }
                Ok(())
            }
            Turn::Event(Event::Atrn(said)) => {
                info!("the holder says {=[u8]:a}", text(dialogue).as_slice());
                if said.code / 100 != 2 {
                    let status = dialogue.reply().and_then(|reply| reply.enhanced());
                    let subject = status.map(|status| status.subject);
                    found.add(Answer::to_atrn(said.code, subject));
                    return Ok(false);
                }
                Ok(())
            }
            Turn::Event(_) => Ok(()),
        };
        said.map_err(|_: CallError| Failure::NotOffered)?;
    }
}

/// Receives what the holder sends, to its end. The first `unread` octets of it stand in the room's
/// input. It takes no channel: we have opened it.
pub(crate) async fn receive<C: Card>(
    shared: &Shared<'_, C>,
    connector: &mut Connector<'_, '_>,
    room: &mut Room<'_>,
    unread: usize,
) -> Answer {
    let Some(holder) = connector.socket.peer() else { return Answer::Missing };
    let Room { input, output, .. } = room;
    let mut buffers = Own { input, output };
    let mut handler = SessionHandler::new(shared, Peer::Internet(holder), true);
    let mut session = Session::new(&shared.config, SESSION, Transport::Clear);
    let patience = Duration::from_millis(u64::from(shared.config.idle_timeout_ms));
    let mut clock = SessionClock::apart(&shared.occupancy, shared.gate, patience);
    let link = over_tcp!(connector.socket);
    let served =
        serve_turned(&mut session, link, &mut clock, &mut handler, &mut buffers, unread).await;
    handler.clear().await;
    let (messages, has_left) = (handler.messages(), handler.has_left() && served.is_ok());
    info!("fetched messages: {=u32}", messages);
    Answer::to_fetching(messages, has_left)
}
