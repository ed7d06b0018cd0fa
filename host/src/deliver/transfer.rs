//! One transaction's recipients: whom the host was asked about, and what it said.

use postern_core::client::{CallError, Client, Mail, Recipient};
use postern_core::wire::Out;
use postern_core::wire::params::{MailParams, RcptParams};

use super::dialogue::{Answer, Said};
use postern_spool::{self, Claim, Fate, RecipientNo};

pub(super) struct Transfer<'c> {
    recipients: &'c [(RecipientNo, &'c postern_spool::Recipient)],
    fates: Vec<Option<Fate>>,
    /// The recipient that is next asked about.
    next: usize,
    /// For each RCPT that was sent, its recipient.
    asked: Vec<usize>,
    /// Recipients that were accepted and wait for the verdict on the message.
    accepted: Vec<usize>,
}

impl<'c> Transfer<'c> {
    pub(super) fn new(recipients: &'c [(RecipientNo, &'c postern_spool::Recipient)]) -> Self {
        let fates = vec![None; recipients.len()];
        Self { recipients, fates, next: 0, asked: Vec::new(), accepted: Vec::new() }
    }

    /// Says the next RCPT, or that there is none. A recipient that no RCPT can carry is refused.
    pub(super) fn address(&mut self, client: &mut Client<'_>, out: &mut Out<'_>) {
        while let Some((_, stored)) = self.recipients.get(self.next) {
            let index = self.next;
            self.next += 1;
            match client.rcpt(&recipient(stored), out) {
                Ok(()) => {
                    self.asked.push(index);
                    return;
                }
                Err(error) => self.refuse(index, &error),
            }
        }
        client.rcpt_end().expect("the client asked for a recipient");
    }

    fn refuse(&mut self, index: usize, error: &CallError) {
        self.fates[index] = Some(Fate::Refused(error.to_string().into_bytes()));
    }

    pub(super) fn refuse_all(&mut self, error: &CallError) {
        for index in 0..self.fates.len() {
            self.refuse(index, error);
        }
    }

    /// Notes what the host said.
    pub(super) fn note(&mut self, said: Said) {
        match said {
            Said::Mail(answer) => {
                for index in 0..self.fates.len() {
                    self.decide(index, &answer);
                }
            }
            Said::Recipient(nth, answer) if answer.is_done() => {
                self.accepted.push(self.asked[nth]);
            }
            // RFC 5321 §4.5.3.1.10: from an old server, 552 means too many recipients.
            Said::Recipient(nth, Answer { code: 552, line }) => {
                self.decide(self.asked[nth], &Answer { code: 452, line });
            }
            Said::Recipient(nth, answer) | Said::Delivery(nth, answer) => {
                self.decide(self.asked[nth], &answer);
            }
            Said::Message(answer) => {
                for index in std::mem::take(&mut self.accepted) {
                    self.decide(index, &answer);
                }
            }
            Said::Etrn(answer) => unreachable!("no ETRN was sent: {answer}"),
        }
    }

    fn decide(&mut self, index: usize, answer: &Answer) {
        let fate = match answer.code {
            200..300 => Fate::Delivered,
            500..600 => Fate::Refused,
            _ => Fate::Deferred,
        };
        self.fates[index].get_or_insert_with(|| fate(answer.line.clone().into_bytes()));
    }

    /// What became of each; those without a verdict wait on, for `reason`.
    pub(super) fn into_fates(self, reason: &str) -> impl Iterator<Item = (RecipientNo, Fate)> {
        let fates = self.recipients.iter().map(|(number, _)| *number).zip(self.fates);
        fates.map(|(number, fate)| {
            (number, fate.unwrap_or_else(|| Fate::Deferred(reason.as_bytes().to_vec())))
        })
    }
}

pub(super) fn mail(claim: &Claim) -> Mail<'_> {
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
