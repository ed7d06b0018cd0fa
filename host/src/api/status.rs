//! What a host that is not always there does, and its wake-ups on demand.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postern_core::listener::State as Phase;
use postern_core::time::Instant;
use postern_spool::{Error, QueueStats, Spool};
use tokio::time::timeout;

use super::{
    Asked, Control, ControlState, LinkStatus, Nothing, Opened, PAGE, Queue, Refusal, Relay,
    RelayWait, Status, Wakeup, Wakeups, Window, queues,
};
use crate::config::{self, LinkKind, Listener};
use crate::link::{Doing, Stand as LinkStand};
use crate::net::gate::Stand;

/// Domains that are shown of those whose mail does not go.
const FAILING: usize = 5;
/// How long a person waits for what the holders say, who have minutes for it.
const ASK_TIMEOUT: Duration = Duration::from_secs(100);

pub(super) async fn status<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<Status>, Refusal> {
    query?;
    let totals = control.spool()?.totals().await.unwrap_or_default();
    let config = Arc::clone(&control.opened()?.terms.borrow().config);
    let listener = config.receive.listener;
    let Stand { phase, listening, until, failure } = control.gate.stand();
    let closes = Some(until).filter(|until| phase == Phase::Open && *until != Instant::FAR);
    let now = control.clock.instant();
    let (failing, failing_domains) = failing(control.opened()?).await.unwrap_or_default();
    Ok(Json(Status {
        listener: match listener {
            Listener::Always => "always",
            Listener::Scheduled => "scheduled",
            Listener::OnLink => "on-link",
            Listener::Off => "off",
        }
        .to_owned(),
        state: match phase {
            Phase::Open if failure.is_none() => "open",
            Phase::Draining => "closing",
            Phase::Open | Phase::Closed => "closed",
        }
        .to_owned(),
        listening,
        closes_in_seconds: closes.map(|until| until.millis_since(now) / 1000),
        failure,
        link: link_status(&control, &config.link),
        wakeups: wakeups(&control),
        relay: relay(&control).await?,
        sessions_open: control.metrics.sessions_open.get(),
        messages: totals.messages,
        kept: totals.kept,
        body_bytes: totals.body_bytes,
        failing,
        failing_domains,
    }))
}

/// The domains whose mail waits since their last turn came to nothing, those with the most first,
/// and how many there are in all. The relay tells of its own.
async fn failing<S: Spool>(opened: &Opened<S>) -> Result<(Vec<Queue>, u64), Error> {
    let policies = Arc::clone(&opened.terms.borrow().policies);
    let (mut shown, mut count, mut after) = (Vec::<QueueStats>::new(), 0, None);
    loop {
        let page = opened.spool.queues(after.as_ref(), PAGE).await?;
        let next = page.last().filter(|_| page.len() == PAGE).map(|last| last.domain.clone());
        let failing = page.into_iter().filter(|queue| {
            let is_answered = queue.suspended.is_some() || !queue.last_answer.is_empty();
            queue.waiting > 0 && is_answered && !policies.of(&queue.domain).is_relayed()
        });
        let before = shown.len();
        shown.extend(failing);
        count += (shown.len() - before) as u64;
        shown.sort_by_key(|queue| Reverse(queue.waiting));
        shown.truncate(FAILING);
        let Some(next) = next else { break };
        after = Some(next);
    }
    Ok((shown.iter().map(Queue::from).collect(), count))
}

async fn relay<S: Spool>(control: &Control<S>) -> Result<Option<Relay>, Refusal> {
    let opened = control.opened()?;
    let config = Arc::clone(&opened.terms.borrow().config);
    let Some(relay) = &config.relay else { return Ok(None) };
    let (_, queue) = queues(opened).await?;
    let (now, today) = (control.clock.instant(), control.clock.timestamp());
    let until = |at: Instant| at.millis_since(now).div_ceil(1000);
    let since = |then: u64| today.unix_seconds.saturating_sub(then);
    let progress = &control.progress;
    let last = progress.relay_last();
    Ok(Some(Relay {
        smarthost: relay.smarthost.0.to_string(),
        waiting: queue.messages,
        domains: queue.domains,
        oldest_seconds: queue.oldest.map(since),
        waits: progress.relay_wait().map(|wait| RelayWait {
            domains: wait.domains,
            urgent: wait.is_urgent,
            collects_seconds: wait.dials_at.map(until),
        }),
        last_answer_seconds: last.as_ref().map(|last| since(last.unix_seconds)),
        last_answer: last.map(|last| last.text),
        next_try_seconds: progress.relay_next().map(until),
        alarm: progress.relay_alarm().map(|alarm| alarm.why),
    }))
}

pub(super) async fn wake_up<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<Wakeups>, Refusal> {
    query?;
    control.spool()?;
    if control.board.holders().is_empty() {
        let reason = "no holder is configured: [[wakeup]] names those that are asked for mail";
        return Err(Refusal(StatusCode::NOT_FOUND, reason.to_owned()));
    }
    // Who is not done by then is shown as being asked.
    let _ = timeout(ASK_TIMEOUT, control.board.request()).await;
    Ok(Json(Wakeups { wakeups: wakeups(&control) }))
}

fn wakeups<S>(control: &Control<S>) -> Vec<Wakeup> {
    let now = control.clock.instant();
    control.board.holders().iter().map(|holder| Wakeup::new(holder, now)).collect()
}

pub(super) async fn link<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<LinkStatus>, Refusal> {
    query?;
    shown(&control)
}

pub(super) async fn raise<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<LinkStatus>, Refusal> {
    query?;
    control.spool()?;
    control.link.raise().await.map_err(conflict)?;
    shown(&control)
}

pub(super) async fn lower<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<LinkStatus>, Refusal> {
    query?;
    control.spool()?;
    control.link.lower().await.map_err(conflict)?;
    shown(&control)
}

fn conflict(reason: String) -> Refusal {
    Refusal(StatusCode::CONFLICT, reason)
}

fn shown<S>(control: &Control<S>) -> Result<Json<LinkStatus>, Refusal> {
    let config = Arc::clone(&control.opened()?.terms.borrow().config);
    Ok(Json(link_status(control, &config.link)))
}

fn link_status<S>(control: &Control<S>, settings: &config::Link) -> LinkStatus {
    let LinkStand { kind, is_up, since, doing, is_ours, is_open, waits_until, failure } =
        control.link.stand();
    let (now, today) = (control.clock.instant(), control.clock.timestamp());
    let state = match (doing, is_up) {
        (Some(Doing::Raising), _) => "raising",
        (Some(Doing::Lowering), _) => "lowering",
        (None, true) => "up",
        (None, false) => "down",
    };
    let kind = match kind {
        LinkKind::Permanent => "permanent",
        LinkKind::Interface => "interface",
        LinkKind::Command => "command",
    };
    let zone = settings.schedule.as_ref().and(settings.time_zone.as_ref());
    LinkStatus {
        kind: kind.to_owned(),
        state: state.to_owned(),
        seconds: now.millis_since(since) / 1000,
        by_us: is_ours,
        waits_seconds: waits_until.map(|until| until.millis_since(now).div_ceil(1000)),
        failure,
        window: zone.map(|zone| {
            let changes = settings.next_change(today);
            Window {
                open: is_open,
                time_known: today.known,
                changes_unix_seconds: changes,
                changes_in_seconds: changes.map(|at| at.saturating_sub(today.unix_seconds)),
                changes_local: changes.map(|at| zone.local(at)),
                time_zone: zone.name().to_owned(),
            }
        }),
    }
}
