//! `postern check --dns`, against a name server of our own.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

const HOLDER: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["info"]
deliver_to = "mail.client.example:25"
"#;

const CALLER: &str = r#"
hostname = "mail.client.example"
[hold."client.example"]
recipients = ["info"]
deliver_to = "lmtp://127.0.0.1:24"
[[wakeup]]
etrn = ["mx2.provider.example", "192.0.2.9"]
"#;

/// A name server with these records of `client.example`, and addresses of hosts.
struct NameServer {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is said of client.example.
#[derive(Clone, Copy)]
enum Says {
    Mx(&'static [(u16, &'static str)]),
    Code(ResponseCode),
}

impl NameServer {
    fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let address = socket.local_addr().expect("it is bound").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut packet = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut packet) else { continue };
                let question = Message::from_vec(&packet[..length]).expect("a question");
                socket.send_to(&answer(question, says), client).expect("a client");
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("once").join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn answer(question: Message, says: Says) -> Vec<u8> {
    let asked = question.queries.first().expect("a query").clone();
    let mut answer = question.into_response();
    let name = asked.name().to_lowercase();
    let mut add = |data| {
        answer.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
    };
    match (name.to_ascii().trim_end_matches('.'), asked.query_type(), says) {
        ("client.example", RecordType::MX, Says::Mx(records)) => {
            for (preference, host) in records {
                let host = Name::from_ascii(host).expect("a name");
                add(RData::MX(MX::new(*preference, host)));
            }
        }
        ("client.example", RecordType::MX, Says::Code(code)) => {
            answer.metadata.response_code = code;
        }
        ("mx-alias.provider.example" | "mx2.provider.example", RecordType::A, _) => {
            add(RData::A(A::new(192, 0, 2, 2)));
        }
        ("nine.provider.example", RecordType::A, _) => add(RData::A(A::new(192, 0, 2, 9))),
        ("home.client.example", RecordType::A, _) => add(RData::A(A::new(10, 0, 0, 1))),
        _ => {}
    }
    answer.to_vec().expect("a small message")
}

/// The exit code, and what was said of client.example.
fn check(configuration: &str, says: Says) -> (i32, String) {
    let server = NameServer::start(says);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("postern.toml");
    fs::write(&file, configuration).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("--config")
        .arg(&file)
        .args(["check", "--dns", "--server", &server.address])
        .output()
        .expect("the command starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    let line = text.lines().find(|line| line.contains(": client.example: "));
    let line = line.unwrap_or_else(|| panic!("{text}{error}"));
    (output.status.code().expect("an exit code"), line.to_owned())
}

#[test]
fn a_holder_is_next_to_the_best_and_alone_there() {
    let said = |records| check(HOLDER, Says::Mx(records));
    let right = "right: client.example: this host is next to the best (MX 10 mail.client.example, \
        20 mx2.provider.example)";
    let records: &[_] = &[(20, "MX2.provider.example."), (10, "mail.client.example.")];
    assert_eq!(said(records), (0, right.to_owned()));
    for (records, expected) in [
        (
            &[(10, "mail.client.example."), (20, "other.example.")][..],
            "this host is not among them: nobody brings its mail here",
        ),
        (
            &[(1, "mail.client.example."), (2, "mx2.provider.example."), (2, "x.example.")],
            "exactly one may be next, the one that is asked, and mx2.provider.example and \
                x.example are",
        ),
        (
            &[(1, "www.client.example."), (2, "mx2.provider.example.")],
            "the best one is www.client.example, and deliver_to is mail.client.example",
        ),
        (
            &[(1, "mx2.provider.example."), (2, "mail.client.example.")],
            "this host is as good as mail.client.example, or better, and holds for it",
        ),
        (
            &[(1, "mail.client.example."), (2, "x.example."), (3, "mx2.provider.example.")],
            "the next one is x.example, and deliver_to is mail.client.example",
        ),
        (&[(0, ".")], "it says that it takes no mail (null MX)"),
        (&[], "it has no MX record: nobody may hold its mail"),
    ] {
        let (code, line) = said(records);
        let start = format!("wrong: client.example: {expected}");
        assert!(code == 1 && line.starts_with(&start), "{line}");
    }
}

#[test]
fn by_mx_mail_goes_to_whoever_is_before_this_host() {
    let by_mx = HOLDER.replace("mail.client.example:25", "mx");
    let private = format!("{by_mx}private_mx = true\n");
    const OWN: (u16, &str) = (20, "mx2.provider.example.");
    const HOME: (u16, &str) = (10, "home.client.example.");
    const SEVERAL: &[(u16, &str)] = &[HOME, (15, "nine.provider.example."), OWN];
    const BEHIND: &[(u16, &str)] = &[HOME, OWN, (30, "nine.provider.example.")];
    const WE_ARE_BEST: &[(u16, &str)] = &[OWN, (30, "nine.provider.example.")];
    const NOWHERE: &[(u16, &str)] = &[(10, "x.example."), OWN];
    let right = "right: client.example: mail goes to whoever is before this host";
    for (configuration, records, expected) in [
        (&by_mx, SEVERAL, right),
        (&private, BEHIND, right),
        (
            &by_mx,
            BEHIND,
            "wrong: client.example: mail does not go to home.client.example (10.0.0.1) without \
                private_mx",
        ),
        (&by_mx, NOWHERE, "wrong: client.example: nobody before this host has an address"),
        (
            &by_mx,
            WE_ARE_BEST,
            "wrong: client.example: this host is the best, and deliver_to is \"mx\": there is no \
                better one",
        ),
    ] {
        let (code, line) = check(configuration, Says::Mx(records));
        let is_right = expected.starts_with("right");
        assert!((code == 0) == is_right && line.starts_with(expected), "{line}");
    }
}

#[test]
fn any_number_stands_behind_the_holder_that_is_asked() {
    let second = HOLDER.replace("mail.client.example:25", "x.example:25");
    let records: &[_] =
        &[(1, "mail.client.example."), (2, "x.example."), (3, "mx-alias.provider.example.")];
    let (code, line) = check(&second, Says::Mx(records));
    let expected = "right: client.example: this host is behind the next one, and passes on to it";
    assert!(code == 0 && line.starts_with(expected), "by its address: {line}");
}

#[test]
fn a_caller_is_the_best_and_asks_the_next() {
    const BEHIND: [(u16, &str); 4] = [
        (10, "mail.client.example."),
        (20, "nine.provider.example."),
        (30, "x.example."),
        (30, "y.example."),
    ];
    let right = "right: client.example: the next one is asked (MX 10 mail.client.example, 20 \
        nine.provider.example, 30 x.example, 30 y.example)";
    assert_eq!(check(CALLER, Says::Mx(&BEHIND)), (0, right.to_owned()));
    let fetching = CALLER.replace("etrn", "user = \"u\"\npassword_file = \"/nonexistent\"\natrn");
    let only: &[_] = &[(5, "mx2.provider.example.")];
    assert_eq!(check(&fetching, Says::Mx(only)).0, 0, "who fetches need not be reached");
    for (records, expected) in [
        (only, "the best is mx2.provider.example, and should be this host"),
        (
            &[(1, "mail.client.example."), (1, "x.example."), (2, "mx2.provider.example.")],
            "others are as good as this host, and are not asked for what comes to them",
        ),
        (&[(1, "mail.client.example.")], "nobody is next: there is no holder"),
        (
            &[(1, "mail.client.example."), (2, "mx2.provider.example."), (2, "x.example.")],
            "exactly one may be next, the one that is asked, and mx2.provider.example and",
        ),
        (
            &[(1, "mail.client.example."), (2, "x.example."), (3, "mx2.provider.example.")],
            "the next one is x.example, and mx2.provider.example and 192.0.2.9 is asked",
        ),
    ] {
        let (code, line) = check(CALLER, Says::Mx(records));
        let start = format!("wrong: client.example: {expected}");
        assert!(code == 1 && line.starts_with(&start), "{line}");
    }
}

#[test]
fn what_cannot_be_found_out_is_said_and_is_not_well() {
    for (says, expected) in [
        (Says::Code(ResponseCode::NXDomain), "wrong: client.example: there is no such name"),
        (
            Says::Code(ResponseCode::ServFail),
            "unknown: client.example: the name server says: Server Failure",
        ),
        (
            Says::Code(ResponseCode::Refused),
            "unknown: client.example: the name server says: Query Refused",
        ),
    ] {
        assert_eq!(check(HOLDER, says), (1, expected.to_owned()));
    }
}
