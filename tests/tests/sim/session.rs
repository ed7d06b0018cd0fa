//! The receiving side of each hop: core's session, its loop, and where the mail goes.

use std::rc::Rc;

use postern_core::drive::{Buffers, Handler, serve};
use postern_core::envelope::{Body, Ret};
use postern_core::session::{Config, EtrnVerdict, Greeting, Session, Transport, Verdict, Why};
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;
use postern_core::wire::etrn::Node;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use postern_spool::clock::Clock;
use postern_spool::{CommitError, Domain, Envelope, MsgId, Pending, Recipient};

use crate::holder::Queues;
use crate::machine::Machine;
use crate::wire::{Ticks, Wire};
use crate::world::World;

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
/// Mail to it releases its domain.
pub const WAKE: &[u8] = b"wake";

/// Where mail goes.
#[derive(Clone)]
pub enum Place {
    /// Into a machine's spool; a holder's queues can be released.
    Spool(Rc<Machine>, Option<Rc<Queues>>),
    /// To where it is read.
    Store(Rc<World>, Clock),
}

impl Place {
    fn world(&self) -> &Rc<World> {
        match self {
            Self::Spool(machine, _) => &machine.world,
            Self::Store(world, _) => world,
        }
    }

    fn clock(&self) -> Clock {
        match self {
            Self::Spool(machine, _) => machine.clock.clone(),
            Self::Store(_, clock) => clock.clone(),
        }
    }
}

/// Serves one connection. `turned_away`: it is told 421.
pub async fn receive(place: Place, wire: Rc<Wire>, turned_away: bool) {
    let world = Rc::clone(place.world());
    let mut config = Config::new(HOSTNAME).with(Extension::Etrn);
    if world.below(2) == 0 {
        config = config.with(Extension::Chunking);
    }
    if world.below(4) == 0 {
        config = config.without(Extension::Pipelining);
    }
    let mut session = Session::new(&config, 1, Transport::Clear);
    let mut lent = Lent { input: vec![0; config.min_input()], output: vec![0; config.min_out()] };
    let (mut link, mut clock) = (wire.end(1), Ticks(place.clock()));
    let mut receiver = Receiver {
        place,
        wire,
        turned_away,
        reverse_path: Vec::new(),
        paths: Vec::new(),
        body: Vec::new(),
        is_open: false,
    };
    let _ended = serve(&mut session, &mut link, &mut clock, &mut receiver, &mut lent).await;
    let is_open = receiver.is_open;
    world.demand(if is_open { Err("a transaction is left open".into()) } else { Ok(()) });
}

struct Lent {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Buffers for Lent {
    async fn lend(&mut self) -> (&mut [u8], &mut [u8]) {
        (&mut self.input, &mut self.output)
    }

    fn give_back(&mut self) {}
}

struct Receiver {
    place: Place,
    wire: Rc<Wire>,
    turned_away: bool,
    reverse_path: Vec<u8>,
    paths: Vec<Vec<u8>>,
    body: Vec<u8>,
    is_open: bool,
}

impl Receiver {
    fn defers(&self) -> bool {
        let world = self.place.world();
        let defers = world.goes_wrong(40);
        if defers {
            world.count("deferred");
        }
        defers
    }

    fn wakes(&self) -> impl Iterator<Item = Domain> {
        let wakes = |path: &&Vec<u8>| path.starts_with(WAKE);
        self.paths.iter().filter(wakes).map(|path| Domain::of_path(path))
    }

    async fn release(&self, domain: &Domain) -> Option<Pending> {
        let Place::Spool(machine, Some(queues)) = &self.place else { return None };
        let pending = machine.spool(|spool| spool.release(domain)).await.ok()?;
        queues.asked(domain);
        Some(pending)
    }

    async fn put(&self, machine: &Machine) -> Verdict<'static> {
        let world = &machine.world;
        let number = world.state().ledger.number(&self.body);
        let Some(number) = world.demand(number) else {
            return Verdict::Refuse(Reason::Policy, None);
        };
        let (id, envelope) = (MsgId::now(), self.envelope(machine));
        let domains: Vec<_> = envelope.recipients.iter().map(Recipient::domain).collect();
        let upstream = self.wire.item();
        let put = machine.spool_and(
            |spool| spool.put(id, &envelope, &self.body),
            |put| match put {
                Ok(()) => {
                    let mut state = world.state();
                    for domain in &domains {
                        state.ledger.holds(machine.item(domain, id), number);
                    }
                    drop(state);
                    self.note_taken(world);
                    world.tell(&format!("{}: m{number}", machine.name), "accepted");
                }
                Err(CommitError::Uncertain) => {
                    world.tell(&format!("{}: m{number}", machine.name), "uncertain commit");
                    let upstream = upstream.as_ref();
                    upstream.iter().for_each(|(item, _)| world.state().ledger.maybe_taken(item));
                }
                Err(CommitError::Refused(_)) => {}
            },
        );
        match put.await {
            Ok(()) => {
                machine.accepted.set(machine.accepted.get() + 1);
                machine.news.notify_waiters();
                Verdict::Accept
            }
            Err(CommitError::Uncertain) => Verdict::Refuse(Reason::Uncertain, None),
            Err(CommitError::Refused(_)) => Verdict::Refuse(Reason::Busy, None),
        }
    }

    fn envelope(&self, machine: &Machine) -> Envelope {
        Envelope {
            arrival: machine.clock.timestamp(),
            client: None,
            client_port: 0,
            helo: b"sender.example".to_vec(),
            esmtp: true,
            tls: false,
            authenticated: false,
            submitted: false,
            smtp_utf8: false,
            reverse_path: self.reverse_path.clone(),
            body: Body::Unstated,
            ret: Ret::Unstated,
            envelope_id: Vec::new(),
            recipients: self.paths.iter().map(|path| Recipient::new(path)).collect(),
        }
    }

    fn read(&self, world: &World) -> Verdict<'static> {
        let number = world.state().ledger.number(&self.body);
        let Some(number) = world.demand(number) else {
            return Verdict::Refuse(Reason::Policy, None);
        };
        for path in &self.paths {
            let domain = Domain::of_path(path);
            let delivered = world.state().ledger.delivered(number, &domain);
            world.tell(&format!("store: m{number} for {domain}"), "delivered");
            if world.demand(delivered) == Some(true) {
                world.count("came twice");
            }
        }
        self.note_taken(world);
        Verdict::Accept
    }

    /// It answers for the message from now on.
    fn note_taken(&self, world: &World) {
        let taken = match self.wire.item() {
            None => Err("a message came, and nobody sends one".into()),
            Some((item, is_heard)) => world.state().ledger.taken(&item, is_heard),
        };
        world.demand(taken);
    }
}

impl Handler for Receiver {
    async fn connect(&mut self) -> Verdict<'_> {
        match self.turned_away {
            true => Verdict::Close(Reason::TooManySessions, None),
            false => Verdict::Accept,
        }
    }

    async fn hello(&mut self, _name: &[u8], _greeting: Greeting) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn mail(&mut self, from: ReversePath<'_>, _params: MailParams<'_>) -> Verdict<'_> {
        if self.defers() {
            return Verdict::Refuse(Reason::Busy, None);
        }
        self.reverse_path = from.as_bytes().to_vec();
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
        match self.defers() {
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
        if self.defers() {
            return Verdict::Refuse(Reason::Busy, None);
        }
        let woken: Vec<_> = self.wakes().collect();
        if !woken.is_empty() {
            for domain in woken {
                self.release(&domain).await;
            }
            return Verdict::Accept;
        }
        match self.place.clone() {
            Place::Spool(machine, _) => self.put(&machine).await,
            Place::Store(world, _) => self.read(&world),
        }
    }

    fn discard(&mut self, _why: Why) {
        self.is_open = false;
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        let Node::Host(name) = node else { return EtrnVerdict::NotAllowed };
        let domain = Domain::new(&String::from_utf8_lossy(name));
        match self.release(&domain).await {
            None => EtrnVerdict::Unable,
            Some(Pending { waiting: 0, under_way: 0, .. }) => EtrnVerdict::NoneWaiting,
            Some(Pending { waiting: 0, .. }) => EtrnVerdict::Started,
            Some(pending) => EtrnVerdict::Counted(u32::try_from(pending.waiting).unwrap_or(9)),
        }
    }
}
