//! A machine's spool: the real one, on its simulated disk, with an eye on what is asked of it.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use postern_spool::log::LogSpool;
use postern_spool::log::sim_disk::SimDisk;
use postern_spool::{
    Admission, Claim, CommitError, Domain, Draft, Due, Ended, Envelope, Error, Expired, Fate,
    MsgId, Next, Pending, QueueStats, Recipient, Recorded, Refuse, Settled, Spool, Turn, Wake,
};
use tokio::time::sleep;

use crate::ledger::{Item, Known, split_field};
use crate::machine::Machine;
use crate::receive::{INCOMING, Source};
use crate::world::World;

type Log = LogSpool<SimDisk>;

/// The spool of one life of a machine. No call comes back once that is over.
pub struct SimSpool {
    pub log: Log,
    machine: Arc<Machine>,
    life: u64,
}

impl fmt::Debug for SimSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimSpool")
    }
}

impl SimSpool {
    pub fn new(log: Log, machine: &Arc<Machine>, life: u64) -> Self {
        Self { log, machine: Arc::clone(machine), life }
    }

    /// Lets a call take its time.
    async fn enter(&self) {
        enter(&self.machine, self.life).await;
    }

    /// Looks what went wrong meanwhile.
    async fn leave<T>(&self, done: T) -> T {
        if *self.log.admission().borrow() == Admission::Stopped {
            self.machine.spool_stopped(self.life);
        }
        leave(&self.machine, self.life).await;
        done
    }

    fn item(&self, domain: &Domain, id: MsgId) -> Item {
        self.machine.item(domain, id)
    }

    /// Tidies as the writing thread does, some time behind what there is to tidy.
    pub async fn tidy(&self) {
        loop {
            self.machine.tidy.notified().await;
            self.machine.world.pass_some(1).await;
            self.enter().await;
            self.log.tidy();
            self.leave(()).await;
        }
    }

    /// What was to be recorded of deliveries, and whether it was.
    fn note_settled(&self, turn: &Turn, done: &[Settled], result: &Result<Vec<Recorded>, Error>) {
        let world = &self.machine.world;
        for (nth, settled) in done.iter().enumerate() {
            let item = self.item(&turn.domain, settled.id);
            for (_, fate) in &settled.fates {
                let delivered = matches!(fate, Fate::Delivered(_));
                let (name, reply) = (&self.machine.name, without_id(fate.reply()));
                let number = world.state().ledger.number(&item);
                let to = &turn.domain;
                world.note(format!("{name}: m{number} for {to}: {delivered}, {reply}"));
                let kept = matches!(fate, Fate::Refused(_) | Fate::Expired(_));
                let known = world.state().ledger.known(&item, delivered);
                world.demand(known);
                if kept {
                    world.demand::<()>(Err(format!("{item:?} is kept: {fate:?}")));
                }
                if !delivered {
                    continue;
                }
                let recorded = result.as_ref().ok().map(|recorded| recorded[nth]);
                if recorded == Some(Recorded::Gone) {
                    world.demand::<()>(Err(format!("{item:?} is gone at its settling")));
                }
                if recorded.is_none() {
                    world.tell(&self.machine.name, "uncertain settling");
                }
                world.state().ledger.settled(&item, recorded.is_some());
            }
        }
    }
}

async fn enter(machine: &Machine, life: u64) {
    let delay = machine.delay();
    if delay > 0 {
        sleep(Duration::from_millis(delay)).await;
    }
    if !machine.lives(life) {
        pending::<()>().await;
    }
}

async fn leave(machine: &Machine, life: u64) {
    machine.note_strikes();
    if machine.is_off(life) {
        pending::<()>().await;
    }
}

/// A message that is being received.
pub struct SimDraft {
    draft: Option<<Log as Spool>::Draft>,
    machine: Arc<Machine>,
    life: u64,
    domains: Vec<Domain>,
    octets: Vec<u8>,
}

impl SimDraft {
    /// What came, without our own Received field.
    fn known(&self) -> Result<Known, String> {
        let nobody = || format!("no Received: {:?}", String::from_utf8_lossy(&self.octets));
        let (_, message) = split_field(&self.octets).ok_or_else(nobody)?;
        self.machine.world.state().ledger.identify(message)
    }

    /// It is here: the machine answers for it, and says so to whoever sends it.
    fn committed(&self, id: MsgId, known: &Known) {
        let world = &self.machine.world;
        for domain in &self.domains {
            world.state().ledger.holds(self.machine.item(domain, id), known.number);
        }
        world.tell(&format!("{}: m{}", self.machine.name, known.number), "accepted");
        taken(world, &self.machine.name, (known, id), &self.domains);
    }
}

/// What comes over the present connection is here: `id` stands in the reply that says so.
pub fn taken(world: &World, name: &str, (known, id): (&Known, MsgId), domains: &[Domain]) {
    let Ok(incoming) = INCOMING.try_with(Clone::clone) else { return };
    let heard = incoming.wire.expect(incoming.side, id.to_string());
    let items: Vec<_> = match (incoming.source, known.held) {
        (Source::Sender, None) => vec![Item::Sent(known.number)],
        (Source::Machine(machine), Some(id)) => {
            let domains = domains.iter().cloned();
            domains.map(|domain| Item::Held { machine, domain, id }).collect()
        }
        _ => {
            world.demand::<()>(Err(format!("m{} came round", known.number)));
            return;
        }
    };
    for item in items {
        let taken = world.state().ledger.taken(&item, heard.clone());
        if world.demand(taken) == Some(true) {
            world.tell(name, "taken twice");
        }
    }
}

impl Draft for SimDraft {
    fn id(&self) -> MsgId {
        self.draft.as_ref().expect("it is not committed").id()
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Refuse> {
        enter(&self.machine, self.life).await;
        self.octets.extend_from_slice(chunk);
        let written = self.draft.as_mut().expect("it is not committed").write(chunk).await;
        leave(&self.machine, self.life).await;
        written
    }

    async fn commit(mut self) -> Result<MsgId, CommitError> {
        enter(&self.machine, self.life).await;
        let world = Arc::clone(&self.machine.world);
        let Some(known) = world.demand(self.known()) else {
            return Err(CommitError::Refused(Refuse::Busy));
        };
        let committed = self.draft.take().expect("it is not committed").commit().await;
        match committed {
            Ok(id) => self.committed(id, &known),
            Err(CommitError::Uncertain) => {
                let who = format!("{}: m{}", self.machine.name, known.number);
                world.tell(&who, "uncertain commit");
                world.state().ledger.maybe_holds(self.machine.number, known.number);
            }
            Err(CommitError::Refused(_)) => {}
        }
        self.machine.tidy.notify_one();
        leave(&self.machine, self.life).await;
        committed
    }
}

impl Spool for SimSpool {
    type Draft = SimDraft;
    type Body = <Log as Spool>::Body;

    postern_spool::leave_to! { log:
        admission list message act hold totals damage secret close
    }

    async fn begin(&self, envelope: &Envelope, size: Option<u64>) -> Result<SimDraft, Refuse> {
        self.enter().await;
        let begun = self.log.begin(envelope, size).await;
        let mut domains: Vec<_> = envelope.recipients.iter().map(Recipient::domain).collect();
        domains.sort();
        domains.dedup();
        let draft = self.leave(begun).await?;
        let (machine, life) = (Arc::clone(&self.machine), self.life);
        Ok(SimDraft { draft: Some(draft), machine, life, domains, octets: Vec::new() })
    }

    async fn release(&self, domains: &[Domain], why: Wake) -> Result<Vec<Pending>, Error> {
        self.enter().await;
        let released = self.log.release(domains, why).await;
        self.machine.tidy.notify_one();
        self.leave(released).await
    }

    async fn work(&self) {
        self.log.work().await;
        self.enter().await;
    }

    async fn due(&self, after: Option<&Due>, max: usize) -> Result<Vec<Due>, Error> {
        self.enter().await;
        self.log.due(after, max).await
    }

    async fn turn(
        &self,
        domain: &Domain,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Turn>, Error> {
        self.enter().await;
        let turn = self.log.turn(domain, limit, lease).await;
        self.leave(turn).await
    }

    async fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        self.enter().await;
        let claims = self.log.claim(turn, max).await;
        for claim in claims.iter().flatten() {
            let item = self.item(&turn.domain, claim.id);
            let claimed = self.machine.world.state().ledger.claimed(&item);
            self.machine.world.demand(claimed);
        }
        self.leave(claims).await
    }

    async fn renew(&self, turn: &Turn, lease: Duration) -> Result<(), Error> {
        self.enter().await;
        self.log.renew(turn, lease).await
    }

    async fn settle(&self, turn: &Turn, done: Vec<Settled>) -> Result<Vec<Recorded>, Error> {
        self.enter().await;
        let recorded = self.log.settle(turn, done.clone()).await;
        self.note_settled(turn, &done, &recorded);
        self.machine.tidy.notify_one();
        self.leave(recorded).await
    }

    async fn end(&self, turn: Turn, next: Next) -> Result<Ended, Error> {
        self.enter().await;
        let who = format!("{} {}", self.machine.name, turn.domain);
        match &next {
            Next::PutOff { .. } => self.machine.world.tell(&who, "put off"),
            Next::Suspended { why, .. } => {
                let why = String::from_utf8_lossy(why);
                self.machine.world.demand::<()>(Err(format!("{who} is suspended: {why}")));
            }
            _ => {}
        }
        let ended = self.log.end(turn, next).await;
        self.machine.tidy.notify_one();
        self.leave(ended).await
    }

    async fn body(&self, id: MsgId) -> Result<Self::Body, Error> {
        self.enter().await;
        let body = self.log.body(id).await;
        self.leave(body).await
    }

    async fn expire(&self, domain: &Domain, older: Duration, max: usize) -> Result<Expired, Error> {
        self.enter().await;
        let expired = self.log.expire(domain, older, max).await;
        self.leave(expired).await
    }

    async fn queue(&self, domain: &Domain) -> Result<Option<QueueStats>, Error> {
        self.enter().await;
        self.log.queue(domain).await
    }

    async fn queues(&self, after: Option<&Domain>, max: usize) -> Result<Vec<QueueStats>, Error> {
        self.enter().await;
        self.log.queues(after, max).await
    }
}

/// The words of a reply, but for a message's id: no two runs have the same.
fn without_id(reply: &[u8]) -> String {
    let reply = String::from_utf8_lossy(reply);
    let words = reply.split(' ').filter(|word| word.parse::<MsgId>().is_err());
    words.collect::<Vec<_>>().join(" ")
}
