//! A message on its way, from MAIL to its end.

use std::collections::BTreeSet;

use postern_core::trace::{HopCounter, separator, separator_before};
use postern_core::utf8::{self, Content};
use postern_core::wire::reply::Reason;

use crate::receive::completion::Completion;
use crate::receive::loops::Scan;
use postern_spool::{CommitError, Domain, Draft, Envelope, Refuse};

/// Octets at most of a message that nobody gets, as it only releases mail or is discarded.
pub(super) const ASIDE_MAX: u64 = 64 << 10;
/// What is said of a longer one.
pub(super) const TOO_BIG: Cause = (Reason::TooBig, "too_big");

/// Why something is refused, for the client and in the [word](super::refusals::Refused::word) of
/// the log.
pub(super) type Cause = (Reason, &'static str);

#[derive(Debug)]
pub(super) struct Transaction<W> {
    pub(super) envelope: Envelope,
    /// Octets of the message, as declared.
    pub(super) size: Option<u64>,
    hops: HopCounter,
    /// Where the client is a host that we deliver to: what finds mail that comes back from it.
    pub(super) returns: Option<Scan>,
    /// Where it was declared SMTPUTF8 and a host is known not to take that: what finds out whether
    /// it needs it.
    pub(super) utf8: Option<Box<utf8::Scan>>,
    pub(super) writer: Option<W>,
    /// The message's first octets, until they tell whether it has a header.
    first: Option<Vec<u8>>,
    /// Where it is submitted: what adds to its header.
    pub(super) completion: Option<Box<Completion>>,
    /// Octets that may still come, where the client's account says how many.
    left: Option<u64>,
    /// Domains that it releases, at its end: it has wake-up addresses among its recipients.
    pub(super) wakeups: BTreeSet<Domain>,
    /// Domains that it releases once it is held: it was sent to them through our own name.
    pub(super) releases: BTreeSet<Domain>,
    /// The NULL account is among its recipients.
    pub(super) is_for_null: bool,
    /// Octets that came of a message that is not held.
    passed_over: u64,
}

impl<W> Transaction<W> {
    /// What MAIL begins.
    pub(super) fn new(envelope: Envelope, size: Option<u64>, most: Option<u64>) -> Self {
        Self {
            envelope,
            size,
            hops: HopCounter::new(),
            returns: None,
            utf8: None,
            writer: None,
            first: Some(Vec::new()),
            completion: None,
            left: most,
            wakeups: BTreeSet::new(),
            releases: BTreeSet::new(),
            is_for_null: false,
            passed_over: 0,
        }
    }

    /// Whether it is held for anybody.
    pub(super) fn is_held(&self) -> bool {
        !self.envelope.recipients.is_empty()
    }

    /// Counts octets that came.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let Some(left) = &mut self.left else { return Ok(()) };
        *left = left.checked_sub(bytes.len() as u64).ok_or(TOO_BIG)?;
        Ok(())
    }

    /// Takes octets that nobody gets.
    pub(super) fn pass_over(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.passed_over = self.passed_over.saturating_add(bytes.len() as u64);
        if self.passed_over > ASIDE_MAX { Err(TOO_BIG) } else { Ok(()) }
    }
}

impl<W: Draft> Transaction<W> {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Refuse> {
        self.hops.feed(bytes);
        if let Some(returns) = &mut self.returns {
            returns.feed(bytes);
        }
        if let Some(completion) = &mut self.completion {
            if completion.has_ended() {
                return self.append(bytes).await;
            }
            let completed = completion.feed(bytes);
            return self.append(&completed).await;
        }
        let Some(mut first) = self.first.take() else { return self.append(bytes).await };
        // The first piece tells, nearly always, and is not copied.
        let all = if first.is_empty() {
            bytes
        } else {
            first.extend_from_slice(bytes);
            &first
        };
        match separator(all) {
            Some(separator) => {
                self.append(separator).await?;
                self.append(all).await
            }
            None => {
                self.first = Some(all.to_vec());
                Ok(())
            }
        }
    }

    /// Appends to the message as it is held.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), Refuse> {
        if let Some(utf8) = &mut self.utf8 {
            utf8.feed(bytes);
        }
        let writer = self.writer.as_mut().expect("accepting DATA opened a writer");
        writer.write(bytes).await
    }

    /// Makes the message, all of which is written, durable and says its id.
    pub(super) async fn keep(self) -> (Result<String, Cause>, Envelope) {
        if self.hops.looping() || self.returns.as_ref().is_some_and(Scan::ends_in_circle) {
            return (Err((Reason::Loop, "loop")), self.envelope);
        }
        if self.utf8.is_some_and(|scan| scan.content() != Content::Ascii) {
            return (Err((Reason::NoUtf8, "no_utf8")), self.envelope);
        }
        let writer = self.writer.expect("accepting DATA opened a writer");
        let kept = writer.commit().await.map_err(|error| match error {
            CommitError::Refused(refuse) => cause(refuse),
            CommitError::Uncertain => (Reason::Uncertain, "uncertain"),
        });
        (kept.map(|id| id.to_string()), self.envelope)
    }

    /// Writes a message that has ended before it told whether it has a header.
    pub(super) async fn write_rest(&mut self) -> Result<(), Refuse> {
        if let Some(completion) = &mut self.completion {
            let rest = completion.end();
            return self.append(&rest).await;
        }
        match self.first.take() {
            Some(all) if !all.is_empty() => {
                self.append(separator_before(&all)).await?;
                self.append(&all).await
            }
            _ => Ok(()),
        }
    }
}

/// What is said where the spool refuses.
pub(super) const fn cause(refuse: Refuse) -> Cause {
    match refuse {
        Refuse::Busy => (Reason::Busy, "busy"),
        Refuse::Full => (Reason::Full, "full"),
        Refuse::Down => (Reason::Down, "down"),
    }
}
