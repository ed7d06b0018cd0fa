//! Whether all is well, and if not, what is wrong.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use postern_spool::{Admission, Damage, Spool, Totals};

use super::{Asked, Health, Nothing, OPENING, Problem, Refusal, Shared};

/// Items that may wait for a person before that is a problem.
const KEPT_MAX: u64 = 1000;

pub(super) async fn health<S: Spool>(
    State(control): Shared<S>,
    query: Asked<Nothing>,
) -> Result<Response, Refusal> {
    query?;
    let mut problems = Vec::new();
    if *control.stopping.borrow() {
        problems.push(Problem::new("stopping", "the server ends, and takes no more mail"));
    }
    let totals = match control.spool() {
        Ok(spool) => judge(spool, &mut problems).await,
        Err(_) => {
            problems.push(Problem::new("opening", OPENING));
            Totals::default()
        }
    };
    let code = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let health = Health {
        status: if problems.is_empty() { "ok" } else { "not ok" }.to_owned(),
        problems,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: control.clock.instant().millis_since(control.started) / 1000,
        listening: control.listening.clone(),
        sessions_open: control.metrics.sessions_open.get(),
        messages: totals.messages,
        kept: totals.kept,
        body_bytes: totals.body_bytes,
        free_bytes: totals.free_bytes,
    };
    Ok((code, Json(health)).into_response())
}

/// What is wrong with the spool, and what is in it.
async fn judge<S: Spool>(spool: &S, problems: &mut Vec<Problem>) -> Totals {
    let admission = *spool.admission().borrow();
    match admission {
        Admission::Open { .. } => {}
        Admission::Full => {
            let text = "there is no space for more mail: senders are told to come again";
            problems.push(Problem::new("full", text));
        }
        Admission::Unavailable => {
            let text = "the spool is short of something: senders are told to come again";
            problems.push(Problem::new("unavailable", text));
        }
        Admission::Stopped => {
            let text = "the spool has stopped: see the log, and restart once the disk is right";
            problems.push(Problem::new("stopped", text));
        }
    }
    match spool.damage().await {
        Ok(Damage { count: 0, .. }) => {}
        Ok(Damage { count, first }) => {
            let first = first.first().map_or("", String::as_str);
            let text =
                format!("{count} location(s) of the spool cannot be read, the first: {first}");
            problems.push(Problem::new("damaged", text));
        }
        // Said by the admission already.
        Err(_) if admission == Admission::Stopped => {}
        Err(error) => problems.push(Problem::new("unavailable", error)),
    }
    let totals = spool.totals().await.unwrap_or_default();
    if totals.suspended > 0 {
        let text = format!(
            "{} domain(s) wait since their host refuses all of it: see `postern queue domains`",
            totals.suspended
        );
        problems.push(Problem::new("suspended", text));
    }
    if totals.kept > KEPT_MAX {
        let text = format!(
            "{} message(s) wait for a person: see `postern queue list --state kept`",
            totals.kept
        );
        problems.push(Problem::new("kept", text));
    }
    totals
}
