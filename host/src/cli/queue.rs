//! `postern queue` and `postern health`: questions to a running server.

use std::io::Write;
use std::path::Path;

use axum::http::{Method, StatusCode};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::table::{foreign, paths, size, span, table};
use super::{Failure, Format, Verdict};
use crate::api::client::{Answer, ask};
use crate::api::{self, Health, Item, ItemRecipient, Items, Released, Removed};
use crate::config::DomainName;
use postern_spool::MsgId;
use postern_spool::clock::Clock;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the messages held; with --json, one object a line
    List {
        /// Of this domain only
        #[arg(long)]
        domain: Option<DomainName>,
        #[command(flatten)]
        format: Format,
    },
    /// Show a message: its envelope, and what became of each recipient
    Show {
        /// As listed, and as in the answer to the sender
        id: MsgId,
        #[command(flatten)]
        format: Format,
    },
    /// Deliver what waits for a domain now
    Release {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        format: Format,
    },
    /// Remove a message for good, for all its recipients
    Remove {
        /// As listed
        id: MsgId,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct What {
    /// The client domain
    domain: Option<DomainName>,
    /// Every domain that has mail
    #[arg(long)]
    all: bool,
}

impl Command {
    pub(super) async fn run(
        &self,
        socket: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, Failure> {
        match self {
            Self::List { domain, format } => list(socket, domain.as_ref(), *format, out).await?,
            Self::Show { id, format } => {
                let answer = request(socket, Method::GET, &format!("/queue/{id}")).await?;
                answered(&answer, *format, out, |shown: Items| show(&shown))?;
            }
            Self::Release { what, format } => {
                let target = match &what.domain {
                    Some(domain) => format!("/queue/release?domain={domain}"),
                    None => "/queue/release".to_owned(),
                };
                let answer = request(socket, Method::POST, &target).await?;
                answered(&answer, *format, out, |released: Released| show_released(&released))?;
            }
            Self::Remove { id, format } => {
                let answer = request(socket, Method::DELETE, &format!("/queue/{id}")).await?;
                answered(&answer, *format, out, |removed: Removed| {
                    format!("removed {} for {} domain(s)\n", removed.id, removed.items)
                })?;
            }
        }
        Ok(Verdict::Well)
    }
}

/// Asks whether the server at `socket` takes mail.
pub(super) async fn health(
    socket: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let answer = ask(socket, Method::GET, "/health").await.map_err(Failure::run)?;
    answered(&answer, format, out, |health: Health| {
        format!(
            "{}: postern {}, up {}, {} session(s), {} message(s) held ({}), {} free\n",
            health.status,
            health.version,
            span(health.uptime_seconds),
            health.sessions_open,
            health.messages,
            size(health.body_bytes),
            size(health.free_bytes),
        )
    })?;
    Ok(if answer.status == StatusCode::OK { Verdict::Well } else { Verdict::Problem })
}

/// Asks, and takes nothing but success for an answer.
async fn request(socket: &Path, method: Method, target: &str) -> Result<Answer, Failure> {
    let answer = ask(socket, method, target).await.map_err(Failure::run)?;
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    let failure = serde_json::from_str::<api::Failure>(&answer.body);
    Err(failure.map_or_else(|_| unreadable(&answer), |failure| Failure::run(failure.error)))
}

fn unreadable(answer: &Answer) -> Failure {
    Failure::run(format!("the server answered {}: {}", answer.status, foreign(&answer.body)))
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_str(&answer.body).map_err(|_| unreadable(answer))
}

fn answered<T: DeserializeOwned>(
    answer: &Answer,
    format: Format,
    out: &mut impl Write,
    show: impl FnOnce(T) -> String,
) -> Result<(), Failure> {
    let text = if format.json { format!("{}\n", answer.body) } else { show(read(answer)?) };
    Ok(out.write_all(text.as_bytes())?)
}

async fn list(
    socket: &Path,
    domain: Option<&DomainName>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let of = domain.map_or_else(String::new, |domain| format!("domain={domain}&"));
    let mut after = String::new();
    loop {
        let target = format!("/queue?{of}{after}");
        let page: Items = read(&request(socket, Method::GET, &target).await?)?;
        if format.json {
            for item in &page.items {
                let line = serde_json::to_string(item).expect("an item is JSON");
                writeln!(out, "{line}")?;
            }
        } else {
            out.write_all(show_page(&page.items, after.is_empty()).as_bytes())?;
        }
        match page.next {
            Some(next) => after = format!("after={next}"),
            None => return Ok(()),
        }
    }
}

fn show_page(items: &[Item], first: bool) -> String {
    if items.is_empty() && first {
        return "the queue is empty\n".to_owned();
    }
    let heads = ["ID", "DOMAIN", "STATUS", "AGE", "SIZE", "FROM", "TO"].map(str::to_owned);
    let rows = items.iter().map(|item| {
        [
            item.id.clone(),
            item.domain.clone(),
            item.status.clone(),
            span(now().saturating_sub(item.arrival_unix_seconds)),
            size(item.size_bytes),
            format!("<{}>", foreign(&item.reverse_path)),
            paths(item.recipients.iter().map(|to| &*to.path)),
        ]
    });
    let rows: Vec<_> = first.then_some(heads).into_iter().chain(rows).collect();
    table(&rows)
}

fn show(shown: &Items) -> String {
    shown.items.iter().map(show_item).collect::<Vec<_>>().join("\n")
}

fn show_item(item: &Item) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let client = item.client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
    let wait = item.not_before_unix_seconds.saturating_sub(now());
    let status = match wait {
        0 => item.status.clone(),
        wait => format!("{}, not before {} from now", item.status, span(wait)),
    };
    let age = span(now().saturating_sub(item.arrival_unix_seconds));
    let mut rows = vec![
        row("Message", item.id.clone()),
        row("Domain", item.domain.clone()),
        row("Status", status),
        row("Arrived", format!("{age} ago from {client} ({})", foreign(&item.helo))),
        row("Size", size(item.size_bytes)),
        row("From", format!("<{}>", foreign(&item.reverse_path))),
    ];
    rows.extend(item.recipients.iter().map(|to| row("To", show_recipient(to))));
    table(&rows)
}

fn show_recipient(recipient: &ItemRecipient) -> String {
    let ItemRecipient { path, state, attempts, reply } = recipient;
    let shown = format!("<{}> {state}, {attempts} attempt(s)", foreign(path));
    if reply.is_empty() { shown } else { format!("{shown}: {}", foreign(reply)) }
}

fn show_released(released: &Released) -> String {
    let line = |domain: &api::ReleasedDomain| {
        let api::ReleasedDomain { domain, waiting, leased } = domain;
        format!("{domain}: {waiting} message(s) released, {leased} already on their way\n")
    };
    match released.released.as_slice() {
        [] => "nothing waits\n".to_owned(),
        domains => domains.iter().map(line).collect(),
    }
}

fn now() -> u64 {
    Clock::system().timestamp().unix_seconds
}
