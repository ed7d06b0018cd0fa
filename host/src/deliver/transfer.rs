//! One message over a connection: whom the host was asked about, and what it said.

use std::fmt::Display;
use std::ops::ControlFlow;

use postern_core::client::{CallError, Client, Event, Fault, Mail, Need, RECIPIENTS_MAX};
use postern_core::client::{Recipient, Waiting};
use postern_core::drive::deliver::{Sent as Drove, Source, Turn, Unsent};
use postern_core::utf8::{Content, Scan};
use postern_core::wire::Out;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_spool::{self, Body, Claim, Error, Spool};

use super::answer::Answer;
use super::connection::{Broken, Connection};
use crate::observe::progress::Phase;

/// What a reply answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, or the message.
    Message,
}

/// What was found out about one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What the host said.
    Reply(Stage, Answer),
    /// The message cannot be sent to this host, now or later: why.
    Unsendable(String),
}

/// Why a connection is of no further use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The host closes it (421).
    Closing(String),
    /// It broke while this message was being sent.
    Broken(String),
    /// The host hung up before it said anything of this message, of which it has only commands.
    Unanswered(String),
    /// The host had given its verdict, this one, before the message's end.
    Early(String),
    /// The host did not answer MAIL behind the end of the message before: this one was not begun.
    NotBegun(String),
    /// The message could not be read to its end.
    Unreadable(Error),
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// One for each recipient of the claim that waits, in their order; none: the host gave no
    /// final reply, or was not asked.
    pub verdicts: Vec<Option<Verdict>>,
    /// Why the connection is of no further use, if it is.
    pub loss: Option<Loss>,
}

impl Connection<'_> {
    /// Sends a message to those recipients of its claim that wait, in as many transactions as that
    /// takes. MAIL of the `next` message, which must be the next that is sent, goes behind its end
    /// where the host takes that.
    ///
    /// A connection that is lost must be dropped, not ended by QUIT: the host would take the part
    /// of a message that it has for the whole.
    pub async fn send<S: Spool>(&mut self, claim: &Claim, next: Option<&Claim>, spool: &S) -> Sent {
        let recipients: Vec<_> = claim.waiting().map(|(_, recipient)| recipient).collect();
        let mut sent = Sent { verdicts: Vec::with_capacity(recipients.len()), loss: None };
        let needs_utf8 = match self.needs_utf8(claim, spool).await {
            Ok(needs_utf8) => needs_utf8,
            Err(error) => {
                sent.loss = Some(Loss::Unreadable(error));
                return sent.padded(recipients.len());
            }
        };
        let mail = mail(claim, needs_utf8);
        let groups = recipients.chunks(usize::from(RECIPIENTS_MAX));
        let last = groups.len().saturating_sub(1);
        for (nth, group) in groups.enumerate() {
            let next = next.filter(|_| nth == last);
            let mut transfer = Transfer::new(group);
            let result = self.transact(claim, &mail, &mut transfer, next, spool).await;
            sent.verdicts.extend(transfer.verdicts);
            if let Err(loss) = result {
                sent.loss = Some(loss);
                break;
            }
        }
        sent.padded(recipients.len())
    }

    /// Whether the message can go only to a host that offers SMTPUTF8. It is read for that where it
    /// was declared so and the host does not.
    async fn needs_utf8<S: Spool>(&self, claim: &Claim, spool: &S) -> Result<bool, Error> {
        if !claim.envelope.smtp_utf8 || self.takes_utf8() {
            return Ok(claim.envelope.smtp_utf8);
        }
        let mut scan = Scan::new();
        let mut body = spool.body(claim.id).await?;
        loop {
            match body.chunk().await? {
                [] => return Ok(scan.content() != Content::Ascii),
                octets => scan.feed(octets),
            }
        }
    }

    async fn transact<S: Spool>(
        &mut self,
        claim: &Claim,
        mail: &Mail<'_>,
        transfer: &mut Transfer<'_>,
        next: Option<&Claim>,
        spool: &S,
    ) -> Result<(), Loss> {
        if let Some(max) = self.size_limit().filter(|max| claim.size > *max) {
            let size = claim.size;
            transfer.unsendable(format_args!(
                "the message has {size} octets, and the host takes {max}"
            ));
            return Ok(());
        }
        self.told.phase(Phase::Envelope);
        if self.queued.take() != Some(claim.id) {
            let begun = self.dialogue.call(|client, out| client.mail(mail, out));
            match begun {
                Ok(()) => {}
                Err(error @ CallError::OutOfTurn) => return Err(Loss::Broken(error.to_string())),
                // It is the message that cannot be sent to this host, now or later.
                Err(error) => {
                    transfer.unsendable(error);
                    return Ok(());
                }
            }
        }
        let mut is_answered = false;
        loop {
            let turn = self.dialogue.next().await;
            let lost = |broken| match (broken, transfer.verdict()) {
                // It was said before the message's end had left, or before its first octet: the
                // client hears nothing more.
                (Broken::Closed, Some(verdict)) => Loss::Early(verdict),
                (broken, _) if is_answered => loss(broken),
                (broken, _) => unanswered(broken),
            };
            match turn.map_err(lost)? {
                Turn::Event(event) => {
                    is_answered = true;
                    transfer.note(event);
                    if self.is_in_next() && transfer.is_answered() {
                        return Ok(());
                    }
                }
                Turn::Need(Need::Recipient { .. }) => {
                    let called = self.dialogue.call(|client, out| transfer.address(client, out));
                    called.map_err(|error| Loss::Broken(error.to_string()))?;
                }
                Turn::Need(Need::Body) => {
                    is_answered = true;
                    self.told.phase(Phase::Content);
                    let early = self.send_body(claim, next, spool).await?;
                    self.told.phase(Phase::FinalReply);
                    if let ControlFlow::Break(event) = early {
                        transfer.note(event);
                    }
                }
                Turn::Need(_) => return Ok(()),
            }
        }
    }

    /// Whether the next message's transaction has begun: its MAIL went behind this one's end.
    fn is_in_next(&self) -> bool {
        self.queued.is_some() && self.dialogue.client().waiting() == Waiting::QueuedMail
    }

    /// Sends the message; what the host said of it before its end, if it did.
    async fn send_body<S: Spool>(
        &mut self,
        claim: &Claim,
        next: Option<&Claim>,
        spool: &S,
    ) -> Result<ControlFlow<Event<Answer>>, Loss> {
        let body = spool.body(claim.id).await.map_err(Loss::Unreadable)?;
        let mut content = Message(body);
        // Whether one that was declared SMTPUTF8 can go is found out at its own time.
        let next = next.filter(|next| {
            let fits = self.size_limit().is_none_or(|max| next.size <= max);
            self.mail_behind && fits && !next.envelope.smtp_utf8
        });
        let drove = match next {
            Some(next) => {
                let mail = mail(next, false);
                self.dialogue.send_message_before(&mut content, &mail).await
            }
            None => self.dialogue.send_message(&mut content).await,
        };
        match drove {
            Ok(Drove::Whole) => Ok(ControlFlow::Continue(())),
            Ok(Drove::WithNext) => {
                self.queued = next.map(|next| next.id);
                Ok(ControlFlow::Continue(()))
            }
            Ok(Drove::Refused(event)) => Ok(ControlFlow::Break(event)),
            Err(Unsent::Source(error)) => Err(Loss::Unreadable(error)),
            Err(Unsent::Dialogue(broken)) => Err(loss(broken)),
        }
    }
}

impl Sent {
    /// Whether the host took MAIL.
    pub fn has_begun(&self) -> bool {
        let behind = |verdict: &Verdict| {
            matches!(verdict, Verdict::Reply(Stage::Recipient | Stage::Message, _))
        };
        self.verdicts.iter().flatten().any(behind)
    }

    /// Those that were not come to are without a verdict.
    fn padded(mut self, recipients: usize) -> Self {
        self.verdicts.resize(recipients, None);
        self
    }
}

fn loss(broken: Broken) -> Loss {
    match &broken {
        Broken::Refused { reply, .. } => Loss::Closing(reply.to_string()),
        Broken::Fault(Fault::TimedOut(waiting) | Fault::HungUp(waiting))
        | Broken::Link { waiting, .. }
            if *waiting == Waiting::QueuedMail =>
        {
            Loss::NotBegun(broken.to_string())
        }
        _ => Loss::Broken(broken.to_string()),
    }
}

/// The loss of a connection over which nothing was said of the message yet.
fn unanswered(broken: Broken) -> Loss {
    match &broken {
        Broken::Fault(Fault::HungUp(Waiting::Command))
        | Broken::Link { waiting: Waiting::Command, .. } => Loss::Unanswered(broken.to_string()),
        _ => loss(broken),
    }
}

/// A body, as core's loop takes it.
struct Message<B>(B);

impl<B: Body> Source for Message<B> {
    type Error = Error;

    async fn chunk(&mut self) -> Result<&[u8], Error> {
        self.0.chunk().await
    }
}

/// One transaction.
struct Transfer<'c> {
    recipients: &'c [&'c postern_spool::Recipient],
    verdicts: Vec<Option<Verdict>>,
    /// The recipient that is next asked about.
    next: usize,
    /// For each RCPT that was sent, its recipient.
    asked: Vec<usize>,
    /// Recipients that were accepted and wait for the verdict on the message.
    accepted: Vec<usize>,
}

impl<'c> Transfer<'c> {
    fn new(recipients: &'c [&'c postern_spool::Recipient]) -> Self {
        let verdicts = vec![None; recipients.len()];
        Self { recipients, verdicts, next: 0, asked: Vec::new(), accepted: Vec::new() }
    }

    /// Says the next RCPT, or that there is none. A recipient that no RCPT can carry is refused.
    fn address(&mut self, client: &mut Client<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        while let Some(stored) = self.recipients.get(self.next) {
            let index = self.next;
            self.next += 1;
            match client.rcpt(&recipient(stored), out) {
                Ok(()) => {
                    self.asked.push(index);
                    return Ok(());
                }
                Err(error) => self.decide(index, Verdict::Unsendable(error.to_string())),
            }
        }
        client.rcpt_end()
    }

    fn unsendable(&mut self, why: impl Display) {
        for index in 0..self.verdicts.len() {
            self.decide(index, Verdict::Unsendable(why.to_string()));
        }
    }

    /// Notes what the host said.
    fn note(&mut self, event: Event<Answer>) {
        match event {
            Event::MailRefused(answer) => {
                for index in 0..self.verdicts.len() {
                    self.decide(index, Verdict::Reply(Stage::Mail, answer.clone()));
                }
            }
            Event::Recipient { index, reply } => {
                let Some(index) = self.asked.get(usize::from(index)).copied() else { return };
                if reply.is_done() {
                    self.accepted.push(index);
                } else {
                    self.decide(index, Verdict::Reply(Stage::Recipient, reply));
                }
            }
            Event::Message(answer) => {
                for index in std::mem::take(&mut self.accepted) {
                    self.decide(index, Verdict::Reply(Stage::Message, answer.clone()));
                }
            }
            Event::Delivered { index, reply } => {
                let Some(index) = self.asked.get(usize::from(index)).copied() else { return };
                self.accepted.retain(|accepted| *accepted != index);
                self.decide(index, Verdict::Reply(Stage::Message, reply));
            }
            Event::Greeting(_)
            | Event::Etrn(_)
            | Event::Challenge(_)
            | Event::Auth(_)
            | Event::Atrn(_) => {}
        }
    }

    /// What the host said of the message.
    fn verdict(&self) -> Option<String> {
        self.verdicts.iter().flatten().find_map(|verdict| match verdict {
            Verdict::Reply(Stage::Message, answer) => Some(answer.to_string()),
            _ => None,
        })
    }

    /// Whether each recipient that the host accepted has its verdict.
    fn is_answered(&self) -> bool {
        self.accepted.is_empty()
    }

    fn decide(&mut self, index: usize, verdict: Verdict) {
        self.verdicts[index].get_or_insert(verdict);
    }
}

fn mail(claim: &Claim, needs_utf8: bool) -> Mail<'_> {
    let envelope = &claim.envelope;
    Mail {
        reverse_path: &envelope.reverse_path,
        params: MailParams {
            size: Some(claim.size),
            body: envelope.body,
            smtputf8: envelope.smtp_utf8,
            ret: envelope.ret,
            envid: given(&envelope.envelope_id),
            auth: None,
        },
        needs_utf8,
    }
}

fn recipient(stored: &postern_spool::Recipient) -> Recipient<'_> {
    Recipient {
        forward_path: &stored.path,
        params: RcptParams { notify: stored.notify, orcpt: given(&stored.original) },
    }
}

fn given(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}
