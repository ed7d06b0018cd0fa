//! What happens in a simulation: mail arrives, hosts and the spool misbehave, people interfere, the
//! server restarts; and in the end all is well, and everything must go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern::ask::Asking;
use postern::config::Config;
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
use postern_core::wire::params::{Body, Ret};
use postern_spool::memory::MemorySpool;
use postern_spool::{Draft, Envelope, Recipient, Spool};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::hosts::{Address, Host, Mood, Network};
use crate::ledger::{self, Domain, Message, Nature};
use crate::spool::SimSpool;
use crate::world::World;

/// The server must have stopped by then.
const STOPS_WITHIN: Duration = Duration::from_secs(35);
const MINUTE: u64 = 60_000;

/// A simulation under way.
pub struct Story {
    pub world: Arc<World>,
    pub spool: Arc<SimSpool>,
    pub terms: watch::Sender<Terms>,
    pub triggers: Triggers,
    pub stop: watch::Sender<bool>,
    engine: JoinHandle<()>,
    pub limits: Limits,
    /// When which host is well again, and which domain, or message, is let go.
    pub ends: Vec<(u64, Ending)>,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub all: u32,
    pub per_host: u32,
    /// More lines for each domain's table.
    pub hold: &'static str,
}

/// What comes to its end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Mood(usize),
    Hold(usize),
    HoldOf(usize),
    /// The time of day is trusted again.
    Distrust,
}

impl Story {
    /// A server that begins with these hosts, and domains at them.
    pub fn new(seed: u64, hosts: Vec<Host>, domains: Vec<Domain>, limits: Limits) -> Self {
        // What the engine draws by itself.
        fastrand::seed(seed);
        let world = Arc::new(World::new(seed));
        let spool = MemorySpool::new(world.clock.clone());
        let spool = Arc::new(SimSpool::new(Arc::clone(&world), spool));
        {
            let mut state = world.lock();
            state.hosts = hosts;
            state.ledger.domains = domains;
        }
        let terms = watch::Sender::new(terms(&world, limits));
        let stop = watch::Sender::new(false);
        let triggers = Triggers::default();
        let engine = start(&world, &spool, &terms, &triggers, &stop);
        Self { world, spool, terms, triggers, stop, engine, limits, ends: Vec::new() }
    }

    /// The configuration is read again.
    pub fn reload(&self) {
        self.terms.send_replace(terms(&self.world, self.limits));
    }

    /// Mail arrives, its recipients as told, and is acknowledged; its number.
    pub async fn receive(&self, to: &[(usize, Nature)], body: Vec<u8>, utf8: bool) -> usize {
        let number = self.world.lock().ledger.messages.len();
        let recipients: Vec<_> = {
            let state = self.world.lock();
            let plain = |(_, nature): &_| matches!(nature, Nature::Plain | Nature::Refused);
            let is_plain = to.iter().all(plain);
            let named = to.iter().enumerate();
            let named = named.map(|(nth, (domain, nature))| {
                let name = &state.ledger.domains[*domain].name;
                let path = format!("m{number}r{nth}@{name}");
                ledger::Recipient::new(path, *domain, *nature, is_plain)
            });
            named.collect()
        };
        let envelope = Envelope {
            arrival: self.world.clock.timestamp(),
            client: None,
            client_port: 0,
            helo: b"client.example".to_vec(),
            esmtp: true,
            tls: false,
            authenticated: false,
            submitted: false,
            smtp_utf8: utf8,
            reverse_path: format!("m{number}@sender.example").into_bytes(),
            body: Body::Unstated,
            ret: Ret::Unstated,
            envelope_id: Vec::new(),
            recipients: recipients.iter().map(|to| Recipient::new(to.path.as_bytes())).collect(),
        };
        let now = self.world.lock().now;
        let recipients = recipients.into_iter();
        let recipients = recipients.map(|to| ledger::Recipient { free: now, ..to }).collect();
        let mut draft = self.spool.begin(&envelope, None).await.expect("there is room");
        draft.write(&body).await.expect("there is room");
        let id = draft.id();
        {
            let mut state = self.world.lock();
            state.note(format!("m{number} arrives: {to:?}, {} octets", body.len()));
            state.count("arrived");
            to.iter().for_each(|(domain, _)| state.has_work(*domain));
            state.ledger.by_id.insert(id, number);
            let needs_utf8 = utf8 && !body.is_ascii();
            state.ledger.messages.push(Message { id, body, needs_utf8, recipients });
        }
        draft.commit().await.expect("memory does not fail");
        number
    }

    /// The server stops as it should, or at once, and starts again.
    pub async fn restart(&mut self, crash: bool) {
        {
            let mut state = self.world.lock();
            state.note(if crash { "crash" } else { "restart" });
            state.count(if crash { "crash" } else { "restart" });
        }
        if crash {
            self.engine.abort();
            let _cancelled = (&mut self.engine).await;
        } else {
            self.stop.send_replace(true);
            let stopped = tokio::time::timeout(STOPS_WITHIN, &mut self.engine).await;
            match stopped {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.world.lock().violated(format!("the engine: {error}")),
                Err(_) => {
                    self.world.lock().violated("the engine does not stop");
                    self.engine.abort();
                }
            }
        }
        // Turns that were cut end now.
        self.world.pass(1).await;
        {
            let mut state = self.world.lock();
            state.ledger.life += 1;
            state.delay_all(0);
            state.forget_woken();
            state.hosts.iter_mut().for_each(|host| host.allow_more(20));
        }
        let inner = self.spool.inner.after_crash();
        self.spool = Arc::new(SimSpool::new(Arc::clone(&self.world), inner));
        self.triggers = Triggers::default();
        self.stop = watch::Sender::new(false);
        self.engine = start(&self.world, &self.spool, &self.terms, &self.triggers, &self.stop);
    }

    /// Lets time go on, and ends what ends meanwhile.
    pub async fn pass(&mut self, ms: u64) {
        let until = self.world.lock().now + ms;
        loop {
            let next = self.ends.iter().map(|(at, _)| *at).min().filter(|at| *at <= until);
            let now = self.world.lock().now;
            self.world.pass(next.unwrap_or(until).saturating_sub(now)).await;
            let Some(next) = next else { return };
            let over: Vec<_> = self.ends.extract_if(.., |(at, _)| *at <= next).collect();
            for (_, ending) in over {
                self.end(ending).await;
            }
        }
    }

    /// Ends all that would end by itself.
    pub async fn end_all(&mut self) {
        for (_, ending) in std::mem::take(&mut self.ends) {
            self.end(ending).await;
        }
    }

    async fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Mood(host) => self.world.lock().set_mood(host, Mood::Well, "well"),
            Ending::Hold(domain) => self.hold(domain, false).await,
            Ending::HoldOf(number) => self.hold_message(number, false).await,
            Ending::Distrust => {
                let time = self.world.clock.timestamp();
                self.world.clock.set(postern_core::time::Timestamp { known: true, ..time });
            }
        }
    }

    /// Stops for good; what the simulation came to.
    pub async fn close(mut self) -> Outcome {
        self.stop.send_replace(true);
        let _stopped = tokio::time::timeout(STOPS_WITHIN, &mut self.engine).await;
        let mut state = self.world.lock();
        Outcome {
            trace: std::mem::take(&mut state.trace),
            tally: std::mem::take(&mut state.tally),
            violation: state.violation.take(),
        }
    }
}

/// What a simulation came to.
pub struct Outcome {
    pub trace: Vec<String>,
    pub tally: std::collections::BTreeMap<&'static str, u64>,
    pub violation: Option<String>,
}

fn start(
    world: &Arc<World>,
    spool: &Arc<SimSpool>,
    terms: &watch::Sender<Terms>,
    triggers: &Triggers,
    stop: &watch::Sender<bool>,
) -> JoinHandle<()> {
    let clock = world.clock.clone();
    let engine = Engine {
        loops: Arc::new(Loops::new(spool.secret(), clock.clone())),
        capabilities: Arc::new(Capabilities::new(clock.clone())),
        asking: Arc::new(Asking::new(clock.clone())),
        spool: Arc::clone(spool),
        terms: terms.subscribe(),
        metrics: Metrics::default(),
        link: Link::new(&terms.borrow().config.link, clock.clone()),
        connector: Arc::new(Network(Arc::clone(world))),
        tls: Tls::opportunistic(),
        own: Token::new().expect("random numbers"),
        triggers: triggers.clone(),
        progress: Progress::default(),
        clock,
    };
    tokio::spawn(engine.run(stop.subscribe()))
}

fn terms(world: &World, limits: Limits) -> Terms {
    let Limits { all, per_host, hold } = limits;
    let mut text = format!(
        "hostname = \"mx2.example\"\n\
         [release]\nconnections = {all}\nconnections_per_host = {per_host}\n"
    );
    let state = world.lock();
    for Domain { name, host, on_demand, .. } in &state.ledger.domains {
        let protocol = if state.hosts[*host].lmtp { "lmtp://" } else { "" };
        let every = if *on_demand { "never" } else { "30m" };
        text += &format!(
            "[hold.\"{name}\"]\nrecipients = \"any\"\nretry_every = \"{every}\"\n\
             deliver_to = \"{protocol}h{host}.example:25\"\n{hold}\n"
        );
    }
    let config = Config::parse(Path::new("simulation.toml"), &text).expect("a configuration");
    Terms::new(config, None)
}

/// Hosts and domains as the seed has them. The first two hosts never misbehave.
pub fn cast(luck: &mut fastrand::Rng) -> (Vec<Host>, Vec<Domain>, Limits) {
    let count = luck.usize(4..=7);
    let per_host = luck.u32(1..=3);
    let scarce = luck.u8(..4) == 0;
    let hosts_of_all = u32::try_from(count).expect("a few") * per_host;
    let all = if scarce { hosts_of_all / 2 + 2 } else { 2 * hosts_of_all + 4 };
    let hosts = (0..count).map(|nth| host(luck, nth, per_host)).collect();
    let domains = (0..luck.usize(count + 2..=2 * count)).map(|nth| {
        let host = if nth < count { nth } else { luck.usize(..count) };
        Domain::new(format!("d{nth}.example"), host, nth > 2 && luck.u8(..5) == 0)
    });
    (hosts, domains.collect(), Limits { all, per_host, hold: "" })
}

fn host(luck: &mut fastrand::Rng, nth: usize, per_host: u32) -> Host {
    let addresses = match luck.u8(..6) {
        0 => vec![Address::Refuses, Address::Serves],
        1 if nth > 1 => vec![Address::Unreachable, Address::Serves],
        _ => vec![Address::Serves],
    };
    let mut host = Host::new(per_host, nth < 2, addresses);
    host.latency = luck.u64(1..=80);
    for word in ["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8"] {
        let may = match word {
            "CHUNKING" => luck.bool(),
            // RFC 6531 section 3.1: not without the other.
            "SMTPUTF8" => host.offers_word("8BITMIME"),
            _ => true,
        };
        if luck.u8(..3) > 0 && may {
            host.offers.push(word.to_owned());
        }
    }
    if luck.u8(..3) > 0 {
        host.size_max = luck.bool().then_some(4000);
        let max = host.size_max.map(|max| format!(" {max}")).unwrap_or_default();
        host.offers.push(format!("SIZE{max}"));
    }
    host.lmtp = luck.u8(..6) == 0;
    host
}

/// A message's text, with dots where they matter.
pub fn body(luck: &mut fastrand::Rng, large: bool, utf8: bool) -> Vec<u8> {
    let subject = if utf8 { "f\u{fc}r" } else { "for" };
    let lines = if large { 150 } else { luck.usize(1..40) };
    let text = "the quick brown fox\r\n.and a dot\r\n".repeat(lines);
    format!("Subject: {subject}\r\n\r\n{text}").into_bytes()
}

pub const fn minutes(minutes: u64) -> u64 {
    minutes * MINUTE
}
