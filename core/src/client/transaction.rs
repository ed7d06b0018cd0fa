//! One mail transaction: which replies are due, and who was accepted.

/// Recipients in one transaction: the number that every server must take (RFC 5321
/// §4.5.3.1.8). It also bounds the replies under way, so that neither side's TCP window can fill
/// while both write (RFC 2920 §3.1).
pub const RECIPIENTS_MAX: u8 = 100;

/// The command whose reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Mail,
    Rcpt(u8),
    Data,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    /// The message's size, when BDAT is to announce it.
    pub(super) chunk: Option<u64>,
    /// MAIL has not been answered.
    pub(super) mail_due: bool,
    /// DATA has been sent and not been answered.
    pub(super) data_due: bool,
    /// It cannot succeed any more: what is under way is read, and nothing more is sent.
    pub(super) failed: bool,
    /// The caller has given its last recipient.
    pub(super) complete: bool,
    sent: u8,
    answered: u8,
    /// A bit for each recipient that was accepted.
    accepted: u128,
}

impl Transaction {
    pub(super) const fn new(chunk: Option<u64>) -> Self {
        Self {
            chunk,
            mail_due: true,
            data_due: false,
            failed: false,
            complete: false,
            sent: 0,
            answered: 0,
            accepted: 0,
        }
    }

    /// The reply that comes next, if any is under way.
    pub(super) const fn due(&self) -> Option<Due> {
        if self.mail_due {
            Some(Due::Mail)
        } else if self.answered < self.sent {
            Some(Due::Rcpt(self.answered))
        } else if self.data_due {
            Some(Due::Data)
        } else {
            None
        }
    }

    /// Whether nothing more may be sent before the reply that is due.
    pub(super) const fn waits(&self, pipelining: bool) -> bool {
        !pipelining || self.failed || self.data_due
    }

    /// The index of the recipient that is to be sent next.
    pub(super) const fn next_index(&self) -> u8 {
        self.sent
    }

    /// Notes that RCPT was sent.
    pub(super) const fn sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
        self.complete = self.sent >= RECIPIENTS_MAX;
    }

    /// Notes the answer to the oldest RCPT that had none.
    pub(super) fn answered(&mut self, accepted: bool) {
        if accepted {
            self.accepted |= bit(self.answered);
        }
        self.answered = self.answered.saturating_add(1);
    }

    /// Whether anybody is to get the message.
    pub(super) const fn has_accepted(&self) -> bool {
        self.accepted != 0
    }

    /// Takes the first of the accepted recipients: LMTP answers in the order of RCPT.
    pub(super) fn take_accepted(&mut self) -> Option<u8> {
        let index = u8::try_from(self.accepted.trailing_zeros()).ok()?;
        let bit = Some(bit(index)).filter(|bit| *bit != 0)?;
        self.accepted &= !bit;
        Some(index)
    }
}

fn bit(index: u8) -> u128 {
    1_u128.checked_shl(u32::from(index)).unwrap_or(0)
}
