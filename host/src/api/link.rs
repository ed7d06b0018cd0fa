//! What a hook of a link tells: a RADIUS server's, pppd's, or WireGuard's.

use std::net::IpAddr;

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
    address: Option<IpAddr>,
}

/// The link of a domain's host came up.
pub(super) async fn up<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<UpQuery>,
) -> Result<Json<Released>, Refusal> {
    let UpQuery { domain, address } = query?.0;
    let domain = Domain::new(&domain);
    let opened = control.opened()?;
    if !opened.has_hold(&domain) {
        return Err(Refusal::no_hold(&domain));
    }
    let address = address.map(|address| address.to_canonical());
    let is_fetched = opened.terms.borrow().policies.of(&domain).is_fetched();
    match address {
        None if is_fetched => {
            let reason = format!("{domain} is fetched (deliver_to is \"asker\"): give an address");
            return Err(Refusal::bad_request(reason));
        }
        Some(_) if !is_fetched => {
            let reason = format!("{domain} has its host in deliver_to: give no address");
            return Err(Refusal::bad_request(reason));
        }
        // A hook that knows none may say 0.0.0.0, and a connection there leads to this machine.
        Some(address) if is_nobodys(address) => {
            return Err(Refusal::bad_request(format!("{address} is the address of no host")));
        }
        _ => {}
    }
    let trigger = Trigger::Link(address);
    let told = (&control.triggers, &control.metrics);
    let found = release(&*opened.spool, vec![domain.clone()], trigger, told).await?;
    let released = found.into_iter().map(|(queue, pending)| ReleasedDomain {
        domain: queue.domain.to_string(),
        waiting: queue.waiting,
        under_way: queue.under_way,
        held: pending.held,
        suspended: pending.suspended,
    });
    let released: Vec<_> = released.collect();
    let messages: u64 = released.iter().map(|released| released.waiting).sum();
    let address = address.map(tracing::field::display);
    tracing::info!(%domain, messages, address, trigger = trigger.word(), "released");
    Ok(Json(Released { released, without_hold: Vec::new() }))
}

fn is_nobodys(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    is_broadcast || address.is_unspecified() || address.is_multicast()
}
