//! A server of the host's, without its deliveries: what it took stays where it can be looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use postern::accounts::Accounts;
use postern::ask::Asking;
use postern::config::{Config, Tls};
use postern::lists::Lists;
use postern::net::listener::{Reception, Terms, bind};
use postern::net::tls_server::acceptor;
use postern::observe::metrics::Metrics;
use postern::policy::{Capabilities, Policies};
use postern::receive::etrn::Releases;
use postern::receive::greeting::Token;
use postern::receive::loops::Loops;
use postern::receive::refusals::Refusals;
use postern::receive::session::Services;
use postern::receive::submission::Limits;
use postern::receive::triggers::Triggers;
use postern::receive::wakeups::Wakeups;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{Body as _, Filter, Held, Spool};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::appletalk;
use crate::dialogue::{Settings, StoredMessage, StoredPath};
use crate::words::{body_word, notify_word, ret_word};

const HOSTNAME: &str = "mx.example";

/// A server that listens.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Trusts its certificate, and no other.
    pub trust: Arc<ClientConfig>,
    spool: Arc<LogSpool>,
    stop: watch::Sender<bool>,
    work: JoinSet<()>,
    _folder: TempDir,
}

impl Server {
    /// Starts one as the scripts want it.
    pub fn start(settings: &Settings, runtime: &Runtime) -> Self {
        Self::start_with(settings, false, runtime)
    }

    /// Starts one that has one client, on AppleTalk; `address` leads there.
    pub fn start_on_appletalk(settings: &Settings, runtime: &Runtime) -> Self {
        Self::start_with(settings, true, runtime)
    }

    fn start_with(settings: &Settings, on_appletalk: bool, runtime: &Runtime) -> Self {
        let _entered = runtime.enter();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = config(settings, folder.path());
        let own = folder.path().join("tls");
        let tls =
            acceptor(&Tls::SelfSigned, &config.hostname(), &own).expect("a certificate is made");
        let trust = trust(&own.join("certificate.pem"));
        let offered = !settings.without.iter().any(|name| name == "STARTTLS");
        let terms = Terms {
            policies: Arc::new(Policies::new(&config)),
            config: Arc::new(config),
            hostname: HOSTNAME.into(),
            tls: offered.then_some(tls),
        };
        let clock = Clock::system();
        let options = Options { segment_bytes: 4 << 20, ..Options::default() };
        let spool = LogSpool::open(&folder.path().join("spool"), options, clock.clone());
        let (spool, _) = spool.expect("an empty spool opens");
        let spool = Arc::new(spool);
        let metrics = Metrics::default();
        let triggers = Triggers::default();
        let wakeups = Wakeups::new(clock.clone(), metrics.clone(), triggers.clone());
        let releases = Releases::new(clock.clone(), metrics.clone(), triggers);
        let capabilities = Arc::new(Capabilities::new(clock.clone()));
        let refusals = Arc::new(Refusals::new(clock.clone(), metrics.clone()));
        let services = Services {
            spool: Arc::clone(&spool),
            loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
            accounts: Arc::new(Accounts::new(spool.secret(), clock.clone())),
            limits: Arc::new(Limits::new(clock.clone())),
            asking: Arc::new(Asking::new(clock.clone())),
            lists: Arc::new(Lists::new(clock.clone())),
            own: Token::new().expect("random numbers"),
            metrics,
            clock,
            releases,
            wakeups: Arc::new(wakeups),
            capabilities,
            refusals,
        };
        let (stop, stopping) = watch::channel(false);
        let (_, terms) = watch::channel(terms);
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let reception = Arc::new(Reception::new(Arc::new(services), terms, stopping.clone()));
        let mut work = JoinSet::new();
        let address = if on_appletalk {
            let (listener, address) = runtime.block_on(appletalk::listener());
            work.spawn(appletalk::bridge(reception, listener));
            address
        } else {
            work.spawn(reception.receive(listener, stopping));
            address
        };
        Self { address, trust, spool, stop, work, _folder: folder }
    }

    /// Waits until all sessions have ended, and gives what they left.
    pub fn stop(mut self, runtime: &Runtime) -> Vec<StoredMessage> {
        self.stop.send_replace(true);
        runtime.block_on(async {
            while let Some(ended) = self.work.join_next().await {
                ended.expect("the reception does not panic");
            }
            stored(&self.spool).await
        })
    }
}

fn config(settings: &Settings, folder: &Path) -> Config {
    let text = format!(
        r#"
hostname = "{HOSTNAME}"

[receive]
max_message_size = "{} B"
max_recipients = {}
tls = "self-signed"

[hold."client.example"]
recipients = ["user", "friend", '"a@any.example"@client.example']
deliver_to = "mail.client.example:25"
etrn_from = ["127.0.0.0/8"]

[hold."any.example"]
recipients = "any"
deliver_to = "mail.any.example:25"
"#,
        settings.max_message_size, settings.max_recipients
    );
    let parsed = Config::parse(&folder.join("postern.toml"), &text);
    parsed.unwrap_or_else(|problems| panic!("the configuration of the test: {problems:?}"))
}

fn trust(certificate: &Path) -> Arc<ClientConfig> {
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate was made");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("what was made is well formed");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The messages in the order of their ids, which is that of their arrival, each put together from
/// the items that it was filed as, one a domain.
async fn stored(spool: &LogSpool) -> Vec<StoredMessage> {
    let listed = spool.list(&Filter::default(), None, 10_000).await;
    let mut messages = BTreeMap::new();
    for listed in listed.expect("the spool can be listed").items {
        let held = item(spool, &listed).await;
        let to = held.envelope.recipients.iter().map(|recipient| {
            let mut params: Vec<String> = notify_word(recipient.notify).into_iter().collect();
            if !recipient.original.is_empty() {
                params.push(format!("ORCPT={}", recipient.original.escape_ascii()));
            }
            StoredPath { path: recipient.path.clone(), params }
        });
        let message: &mut StoredMessage = messages.entry(held.id).or_default();
        message.to.extend(to);
        message.from = from(&held);
        message.body = without_received(body(spool, &held).await);
    }
    messages.into_values().collect()
}

/// An item with all its recipients, of which the list shows some.
async fn item(spool: &LogSpool, listed: &Held) -> Held {
    let items = spool.message(listed.id).await.expect("the spool works");
    let mut items = items.into_iter();
    items.find(|item| item.domain == listed.domain).expect("it was just listed")
}

fn from(held: &Held) -> StoredPath {
    let envelope = &held.envelope;
    let mut params: Vec<String> = body_word(envelope.body).into_iter().collect();
    if !envelope.envelope_id.is_empty() {
        params.push(format!("ENVID={}", envelope.envelope_id.escape_ascii()));
    }
    params.extend(ret_word(envelope.ret));
    params.extend(envelope.smtp_utf8.then(|| "SMTPUTF8".to_owned()));
    StoredPath { path: envelope.reverse_path.clone(), params }
}

async fn body(spool: &LogSpool, held: &Held) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut body = spool.body(held.id).await.expect("a body can be read");
    loop {
        match body.chunk().await.expect("a body can be read") {
            [] => return octets,
            chunk => octets.extend_from_slice(chunk),
        }
    }
}

/// What stands behind the trace field that the server put on top.
fn without_received(body: Vec<u8>) -> Vec<u8> {
    assert!(body.starts_with(b"Received: "), "no trace: {}", body.escape_ascii());
    let mut start = 0;
    while let Some(at) = body[start..].iter().position(|octet| *octet == b'\n') {
        start += at + 1;
        if !matches!(body.get(start), Some(b' ' | b'\t')) {
            break;
        }
    }
    body[start..].to_vec()
}
