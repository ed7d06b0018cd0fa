//! The control API over its socket, in front of a spool that answers as it is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::http::Method;
use postern::api::client::ask;
use postern::api::{self, Control, Health, Items, Released, socket};
use postern::escape::is_plain;
use postern::observe::metrics::Metrics;
use postern_core::envelope::{Body as BodyType, Ret, State};
use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use postern_spool::{
    Action, Admission, Body, Claim, CommitError, Cursor, Damage, Domain, Draft, Due, Ended,
    Envelope, Error, Expired, Filter, Held, Listing, MsgId, Next, NextTry, Pending, QueueStats,
    Recipient, Recorded, Refuse, Settled, Spool, Status, Totals, Turn, Wake,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_404, known: true };

/// Holds what it was given, without a disk.
#[derive(Default)]
struct Told {
    held: Mutex<Vec<Held>>,
    down: AtomicBool,
}

/// A message or body that nobody asks for here.
struct Never;

impl Draft for Never {
    fn id(&self) -> MsgId {
        unreachable!("the control API takes no mail")
    }

    async fn write(&mut self, _: &[u8]) -> Result<(), Refuse> {
        unreachable!("the control API takes no mail")
    }

    async fn commit(self) -> Result<MsgId, CommitError> {
        unreachable!("the control API takes no mail")
    }
}

impl Body for Never {
    async fn chunk(&mut self) -> Result<&[u8], Error> {
        unreachable!("the control API reads no bodies")
    }
}

impl Told {
    fn select(&self, wanted: impl Fn(&Held) -> bool) -> Result<Vec<Held>, Error> {
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let held = self.held.lock().expect("no holder panics");
        Ok(held.iter().filter(|held| wanted(held)).cloned().collect())
    }
}

impl Spool for Told {
    type Draft = Never;
    type Body = Never;

    fn admission(&self) -> watch::Receiver<Admission> {
        let down = self.down.load(Ordering::Relaxed);
        let admission = if down { Admission::Stopped } else { Admission::Full };
        watch::Sender::new(admission).subscribe()
    }

    async fn begin(&self, _: &Envelope, _: Option<u64>) -> Result<Never, Refuse> {
        unreachable!("the control API takes no mail")
    }

    async fn release(&self, domains: &[Domain], why: Wake) -> Result<Vec<Pending>, Error> {
        assert_eq!(why, Wake::Operator);
        let waiting =
            |domain: &Domain| self.select(|held| held.domain == *domain).map(|held| held.len());
        let pending = |domain| {
            Ok(Pending { waiting: waiting(domain)? as u64, exact: true, ..Pending::default() })
        };
        domains.iter().map(pending).collect()
    }

    async fn work(&self) {
        unreachable!("the control API delivers nothing")
    }

    async fn due(&self, _: Option<&Due>, _: usize) -> Result<Vec<Due>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn turn(&self, _: &Domain, _: u32, _: Duration) -> Result<Option<Turn>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn claim(&self, _: &Turn, _: usize) -> Result<Vec<Claim>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn renew(&self, _: &Turn, _: Duration) -> Result<(), Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn settle(&self, _: &Turn, _: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn end(&self, _: Turn, _: Next) -> Result<Ended, Error> {
        unreachable!("the control API delivers nothing")
    }

    async fn body(&self, _: MsgId) -> Result<Never, Error> {
        unreachable!("the control API reads no bodies")
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        let cursor =
            |held: &Held| format!("{}/{}", held.domain, held.id).parse().expect("its text");
        let mut items = self.select(|held| {
            filter.domain.as_ref().is_none_or(|domain| *domain == held.domain)
                && after.is_none_or(|after| *after < cursor(held))
        })?;
        let more = items.len() > max;
        items.truncate(max);
        let next = items.last().filter(|_| more).map(cursor);
        Ok(Listing { items, next })
    }

    async fn message(&self, id: MsgId) -> Result<Vec<Held>, Error> {
        self.select(|held| held.id == id)
    }

    async fn act(
        &self,
        filter: &Filter,
        action: Action,
        _: usize,
    ) -> Result<Vec<(Domain, MsgId)>, Error> {
        assert_eq!(action, Action::Remove);
        let removed = self.select(|held| Some(held.id) == filter.id)?;
        let mut held = self.held.lock().expect("no holder panics");
        held.retain(|held| Some(held.id) != filter.id);
        Ok(removed.into_iter().map(|held| (held.domain, held.id)).collect())
    }

    async fn hold(&self, _: &Domain, _: bool) -> Result<(), Error> {
        unreachable!("nobody asks the control API to hold anything")
    }

    async fn expire(&self, _: &Domain, _: Duration, _: usize) -> Result<Expired, Error> {
        unreachable!("the control API lets nothing expire")
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let messages = self.select(|_| true)?.len() as u64;
        Ok(Totals { messages, ..Totals::default() })
    }

    async fn queue(&self, _: &Domain) -> Result<Option<QueueStats>, Error> {
        unreachable!("the control API asks for all queues")
    }

    async fn queues(&self, after: Option<&Domain>, _: usize) -> Result<Vec<QueueStats>, Error> {
        let held = self.select(|held| after.is_none_or(|after| *after < held.domain))?;
        let mut domains: Vec<_> = held.into_iter().map(|held| held.domain).collect();
        domains.dedup();
        let stats = |domain| QueueStats {
            domain,
            waiting: 1,
            under_way: 0,
            kept: 0,
            held: false,
            suspended: None,
            asked: false,
            body_bytes: 8192,
            oldest_waiting: Some(NOW),
            oldest_kept: None,
            next_try: NextTry::Now,
            last_answer: Vec::new(),
        };
        Ok(domains.into_iter().map(stats).collect())
    }

    async fn damage(&self) -> Result<Damage, Error> {
        Ok(Damage::default())
    }

    fn secret(&self) -> &[u8; 32] {
        unreachable!("the control API tells no secrets")
    }

    async fn close(&self) {}
}

fn held(domain: &str) -> Held {
    let envelope = Envelope {
        arrival: NOW,
        client: "192.0.2.7".parse().ok(),
        client_port: 40_025,
        helo: b"relay.sender.example".to_vec(),
        esmtp: true,
        tls: false,
        authenticated: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example".to_vec(),
        body: BodyType::EightBitMime,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: vec![
            Recipient::new(format!("info@{domain}").as_bytes()),
            Recipient {
                state: State::Refused,
                attempts: 2,
                reply: b"550 5.1.1 \x1b[2Junknown".to_vec(),
                ..Recipient::new(format!("sales@{domain}").as_bytes())
            },
        ],
    };
    let (domain, status) = (Domain::new(domain), Status::Waiting(NextTry::Now));
    Held { id: MsgId::now(), domain, size: 8192, status, recipients: 2, envelope }
}

/// A server in front of a spool, and the folder that its socket and configuration are in.
struct Server {
    folder: tempfile::TempDir,
    spool: Arc<Told>,
    opened: Arc<OnceLock<Arc<Told>>>,
    stopping: watch::Sender<bool>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(held: Vec<Held>, down: bool) -> Self {
        let server = Self::opening();
        *server.spool.held.lock().expect("no holder panics") = held;
        server.spool.down.store(down, Ordering::Relaxed);
        let opened = server.opened.set(Arc::clone(&server.spool));
        assert!(opened.is_ok(), "it was not open before");
        server
    }

    /// Before its spool is open.
    fn opening() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spool = Arc::<Told>::default();
        let opened = Arc::<OnceLock<_>>::default();
        let (stopping, receiver) = watch::channel(false);
        let clock = Clock::manual(NOW);
        let control = Control {
            spool: Arc::clone(&opened),
            metrics: Metrics::default(),
            started: clock.instant(),
            clock,
            listening: vec![SocketAddr::from(([192, 0, 2, 1], 25))],
            stopping: receiver,
        };
        let path = folder.path().join("control");
        let configuration = format!("[control]\nlisten = {path:?}\n");
        std::fs::write(folder.path().join("postern.toml"), configuration).expect("a file");
        let listener = socket::bind(&path).expect("a free path");
        let (end, ended) = oneshot::channel::<()>();
        let until = async move { ended.await.unwrap_or_default() };
        let task = tokio::spawn(api::serve(listener, control, until));
        Self { folder, spool, opened, stopping, end, task }
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
}

#[tokio::test]
async fn health_says_whether_mail_is_taken() {
    let server = Server::start(vec![held("client.example")], false);
    let (status, body) = server.ask(Method::GET, "/health").await;
    let health: Health = serde_json::from_value(body).expect("a health");
    assert_eq!((status, health.status.as_str(), health.messages), (200, "ok", 1));
    assert_eq!(health.listening, [SocketAddr::from(([192, 0, 2, 1], 25))]);
    let (code, text) = server.command(&["health"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("ok: postern "), "{text}");

    server.stopping.send_replace(true);
    let (status, body) = server.ask(Method::GET, "/health").await;
    assert_eq!((status, &body["status"]), (503, &Value::from("stopping")));
    assert_eq!(server.command(&["health"]).await.0, 1);
}

#[tokio::test]
async fn a_spool_that_stopped_is_no_health() {
    let server = Server::start(Vec::new(), true);
    let (status, body) = server.ask(Method::GET, "/health").await;
    assert_eq!(
        (status, &body["status"]),
        (503, &Value::from("the spool has stopped: see the log"))
    );
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
    let server = Server::start(all.clone(), false);
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
}

#[tokio::test]
async fn the_commands_show_the_queue_to_people_and_programs() {
    let one = held("client.example");
    let id = one.id.to_string();
    let server = Server::start(vec![one], false);
    let (code, text) = server.command(&["queue", "list"]).await;
    assert_eq!(code, 0, "{text}");
    let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let [heads, row]: [Vec<_>; 2] = words.try_into().expect("heads and a row");
    assert_eq!(heads, ["ID", "DOMAIN", "STATUS", "AGE", "SIZE", "FROM", "TO"]);
    assert_eq!(row[..3], [id.as_str(), "client.example", "waiting"]);
    let to = ["8.0", "KiB", "<ann@sender.example>", "info@client.example", "and", "1", "more"];
    assert_eq!(row[4..], to);

    let (_, text) = server.command(&["queue", "list", "--json"]).await;
    let item: Value = serde_json::from_str(&text).expect("one object a line");
    assert_eq!(item["recipients"][1]["state"], "refused");
    let (_, text) = server.command(&["queue", "show", &id]).await;
    let refused = "<sales@client.example> refused, 2 attempt(s): 550 5.1.1 \u{fffd}[2Junknown";
    assert!(text.contains(refused), "{text}");
}

#[tokio::test]
async fn what_others_sent_does_nothing_to_a_terminal() {
    let mut one = held("client.example");
    one.envelope.helo = "\u{9b}2J\u{85}\u{2028}x\u{202e}\u{200b}\n\x1b".as_bytes().to_vec();
    one.envelope.reverse_path = one.envelope.helo.clone();
    let (id, helo) = (one.id.to_string(), one.envelope.helo.clone());
    let server = Server::start(vec![one], false);
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
    let server = Server::start(vec![held("a.example"), held("b.example")], false);
    let (status, body) = server.ask(Method::POST, "/queue/release?domain=A.Example").await;
    let released: Released = serde_json::from_value(body).expect("released");
    assert_eq!((status, released.released.len()), (200, 1));
    let (code, text) = server.command(&["queue", "release", "--all"]).await;
    let line = |domain| format!("{domain}: 1 message(s) released, 0 already on their way\n");
    assert_eq!((code, text), (0, format!("{}{}", line("a.example"), line("b.example"))));
    let page = ask(&server.socket(), Method::GET, "/metrics").await.expect("an answer").body;
    assert!(page.contains("postern_releases_total{trigger=\"operator\"} 3"), "{page}");
    assert!(page.contains("domain=\"a.example\",state=\"waiting\"} 1"), "{page}");
}

#[tokio::test]
async fn a_message_is_removed_once() {
    let one = held("client.example");
    let id = one.id.to_string();
    let server = Server::start(vec![one], false);
    let (code, text) = server.command(&["queue", "remove", &id]).await;
    assert_eq!((code, text), (0, format!("removed {id} for 1 domain(s)\n")));
    assert_eq!(server.spool.totals().await.expect("up").messages, 0);
    let (code, text) = server.command(&["queue", "remove", &id]).await;
    assert_eq!((code, text), (1, format!("postern: no message {id} is held\n")));
    assert_eq!(server.ask(Method::GET, "/queue/7").await.0, 400);
    assert_eq!(server.ask(Method::GET, "/spool").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_cut() {
    let server = Server::start(Vec::new(), false);
    let mut client = UnixStream::connect(server.socket()).await.expect("the server listens");
    client.write_all(b"GET /hea").await.expect("the server listens");
    let mut answer = Vec::new();
    // Time stands still but for this: it ends when the server's patience does.
    client.read_to_end(&mut answer).await.expect("an end");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn while_the_spool_recovers_the_api_says_so() {
    let server = Server::opening();
    let (status, body) = server.ask(Method::GET, "/health").await;
    assert_eq!((status, &body["status"]), (503, &Value::from("the spool is being opened")));
    for (method, target) in
        [(Method::GET, "/queue"), (Method::GET, "/metrics"), (Method::POST, "/queue/release")]
    {
        let (status, body) = server.ask(method, target).await;
        assert_eq!((status, &body["error"]), (503, &Value::from("the spool is being opened")));
    }
}

#[tokio::test]
async fn the_api_ends_when_it_is_told() {
    let server = Server::start(Vec::new(), false);
    assert_eq!(server.ask(Method::GET, "/health").await.0, 200);
    let socket = server.socket();
    server.end.send(()).expect("the server waits for it");
    server.task.await.expect("no panic");
    // A command that another test just starts has the socket for a moment as well.
    assert!(ask(&socket, Method::GET, "/health").await.is_err(), "nobody is there");
}
