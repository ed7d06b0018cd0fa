//! The control API: HTTP on a Unix socket, for the commands, a health check and a collector of
//! metrics. It is the only way to change the spool of a running server.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | [`Health`]; 503 when something is wrong |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /status` | [`Status`] |
//! | `GET /link` | [`LinkStatus`] |
//! | `POST /link/up`, `POST /link/down` | raises or lowers the link now; [`LinkStatus`]; 409 |
//! | `POST /wakeup` | asks all holders now; [`Wakeups`] once they were asked; 404 |
//! | `GET /domains?after=&max=` | [`Queues`], at most 1000 |
//! | `GET /queue?domain=&state=&after=&max=` | [`Items`], at most 1000, and about 1 MiB |
//! | `GET /queue/{id}` | [`Message`]; 404 |
//! | `DELETE /queue/{id}` | [`Acted`]; 404 |
//! | `POST /queue/release?domain=` | [`Released`]; without a domain: all that have mail; 404 |
//! | `POST /link-up?domain=` | [`Released`], nothing where nothing waits; 404 |
//! | `POST /queue/retry?id=`, `?domain=` or `?state=kept` | [`Acted`]; 404 |
//! | `GET /recipients?domain=&after=&max=` | [`Recipients`], at most 1000 |
//! | `DELETE /recipients?domain=` or `?address=` | [`Forgotten`] |
//! | `POST /recipients/import?domain=`, with an address a line, 32 MiB | [`Listed`]; 404; 422 |
//! | `POST /recipients/accept?domain=&sum=` | [`Listed`]; 404; 409 where another waits |
//! | `POST /queue/hold?id=` or `?domain=`, `/queue/unhold` likewise | [`Acted`]; 404 |
//!
//! What fails is answered with an [`ErrorBody`]. A query has no other keys than these: a word that
//! is written wrong must not mean everything.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use postern_core::time::Instant;
use serde::Deserialize;
use tokio::sync::watch;

use crate::accounts::Alarm;
use crate::ask::Asking;
use crate::config::RetryEvery;
use crate::link::Link;
use crate::lists::Lists;
use crate::net::gate::Gate;
use crate::net::listener::Terms;
use crate::observe::metrics::{Longest, Metrics, RelayQueue, RelayState, SpoolState};
use crate::observe::progress::Progress;
use crate::receive::triggers::Triggers;
use crate::wakeup::Board;
use postern_spool::clock::Clock;
use postern_spool::{Domain, Error, MsgId, ParseIdError, Spool};

pub mod client;
mod connection;
mod health;
mod link;
mod queue;
mod recipients;
pub mod socket;
mod status;
mod view;

pub use connection::serve;
pub use health::Shortage;
pub use recipients::LIST_MAX;
pub use view::{
    Acted, Connection, ErrorBody, Forgotten, Health, Item, ItemRecipient, Items, KnownRecipient,
    LinkStatus, List, Listed, Message, Problem, Queue, Queues, Recipients, Relay, RelayWait,
    Released, ReleasedDomain, Status, Wakeup, Wakeups, Window,
};

/// What is said to whoever asks while the spool recovers.
const OPENING: &str = "the spool is being opened";
/// Items or domains on one page.
const PAGE: usize = 1000;

/// What the API shows and changes.
pub struct Control<S> {
    /// What is there once the spool is open.
    pub opened: Arc<OnceLock<Opened<S>>>,
    /// What was counted.
    pub metrics: Metrics,
    /// What the deliveries that are under way do.
    pub progress: Progress,
    /// What is told of releases for a domain's own sake.
    pub triggers: Triggers,
    /// The clocks that the server runs on.
    pub clock: Clock,
    /// When it started.
    pub started: Instant,
    /// What takes mail.
    pub gate: Gate,
    /// The link.
    pub link: Link,
    /// Where it lets clients in that only fetch.
    pub listening: Vec<SocketAddr>,
    /// The holders that are asked for mail.
    pub board: Board,
    /// Why mailers cannot authenticate.
    pub alarm: Alarm,
    /// What was seen of the spool when health was asked for.
    pub shortage: Shortage,
    /// Whether it takes no new mail because it is about to end.
    pub stopping: watch::Receiver<bool>,
}

/// The spool, and what is in force for its mail.
pub struct Opened<S> {
    /// The spool.
    pub spool: Arc<S>,
    /// The configuration in force.
    pub terms: watch::Receiver<Terms>,
    /// What is known of who hosts take mail for.
    pub asking: Arc<Asking>,
    /// The lists of who domains take mail for.
    pub lists: Arc<Lists>,
}

impl<S> Control<S> {
    fn opened(&self) -> Result<&Opened<S>, Refusal> {
        let opening = || Refusal(StatusCode::SERVICE_UNAVAILABLE, OPENING.to_owned());
        self.opened.get().ok_or_else(opening)
    }

    fn spool(&self) -> Result<&S, Refusal> {
        Ok(&*self.opened()?.spool)
    }
}

impl<S> Opened<S> {
    /// What is shown of these.
    pub fn new(
        spool: &Arc<S>,
        terms: &watch::Sender<Terms>,
        asking: &Arc<Asking>,
        lists: &Arc<Lists>,
    ) -> Self {
        let (spool, terms) = (Arc::clone(spool), terms.subscribe());
        Self { spool, terms, asking: Arc::clone(asking), lists: Arc::clone(lists) }
    }

    /// Whether mail of `domain` goes anywhere, be it to the relay.
    fn goes(&self, domain: &Domain) -> bool {
        self.terms.borrow().policies.of(domain).deliver_to.is_some()
    }

    /// Whether there is a relay.
    fn relays(&self) -> bool {
        self.terms.borrow().config.relay.is_some()
    }

    /// Whether mail is held for `domain`.
    fn has_hold(&self, domain: &Domain) -> bool {
        self.terms.borrow().config.held(domain.as_str().as_bytes()).is_some()
    }

    /// Whether its mail goes only when somebody asks for it.
    fn waits_to_be_asked(&self, domain: &Domain) -> bool {
        let terms = self.terms.borrow();
        let policy = terms.policies.of(domain);
        policy.deliver_to.is_some() && policy.retry_every == RetryEvery::Never
    }
}

fn router<S: Spool>(control: Control<S>) -> Router {
    Router::new()
        .route("/health", get(health::health::<S>))
        .route("/metrics", get(metrics::<S>))
        .route("/status", get(status::status::<S>))
        .route("/link", get(status::link::<S>))
        .route("/link/up", post(status::raise::<S>))
        .route("/link/down", post(status::lower::<S>))
        .route("/wakeup", post(status::wake_up::<S>))
        .route("/domains", get(queue::domains::<S>))
        .route("/queue", get(queue::list::<S>))
        .route("/queue/release", post(queue::release::<S>))
        .route("/link-up", post(link::up::<S>))
        .route("/recipients", get(recipients::list::<S>).delete(recipients::forget::<S>))
        .route("/recipients/import", post(recipients::import::<S>).layer(recipients::most()))
        .route("/recipients/accept", post(recipients::accept::<S>))
        .route("/queue/retry", post(queue::retry::<S>))
        .route("/queue/hold", post(queue::hold::<S>))
        .route("/queue/unhold", post(queue::unhold::<S>))
        .route("/queue/{id}", get(queue::show::<S>).delete(queue::remove::<S>))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is no such path".to_owned()))
        .with_state(Arc::new(control))
}

type ControlState<S> = State<Arc<Control<S>>>;
/// A request's query, or why it is none.
type Asked<Q> = Result<Query<Q>, QueryRejection>;

/// A query without a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn metrics<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Response, Refusal> {
    query?;
    let spool = control.spool()?;
    let admission = *spool.admission().borrow();
    let (longest, relay) = queues(control.opened()?).await.unwrap_or_default();
    let is_failing = control.progress.relay_alarm().is_some();
    let relay = control.opened()?.relays().then_some(RelayState { queue: relay, is_failing });
    let state = SpoolState { admission, totals: spool.totals().await.ok(), longest, relay };
    let page = control.metrics.encode(&state, control.clock.timestamp());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

/// All queues, as metrics show them, and what of them goes to the relay.
async fn queues<S: Spool>(opened: &Opened<S>) -> Result<(Longest, RelayQueue), Error> {
    let policies = Arc::clone(&opened.terms.borrow().policies);
    let (mut longest, mut relay, mut after) = (Longest::default(), RelayQueue::default(), None);
    loop {
        let page = opened.spool.queues(after.as_ref(), PAGE).await?;
        longest.add(&page);
        page.iter()
            .filter(|queue| policies.of(&queue.domain).is_relayed())
            .for_each(|queue| relay.add(queue));
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.domain.clone()),
            _ => return Ok((longest, relay)),
        }
    }
}

/// An answer that is not 200, and why.
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad_request(reason: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, reason.to_string())
    }

    fn no_message(id: MsgId) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no message {id} is held"))
    }

    fn unknown(domain: &Domain) -> Self {
        let reason = format!("{domain} has no [hold] table, and no mail is held for it");
        Self(StatusCode::NOT_FOUND, reason)
    }

    fn no_hold(domain: &Domain) -> Self {
        let reason =
            format!("{domain} has no [hold] table: its mail goes nowhere until it has one");
        Self(StatusCode::NOT_FOUND, reason)
    }
}

impl From<ParseIdError> for Refusal {
    fn from(error: ParseIdError) -> Self {
        Self::bad_request(error)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
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
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}
