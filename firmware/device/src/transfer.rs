//! One message's way from the card to the next hop.

use core::net::{IpAddr, Ipv4Addr};

use heapless::Vec;
use postern_card::{Card, Fault, Message, Reader};
use postern_core::client::{self, CallError, Event, Mail, Need, RECIPIENTS_MAX, Waiting};
use postern_core::drive::deliver::{Sent, Source, Turn};
use postern_core::envelope::{Head, Notify, Record, Ret, State};
use postern_core::trace::{Origin, Received, With, separator_before};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::{NoRoom, Out, Text};

use crate::budget::REPLY;
use crate::dialogue::{Answer, Dialogue, Failure, greet, text};
use crate::shared::Shared;
use crate::storage::{Storage, Unreadable};

/// What became of a message's recipients: a bit for each, in their order.
#[derive(Default)]
pub(crate) struct Fates {
    pub(crate) delivered: u128,
    pub(crate) refused: u128,
    /// The last refusal.
    pub(crate) refusal: Vec<u8, REPLY>,
    /// Whether the host put off some, and not because of their mailboxes.
    pub(crate) put_off: bool,
}

impl Fates {
    /// Of a message that the card can't give back.
    pub(crate) fn unreadable() -> Self {
        Self::refused_for("The card can't read it")
    }

    /// Of a message that the device does not survive.
    pub(crate) fn set_aside() -> Self {
        Self::refused_for("The device failed each time while it had this in hand")
    }

    fn refused_for(why: &str) -> Self {
        let refusal = why.bytes().take(REPLY).collect();
        Self { refused: !0, refusal, ..Self::default() }
    }

    /// Whether any recipient need not be asked about again.
    pub(crate) fn is_final(&self) -> bool {
        self.delivered | self.refused != 0
    }
}

const _: () = assert!(RECIPIENTS_MAX as u32 <= u128::BITS);

/// A message under way.
pub(crate) struct Transfer<'t, 's, C: Card> {
    shared: &'t Shared<'s, C>,
    message: &'t Message,
    /// Where the recipient to be asked about next stands.
    envelope: Reader,
    /// How many were passed.
    passed: u32,
    /// Those that RCPT was said for.
    asked: u128,
    accepted: u128,
    fates: Fates,
}

impl<'t, 's, C: Card> Transfer<'t, 's, C> {
    /// Of a message that these have already, and nobody else is to get now; or nobody has.
    pub(crate) fn new(shared: &'t Shared<'s, C>, message: &'t Message, delivered: u128) -> Self {
        Self {
            shared,
            message,
            envelope: message.envelope(),
            passed: 0,
            asked: 0,
            accepted: 0,
            fates: Fates { delivered, ..Fates::default() },
        }
    }

    /// Runs the message's transaction; `piece` is room for a part of it. Returns the verdicts that
    /// were given, and what ended it before all were.
    pub(crate) async fn run(
        mut self,
        dialogue: &mut Dialogue<'_, '_>,
        piece: &mut [u8],
    ) -> (Fates, Result<(), Failure>) {
        let is_over = self.fates.delivered != 0;
        let ended = if is_over { Ok(()) } else { self.transact(dialogue, piece).await };
        (self.fates, ended)
    }

    async fn transact(
        &mut self,
        dialogue: &mut Dialogue<'_, '_>,
        piece: &mut [u8],
    ) -> Result<(), Failure> {
        let mut begun = false;
        loop {
            match dialogue.next().await? {
                Turn::Need(Need::Transaction) if begun => return Ok(()),
                Turn::Need(Need::Transaction) => {
                    begun = true;
                    self.begin(dialogue, piece).await?;
                }
                Turn::Need(Need::Recipient { .. }) => self.address(dialogue).await?,
                Turn::Need(Need::Body) => self.send(dialogue, piece).await?,
                Turn::Need(_) => return Err(Failure::Nonsense),
                Turn::Event(event) => self.note(event, dialogue),
            }
        }
    }

    async fn begin(
        &mut self,
        dialogue: &mut Dialogue<'_, '_>,
        piece: &mut [u8],
    ) -> Result<(), Failure> {
        let front = self.front(piece).await?;
        let size = self.message.message_octets.saturating_add(front as u64);
        let mut storage = self.shared.storage.lock().await;
        let record = record(&mut storage, &mut self.envelope).await;
        let record = record.map_err(|fault| self.shared.note_unreadable(&fault))?;
        let Record::Head(head) = record else { return Err(Failure::Unreadable) };
        let mail = Mail {
            reverse_path: head.reverse_path,
            params: MailParams {
                size: Some(size),
                body: head.body,
                smtputf8: head.smtp_utf8,
                ret: Ret::Unstated,
                envid: None,
                auth: None,
            },
            // No session here takes mail so declared; one that did could only be sent as it came.
            needs_utf8: head.smtp_utf8,
        };
        let said = dialogue.call(|client, out| client.mail(&mail, out));
        said.map_err(|_: CallError| Failure::Unreadable)
    }

    /// Says the next RCPT, or that there is none.
    async fn address(&mut self, dialogue: &mut Dialogue<'_, '_>) -> Result<(), Failure> {
        loop {
            let mut storage = self.shared.storage.lock().await;
            let record = record(&mut storage, &mut self.envelope).await;
            let record = record.map_err(|fault| self.shared.note_unreadable(&fault))?;
            let recipient = match record {
                Record::Recipient(recipient) => recipient,
                Record::End(_) => break,
                Record::Head(_) => return Err(Failure::Unreadable),
            };
            let bit = bit(self.passed);
            self.passed += 1;
            if recipient.state != State::Waiting {
                continue;
            }
            let to = client::Recipient {
                forward_path: recipient.path,
                params: RcptParams { notify: Notify::UNSTATED, orcpt: None },
            };
            if dialogue.call(|client, out| client.rcpt(&to, out)).is_ok() {
                self.asked |= bit;
                return Ok(());
            }
            self.fates.refused |= bit;
        }
        let ended = dialogue.call(|client, _| client.rcpt_end());
        ended.map_err(|_: CallError| Failure::Nonsense)
    }

    async fn send(
        &mut self,
        dialogue: &mut Dialogue<'_, '_>,
        piece: &mut [u8],
    ) -> Result<(), Failure> {
        let front = Some(self.front(piece).await?);
        let (shared, body) = (self.shared, Some(self.message.body()));
        let mut content = Content { shared, front, body, piece };
        if let Sent::Refused(event) = dialogue.send_message(&mut content).await? {
            self.note(event, dialogue);
            return Err(Failure::RefusedEarly);
        }
        Ok(())
    }

    /// Writes what goes in front of the message into `piece`: the Received field (RFC 5321 §4.4),
    /// and what must stand between it and the message. Returns how many octets that took.
    async fn front(&self, piece: &mut [u8]) -> Result<usize, Failure> {
        let mut storage = self.shared.storage.lock().await;
        let storage = &mut *storage;
        let filled = fill(storage, &mut self.message.body()).await;
        let filled = filled.map_err(|fault| self.shared.failure(&fault))?;
        let separator = separator_before(storage.buffer.get(..filled).unwrap_or_default());
        let filled = fill(storage, &mut self.message.envelope()).await;
        let filled = filled.map_err(|fault| self.shared.failure(&fault))?;
        let stored = storage.buffer.get(..filled).unwrap_or_default();
        let Ok((Record::Head(head), rest)) = Record::take(stored) else {
            return Err(Failure::Unreadable);
        };
        let mut out = Out::new(piece);
        let written = write_received(self.shared.config.hostname, &head, only(rest), &mut out);
        let written = written.and_then(|()| out.put(separator));
        written.map_err(|NoRoom| Failure::Unreadable)?;
        Ok(out.len())
    }

    fn note(&mut self, event: Event<Answer>, dialogue: &Dialogue<'_, '_>) {
        let (recipients, reply) = match event {
            Event::MailRefused(reply) => (!0, reply),
            Event::Recipient { index, reply } if reply.code / 100 == 2 => {
                self.accepted |= nth_of(self.asked, index);
                return;
            }
            Event::Recipient { index, reply } | Event::Delivered { index, reply } => {
                (nth_of(self.asked, index), reply)
            }
            Event::Message(reply) => (self.accepted, reply),
            // Nobody authenticates or asks for mail here.
            Event::Greeting(_)
            | Event::Etrn(_)
            | Event::Challenge(_)
            | Event::Auth(_)
            | Event::Atrn(_) => return,
        };
        match reply.code / 100 {
            2 => self.fates.delivered |= recipients,
            5 => {
                self.fates.refused |= recipients;
                self.fates.refusal = text(dialogue);
            }
            _ => self.fates.put_off |= !reply.is_of_mailbox,
        }
    }
}

/// A message as it goes out: what stands in front of it, then what is on the card. One type for all
/// that is sent: each would have a copy of the loop in the flash.
pub(crate) struct Content<'t, 's, 'p, C: Card> {
    shared: &'t Shared<'s, C>,
    /// Octets of the piece that stand in front.
    front: Option<usize>,
    body: Option<Reader>,
    piece: &'p mut [u8],
}

impl<'t, 's, 'p, C: Card> Content<'t, 's, 'p, C> {
    /// The first `length` octets of `text`, and nothing on the card.
    pub(crate) fn text(shared: &'t Shared<'s, C>, text: &'p mut [u8], length: usize) -> Self {
        Self { shared, front: Some(length), body: None, piece: text }
    }
}

impl<C: Card> Source for Content<'_, '_, '_, C> {
    type Error = Failure;

    async fn chunk(&mut self) -> Result<&[u8], Failure> {
        let octets = match (self.front.take(), &mut self.body) {
            (Some(front), _) => front,
            (None, Some(body)) => {
                let mut storage = self.shared.storage.lock().await;
                let read = storage.store.read(body, self.piece).await;
                read.map_err(|fault| self.shared.failure(&fault))?
            }
            (None, None) => 0,
        };
        Ok(self.piece.get(..octets).unwrap_or_default())
    }
}

/// Sends the first `length` octets of `text`, a message of our own that nobody answers, and returns
/// what decided about it: 2yz only where it was taken. One function for all such messages: each
/// would have a copy of the dialogue in the flash.
pub(crate) async fn send_own<C: Card>(
    shared: &Shared<'_, C>,
    dialogue: &mut Dialogue<'_, '_>,
    from: &str,
    to: &str,
    text: &mut [u8],
    length: usize,
) -> Result<Answer, Failure> {
    greet(dialogue).await?;
    let params = MailParams { size: Some(length as u64), ..MailParams::default() };
    let mail = Mail { reverse_path: from.as_bytes(), params, needs_utf8: false };
    let mut content = Content::text(shared, text, length);
    match dialogue.send_own(&mail, to.as_bytes(), &mut content).await? {
        Event::MailRefused(reply)
        | Event::Recipient { reply, .. }
        | Event::Message(reply)
        | Event::Delivered { reply, .. } => Ok(reply),
        // Nobody authenticates or asks for mail here.
        Event::Greeting(_)
        | Event::Etrn(_)
        | Event::Challenge(_)
        | Event::Auth(_)
        | Event::Atrn(_) => Err(Failure::Nonsense),
    }
}

/// Whether the host has been told nothing of a message that it was not told to the end.
pub(crate) fn is_between_messages(dialogue: &Dialogue<'_, '_>) -> bool {
    dialogue.client().waiting() == Waiting::Nothing
}

/// The recipient of these records, when there is exactly one: with more, the field would show blind
/// copies (RFC 5321 §7.2).
fn only(records: &[u8]) -> Option<&[u8]> {
    let (Record::Recipient(recipient), rest) = Record::take(records).ok()? else { return None };
    let (Record::End(_), _) = Record::take(rest).ok()? else { return None };
    Some(recipient.path)
}

fn write_received(
    hostname: Text<'_>,
    head: &Head<'_>,
    recipient: Option<&[u8]>,
    out: &mut Out<'_>,
) -> Result<(), NoRoom> {
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::from_bytes(head.id).hyphenated().encode_lower(&mut id);
    let with =
        With { esmtp: head.esmtp, tls: head.tls, auth: head.authenticated, utf8: head.smtp_utf8 };
    let nowhere = Origin::Internet(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let received = Received {
        helo: head.helo,
        origin: head.client.unwrap_or(nowhere),
        by: hostname,
        with,
        id: Text::new(id.as_bytes()).ok_or(NoRoom)?,
        recipient,
        time: head.arrival,
    };
    received.write(out)
}

/// The bit of the recipient with this index.
pub(crate) fn bit(index: u32) -> u128 {
    1_u128.checked_shl(index).unwrap_or(0)
}

/// The `nth` of the bits that are set, counted from 0.
fn nth_of(set: u128, nth: u8) -> u128 {
    let rest = (0..nth).fold(set, |rest, _| rest & rest.wrapping_sub(1));
    rest & rest.wrapping_neg()
}

/// Reads from `reader` until the buffer is full or nothing is left.
async fn fill<C: Card>(
    storage: &mut Storage<C>,
    reader: &mut Reader,
) -> Result<usize, Fault<C::Error>> {
    let mut filled = 0;
    loop {
        let place = storage.buffer.get_mut(filled..).unwrap_or_default();
        match storage.store.read(reader, place).await? {
            0 => return Ok(filled),
            octets => filled += octets,
        }
    }
}

/// Takes the envelope's record at `reader` into the buffer, and moves behind it.
pub(crate) async fn record<'d, C: Card>(
    storage: &'d mut Storage<C>,
    reader: &mut Reader,
) -> Result<Record<'d>, Unreadable<C::Error>> {
    let mut ahead = reader.clone();
    let filled = fill(storage, &mut ahead).await?;
    let stored = storage.buffer.get(..filled).unwrap_or_default();
    let (_, rest) = Record::take(stored)?;
    let length = filled - rest.len();
    // The same octets again: this moves the reader, and only this.
    let mut moved = 0;
    while moved < length {
        let place = storage.buffer.get_mut(moved..length).unwrap_or_default();
        match storage.store.read(reader, place).await? {
            0 => break,
            octets => moved += octets,
        }
    }
    let stored = storage.buffer.get(..length).unwrap_or_default();
    let (record, _) = Record::take(stored)?;
    Ok(record)
}
