//! The server's answers as text.

use postern_spool::clock::Clock;

use crate::api::{
    Connection, Health, Item, ItemRecipient, Message, Queue, Released, ReleasedDomain,
};
use crate::cli::table::{begin, foreign, paths, size, span, table};

/// Characters of a host's answer in a list.
const ANSWER: usize = 60;

pub(super) fn health(health: &Health) -> String {
    let mut text = format!(
        "{}: postern {}, up {}, {} session(s), {} message(s) held ({}), {} free\n",
        health.status,
        health.version,
        span(health.uptime_seconds),
        health.sessions_open,
        health.messages,
        size(health.body_bytes),
        size(health.free_bytes),
    );
    for problem in &health.problems {
        text += &format!("{}: {}\n", problem.name, foreign(&problem.text));
    }
    text
}

pub(super) fn items(items: &[Item], first: bool) -> String {
    if items.is_empty() && first {
        return "the queue is empty\n".to_owned();
    }
    let heads = ["ID", "DOMAIN", "STATUS", "AGE", "SIZE", "FROM", "TO", "NEXT TRY", "LAST ANSWER"];
    let rows = items.iter().map(|item| {
        [
            item.id.clone(),
            item.domain.clone(),
            item.status.clone(),
            span(now().saturating_sub(item.arrival_unix_seconds)),
            size(item.size_bytes),
            format!("<{}>", foreign(&item.reverse_path)),
            paths(item.recipients.first().map_or("", |to| &to.path), item.recipient_count),
            next_try(&item.status, item.next_try_unix_seconds),
            foreign(&begin(&item.last_answer, ANSWER)),
        ]
    });
    let rows: Vec<_> = first.then_some(heads.map(str::to_owned)).into_iter().chain(rows).collect();
    table(&rows)
}

pub(super) fn queues(queues: &[Queue], first: bool) -> String {
    if queues.is_empty() && first {
        return "no mail is held\n".to_owned();
    }
    let heads = ["DOMAIN", "WAITING", "UNDER WAY", "KEPT", "STATUS", "OLDEST", "NEXT TRY", "WHY"];
    let rows = queues.iter().map(|queue| {
        let status = match queue {
            Queue { held: true, .. } => "held",
            Queue { suspended: Some(_), .. } => "suspended",
            Queue { waiting: 1.., .. } => "waiting",
            Queue { under_way: 1.., .. } => "under way",
            Queue { kept: 1.., .. } => "kept",
            Queue { .. } => "",
        };
        let oldest = queue.oldest_waiting_unix_seconds;
        let why = queue.suspended.as_ref().unwrap_or(&queue.last_answer);
        [
            queue.domain.clone(),
            queue.waiting.to_string(),
            queue.under_way.to_string(),
            queue.kept.to_string(),
            status.to_owned(),
            oldest.map_or_else(String::new, |oldest| span(now().saturating_sub(oldest))),
            next_try(status, queue.next_try_unix_seconds),
            foreign(&begin(why, ANSWER)),
        ]
    });
    let rows: Vec<_> = first.then_some(heads.map(str::to_owned)).into_iter().chain(rows).collect();
    table(&rows)
}

/// When something in the state `status` is tried next.
fn next_try(status: &str, unix_seconds: Option<u64>) -> String {
    match status {
        "waiting" | "suspended" => try_at(unix_seconds),
        _ => String::new(),
    }
}

/// When what waits is tried next.
pub(in crate::cli) fn try_at(unix_seconds: Option<u64>) -> String {
    match unix_seconds.map(|at| at.saturating_sub(now())) {
        None => "when asked".to_owned(),
        Some(0) => "now".to_owned(),
        Some(wait) => format!("in {}", span(wait)),
    }
}

pub(super) fn message(message: &Message) -> String {
    let items = message.items.iter().map(|item| {
        let connections = message.connections.iter().filter(|one| one.domain == item.domain);
        show_item(item, connections)
    });
    items.collect::<Vec<_>>().join("\n")
}

fn show_item<'m>(item: &Item, connections: impl Iterator<Item = &'m Connection>) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let client = item.client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
    let status = match next_try(&item.status, item.next_try_unix_seconds) {
        none if none.is_empty() => item.status.clone(),
        next => format!("{}, next try {next}", item.status),
    };
    let age = span(now().saturating_sub(item.arrival_unix_seconds));
    let how = if item.submitted { ", submitted" } else { "" };
    let mut rows = vec![
        row("Message", item.id.clone()),
        row("Domain", item.domain.clone()),
        row("Status", status),
        row("Arrived", format!("{age} ago from {client} ({}){how}", foreign(&item.helo))),
        row("Size", size(item.size_bytes)),
        row("From", format!("<{}>", foreign(&item.reverse_path))),
    ];
    rows.extend(item.recipients.iter().map(|to| row("To", show_recipient(to))));
    if !item.last_answer.is_empty() {
        rows.push(row("Answer", foreign(&item.last_answer)));
    }
    let now = connections.map(|one| row("Now", show_connection(one, &item.id)));
    rows.extend(now);
    table(&rows)
}

fn show_recipient(recipient: &ItemRecipient) -> String {
    let ItemRecipient { path, state, attempts, reply } = recipient;
    let shown = format!("<{}> {state}, {attempts} attempt(s)", foreign(path));
    if reply.is_empty() { shown } else { format!("{shown}: {}", foreign(reply)) }
}

fn show_connection(connection: &Connection, id: &str) -> String {
    let Connection { host, seconds, phase, phase_seconds, .. } = connection;
    let address = connection.address.map_or_else(String::new, |address| format!(" ({address})"));
    let what = match &connection.message {
        Some(message) if message == id => " to this message",
        Some(_) => " to another message",
        None => "",
    };
    let mut shown = format!("{host}{address} for {}: {phase}{what}", span(*seconds));
    if phase_seconds != seconds {
        shown += &format!(" for {}", span(*phase_seconds));
    }
    if !connection.last_reply.is_empty() {
        shown += &format!("; it said last: {}", foreign(&connection.last_reply));
    }
    shown
}

pub(super) fn released(released: &Released) -> String {
    let line = |domain: &ReleasedDomain| {
        let ReleasedDomain { domain, waiting, under_way, held, suspended } = domain;
        let but = match (held, suspended) {
            (true, _) => "; it is held back: see `postern queue unhold`",
            (false, true) => "; its host refuses all of it, and is asked again first",
            (false, false) => "",
        };
        format!("{domain}: {waiting} message(s) released, {under_way} already on their way{but}\n")
    };
    let without =
        |domain: &String| format!("{domain}: has no [hold] table: its mail goes nowhere\n");
    if released.released.is_empty() && released.without_hold.is_empty() {
        return "nothing waits\n".to_owned();
    }
    let lines = released.released.iter().map(line);
    lines.chain(released.without_hold.iter().map(without)).collect()
}

fn now() -> u64 {
    Clock::system().timestamp().unix_seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_of_which_nothing_waits_is_not_tried_now() {
        for (waiting, under_way, kept, expected) in [
            (1, 1, 1, "1 1 1 waiting now"),
            (0, 1, 1, "0 1 1 under way"),
            (0, 0, 1, "0 0 1 kept"),
            (0, 0, 0, "0 0 0"),
        ] {
            let queue = Queue {
                domain: "a.example".to_owned(),
                waiting,
                under_way,
                kept,
                held: false,
                suspended: None,
                body_bytes: 1,
                oldest_waiting_unix_seconds: None,
                oldest_kept_unix_seconds: None,
                next_try_unix_seconds: Some(0),
                last_answer: String::new(),
            };
            let shown = queues(&[queue], false);
            let words: Vec<_> = shown.split_whitespace().skip(1).collect();
            assert_eq!(words.join(" "), expected);
        }
    }
}
