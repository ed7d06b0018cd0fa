//! One holder: when it is asked, by which of its names, and what its answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::time::Instant;
use postern_core::wakeup::{Answer, Due, Requests, Rules};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Caller;
use super::board::Asked;
use super::email;
use crate::config::{self, Account, Config, DomainName, Endpoint, Protocol, Wakeup, Way};
use crate::deliver::{self, Connection, Failed, NotOpen, Open};
use crate::link::Lease;
use crate::net::gate::Asking;
use crate::net::listener::Terms;
use crate::net::stream::reach;
use crate::receive::session::Came;

/// How long each address of a holder may take to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long all that is said over one connection may take.
pub(super) const DIALOGUE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long sockets may take to close, and how often that is looked at.
const CLOSING: Duration = Duration::from_millis(100);
const CLOSING_LOOKS: u32 = 20;
/// Names that are asked for over one connection: a server may end a session that asks and asks.
const NAMES_MAX: usize = 50;

/// What asks one holder.
pub(super) struct Holder {
    pub(super) caller: Caller,
    pub(super) wakeup: Wakeup,
    /// Its names, as one text.
    pub(super) name: String,
    requests: Requests,
    /// What it has answered for in the round that is not over yet, and when: what it never answers
    /// for must not keep it from being asked for the rest.
    settled: BTreeMap<DomainName, Instant>,
    by_people: watch::Receiver<u64>,
    /// The last request of a person that it is asked for.
    asked_for: u64,
}

/// What one connection came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Mail comes.
    comes: bool,
    /// What came over a connection that was turned round, in words.
    came: Option<&'static str>,
    /// For some names there was no answer.
    missing: bool,
    /// For some names it will not send anything.
    refused: bool,
}

impl Found {
    pub(super) const MISSING: Self =
        Self { comes: false, came: None, missing: true, refused: false };

    /// What a request came to.
    pub(super) const fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Comes => self.comes = true,
            Answer::NoneWaiting => {}
            Answer::Refused => self.refused = true,
            Answer::Missing => self.missing = true,
        }
    }

    /// What a session came to. Of one that did not end as it should, there may be more to come.
    pub(super) const fn came(&mut self, came: &Came) {
        match came {
            Came { left: false, messages: 0, .. } => self.missing = true,
            Came { left: false, .. } => (self.missing, self.came) = (true, Some("cut short")),
            Came { messages: 0, refused: 0, .. } => {}
            Came { messages: 0, .. } if self.came.is_none() => self.came = Some("none was taken"),
            Came { messages: 0, .. } => {}
            Came { .. } if self.missing => {}
            Came { .. } => (self.comes, self.came) = (true, Some("mail came")),
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self { missing: true, .. } => Answer::Missing,
            Self { refused: true, .. } => Answer::Refused,
            Self { comes: true, .. } => Answer::Comes,
            Self { .. } => Answer::NoneWaiting,
        }
    }

    /// As people read it: mail that comes for one name is more than nothing for another.
    const fn outcome(&self) -> &'static str {
        match self {
            Self { came: Some(word), .. } => word,
            Self { comes: true, .. } => "mail comes",
            Self { missing: true, .. } => "no answer",
            Self { refused: true, .. } => "refused",
            Self { .. } => "nothing waits",
        }
    }
}

/// What was said to an e-mail `to` its account.
fn heard(
    to: &Account,
    answer: Result<deliver::Answer, String>,
    asked: &mut Asked,
    found: &mut Found,
) {
    let answer = answer.map(|answer| {
        asked.say(format_args!("e-mail to {to}: {answer}"));
        Answer::to_email(answer.code())
    });
    let answer = answer.unwrap_or_else(|why| {
        asked.say(format_args!("e-mail to {to}: {why}"));
        Answer::Missing
    });
    found.note(answer);
}

/// Waits until a request is due, and the link and the schedule are ready for it.
async fn turn(caller: &Caller, due: Due) -> Result<Arc<Lease>, String> {
    reach(&caller.clock, due.at).await;
    caller.link.lease(due.is_urgent).await.map(Arc::new)
}

impl Holder {
    pub(super) fn new(caller: Caller, wakeup: Wakeup) -> Self {
        let name = wakeup.name();
        let rules = Rules { every: wakeup.every, names: wakeup.holders().len() };
        let last = caller.answers.of(&name);
        let today = caller.clock.timestamp();
        // A time that is not known, or was ahead of now, says nothing.
        let since = last.as_ref().filter(|_| today.known).and_then(|last| {
            today.unix_seconds.checked_sub(last.unix_seconds).map(Duration::from_secs)
        });
        let requests = Requests::new(rules, since, caller.clock.instant());
        if let Some(last) = last {
            caller.board.asked(&name, last, requests.next().at);
        }
        let mut by_people = caller.board.requests();
        let asked_for = *by_people.borrow_and_update();
        Self { caller, wakeup, name, requests, settled: BTreeMap::new(), by_people, asked_for }
    }

    /// Asks again and again; ends with its task.
    pub(super) async fn run(mut self) {
        let (mut served, mut ups) = (self.asked_for, self.caller.link.ups());
        loop {
            let due = self.requests.next();
            if !due.is_urgent {
                served = self.asked_for;
            }
            self.caller.board.waits(&self.name, false, due.at, served);
            tokio::select! {
                biased;
                Ok(()) = self.by_people.changed() => {
                    self.asked_for = *self.by_people.borrow_and_update();
                    self.requests.request(self.caller.clock.instant());
                    self.settled.clear();
                }
                Ok(()) = ups.changed() => {
                    self.requests.link_up(self.caller.clock.instant());
                }
                lease = turn(&self.caller, due) => {
                    self.caller.board.waits(&self.name, true, due.at, served);
                    self.ask(due, lease).await;
                }
            }
        }
    }

    /// `lease`: the link for as long as that takes, or why it is not up.
    async fn ask(&mut self, due: Due, lease: Result<Arc<Lease>, String>) {
        let terms = self.caller.terms.borrow().clone();
        let host = &self.wakeup.holders()[due.name].clone();
        let mut asked = Asked { host: host.to_string(), ..Asked::default() };
        let found = match (&lease, &self.wakeup.way) {
            (Err(why), _) => {
                asked.say(format_args!("nothing was sent: {why}"));
                Found::MISSING
            }
            (Ok(_), Way::Etrn(_) | Way::Email(_)) => self.wake(host, &terms, &mut asked).await,
            (Ok(lease), Way::Atrn(atrn)) => {
                self.fetch(atrn, host, &terms.hostname, (&mut asked, lease)).await
            }
        };
        let now = self.caller.clock.timestamp();
        (asked.unix_seconds, asked.outcome) = (now.unix_seconds, found.outcome().to_owned());
        // Of several domains one may be refused for the holder's own reasons; an account that takes
        // no mail is one that nobody wakes.
        let is_by_email = matches!(self.wakeup.way, Way::Email(_));
        asked.is_alarm = is_by_email && found.answer() == Answer::Refused;
        self.log(&asked, &found);
        self.requests.ended(found.answer(), self.caller.clock.instant(), fastrand::u32(..));
        self.caller.board.asked(&self.name, asked.clone(), self.requests.next().at);
        if self.requests.is_answered() {
            self.settled.clear();
            if now.known {
                let holders = terms.config.wakeup.iter();
                let known = holders.map(Wakeup::name).collect();
                self.caller.answers.keep(self.name.clone(), asked, known).await;
            }
        }
    }

    /// Asks for mail that comes to the listener, which is open meanwhile.
    async fn wake(&mut self, host: &config::Holder, terms: &Terms, asked: &mut Asked) -> Found {
        let names = self.names(&terms.config);
        match self.open().await {
            Ok(asking) => {
                let found = self.ask_for(&names, host, &terms.hostname, asked).await;
                if found.comes {
                    asking.expect(terms.config.receive.wait);
                }
                found
            }
            Err(why) => {
                asked.say(format_args!("nothing was sent: {why}"));
                Found::MISSING
            }
        }
    }

    /// Opens the listener. The sockets of the last time may be closing just now.
    async fn open(&self) -> Result<Asking, String> {
        let mut woken = self.caller.gate.wake_up();
        for _ in 0..CLOSING_LOOKS {
            if woken.is_ok() {
                break;
            }
            sleep(CLOSING).await;
            woken = self.caller.gate.wake_up();
        }
        woken
    }

    /// What is to be asked for, as far as the holder has not answered for it.
    fn names(&self, config: &Config) -> Vec<DomainName> {
        let (now, every) = (self.caller.clock.instant(), self.wakeup.every);
        let is_open = |name: &&DomainName| {
            self.settled.get(*name).is_none_or(|answered| now >= answered.after(every))
        };
        match self.wakeup.names.is_empty() {
            true => config.hold.keys().filter(is_open).cloned().collect(),
            false => self.wakeup.names.iter().filter(is_open).cloned().collect(),
        }
    }

    /// Asks `host`, by as many connections as that takes.
    async fn ask_for(
        &mut self,
        names: &[DomainName],
        host: &config::Holder,
        hostname: &str,
        asked: &mut Asked,
    ) -> Found {
        let groups = match self.wakeup.way {
            Way::Etrn(_) => names.chunks(NAMES_MAX).collect(),
            Way::Email(_) | Way::Atrn(_) => vec![names],
        };
        if groups.is_empty() && self.settled.is_empty() {
            asked.say("no domain is held, and wakeup.names is empty: there is nothing to ask for");
        }
        let mut found = Found::default();
        for names in groups {
            // What it has answered until then counts.
            let dialogue = self.dialogue(names, host, hostname, (&mut *asked, &mut found));
            if timeout(DIALOGUE_TIMEOUT, dialogue).await.is_err() {
                let minutes = DIALOGUE_TIMEOUT.as_secs() / 60;
                asked.say(format_args!("it took more than {minutes} minutes"));
                found.missing = true;
            }
            if found.missing {
                break;
            }
        }
        found
    }

    /// Asks for `names` over one connection.
    async fn dialogue(
        &mut self,
        names: &[DomainName],
        host: &config::Holder,
        hostname: &str,
        (asked, found): (&mut Asked, &mut Found),
    ) {
        let Caller { connector, tls, clock, own, .. } = self.caller.clone();
        let open = Open {
            hostname,
            connector: &*connector,
            tls: &tls,
            clock: &clock,
            own: Some(&own),
            connect_timeout: CONNECT_TIMEOUT,
            mail_behind: false,
            step: None,
            relay: None,
        };
        let config::Holder { host, port } = host.clone();
        let to = Endpoint { protocol: Protocol::Smtp, host, port };
        let mut connection = match open.connect(&to).await {
            Ok(connection) => connection,
            Err(NotOpen { failed, why }) => {
                asked.say(why);
                let refuses = matches!(failed, Failed::Refused | Failed::Ourselves);
                (found.refused, found.missing) = (found.refused | refuses, !refuses);
                return;
            }
        };
        let how = if connection.is_secure() { "under TLS" } else { "in clear" };
        asked.say(format_args!("connected to {}, {how}", connection.address()));
        match &self.wakeup.way {
            Way::Email(email) => {
                let own = (hostname, &clock);
                let answer = email::send(email, names, own, &mut connection).await;
                heard(&email.to, answer, asked, found);
            }
            Way::Etrn(_) if connection.takes_etrn() => {
                self.etrn(names, &mut connection, (asked, found)).await;
            }
            Way::Etrn(_) | Way::Atrn(_) => {
                asked.say("it does not offer ETRN");
                found.refused = true;
            }
        }
        if !found.missing {
            connection.quit().await;
        }
    }

    async fn etrn(
        &mut self,
        names: &[DomainName],
        connection: &mut Connection<'_>,
        (asked, found): (&mut Asked, &mut Found),
    ) {
        for name in names {
            let answer = match connection.etrn(name.as_str().as_bytes()).await {
                Ok(answer) => answer,
                Err(why) => {
                    asked.say(format_args!("ETRN {name}: {why}"));
                    found.missing = true;
                    break;
                }
            };
            asked.say(format_args!("ETRN {name}: {answer}"));
            match Answer::to_etrn(answer.code()) {
                Answer::Comes => found.comes = true,
                Answer::NoneWaiting => {}
                Answer::Refused => {
                    found.refused = true;
                    continue;
                }
                Answer::Missing => {
                    found.missing = true;
                    continue;
                }
            }
            self.settled.insert(name.clone(), self.caller.clock.instant());
        }
    }

    fn log(&self, asked: &Asked, found: &Found) {
        let Asked { host, outcome, dialogue, .. } = asked;
        let (holder, dialogue) = (&self.name, dialogue.join("; "));
        // What is wrong is wrong with somebody's configuration, or with the holder.
        match found.refused || found.missing {
            true => tracing::warn!(%holder, %host, %outcome, %dialogue, "a holder was asked"),
            false => tracing::info!(%holder, %host, %outcome, %dialogue, "a holder was asked"),
        }
    }
}
