//! What clients are told, by the policy of the domain that they write to.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::accounts::Accounts;
use postern::ask::Asking;
use postern::config::Config;
use postern::lists::Lists;
use postern::net::listener::{Door, Reception, Terms, bind};
use postern::net::tls_server;
use postern::net::turned::{Fetch, Fetching, Turned};
use postern::observe::metrics::Metrics;
use postern::policy::Capabilities;
use postern::receive::etrn::Releases;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::refusals::Refusals;
use postern::receive::session::{Services, SessionHandler};
use postern::receive::submission::Limits;
use postern::receive::triggers::Triggers;
use postern::receive::wakeups::Wakeups;
use postern_core::drive::Handler;
use postern_core::session::{Transport, Verdict};
use postern_core::time::Timestamp;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ReversePath, parse_forward};
use postern_core::wire::reply::Reason;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{Domain, Filter, MsgId, Spool};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

const END: &str = "\r\n";

/// With a spool in `folder`.
fn services(folder: &Path, clock: Clock) -> Services<LogSpool> {
    let (metrics, triggers) = (Metrics::default(), Triggers::default());
    let options = Options { segment_bytes: 4 << 20, ..Options::default() };
    let spool = LogSpool::open(folder, options, clock.clone()).expect("an empty spool opens").0;
    Services {
        loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
        accounts: Arc::new(Accounts::new(spool.secret(), clock.clone())),
        limits: Arc::new(Limits::new(clock.clone())),
        own: Token::new().expect("random numbers"),
        spool: Arc::new(spool),
        releases: Releases::new(clock.clone(), metrics.clone(), triggers.clone()),
        wakeups: Arc::new(Wakeups::new(clock.clone(), metrics.clone(), triggers)),
        refusals: Arc::new(Refusals::new(clock.clone(), metrics.clone())),
        metrics,
        capabilities: Arc::new(Capabilities::new(clock.clone())),
        asking: Arc::new(Asking::new(clock.clone())),
        lists: Arc::new(Lists::new(clock.clone())),
        clock,
    }
}

/// A server that receives, and delivers nothing.
struct Server {
    address: SocketAddr,
    capabilities: Arc<Capabilities>,
    loops: Arc<Loops>,
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
    _folder: TempDir,
}

impl Server {
    fn start(holds: &str) -> Self {
        let source = format!("hostname = \"mx2.provider.example\"\n{holds}");
        let config = Config::parse(Path::new("postern.toml"), &source).expect("sound");
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let services = services(folder.path(), Clock::system());
        let (loops, capabilities) = (services.loops.clone(), services.capabilities.clone());
        let (stop, stopping) = watch::channel(false);
        let _entered = runtime.enter();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let terms = watch::channel(Terms::new(config, None)).1;
        let reception = Reception::new(Arc::new(services), terms, stopping.clone());
        runtime.spawn(Arc::new(reception).receive(listener, stopping));
        drop(_entered);
        Self { address, capabilities, loops, _stop: stop, _runtime: runtime, _folder: folder }
    }

    /// Says EHLO and then each line, and ends. The last line of each reply, but for EHLO's, and
    /// what the server says of itself.
    fn say(&self, lines: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let mut heard = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        reply(&mut heard);
        let mut say = |line: &str| {
            stream.write_all(format!("{line}{END}").as_bytes()).expect("it listens");
            reply(&mut heard)
        };
        say("EHLO sender.example");
        let mut said: Vec<_> = lines.iter().map(|line| say(line)).collect();
        stream.shutdown(Shutdown::Write).expect("it is open");
        said.extend(heard.map(|line| line.expect("text")));
        said
    }

    /// The replies to MAIL and RCPT.
    fn asked(&self, mail: &str, rcpt: &str) -> (String, String) {
        let said = self.say(&[&format!("MAIL FROM:{mail}"), &format!("RCPT TO:{rcpt}")]);
        let [mail, rcpt] = said.try_into().expect("two replies");
        (mail, rcpt)
    }
}

fn reply(heard: &mut Lines<BufReader<TcpStream>>) -> String {
    loop {
        let line = heard.next().expect("a reply").expect("text");
        if line.as_bytes().get(3) != Some(&b'-') {
            return line;
        }
    }
}

fn hold(domain: &str, keys: &str) -> String {
    let required = "deliver_to = \"mail.client.example:25\"\netrn_from = [\"127.0.0.0/8\"]";
    format!("[hold.\"{domain}\"]\n{required}\n{keys}\n")
}

const LISTED: &str = "recipients = [\"info\", \"jörg\"]";

#[test]
fn an_internationalized_domain_is_one_name_in_both_forms() {
    let server = Server::start(&hold("bücher.example", LISTED));
    let utf8 = "<ann@sender.example> SMTPUTF8";
    for rcpt in ["<info@bücher.example>", "<info@xn--bcher-kva.example>", "<JÖRG@BÜCHER.example>"]
    {
        let (_, said) = server.asked(utf8, rcpt);
        assert!(said.starts_with("250 "), "{rcpt}: {said}");
    }
    let text = format!("Subject: x{END}{END}Hello!{END}.");
    let rcpt = "RCPT TO:<info@bücher.example>";
    server.say(&["MAIL FROM:<ann@sender.example> SMTPUTF8", rcpt, "DATA", &text]);
    let said = server.say(&["ETRN bücher.example", "ETRN xn--bcher-kva.example"]);
    assert!(said[0].starts_with("253 2.0.0 1 "), "{said:?}");
    assert!(said[1].starts_with("250 "), "{said:?}");
}

#[test]
fn a_domain_takes_no_more_than_its_quota() {
    let server = Server::start(&hold("client.example", &format!("{LISTED}\nquota = \"100 B\"")));
    let (mail, rcpt) = ("<ann@sender.example>", "<info@client.example>");
    let full = "452 4.2.2 ";
    assert!(server.asked("<ann@sender.example> SIZE=101", rcpt).1.starts_with(full));
    assert!(server.asked("<ann@sender.example> SIZE=100", rcpt).1.starts_with("250 "));
    let text = format!("Subject: x{END}{END}{}{END}.", "x".repeat(100));
    let said =
        server.say(&[&format!("MAIL FROM:{mail}"), &format!("RCPT TO:{rcpt}"), "DATA", &text]);
    assert!(said[3].starts_with("250 "), "{said:?}");
    assert!(server.asked(mail, rcpt).1.starts_with(full));
}

#[test]
fn what_the_host_cannot_have_is_refused_in_time() {
    let server = Server::start(&hold("client.example", LISTED));
    let (ascii, utf8) = ("<ann@sender.example> SMTPUTF8", "<änn@sender.example> SMTPUTF8");
    let (info, jorg) = ("<info@client.example>", "<jörg@client.example>");
    let host = "mail.client.example:25".parse().expect("a host");
    for (known, refused) in [(None, false), (Some(true), false), (Some(false), true)] {
        if let Some(offered) = known {
            server.capabilities.note_smtputf8(&host, offered);
        }
        for (mail, rcpt) in [(utf8, info), (utf8, jorg), (ascii, jorg)] {
            let (_, said) = server.asked(mail, rcpt);
            assert_eq!(said.starts_with("553 5.6.7 "), refused, "{mail} {rcpt} {known:?}: {said}");
        }
        // Declared, but not needed: any host takes it.
        assert!(server.asked(ascii, info).1.starts_with("250 "));
    }
}

/// Addresses in ASCII do not tell whether the header is.
#[test]
fn a_header_that_the_host_cannot_have_is_refused_at_the_messages_end() {
    let server = Server::start(&hold("client.example", LISTED));
    let host = "mail.client.example:25".parse().expect("a host");
    let send = |mail: &str, text: &str| {
        let mail = format!("MAIL FROM:<ann@sender.example>{mail}");
        let text = format!("{text}{END}.");
        let rcpt = "RCPT TO:<info@client.example>";
        server.say(&[&mail, rcpt, "DATA", &text]).pop().expect("replies")
    };
    let header = format!("Subject: für{END}{END}x");
    let part = format!(
        "Content-Type: multipart/mixed; boundary=b{END}{END}--b{END}{header}{END}--b--{END}"
    );
    let body = format!("Subject: x{END}{END}für");
    let none = "für".to_owned();
    assert!(send(" SMTPUTF8", &header).starts_with("250 "), "nothing is known of the host");
    server.capabilities.note_smtputf8(&host, true);
    assert!(send(" SMTPUTF8", &header).starts_with("250 "));
    server.capabilities.note_smtputf8(&host, false);
    for (text, refused) in [(&header, true), (&part, true), (&body, false), (&none, false)] {
        let said = send(" SMTPUTF8", text);
        let expected = if refused { "554 5.6.9 " } else { "250 " };
        assert!(said.starts_with(expected), "{text}: {said}");
        // It was not declared, and goes on as it is.
        assert!(send("", text).starts_with("250 "), "{text}");
    }
}

#[test]
fn a_route_to_elsewhere_is_no_local_part() {
    let server = Server::start(&hold("client.example", "recipients = \"any\""));
    for (rcpt, expected) in [
        ("<ann+tag@client.example>", "250 "),
        ("<victim%evil.example@client.example>", "550 5.7.1 "),
        ("<evil.example!victim@client.example>", "550 5.7.1 "),
        ("<\"victim@evil.example\"@client.example>", "550 5.7.1 "),
        ("<postmaster@mx2.provider.example>", "250 "),
        ("<ann@mx2.provider.example>", "550 5.7.1 "),
    ] {
        let (_, said) = server.asked("<ann@sender.example>", rcpt);
        assert!(said.starts_with(expected), "{rcpt}: {said}");
    }
}

#[test]
fn a_client_that_guesses_recipients_is_sent_away() {
    let keys = format!("{LISTED}\n[receive]\nmax_errors = 3");
    let server = Server::start(&hold("client.example", &keys));
    let guess = "RCPT TO:<guess@client.example>";
    let said = server.say(&["MAIL FROM:<ann@sender.example>", guess, guess, guess]);
    assert!(said[2].starts_with("550 5.1.1 ") && said[4].starts_with("421 4.7.0 "), "{said:?}");
}

/// Mail that its host hands back to us goes out to it again, once.
#[test]
fn mail_in_a_circle_is_refused_at_its_second_return() {
    let server = Server::start(&hold("client.example", LISTED));
    let domain = Domain::new("client.example");
    let field = || {
        let mark = server.loops.mark(MsgId::now(), [&domain]);
        format!("Received: from x by mx2.provider.example with ESMTP id {mark};{END} Sat{END}")
    };
    let send = |header: &str| {
        let text = format!("{header}Subject: x{END}{END}Hello!{END}.");
        let rcpt = "RCPT TO:<info@client.example>";
        server.say(&["MAIL FROM:<ann@sender.example>", rcpt, "DATA", &text]).pop().expect("replies")
    };
    let (once, twice) = (field(), field() + &field());
    assert!(send(&twice).starts_with("250 "), "it comes from a stranger");
    server.loops.delivers_to(&domain, server.address.ip());
    assert!(send(&once).starts_with("250 "), "the first return is taken");
    let said = send(&twice);
    assert!(said.starts_with("554 5.4.6 "), "{said}");
    assert_eq!(server.loops.suspends(&domain), None);
    assert!(send(&(field() + &field())).starts_with("554 5.4.6 "));
    assert!(send(&(field() + &field())).starts_with("554 5.4.6 "));
    assert!(server.loops.suspends(&domain).is_some(), "three different messages");
}

/// A session of a client, without its dialogue.
struct Session {
    handler: SessionHandler<LogSpool>,
    spool: Arc<LogSpool>,
    clock: Clock,
    _folder: TempDir,
}

impl Session {
    fn start(holds: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::manual(Timestamp { unix_seconds: 1_800_000_000, known: true });
        let services = Arc::new(services(folder.path(), clock.clone()));
        let spool = Arc::clone(&services.spool);
        let source = format!("hostname = \"mx2.provider.example\"\n{holds}");
        let config = Config::parse(Path::new("postern.toml"), &source).expect("sound");
        let Terms { policies, hostname, .. } = Terms::new(config, None);
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let handler = SessionHandler::new(services, policies, hostname, client, None);
        Self { handler, spool, clock, _folder: folder }
    }

    /// Sends an empty message; why it is refused, if it is.
    async fn send(&mut self, to: &str) -> Result<(), Reason> {
        let path = format!("<{to}>");
        let (to, _) = parse_forward(path.as_bytes()).expect("a path");
        self.handler.mail(ReversePath::Null, MailParams::default()).await;
        accepted(&self.handler.rcpt(to, RcptParams::default()).await)?;
        accepted(&self.handler.open().await)?;
        accepted(&self.handler.commit(0).await)
    }
}

fn accepted(verdict: &Verdict<'_>) -> Result<(), Reason> {
    match verdict {
        Verdict::Refuse(reason, _) | Verdict::Close(reason, _) => Err(*reason),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_session_with_mail_for_null_alone_is_no_sign_of_life() {
    let null = "null@mx2.provider.example";
    let mut session = Session::start(&hold("client.example", LISTED));
    assert!(!session.handler.counts(), "nothing was said yet");
    assert_eq!(session.send(null).await, Ok(()));
    assert!(!session.handler.counts());
    assert_eq!(session.send("nobody@client.example").await, Err(Reason::UnknownUser));
    assert!(!session.handler.counts());
    assert_eq!(session.send("info@client.example").await, Ok(()));
    assert_eq!(session.send(null).await, Ok(()));
    assert!(session.handler.counts());
}

/// Else a host gets as many RCPTs as a client makes up, and some deliver as many copies.
#[tokio::test]
async fn a_recipient_that_is_named_a_thousand_times_is_one() {
    let mut session = Session::start(&hold("client.example", LISTED));
    session.handler.mail(ReversePath::Null, MailParams::default()).await;
    let named = ["<info@client.example>", "<info@CLIENT.example>", "<jörg@client.example>"];
    for path in named.iter().cycle().take(999) {
        let (to, _) = parse_forward(path.as_bytes()).expect("a path");
        let said = session.handler.rcpt(to, RcptParams::default()).await;
        assert_eq!(accepted(&said), Ok(()), "{path}");
    }
    assert_eq!(accepted(&session.handler.open().await), Ok(()));
    assert_eq!(accepted(&session.handler.commit(0).await), Ok(()));
    let held = session.spool.list(&Filter::default(), None, 9).await.expect("it works").items;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].recipients, 2, "{:?}", held[0].envelope.recipients);
}

/// A list is not to be guessed at as fast as somebody can connect. Who names those that there are
/// hears so at once, from the same address, too: many may come by that of one proxy.
#[tokio::test(start_paused = true)]
async fn a_client_that_guesses_in_many_sessions_waits_for_each_answer() {
    let mut session = Session::start(&hold("client.example", LISTED));
    let (began, guess) = (tokio::time::Instant::now(), "guess@client.example");
    for _ in 0..50 {
        assert_eq!(session.send(guess).await, Err(Reason::UnknownUser));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(session.send(guess).await, Err(Reason::TooManySessions), "421, which closes");
    }
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    assert_eq!(session.send("info@client.example").await, Ok(()));
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    session.clock.advance(Duration::from_secs(10));
    assert_eq!(session.send(guess).await, Err(Reason::UnknownUser));
    assert_eq!(session.send(guess).await, Err(Reason::TooManySessions));
}

/// Whoever may release a domain, and does so for ever, writes ten records a minute; what is
/// discarded, which anybody may send, uses up none of them.
#[tokio::test]
async fn a_hundred_thousand_wake_ups_are_ten_a_minute() {
    let wake = "wake@mx2.provider.example";
    let keys = format!("{LISTED}\nwakeup_address = \"{wake}\"");
    let mut session = Session::start(&hold("client.example", &keys));
    assert_eq!(session.send("info@client.example").await, Ok(()));
    for minute in 0..10 {
        for to in ["null@mx2.provider.example", wake] {
            let mut taken = 0;
            for _ in 0..5_000 {
                taken += u32::from(session.send(to).await == Ok(()));
            }
            assert_eq!(taken, 10, "{to} in minute {minute}");
        }
        session.clock.advance(Duration::from_secs(60));
    }
    let totals = session.spool.totals().await.expect("it works");
    assert_eq!((totals.messages, totals.operations), (1, 101));
}

/// Lines of the log, as they are written.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no holder panics").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine that is out of descriptors must not fill its disk with that.
#[tokio::test(start_paused = true)]
async fn connections_that_cannot_be_accepted_are_a_line_a_minute() {
    let lines = LogLines::default();
    let writer = lines.clone();
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::parse(Path::new("postern.toml"), "hostname = \"mx2.example\"");
    let clock = Clock::of_tokio(Timestamp { unix_seconds: 1_800_000_000, known: true });
    let services = Arc::new(services(folder.path(), clock));
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    // Each accept fails at once from now on.
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).expect("it listens");
    let terms = watch::channel(Terms::new(config.expect("sound"), None)).1;
    let (_stop, stopping) = watch::channel(false);
    let reception = Arc::new(Reception::new(services, terms, stopping.clone()));
    let receiving = timeout(Duration::from_secs(150), reception.receive(listener, stopping));
    assert!(receiving.await.is_err(), "it goes on");
    let text = lines.0.lock().expect("no holder panics").clone();
    let text = String::from_utf8(text).expect("a log of text");
    let unlogged = text.lines().filter_map(|line| line.split("unlogged=").nth(1)?.parse().ok());
    let unlogged: Vec<u32> = unlogged.collect();
    assert!(matches!(unlogged[..], [0, 500..=600, 500..=600]), "{text}");
}

/// Fetches nothing.
struct Nobody;

impl Fetch for Nobody {
    fn deliver(&self, _domains: Vec<Domain>, _to: Turned) -> Fetching<'_> {
        unreachable!("nobody authenticates")
    }
}

/// Else a few that begin a handshake, and go no further, keep everybody out for five minutes.
#[tokio::test]
async fn a_handshake_has_no_more_time_than_any_silent_client_has() {
    let source = "hostname = \"mx2.example\"\n[receive]\nchannels = 4\ntls = \"self-signed\"\n";
    for (at_once, begins) in [(true, &[][..]), (false, &["EHLO sender.example", "STARTTLS"])] {
        let config = Config::parse(Path::new("postern.toml"), source).expect("sound");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (tls, hostname) = (config.receive.tls.clone().expect("it is there"), config.hostname());
        let tls = tls_server::acceptor(&tls, &hostname, folder.path()).expect("it is made");
        let services = Arc::new(services(&folder.path().join("spool"), Clock::system()));
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (_stop, stopping) = watch::channel(false);
        let terms = watch::channel(Terms::new(config, Some(tls))).1;
        let reception = Reception::new(services, terms, stopping.clone());
        let door = Door::Atrn(Transport::Tls, Arc::new(Nobody));
        let reception = if at_once { reception.at(door) } else { reception };
        let receiving = tokio::spawn(Arc::new(reception).receive(listener, stopping));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let mut client = tokio::io::BufReader::new(stream);
            for line in begins {
                client.write_all(format!("{line}{END}").as_bytes()).await.expect("it listens");
            }
            let mut line = String::new();
            while !(at_once || line.contains("Ready to start TLS")) {
                client.read_line(&mut line).await.expect("it answers");
            }
            clients.push(client);
        }
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let read = async |client: &mut tokio::io::BufReader<_>| client.read(&mut [0]).await;
        // Others follow until half of the channels are free.
        let [one, two, three] = &mut clients[..] else { panic!("three") };
        let first = tokio::select! {
            ended = read(one) => ended,
            ended = read(two) => ended,
            ended = read(three) => ended,
        };
        assert_eq!(first.expect("it is sent away"), 0);
        let seconds = began.elapsed().as_secs();
        assert!((19..=20).contains(&seconds), "{begins:?}: {seconds}");
        tokio::time::resume();
        receiving.abort();
    }
}
