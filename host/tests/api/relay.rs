//! What is shown of the relay, to people and programs.

use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use postern::api::client::ask;
use postern::config::Config;
use postern::net::listener::Terms;
use postern::observe::progress::{Alarm, LinkWait};

use crate::{NOW, Server, held};

const CONFIG: &str = "[relay]\nsmarthost = \"192.0.2.25:587\"\n[hold.\"client.example\"]\n\
    recipients = [\"info\"]\ndeliver_to = \"h.example:25\"\n";

/// With mail for a domain that is held, and for two that are not.
fn server() -> Server {
    let config = Config::parse(Path::new("postern.toml"), CONFIG).expect("a configuration");
    let domains = ["client.example", "far.example", "far.example", "other.example"];
    let server = Server::start_with(domains.map(held).to_vec(), Terms::new(config, None));
    server.clock.advance(Duration::from_secs(90));
    server
}

#[tokio::test]
async fn what_waits_for_it_and_for_how_long_is_told() {
    let server = server();
    let (now, progress) = (server.clock.instant(), &server.progress);
    let minutes = |minutes: u64| now.after(Duration::from_secs(60 * minutes));
    let wait = LinkWait { domains: 2, is_urgent: true, dials_at: Some(minutes(20)) };
    progress.relay_waits(Some(wait));
    progress.relay_said(NOW.unix_seconds + 60, "250 2.0.0 taken");
    progress.relay_tries_at(Some(minutes(5)));
    let (_, status) = server.ask(Method::GET, "/status").await;
    let relay = &status["relay"];
    let shown = ["waiting", "domains", "oldest_seconds", "last_answer_seconds", "next_try_seconds"];
    let shown = shown.map(|key| relay[key].as_u64().unwrap_or(u64::MAX));
    assert_eq!(shown, [3, 2, 90, 30, 300], "{relay}");
    let waits = &relay["waits"];
    let shown = (waits["domains"].as_u64(), waits["urgent"].as_bool());
    assert_eq!((shown, waits["collects_seconds"].as_u64()), ((Some(2), Some(true)), Some(1200)));
    let (_, text) = server.command(&["status"]).await;
    for expected in [
        "3 message(s) for 2 domain(s), the oldest for 1m",
        "waits until the link is raised",
        "mail for 2 domain(s), for more, 20m at most",
        "30s ago: 250 2.0.0 taken",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("in 5m"), "the link comes first: {text}");
    progress.relay_waits(None);
    let (_, text) = server.command(&["status"]).await;
    assert!(text.contains("in 5m") && !text.contains("waits until"), "{text}");
}

#[tokio::test]
async fn one_that_takes_nothing_is_a_problem_that_programs_hear_of() {
    let server = server();
    let metrics = async || {
        let page = ask(&server.socket(), Method::GET, "/metrics").await.expect("it answers").body;
        let of_relay = page.lines().filter(|line| line.starts_with("postern_relay_"));
        of_relay.map(str::to_owned).collect::<Vec<_>>()
    };
    let [messages, oldest] = ["postern_relay_messages 3", "postern_relay_oldest_seconds 90"];
    assert_eq!(metrics().await, [messages, oldest, "postern_relay_failing 0"]);
    assert_eq!(server.problems().await, [""; 0]);
    let (host, why) = ("192.0.2.25:587".to_owned(), "535 5.7.8 not you".to_owned());
    server.progress.relay_fails(Some(Alarm { host, why, is_open: false }));
    assert_eq!(metrics().await, [messages, oldest, "postern_relay_failing 1"]);
    assert_eq!(server.problems().await, ["relay"]);
    let (_, text) = server.command(&["status"]).await;
    assert!(text.contains("535 5.7.8 not you"), "{text}");
}
