//! Release and delivery: what passes between the spool and those who deliver.

use std::time::Duration;

use postern_core::envelope::{Notify, State};

use crate::{Domain, Envelope, MsgId, Recipient};

/// A host's reply, or why there was none. The spool keeps [`crate::REPLY_BYTES_MAX`] bytes of it.
pub type Reply = Vec<u8>;

/// Who asked for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// ETRN (RFC 1985).
    Etrn,
    /// Mail to its wake-up address, a connection from where its host is, or its link's coming up.
    Wakeup,
    /// The domain's host took a message, so it is there.
    Delivery,
    /// A person.
    Operator,
}

/// What a release found, before anything of it was under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Items that wait to be delivered.
    pub waiting: u64,
    /// Whether that is their number, and not only a lower bound.
    pub exact: bool,
    /// Items that are being delivered already.
    pub under_way: u64,
    /// Whether a person holds the domain back: nothing goes.
    pub held: bool,
    /// Whether the domain is suspended: see [`Next::Suspended`].
    pub suspended: bool,
}

/// A domain that has something to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The client domain.
    pub domain: Domain,
    /// Whether it was released and that release has not been served yet: then it goes even where
    /// mail goes only when asked for.
    pub asked: bool,
    /// Where it stands among those that are due.
    pub(crate) since: u64,
}

/// The right to deliver for a domain, leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The client domain.
    pub domain: Domain,
    /// The domain's epoch when the turn began.
    pub epoch: u64,
    /// The turn's number: grows with each turn, over restarts as well.
    pub fence: u64,
    /// Whether the domain was asked for: see [`Due::asked`].
    pub asked: bool,
    /// Whether the domain is suspended: see [`Next::Suspended`].
    pub suspended: bool,
}

/// A message that a turn has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The message.
    pub id: MsgId,
    /// Bytes of the body.
    pub size: u64,
    /// The envelope, with all the recipients of the domain but those that were delivered to.
    pub envelope: Envelope,
}

impl Claim {
    /// The recipients that wait for their delivery.
    pub fn waiting(&self) -> impl Iterator<Item = (RecipientNo, &Recipient)> {
        let recipients = (0..).map(RecipientNo).zip(&self.envelope.recipients);
        recipients.filter(|(_, recipient)| recipient.state == State::Waiting)
    }
}

/// Which of a claim's recipients: its index in the claim's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientNo(pub u32);

/// What became of a claimed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The message.
    pub id: MsgId,
    /// What became of which recipient. One that is not named was not tried: no attempt is counted.
    /// One that did not wait any more stays as it is.
    pub fates: Vec<(RecipientNo, Fate)>,
    /// When those that wait on are tried again. Counts for nothing where the domain was released
    /// since the turn began.
    pub retry: Retry,
    /// A message that becomes durable with this, or not at all.
    pub follow: Option<NewMessage>,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The next host took the message for it.
    Delivered(Reply),
    /// It refused it for now, or gave no answer.
    Deferred(Reply),
    /// It refused it for good: kept until a person says what is to be done.
    Refused(Reply),
    /// It was held for as long as mail is held: kept until a person says what is to be done.
    Expired(Reply),
    /// [`Fate::Deferred`], and the follow-up tells its sender so, who is told of no other delay.
    Delayed(Reply),
    /// Given up, and nothing of it is kept: the follow-up tells its sender, or nobody is to hear.
    Returned(Reply),
}

impl Fate {
    /// What the recipient's state is then.
    pub fn state(&self) -> State {
        match self {
            // Of either nothing is kept.
            Self::Delivered(_) | Self::Returned(_) => State::Delivered,
            Self::Deferred(_) | Self::Delayed(_) => State::Waiting,
            Self::Refused(_) => State::Refused,
            Self::Expired(_) => State::Expired,
        }
    }

    /// The reply that it came to this by.
    pub fn reply(&self) -> &[u8] {
        match self {
            Self::Delivered(reply)
            | Self::Deferred(reply)
            | Self::Refused(reply)
            | Self::Expired(reply)
            | Self::Delayed(reply)
            | Self::Returned(reply) => reply,
        }
    }

    /// What the sender still wants to hear of a recipient who wanted to hear `notify`.
    pub(crate) const fn notify(&self, notify: Notify) -> Notify {
        match self {
            Self::Delayed(_) => notify.told_of_delay(),
            _ => notify,
        }
    }
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// As soon as the domain has a turn.
    Now,
    /// Not before so long from now. It counts for nothing once the clock shows a time from before
    /// it was recorded: the clock was wrong then.
    In(Duration),
    /// Not before a release.
    WhenAsked,
}

/// A message of our own, such as a DSN (RFC 3464).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its envelope.
    pub envelope: Envelope,
    /// Its content, of [`crate::FOLLOW_BYTES_MAX`] bytes at most.
    pub body: Vec<u8>,
}

/// What a settling left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Some recipient waits on, or is kept.
    Kept,
    /// Nothing of the item.
    Ended,
    /// Nothing, since a person had removed the item. Neither it nor its follow-up was recorded.
    Gone,
}

/// What is to become of a domain after a turn. All but [`Next::Suspended`] and [`Next::Untried`]
/// lift a suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing is left that could go now, but for what other turns have claimed.
    Drained,
    /// There may be more: the domain stays due.
    More,
    /// The turn found nothing out: the domain stays as it is, and due.
    Untried,
    /// Its host cannot be reached, or takes nothing: nothing of the domain goes before `retry`.
    PutOff {
        /// When to try again.
        retry: Retry,
        /// How far it was reached.
        reach: Reach,
        /// Why, in the host's words or ours.
        why: Reply,
    },
    /// Its host refuses the whole domain: all of it waits, and from `retry` on a turn may find out
    /// whether that is still so.
    Suspended {
        /// When to ask again.
        retry: Retry,
        /// Why, in the host's words or ours.
        why: Reply,
    },
}

/// How far a turn that could deliver nothing has reached its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It answered.
    Answered,
    /// It could not be reached: when somebody reaches it, all that wait for it may go.
    Away,
    /// The same, and nobody knows where it is: no message of the domain was tried.
    Unrouted,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was told.
    Done,
    /// The domain was released since the turn began: it is due, and not put off.
    Released,
}
