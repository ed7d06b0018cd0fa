//! `postern status` and `postern wakeup`: the host that is not always there, on one screen.

use std::io::Write;
use std::path::Path;

use axum::http::Method;
use clap::Args;
use postern_spool::clock::Clock;

use super::queue::{answered, read, request, try_at};
use super::table::{begin, foreign, size, span, table};
use super::{CommandError, Format, Verdict};
use crate::api::{LinkStatus, Queue, Relay, RelayWait, Status, Wakeup, Wakeups, Window};
use crate::wakeup::Asked;

/// Characters that are shown of why mail does not go.
const WHY: usize = 120;

#[derive(Debug, Args)]
pub(super) struct WakeupCommand {
    /// Ask all holders now, and wait for what they say; 1 unless each of them answers
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    format: Format,
}

impl WakeupCommand {
    pub(super) async fn run(
        &self,
        socket: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let (wakeups, waits) = match self.now {
            true => (read(&request(socket, Method::POST, "/wakeup").await?)?, None),
            false => {
                let status: Status = read(&request(socket, Method::GET, "/status").await?)?;
                (Wakeups { wakeups: status.wakeups }, waits(&status.link))
            }
        };
        let text = match self.format.json {
            true => serde_json::to_string(&wakeups).map_err(CommandError::run)? + "\n",
            false if wakeups.wakeups.is_empty() => "no holder is configured\n".to_owned(),
            false => {
                let rows = wakeups.wakeups.iter().flat_map(|wakeup| rows(wakeup, waits));
                table(&rows.collect::<Vec<_>>())
            }
        };
        out.write_all(text.as_bytes())?;
        let is_well = |wakeup: &Wakeup| {
            let outcome = wakeup.last.as_ref().map(|last| last.outcome.as_str());
            !wakeup.asking && matches!(outcome, Some("mail comes" | "mail came" | "nothing waits"))
        };
        let all_well = !self.now || wakeups.wakeups.iter().all(is_well);
        Ok(if all_well { Verdict::Well } else { Verdict::Problem })
    }
}

/// Says what the server at `socket` does.
pub(super) async fn status(
    socket: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let answer = request(socket, Method::GET, "/status").await?;
    answered(&answer, format, out, |status| show(&status))?;
    Ok(Verdict::Well)
}

fn show(status: &Status) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row("Listener", listener(status))];
    if let Some(failure) = &status.failure {
        rows.push(row("  failure", foreign(failure)));
    }
    rows.extend(link_rows(&status.link));
    let waits = waits(&status.link);
    rows.extend(status.wakeups.iter().flat_map(|wakeup| self::rows(wakeup, waits)));
    rows.extend(status.relay.iter().flat_map(|relay| relay_rows(relay, &status.link)));
    rows.push(row("Sessions", status.sessions_open.to_string()));
    let Status { messages, kept, body_bytes, .. } = status;
    let held = format!("{messages} message(s) ({}), {kept} for a person", size(*body_bytes));
    rows.push(row("Held", held));
    rows.extend(failing_rows(status));
    table(&rows)
}

/// Why mail does not go.
fn failing_rows(status: &Status) -> Vec<[String; 2]> {
    let shown = status.failing.iter().map(|queue| {
        let why = queue.suspended.as_ref().unwrap_or(&queue.last_answer);
        let next = match (queue.held, try_at(queue.next_try_unix_seconds)) {
            (true, _) => "held back".to_owned(),
            (false, next) => format!("next try {next}"),
        };
        let Queue { domain, waiting, .. } = queue;
        format!("{domain}: {waiting} message(s), {next}: {}", foreign(&begin(why, WHY)))
    });
    let more = status.failing_domains.saturating_sub(status.failing.len() as u64);
    let more = (more > 0).then(|| format!("and {more} more: postern queue domains"));
    shown.chain(more).map(|text| ["  waits".to_owned(), text]).collect()
}

fn listener(status: &Status) -> String {
    let Status { listener, state, listening, closes_in_seconds, .. } = status;
    let mut text = format!("{listener}: {state}");
    if !listening.is_empty() {
        let places: Vec<_> = listening.iter().map(ToString::to_string).collect();
        text += &format!(" at {}", places.join(", "));
    }
    if let Some(seconds) = closes_in_seconds {
        text += &format!(", for {} more unless somebody comes", span(*seconds));
    }
    text
}

/// The link, as it is shown.
pub(super) fn link_rows(link: &LinkStatus) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut text = format!("{}: {}", link.kind, link.state);
    if matches!(link.state.as_str(), "up" | "down") {
        text += &format!(" for {}", span(link.seconds));
    }
    text += match (link.state.as_str(), link.by_us) {
        ("up", true) => ", raised by us",
        ("up", false) if link.kind == "command" => ", raised by somebody else",
        _ => "",
    };
    let mut rows = vec![row("Link", text)];
    if let Some(failure) = &link.failure {
        rows.push(row("  failure", foreign(failure)));
    }
    if let Some(seconds) = link.waits_seconds {
        rows.push(row("  again", format!("in {} at the earliest", span(seconds))));
    }
    if let Some(window) = &link.window {
        rows.push(row("Window", self::window(window)));
    }
    rows
}

fn window(window: &Window) -> String {
    let Window { open, time_known, changes_in_seconds, changes_local, time_zone, .. } = window;
    let state = if *open { "open" } else { "closed" };
    if !time_known {
        return format!("{state}: the time is not known");
    }
    match changes_in_seconds.zip(changes_local.as_ref()) {
        Some((seconds, local)) => {
            let how = if *open { "open until" } else { "opens at" };
            format!("{how} {local} ({time_zone}), in {}", span(seconds))
        }
        None => format!("{state} at all times"),
    }
}

/// What a holder's next request waits for besides its time, and for how many seconds.
fn waits(link: &LinkStatus) -> Option<(&'static str, u64)> {
    match &link.window {
        Some(Window { open: false, changes_in_seconds, .. }) => {
            Some(("when the window opens", changes_in_seconds.unwrap_or(u64::MAX)))
        }
        _ if link.kind == "interface" && link.state == "down" => {
            Some(("when the link is up", u64::MAX))
        }
        _ => link.waits_seconds.map(|seconds| ("when the link is raised", seconds)),
    }
}

fn relay_rows(relay: &Relay, link: &LinkStatus) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row("Relay", foreign(&relay.smarthost))];
    if relay.waiting > 0 {
        let Relay { waiting, domains, oldest_seconds, .. } = relay;
        let oldest = oldest_seconds.map(|age| format!(", the oldest for {}", span(age)));
        let oldest = oldest.unwrap_or_default();
        rows.push(row("  queue", format!("{waiting} message(s) for {domains} domain(s){oldest}")));
    }
    if let Some(RelayWait { domains, urgent, collects_seconds }) = &relay.waits {
        if *urgent {
            rows.push(row("  urgent", "waits until the link is raised".to_owned()));
        }
        let collects = collects_seconds.filter(|seconds| *seconds > 0);
        let until = match (waits(link), collects) {
            (Some((what, _)), _) => what.to_owned(),
            (None, Some(seconds)) => format!("for more, {} at most", span(seconds)),
            (None, None) => "until the link is raised".to_owned(),
        };
        if collects_seconds.is_some() {
            rows.push(row("  waits", format!("mail for {domains} domain(s), {until}")));
        }
    }
    if let Some((last, ago)) = relay.last_answer.as_ref().zip(relay.last_answer_seconds) {
        rows.push(row("  last", format!("{} ago: {}", span(ago), foreign(last))));
    }
    if let Some(alarm) = &relay.alarm {
        rows.push(row("  alarm", foreign(alarm)));
    }
    if let Some(seconds) = relay.next_try_seconds.filter(|_| relay.waits.is_none()) {
        rows.push(row("  next", format!("in {}", span(seconds))));
    }
    rows
}

fn rows(wakeup: &Wakeup, waits: Option<(&str, u64)>) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row("Holder", foreign(&wakeup.holder))];
    let now = Clock::system().timestamp().unix_seconds;
    let since = |asked: &Asked| span(now.saturating_sub(asked.unix_seconds));
    let dialogue = |asked: &Asked| {
        let lines: Vec<_> = asked.dialogue.iter().map(|line| row("", foreign(line))).collect();
        lines
    };
    if let Some(fetching) = &wakeup.fetching {
        let (since, host) = (since(fetching), foreign(&fetching.host));
        rows.push(row("  now", format!("mail is fetched from {host}, for {since}")));
        rows.extend(dialogue(fetching));
    }
    match &wakeup.last {
        None => rows.push(row("  last", "never asked".to_owned())),
        Some(last) => {
            let (ago, outcome, host) = (since(last), foreign(&last.outcome), foreign(&last.host));
            rows.push(row("  last", format!("{ago} ago by {host}: {outcome}")));
            rows.extend(dialogue(last));
            if last.left_out > 0 {
                rows.push(row("", format!("and {} line(s) more", last.left_out)));
            }
            if last.is_alarm {
                let alarm = "it takes no such mail: look at the account, or ask who runs it";
                rows.push(row("  alarm", alarm.to_owned()));
            }
        }
    }
    rows.push(row(
        "  next",
        match (wakeup.asking, wakeup.next_in_seconds) {
            (true, _) => "is being asked".to_owned(),
            (false, seconds) if waits.is_some_and(|(_, until)| seconds < until) => {
                waits.map(|(what, _)| what.to_owned()).unwrap_or_default()
            }
            (false, 0) => "now".to_owned(),
            (false, seconds) => format!("in {}", span(seconds)),
        },
    ));
    rows
}
