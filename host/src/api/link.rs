//! What a hook of a link tells: a RADIUS server's, pppd's, or WireGuard's.

use axum::Json;
use axum::extract::State;
use postern_spool::{Domain, Spool};
use serde::Deserialize;

use super::{Asked, ControlState, Refusal, Released, ReleasedDomain};
use crate::receive::releases::{Trigger, release};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpQuery {
    domain: String,
}

/// The link of a domain's host came up.
pub(super) async fn up<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<UpQuery>,
) -> Result<Json<Released>, Refusal> {
    let domain = Domain::new(&query?.0.domain);
    let opened = control.opened()?;
    if !opened.has_hold(&domain) {
        return Err(Refusal::no_hold(&domain));
    }
    let told = (&control.triggers, &control.metrics);
    let found = release(&*opened.spool, vec![domain.clone()], Trigger::Link, told).await?;
    let released = found.into_iter().map(|(queue, pending)| ReleasedDomain {
        domain: queue.domain.to_string(),
        waiting: queue.waiting,
        under_way: queue.under_way,
        held: pending.held,
        suspended: pending.suspended,
    });
    let released: Vec<_> = released.collect();
    let messages: u64 = released.iter().map(|released| released.waiting).sum();
    tracing::info!(%domain, messages, trigger = Trigger::Link.word(), "released");
    Ok(Json(Released { released, without_hold: Vec::new() }))
}
