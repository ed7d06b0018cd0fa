//! One mail transaction: which replies are due, and who was accepted.

/// Recipients in one transaction: the number that every server must take (RFC 5321
/// §4.5.3.1.8). It also bounds the replies under way, so that neither side's TCP window can fill
/// while both write (RFC 2920 §3.1).
pub const RECIPIENTS_MAX: u8 = 100;

/// The command whose reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Mail,
    /// MAIL that was sent behind the end of the message before.
    QueuedMail,
    Rcpt(u8),
    Data,
}

/// What follows the recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// More of them may come.
    Open,
    Message,
    /// RSET.
    Nothing,
}

/// A message whose MAIL was sent behind the end of the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    pub(super) chunk: Option<u64>,
    pub(super) utf8: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    /// The message's size, when BDAT is to announce it.
    pub(super) chunk: Option<u64>,
    /// MAIL said SMTPUTF8.
    pub(super) utf8: bool,
    /// The answer to MAIL, while it is due.
    mail: Option<Due>,
    /// DATA has been sent and not been answered.
    pub(super) data_due: bool,
    /// It cannot succeed any more: what is under way is read, and nothing more is sent.
    pub(super) failed: bool,
    pub(super) aim: Aim,
    sent: u8,
    answered: u8,
    /// A bit for each recipient that was accepted.
    accepted: [u32; WORDS],
}

/// Words of 32 bits that have one for each recipient.
const WORDS: usize = (RECIPIENTS_MAX as usize).div_ceil(32);

impl Transaction {
    pub(super) const fn new(Queued { chunk, utf8 }: Queued) -> Self {
        Self {
            chunk,
            utf8,
            mail: Some(Due::Mail),
            data_due: false,
            failed: false,
            aim: Aim::Open,
            sent: 0,
            answered: 0,
            accepted: [0; WORDS],
        }
    }

    /// One whose MAIL has left already.
    pub(super) const fn behind(queued: Queued) -> Self {
        Self { mail: Some(Due::QueuedMail), ..Self::new(queued) }
    }

    /// The reply that comes next, if any is under way.
    pub(super) const fn due(&self) -> Option<Due> {
        if self.mail.is_some() {
            self.mail
        } else if self.answered < self.sent {
            Some(Due::Rcpt(self.answered))
        } else if self.data_due {
            Some(Due::Data)
        } else {
            None
        }
    }

    /// Whether nothing more may be sent before the reply that is due. Behind the end of a message
    /// the peer may have dropped MAIL unread: it would take what follows for out of order.
    pub(super) const fn waits(&self, pipelining: bool) -> bool {
        !pipelining
            || self.failed
            || self.data_due
            || matches!(self.aim, Aim::Nothing)
            || matches!(self.mail, Some(Due::QueuedMail))
    }

    /// Whether RSET is next, once no reply is due.
    pub(super) fn is_over(&self) -> bool {
        self.failed
            || match self.aim {
                Aim::Open => false,
                Aim::Message => !self.has_accepted(),
                Aim::Nothing => true,
            }
    }

    /// The index of the recipient that is to be sent next.
    pub(super) const fn next_index(&self) -> u8 {
        self.sent
    }

    /// Notes that RCPT was sent.
    pub(super) const fn sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
        if self.sent >= RECIPIENTS_MAX {
            self.aim = Aim::Message;
        }
    }

    /// Notes the answer to MAIL.
    pub(super) const fn mail_answered(&mut self, accepted: bool) {
        self.mail = None;
        self.failed |= !accepted;
    }

    /// Notes the answer to the oldest RCPT that had none.
    pub(super) fn rcpt_answered(&mut self, accepted: bool) {
        let (word, bit) = (usize::from(self.answered / 32), self.answered % 32);
        if let Some(word) = self.accepted.get_mut(word) {
            *word |= u32::from(accepted) << bit;
        }
        self.answered = self.answered.saturating_add(1);
    }

    /// Whether anybody is to get the message.
    pub(super) fn has_accepted(&self) -> bool {
        self.accepted.iter().any(|word| *word != 0)
    }

    /// Takes the first of the accepted recipients: LMTP answers in the order of RCPT.
    pub(super) fn take_accepted(&mut self) -> Option<u8> {
        let mut words = (0_u8..).step_by(32).zip(&mut self.accepted);
        let (first, word) = words.find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros() as u8;
        *word &= word.wrapping_sub(1);
        Some(first.saturating_add(bit))
    }
}
