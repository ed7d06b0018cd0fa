//! What hosts said of their recipients, shown and forgotten.

use axum::Json;
use axum::extract::State;
use postern_spool::Spool;
use serde::Deserialize;

use super::{Asked, ControlState, Forgotten, KnownRecipient, PAGE, Recipients, Refusal};
use crate::config::{DomainName, canonical};

/// Which are shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    domain: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

/// Which are forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gone {
    domain: Option<String>,
    address: Option<String>,
}

pub(super) async fn list<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Shown>,
) -> Result<Json<Recipients>, Refusal> {
    let asked = query?.0;
    let domain = asked.domain.as_deref().map(domain).transpose()?;
    let most = asked.max.unwrap_or(PAGE).clamp(1, PAGE);
    let asking = &control.opened()?.asking;
    let page = asking.page(domain.as_ref(), asked.after.as_deref().map(str::as_bytes), most);
    let recipients: Vec<_> = page
        .into_iter()
        .map(|(address, said)| KnownRecipient {
            address: String::from_utf8_lossy(&address).into_owned(),
            exists: said.exists,
            said_unix_seconds: said.unix_seconds,
        })
        .collect();
    let next = recipients.last().filter(|_| recipients.len() == most);
    let next = next.map(|last| last.address.clone());
    Ok(Json(Recipients { recipients, next }))
}

pub(super) async fn forget<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Gone>,
) -> Result<Json<Forgotten>, Refusal> {
    let asking = &control.opened()?.asking;
    let forgotten = match query?.0 {
        Gone { domain: Some(name), address: None } => asking.forget_domain(&domain(&name)?),
        Gone { domain: None, address: Some(address) } => {
            let split = address.rsplit_once('@');
            let (local, name) =
                split.ok_or_else(|| Refusal::bad_request(format!("{address} is no address")))?;
            let compared = [&canonical(local.as_bytes()), &b"@"[..]].concat();
            let address = [&compared, domain(name)?.as_str().as_bytes()].concat();
            usize::from(asking.forget_address(&address))
        }
        _ => return Err(Refusal::bad_request("domain or address: one of them")),
    };
    Ok(Json(Forgotten { forgotten }))
}

fn domain(name: &str) -> Result<DomainName, Refusal> {
    name.parse().map_err(|_| Refusal::bad_request(format!("{name} is no domain name")))
}
