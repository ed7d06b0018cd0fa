//! The control API over its socket, in front of a spool that answers as it is told.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::Method;
use postern::accounts::Alarm;
use postern::api::client::ask;
use postern::api::{
    self, Acted, Control, Health, Items, Message, Opened, Released, Shortage, socket,
};
use postern::ask::Asking;
use postern::config::Config;
use postern::escape::is_plain;
use postern::link::Link;
use postern::lists::Lists;
use postern::net::gate::Gate;
use postern::net::listener::Terms;
use postern::observe::metrics::Metrics;
use postern::observe::progress::{Phase, Progress};
use postern::receive::triggers::Triggers;
use postern::wakeup::Board;
use postern_core::envelope::State;
use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use postern_spool::conformance::envelope;
use postern_spool::{Admission, Damage, Domain, Envelope, Held, MsgId, NextTry, Recipient, Status};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

mod relay;
mod told;

use told::Told;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_404, known: true };

fn held(domain: &str) -> Held {
    let envelope = Envelope {
        arrival: NOW,
        tls: false,
        recipients: vec![
            Recipient::new(format!("info@{domain}").as_bytes()),
            Recipient {
                state: State::Refused,
                attempts: 2,
                reply: b"550 5.1.1 \x1b[2Junknown".to_vec(),
                ..Recipient::new(format!("sales@{domain}").as_bytes())
            },
        ],
        ..envelope(&[])
    };
    let status = Status::Waiting(NextTry::Now);
    let domain = Domain::new(domain);
    Held { id: MsgId::now(), domain, size: 8192, status, recipients: 2, envelope }
}

/// A server in front of a spool, and the folder that its socket and configuration are in.
struct Server {
    folder: tempfile::TempDir,
    spool: Arc<Told>,
    opened: Arc<OnceLock<Opened<Told>>>,
    progress: Progress,
    clock: Clock,
    gate: Gate,
    stopping: watch::Sender<bool>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// With holds for the domains of the tests.
fn terms() -> Terms {
    let hold = |domain| {
        format!("[hold.\"{domain}\"]\nrecipients = [\"info\"]\ndeliver_to = \"h.example:25\"\n")
    };
    let source = ["a.example", "b.example", "client.example"].map(hold).concat();
    let config = Config::parse(Path::new("postern.toml"), &source).expect("a configuration");
    Terms::new(config, None)
}

impl Server {
    fn start(held: Vec<Held>) -> Self {
        Self::start_with(held, terms())
    }

    fn start_with(held: Vec<Held>, terms: Terms) -> Self {
        let server = Self::opening();
        *server.spool.held.lock().expect("no holder panics") = held;
        let spool = Arc::clone(&server.spool);
        let terms = watch::Sender::new(terms).subscribe();
        let asking = Arc::new(Asking::new(server.clock.clone()));
        let lists = Arc::new(Lists::new(server.clock.clone()));
        let opened = Opened { spool, terms, asking, lists };
        assert!(server.opened.set(opened).is_ok(), "it was not open before");
        server
    }

    /// Before its spool is open.
    fn opening() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spool = Arc::<Told>::default();
        let opened = Arc::<OnceLock<_>>::default();
        let progress = Progress::default();
        let (stopping, receiver) = watch::channel(false);
        let clock = Clock::manual(NOW);
        let listen = "[receive]\nlisten = [\"127.0.0.1:0\"]\n";
        let config = Config::parse(Path::new("postern.toml"), listen).expect("a configuration");
        let gate = Gate::new(&config.receive, clock.clone()).expect("a free port");
        let control = Control {
            opened: Arc::clone(&opened),
            metrics: Metrics::default(),
            progress: progress.clone(),
            triggers: Triggers::default(),
            shortage: Shortage::default(),
            started: clock.instant(),
            clock: clock.clone(),
            gate: gate.clone(),
            link: Link::new(&config.link, clock.clone()),
            listening: Vec::new(),
            board: Board::default(),
            alarm: Alarm::default(),
            stopping: receiver,
        };
        let path = folder.path().join("control");
        let configuration = format!("[control]\nlisten = {path:?}\n");
        std::fs::write(folder.path().join("postern.toml"), configuration).expect("a file");
        let listener = socket::bind(&path).expect("a free path");
        let (end, ended) = oneshot::channel::<()>();
        let until = async move { ended.await.unwrap_or_default() };
        let task = tokio::spawn(api::serve(listener, control, until));
        Self { folder, spool, opened, progress, clock, gate, stopping, end, task }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    async fn ask(&self, method: Method, target: &str) -> (u16, Value) {
        let answer = ask(&self.socket(), method, target).await.expect("the server answers");
        let body = serde_json::from_str(&answer.body).expect("JSON");
        (answer.status.as_u16(), body)
    }

    /// The command's exit code, and both its outputs.
    async fn command(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--config").arg(self.folder.path().join("postern.toml")).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("the command starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit code"), String::from_utf8(text).expect("UTF-8"))
    }

    /// The names of what is wrong, as programs and people hear of it.
    async fn problems(&self) -> Vec<String> {
        let (status, body) = self.ask(Method::GET, "/health").await;
        let health: Health = serde_json::from_value(body).expect("a health");
        let names: Vec<_> = health.problems.iter().map(|problem| problem.name.clone()).collect();
        let (code, text) = self.command(&["health"]).await;
        let expected = if names.is_empty() { (200, "ok", 0) } else { (503, "not ok", 1) };
        assert_eq!((status, health.status.as_str(), code), expected, "{text}");
        let lines = text.lines().skip(1).filter_map(|line| Some(line.split_once(": ")?.0));
        assert_eq!(lines.collect::<Vec<_>>(), names, "{text}");
        names
    }
}

#[tokio::test]
async fn health_names_everything_that_is_wrong() {
    let server = Server::start(vec![held("client.example")]);
    let (_, body) = server.ask(Method::GET, "/health").await;
    let health: Health = serde_json::from_value(body).expect("a health");
    assert_eq!(health.messages, 1);
    assert_eq!((health.listening.len(), health.listening), (1, server.gate.listening()));
    assert_eq!(server.problems().await, [""; 0]);
    for (admission, name) in [
        (Admission::Full, "full"),
        (Admission::Unavailable, "unavailable"),
        (Admission::Stopped, "stopped"),
        (Admission::Full, "full"),
    ] {
        server.spool.admission.send_replace(admission);
        assert_eq!(server.problems().await, [name]);
    }
    server.spool.admission.send_replace(Admission::Open { room: 1 });
    assert_eq!(server.problems().await, ["full"], "it would be told again and again");
    server.clock.advance(Duration::from_secs(60));
    let damage = Damage { count: 2, first: vec!["segment 3: \x1b[2J".to_owned()] };
    *server.spool.damage.lock().expect("no holder panics") = damage;
    *server.spool.suspended.lock().expect("no holder panics") = Some(Domain::new("a.example"));
    let kept = (0..=1000).map(|_| Held { status: Status::Kept, ..held("b.example") });
    server.spool.held.lock().expect("no holder panics").extend(kept);
    server.stopping.send_replace(true);
    assert_eq!(server.problems().await, ["stopping", "damaged", "suspended", "kept"]);
}

#[test]
fn a_server_that_does_not_answer_is_not_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("control");
    let file = folder.path().join("postern.toml");
    std::fs::write(&file, format!("[control]\nlisten = {path:?}\n")).expect("a file");
    let _silent = UnixListener::bind(&path).expect("a free path");
    let mut health = Command::new(env!("CARGO_BIN_EXE_postern"));
    let output = health.arg("--config").arg(&file).arg("health").output();
    let output = output.expect("the command starts");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("postern: no answer within "), "{text}");
}

#[tokio::test]
async fn what_a_stopped_spool_cannot_do_is_said() {
    let server = Server::start(Vec::new());
    server.spool.admission.send_replace(Admission::Stopped);
    let (status, body) = server.ask(Method::GET, "/queue").await;
    assert_eq!(status, 503);
    assert!(body["error"].as_str().is_some_and(|error| error.contains("stopped")), "{body}");
    let (code, text) = server.command(&["queue", "list"]).await;
    assert_eq!(code, 1);
    assert!(text.starts_with("postern: the spool has stopped"), "{text}");
}

#[tokio::test]
async fn the_queue_is_listed_page_by_page() {
    let all = vec![held("a.example"), held("a.example"), held("b.example")];
    let server = Server::start(all.clone());
    let (mut target, mut ids) = ("/queue?max=2".to_owned(), Vec::new());
    loop {
        let (status, body) = server.ask(Method::GET, &target).await;
        let page: Items = serde_json::from_value(body).expect("items");
        assert_eq!(status, 200);
        ids.extend(page.items.iter().map(|item| item.id.clone()));
        let Some(next) = page.next else { break };
        target = format!("/queue?max=2&after={next}");
    }
    assert_eq!(ids, all.iter().map(|held| held.id.to_string()).collect::<Vec<_>>());
    let (_, body) = server.ask(Method::GET, "/queue?domain=B.example").await;
    assert_eq!(body["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.ask(Method::GET, "/queue?after=b.example").await.0, 400);
    let (_, text) = server.command(&["queue", "list", "--json"]).await;
    assert_eq!(text.lines().count(), 3);
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let mut one = held("client.example");
    let long = Recipient::new("x".repeat(250).as_bytes());
    one.envelope.recipients = vec![Recipient { reply: vec![b'x'; 200], ..long }; 16];
    one.recipients = 1000;
    let all = (0..2000).map(|_| Held { id: MsgId::now(), ..one.clone() }).collect();
    let server = Server::start(all);
    let page = ask(&server.socket(), Method::GET, "/queue").await.expect("an answer").body;
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
    let page: Items = serde_json::from_str(&page).expect("items");
    assert!(page.next.is_some() && page.items[0].recipient_count == 1000);
    let (_, text) = server.command(&["queue", "list"]).await;
    assert_eq!(text.lines().count(), 2001, "all of them, page by page");
    assert!(text.contains(" and 999 more"), "{}", text.lines().nth(1).unwrap_or_default());
}

#[tokio::test]
async fn a_query_with_an_unknown_key_is_refused() {
    let one = held("a.example");
    let id = one.id;
    let server = Server::start(vec![one]);
    for (method, target) in [
        (Method::GET, "/health?x=y"),
        (Method::GET, "/metrics?x=y"),
        (Method::GET, "/queue?domian=a.example"),
        (Method::GET, "/queue?state=lost"),
        (Method::GET, "/domains?domain=a.example"),
        (Method::POST, "/queue/release?domian=a.example"),
        (Method::POST, "/link-up"),
        (Method::POST, "/link-up?domain=a.example&address=192.0.2.1"),
        (Method::POST, "/link-up?domain=a.example&address=mail.example"),
        (Method::POST, "/queue/retry"),
        (Method::POST, "/queue/retry?domain=a.example&state=kept"),
        (Method::POST, "/queue/hold?state=kept"),
        (Method::DELETE, &format!("/queue/{id}?domain=a.example")),
        (Method::GET, &format!("/queue/{id}?domain=a.example")),
    ] {
        let (status, body) = server.ask(method.clone(), target).await;
        assert_eq!(status, 400, "{method} {target}: {body}");
        assert!(body["error"].is_string(), "{body}");
    }
    assert_eq!(server.spool.held.lock().expect("no holder panics").len(), 1);
}

#[tokio::test]
async fn the_commands_show_the_queue_to_people_and_programs() {
    let one = held("client.example");
    let id = one.id.to_string();
    let server = Server::start(vec![one]);
    let (code, text) = server.command(&["queue", "list"]).await;
    assert_eq!(code, 0, "{text}");
    let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let [heads, row]: [Vec<_>; 2] = words.try_into().expect("heads and a row");
    assert_eq!(heads.join(" "), "ID DOMAIN STATUS AGE SIZE FROM TO NEXT TRY LAST ANSWER");
    assert_eq!(row[..3], [id.as_str(), "client.example", "waiting"]);
    let to = ["8.0", "KiB", "<ann@sender.example>", "info@client.example", "and", "1", "more"];
    assert_eq!(row[4..11], to);
    assert_eq!((row[11], row[13..].join(" ").as_str()), ("in", "550 5.1.1 \u{fffd}[2Junknown"));

    let (_, text) = server.command(&["queue", "list", "--json"]).await;
    let item: Value = serde_json::from_str(&text).expect("one object a line");
    assert_eq!(item["recipients"][1]["state"], "refused");
    let (_, text) = server.command(&["queue", "show", &id]).await;
    let refused = "<sales@client.example> refused, 2 attempt(s): 550 5.1.1 \u{fffd}[2Junknown";
    assert!(text.contains(refused), "{text}");
    let (_, text) = server.command(&["queue", "domains"]).await;
    let line = text.lines().nth(1).expect("a domain");
    assert!(line.starts_with("client.example  1 ") && line.ends_with("[2Jlater"), "{text}");
}

#[tokio::test]
async fn what_is_under_way_is_told() {
    let one = held("client.example");
    let (id, domain) = (one.id, one.domain.clone());
    let server = Server::start(vec![one, held("a.example")]);
    let now = server.clock.instant();
    let step = server.progress.begin(&domain, &"mail.client.example:25", now);
    let (_, text) = server.command(&["queue", "show", &id.to_string()]).await;
    let line = text.lines().last().expect("lines");
    let expected = "mail.client.example:25 for 0s: looking up its address";
    assert!(line.ends_with(expected), "{text}");
    step.connecting(SocketAddr::from(([192, 0, 2, 9], 25)), now);
    step.connected(now);
    step.message(Some(id));
    server.clock.advance(Duration::from_secs(40));
    step.phase(Phase::FinalReply, server.clock.instant());
    step.replied(b"354 go on");
    let (_, body) = server.ask(Method::GET, &format!("/queue/{id}")).await;
    let message: Message = serde_json::from_value(body).expect("a message");
    assert_eq!((message.connections.len(), message.connections[0].seconds), (1, 40));
    let (_, text) = server.command(&["queue", "show", &id.to_string()]).await;
    let line = text.lines().last().expect("lines");
    let expected = "mail.client.example:25 (192.0.2.9:25) for 40s: waiting for its final reply to \
                    this message for 0s; it said last: 354 go on";
    assert!(line.ends_with(expected), "{text}");
}

#[tokio::test]
async fn what_others_sent_does_nothing_to_a_terminal() {
    let mut one = held("client.example");
    one.envelope.helo = "\u{9b}2J\u{85}\u{2028}x\u{202e}\u{200b}\n\x1b".as_bytes().to_vec();
    one.envelope.reverse_path = one.envelope.helo.clone();
    let (id, helo) = (one.id.to_string(), one.envelope.helo.clone());
    let server = Server::start(vec![one]);
    for arguments in [&["queue", "list"][..], &["queue", "list", "--json"], &["queue", "show", &id]]
    {
        let (_, text) = server.command(arguments).await;
        assert!(text.chars().all(|c| c == '\n' || is_plain(c)), "{text:?}");
        let Ok(item) = serde_json::from_str::<Value>(&text) else { continue };
        assert_eq!(item["helo"].as_str().map(str::as_bytes), Some(&helo[..]));
    }
}

#[tokio::test]
async fn a_domain_or_all_are_released() {
    let all = vec![held("a.example"), held("b.example"), held("gone.example")];
    let server = Server::start(all);
    let (status, body) = server.ask(Method::POST, "/queue/release?domain=A.Example").await;
    let released: Released = serde_json::from_value(body).expect("released");
    assert_eq!((status, released.released.len()), (200, 1));
    let (code, text) = server.command(&["queue", "release", "--all"]).await;
    let line = |domain| format!("{domain}: 1 message(s) released, 0 already on their way\n");
    let without = "gone.example: has no [hold] table: its mail goes nowhere\n";
    assert_eq!((code, text), (0, format!("{}{}{without}", line("a.example"), line("b.example"))));
    let (code, text) = server.command(&["queue", "release", "gone.example"]).await;
    assert_eq!(code, 1);
    assert!(text.starts_with("postern: gone.example has no [hold] table"), "{text}");
    let page = ask(&server.socket(), Method::GET, "/metrics").await.expect("an answer").body;
    assert!(page.contains("postern_releases_total{trigger=\"operator\"} 3"), "{page}");
    assert!(page.contains("domain=\"a.example\",state=\"waiting\"} 1"), "{page}");
}

#[tokio::test]
async fn a_link_that_came_up_releases_what_waits_for_its_host() {
    let server = Server::start(vec![held("a.example"), held("gone.example")]);
    let (code, text) = server.command(&["link-up", "A.example"]).await;
    let line = "a.example: 1 message(s) released, 0 already on their way\n";
    assert_eq!((code, text.as_str()), (0, line));
    let (code, text) = server.command(&["link-up", "b.example"]).await;
    assert_eq!((code, text.as_str()), (0, "nothing waits\n"), "a hook is not to fail for that");
    let (code, text) = server.command(&["link-up", "gone.example"]).await;
    assert_eq!(code, 1);
    assert!(text.starts_with("postern: gone.example has no [hold] table"), "{text}");
    let page = ask(&server.socket(), Method::GET, "/metrics").await.expect("an answer").body;
    assert!(page.contains("postern_releases_total{trigger=\"link\"} 1"), "{page}");
}

#[tokio::test]
async fn what_is_kept_is_tried_again_and_many_only_with_yes() {
    let kept = |domain| Held { status: Status::Kept, ..held(domain) };
    let one = kept("a.example");
    let id = one.id.to_string();
    let mut all = vec![one];
    all.extend((0..100).map(|_| kept("b.example")));
    let server = Server::start(all);
    let left = || {
        let held = server.spool.held.lock().expect("no holder panics");
        held.iter().filter(|held| held.status == Status::Kept).count()
    };
    let (code, text) = server.command(&["queue", "retry", "--kept"]).await;
    let refused = "postern: that is more than 100 messages: say --yes if it is meant\n";
    assert_eq!((code, text.as_str(), left()), (1, refused, 101));
    let (code, text) = server.command(&["queue", "retry", &id]).await;
    assert_eq!((code, left()), (0, 100), "{text}");
    assert_eq!(text, "1 message(s) of 1 domain(s) to be tried again\n");
    let (_, text) = server.command(&["queue", "retry", &id]).await;
    assert_eq!(text, "nothing to do\n");
    let (code, text) = server.command(&["queue", "retry", "--kept", "--yes", "--json"]).await;
    let acted: Acted = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, acted, left()), (0, Acted { items: 100, domains: 1 }, 0));
    let (code, text) = server.command(&["queue", "retry", "gone.example"]).await;
    assert_eq!(code, 1, "{text}");
    assert_eq!(server.command(&["queue", "retry", &MsgId::now().to_string()]).await.0, 1);
}

#[tokio::test]
async fn a_message_or_a_domain_is_held_back_and_let_go() {
    let one = held("a.example");
    let id = one.id.to_string();
    let server = Server::start(vec![one, held("b.example")]);
    let statuses = async || {
        let (_, body) = server.ask(Method::GET, "/queue").await;
        let page: Items = serde_json::from_value(body).expect("items");
        page.items.into_iter().map(|item| item.status).collect::<Vec<_>>()
    };
    let (_, text) = server.command(&["queue", "hold", &id]).await;
    assert_eq!(text, "1 message(s) of 1 domain(s) held back\n");
    server.command(&["queue", "hold", "b.example"]).await;
    assert_eq!(statuses().await, ["held", "held"]);
    server.command(&["queue", "unhold", &id]).await;
    let (_, text) = server.command(&["queue", "unhold", "b.example"]).await;
    assert_eq!(text, "1 message(s) of 1 domain(s) let go\n");
    assert_eq!(statuses().await, ["waiting", "waiting"]);
    assert_eq!(server.command(&["queue", "hold", "no id, no domain"]).await.0, 2);
}

#[tokio::test]
async fn what_was_done_to_an_empty_domain_is_said_and_an_unknown_one_is_an_error() {
    let server = Server::start(vec![held("gone.example")]);
    let held = || server.spool.held_back.lock().expect("no holder panics").len();
    for (action, done) in [("hold", "held back"), ("unhold", "let go")] {
        let empty = server.command(&["queue", action, "a.example"]).await;
        assert_eq!(empty, (0, format!("{done}; nothing waits there now\n")));
        assert_eq!(held(), usize::from(action == "hold"));
        let unknown = server.command(&["queue", action, "typo.example"]).await;
        let why = "typo.example has no [hold] table, and no mail is held for it";
        assert_eq!(unknown, (1, format!("postern: {why}\n")));
        assert_eq!(held(), usize::from(action == "hold"));
        // It has no table any more, and mail.
        let (_, text) = server.command(&["queue", action, "gone.example"]).await;
        assert_eq!(text, format!("1 message(s) of 1 domain(s) {done}\n"));
        server.command(&["queue", "unhold", "gone.example"]).await;
    }
}

#[tokio::test]
async fn a_message_is_removed_once() {
    let one = held("client.example");
    let id = one.id.to_string();
    let server = Server::start(vec![one]);
    let (code, text) = server.command(&["queue", "remove", &id]).await;
    assert_eq!((code, text), (0, format!("removed {id} for 1 domain(s)\n")));
    assert!(server.spool.held.lock().expect("no holder panics").is_empty());
    let (code, text) = server.command(&["queue", "remove", &id]).await;
    assert_eq!((code, text), (1, format!("postern: no message {id} is held\n")));
    assert_eq!(server.ask(Method::GET, "/queue/7").await.0, 400);
    assert_eq!(server.ask(Method::GET, "/spool").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_cut() {
    let server = Server::start(Vec::new());
    let mut client = UnixStream::connect(server.socket()).await.expect("the server listens");
    client.write_all(b"GET /hea").await.expect("the server listens");
    let mut answer = Vec::new();
    // Time stands still but for this: it ends when the server's patience does.
    client.read_to_end(&mut answer).await.expect("an end");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

/// Whoever may ask, and does not, keeps nobody from asking whether all is well.
#[tokio::test]
async fn half_requests_keep_nobody_waiting() {
    let server = Server::start(Vec::new());
    let mut halves = Vec::new();
    for _ in 0..200 {
        let mut half = UnixStream::connect(server.socket()).await.expect("it listens");
        half.write_all(b"GET /health HTTP/1.1\r\n").await.expect("it listens");
        halves.push(half);
    }
    let asked = tokio::time::timeout(Duration::from_secs(8), server.ask(Method::GET, "/health"));
    let (status, _) = asked.await.expect("before the first of them is given up");
    assert_eq!(status, 200);
}

#[tokio::test]
async fn while_the_spool_recovers_the_api_says_so() {
    let server = Server::opening();
    assert_eq!(server.problems().await, ["opening"]);
    for (method, target) in
        [(Method::GET, "/queue"), (Method::GET, "/metrics"), (Method::POST, "/queue/release")]
    {
        let (status, body) = server.ask(method, target).await;
        assert_eq!((status, &body["error"]), (503, &Value::from("the spool is being opened")));
    }
}

#[tokio::test]
async fn the_api_ends_when_it_is_told() {
    let server = Server::start(Vec::new());
    assert_eq!(server.ask(Method::GET, "/health").await.0, 200);
    let socket = server.socket();
    server.end.send(()).expect("the server waits for it");
    server.task.await.expect("no panic");
    // A command that another test just starts has the socket for a moment as well.
    assert!(ask(&socket, Method::GET, "/health").await.is_err(), "nobody is there");
}
