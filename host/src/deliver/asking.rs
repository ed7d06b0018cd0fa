//! Asking hosts about recipients (`ask`), by RCPT and without DATA.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::client::reply::Enhanced;
use postern_spool::clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Connection, Open};
use super::heard::Heard;
use super::not_open::{Failed, NotOpen};
use super::transfer::{Stage, Verdict};
use super::{Answer, Connector};
use crate::ask::{Asking, Found, Lost, Recipient};
use crate::config::{DomainName, Endpoint};
use crate::contained::{Panicked, contained};
use crate::net::listener::Terms;
use crate::net::tls_client::Tls;
use crate::receive::greeting::Token;

/// How long the host may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take for an answer, and until it awaits a question, whoever waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Recipients that are asked about over one connection.
const RECIPIENTS: u32 = 10;

/// What asks the hosts.
#[derive(Clone)]
pub struct Asker {
    /// What is to be asked, and what becomes of the answers.
    pub asking: Arc<Asking>,
    /// What we call ourselves, and how much is remembered.
    pub terms: watch::Receiver<Terms>,
    /// The clocks.
    pub clock: Clock,
    /// What finds the hosts, and connects to them.
    pub connector: Arc<dyn Connector>,
    /// TLS towards the hosts.
    pub tls: Tls,
    /// What our own greeting says.
    pub own: Token,
}

impl Asker {
    /// Asks what there is to ask, each host by itself, until `stopping` turns true.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut asked = JoinSet::new();
        loop {
            for endpoint in self.asking.begin() {
                asked.spawn(self.clone().ask_all(endpoint));
            }
            tokio::select! {
                () = self.asking.wanted() => {}
                Some(_) = asked.join_next() => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        asked.shutdown().await;
        self.asking.kept().await;
    }

    /// Asks `endpoint` all that waits.
    async fn ask_all(self, endpoint: Endpoint) {
        loop {
            match contained(self.ask_some(&endpoint)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(lost)) => {
                    tracing::info!(host = %endpoint, why = %lost, "not asked about recipients");
                    return self.asking.lost(&endpoint, Some(lost));
                }
                Err(Panicked) => return self.asking.lost(&endpoint, None),
            }
        }
    }

    /// Asks about some recipients, over one connection; whether there were any.
    async fn ask_some(&self, endpoint: &Endpoint) -> Result<bool, Lost> {
        if !self.asking.goes_on(endpoint) {
            return Ok(false);
        }
        let hostname = Arc::clone(&self.terms.borrow().hostname);
        let open = Open {
            hostname: &hostname,
            connector: &*self.connector,
            tls: &self.tls,
            clock: &self.clock,
            own: Some(&self.own),
            connect_timeout: CONNECT_TIMEOUT,
            mail_behind: false,
            step: None,
            relay: None,
        };
        let connected = timeout(ANSWER_TIMEOUT, open.connect(endpoint)).await;
        let mut connection = connected.map_err(|_| Lost::Silent)?.map_err(lost)?;
        self.ask_over(&mut connection, endpoint).await?;
        connection.quit().await;
        Ok(true)
    }

    /// Asks about 10 recipients at most.
    async fn ask_over(
        &self,
        connection: &mut Connection<'_>,
        endpoint: &Endpoint,
    ) -> Result<(), Lost> {
        let (mut left, mut postmasters) = (RECIPIENTS, HashMap::new());
        while left > 0 {
            let Some(question) = self.asking.next(endpoint) else { break };
            let Recipient { domain, path, .. } = question.recipient();
            left -= 1;
            let mut meaning = one(connection, path).await?;
            if meaning == Meaning::UnknownIfPostmasterIs {
                // A host that refuses everybody in these words says nothing of this one.
                let knows = match postmasters.get(domain) {
                    Some(knows) => *knows,
                    None => {
                        left = left.saturating_sub(1);
                        self.asking.asks_more(endpoint);
                        let postmaster = format!("postmaster@{domain}");
                        one(connection, postmaster.as_bytes()).await? == Meaning::Exists
                    }
                };
                postmasters.insert(domain.clone(), knows);
                meaning = if knows { Meaning::Unknown } else { Meaning::Nothing };
            }
            question.tell(meaning.found());
            let mut any = Ok(());
            if meaning == Meaning::Exists && self.asking.is_any_due(endpoint, domain) {
                left = left.saturating_sub(1);
                any = self.find_out_any(connection, endpoint, domain).await;
            }
            let most = self.terms.borrow().config.ask.remember.get() as usize;
            // What was said before the host broke off was said.
            self.asking.answered(question.recipient(), meaning.found(), most);
            any?;
        }
        Ok(())
    }

    /// Finds out whether anybody is taken at `domain`.
    async fn find_out_any(
        &self,
        connection: &mut Connection<'_>,
        endpoint: &Endpoint,
        domain: &DomainName,
    ) -> Result<(), Lost> {
        self.asking.asks_more(endpoint);
        let takes = one(connection, &nobody_at(domain)).await? == Meaning::Exists;
        self.asking.note_any(endpoint, domain, takes);
        Ok(())
    }
}

/// What a reply to RCPT says of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Exists,
    Unknown,
    /// It may be the host's word for all that it refuses.
    UnknownIfPostmasterIs,
    /// It is about something else, or for now.
    Nothing,
}

impl Meaning {
    fn of(answer: &Answer) -> Self {
        let status = answer.enhanced();
        match (answer.code(), status) {
            (200..300, _) => Self::Exists,
            (550 | 551 | 553, Some(Enhanced { class: 5, subject: 1, detail: 1 | 6 | 10 })) => {
                Self::Unknown
            }
            (550 | 551 | 553, None) => Self::UnknownIfPostmasterIs,
            _ => Self::Nothing,
        }
    }

    const fn found(self) -> Found {
        match self {
            Self::Exists => Found::Exists,
            Self::Unknown => Found::Unknown,
            Self::UnknownIfPostmasterIs | Self::Nothing => Found::Nothing,
        }
    }
}

/// What `verdict` on a delivery says of its recipient.
pub(crate) fn told_by(verdict: &Verdict) -> Found {
    match verdict {
        Verdict::Reply(Stage::Recipient, answer) => Meaning::of(answer).found(),
        // It was asked for behind the recipient, who was taken.
        Verdict::Reply(Stage::Message, _) => Found::Exists,
        Verdict::Reply(Stage::Mail, _) | Verdict::Unsendable(_) => Found::Nothing,
    }
}

/// What it means that there is no connection.
fn lost(NotOpen { failed, why }: NotOpen) -> Lost {
    match failed {
        Failed::Absent | Failed::Unrouted | Failed::Short | Failed::TlsLost => Lost::Silent,
        Failed::TurnedAway | Failed::Refused | Failed::Ourselves | Failed::AtFault => {
            Lost::Refuses(why)
        }
    }
}

/// Asks about one recipient.
async fn one(connection: &mut Connection<'_>, path: &[u8]) -> Result<Meaning, Lost> {
    match timeout(ANSWER_TIMEOUT, connection.ask_about(path)).await {
        Ok(Ok(Heard::Recipient(answer))) => {
            tracing::debug!(recipient = %path.escape_ascii(), answer = answer.line(), "asked");
            Ok(Meaning::of(&answer))
        }
        Ok(Ok(Heard::Sender(_) | Heard::Nothing(_))) => Ok(Meaning::Nothing),
        Ok(Err(why)) => Err(Lost::Refuses(why)),
        Err(_) => Err(Lost::Silent),
    }
}

/// An address that nobody has.
fn nobody_at(domain: &DomainName) -> Vec<u8> {
    format!("postern-{:016x}@{domain}", fastrand::u64(..)).into_bytes()
}

#[cfg(test)]
mod tests;
