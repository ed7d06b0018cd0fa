//! A host that mail is delivered to: it says what it is told to, and keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types::PrivatePkcs8KeyDer};

/// A message as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Got {
    pub mail: String,
    pub rcpts: Vec<String>,
    pub body: Vec<u8>,
    pub secure: bool,
    /// Which connection it came over.
    pub connection: usize,
}

type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What a peer says that says nothing, for ever.
pub const SILENCE: &str = "(silence)";

/// How a peer behaves.
pub struct Behaviour {
    pub offers: &'static [&'static str],
    pub lmtp: bool,
    /// Whether its TLS handshake works.
    pub tls: bool,
    /// Whether there is TLS from the first octet on.
    pub implicit: bool,
    /// Whom its certificate is for.
    pub name: &'static str,
    /// What it says to a command (to "" at the connection's start, to "." at the message's end) if
    /// not the usual; when that is nothing, it hangs up.
    pub answer: Box<Answer>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            offers: &["PIPELINING", "SIZE 100000000", "8BITMIME"],
            lmtp: false,
            tls: true,
            implicit: false,
            name: "some-other.example",
            answer: Box::new(|_| None),
        }
    }
}

#[derive(Default)]
struct Seen {
    commands: Vec<String>,
    got: Vec<Got>,
    connections: usize,
}

struct Inner {
    behaviour: Behaviour,
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
    acceptor: TlsAcceptor,
}

/// Where nobody listens until a peer does, and nobody else meanwhile: the port is taken.
pub struct Away {
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl Away {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Self { socket, address }
    }
}

/// A running peer; it ends when it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    /// Its certificate, in PEM.
    pub certificate: String,
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
}

impl Peer {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(Away::new(), behaviour).await
    }

    pub async fn start_at(Away { socket, address }: Away, behaviour: Behaviour) -> Self {
        let listener = socket.listen(1024).expect("nobody else has the port");
        let (acceptor, certificate) = acceptor(behaviour.name);
        let inner = Arc::new(Inner {
            behaviour,
            seen: Mutex::default(),
            changed: watch::Sender::new(()),
            acceptor,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&inner)));
        Self { address, certificate, inner, _tasks: tasks }
    }

    pub fn got(&self) -> Vec<Got> {
        self.inner.seen.lock().expect("no holder panics").got.clone()
    }

    pub fn commands(&self) -> Vec<String> {
        self.inner.seen.lock().expect("no holder panics").commands.clone()
    }

    pub fn connections(&self) -> usize {
        self.inner.seen.lock().expect("no holder panics").connections
    }

    /// Waits until `enough` of what was seen.
    pub async fn wait(&self, enough: impl Fn(&Self) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        let waiting = async {
            while !enough(self) {
                changed.changed().await.expect("the peer lives");
            }
        };
        super::within(waiting).await;
    }
}

fn acceptor(name: &str) -> (TlsAcceptor, String) {
    let names = vec![name.to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("the key belongs to the certificate");
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut sessions = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("the listener works");
        stream.set_nodelay(true).expect("it is a TCP stream");
        let inner = Arc::clone(&inner);
        sessions.spawn(async move {
            let behaviour = &inner.behaviour;
            let connection = inner.see(|seen| {
                seen.connections += 1;
                seen.connections
            });
            let blank = Got { connection, ..Got::default() };
            if behaviour.implicit {
                let Ok(stream) = inner.acceptor.accept(stream).await else { return };
                let blank = Got { secure: true, ..blank };
                let _ = Session { inner: &inner, behaviour, blank }.serve(stream, true).await;
                return;
            }
            let session = Session { inner: &inner, behaviour, blank };
            // A client that hangs up is not the peer's concern.
            let Ok(Some(stream)) = session.serve(stream, true).await else { return };
            if !behaviour.tls {
                return;
            }
            let Ok(stream) = inner.acceptor.accept(stream).await else { return };
            let blank = Got { connection, secure: true, ..Got::default() };
            let session = Session { inner: &inner, behaviour, blank };
            let _ = session.serve(stream, false).await;
        });
    }
}

impl Inner {
    fn see<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let seen = change(&mut self.seen.lock().expect("no holder panics"));
        self.changed.send_replace(());
        seen
    }
}

struct Session<'p> {
    inner: &'p Inner,
    behaviour: &'p Behaviour,
    blank: Got,
}

impl Session<'_> {
    /// Serves until the client leaves; the stream, when it wants TLS.
    async fn serve<S>(&self, stream: S, greet: bool) -> std::io::Result<Option<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        let mut now = self.blank.clone();
        if greet {
            let greeting = (self.behaviour.answer)("").unwrap_or_else(|| "220 peer".to_owned());
            if greeting.is_empty() {
                return Ok(None);
            }
            say(&mut stream, &greeting).await?;
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            self.inner.see(|seen| seen.commands.push(line.clone()));
            let told = (self.behaviour.answer)(&line);
            let reply = told.unwrap_or_else(|| self.usual(&line));
            if reply.is_empty() {
                return Ok(None);
            }
            if reply == SILENCE {
                std::future::pending::<()>().await;
            }
            if reply.starts_with("250") && line.starts_with("MAIL") {
                now = Got { mail: line.clone(), ..self.blank.clone() };
            } else if reply.starts_with("250") && line.starts_with("RCPT") {
                now.rcpts.push(line.clone());
            }
            match (line.split(' ').next(), reply.as_bytes()) {
                (Some("BDAT"), _) => {
                    let size = line.split(' ').nth(1).and_then(|size| size.parse().ok());
                    now.body = vec![0; size.expect("BDAT has a size")];
                    stream.read_exact(&mut now.body).await?;
                    if !self.end(&mut stream, &now).await? {
                        return Ok(None);
                    }
                    continue;
                }
                (Some("QUIT"), _) => {
                    say(&mut stream, &reply).await?;
                    return Ok(None);
                }
                (Some("STARTTLS"), [b'2', ..]) => {
                    say(&mut stream, &reply).await?;
                    return Ok(Some(stream.into_inner()));
                }
                _ => say(&mut stream, &reply).await?,
            }
            if reply.starts_with("354") {
                now.body = read_dots(&mut stream).await?;
                if !self.end(&mut stream, &now).await? {
                    return Ok(None);
                }
            }
        }
    }

    fn usual(&self, line: &str) -> String {
        match line.split(' ').next().unwrap_or_default() {
            "EHLO" | "LHLO" => {
                let lines = self.behaviour.offers.iter().map(|offer| format!("250-{offer}\r\n"));
                format!("250-peer.example\r\n{}250 HELP", lines.collect::<String>())
            }
            "DATA" => "354 go".to_owned(),
            "STARTTLS" => "220 go".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        }
    }

    /// Answers a message; false: hang up instead.
    async fn end<S>(&self, stream: &mut BufReader<S>, got: &Got) -> std::io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reply = (self.behaviour.answer)(".").unwrap_or_else(|| "250 taken".to_owned());
        if reply.starts_with("250") && !got.rcpts.is_empty() {
            self.inner.see(|seen| seen.got.push(got.clone()));
        }
        let times = if self.behaviour.lmtp { got.rcpts.len() } else { 1 };
        for _ in 0..times {
            if reply.is_empty() {
                return Ok(false);
            }
            say(stream, &reply).await?;
        }
        Ok(true)
    }
}

async fn say<S>(stream: &mut BufReader<S>, line: &str) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.get_mut().flush().await
}

/// A message sent by DATA, its dots unstuffed.
async fn read_dots<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(body);
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
