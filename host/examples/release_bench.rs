//! How fast held mail goes to one host: `cargo run --release --example release_bench [MESSAGES]`.
//!
//! Two hosts are measured: one that answers each command at once, and one without TCP_NODELAY that
//! writes each reply in two pieces, so that the second waits for our acknowledgement (RFC 896).

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use postern::ask::Asking;
use postern::config::Config;
use postern::deliver::Tcp;
use postern::link::Link;
use postern::net::listener::Terms;
use postern::net::tls_client::Tls;
use postern::observe::metrics::Metrics;
use postern::observe::progress::Progress;
use postern::policy::Capabilities;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::triggers::Triggers;
use postern::release::Engine;
use postern_core::wire::params::Body;
use postern_spool::clock::Clock;
use postern_spool::conformance::envelope;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{Draft, Envelope, Spool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const BODY_OCTETS: usize = 2048;
/// Messages that are held at once: they share syncs.
const HELD_AT_ONCE: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let messages: usize = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    for host in [Host::Quick, Host::Slow] {
        let (taken, mut seen) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(host.serve(listener, taken));
        let seconds = deliver(messages, address, &mut seen).await?;
        #[expect(clippy::cast_precision_loss, reason = "for show")]
        let rate = messages as f64 / seconds;
        println!("{host:?}: {messages} messages of 2 KiB in {seconds:.1} s, {rate:.0} a second");
    }
    Ok(())
}

/// Seconds from the engine's start until the host has all.
async fn deliver(
    messages: usize,
    host: SocketAddr,
    seen: &mut mpsc::UnboundedReceiver<()>,
) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::system();
    let (spool, _) = LogSpool::open(folder.path(), Options::default(), clock.clone())?;
    let spool = Arc::new(spool);
    hold(&spool, messages, &clock).await?;
    let text = format!(
        "hostname = \"mx2.example\"\n[hold.\"client.example\"]\nrecipients = \"any\"\n\
         deliver_to = \"{host}\"\n"
    );
    let config = Config::parse(Path::new("bench.toml"), &text).map_err(|_| "the configuration")?;
    let terms = Terms::new(config, None);
    let engine = Engine {
        loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
        capabilities: Arc::new(Capabilities::new(clock.clone())),
        asking: Arc::new(Asking::new(clock.clone())),
        spool: Arc::clone(&spool),
        link: Link::new(&terms.config.link, clock.clone()),
        terms: watch::Sender::new(terms).subscribe(),
        metrics: Metrics::default(),
        connector: Arc::new(Tcp::system()),
        tls: Tls::opportunistic(),
        own: Token::new()?,
        triggers: Triggers::default(),
        progress: Progress::default(),
        clock,
    };
    let (stop, stopping) = watch::channel(false);
    let begun = Instant::now();
    let engine = tokio::spawn(engine.run(stopping));
    for _ in 0..messages {
        seen.recv().await.ok_or("the host has ended")?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    engine.await?;
    spool.close().await;
    Ok(seconds)
}

async fn hold(spool: &Arc<LogSpool>, messages: usize, clock: &Clock) -> Result<(), Box<dyn Error>> {
    let arrival = clock.timestamp();
    let envelope = envelope(&["bob@client.example"]);
    let envelope = Arc::new(Envelope { arrival, body: Body::Unstated, ..envelope });
    let line = [&[b'x'; 62][..], b"\r\n"].concat();
    let body: Arc<[u8]> = line.repeat(BODY_OCTETS / line.len()).into();
    let mut under_way = JoinSet::new();
    for _ in 0..messages {
        if under_way.len() == HELD_AT_ONCE {
            under_way.join_next().await.ok_or("none is under way")??;
        }
        let (spool, envelope, body) = (Arc::clone(spool), Arc::clone(&envelope), Arc::clone(&body));
        under_way.spawn(async move {
            let mut draft = spool.begin(&envelope, None).await.expect("there is room");
            draft.write(&body).await.expect("there is room");
            draft.commit().await.expect("the disk works");
        });
    }
    while let Some(held) = under_way.join_next().await {
        held?;
    }
    Ok(())
}

/// What the mail goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// It answers at once.
    Quick,
    /// It writes replies in two pieces, and has no TCP_NODELAY.
    Slow,
}

impl Host {
    async fn serve(self, listener: TcpListener, taken: mpsc::UnboundedSender<()>) {
        while let Ok((stream, _)) = listener.accept().await {
            let taken = taken.clone();
            tokio::spawn(async move {
                // A client that has gone has all that it wanted.
                let _gone = self.converse(stream, taken).await;
            });
        }
    }

    async fn converse(
        self,
        stream: TcpStream,
        taken: mpsc::UnboundedSender<()>,
    ) -> std::io::Result<()> {
        stream.set_nodelay(self == Self::Quick)?;
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        self.say(&mut stream, "220 sink").await?;
        let (mut line, mut in_body) = (Vec::new(), false);
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            if in_body && line != b".\r\n" {
                continue;
            }
            let reply = match line.get(..4).unwrap_or(&line) {
                b".\r\n" => {
                    in_body = false;
                    // The measurement has ended.
                    let _over = taken.send(());
                    "250 taken"
                }
                b"EHLO" => "250-sink\r\n250 PIPELINING",
                b"DATA" => {
                    in_body = true;
                    "354 go"
                }
                b"QUIT" => return self.say(&mut stream, "221 bye").await,
                _ => "250 ok",
            };
            self.say(&mut stream, reply).await?;
        }
    }

    async fn say(self, stream: &mut BufReader<TcpStream>, reply: &str) -> std::io::Result<()> {
        let line = format!("{reply}\r\n");
        match self {
            Self::Quick => stream.write_all(line.as_bytes()).await,
            Self::Slow => {
                let (first, second) = line.as_bytes().split_at(3);
                stream.write_all(first).await?;
                stream.write_all(second).await
            }
        }
    }
}
