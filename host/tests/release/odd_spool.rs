//! Deliveries from a spool that hands out nothing, panics, or takes its time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use postern_spool::memory::{MemoryBody, MemoryDraft, MemorySpool};
use postern_spool::{
    Admission, Claim, Domain, Draft, Envelope, Error, Expired, MsgId, Spool, Status, Turn, Wake,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::failing::{engine, hold, wait_empty};
use crate::peer::Peer;
use crate::{NOW, answering, envelope, moments, plain_peer, terms, to, within};

/// A spool in memory, whose disk may be full, and which may have a fault.
struct OddSpool {
    inner: MemorySpool,
    /// No settling could be recorded: nothing is handed out.
    is_full: AtomicBool,
    /// No new mail is taken.
    is_short: AtomicBool,
    claims: AtomicUsize,
    panics_at_renew: AtomicBool,
    panics_at_expire: AtomicBool,
    /// Happens while the first claim is made.
    meanwhile: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Where it is set, the second body that is opened waits for the test.
    gate: OnceLock<Gate>,
}

/// Stops whoever comes second, until it is opened.
#[derive(Default)]
struct Gate {
    came: AtomicUsize,
    reached: Notify,
    opened: Notify,
}

impl OddSpool {
    fn new(clock: &Clock) -> Self {
        Self {
            inner: MemorySpool::new(clock.clone()),
            is_full: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            claims: AtomicUsize::new(0),
            panics_at_renew: AtomicBool::new(false),
            panics_at_expire: AtomicBool::new(false),
            meanwhile: OnceLock::new(),
            gate: OnceLock::new(),
        }
    }
}

impl Spool for OddSpool {
    type Draft = MemoryDraft;
    type Body = MemoryBody;

    postern_spool::leave_to! { inner:
        begin release work due turn settle end list message act hold totals queue queues
        damage secret close
    }

    fn admission(&self) -> watch::Receiver<Admission> {
        match self.is_short.load(Ordering::Relaxed) {
            true => watch::channel(Admission::Full).1,
            false => self.inner.admission(),
        }
    }

    async fn claim(&self, turn: &Turn, max: usize) -> Result<Vec<Claim>, Error> {
        let earlier = self.claims.fetch_add(1, Ordering::Relaxed);
        if let Some(happens) = self.meanwhile.get().filter(|_| earlier == 0) {
            happens();
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.inner.claim(turn, max).await
    }

    async fn renew(&self, turn: &Turn, lease: Duration) -> Result<(), Error> {
        assert!(!self.panics_at_renew.load(Ordering::Relaxed), "a fault that the test makes");
        self.inner.renew(turn, lease).await
    }

    async fn expire(&self, domain: &Domain, older: Duration, max: usize) -> Result<Expired, Error> {
        let panics = self.panics_at_expire.swap(false, Ordering::Relaxed);
        assert!(!panics, "a fault that the test makes");
        self.inner.expire(domain, older, max).await
    }

    async fn body(&self, id: MsgId) -> Result<MemoryBody, Error> {
        if let Some(gate) = self.gate.get()
            && gate.came.fetch_add(1, Ordering::Relaxed) == 1
        {
            gate.reached.notify_one();
            gate.opened.notified().await;
        }
        self.inner.body(id).await
    }
}

/// A host is not to be connected to every 5 s for a whole night to be sent nothing.
#[tokio::test]
async fn a_spool_that_hands_out_nothing_is_asked_before_the_host_is() {
    let peer = plain_peer().await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    spool.is_full.store(true, Ordering::Relaxed);
    let only_asked = format!("{}\nretry_every = \"never\"", to(peer.address));
    let (_terms, watched) = watch::channel(terms(&[("b.example", only_asked)]));
    let (_stop, stopping) = watch::channel(false);
    hold(&*spool).await;
    let domain = Domain::new("b.example");
    spool.release(std::slice::from_ref(&domain), Wake::Etrn).await.expect("it works");
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let mut moments = moments();
    within(async {
        // Each message that comes makes the engine look at what is due.
        while spool.claims.load(Ordering::Relaxed) < 4 {
            hold(&*spool).await;
            moments.tick().await;
        }
    })
    .await;
    assert_eq!(peer.connections(), 1);
    // It is still known that the mail was asked for.
    spool.is_full.store(false, Ordering::Relaxed);
    hold(&*spool).await;
    wait_empty(&*spool).await;
    engine.abort();
}

/// A claim may wait for the disk, and the configuration in force is another by then.
#[tokio::test]
async fn nothing_goes_to_a_host_that_the_domain_had_before_its_claim() {
    let (old, new) = (plain_peer().await, plain_peer().await);
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    let in_force = watch::Sender::new(terms(&[("b.example", to(old.address))]));
    let (_stop, stopping) = watch::channel(false);
    hold(&*spool).await;
    let engine = engine(&spool, &clock, in_force.subscribe());
    let moves = move || drop(in_force.send_replace(terms(&[("b.example", to(new.address))])));
    assert!(spool.meanwhile.set(Box::new(moves)).is_ok());
    let engine = tokio::spawn(engine.run(stopping));
    wait_empty(&*spool).await;
    assert_eq!((old.connections(), old.got().len()), (1, 0));
    engine.abort();
}

/// A fault of ours finds nothing out about the host.
#[tokio::test]
async fn a_panic_lifts_no_suspension() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT").then(|| "554 5.7.1 go away".to_owned())
    }))
    .await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(peer.address))]));
    let (_stop, stopping) = watch::channel(false);
    hold(&*spool).await;
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let domain = Domain::new("b.example");
    let mut moments = moments();
    let mut wait_answer = async |answer: &[u8]| {
        within(async {
            loop {
                let queue = spool.queue(&domain).await.expect("it works");
                match queue.filter(|queue| queue.last_answer == answer) {
                    Some(queue) => return queue,
                    None => moments.tick().await,
                };
            }
        })
        .await
    };
    assert!(wait_answer(b"554 5.7.1 go away").await.suspended.is_some());
    spool.panics_at_renew.store(true, Ordering::Relaxed);
    clock.advance(Duration::from_secs(34 * 60));
    hold(&*spool).await;
    let queue = wait_answer(b"a fault of ours ended the delivery").await;
    assert!(queue.suspended.is_some(), "{queue:?}");
    assert_eq!((queue.waiting, queue.kept), (2, 0));
    engine.abort();
}

/// Else it ends the server, and each further start of it within a minute.
#[tokio::test]
async fn a_panic_over_what_time_has_made_due_ends_nothing() {
    let peer = plain_peer().await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    // No turn has it when it has expired.
    let never = to(peer.address) + "\nretry_every = \"never\"";
    let hosts = [("a.example", never), ("b.example", to(peer.address))];
    let (_terms, watched) = watch::channel(terms(&hosts));
    let (_stop, stopping) = watch::channel(false);
    let arrival = Timestamp { unix_seconds: NOW.unix_seconds - 6 * 86_400, ..NOW };
    let old = Envelope { arrival, ..envelope(&["bob@a.example"]) };
    let draft = spool.begin(&old, None).await.expect("there is room");
    draft.commit().await.expect("it is kept");
    spool.panics_at_expire.store(true, Ordering::Relaxed);
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let mut moments = moments();
    within(async {
        while spool.panics_at_expire.load(Ordering::Relaxed) {
            moments.tick().await;
        }
    })
    .await;
    hold(&*spool).await;
    within(async {
        while !engine.is_finished() && peer.got().is_empty() {
            moments.tick().await;
        }
    })
    .await;
    assert!(!engine.is_finished());
    engine.abort();
}

/// Answers each command as it comes, until `last` has come.
async fn hear(stream: &mut BufReader<TcpStream>, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).await.expect("it is open") > 0, "{heard:?}");
        let line = line.trim_end().to_owned();
        let reply = match line.split(' ').next() {
            Some("EHLO") => "250-peer\r\n250 PIPELINING\r\n",
            Some("MAIL" | "RCPT") => "250 ok\r\n",
            Some("DATA") => "354 go\r\n",
            Some(".") => "250 taken\r\n",
            _ => "",
        };
        stream.write_all(reply.as_bytes()).await.expect("it is open");
        heard.push(line);
        if heard.last().is_some_and(|line| line == last) {
            return heard;
        }
    }
}

/// The next message's MAIL is on its way then: it has not been begun.
#[tokio::test]
async fn a_refusal_before_the_end_has_left_is_not_charged_to_the_next_message() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(address))]));
    let (_stop, stopping) = watch::channel(false);
    for _ in 0..3 {
        hold(&*spool).await;
    }
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let accept = async || {
        let (stream, _) = listener.accept().await.expect("it listens");
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 peer\r\n").await.expect("it is open");
        stream
    };
    let gate = spool.gate.get_or_init(Gate::default);
    let third = within(async {
        let mut first = accept().await;
        hear(&mut first, ".").await;
        hear(&mut first, "DATA").await;
        gate.reached.notified().await;
        first.write_all(b"554 5.7.1 spam\r\n").await.expect("it is open");
        // Until the engine's side of the connection is known to have it.
        tokio::task::yield_now().await;
        gate.opened.notify_one();
        hear(&mut accept().await, ".").await
    })
    .await;
    assert!(third.contains(&"DATA".to_owned()), "{third:?}");
    let domain = Domain::new("b.example");
    let mut moments = moments();
    within(async {
        loop {
            let queue = spool.queue(&domain).await.expect("it works").expect("one is kept");
            if (queue.waiting, queue.under_way, queue.kept) == (0, 0, 1) {
                return;
            }
            moments.tick().await;
        }
    })
    .await;
    engine.abort();
}

/// What is left of a full disk is for settlings. Else one that took the message gets it again.
#[tokio::test]
async fn on_a_full_disk_nothing_is_written_to_senders() {
    let peer = Peer::start(answering(|line| {
        line.starts_with("RCPT TO:<bob").then(|| "550 5.1.1 nobody".to_owned())
    }))
    .await;
    let clock = Clock::manual(NOW);
    let spool = Arc::new(OddSpool::new(&clock));
    let (_terms, watched) = watch::channel(terms(&[("b.example", to(peer.address))]));
    let (_stop, stopping) = watch::channel(false);
    let paths = ["ann@b.example", "bob@b.example"];
    let submitted = Envelope { submitted: true, ..envelope(&paths) };
    let mut draft = spool.begin(&submitted, None).await.expect("there is room");
    draft.write(b"Subject: hi\r\n\r\n").await.expect("there is room");
    let id = draft.commit().await.expect("it is kept");
    spool.is_short.store(true, Ordering::Relaxed);
    let engine = tokio::spawn(engine(&spool, &clock, watched).run(stopping));
    let mut moments = moments();
    within(async {
        while spool.message(id).await.expect("it works")[0].status != Status::Kept {
            moments.tick().await;
        }
    })
    .await;
    assert_eq!(peer.got().len(), 1);
    assert_eq!(spool.queue(&Domain::new("sender.example")).await, Ok(None));
    engine.abort();
}
