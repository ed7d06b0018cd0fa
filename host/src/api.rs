//! The control API: HTTP on a Unix socket, for the commands, a health check and a collector of
//! metrics. It is the only way to change the spool of a running server.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | [`Health`]; 503 when no mail is taken |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /queue?domain=&after=&max=` | [`Items`], at most 1000 |
//! | `GET /queue/{id}` | [`Items`] of one message; 404 |
//! | `POST /queue/release?domain=` | [`Released`]; without a domain: all that have mail |
//! | `DELETE /queue/{id}` | [`Removed`]; 404 |
//!
//! What fails is answered with a [`Failure`].

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use postern_core::time::Instant;
use serde::Deserialize;
use tokio::sync::watch;

use crate::observe::metrics::Metrics;
use postern_spool::clock::Clock;
use postern_spool::{
    Action, Admission, Cursor, Domain, Error, Filter, MsgId, ParseIdError, QueueStats, Spool,
    Totals, Wake,
};

pub mod client;
mod connection;
pub mod socket;
mod view;

pub use connection::serve;

pub use view::{Failure, Health, Item, ItemRecipient, Items, Released, ReleasedDomain, Removed};

/// What is said to whoever asks while the spool recovers.
const OPENING: &str = "the spool is being opened";
/// Items on one page of the queue.
const PAGE: usize = 1000;

/// What the API shows and changes.
pub struct Control<S> {
    /// The spool, once it is open.
    pub spool: Arc<OnceLock<Arc<S>>>,
    /// What was counted.
    pub metrics: Metrics,
    /// The clocks that the server runs on.
    pub clock: Clock,
    /// When it started.
    pub started: Instant,
    /// Where it takes mail.
    pub listening: Vec<SocketAddr>,
    /// Whether it takes no new mail because it is about to end.
    pub stopping: watch::Receiver<bool>,
}

impl<S> Control<S> {
    fn spool(&self) -> Result<&S, Refusal> {
        let opening = || Refusal(StatusCode::SERVICE_UNAVAILABLE, OPENING.to_owned());
        self.spool.get().map(Arc::as_ref).ok_or_else(opening)
    }
}

fn router<S: Spool>(control: Control<S>) -> Router {
    Router::new()
        .route("/health", get(health::<S>))
        .route("/metrics", get(metrics::<S>))
        .route("/queue", get(list::<S>))
        .route("/queue/release", post(release::<S>))
        .route("/queue/{id}", get(show::<S>).delete(remove::<S>))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is no such path".to_owned()))
        .with_state(Arc::new(control))
}

type Shared<S> = State<Arc<Control<S>>>;

async fn health<S: Spool>(State(control): Shared<S>) -> Response {
    let spool = control.spool.get();
    let down = spool.is_some_and(|spool| is_down(&**spool));
    let totals = match spool {
        Some(spool) => spool.totals().await.unwrap_or_default(),
        None => Totals::default(),
    };
    let problem = match (spool, down, *control.stopping.borrow()) {
        (None, _, _) => Some(OPENING),
        (_, true, _) => Some("the spool has stopped: see the log"),
        (_, _, true) => Some("stopping"),
        (_, _, false) => None,
    };
    let health = Health {
        status: problem.unwrap_or("ok").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: control.clock.instant().millis_since(control.started) / 1000,
        listening: control.listening.clone(),
        sessions_open: control.metrics.sessions_open.get(),
        messages: totals.messages,
        body_bytes: totals.body_bytes,
        free_bytes: totals.free_bytes,
    };
    let code = problem.map_or(StatusCode::OK, |_| StatusCode::SERVICE_UNAVAILABLE);
    (code, Json(health)).into_response()
}

async fn metrics<S: Spool>(State(control): Shared<S>) -> Result<Response, Refusal> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let spool = control.spool()?;
    let totals = spool.totals().await.unwrap_or_default();
    let queues = queues(spool).await.unwrap_or_default();
    let now = control.clock.timestamp();
    let page = control.metrics.encode(&totals, is_down(spool), &queues, now);
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

fn is_down<S: Spool>(spool: &S) -> bool {
    *spool.admission().borrow() == Admission::Stopped
}

/// All queues there are.
async fn queues<S: Spool>(spool: &S) -> Result<Vec<QueueStats>, Error> {
    let mut all: Vec<QueueStats> = Vec::new();
    loop {
        let after = all.last().map(|last| last.domain.clone());
        let queues = spool.queues(after.as_ref(), PAGE).await?;
        let is_last = queues.len() < PAGE;
        let has_mail = |queue: &QueueStats| queue.waiting + queue.under_way + queue.kept > 0;
        all.extend(queues);
        if is_last {
            all.retain(has_mail);
            return Ok(all);
        }
    }
}

#[derive(Deserialize)]
struct ListQuery {
    domain: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

async fn list<S: Spool>(
    State(control): Shared<S>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Items>, Refusal> {
    let after = match query.after {
        Some(cursor) => Some(parse_cursor(&cursor)?),
        None => None,
    };
    let max = query.max.unwrap_or(PAGE).clamp(1, PAGE);
    let domain = query.domain.as_deref().map(Domain::new);
    let filter = Filter { domain, ..Filter::default() };
    let listed = control.spool()?.list(&filter, after.as_ref(), max).await?;
    let next = listed.next.map(|next| next.to_string());
    Ok(Json(Items { items: listed.items.iter().map(Item::from).collect(), next }))
}

fn parse_cursor(text: &str) -> Result<Cursor, Refusal> {
    let wrong = "after is the \"next\" of the page before";
    text.parse().map_err(|_| Refusal(StatusCode::BAD_REQUEST, wrong.to_owned()))
}

async fn show<S: Spool>(
    State(control): Shared<S>,
    Path(id): Path<String>,
) -> Result<Json<Items>, Refusal> {
    let id = id.parse()?;
    let held = control.spool()?.message(id).await?;
    if held.is_empty() {
        return Err(Refusal::no_message(id));
    }
    Ok(Json(Items { items: held.iter().map(Item::from).collect(), next: None }))
}

#[derive(Deserialize)]
struct ReleaseQuery {
    domain: Option<String>,
}

async fn release<S: Spool>(
    State(control): Shared<S>,
    Query(query): Query<ReleaseQuery>,
) -> Result<Json<Released>, Refusal> {
    let spool = control.spool()?;
    let domains = match query.domain {
        Some(domain) => vec![Domain::new(&domain)],
        None => {
            let queues = queues(spool).await?;
            queues.into_iter().map(|queue| queue.domain).collect()
        }
    };
    let pending = spool.release(&domains, Wake::Operator).await?;
    let mut released = Vec::new();
    for (domain, pending) in domains.into_iter().zip(pending) {
        control.metrics.release("operator");
        let (waiting, leased) = (pending.waiting, pending.under_way);
        tracing::info!(%domain, waiting, leased, "released by a person");
        released.push(ReleasedDomain { domain: domain.to_string(), waiting, leased });
    }
    Ok(Json(Released { released }))
}

async fn remove<S: Spool>(
    State(control): Shared<S>,
    Path(id): Path<String>,
) -> Result<Json<Removed>, Refusal> {
    let id = id.parse()?;
    let filter = Filter { id: Some(id), ..Filter::default() };
    let items = control.spool()?.act(&filter, Action::Remove, usize::MAX).await?.len() as u64;
    if items == 0 {
        return Err(Refusal::no_message(id));
    }
    tracing::info!(%id, items, "removed by a person");
    Ok(Json(Removed { id: id.to_string(), items }))
}

/// An answer that is not 200, and why.
struct Refusal(StatusCode, String);

impl Refusal {
    fn no_message(id: MsgId) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no message {id} is held"))
    }
}

impl From<ParseIdError> for Refusal {
    fn from(error: ParseIdError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Stale => StatusCode::CONFLICT,
            Error::Gone => StatusCode::NOT_FOUND,
            Error::Full => StatusCode::INSUFFICIENT_STORAGE,
            Error::Unavailable { .. } | Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Error::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Failure { error: self.1 })).into_response()
    }
}
