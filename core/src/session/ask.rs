//! Asks are tokens: one type a kind, each answered once.

use crate::wire::Text;
use crate::wire::reply::{
    AUTH_OK, CHALLENGE, ETRN_COUNTED, ETRN_DENIED, ETRN_NONE, ETRN_PENDING, ETRN_STARTED,
    ETRN_UNABLE, Reason, Reply, Stage, acceptance, refusal,
};

/// A decision on most asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// Yes.
    Accept,
    /// Yes, in these words: the message's id at its end. Greetings keep their own words.
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
pub enum Outcome {
    /// It goes on.
    Accepted,
    /// It goes on with a line of the client's.
    Challenged,
    /// It goes on without.
    Refused,
    /// It ends.
    Closed,
}

/// A decision with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling<'t> {
    pub(super) reply: Reply,
    pub(super) text: Option<Text<'t>>,
    pub(super) count: Option<u32>,
    pub(super) outcome: Outcome,
}

/// A decision on one ask.
#[derive(Debug)]
pub(crate) struct Answer<'t> {
    pub(super) stage: Stage,
    pub(super) serial: u64,
    pub(super) ruling: Ruling<'t>,
}

impl<'t> Answer<'t> {
    pub(crate) fn new<A: Ask>(ask: &A, verdict: A::Verdict<'t>) -> Self {
        Self { stage: A::STAGE, serial: ask.serial(), ruling: verdict.rule(A::STAGE) }
    }
}

impl<'t> Ruling<'t> {
    fn accepted(reply: Reply, text: Option<Text<'t>>) -> Self {
        Self { reply, text, count: None, outcome: Outcome::Accepted }
    }

    /// 421 is the reply of a server that closes (RFC 5321 §3.8), whoever gave it.
    fn refused(reply: Reply, text: Option<Text<'t>>) -> Self {
        let outcome = if reply.code() == 421 { Outcome::Closed } else { Outcome::Refused };
        Self { reply, text, count: None, outcome }
    }
}

mod sealed {
    use super::{AuthVerdict, EtrnVerdict, Ruling, Verdict};
    use crate::wire::reply::Stage;

    pub trait Token {
        const STAGE: Stage;
        fn serial(&self) -> u64;
    }

    pub trait Decision<'t> {
        fn rule(self, stage: Stage) -> Ruling<'t>;
    }

    impl<'t> Decision<'t> for Verdict<'t> {
        fn rule(self, stage: Stage) -> Ruling<'t> {
            super::rule(self, stage)
        }
    }

    impl<'t> Decision<'t> for EtrnVerdict {
        fn rule(self, _: Stage) -> Ruling<'t> {
            super::rule_etrn(self)
        }
    }

    impl<'t> Decision<'t> for AuthVerdict<'t> {
        fn rule(self, stage: Stage) -> Ruling<'t> {
            super::rule_auth(self, stage)
        }
    }
}

use sealed::{Decision, Token};

fn rule(verdict: Verdict<'_>, stage: Stage) -> Ruling<'_> {
    match verdict {
        Verdict::Accept => Ruling::accepted(acceptance(stage), None),
        Verdict::AcceptWith(text) => Ruling::accepted(acceptance(stage), Some(text)),
        Verdict::Refuse(reason, text) => Ruling::refused(refusal(stage, reason), text),
        Verdict::Close(reason, text) => {
            let ruling = Ruling::refused(refusal(stage, reason), text);
            Ruling { outcome: Outcome::Closed, ..ruling }
        }
    }
}

fn rule_etrn<'t>(verdict: EtrnVerdict) -> Ruling<'t> {
    let (reply, count) = match verdict {
        EtrnVerdict::Started => (ETRN_STARTED, None),
        EtrnVerdict::NoneWaiting => (ETRN_NONE, None),
        EtrnVerdict::PendingStarted => (ETRN_PENDING, None),
        EtrnVerdict::Counted(messages) => (ETRN_COUNTED, Some(messages)),
        EtrnVerdict::Unable => (ETRN_UNABLE, None),
        EtrnVerdict::NotAllowed => (ETRN_DENIED, None),
    };
    Ruling { count, ..Ruling::accepted(reply, None) }
}

fn rule_auth(verdict: AuthVerdict<'_>, stage: Stage) -> Ruling<'_> {
    match verdict {
        AuthVerdict::Accept => Ruling::accepted(AUTH_OK, None),
        AuthVerdict::Challenge(text) => {
            let ruling = Ruling::accepted(CHALLENGE, Some(text));
            Ruling { outcome: Outcome::Challenged, ..ruling }
        }
        AuthVerdict::Refuse(reason, text) => Ruling::refused(refusal(stage, reason), text),
    }
}

/// A token that stands for one question of one session.
///
/// It can't be copied, and [`super::Session::answer`] takes it. It borrows nothing, so the answer
/// may wait for a disk. A token of another session, or of a question that is no longer open,
/// changes nothing.
pub trait Ask: Token {
    /// What can be decided.
    type Verdict<'t>: Decision<'t>;
}

macro_rules! asks {
    ($($(#[$doc:meta])* $name:ident: $stage:ident, $verdict:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        #[must_use = "the session waits for the answer"]
        pub struct $name(pub(super) u64);

        impl Token for $name {
            const STAGE: Stage = Stage::$stage;

            fn serial(&self) -> u64 {
                self.0
            }
        }

        impl Ask for $name {
            type Verdict<'t> = $verdict;
        }
    )*};
}

asks! {
    /// The ask of [`super::Event::Connect`].
    AskConnect: Connect, Verdict<'t>;
    /// The ask of [`super::Event::Hello`].
    AskHello: Hello, Verdict<'t>;
    /// The ask of [`super::Event::Mail`].
    AskMail: Mail, Verdict<'t>;
    /// The ask of [`super::Event::Rcpt`].
    AskRcpt: Rcpt, Verdict<'t>;
    /// The ask of [`super::Event::Data`].
    AskData: Data, Verdict<'t>;
    /// The ask of [`super::Event::ChunkEnd`].
    AskChunk: Chunk, Verdict<'t>;
    /// The ask of [`super::Event::End`].
    AskEnd: End, Verdict<'t>;
    /// The ask of [`super::Event::Etrn`].
    AskEtrn: Etrn, EtrnVerdict;
    /// The ask of [`super::Event::Atrn`].
    AskAtrn: Atrn, Verdict<'t>;
    /// The ask of [`super::Event::StartTls`].
    AskTls: StartTls, Verdict<'t>;
    /// The ask of [`super::Event::AuthStart`] and [`super::Event::AuthLine`].
    AskAuth: Auth, AuthVerdict<'t>;
    /// The ask of [`super::Event::Xclient`].
    AskXclient: Xclient, Verdict<'t>;
}

/// An ask that was not answered, handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered<A> {
    /// The output has less than [`super::Config::min_out`] octets free: send what is there, then
    /// answer again.
    NoRoom(A),
    /// The question is no longer open, or was another session's. Nothing was changed.
    Stale,
}
