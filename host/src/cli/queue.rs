//! `postern queue`, `link-up` and `health`: questions to a running server.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::table::foreign;
use super::{CommandError, Format, Verdict};
use crate::api::client::{Answer, ask};
use crate::api::{self, Acted, Items, Message, Queues, Released};
use crate::config::DomainName;
use postern_spool::MsgId;

mod show;

pub(super) use show::try_at;

/// A server that does not answer in this time is not well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);
/// Messages that are tried again without `--yes`.
const WITHOUT_YES: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the messages held; with --json, one object a line
    List {
        /// Of this domain only
        #[arg(long)]
        domain: Option<DomainName>,
        /// In this state only
        #[arg(long)]
        state: Option<Status>,
        #[command(flatten)]
        format: Format,
    },
    /// List the domains that mail is held for; with --json, one object a line
    Domains(Format),
    /// Show a message: its envelope, what became of each recipient, and what is being done
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
    /// Try again what was refused, has expired or was put off; a domain whose mail goes only when
    /// it is asked for is asked for by this
    Retry {
        #[command(flatten)]
        what: Retried,
        /// Even if it is more than 100 messages
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Hold a message, or all of a domain's, back until `unhold`: nothing releases it
    Hold {
        /// A message's id, or a client domain
        target: Target,
        #[command(flatten)]
        format: Format,
    },
    /// Let a message or a domain go that was held back
    Unhold {
        /// A message's id, or a client domain
        target: Target,
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

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Retried {
    /// A message's id, or a client domain
    target: Option<Target>,
    /// Everything that waits for a person
    #[arg(long)]
    kept: bool,
}

/// A state that messages are listed by.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Status {
    /// A recipient waits
    Waiting,
    /// No recipient waits any more
    Kept,
    /// A recipient was refused
    Refused,
    /// A recipient has expired
    Expired,
    /// It cannot be read
    Damaged,
    /// A person holds it back
    Held,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Held => "held",
        })
    }
}

/// What a person means.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Message(MsgId),
    Domain(DomainName),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Message(id));
        }
        let domain = text.parse().map_err(|_| "neither a message's id nor a domain".to_owned());
        domain.map(Self::Domain)
    }
}

impl fmt::Display for Target {
    /// As the API wants it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => write!(f, "id={id}"),
            Self::Domain(domain) => write!(f, "domain={domain}"),
        }
    }
}

impl QueueCommand {
    pub(super) async fn run(
        &self,
        socket: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        match self {
            Self::List { domain, state, format } => {
                let domain = domain.as_ref().map(|domain| format!("domain={domain}&"));
                let state = state.map(|state| format!("state={state}&"));
                let filter = domain.unwrap_or_default() + &state.unwrap_or_default();
                list(socket, &filter, *format, out).await?;
            }
            Self::Domains(format) => domains(socket, *format, out).await?,
            Self::Show { id, format } => {
                let answer = request(socket, Method::GET, &format!("/queue/{id}")).await?;
                answered(&answer, *format, out, |shown: Message| show::message(&shown))?;
            }
            Self::Release { what, format } => {
                let target = match &what.domain {
                    Some(domain) => format!("/queue/release?domain={domain}"),
                    None => "/queue/release".to_owned(),
                };
                let answer = request(socket, Method::POST, &target).await?;
                answered(&answer, *format, out, |released: Released| show::released(&released))?;
            }
            Self::Retry { what, yes, format } => {
                let target = match &what.target {
                    Some(target) => target.to_string(),
                    None => "state=kept".to_owned(),
                };
                if !(*yes || matches!(what.target, Some(Target::Message(_)))) {
                    refuse_many(socket, &target).await?;
                }
                act(socket, "retry", &target, "to be tried again", *format, out).await?;
            }
            Self::Hold { target, format } => {
                act(socket, "hold", &target.to_string(), "held back", *format, out).await?;
            }
            Self::Unhold { target, format } => {
                act(socket, "unhold", &target.to_string(), "let go", *format, out).await?;
            }
            Self::Remove { id, format } => {
                let answer = request(socket, Method::DELETE, &format!("/queue/{id}")).await?;
                answered(&answer, *format, out, |removed: Acted| {
                    format!("removed {id} for {} domain(s)\n", removed.domains)
                })?;
            }
        }
        Ok(Verdict::Well)
    }
}

/// Tells the server at `socket` that the link of a domain's host came up, and where that is.
pub(super) async fn link_up(
    socket: &Path,
    (domain, address): (&DomainName, Option<IpAddr>),
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let address = address.map(|address| format!("&address={address}")).unwrap_or_default();
    let path = format!("/link-up?domain={domain}{address}");
    let answer = request(socket, Method::POST, &path).await?;
    answered(&answer, format, out, |released: Released| show::released(&released))?;
    Ok(Verdict::Well)
}

/// Asks whether all is well with the server at `socket`.
pub(super) async fn health(
    socket: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let asked = timeout(HEALTH_TIMEOUT, ask(socket, Method::GET, "/health")).await;
    let no_answer =
        |_| CommandError::run(format!("no answer within {} s", HEALTH_TIMEOUT.as_secs()));
    let answer = asked.map_err(no_answer)?.map_err(CommandError::run)?;
    answered(&answer, format, out, |health| show::health(&health))?;
    Ok(if answer.status == StatusCode::OK { Verdict::Well } else { Verdict::Problem })
}

async fn act(
    socket: &Path,
    action: &str,
    target: &str,
    done: &str,
    format: Format,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let answer = request(socket, Method::POST, &format!("/queue/{action}?{target}")).await?;
    answered(&answer, format, out, |acted: Acted| match acted {
        Acted { items: 0, domains: 0 } => "nothing to do\n".to_owned(),
        Acted { items: 0, .. } => format!("{done}; nothing waits there now\n"),
        Acted { items, domains } => format!("{items} message(s) of {domains} domain(s) {done}\n"),
    })
}

/// Many are tried again only if that is meant: a typing error must not send a host all it refused.
async fn refuse_many(socket: &Path, filter: &str) -> Result<(), CommandError> {
    let (mut found, mut after) = (0, String::new());
    while found <= WITHOUT_YES {
        let target = format!("/queue?{filter}&max={}{after}", WITHOUT_YES + 1);
        let page: Items = read(&request(socket, Method::GET, &target).await?)?;
        found += page.items.len();
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    if found > WITHOUT_YES {
        let reason = format!("that is more than {WITHOUT_YES} messages: say --yes if it is meant");
        return Err(CommandError::run(reason));
    }
    Ok(())
}

/// Asks, and takes nothing but success for an answer.
pub(super) async fn request(
    socket: &Path,
    method: Method,
    target: &str,
) -> Result<Answer, CommandError> {
    well(ask(socket, method, target).await.map_err(CommandError::run)?)
}

/// `answer`, unless it says that something went wrong.
pub(super) fn well(answer: Answer) -> Result<Answer, CommandError> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    let failure = serde_json::from_str::<api::ErrorBody>(&answer.body);
    Err(failure.map_or_else(|_| unreadable(&answer), |failure| CommandError::run(failure.error)))
}

fn unreadable(answer: &Answer) -> CommandError {
    CommandError::run(format!("the server answered {}: {}", answer.status, foreign(&answer.body)))
}

pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, CommandError> {
    serde_json::from_str(&answer.body).map_err(|_| unreadable(answer))
}

pub(super) fn answered<T: DeserializeOwned>(
    answer: &Answer,
    format: Format,
    out: &mut impl Write,
    show: impl FnOnce(T) -> String,
) -> Result<(), CommandError> {
    let text = if format.json { format!("{}\n", answer.body) } else { show(read(answer)?) };
    Ok(out.write_all(text.as_bytes())?)
}

async fn list(
    socket: &Path,
    filter: &str,
    format: Format,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut after = String::new();
    loop {
        let target = format!("/queue?{filter}{after}");
        let page: Items = read(&request(socket, Method::GET, &target).await?)?;
        match format.json {
            true => lines(&page.items, out)?,
            false => out.write_all(show::items(&page.items, after.is_empty()).as_bytes())?,
        }
        match page.next {
            Some(next) => after = format!("after={next}"),
            None => return Ok(()),
        }
    }
}

async fn domains(socket: &Path, format: Format, out: &mut impl Write) -> Result<(), CommandError> {
    let mut after = String::new();
    loop {
        let target = format!("/domains{after}");
        let page: Queues = read(&request(socket, Method::GET, &target).await?)?;
        match format.json {
            true => lines(&page.queues, out)?,
            false => out.write_all(show::queues(&page.queues, after.is_empty()).as_bytes())?,
        }
        match page.next {
            Some(next) => after = format!("?after={next}"),
            None => return Ok(()),
        }
    }
}

/// An object a line.
fn lines<T: Serialize>(all: &[T], out: &mut impl Write) -> Result<(), CommandError> {
    for one in all {
        writeln!(out, "{}", serde_json::to_string(one).map_err(CommandError::run)?)?;
    }
    Ok(())
}
