//! A link that is raised and lowered by commands, which fail, hang and lie.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{END, PATIENCE, Place, Server, Talk, hold};
use crate::tls::Wire;

/// A place with a link: that is up while the file `link` is there, and whose commands write down
/// that they ran.
pub struct Linked(pub Place);

pub const UP: &str = "echo dialling; touch link; echo up >> calls";
pub const DOWN: &str = "rm -f link; echo down >> calls";
pub const STATUS: &str = "test -e link";

impl Linked {
    /// With scripts for the three commands, and more keys of `[link]`, beside a holder.
    fn new(scripts: [&str; 3], keys: &str, holder: SocketAddr) -> Self {
        let place = Self(Place::new(""));
        place.configure(scripts, keys, holder);
        place
    }

    fn configure(&self, scripts: [&str; 3], keys: &str, holder: SocketAddr) {
        self.configure_with(scripts, keys, &format!("[[wakeup]]\netrn = \"{holder}\"\n"));
    }

    fn configure_with(&self, scripts: [&str; 3], keys: &str, wakeup: &str) {
        self.configure_as("listener = \"scheduled\"\n", scripts, keys, wakeup);
    }

    /// With further keys of `[receive]`, and what else stands in the file.
    pub fn configure_as(&self, receive: &str, scripts: [&str; 3], keys: &str, rest: &str) {
        let mut link = format!("[link]\nkind = \"command\"\n{keys}");
        for (key, script) in ["up", "down", "status"].into_iter().zip(scripts) {
            if script.is_empty() {
                continue;
            }
            let file = self.0.path(key);
            let folder = self.0.path("");
            let text = format!("#!/bin/sh\ncd {}\n{script}\n", folder.display());
            fs::write(&file, text).expect("a script");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
            link += &format!("{key} = [\"/bin/sh\", {file:?}]\n");
        }
        let holds = hold("127.0.0.1:9", "[\"info\"]") + &link + rest;
        self.0.configure_with(&format!("{receive}idle = \"1s\"\n"), &holds);
    }

    /// What was called so far.
    pub fn calls(&self) -> String {
        let calls = fs::read_to_string(self.0.path("calls")).unwrap_or_default();
        calls.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits until so much was called.
    pub fn called(&self, calls: &str) {
        let end = Instant::now() + PATIENCE;
        while self.calls() != calls {
            assert!(Instant::now() < end, "{:?}, and not {calls:?}", self.calls());
            thread::yield_now();
        }
    }

    pub fn is_up(&self) -> bool {
        self.0.path("link").exists()
    }

    fn link(&self) -> Value {
        serde_json::from_str(&self.0.run(&["link", "status", "--json"])).expect("JSON")
    }
}

fn holder() -> (Place, Server) {
    let place = Place::new(&hold("127.0.0.1:9", "[\"info\"]"));
    let server = place.serve();
    (place, server)
}

#[test]
fn it_is_raised_to_ask_and_lowered_when_it_is_idle() {
    let (_place, held) = holder();
    let home = Linked::new([UP, DOWN, STATUS], "", held.address);
    let server = home.0.serve();
    let [said, up] = server.logged_both(["a command says", "the link is up"]);
    assert_eq!((&said["key"], &said["line"]), (&"up".into(), &"dialling".into()));
    assert_eq!(up["by_us"], true);
    assert_eq!(server.logged("a holder was asked")["outcome"], "nothing waits");
    server.logged("the link is down");
    home.called("up down");
    let status = home.0.run(&["status"]);
    assert!(status.contains("command: down for "), "{status}");
    server.stop();
    home.called("up down");
}

#[test]
fn what_somebody_else_raised_is_used_and_stays() {
    let (_place, held) = holder();
    let home = Linked::new([UP, DOWN, STATUS], "", held.address);
    fs::write(home.0.path("link"), "").expect("a file");
    let server = home.0.serve();
    assert_eq!(server.logged("a holder was asked")["outcome"], "nothing waits");
    home.0.run_until(&["status"], "scheduled: closed");
    let link = home.link();
    assert_eq!((&link["state"], &link["by_us"]), (&"up".into(), &false.into()));
    server.stop();
    assert!(home.is_up());
    assert_eq!(home.calls(), "");
}

#[test]
fn a_person_raises_and_lowers_it() {
    let (_place, held) = holder();
    let never = "schedule = []\ntime_zone = \"Etc/UTC\"\n";
    let home = Linked::new([UP, DOWN, STATUS], never, held.address);
    let server = home.0.serve();
    let shown = home.0.run(&["link", "up"]);
    assert!(shown.contains("command: up for ") && shown.contains(", raised by us"), "{shown}");
    assert!(shown.contains("closed at all times"), "{shown}");
    server.logged("the link is down");
    home.called("up down");
    let asked = home.0.run(&["wakeup", "--now"]);
    assert!(asked.contains("nothing waits"), "{asked}");
    home.called("up down up down");
    home.0.run_until(&["link", "status"], "command: down for ");
    fs::write(home.0.path("link"), "").expect("a file");
    home.0.run(&["link", "down"]);
    assert!(!home.is_up(), "another's too, if a person wants that");
    let waiting = home.0.run(&["wakeup"]);
    assert!(waiting.contains("when the window opens"), "{waiting}");
    server.stop();
}

#[test]
fn one_that_does_not_come_up_is_said_cleared_away_and_tried_again_later() {
    let (_place, held) = holder();
    for (up, status, reason) in [
        ("echo up >> calls; echo no carrier; exit 8", STATUS, "link.up ended by 8: no carrier"),
        ("echo up >> calls; sleep 1000", STATUS, "link.up took more than 1s, and was killed"),
        (
            "echo up >> calls; while :; do echo flood; done",
            STATUS,
            "link.up took more than 1s, and was killed",
        ),
        ("echo up >> calls", STATUS, "link.up ended by 0, and link.status says that it is down"),
    ] {
        let home = Linked::new([up, DOWN, status], "up_timeout = \"1s\"\n", held.address);
        let server = home.0.serve();
        assert_eq!(server.logged("the link was not raised")["reason"], reason);
        home.called("up down");
        let status = home.0.run_until(&["status"], "when the link is raised");
        assert!(status.contains(reason) && status.contains("at the earliest"), "{status}");
        assert_eq!(home.link()["state"], "down");
        let (code, asked) = home.0.try_run(&["wakeup", "--now"]);
        assert!(code == Some(1) && asked.contains(reason), "a person hears it at once: {asked}");
        server.stop();
    }
}

#[test]
fn one_that_says_it_is_down_while_it_is_up_is_lowered() {
    let (_place, held) = holder();
    let lies = "! test -e lie && test -e link";
    let home = Linked::new([UP, DOWN, lies], "", held.address);
    fs::write(home.0.path("lie"), "").expect("a file");
    let keys = "up_timeout = \"1s\"\n";
    home.configure([UP, DOWN, lies], keys, held.address);
    let server = home.0.serve();
    let reason = "link.up ended by 0, and link.status says that it is down";
    assert_eq!(server.logged("the link was not raised")["reason"], reason);
    home.called("up down");
    assert!(!home.is_up(), "a link that nobody knows of costs");
    server.stop();
}

#[test]
fn a_status_that_does_not_answer_contradicts_nobody() {
    let (_place, held) = holder();
    let keys = "status_timeout = \"1s\"\n";
    let home = Linked::new([UP, DOWN, "sleep 1000"], keys, held.address);
    let server = home.0.serve();
    let unknown = server.logged("whether the link is up is not known");
    assert_eq!(unknown["reason"], "link.status took more than 1s, and was killed");
    assert_eq!(server.logged("a holder was asked")["outcome"], "nothing waits");
    home.called("up down");
    server.stop();
}

#[test]
fn without_down_and_status_it_is_raised_anew_for_each_question() {
    let (_place, held) = holder();
    let home = Linked::new([UP, "", ""], "", held.address);
    let server = home.0.serve();
    server.logged("a holder was asked");
    server.logged("the link is down");
    home.0.run(&["wakeup", "--now"]);
    home.called("up up");
    let (code, refused) = home.0.try_run(&["link", "down"]);
    assert!(code == Some(1) && refused.contains("there is no link.down"), "{refused}");
    server.stop();
}

/// Its holder is hung up on, so that it stays up for half a minute.
fn busy() -> (std::net::TcpListener, SocketAddr) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    (silent, address)
}

#[test]
fn a_server_that_is_killed_knows_at_its_next_start_that_it_raised_the_link() {
    let (_silent, address) = busy();
    let home = Linked::new([UP, DOWN, STATUS], "", address);
    let mut server = home.0.serve();
    server.logged("the link is up");
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    drop(server);
    assert_eq!((home.calls().as_str(), home.is_up()), ("up", true));
    let (_place, held) = holder();
    home.configure([UP, DOWN, STATUS], "", held.address);
    let server = home.0.serve();
    server.logged("a holder was asked");
    server.logged("the link is down");
    home.called("up down");
    server.stop();
}

#[test]
fn one_that_is_stopped_lowers_what_it_raised() {
    let (_silent, address) = busy();
    let home = Linked::new([UP, DOWN, STATUS], "", address);
    let server = home.0.serve();
    server.logged("the link is up");
    server.stop();
    assert_eq!((home.calls().as_str(), home.is_up()), ("up down", false));
}

/// As on a full disk, where the next start could not know.
#[test]
fn one_that_could_not_be_written_down_is_lowered_at_a_stop() {
    let (_silent, address) = busy();
    let home = Linked::new([UP, DOWN, STATUS], "", address);
    home.0.configure("");
    home.0.serve().stop();
    fs::create_dir(home.0.path("spool/link-raised")).expect("a spool");
    home.configure([UP, DOWN, STATUS], "", address);
    let server = home.0.serve();
    server.logged("a restart will not know that we raised the link");
    server.logged("the link is up");
    server.stop();
    assert_eq!((home.calls().as_str(), home.is_up()), ("up down", false));
}

#[test]
fn a_stop_does_not_wait_for_one_that_can_not_be_lowered() {
    let (_silent, address) = busy();
    let home = Linked::new([UP, "", STATUS], "", address);
    let server = home.0.serve();
    server.logged("the link is up");
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!((home.calls().as_str(), home.is_up()), ("up", true));
}

/// By the settings before: the new ones have no command for it.
#[test]
fn one_that_can_not_be_lowered_stays_ours_behind_another_kind_for_five_tries() {
    let (_silent, address) = busy();
    for tries in [1, 5] {
        let down = format!("test -e may || exit 1; {DOWN}");
        let home = Linked::new([UP, &down, STATUS], "", address);
        let server = home.0.serve();
        server.logged("the link is up");
        home.0.configure(&hold("127.0.0.1:9", "[\"info\"]"));
        for _ in 0..tries {
            let shown = home.0.run(&["link", "status"]);
            assert!(shown.contains("command: up"), "{shown}");
            server.signal(Signal::HUP);
            server.logged("the link was not lowered");
        }
        if tries < 5 {
            fs::write(home.0.path("may"), "").expect("a file");
            server.signal(Signal::HUP);
            server.logged("the link is down");
            home.called("up down");
        }
        home.0.run_until(&["link", "status"], "permanent: up");
        server.stop();
    }
}

/// Lets a host ask for its mail by ATRN, and turns the roles.
fn turn_round(provider: &TcpListener) -> Talk {
    let (mut stream, _) = provider.accept().expect("it asks");
    let mut heard = BufReader::new(stream.try_clone().expect("a second handle"));
    let ehlo = "250-p\r\n250-AUTH CRAM-MD5\r\n250 ATRN";
    stream.write_all(b"220 hi\r\n").expect("it listens");
    for answer in [ehlo, "334 PDEyMz4=", "235 ok", "250 turning"] {
        heard.read_line(&mut String::new()).expect("it asks");
        stream.write_all(format!("{answer}{END}").as_bytes()).expect("it listens");
    }
    Talk::over(stream, Wire::Clear)
}

/// Fetched mail's session outlives the task that asked for it, which ends at `signal`.
fn stays_under_a_message(signal: Signal, end: fn(Server)) {
    let provider = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = provider.local_addr().expect("it is bound");
    let home = Linked(Place::new(""));
    let password = home.0.path("password");
    fs::write(&password, "secret\n").expect("a file");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let wakeup = format!(
        "[[wakeup]]\natrn = \"{address}\"\nuser = \"ann\"\npassword_file = {password:?}\n\
         tls = \"off\"\n"
    );
    home.configure_with([UP, DOWN, STATUS], "", &wakeup);
    let server = home.0.serve();
    let mut mail = turn_round(&provider);
    for line in ["EHLO p", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(mail.say(line).starts_with("250 "));
    }
    assert!(mail.say("DATA").starts_with("354 "));
    home.configure_with([UP, DOWN, STATUS], "", "");
    server.signal(signal);
    // Thrice `idle`: nothing is said meanwhile.
    let stream = mail.into_stream();
    stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a time");
    let unsaid = stream.peek(&mut [0]).expect_err("it waits for the message");
    assert_eq!(unsaid.kind(), ErrorKind::WouldBlock);
    assert_eq!((home.calls().as_str(), home.is_up()), ("up", true), "{signal:?}");
    let mut rest = BufReader::new(stream);
    rest.get_mut().write_all(b".\r\nQUIT\r\n").expect("it listens");
    let mut reply = String::new();
    rest.read_line(&mut reply).expect("it answers");
    assert!(reply.starts_with("250 "), "{reply}");
    home.called("up down");
    end(server);
}

#[test]
fn it_is_not_lowered_under_mail_from_a_holder_that_is_asked_no_more() {
    stays_under_a_message(Signal::HUP, Server::stop);
}

#[test]
fn a_stop_does_not_lower_it_under_mail_that_is_being_fetched() {
    stays_under_a_message(Signal::TERM, Server::ended);
}

/// The one that hangs ends with the server, and does not hold it up.
#[test]
fn a_stop_and_a_change_of_settings_may_come_while_it_is_raised() {
    let (_place, held) = holder();
    let hangs = "touch link; echo up >> calls; sleep 1000";
    let home = Linked::new([hangs, DOWN, STATUS], "", held.address);
    let server = home.0.serve();
    home.called("up");
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!((home.calls().as_str(), home.is_up()), ("up down", false));

    let slow = "echo up >> calls; while ! test -e go; do :; done; touch link";
    home.configure([slow, DOWN, STATUS], "", held.address);
    let server = home.0.serve();
    home.called("up down up");
    assert_eq!(home.link()["state"], "raising");
    let file = home.0.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let (before, rest) = text.split_once("[link]").expect("it is there");
    let (_, behind) = rest.split_once("[[wakeup]]").expect("it is there");
    fs::write(&file, format!("{before}[[wakeup]]{behind}")).expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    fs::write(home.0.path("go"), "").expect("a file");
    home.called("up down up down");
    home.0.run_until(&["link", "status"], "permanent: up");
    let (code, refused) = home.0.try_run(&["link", "up"]);
    assert!(code == Some(1) && refused.contains("neither raised nor lowered"), "{refused}");
    server.stop();
}

/// In a network of its own, where nothing else is up.
#[test]
fn an_interface_is_watched_and_what_listens_follows_it() {
    let home = Place::new("");
    let link = "[link]\nkind = \"interface\"\ninterface = \"lo\"\n";
    let holds = hold("127.0.0.1:9", "[\"info\"]") + link;
    home.configure_with("listener = \"on-link\"\n", &holds);
    let postern = format!(
        "{} --config {}",
        env!("CARGO_BIN_EXE_postern"),
        home.path("postern.toml").display()
    );
    let script = format!(
        "set -e\n\
         {postern} serve 2>log & server=$!\n\
         until_is() {{ until {postern} status | grep -q \"$1\"; do :; done; }}\n\
         until_is 'on-link: closed'\n\
         {postern} link status | grep -q 'interface: down'\n\
         ip address replace 192.0.2.7/24 dev lo\n\
         ip link set lo up\n\
         until_is 'on-link: open at '\n\
         ip link set lo down\n\
         until_is 'on-link: closed'\n\
         kill $server\n\
         wait $server\n"
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "timeout", "60", "sh", "-c", &script]);
    let output = command.current_dir(home.path("")).output().expect("unshare");
    let log = fs::read_to_string(home.path("log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{log}");
}
