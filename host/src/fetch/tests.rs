use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::ask::Found;
use crate::config::{Config, Subaddress};
use crate::deliver::Connecting;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

/// A web server that answers each request by `answer`, and keeps the connection open where that
/// is wanted.
#[derive(Clone)]
struct Web {
    answer: Arc<dyn Fn(&str) -> Answer + Send + Sync>,
    heads: Arc<Mutex<Vec<String>>>,
    tls: Option<TlsAcceptor>,
}

#[derive(Clone)]
enum Answer {
    /// And the connection is closed.
    Closed(Vec<u8>),
    /// And nothing more comes.
    Open(Vec<u8>),
    /// An octet each second.
    Slowly(Vec<u8>),
    /// These again and again.
    ForEver(Vec<u8>, Vec<u8>),
}

impl Web {
    fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), heads: Arc::default(), tls: None }
    }

    async fn serve(self, stream: DuplexStream) -> io::Result<()> {
        match self.tls.clone() {
            Some(tls) => self.talk(tls.accept(stream).await?).await,
            None => self.talk(stream).await,
        }
    }

    async fn talk<S>(self, mut stream: S) -> io::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(stream.read_u8().await?.into());
        }
        self.heads.lock().expect("no panic").push(head.clone());
        match (self.answer)(&head) {
            Answer::Closed(octets) => {
                stream.write_all(&octets).await?;
                stream.shutdown().await
            }
            Answer::Open(octets) => {
                stream.write_all(&octets).await?;
                std::future::pending().await
            }
            Answer::Slowly(octets) => {
                let mut seconds = tokio::time::interval(Duration::from_secs(1));
                for octet in octets {
                    seconds.tick().await;
                    stream.write_u8(octet).await?;
                }
                stream.shutdown().await
            }
            Answer::ForEver(begin, more) => {
                stream.write_all(&begin).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            }
        }
    }
}

impl Connector for Web {
    fn look_up<'c>(&'c self, name: &'c str, port: u16) -> Connecting<'c, Vec<SocketAddr>> {
        Box::pin(async move {
            match name {
                "absent.example" => Err(io::Error::other("no such name")),
                _ => Ok(vec![SocketAddr::from(([192, 0, 2, 1], port))]),
            }
        })
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        Box::pin(async move {
            if address.ip() == IpAddr::from([127, 0, 0, 9]) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = duplex(64 << 10);
            tokio::spawn(self.clone().serve(theirs));
            let stream: Stream = Box::new(ours);
            Ok(stream)
        })
    }
}

fn fetcher(web: &Web) -> (Fetcher, Clock) {
    let clock = Clock::manual(NOW);
    let lists = Arc::new(Lists::new(clock.clone()));
    let terms = watch::Sender::new(Terms::new(Config::default(), None)).subscribe();
    (Fetcher { lists, terms, connector: Arc::new(web.clone()) }, clock)
}

fn domain() -> DomainName {
    "client.example".parse().expect("a domain name")
}

fn source(table: &str) -> Arc<ListSource> {
    let config = format!(
        "[hold.\"client.example\"]\nrecipients = {{ {table} }}\ndeliver_to = \"h.example:25\"\n"
    );
    let config = Config::parse(Path::new("postern.toml"), &config).expect("it is sound");
    let hold = config.hold.into_values().next().expect("one");
    let Recipients::Fetched(source) = hold.recipients else { panic!("it has urls") };
    source
}

const ONE: &str = "urls = [\"http://127.0.0.1/s3cret\"]";
const JSON: &str = "urls = [\"http://127.0.0.1/s3cret\"], select = \"/*\"";

/// What comes of a fetch from `table`, of the server that answers so.
async fn fetched(table: &str, answer: Answer) -> Result<(), String> {
    let web = Web::new(move |_| answer.clone());
    let (fetcher, _) = fetcher(&web);
    let fetched = fetcher.fetch(&domain(), &source(table)).await;
    let found = fetcher.lists.about(&domain(), b"info", &Subaddress::none());
    let expected = if fetched.is_ok() { Found::Exists } else { Found::Nothing };
    assert_eq!(found, expected);
    if let Err(why) = &fetched {
        assert!(!why.contains("s3cret"), "{why}");
    }
    fetched
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes()
}

fn whole(body: &str) -> Vec<u8> {
    answer(&format!("200 OK\r\nContent-Length: {}", body.len()), body)
}

const CHUNKED: &str = "200 OK\r\nTransfer-Encoding: chunked";

#[tokio::test(start_paused = true)]
async fn what_is_whole_is_taken() {
    let json = "[\"info@client.example\"]";
    for (table, octets) in [
        (ONE, whole("info@client.example\n")),
        (JSON, whole(json)),
        (ONE, whole("\u{feff}info@client.example\n")),
        (JSON, whole(&format!("\u{feff}{json}"))),
        (ONE, answer(CHUNKED, "5\r\ninfo@\r\nf\r\nclient.example\n\r\n0\r\n\r\n")),
        (JSON, answer(CHUNKED, "18\r\n[\"info@client.example\"]\n\r\n0\r\nX: trailer\r\n\r\n")),
    ] {
        for answer in [Answer::Closed(octets.clone()), Answer::Open(octets.clone())] {
            assert_eq!(fetched(table, answer).await, Ok(()), "{}", octets.escape_ascii());
        }
    }
}

const CODED: &str = "its answer is in a transfer coding that was not asked for";

#[tokio::test(start_paused = true)]
async fn what_is_cut_short_or_no_answer_is_not_taken() {
    let lines = "info@client.example\n";
    let long = |length: usize| format!("200 OK\r\nContent-Length: {length}");
    let coded = |coding: &str| format!("200 OK\r\nTransfer-Encoding: {coding}");
    for (table, octets, why) in [
        (ONE, answer(&long(21), lines), "cut short"),
        (ONE, answer(&long(19), lines), "its last line has no end"),
        (JSON, answer(&long(10), "[\"info@client.example\"]"), "it is no JSON"),
        (ONE, answer("200 OK", lines), "does not say where it ends"),
        (ONE, answer("200 OK\r\nContent-Length: 20\r\nContent-Length: 19", lines), "broke off"),
        (ONE, answer("200 OK\r\nContent-Length: -1", lines), "broke off"),
        (ONE, answer(CHUNKED, "14\r\ninfo@client.example\n\r\n"), "cut short"),
        (ONE, answer(CHUNKED, "14\r\ninfo@client.example\n\r\nxyz\r\n"), "cut short"),
        (ONE, answer(CHUNKED, "ffffffffffffffffff\r\nx"), "cut short"),
        (ONE, answer(&coded("identity"), lines), CODED),
        (ONE, answer(&coded("gzip"), lines), CODED),
        (ONE, answer(&coded("chunked, identity"), lines), CODED),
        (ONE, answer(&coded("chunked\r\nTransfer-Encoding: identity"), lines), CODED),
        (ONE, answer(&coded("identity\r\nContent-Length: 40"), lines), CODED),
        (ONE, answer(&coded("gzip, chunked"), "14\r\ninfo@client.example\n\r\n0\r\n\r\n"), CODED),
        (ONE, answer("301 Moved\r\nLocation: /x\r\nContent-Length: 0", ""), "no redirect"),
        (ONE, answer("307 No\r\nLocation: /x\r\nContent-Length: 20", lines), "no redirect"),
        (ONE, answer("500 Oops\r\nContent-Length: 20", lines), "it answers 500"),
        (ONE, answer("401 No\r\nContent-Length: 20", lines), "it answers 401"),
        (ONE, answer("206 Part\r\nContent-Length: 20", lines), "it answers 206"),
        (ONE, answer("204 None", ""), "it answers 204"),
        (ONE, answer("304 Same", ""), "it answers 304"),
        (
            ONE,
            answer("200 OK\r\nContent-Length: 20\r\nContent-Encoding: gzip", lines),
            "compressed",
        ),
        (ONE, b"220 mail.client.example ESMTP\r\n".to_vec(), "it broke off"),
        (ONE, Vec::new(), "it broke off"),
        (ONE, whole("info@client.example\n\u{fffd}\n"), "entry 2 is no address"),
        (ONE, answer(&long(21), "info@client.example\n\u{ff}"), "no text in UTF-8"),
        (ONE, whole("<html>\n<body>Sign in\n"), "entry 1 is no address"),
        (JSON, whole("<html>"), "it is no JSON"),
        (JSON, whole("[\"info@client.example\"]}"), "it is no JSON"),
        (JSON, whole("[\"info@client.example\", 7]"), "select finds no addresses"),
        (JSON, whole("[\"info@client.example\", \"info\"]"), "entry 2 is no address"),
    ] {
        let told = fetched(table, Answer::Closed(octets.clone())).await;
        let told = told.expect_err(why);
        assert!(told.contains(why), "{}: {told}", octets.escape_ascii());
        for text in ["info", "Sign", "html", "\u{fffd}"] {
            assert!(!told.contains(text), "what another sent is not shown: {told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_long_or_slow_is_given_up() {
    let much = format!("{}\n", "x".repeat(1023)).into_bytes();
    let chunk = [&b"400\r\n"[..], &much, b"\r\n"].concat();
    let begin = answer("200 OK\r\nContent-Length: 33554433", "");
    for (octets, more) in [(begin, much), (answer(CHUNKED, ""), chunk)] {
        let told = fetched(ONE, Answer::ForEver(octets, more)).await;
        assert_eq!(told, Err("URL 1 of 1: the list is longer than 32 MiB".to_owned()));
    }
    let endless = Answer::ForEver(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".to_vec());
    assert!(fetched(ONE, endless).await.is_err_and(|why| why.contains("broke off")));
    let late = Err("URL 1 of 1: it takes longer than 30 s".to_owned());
    let slow = Answer::Slowly(whole("info@client.example\n"));
    assert_eq!(fetched(ONE, slow).await, late);
    assert_eq!(fetched(ONE, Answer::Open(Vec::new())).await, late);
    let half = answer("200 OK\r\nContent-Length: 20", "info@");
    assert_eq!(fetched(ONE, Answer::Open(half)).await, late);
}

#[tokio::test(start_paused = true)]
async fn all_urls_have_one_length() {
    let body = format!("info@client.example\n{}", "# much\n".repeat((17 << 20) / 7));
    let table = "urls = [\"http://127.0.0.1/a\", \"http://127.0.0.1/b\"]";
    let told = fetched(table, Answer::Closed(whole(&body))).await;
    assert_eq!(told, Err("URL 2 of 2: the list is longer than 32 MiB".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_part_is_taken_where_one_is_missing() {
    let web = Web::new(|head| match head.starts_with("GET /one ") {
        true => Answer::Closed(whole("info@client.example\n")),
        false => Answer::Closed(answer("503 Busy\r\nContent-Length: 0", "")),
    });
    let (fetcher, _) = fetcher(&web);
    let table = source("urls = [\"http://127.0.0.1/one\", \"http://[::1]:81/two?x\"]");
    let told = fetcher.fetch(&domain(), &table).await;
    assert_eq!(told, Err("URL 2 of 2: it answers 503".to_owned()));
    let about = fetcher.lists.about(&domain(), b"info", &Subaddress::none());
    assert_eq!(about, Found::Nothing);
    let heads = web.heads.lock().expect("no panic");
    let second = heads[1].to_ascii_lowercase();
    assert!(second.starts_with("get /two?x http/1.1\r\n"), "{second}");
    assert!(second.contains("\r\nhost: [::1]:81\r\n"), "{second}");
    assert!(second.contains("\r\nconnection: close\r\n"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_there_is_told_of_without_its_name() {
    for (url, why) in [
        ("https://absent.example/", "its host is not found: no such name"),
        ("http://127.0.0.9/", "no connection: "),
    ] {
        let ca = certificate("mail.client.example");
        let (folder, file) = ca.file();
        let ca = if url.starts_with("https") { format!(", ca = {file:?}") } else { String::new() };
        let told = fetched(&format!("urls = [\"{url}\"]{ca}"), Answer::Open(Vec::new())).await;
        let told = told.expect_err(url);
        assert!(told.contains(why) && !told.contains("absent"), "{told}");
        drop(folder);
    }
}

struct Certificate {
    pem: String,
    tls: TlsAcceptor,
}

impl Certificate {
    fn file(&self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &self.pem).expect("a file");
        (folder, file)
    }
}

fn certificate(name: &str) -> Certificate {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a key of its own");
    Certificate { pem: certificate.pem(), tls: TlsAcceptor::from(Arc::new(config)) }
}

#[tokio::test]
async fn who_answers_proves_that_it_is_the_host() {
    let (own, other) = (certificate("mail.client.example"), certificate("mail.client.example"));
    let (_folder, file) = own.file();
    let url = "urls = [\"https://mail.client.example/s3cret\"]";
    for (tls, url, expected) in [
        (&own, url.to_owned(), Ok(())),
        (&other, url.to_owned(), Err("TLS: invalid peer certificate: ")),
        (&own, url.replace("mail.", "secret."), Err("TLS: its certificate is another host's")),
    ] {
        let body = Answer::Closed(whole("info@client.example\n"));
        let mut web = Web::new(move |_| body.clone());
        web.tls = Some(tls.tls.clone());
        let (fetcher, _) = fetcher(&web);
        let source = source(&format!("{url}, ca = {file:?}"));
        let told = fetcher.fetch(&domain(), &source).await;
        match (told, expected) {
            (Ok(()), Ok(())) => {}
            (Err(told), Err(why)) => {
                assert!(told.contains(why) && !told.contains("secret"), "{told}");
                assert!(web.heads.lock().expect("no panic").is_empty(), "it was asked");
            }
            (told, _) => panic!("{told:?}"),
        }
    }
}

#[test]
fn what_fails_is_tried_again_soon_and_then_seldom() {
    let hour = Duration::from_secs(3600);
    let minutes: Vec<_> = (0..9).map(|n| pause(hour, n).as_secs() / 60).collect();
    assert_eq!(minutes, [60, 1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(pause(hour, u32::MAX), hour);
}
