//! What a device accepts, and how it gets onto the card.

use core::net::SocketAddr;

use heapless::Vec;
use postern_card::{Card, Draft, Fault};
use postern_core::drive;
use postern_core::envelope::{Head, Notify, Recipient, Ret, State, put_end};
use postern_core::session::{EtrnVerdict, Verdict, Why};
use postern_core::trace::HopCounter;
use postern_core::wire::etrn::Node;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, MAX_PATH, ReversePath};
use postern_core::wire::reply::Reason;
use postern_core::wire::{NoRoom, Out, Text};

use crate::budget::HELO;
use crate::log::{info, warning};
use crate::shared::Shared;

/// `Held as `, and an id.
type Said = Vec<u8, 48>;

/// The mailroom of one session. Between commands the card's draft keeps what was said; only the
/// HELO name, which outlives a transaction, is kept here.
pub(crate) struct Mailroom<'s, C: Card> {
    shared: &'s Shared<'s, C>,
    client: SocketAddr,
    helo: Vec<u8, HELO>,
    esmtp: bool,
    transaction: Option<Transaction>,
    /// Drafts can't be discarded where this is called for: that takes time.
    given_up: Option<Draft>,
    said: Said,
}

struct Transaction {
    draft: Draft,
    /// Octets that it was begun with.
    room: u64,
    id: uuid::Uuid,
    recipients: u32,
    hops: HopCounter,
}

impl<'s, C: Card> Mailroom<'s, C> {
    pub(crate) fn new(shared: &'s Shared<'s, C>, client: SocketAddr) -> Self {
        Self {
            shared,
            client,
            helo: Vec::new(),
            esmtp: false,
            transaction: None,
            given_up: None,
            said: Vec::new(),
        }
    }

    /// Gives the card back what a transaction that was given up holds of it.
    pub(crate) async fn clear(&mut self) {
        let drafts = [self.given_up.take(), self.transaction.take().map(|open| open.draft)];
        for draft in drafts.into_iter().flatten() {
            self.shared.desk.lock().await.store.discard(draft).await;
        }
    }

    /// Opens a draft and writes the envelope's head into it.
    async fn begin(
        &mut self,
        from: ReversePath<'_>,
        params: &MailParams<'_>,
    ) -> Result<(), Fault<C::Error>> {
        let arrival = self.shared.wall.now();
        let known = arrival.known.then_some(arrival.unix_seconds);
        let id = self.shared.dice.id(known, self.shared.boot);
        let mut desk = self.shared.desk.lock().await;
        let desk = &mut *desk;
        let free = desk.store.free().saturating_sub(KEPT_BACK);
        // A client that does not say how much comes gets a part of what there is, and may find more
        // when it needs it.
        let likely = u64::from(self.shared.settings.max_message_size).min(free / 4);
        let room = params.size.unwrap_or(likely).saturating_add(ENVELOPE);
        if room > free {
            return Err(Fault::Full);
        }
        let draft = desk.store.begin(room).await?;
        let transaction = Transaction { draft, room, id, recipients: 0, hops: HopCounter::new() };
        let transaction = self.transaction.insert(transaction);
        let head = Head {
            id: id.into_bytes(),
            arrival,
            client: Some(self.client.ip()),
            client_port: self.client.port(),
            helo: &self.helo,
            esmtp: self.esmtp,
            tls: false,
            authenticated: false,
            smtp_utf8: false,
            reverse_path: from.as_bytes(),
            body: params.body,
            ret: Ret::Unstated,
            envelope_id: b"",
        };
        let record = record(&mut desk.scratch, |out| head.put(out));
        desk.store.append(&mut transaction.draft, record).await
    }

    async fn add(&mut self, path: &[u8]) -> Result<(), Fault<C::Error>> {
        let transaction = self.transaction.as_mut().expect("core asks for RCPT after MAIL");
        let mut desk = self.shared.desk.lock().await;
        let desk = &mut *desk;
        let recipient = Recipient {
            path,
            notify: Notify::UNSTATED,
            original: b"",
            state: State::Waiting,
            attempts: 0,
            reply: b"",
        };
        let record = record(&mut desk.scratch, |out| recipient.put(out));
        transaction.recipients = transaction.recipients.saturating_add(1);
        desk.store.append(&mut transaction.draft, record).await
    }

    /// Writes the envelope's end; the message is next.
    async fn begin_message(&mut self) -> Result<(), Fault<C::Error>> {
        let transaction = self.transaction.as_mut().expect("core asks for a message after MAIL");
        let mut desk = self.shared.desk.lock().await;
        let desk = &mut *desk;
        let recipients = transaction.recipients;
        let record = record(&mut desk.scratch, |out| put_end(recipients, out));
        desk.store.append(&mut transaction.draft, record).await?;
        transaction.draft.end_envelope();
        Ok(())
    }

    async fn is_recipient(&self, path: &[u8], domain: &[u8]) -> Result<bool, Reason> {
        let settings = self.shared.settings;
        let is_held = |held: &&str| held.as_bytes().eq_ignore_ascii_case(domain);
        if !settings.domains.iter().any(is_held) {
            return Err(Reason::RelayDenied);
        }
        let local = path.get(..path.len().saturating_sub(domain.len() + 1)).unwrap_or_default();
        if settings.any_recipient || local.eq_ignore_ascii_case(b"postmaster") {
            return Ok(true);
        }
        let found = self.shared.desk.lock().await.store.is_recipient(path).await;
        found.map_err(|fault| self.shared.reason(&fault))
    }

    /// Whether an ETRN for `node` means our mail: by a domain of ours, the next hop's name, or
    /// another of its names.
    fn names(&self, node: &Node<'_>) -> bool {
        let settings = self.shared.settings;
        let same = |name: &str| node.name().eq_ignore_ascii_case(name.as_bytes());
        if let Node::Subtree(_) = node {
            return settings.domains.iter().any(|domain| node.covers(domain.as_bytes()));
        }
        let mut names = settings.domains.iter().chain(&settings.etrn_names);
        names.any(|name| same(name)) || same(settings.next_hop.host)
    }
}

/// Octets of an envelope for which room is reserved besides the message's: the head and a few
/// recipients; more of them take what the message leaves.
const ENVELOPE: u64 = 2048;

/// Octets of the card that clients can't fill: on a full card too, it must be written down who got
/// a message and who did not, or those who did would get it again.
const KEPT_BACK: u64 = 64 * 1024;

/// A record of an envelope, in the desk's scratch: it has room for the longest.
fn record(scratch: &mut [u8], put: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>) -> &[u8] {
    let mut out = Out::new(scratch);
    put(&mut out).expect("core bounds what stands in a record");
    let length = out.len();
    scratch.get(..length).unwrap_or_default()
}

impl<C: Card> drive::Mailroom for Mailroom<'_, C> {
    async fn connect(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn hello(&mut self, name: &[u8], esmtp: bool) -> Verdict<'_> {
        self.helo = name.iter().copied().take(HELO).collect();
        self.esmtp = esmtp;
        Verdict::Accept
    }

    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_> {
        self.clear().await;
        match self.begin(from, &params).await {
            Ok(()) => Verdict::Accept,
            Err(fault) => {
                self.clear().await;
                Verdict::Refuse(self.shared.reason(&fault), None)
            }
        }
    }

    async fn rcpt(&mut self, to: ForwardPath<'_>, _params: RcptParams<'_>) -> Verdict<'_> {
        let path = match to {
            ForwardPath::Postmaster(_) => self.shared.settings.postmaster.as_bytes(),
            ForwardPath::Mailbox(mailbox) => {
                match self.is_recipient(mailbox.as_bytes(), mailbox.domain()).await {
                    Ok(true) => mailbox.as_bytes(),
                    Ok(false) => return Verdict::Refuse(Reason::UnknownUser, None),
                    Err(reason) => return Verdict::Refuse(reason, None),
                }
            }
        };
        debug_assert!(path.len() <= MAX_PATH, "core bounds a path");
        match self.add(path).await {
            Ok(()) => Verdict::Accept,
            Err(fault) => Verdict::Refuse(self.shared.reason(&fault), None),
        }
    }

    async fn open(&mut self) -> Verdict<'_> {
        match self.begin_message().await {
            Ok(()) => Verdict::Accept,
            Err(fault) => Verdict::Refuse(self.shared.reason(&fault), None),
        }
    }

    async fn chunk(&mut self, octets: &[u8]) -> Result<(), Reason> {
        let transaction = self.transaction.as_mut().expect("core sends octets after DATA");
        transaction.hops.feed(octets);
        let mut desk = self.shared.desk.lock().await;
        let outgrown = transaction.draft.octets() > transaction.room;
        if outgrown && desk.store.free() < KEPT_BACK {
            return Err(Reason::Full);
        }
        let appended = desk.store.append(&mut transaction.draft, octets).await;
        appended.map_err(|fault| self.shared.reason(&fault))
    }

    async fn commit(&mut self, size: u64) -> Verdict<'_> {
        let transaction = self.transaction.take().expect("core ends a message that was begun");
        let Transaction { draft, id, recipients, hops, room: _ } = transaction;
        if hops.looping() {
            self.given_up = Some(draft);
            return Verdict::Refuse(Reason::Loop, None);
        }
        let mut desk = self.shared.desk.lock().await;
        if let Err(fault) = desk.store.commit(draft).await {
            self.shared.note(&fault);
            return Verdict::Refuse(Reason::Uncertain, None);
        }
        self.shared.recount(&desk.store);
        drop(desk);
        self.shared.arrived.signal(());
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = id.hyphenated().encode_lower(&mut text);
        info!("accepted {=str}: {=u64} octets for {=u32}", *id, size, recipients);
        self.said = b"Held as ".iter().chain(id.as_bytes()).copied().collect();
        Text::new(&self.said).map_or(Verdict::Accept, Verdict::AcceptWith)
    }

    fn discard(&mut self, _why: Why) {
        if let Some(transaction) = self.transaction.take() {
            self.given_up = Some(transaction.draft);
        }
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        let client = self.client.ip();
        let allowed = self.shared.settings.etrn_from.iter().any(|from| from.contains(client));
        if !allowed || !self.names(&node) {
            warning!("ETRN refused for {=[u8]:a}", node.name());
            return EtrnVerdict::NotAllowed;
        }
        let waiting = self.shared.waiting.get();
        if waiting == 0 {
            return EtrnVerdict::NoneWaiting;
        }
        // The run that is on may be one that failed before the host was up: another follows it.
        self.shared.released.signal(());
        if self.shared.releasing.get() {
            return EtrnVerdict::Started;
        }
        match node {
            Node::Host(_) => EtrnVerdict::Counted(waiting),
            Node::Subtree(_) | Node::Queue(_) => EtrnVerdict::Started,
        }
    }
}
