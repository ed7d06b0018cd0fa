//! What a host that is not always there does, and its wake-ups on demand.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postern_core::listener::State as Phase;
use postern_core::time::Instant;
use postern_spool::Spool;
use tokio::time::timeout;

use super::{Asked, Control, ControlState, Nothing, Refusal, Status, Wakeup, Wakeups};
use crate::config::Listener;
use crate::net::gate::Stand;

/// How long a person waits for what the holders say, who have minutes for it.
const ASK_TIMEOUT: Duration = Duration::from_secs(100);

pub(super) async fn status<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Json<Status>, Refusal> {
    query?;
    let totals = control.spool()?.totals().await.unwrap_or_default();
    let listener = control.opened()?.terms.borrow().config.receive.listener;
    let Stand { phase, listening, until, failure } = control.gate.stand();
    let closes = Some(until).filter(|until| phase == Phase::Open && *until != Instant::FAR);
    let now = control.clock.instant();
    Ok(Json(Status {
        listener: match listener {
            Listener::Always => "always",
            Listener::Scheduled => "scheduled",
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
        wakeups: wakeups(&control),
        sessions_open: control.metrics.sessions_open.get(),
        messages: totals.messages,
        kept: totals.kept,
        body_bytes: totals.body_bytes,
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
