//! Asks are tokens, each answered once.

use core::marker::PhantomData;

use crate::wire::Text;
use crate::wire::reply::{
    AUTH_OK, CHALLENGE, ETRN_COUNTED, ETRN_DENIED, ETRN_NONE, ETRN_PENDING, ETRN_STARTED,
    ETRN_UNABLE, Reason, Reply, Stage, acceptance, refusal,
};

/// A token that stands for one question of one session; `V` is the verdict that it takes.
///
/// It can't be copied, and [`super::Session::answer`] takes it. It borrows nothing, so the answer
/// may wait for a disk. A token of another session, or of a question that is no longer open,
/// changes nothing: a session has one at a time, so its id and the stage tell them apart.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the session waits for the answer"]
pub struct Ask<V = Verdict<'static>> {
    stage: Stage,
    session: u32,
    verdict: PhantomData<fn(V)>,
}

impl<V> Ask<V> {
    pub(super) const fn new(stage: Stage, session: u32) -> Self {
        Self { stage, session, verdict: PhantomData }
    }
}

/// An ask that was not answered, handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered<V = Verdict<'static>> {
    /// The output has less than [`super::Config::min_out`] octets free: send what is there, then
    /// answer again.
    NoRoom(Ask<V>),
    /// The question is no longer open, or was another session's. Nothing was changed.
    Stale,
}

/// A decision on most asks.
///
/// Words that are not constant, such as an id, have to be kept where they can be borrowed from
/// until the verdict is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// Yes.
    Accept,
    /// Yes, in these words: the message's id at its end. In a greeting they stand behind our name,
    /// where both have room in a [`Text`]; EHLO's reply keeps its own words.
    AcceptWith(Text<'t>),
    /// No, in these words or the reason's own. A reason whose reply is 421 closes too.
    Refuse(Reason, Option<Text<'t>>),
    /// No, and the session ends.
    Close(Reason, Option<Text<'t>>),
}

/// A decision on ETRN (RFC 1985 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtrnVerdict {
    /// 250: a run is on already, or nothing was counted, as for `@` and `#`.
    Started,
    /// 251: nothing waits.
    NoneWaiting,
    /// 252: more messages were started than are counted.
    PendingStarted,
    /// 253: as many messages were started.
    Counted(u32),
    /// 458: not now.
    Unable,
    /// 459: not by this client, or not for this node.
    NotAllowed,
}

/// A decision on AUTH and its lines (RFC 4954 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthVerdict<'t> {
    /// 235.
    Accept,
    /// 334 and the challenge, in base64.
    Challenge(Text<'t>),
    /// No, in these words or the reason's own.
    Refuse(Reason, Option<Text<'t>>),
}

/// What a decision means to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    Accepted,
    /// It goes on with a line of the client's.
    Challenged,
    /// It goes on without.
    Refused,
    /// It ends.
    Closed,
}

/// What a reply says behind its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words<'t> {
    Own,
    Text(Text<'t>),
    Count(u32),
}

/// A decision with its reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruling<'t> {
    pub(super) reply: Reply,
    pub(super) words: Words<'t>,
    pub(super) outcome: Outcome,
}

impl<'t> Ruling<'t> {
    fn accepted(reply: Reply, words: Words<'t>) -> Self {
        Self { reply, words, outcome: Outcome::Accepted }
    }

    /// 421 is the reply of a server that closes (RFC 5321 §3.8), whoever gave it.
    fn refused(stage: Stage, reason: Reason, text: Option<Text<'t>>) -> Self {
        let reply = refusal(stage, reason);
        let outcome = if reply.code() == 421 { Outcome::Closed } else { Outcome::Refused };
        Self { reply, words: text.map_or(Words::Own, Words::Text), outcome }
    }
}

/// A decision on one ask.
#[derive(Debug)]
pub(crate) struct Answer<'t> {
    pub(super) stage: Stage,
    pub(super) session: u32,
    pub(super) ruling: Ruling<'t>,
}

impl<'t> Answer<'t> {
    pub(crate) fn new<V: Decision>(ask: &Ask<V>, verdict: V::Of<'t>) -> Self {
        let Ask { stage, session, .. } = *ask;
        Self { stage, session, ruling: verdict.into().rule(stage) }
    }
}

/// What can be decided: [`Verdict`], [`EtrnVerdict`] or [`AuthVerdict`].
pub trait Decision {
    /// The verdict, with words that are borrowed for as long as `'t`.
    type Of<'t>: Into<AnyVerdict<'t>>;
}

impl Decision for Verdict<'static> {
    type Of<'t> = Verdict<'t>;
}

impl Decision for EtrnVerdict {
    type Of<'t> = Self;
}

impl Decision for AuthVerdict<'static> {
    type Of<'t> = AuthVerdict<'t>;
}

/// A verdict of any kind; nobody else can name it, so the kinds are these three.
#[derive(Debug)]
pub enum AnyVerdict<'t> {
    Plain(Verdict<'t>),
    Etrn(EtrnVerdict),
    Auth(AuthVerdict<'t>),
}

impl<'t> From<Verdict<'t>> for AnyVerdict<'t> {
    fn from(verdict: Verdict<'t>) -> Self {
        Self::Plain(verdict)
    }
}

impl From<EtrnVerdict> for AnyVerdict<'_> {
    fn from(verdict: EtrnVerdict) -> Self {
        Self::Etrn(verdict)
    }
}

impl<'t> From<AuthVerdict<'t>> for AnyVerdict<'t> {
    fn from(verdict: AuthVerdict<'t>) -> Self {
        Self::Auth(verdict)
    }
}

impl<'t> AnyVerdict<'t> {
    fn rule(self, stage: Stage) -> Ruling<'t> {
        match self {
            Self::Plain(Verdict::Accept) => Ruling::accepted(acceptance(stage), Words::Own),
            Self::Plain(Verdict::AcceptWith(text)) => {
                Ruling::accepted(acceptance(stage), Words::Text(text))
            }
            Self::Plain(Verdict::Refuse(reason, text))
            | Self::Auth(AuthVerdict::Refuse(reason, text)) => Ruling::refused(stage, reason, text),
            Self::Plain(Verdict::Close(reason, text)) => {
                Ruling { outcome: Outcome::Closed, ..Ruling::refused(stage, reason, text) }
            }
            Self::Etrn(verdict) => rule_etrn(verdict),
            Self::Auth(AuthVerdict::Accept) => Ruling::accepted(AUTH_OK, Words::Own),
            Self::Auth(AuthVerdict::Challenge(text)) => {
                let ruling = Ruling::accepted(CHALLENGE, Words::Text(text));
                Ruling { outcome: Outcome::Challenged, ..ruling }
            }
        }
    }
}

fn rule_etrn<'t>(verdict: EtrnVerdict) -> Ruling<'t> {
    let (reply, words) = match verdict {
        EtrnVerdict::Started => (ETRN_STARTED, Words::Own),
        EtrnVerdict::NoneWaiting => (ETRN_NONE, Words::Own),
        EtrnVerdict::PendingStarted => (ETRN_PENDING, Words::Own),
        EtrnVerdict::Counted(messages) => (ETRN_COUNTED, Words::Count(messages)),
        EtrnVerdict::Unable => (ETRN_UNABLE, Words::Own),
        EtrnVerdict::NotAllowed => (ETRN_DENIED, Words::Own),
    };
    Ruling::accepted(reply, words)
}
