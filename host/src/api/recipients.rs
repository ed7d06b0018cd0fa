//! Who domains take mail for: what hosts said, shown and forgotten, and lists, shown, given and
//! accepted.

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use postern_spool::Spool;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{
    Asked, ControlState, Forgotten, KnownRecipient, List, Listed, Opened, PAGE, Recipients, Refusal,
};
use crate::config::{Config, DomainName, canonical};
use crate::lists::{self, Change, Entries, Origin, Shown as ShownList, Unaccepted, Unkept, Used};

/// Octets of a list that is given, at most.
pub const LIST_MAX: usize = 32 << 20;

/// Which are shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    domain: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

/// Whose list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    domain: String,
}

/// Which list is accepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    domain: String,
    sum: Option<String>,
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
    let opened = control.opened()?;
    let lists = match asked.after {
        Some(_) => Vec::new(),
        None => opened.lists.shown(&config(opened), domain.as_ref()),
    };
    let page = opened.asking.page(domain.as_ref(), asked.after.as_deref().map(str::as_bytes), most);
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
    Ok(Json(Recipients { lists: lists.into_iter().map(shown).collect(), recipients, next }))
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

/// How long a request may be that has a list.
pub(super) fn most() -> DefaultBodyLimit {
    DefaultBodyLimit::max(LIST_MAX)
}

pub(super) async fn import<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Whose>,
    text: String,
) -> Result<Json<Listed>, Refusal> {
    let domain = domain(&query?.0.domain)?;
    let opened = control.opened()?;
    has_list(opened, &domain)?;
    let entries = spawn_blocking({
        let domain = domain.clone();
        move || {
            let lines = lists::by_line(&text).map_err(str::to_owned)?;
            Entries::of(&domain, lines).map_err(|error| error.shown())
        }
    });
    let entries = entries.await.map_err(|panic| Err(panic.to_string()));
    let entries = entries.unwrap_or_else(|failed| failed);
    let entries = entries.map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let addresses = entries.len();
    let offered = opened.lists.offer(&domain, entries, Origin::Imported).await;
    Ok(Json(match offered.map_err(unkept)? {
        Change::Used(Used { addresses, .. }) => Listed { used: true, addresses, why: None },
        Change::Waits(why) => Listed { used: false, addresses, why: Some(why) },
    }))
}

pub(super) async fn accept<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Meant>,
) -> Result<Json<Listed>, Refusal> {
    let Meant { domain: name, sum } = query?.0;
    let domain = domain(&name)?;
    let no_sum = |_| Refusal::bad_request("sum: eight hexadecimal digits");
    let sum = sum.map(|sum| u32::from_str_radix(&sum, 16)).transpose().map_err(no_sum)?;
    let opened = control.opened()?;
    has_list(opened, &domain)?;
    let accepted = opened.lists.accept(&domain, sum).await.map_err(|error| match error {
        Unaccepted::Another(sum) => {
            let reason = format!("another list of {domain} waits by now: {sum:08x}");
            Refusal(StatusCode::CONFLICT, reason)
        }
        Unaccepted::Unkept(error) => unkept(error),
    })?;
    let none = || Refusal(StatusCode::NOT_FOUND, format!("no list of {domain} waits"));
    let Used { addresses, .. } = accepted.ok_or_else(none)?;
    Ok(Json(Listed { used: true, addresses, why: None }))
}

fn config<S>(opened: &Opened<S>) -> Arc<Config> {
    Arc::clone(&opened.terms.borrow().config)
}

fn has_list<S>(opened: &Opened<S>, domain: &DomainName) -> Result<(), Refusal> {
    let config = config(opened);
    let is_kept = config.hold.get(domain).is_some_and(|hold| lists::is_kept(&hold.recipients));
    let reason =
        || format!("{domain} has no list here: its table needs recipients = \"import\", or urls");
    is_kept.then_some(()).ok_or_else(|| Refusal(StatusCode::NOT_FOUND, reason()))
}

fn unkept(unkept: Unkept) -> Refusal {
    Refusal(StatusCode::INSUFFICIENT_STORAGE, unkept.to_string())
}

fn shown(list: ShownList) -> List {
    let (good, waiting) = (list.good, list.waiting);
    List {
        domain: list.domain.to_string(),
        source: good.map_or(list.origin, |good| good.origin).to_string(),
        addresses: good.map(|good| good.addresses),
        unix_seconds: good.map(|good| good.unix_seconds),
        waiting: waiting.as_ref().map(|(addresses, ..)| *addresses),
        waiting_sum: waiting.as_ref().map(|(.., sum)| format!("{sum:08x}")),
        vanished: list.vanished,
        why: waiting.map(|(_, why, _)| why).or(list.failure),
    }
}

fn domain(name: &str) -> Result<DomainName, Refusal> {
    name.parse().map_err(|_| Refusal::bad_request(format!("{name} is no domain name")))
}
