//! Releases of domains whose hosts ask for them, in whatever way.

use std::net::IpAddr;

use postern_spool::{Domain, Error, Pending, QueueStats, Spool, Wake};

use crate::observe::metrics::Metrics;
use crate::receive::triggers::Triggers;

/// What releases a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// ETRN (RFC 1985); for who has authenticated, from where.
    Etrn(Option<IpAddr>),
    /// A session with somebody from where its host is.
    Connection,
    /// Mail to its wake-up address, or through our own name to it.
    Mail,
    /// Its link came up, as a hook of that says; and where its host is, if it says that.
    Link(Option<IpAddr>),
    /// It is fetched by ATRN (RFC 2645).
    Atrn,
}

impl Trigger {
    /// The word for it in the log and the metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Etrn(_) => "etrn",
            Self::Connection => "connection",
            Self::Mail => "mail",
            Self::Link(_) => "link",
            Self::Atrn => "atrn",
        }
    }

    /// Where the domains' host is, if whoever asks says so.
    const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Etrn(address) | Self::Link(address) => address,
            Self::Connection | Self::Mail | Self::Atrn => None,
        }
    }

    const fn wake(self) -> Wake {
        match self {
            Self::Etrn(_) | Self::Atrn => Wake::Etrn,
            Self::Connection | Self::Mail | Self::Link(_) => Wake::Wakeup,
        }
    }
}

/// Releases those of `domains` that have something to deliver: mail that is only kept is nothing to
/// write a release for. Durable before it returns; says what waited, and what a release found.
///
/// # Errors
/// The spool's. Some domains may be released all the same.
pub(crate) async fn release<S: Spool>(
    spool: &S,
    domains: Vec<Domain>,
    trigger: Trigger,
    (triggers, metrics): (&Triggers, &Metrics),
) -> Result<Vec<(QueueStats, Pending)>, Error> {
    let (mut waiting, mut queues) = (Vec::new(), Vec::new());
    for domain in domains {
        // Whatever waits: where its host was before may be somebody else by now.
        let from = trigger.address();
        if let Some(from) = from {
            triggers.called_at(&domain, from);
        }
        let queue = spool.queue(&domain).await?;
        let Some(queue) = queue.filter(|queue| queue.waiting + queue.under_way > 0) else {
            // An address is for once, and this was it.
            if from.is_some() {
                triggers.nowhere(&domain);
            }
            continue;
        };
        match trigger {
            _ if queue.held => {}
            Trigger::Etrn(Some(_)) | Trigger::Link(Some(_)) => triggers.asked_there(&domain),
            Trigger::Etrn(None) | Trigger::Link(None) => triggers.asked(&domain),
            Trigger::Connection | Trigger::Mail => triggers.woken(&domain),
            // Its host need not be found.
            Trigger::Atrn => {}
        }
        waiting.push(domain);
        queues.push(queue);
    }
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let released = spool.release(&waiting, trigger.wake()).await?;
    waiting.iter().for_each(|domain| triggers.released(domain));
    for _ in released.iter().filter(|pending| !pending.held) {
        metrics.release(trigger.word());
    }
    Ok(queues.into_iter().zip(released).collect())
}
