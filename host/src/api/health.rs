//! Whether all is well, and if not, what is wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use postern_core::time::Instant;
use postern_spool::{Admission, Damage, Spool, Totals};

use crate::ask::Complaint;
use crate::lists;
use crate::observe::progress::Alarm;

use super::{Asked, ControlState, Health, Nothing, OPENING, Problem, Refusal};

/// Items that may wait for a person before that is a problem.
const KEPT_MAX: u64 = 1000;
/// How long a shortage is told after it was last seen. A disk that is nearly full has space for a
/// message now and then, and whoever watches would be called each time.
const SHORT_FOR: Duration = Duration::from_secs(60);

/// When the spool was last seen short of something.
#[derive(Debug, Default)]
pub struct Shortage(Mutex<Option<(Instant, Admission)>>);

impl Shortage {
    /// What is told of `admission`: a shortage that was seen a short while ago, for as long as
    /// there is none.
    fn judge(&self, admission: Admission, now: Instant) -> Admission {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (admission, *last) {
            (Admission::Full | Admission::Unavailable, _) => *last = Some((now, admission)),
            (Admission::Open { .. }, Some((at, shortage))) if now < at.after(SHORT_FOR) => {
                return shortage;
            }
            (Admission::Open { .. } | Admission::Stopped, _) => *last = None,
        }
        admission
    }
}

pub(super) async fn health<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<Nothing>,
) -> Result<Response, Refusal> {
    query?;
    let mut problems = Vec::new();
    if *control.stopping.borrow() {
        problems.push(Problem::new("stopping", "the server ends, and takes no more mail"));
    }
    let totals = match control.spool() {
        Ok(spool) => {
            let admission = *spool.admission().borrow();
            let admission = control.shortage.judge(admission, control.clock.instant());
            judge(spool, admission, &mut problems).await
        }
        Err(_) => {
            problems.push(Problem::new("opening", OPENING));
            Totals::default()
        }
    };
    for host in control.progress.sleeping() {
        let text = format!("{host} was woken three times and more, and takes no connection");
        problems.push(Problem::new("asleep", text));
    }
    if let Some(Alarm { host, why, .. }) = control.progress.relay_alarm() {
        let text = format!("{host} takes none of our mail, which waits: {why}");
        problems.push(Problem::new("relay", text));
    }
    if let Ok(opened) = control.opened() {
        let config = Arc::clone(&opened.terms.borrow().config);
        let texts = control.alarm.at(control.clock.instant(), config.asks_accounts());
        problems.extend(texts.into_iter().map(|text| Problem::new("auth", text)));
        problems.extend(opened.asking.complaints(&config).into_iter().map(complaint_of));
        problems.extend(opened.lists.complaints(&config).into_iter().map(complaint_of_list));
    }
    for holder in control.board.holders() {
        if holder.last.is_some_and(|last| last.is_alarm) {
            let text =
                format!("{} refuses what should wake it: see `postern status`", holder.holder);
            problems.push(Problem::new("wakeup", text));
        }
    }
    let code = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let health = Health {
        status: if problems.is_empty() { "ok" } else { "not ok" }.to_owned(),
        problems,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: control.clock.instant().millis_since(control.started) / 1000,
        listening: [control.gate.listening(), control.listening.clone()].concat(),
        sessions_open: control.metrics.sessions_open.get(),
        messages: totals.messages,
        kept: totals.kept,
        body_bytes: totals.body_bytes,
        free_bytes: totals.free_bytes,
    };
    Ok((code, Json(health)).into_response())
}

fn complaint_of(complaint: Complaint) -> Problem {
    match complaint {
        Complaint::Refuses(host, why) => {
            let text = format!("{host} does not want to be asked who it takes mail for: {why}");
            Problem::new("asking", text)
        }
        Complaint::TakesAny(domain) => {
            let text = format!(
                "the host of {domain} takes mail for any name there, so that nothing is learnt by \
                asking it: list its recipients"
            );
            Problem::new("asking", text)
        }
    }
}

fn complaint_of_list(complaint: lists::Complaint) -> Problem {
    let behind = |why: String| if why.is_empty() { why } else { format!(": {why}") };
    let text = match complaint {
        lists::Complaint::None(domain, why) => format!(
            "there is no list of the recipients of {domain} yet, and all but postmaster are told \
            to come again{}",
            behind(why)
        ),
        lists::Complaint::Lost(domain, why) => format!(
            "the list of the recipients of {domain} is lost, the next waits for a person, and all \
            but postmaster are told to come again: {why}"
        ),
        lists::Complaint::Unkept(domain, why) => format!(
            "the list of the recipients of {domain} can't be written, and will be gone or an older \
            one after a restart: {why}"
        ),
        lists::Complaint::Stale(domain, age, why) => {
            format!("the list of the recipients of {domain} is {} old{}", age_of(age), behind(why))
        }
        lists::Complaint::Waits(domain, why, sum) => format!(
            "a list of the recipients of {domain} waits, as {why}: postern recipients accept \
            {domain} {sum:08x}"
        ),
    };
    Problem::new("recipients", text)
}

fn age_of(seconds: u64) -> String {
    let units: [(u64, &str); 3] = [(24 * 60 * 60, "days"), (60 * 60, "hours"), (60, "minutes")];
    // Two of one say more than one of the next.
    let unit = units.into_iter().find(|(length, _)| seconds / length >= 2);
    let (length, unit) = unit.unwrap_or((1, "seconds"));
    format!("{} {unit}", seconds / length)
}

/// What is wrong with the spool, and what is in it.
async fn judge<S: Spool>(spool: &S, admission: Admission, problems: &mut Vec<Problem>) -> Totals {
    match admission {
        Admission::Open { .. } => {}
        Admission::Full => {
            let text = "there is no space for more mail, or was none a minute ago: senders are \
                told to come again";
            problems.push(Problem::new("full", text));
        }
        Admission::Unavailable => {
            let text = "the spool is short of something, or was a minute ago: senders are told to \
                come again";
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
            let first = first.first().map(|first| format!(", the first: {first}"));
            let first = first.unwrap_or_default();
            let text = format!("{count} location(s) of the spool cannot be read{first}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_none() {
        let ages = [119, 120, 7_260, 172_799, 172_800].map(age_of);
        assert_eq!(ages, ["119 seconds", "2 minutes", "2 hours", "47 hours", "2 days"]);
    }

    #[test]
    fn a_shortage_is_told_for_a_minute_after_it_was_seen() {
        let open = Admission::Open { room: 1 };
        let shortage = Shortage::default();
        let told = |admission, seconds: u64| {
            shortage.judge(admission, Instant::from_millis(seconds * 1000))
        };
        assert_eq!(told(open, 0), open);
        assert_eq!(told(Admission::Full, 10), Admission::Full);
        assert_eq!(told(open, 40), Admission::Full);
        assert_eq!(told(Admission::Full, 50), Admission::Full);
        assert_eq!(told(open, 109), Admission::Full);
        assert_eq!(told(open, 110), open);
        assert_eq!(told(open, 111), open);
        assert_eq!(told(Admission::Full, 120), Admission::Full);
        assert_eq!(told(Admission::Stopped, 121), Admission::Stopped);
    }
}
