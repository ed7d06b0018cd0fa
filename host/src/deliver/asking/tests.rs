use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use postern_core::time::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::ask::Complaint;
use crate::config::{Ask, AskRate, Config, Host, Protocol, Setting};
use crate::deliver::Tcp;
use crate::policy::Peer;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

/// A host that answers RCPT as it is told to, and notes whom it was asked about.
struct Primary {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<u32>>,
}

type Reply = fn(&str) -> &'static str;

impl Primary {
    async fn start(greeting: &'static str, mail: &'static str, rcpt: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (asked, connections) = (Arc::default(), Arc::default());
        let primary = Self { address, asked: Arc::clone(&asked), connections };
        let connections = Arc::clone(&primary.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().expect("no panic") += 1;
                tokio::spawn(talk(stream, greeting, mail, rcpt, Arc::clone(&asked)));
            }
        });
        primary
    }

    async fn usual() -> Self {
        Self::start("220 primary", "250 2.1.0 ok", |rcpt| match rcpt {
            _ if rcpt.starts_with("info@") || rcpt.starts_with("postmaster@") => "250 2.1.5 ok",
            _ => "550 5.1.1 no such user",
        })
        .await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    fn host(&self) -> Endpoint {
        Endpoint {
            protocol: Protocol::Smtp,
            host: Host::Address(self.address.ip()),
            port: self.address.port(),
        }
    }
}

/// An empty reply closes the connection.
async fn talk(
    stream: TcpStream,
    greeting: &str,
    mail: &str,
    rcpt: Reply,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    let mut reply = greeting.to_owned();
    let mut line = String::new();
    while !reply.is_empty() {
        reply.push_str("\r\n");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        line.clear();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return;
        }
        reply = match line.trim_end() {
            said if said.starts_with("MAIL ") => mail.to_owned(),
            said if said.starts_with("RCPT TO:<") => {
                let path = said["RCPT TO:<".len()..].trim_end_matches('>').to_owned();
                let reply = rcpt(&path).to_owned();
                asked.lock().expect("no panic").push(path);
                reply
            }
            _ => "250 ok".to_owned(),
        };
    }
}

struct Stand {
    asking: Arc<Asking>,
    clock: Clock,
    settings: Ask,
    _stop: watch::Sender<bool>,
}

impl Stand {
    fn new() -> Self {
        let clock = Clock::manual(NOW);
        Self::with(Asking::new(clock.clone()), clock)
    }

    fn with(asking: Asking, clock: Clock) -> Self {
        let (asking, stop) = (Arc::new(asking), watch::Sender::new(false));
        let terms = watch::Sender::new(Terms::new(Config::default(), None)).subscribe();
        let asker = Asker {
            asking: Arc::clone(&asking),
            terms,
            clock: clock.clone(),
            connector: Arc::new(Tcp::system()),
            tls: Tls::opportunistic(),
            own: Token::new().expect("random numbers"),
        };
        tokio::spawn(asker.run(stop.subscribe()));
        let settings = Ask::absent().expect("every key has a default");
        Self { asking, clock, settings, _stop: stop }
    }

    async fn about(&self, primary: &Primary, local: &str) -> Found {
        self.about_for(primary, local, 1).await
    }

    async fn about_for(&self, primary: &Primary, local: &str, client: u8) -> Found {
        let domain: DomainName = "client.example".parse().expect("a domain name");
        let address = format!("{local}@{domain}").into_bytes();
        let path = address.clone();
        let recipient = Recipient { domain, address, path, host: primary.host() };
        let client = Peer::Internet(IpAddr::V4(Ipv4Addr::new(192, 0, client, 2)));
        self.asking.about(recipient, client, &self.settings, true).await
    }

    /// Waits until nobody asks any more, and what was found out is remembered.
    async fn rest(&self) {
        while !self.asking.rests() {
            tokio::task::yield_now().await;
        }
    }

    fn complaints(&self, primary: &Primary) -> Vec<Complaint> {
        let text = format!(
            "[hold.\"client.example\"]\nrecipients = \"ask\"\ndeliver_to = \"{}\"\n",
            primary.address
        );
        let config = Config::parse(std::path::Path::new("postern.toml"), &text).expect("sound");
        self.asking.complaints(&config)
    }

    /// Those at `client.example` that are remembered.
    fn remembered(&self) -> Vec<(String, bool)> {
        let page = self.asking.page(None, None, 100).into_iter();
        let local = |address: Vec<u8>| {
            String::from_utf8(address).expect("UTF-8").replace("@client.example", "")
        };
        page.map(|(address, said)| (local(address), said.exists)).collect()
    }
}

#[tokio::test]
async fn what_a_host_said_is_not_asked_again_while_it_counts() {
    let (stand, primary) = (Stand::new(), Primary::usual().await);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert_eq!(stand.about(&primary, "inof").await, Found::Unknown);
    stand.rest().await;
    let asked = primary.asked();
    assert_eq!((&*asked[0], asked.len()), ("info@client.example", 3), "{asked:?}");
    assert!(asked[1].starts_with("postern-"), "whether it takes anybody: {asked:?}");
    let expected = [("info".to_owned(), true), ("inof".to_owned(), false)];
    assert_eq!(stand.remembered(), expected);

    stand.clock.advance(Duration::from_secs(3599));
    assert_eq!(stand.about(&primary, "inof").await, Found::Unknown);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert_eq!(primary.asked().len(), 0);
    stand.clock.advance(Duration::from_secs(1));
    assert_eq!(stand.about(&primary, "inof").await, Found::Unknown);
    assert_eq!(primary.asked(), ["inof@client.example"]);

    // Half of its time is over: nobody waits for what it says now.
    stand.clock.advance(Duration::from_secs(84 * 3600));
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    stand.rest().await;
    assert_eq!(primary.asked()[0], "info@client.example");
    stand.clock.advance(Duration::from_secs(83 * 3600));
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert_eq!(primary.asked().len(), 0);
}

#[tokio::test]
async fn what_is_about_something_else_teaches_nothing() {
    for reply in [
        "450 4.1.1 later",
        "451 4.3.0 later",
        "550 5.7.1 your address is on a list",
        "550 5.2.1 mailbox disabled",
        "552 5.2.2 full",
        "554 5.1.1 no",
        "571 5.1.1 no",
        "550 4.1.1 later",
    ] {
        static SAID: Mutex<&str> = Mutex::new("");
        *SAID.lock().expect("no panic") = reply;
        let said: Reply = |_| *SAID.lock().expect("no panic");
        let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", said).await);
        assert_eq!(stand.about(&primary, "info").await, Found::Nothing, "{reply}");
        assert_eq!(stand.remembered(), [], "{reply}");
    }
    let known: Reply = |_| "550 5.1.1 it is said of MAIL";
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "550 5.1.1 no", known).await);
    assert_eq!(stand.about(&primary, "info").await, Found::Nothing);
}

#[tokio::test]
async fn a_refusal_without_a_status_counts_where_the_postmaster_is_taken() {
    let all: Reply = |_| "550 go away";
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", all).await);
    assert_eq!(stand.about(&primary, "info").await, Found::Nothing);
    assert_eq!(primary.asked(), ["info@client.example", "postmaster@client.example"]);
    let some: Reply = |rcpt| match rcpt {
        "postmaster@client.example" => "250 ok",
        _ => "550 no such user here",
    };
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", some).await);
    assert_eq!(stand.about(&primary, "info").await, Found::Unknown);
    stand.rest().await;
    assert_eq!(stand.remembered(), [("info".to_owned(), false)]);
}

#[tokio::test]
async fn a_host_that_does_not_want_to_be_asked_is_left_alone() {
    for (greeting, rcpt) in [
        ("421 busy", "250 ok"),
        ("554 go away", "250 ok"),
        ("220 hi", "421 too many questions"),
        ("220 hi", ""),
    ] {
        static SAID: Mutex<&str> = Mutex::new("");
        *SAID.lock().expect("no panic") = rcpt;
        let said: Reply = |_| *SAID.lock().expect("no panic");
        let (stand, primary) = (Stand::new(), Primary::start(greeting, "250 ok", said).await);
        let case = format!("{greeting} {rcpt}");
        assert_eq!(stand.about(&primary, "info").await, Found::Nothing, "{case}");
        stand.rest().await;
        let complaints = stand.complaints(&primary);
        let [Complaint::Refuses(host, _)] = &complaints[..] else {
            panic!("{case}: {complaints:?}");
        };
        assert_eq!(*host, primary.host());
        stand.clock.advance(Duration::from_secs(599));
        assert_eq!(stand.about(&primary, "sales").await, Found::Nothing, "{case}");
        assert_eq!(*primary.connections.lock().expect("no panic"), 1, "{case}");
        stand.clock.advance(Duration::from_secs(1));
        assert_eq!(stand.complaints(&primary), []);
        stand.about(&primary, "sales").await;
        assert_eq!(*primary.connections.lock().expect("no panic"), 2, "{case}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_tried_again_in_a_minute() {
    let stand = Stand::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = gone.local_addr().expect("it is bound");
    drop(gone);
    let primary = Primary { address, asked: Arc::default(), connections: Arc::default() };
    assert_eq!(stand.about(&primary, "info").await, Found::Nothing);
    stand.rest().await;
    assert_eq!(stand.complaints(&primary), [], "it may sleep");
    // It comes, and is left alone for a while all the same.
    let listener = TcpListener::bind(address).await.expect("the same port");
    assert_eq!(stand.about(&primary, "info").await, Found::Nothing);
    stand.clock.advance(Duration::from_secs(60));
    let asked = tokio::spawn(async move { stand.about(&primary, "info").await });
    listener.accept().await.expect("it is asked");
    asked.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_10_seconds_for_a_host_that_says_nothing() {
    let stand = Stand::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let primary = Primary { address, asked: Arc::default(), connections: Arc::default() };
    let began = tokio::time::Instant::now();
    assert_eq!(stand.about(&primary, "info").await, Found::Nothing);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_yes_to_anybody_means_nothing() {
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", |_| "250 ok").await);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    stand.rest().await;
    assert_eq!(stand.remembered(), []);
    let domain: DomainName = "client.example".parse().expect("a domain name");
    assert_eq!(stand.complaints(&primary), [Complaint::TakesAny(domain)]);
    assert_eq!(primary.asked().len(), 2);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert_eq!(primary.asked(), ["info@client.example"], "who is anybody is asked once a day");
    assert_eq!(stand.asking.complaints(&Config::default()), [], "it is asked no more");
    stand.clock.advance(Duration::from_secs(24 * 3600));
    stand.about(&primary, "info").await;
    stand.rest().await;
    assert_eq!(primary.asked().len(), 2);
}

/// It needs SMTPUTF8, which this host lacks: that says nothing of the host, or of others.
#[tokio::test]
async fn what_cannot_be_asked_about_is_no_refusal() {
    let (stand, primary) = (Stand::new(), Primary::usual().await);
    assert_eq!(stand.about(&primary, "j\u{f6}rg").await, Found::Nothing);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    stand.rest().await;
    assert_eq!(stand.complaints(&primary), []);
}

/// Another host is another word.
#[tokio::test]
async fn what_another_host_said_does_not_count() {
    let (stand, primary, other) = (Stand::new(), Primary::usual().await, Primary::usual().await);
    assert_eq!(stand.about(&primary, "sales").await, Found::Unknown);
    stand.rest().await;
    assert_eq!(stand.about(&other, "sales").await, Found::Unknown);
    assert_eq!(other.asked(), ["sales@client.example"]);
}

#[tokio::test]
async fn who_guesses_does_not_make_us_ask_more_than_we_may() {
    let (stand, primary) = (Stand::new(), Primary::usual().await);
    for guess in 0..100 {
        stand.about(&primary, &format!("guess{guess}")).await;
    }
    assert_eq!(primary.asked().len(), 5);
    assert_eq!(stand.about_for(&primary, "info", 2).await, Found::Exists, "another client");
    stand.rest().await;
    assert_eq!(primary.asked().len(), 2);
}

/// Whether there is a postmaster, and whether anybody is taken, is asked too.
#[tokio::test]
async fn all_that_a_host_is_asked_counts() {
    let some: Reply = |rcpt| match rcpt {
        "postmaster@client.example" => "250 ok",
        _ => "550 no such user here",
    };
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", some).await);
    for guess in 0..20 {
        stand.about_for(&primary, &format!("guess{guess}"), guess).await;
        stand.rest().await;
    }
    assert_eq!(primary.asked().len(), 10);
    stand.clock.advance(Duration::from_secs(60));
    assert_eq!(stand.about(&primary, "guess").await, Found::Unknown);
}

/// Some turn away whoever names one that they do not have.
#[tokio::test]
async fn a_yes_counts_though_the_host_breaks_off_behind_it() {
    let some: Reply = |rcpt| match rcpt {
        "info@client.example" => "250 ok",
        _ => "421 4.7.0 too many errors",
    };
    let (stand, primary) = (Stand::new(), Primary::start("220 hi", "250 ok", some).await);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    stand.rest().await;
    assert_eq!(stand.remembered(), [("info".to_owned(), true)]);
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert!(matches!(&stand.complaints(&primary)[..], [Complaint::Refuses(..)]));
}

#[tokio::test]
async fn ten_recipients_are_asked_about_over_one_connection() {
    let primary = Primary::usual().await;
    let rate = "1000/min".to_owned();
    let mut stand = Stand::new();
    stand.settings.rate = AskRate { questions: 1000, ..stand.settings.rate };
    let names: Vec<_> = (0..30).map(|nth| format!("name{nth}")).collect();
    let all = names.iter().map(|name| stand.about(&primary, name));
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut found = Vec::new();
    while let Some(next) = all.pop() {
        found.push(next.await);
    }
    assert_eq!(found, [Found::Unknown; 30], "{rate}");
    stand.rest().await;
    assert!(*primary.connections.lock().expect("no panic") >= 3);
    assert_eq!(primary.asked().len(), 30);
}

#[tokio::test]
async fn what_is_remembered_outlives_the_process() {
    let (folder, primary) = (tempfile::tempdir().expect("a folder"), Primary::usual().await);
    let open = || {
        let clock = Clock::manual(NOW);
        Stand::with(Asking::open(folder.path(), clock.clone()), clock)
    };
    let stand = open();
    assert_eq!(stand.about(&primary, "info").await, Found::Exists);
    assert_eq!(stand.about(&primary, "sales").await, Found::Unknown);
    stand.rest().await;
    let stand = open();
    let expected = [("info".to_owned(), true), ("sales".to_owned(), false)];
    assert_eq!(stand.remembered(), expected);
    assert!(stand.asking.forget_address(b"sales@client.example"));
    stand.rest().await;
    let stand = open();
    assert_eq!(stand.remembered(), expected[..1]);
    let domain = "client.example".parse().expect("a domain name");
    assert_eq!(stand.asking.forget_domain(&domain), 1);
    stand.rest().await;
    assert_eq!(open().remembered(), []);
}
