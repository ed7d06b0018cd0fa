//! What a session may do: the server's own handler, which is watched, and at the end of the way a
//! store.

use std::sync::Arc;

use postern::receive::session::SessionHandler;
use postern_core::drive::{Handler, serve};
use postern_core::session::{
    AuthVerdict, Config, EtrnVerdict, Greeting, Session, Transport, Verdict, Why,
};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use postern_spool::{Domain, MsgId};

use crate::machine::Machine;
use crate::server::Lent;
use crate::spool::{SimSpool, taken};
use crate::wire::{Ticks, Wire};
use crate::world::World;

const HOSTNAME: Text<'static> = Text::new(b"store.example").expect("printable");

/// Who sends what comes over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Sender,
    Machine(usize),
}

/// The connection that a session is on: its side of it, and who sends.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub wire: Arc<Wire>,
    pub side: usize,
    pub source: Source,
}

tokio::task_local! {
    /// Of the session that the present task is.
    pub static INCOMING: Incoming;
}

/// A server's session, which now and then defers something.
pub struct Watched {
    pub inner: SessionHandler<SimSpool>,
    machine: Arc<Machine>,
    hostname: String,
}

impl Watched {
    pub fn new(inner: SessionHandler<SimSpool>, machine: Arc<Machine>, hostname: String) -> Self {
        Self { inner, machine, hostname }
    }
}

fn defers(world: &World) -> bool {
    let defers = world.goes_wrong(60);
    if defers {
        world.count("deferred");
    }
    defers
}

impl Handler for Watched {
    async fn connect(&mut self) -> Verdict<'_> {
        self.inner.connect().await
    }

    async fn hello(&mut self, name: &[u8], greeting: Greeting) -> Verdict<'_> {
        self.inner.hello(name, greeting).await
    }

    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_> {
        if defers(&self.machine.world) {
            return Verdict::Refuse(Reason::Busy, None);
        }
        self.inner.mail(from, params).await
    }

    async fn rcpt(&mut self, to: ForwardPath<'_>, params: RcptParams<'_>) -> Verdict<'_> {
        // A sender here sends to all or none.
        let is_sender = INCOMING.with(|incoming| incoming.source == Source::Sender);
        if !is_sender && defers(&self.machine.world) {
            return Verdict::Refuse(Reason::Busy, None);
        }
        let domain = Domain::of_path(to.as_bytes());
        let verdict = self.inner.rcpt(to, params).await;
        let is_ours = domain.as_str() == self.hostname || self.machine.serves(&domain);
        if !is_ours {
            let what = format!("{domain} was sent to {}", self.machine.name);
            self.machine.world.demand::<()>(Err(what));
        }
        verdict
    }

    async fn open(&mut self) -> Verdict<'_> {
        if defers(&self.machine.world) {
            return Verdict::Refuse(Reason::Full, None);
        }
        self.inner.open().await
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.inner.chunk(bytes).await
    }

    async fn commit(&mut self, size: u64) -> Verdict<'_> {
        self.inner.commit(size).await
    }

    fn discard(&mut self, why: Why) {
        self.inner.discard(why);
    }

    fn quit(&mut self) {
        self.inner.quit();
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        self.inner.etrn(node).await
    }

    async fn atrn(&mut self, domains: Domains<'_>) -> Verdict<'_> {
        self.inner.atrn(domains).await
    }

    async fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> AuthVerdict<'_> {
        self.inner.auth(mechanism, initial).await
    }

    async fn auth_line(&mut self, line: &[u8]) -> AuthVerdict<'_> {
        self.inner.auth_line(line).await
    }
}

/// Where mail is read.
pub struct Store {
    pub machine: Arc<Machine>,
}

impl Store {
    /// Serves one connection.
    pub async fn serve(&self, wire: Arc<Wire>, source: Source) {
        let mut config = Config::new(HOSTNAME);
        if self.machine.world.below(2) == 0 {
            config = config.with(Extension::Chunking);
        }
        let mut session = Session::new(&config, 1, Transport::Clear);
        let mut lent = Lent::of(&config);
        let (mut link, mut clock) = (wire.end(1), Ticks(self.machine.clock.clone()));
        let (paths, body, said) = (Vec::new(), Vec::new(), String::new());
        let mut reader =
            Reader { machine: Arc::clone(&self.machine), paths, body, said, is_open: false };
        let incoming = Incoming { wire, side: 1, source };
        let served = serve(&mut session, &mut link, &mut clock, &mut reader, &mut lent);
        let _ended = INCOMING.scope(incoming, served).await;
        let is_open = reader.is_open;
        let world = &self.machine.world;
        world.demand(if is_open { Err("a transaction is left open".into()) } else { Ok(()) });
    }
}

struct Reader {
    machine: Arc<Machine>,
    paths: Vec<Vec<u8>>,
    body: Vec<u8>,
    said: String,
    is_open: bool,
}

impl Reader {
    fn read(&mut self) -> Verdict<'_> {
        let world = &self.machine.world;
        let known = world.state().ledger.identify(&self.body);
        let Some(known) = world.demand(known) else {
            return Verdict::Refuse(Reason::Busy, None);
        };
        let domains: Vec<_> = self.paths.iter().map(|path| Domain::of_path(path)).collect();
        let id = MsgId::now();
        taken(world, "store", (&known, id), &domains);
        for domain in &domains {
            if !self.machine.serves(domain) {
                world.demand::<()>(Err(format!("{domain} was sent to {}", self.machine.name)));
            }
            let delivered = world.state().ledger.delivered(known.number, domain);
            world.tell(&format!("store: m{} for {domain}", known.number), "delivered");
            if world.demand(delivered) == Some(true) {
                world.count("came twice");
            }
        }
        self.said = format!("Held as {id}");
        Verdict::AcceptWith(Text::new(self.said.as_bytes()).expect("an id is printable"))
    }
}

impl Handler for Reader {
    async fn connect(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn hello(&mut self, _name: &[u8], _greeting: Greeting) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn mail(&mut self, _from: ReversePath<'_>, _params: MailParams<'_>) -> Verdict<'_> {
        if defers(&self.machine.world) {
            return Verdict::Refuse(Reason::Busy, None);
        }
        self.paths.clear();
        self.body.clear();
        self.is_open = true;
        Verdict::Accept
    }

    async fn rcpt(&mut self, to: ForwardPath<'_>, _params: RcptParams<'_>) -> Verdict<'_> {
        self.paths.push(to.as_bytes().to_vec());
        Verdict::Accept
    }

    async fn open(&mut self) -> Verdict<'_> {
        match defers(&self.machine.world) {
            true => Verdict::Refuse(Reason::Full, None),
            false => Verdict::Accept,
        }
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    async fn commit(&mut self, _size: u64) -> Verdict<'_> {
        self.is_open = false;
        if defers(&self.machine.world) {
            return Verdict::Refuse(Reason::Busy, None);
        }
        self.read()
    }

    fn discard(&mut self, _why: Why) {
        self.is_open = false;
    }
}
