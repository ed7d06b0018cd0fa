//! What whoever submits mail may do.

use postern_core::session::Verdict;
use postern_core::wire::Text;
use postern_core::wire::params::MailParams;
use postern_core::wire::path::ReversePath;
use postern_core::wire::reply::Reason;
use postern_spool::Spool;

use super::{Service, SessionHandler};
use crate::accounts::{Account, Rights};
use crate::receive::refusals::Refused;
use crate::receive::submission::{Submitter, Unit};
use crate::receive::transaction::{Cause, Transaction};

/// What is said of a sender or a From field that is another's.
const NOT_YOURS: &str = "This account may not send as that address";
const NO_SENDER: &str = "This account may not send";
const NOT_FROM: &str = "The From field must have this account's addresses, and no others";

impl<S: Spool> SessionHandler<S> {
    /// Who may send mail to anybody in this session.
    pub(super) fn submitter(&self) -> Option<Submitter<'_>> {
        let account = self.auth.account().filter(|_| self.service == Service::Submission);
        match self.service {
            Service::Fetching => None,
            Service::Mail | Service::Submission => match account {
                Some(account) => Some(Submitter::Account(account)),
                None => self.trusted.then_some(Submitter::Trusted(self.peer)),
            },
        }
    }

    /// A network that is not trusted any more is not in sessions that go on, either.
    pub(super) fn look_again_at_trust(&mut self) {
        if let (true, Some(in_force)) = (self.trusted, &self.in_force) {
            self.trusted = in_force.now().submission().trusts(self.peer);
        }
    }

    /// Whether all that comes in this session is submitted. What whoever is trusted sends to port
    /// 25 is only where it goes to the relay: he may hand on outsiders' mail for held domains.
    pub(super) fn submits_all(&self) -> bool {
        self.service == Service::Submission && self.submitter().is_some()
    }

    fn submitting_account(&self) -> Option<&Account> {
        match self.submitter()? {
            Submitter::Account(account) => Some(account),
            Submitter::Trusted(_) => None,
        }
    }

    /// Octets of a message that are taken at most, of an account that has a limit of its own.
    pub(super) fn size_limit(&self) -> Option<u64> {
        self.submitting_account()?.rights().size
    }

    /// Why mail from `from` is not taken where mail is submitted.
    pub(super) fn refuses_sender(
        &mut self,
        from: &ReversePath<'_>,
        params: &MailParams<'_>,
    ) -> Option<Verdict<'static>> {
        if self.service == Service::Submission && self.submitter().is_none() {
            // Before AUTH, STARTTLS: the password must not be heard.
            let reason = if self.tls { Reason::NeedAuth } else { Reason::NeedTls };
            return Some(Verdict::Refuse(reason, None));
        }
        let Rights { addresses, size, .. } = self.submitting_account()?.rights();
        let (cause, text) = match from {
            _ if addresses.is_empty() => ((Reason::Policy, "sender"), Some(NO_SENDER)),
            ReversePath::Mailbox(mailbox) if !addresses.iter().any(|may| may.fits(mailbox)) => {
                ((Reason::Policy, "sender"), Some(NOT_YOURS))
            }
            _ if size.zip(params.size).is_some_and(|(most, size)| size > most) => {
                ((Reason::TooBig, "too_big"), None)
            }
            _ => return None,
        };
        Some(self.refuse_submitted(cause, text, from.as_bytes()))
    }

    /// Whether the From field of a message, all of which is written, is the account's, where that
    /// is checked.
    pub(super) fn is_from_whom_it_may<W>(&self, transaction: &Transaction<W>) -> bool {
        let completion = transaction.completion.as_ref();
        let account = self.submitting_account().filter(|_| self.policies.submission().check_from);
        account
            .zip(completion)
            .is_none_or(|(account, completion)| completion.is_from(&account.rights().addresses))
    }

    /// Refuses a message whose From field is not the account's, where that is checked.
    pub(super) fn refuse_from(&mut self, from: &[u8]) -> Verdict<'static> {
        self.refuse_submitted((Reason::Policy, "from"), Some(NOT_FROM), from)
    }

    fn refuse_submitted(
        &mut self,
        (reason, word): Cause,
        text: Option<&'static str>,
        from: &[u8],
    ) -> Verdict<'static> {
        let account = self.auth.account().map(|account| account.name().to_owned());
        let account = account.as_deref().unwrap_or_default().as_bytes();
        let helo = &self.helo[..];
        self.log.refused(Refused { word, helo, from, account, ..Refused::default() });
        Verdict::Refuse(reason, text.and_then(|text| Text::new(text.as_bytes())))
    }

    /// Whether one more may be submitted within the hour; everybody else has no such limit.
    pub(super) fn counts_within_limit(&self, unit: Unit) -> Result<(), Cause> {
        let Some(submitter) = self.submitter() else { return Ok(()) };
        let submission = self.policies.submission();
        let an_hour = match unit {
            Unit::Message => submission.messages_per_hour,
            Unit::Recipient => submission.recipients_per_hour,
        };
        match self.services.limits.pass(submitter.who(), unit, an_hour) {
            true => Ok(()),
            false => Err((Reason::Busy, "rate")),
        }
    }
}
