//! Telling somebody of the mail that stays on the card, and of the device's own faults.

use postern_card::{Card, Cause, Fault, PostMortem, Store, Told};
use postern_core::notice::{Crash, Notice};
use postern_core::wire::{Out, Text};

use crate::dialogue::{Dialogue, Failure};
use crate::log::{info, warning};
use crate::reset::STRIKES;
use crate::shared::{ID, Shared};
use crate::transfer::send_own;

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
    let to = shared.settings.failed_to;
    let answer = send_own(shared, dialogue, "", to, piece, length).await?;
    if answer.code / 100 == 2 {
        info!("told what is wrong");
        shared.note_told(&mut shared.storage.lock().await.store, told).await;
        return Ok(true);
    }
    warning!("the notice was refused: {=u16}", answer.code);
    Ok(false)
}

fn compose<C: Card>(shared: &Shared<'_, C>, piece: &mut [u8]) -> Result<usize, Failure> {
    let time = shared.time_of_day.now();
    let mut id = [0; ID];
    let id = shared.message_id(time, &mut id).ok_or(Failure::Nonsense)?;
    let to = Text::new(shared.settings.failed_to.as_bytes()).ok_or(Failure::Nonsense)?;
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
