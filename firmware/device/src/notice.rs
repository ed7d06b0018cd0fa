//! Telling somebody of the mail that stays on the card, and of the device's own faults.

use postern_card::{Card, Cause, Fault, PostMortem, Store, Told};
use postern_core::client::{Event, Mail, Need, Recipient};
use postern_core::drive::deliver::{Sent, Turn};
use postern_core::envelope::{Body, Notify, Ret};
use postern_core::notice::{Crash, Notice};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::{Out, Text};

use crate::dialogue::{Answer, Dialogue, Failure, text};
use crate::log::{info, warning};
use crate::reset::STRIKES;
use crate::shared::Shared;
use crate::transfer::Content;

/// Whether there is news, and anybody to be told.
pub(crate) fn is_wanted<C: Card>(shared: &Shared<'_, C>) -> bool {
    let is_news = shared.failed.get() > shared.told.get().failed || crash(shared).is_some();
    is_news && !shared.settings.failed_to.is_empty()
}

/// The last crash, if it was not told.
fn crash<'s, C: Card>(shared: &'s Shared<'_, C>) -> Option<&'s PostMortem> {
    let told = shared.told.get().boot;
    shared.crash.filter(|crash| crash.boot > told)
}

/// The last crash on the card that is worth a notice, if it was not told. Of crashes in a row the
/// first is, and then when there are twice as many, and when a message is set aside.
pub(crate) async fn find_crash<C: Card>(
    store: &mut Store<C>,
) -> Result<Option<PostMortem>, Fault<C::Error>> {
    let is_worth = |it: &PostMortem| it.crashes.is_power_of_two() || it.strikes == STRIKES;
    let last = store.boot();
    let first = last.saturating_sub(store.post_mortems() - 1).max(store.told().boot + 1);
    for boot in (first..=last).rev() {
        let found = store.post_mortem(boot).await?;
        if let Some(found) = found.filter(|it| it.is_crash() && is_worth(it)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Sends the notice over a connection to the next hop, and returns whether that took it; then the
/// card knows that it was told. It has no sender, so that it is never answered (RFC 5321 §4.5.5).
pub(crate) async fn send<C: Card>(
    shared: &Shared<'_, C>,
    dialogue: &mut Dialogue<'_, '_>,
    piece: &mut [u8],
) -> Result<bool, Failure> {
    let told = Told { failed: shared.failed.get(), boot: shared.boot };
    let length = compose(shared, piece)?;
    let to = Recipient {
        forward_path: shared.settings.failed_to.as_bytes(),
        params: RcptParams { notify: Notify::NEVER, orcpt: None },
    };
    let (mut begun, mut taken) = (false, false);
    loop {
        let turn = dialogue.next().await?;
        let answered = match turn {
            Turn::Need(Need::Transaction) if begun => {
                return Ok(note(shared, told, taken).await);
            }
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
                    let taken = is_taken(&event, dialogue);
                    return Ok(note(shared, told, taken).await);
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
            info!("told what is wrong");
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
        // Nobody authenticates or asks for mail here.
        Event::Greeting(_)
        | Event::Etrn(_)
        | Event::Challenge(_)
        | Event::Auth(_)
        | Event::Atrn(_) => false,
    }
}

/// Keeps what was told, if it was `taken`.
async fn note<C: Card>(shared: &Shared<'_, C>, told: Told, taken: bool) -> bool {
    if taken {
        shared.note_told(&mut shared.storage.lock().await.store, told).await;
    }
    taken
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
    let (hostname, failed) = (shared.config.hostname, shared.failed.get());
    let crash = crash(shared).and_then(told);
    let notice = Notice { hostname, to, id, failed, crash, time };
    let mut out = Out::new(piece);
    notice.write(&mut out).map_err(|_| Failure::Nonsense)?;
    Ok(out.len())
}

/// What is told of a crash.
fn told(crash: &PostMortem) -> Option<Crash<'_>> {
    let cause = if crash.cause == Cause::Panic { "a panic" } else { "the watchdog" };
    Some(Crash {
        cause,
        program: Text::new(crash.program().as_bytes())?,
        uptime_s: crash.uptime_s,
        count: crash.crashes,
        calls: crash.calls,
        set_aside: crash.set_aside,
    })
}
