//! What a device accepts, and how it gets onto the card.

use heapless::Vec;
use postern_card::{Card, Draft, Fault, Store};
use postern_core::drive;
use postern_core::envelope::{Body, Head, Notify, Recipient, Ret, State, put_end};
use postern_core::session::{EtrnVerdict, Greeting, Verdict, Why};
use postern_core::trace::HopCounter;
use postern_core::wire::etrn::Node;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, MAX_PATH, Mailbox, ReversePath};
use postern_core::wire::reply::Reason;
use postern_core::wire::{NoRoom, Out, Text};

use crate::budget::HELO;
use crate::clock;
use crate::log::{info, warning};
use crate::peer::Peer;
use crate::shared::Shared;

/// `Held as `, and an id.
type Said = Vec<u8, 48>;

/// The handler of one session. Between commands the card's draft keeps what was said; only the
/// HELO name, which outlives a transaction, is kept here.
pub(crate) struct SessionHandler<'s, C: Card> {
    shared: &'s Shared<'s, C>,
    client: Peer,
    is_admitted: bool,
    helo: Vec<u8, HELO>,
    esmtp: bool,
    /// Whether it had the NULL account, and others, among its recipients.
    null: bool,
    others: bool,
    /// Messages that were kept, and whether the peer has taken leave.
    messages: u32,
    has_left: bool,
    transaction: Transaction,
}

/// The state of the last MAIL: one enum, since each octet of it is there once a channel.
enum Transaction {
    None,
    Open(Open),
    /// Its draft is still to be discarded: `discard` can't wait for the card.
    GivenUp(Draft),
    /// The text of the reply to its message.
    Committed(Said),
}

struct Open {
    draft: Draft,
    /// Octets that the draft was begun with.
    room: u64,
    id: uuid::Uuid,
    recipients: u32,
    hops: HopCounter,
    /// Octets that the client declared.
    size: Option<u64>,
    /// The NULL account is among its recipients.
    is_for_null: bool,
    /// Octets that came of a message for nobody else.
    passed_over: u64,
}

impl<'s, C: Card> SessionHandler<'s, C> {
    /// For `client`, which is served if it is admitted: it may have too many sessions.
    pub(crate) fn new(shared: &'s Shared<'s, C>, client: Peer, is_admitted: bool) -> Self {
        let (helo, transaction) = (Vec::new(), Transaction::None);
        let (esmtp, null, others) = (false, false, false);
        let (messages, has_left) = (0, false);
        Self {
            shared,
            client,
            is_admitted,
            helo,
            esmtp,
            null,
            others,
            messages,
            has_left,
            transaction,
        }
    }

    /// Messages that were kept.
    pub(crate) const fn messages(&self) -> u32 {
        self.messages
    }

    /// Whether the peer has taken leave.
    pub(crate) const fn has_left(&self) -> bool {
        self.has_left
    }

    /// Whether the session was for anything but mail that is discarded: else it is no sign that
    /// somebody needs the listener.
    pub(crate) const fn counts(&self) -> bool {
        self.others || !self.null
    }

    /// Discards the draft of a transaction that was given up.
    pub(crate) async fn clear(&mut self) {
        // Not `if let`: what that takes apart would be in the future once more.
        let Some(draft) = self.transaction.take_draft() else { return };
        let mut storage = self.shared.storage.lock().await;
        storage.store.discard(draft).await;
    }

    /// Opens a draft for a message of `size` octets, if the client says, and writes the envelope's
    /// head into it.
    async fn begin(
        &mut self,
        from: &[u8],
        size: Option<u64>,
        body: Body,
    ) -> Result<(), Fault<C::Error>> {
        let mut storage = self.shared.storage.lock().await;
        let storage = &mut *storage;
        let free = storage.store.free().saturating_sub(reserved(&storage.store));
        // A client that declares no SIZE gets a quarter of what is free, the largest message at
        // most. Its draft may take more later, if there is some.
        let likely = u64::from(self.shared.settings.max_message_size).min(free / 4);
        let room = size.unwrap_or(likely).saturating_add(ENVELOPE);
        if room > free {
            return Err(Fault::Full);
        }
        let draft = storage.store.begin(room).await?;
        let head = self.open(draft, room, from, body, &mut storage.buffer);
        let open = self.transaction.open();
        open.size = size;
        let draft = &mut open.draft;
        storage.store.append(draft, storage.buffer.get(..head).unwrap_or_default()).await
    }

    /// Opens the transaction, and writes the envelope's head into `buffer`. Not `async`: its locals
    /// are on the stack for a moment, and not in a future for good.
    fn open(
        &mut self,
        draft: Draft,
        room: u64,
        from: &[u8],
        body: Body,
        buffer: &mut [u8],
    ) -> usize {
        let arrival = self.shared.time_of_day.now();
        let known = arrival.known.then_some(arrival.unix_seconds);
        let id = self.shared.random.id(known, self.shared.boot);
        let hops = HopCounter::new();
        self.transaction = Transaction::Open(Open {
            draft,
            room,
            id,
            recipients: 0,
            hops,
            size: None,
            is_for_null: false,
            passed_over: 0,
        });
        let head = Head {
            id: id.into_bytes(),
            arrival,
            client: Some(self.client.origin()),
            client_port: self.client.port(),
            helo: &self.helo,
            esmtp: self.esmtp,
            tls: false,
            authenticated: false,
            submitted: false,
            smtp_utf8: false,
            reverse_path: from,
            body,
            ret: Ret::Unstated,
            envelope_id: b"",
        };
        record(buffer, |out| head.put(out))
    }

    async fn add(&mut self, path: &[u8]) -> Result<(), Fault<C::Error>> {
        let mut storage = self.shared.storage.lock().await;
        let storage = &mut *storage;
        let recipient = record(&mut storage.buffer, |out| waiting(path).put(out));
        let open = self.transaction.open();
        open.recipients = open.recipients.saturating_add(1);
        let record = storage.buffer.get(..recipient).unwrap_or_default();
        storage.store.append(&mut open.draft, record).await
    }

    /// Writes the envelope's end; the message is next.
    async fn begin_message(&mut self) -> Result<(), Fault<C::Error>> {
        let mut storage = self.shared.storage.lock().await;
        let storage = &mut *storage;
        let open = self.transaction.open();
        let end = record(&mut storage.buffer, |out| put_end(open.recipients, out));
        let record = storage.buffer.get(..end).unwrap_or_default();
        storage.store.append(&mut open.draft, record).await?;
        open.draft.end_envelope();
        Ok(())
    }

    /// Commits the message.
    async fn keep(&mut self) -> Result<(), Fault<C::Error>> {
        let mut storage = self.shared.storage.lock().await;
        let draft = self.transaction.take_draft().expect("core ends a message that was begun");
        let id = storage.store.commit(draft).await?;
        self.shared.fresh.borrow_mut().add(id);
        self.shared.recount(&storage.store);
        self.shared.arrived.signal(());
        Ok(())
    }

    fn give_up(&mut self) {
        if let Some(draft) = self.transaction.take_draft() {
            self.transaction = Transaction::GivenUp(draft);
        }
    }

    async fn is_recipient(&self, path: &[u8], domain: &[u8]) -> Result<bool, Reason> {
        let settings = self.shared.settings;
        let is_held = |held: &&str| held.as_bytes().eq_ignore_ascii_case(domain);
        if !settings.domains.iter().any(is_held) {
            return Err(Reason::RelayDenied);
        }
        let local = path.get(..path.len().saturating_sub(domain.len() + 1)).unwrap_or_default();
        if local.eq_ignore_ascii_case(b"postmaster") {
            return Ok(true);
        }
        if settings.any_recipient {
            return if local.iter().any(|octet| ROUTES.contains(octet)) {
                Err(Reason::Policy)
            } else {
                Ok(true)
            };
        }
        let found = self.shared.storage.lock().await.store.is_recipient(path).await;
        found.map_err(|fault| self.shared.reason(&fault))
    }

    /// Whether mail for `mailbox` is discarded: for `null` or `null%domain` at our own name, and at
    /// the domains that holders are asked for, whose answer to a wake-up may come back there. One
    /// that is listed gets his mail.
    async fn is_null(&self, mailbox: &Mailbox<'_>) -> Result<bool, Reason> {
        let (settings, domain) = (self.shared.settings, mailbox.domain());
        let same = |name: &str| name.as_bytes().eq_ignore_ascii_case(domain);
        let has_list = !settings.any_recipient && settings.domains.iter().any(|name| same(name));
        let is_ours = same(settings.hostname) || has_list && !settings.holders.is_empty();
        if !is_ours || !is_null(mailbox) {
            return Ok(false);
        }
        if !has_list {
            return Ok(true);
        }
        let mut storage = self.shared.storage.lock().await;
        let storage = &mut *storage;
        let octets = record(&mut storage.buffer, |out| {
            [NULL, b"@", domain].into_iter().try_for_each(|text| out.put(text))
        });
        let address = storage.buffer.get(..octets).unwrap_or_default();
        let listed = storage.store.is_recipient(address).await;
        listed.map(|listed| !listed).map_err(|fault| self.shared.reason(&fault))
    }

    /// Takes the NULL account as a recipient.
    fn set_aside(&mut self) -> Verdict<'static> {
        let (shared, client) = (self.shared, self.client.host());
        let open = self.transaction.open();
        if open.size.is_some_and(|size| size > ASIDE_MAX) {
            return Verdict::Refuse(Reason::TooBig, None);
        }
        if !open.is_for_null && !shared.discards.pass(client, clock::now()) {
            return Verdict::Refuse(Reason::Busy, None);
        }
        open.is_for_null = true;
        self.null = true;
        Verdict::Accept
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

/// The local part of the NULL account.
const NULL: &[u8] = b"null";
/// What hosts read as a route on to another domain: they relay for whom they trust, and through us
/// that is everybody.
const ROUTES: &[u8] = b"@%!";
/// Octets of a message that is discarded at most.
const ASIDE_MAX: u64 = 64 << 10;

/// Whether the local part of `mailbox` is that of the NULL account, or `null%` and its own domain.
fn is_null(mailbox: &Mailbox<'_>) -> bool {
    let local = mailbox.local_part();
    let quoted = local.strip_prefix(b"\"").and_then(|local| local.strip_suffix(b"\""));
    let of_us = || {
        let percent = local.iter().rposition(|octet| *octet == b'%')?;
        let (local, domain) = local.split_at_checked(percent)?;
        let is_ours = domain.get(1..)?.eq_ignore_ascii_case(mailbox.domain());
        Some(is_ours && local.eq_ignore_ascii_case(NULL))
    };
    quoted.unwrap_or(local).eq_ignore_ascii_case(NULL) || of_us() == Some(true)
}

/// Octets of an envelope for which room is reserved besides the message's: the head and a few
/// recipients; more of them take what the message leaves.
const ENVELOPE: u64 = 2048;

/// Extents of the card that clients can't fill. A full card too must have room to record who got a
/// message: a recipient that is not recorded gets it again. A new envelope takes an extent, and
/// what the old one took is free only after the next checkpoint.
const RESERVED: u64 = 4;

fn reserved<C: Card>(store: &Store<C>) -> u64 {
    RESERVED.saturating_mul(store.extent_octets())
}

/// Writes a record of an envelope into `buffer`, which has room for the longest, and returns its
/// length.
fn record(buffer: &mut [u8], put: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>) -> usize {
    let mut out = Out::new(buffer);
    put(&mut out).expect("core bounds what stands in a record");
    out.len()
}

const fn waiting(path: &[u8]) -> Recipient<'_> {
    Recipient {
        path,
        notify: Notify::UNSTATED,
        original: b"",
        state: State::Waiting,
        attempts: 0,
        reply: b"",
    }
}

impl Open {
    /// Whether nobody gets it.
    const fn is_aside(&self) -> bool {
        self.is_for_null && self.recipients == 0
    }
}

impl Transaction {
    /// The open transaction. core calls what belongs to one only after MAIL.
    fn open(&mut self) -> &mut Open {
        match self {
            Self::Open(open) => open,
            _ => unreachable!("core asks for RCPT and for the message behind MAIL"),
        }
    }

    /// Its draft, if there is one. The transaction is over.
    fn take_draft(&mut self) -> Option<Draft> {
        match core::mem::replace(self, Self::None) {
            Self::Open(Open { draft, .. }) | Self::GivenUp(draft) => Some(draft),
            Self::None | Self::Committed(_) => None,
        }
    }
}

impl<C: Card> drive::Handler for SessionHandler<'_, C> {
    async fn connect(&mut self) -> Verdict<'_> {
        if !self.is_admitted {
            return Verdict::Close(Reason::TooManySessions, None);
        }
        Verdict::Accept
    }

    async fn hello(&mut self, name: &[u8], greeting: Greeting) -> Verdict<'_> {
        self.helo = name.iter().copied().take(HELO).collect();
        self.esmtp = greeting == Greeting::Ehlo;
        Verdict::Accept
    }

    async fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'_> {
        let MailParams { size, body, .. } = params;
        self.clear().await;
        match self.begin(from.as_bytes(), size, body).await {
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
                match self.is_null(&mailbox).await {
                    Ok(true) => return self.set_aside(),
                    Ok(false) => {}
                    Err(reason) => return Verdict::Refuse(reason, None),
                }
                match self.is_recipient(mailbox.as_bytes(), mailbox.domain()).await {
                    Ok(true) => mailbox.as_bytes(),
                    Ok(false) => return Verdict::Refuse(Reason::UnknownUser, None),
                    Err(reason) => return Verdict::Refuse(reason, None),
                }
            }
        };
        debug_assert!(path.len() <= MAX_PATH, "core bounds a path");
        match self.add(path).await {
            Ok(()) => {
                self.others = true;
                Verdict::Accept
            }
            Err(fault) => Verdict::Refuse(self.shared.reason(&fault), None),
        }
    }

    async fn open(&mut self) -> Verdict<'_> {
        if self.transaction.open().is_aside() {
            return Verdict::Accept;
        }
        match self.begin_message().await {
            Ok(()) => Verdict::Accept,
            Err(fault) => Verdict::Refuse(self.shared.reason(&fault), None),
        }
    }

    async fn chunk(&mut self, octets: &[u8]) -> Result<(), Reason> {
        let open = self.transaction.open();
        if open.is_aside() {
            open.passed_over = open.passed_over.saturating_add(octets.len() as u64);
            return if open.passed_over > ASIDE_MAX { Err(Reason::TooBig) } else { Ok(()) };
        }
        open.hops.feed(octets);
        let mut storage = self.shared.storage.lock().await;
        let outgrown = open.draft.octets() > open.room;
        if outgrown && storage.store.free() < reserved(&storage.store) {
            return Err(Reason::Full);
        }
        let appended = storage.store.append(&mut open.draft, octets).await;
        appended.map_err(|fault| self.shared.reason(&fault))
    }

    async fn commit(&mut self, size: u64) -> Verdict<'_> {
        let open = self.transaction.open();
        if open.is_aside() {
            let discarded = self.shared.discarded.get().saturating_add(1);
            self.shared.discarded.set(discarded);
            info!("discarded {=u64} octets; messages since the start: {=u32}", size, discarded);
            self.give_up();
            return Verdict::Accept;
        }
        if open.hops.looping() {
            self.give_up();
            return Verdict::Refuse(Reason::Loop, None);
        }
        let (id, recipients) = (open.id, open.recipients);
        let committed = self.keep().await;
        if let Err(fault) = committed {
            let reason = match self.shared.reason(&fault) {
                Reason::Full => Reason::Full,
                _ => Reason::Uncertain,
            };
            return Verdict::Refuse(reason, None);
        }
        self.messages = self.messages.saturating_add(1);
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = id.hyphenated().encode_lower(&mut text);
        info!("accepted {=str}: {=u64} octets for {=u32}", *id, size, recipients);
        let said = b"Held as ".iter().chain(id.as_bytes()).copied().collect();
        self.transaction = Transaction::Committed(said);
        match &self.transaction {
            Transaction::Committed(said) => Text::new(said),
            _ => None,
        }
        .map_or(Verdict::Accept, Verdict::AcceptWith)
    }

    fn discard(&mut self, _why: Why) {
        self.give_up();
    }

    fn quit(&mut self) {
        self.has_left = true;
    }

    async fn etrn(&mut self, node: Node<'_>) -> EtrnVerdict {
        let allowed = self.client.ip().is_some_and(|client| {
            self.shared.settings.etrn_from.iter().any(|from| from.contains(client))
        });
        if !allowed || !self.names(&node) {
            warning!("ETRN refused for {=[u8]:a}", node.name());
            return EtrnVerdict::NotAllowed;
        }
        let waiting = self.shared.waiting.get();
        if waiting == 0 {
            return EtrnVerdict::NoneWaiting;
        }
        if !self.shared.etrn.pass(clock::now()) {
            return EtrnVerdict::Unable;
        }
        // A run that is on may have failed to connect before the host was up: another follows it.
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
