//! ATRN's answers (RFC 2645 section 5.2.1).

use postern_core::wire::reply::Reason;
use postern_spool::{Domain, Error, Spool};

use super::etrn::Releases;
use crate::policy::Peer;

/// What an ATRN comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The roles turn: something waits.
    Turned,
    /// Nothing waits.
    NoMail,
    /// All that there is goes over another connection now.
    UnderWay,
    /// A person holds back all that there is.
    HeldBack,
    /// Not by this account, or not for one of these domains.
    NotAllowed,
    /// The spool cannot tell.
    Unable,
}

impl Asked {
    /// What it is refused for, if it is.
    pub(super) const fn refused(self) -> Option<Reason> {
        match self {
            Self::Turned => None,
            Self::NoMail => Some(Reason::NoMail),
            Self::UnderWay => Some(Reason::TooManySessions),
            Self::NotAllowed => Some(Reason::Policy),
            Self::HeldBack | Self::Unable => Some(Reason::Busy),
        }
    }
}

impl Releases {
    /// Whether anything waits for `domains`, which the account `name` at `client` asked for;
    /// `None`: not all of them are its own.
    pub(super) async fn fetch<S: Spool>(
        &self,
        spool: &S,
        (client, name): (Peer, &str),
        domains: Option<&[Domain]>,
    ) -> Asked {
        let asked = match domains {
            None => Asked::NotAllowed,
            Some(domains) => find(spool, domains).await.unwrap_or_else(|error| {
                tracing::error!(%client, account = name, %error, "no release by ATRN");
                Asked::Unable
            }),
        };
        if let Some(unlogged) = self.lines.pass(client.network(), self.clock.instant()) {
            let domains = domains.unwrap_or_default().len();
            tracing::info!(%client, account = name, domains, verdict = ?asked, unlogged, "atrn");
        }
        asked
    }
}

async fn find<S: Spool>(spool: &S, domains: &[Domain]) -> Result<Asked, Error> {
    let mut found = Asked::NoMail;
    for domain in domains {
        let Some(queue) = spool.queue(domain).await? else { continue };
        match (queue.waiting, queue.under_way) {
            (0, 0) => {}
            (0, _) => found = Asked::UnderWay,
            _ if !queue.held => return Ok(Asked::Turned),
            _ if found == Asked::NoMail => found = Asked::HeldBack,
            _ => {}
        }
    }
    Ok(found)
}
