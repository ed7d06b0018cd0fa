//! Telling somebody of the mail that stays on the card.

use postern_card::Card;
use postern_core::client::{Event, Mail, Need, Recipient};
use postern_core::drive::deliver::{Sent, Turn};
use postern_core::envelope::{Body, Notify, Ret};
use postern_core::notice::Notice;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::{Out, Text};

use crate::dialogue::{Answer, Dialogue, Failure, text};
use crate::log::{info, warning};
use crate::shared::Shared;
use crate::transfer::Content;

/// Sends the notice over a connection to the next hop, and returns whether that took it. It has no
/// sender, so that it is never answered (RFC 5321 §4.5.5), and nothing is kept of it: the next one
/// says the same.
pub(crate) async fn send<C: Card>(
    shared: &Shared<'_, C>,
    dialogue: &mut Dialogue<'_, '_>,
    piece: &mut [u8],
) -> Result<bool, Failure> {
    let length = compose(shared, piece)?;
    let to = Recipient {
        forward_path: shared.settings.failed_to.as_bytes(),
        params: RcptParams { notify: Notify::NEVER, orcpt: None },
    };
    let (mut begun, mut taken) = (false, false);
    loop {
        let turn = dialogue.next().await?;
        let answered = match turn {
            Turn::Need(Need::Transaction) if begun => return Ok(taken),
            Turn::Need(Need::Transaction) => {
                begun = true;
                dialogue.call(|client, out| client.mail(&mail(length), out))
            }
            Turn::Need(Need::Recipient { index: 0 }) => {
                dialogue.call(|client, out| client.rcpt(&to, out))
            }
            Turn::Need(Need::Recipient { .. }) => dialogue.call(|client, _| client.rcpt_end()),
            Turn::Need(Need::Body) => {
                let mut text = Content::text(shared, piece, length);
                if let Sent::Refused(event) = dialogue.send_message(&mut text).await? {
                    return Ok(is_taken(&event, dialogue));
                }
                Ok(())
            }
            Turn::Need(_) => return Err(Failure::Nonsense),
            Turn::Event(event) => {
                taken = is_taken(&event, dialogue);
                Ok(())
            }
        };
        answered.map_err(|_| Failure::Nonsense)?;
    }
}

/// Whether the next hop took the notice so far, by what it said last.
fn is_taken(event: &Event<Answer>, dialogue: &Dialogue<'_, '_>) -> bool {
    match event {
        Event::Message(Answer { code, .. })
        | Event::Delivered { reply: Answer { code, .. }, .. }
            if code / 100 == 2 =>
        {
            info!("told of the mail that failed");
            true
        }
        Event::MailRefused(reply)
        | Event::Recipient { reply, .. }
        | Event::Message(reply)
        | Event::Delivered { reply, .. } => {
            if reply.code / 100 != 2 {
                warning!("the notice was refused: {=[u8]:a}", text(dialogue).as_slice());
            }
            false
        }
        Event::Greeting(_) | Event::Etrn(_) => false,
    }
}

const fn mail(length: usize) -> Mail<'static> {
    Mail {
        reverse_path: b"",
        params: MailParams {
            size: Some(length as u64),
            body: Body::Unstated,
            smtputf8: false,
            ret: Ret::Unstated,
            envid: None,
            auth: None,
        },
        needs_utf8: false,
    }
}

fn compose<C: Card>(shared: &Shared<'_, C>, piece: &mut [u8]) -> Result<usize, Failure> {
    let time = shared.time_of_day.now();
    let known = time.known.then_some(time.unix_seconds);
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = shared.random.id(known, shared.boot).hyphenated().encode_lower(&mut id);
    let to = Text::new(shared.settings.failed_to.as_bytes()).ok_or(Failure::Nonsense)?;
    let id = Text::new(id.as_bytes()).ok_or(Failure::Nonsense)?;
    let notice =
        Notice { hostname: shared.config.hostname, to, id, failed: shared.failed.get(), time };
    let mut out = Out::new(piece);
    notice.write(&mut out).map_err(|_| Failure::Nonsense)?;
    Ok(out.len())
}
