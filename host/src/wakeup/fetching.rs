//! Mail that is fetched by ATRN (RFC 2645): the holder is asked, and sends it over the connection
//! that asked. No listener is needed.

use std::path::Path;
use std::sync::Arc;

use postern_core::wakeup::Answer;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::board::Asked;
use super::holder::{CONNECT_TIMEOUT, DIALOGUE_TIMEOUT, Found, Holder};
use crate::config::{self, AtrnWay, DomainName, Endpoint, HolderTls, Protocol, read_password};
use crate::deliver::{self, Connection, Credentials, Failed, LoggedIn, NotOpen, Open, Trust};
use crate::link::Lease;
use crate::net::tls_client::{Rule, Tls};
use crate::net::turned::Turned;
use crate::receive::session::Came;

/// Octets of the domains in one ATRN: a line has 512 (RFC 5321 section 4.5.3.1.4).
const DOMAINS_MAX: usize = 500;

/// What is read anew each time.
struct Secrets {
    password: String,
    tls: Arc<Tls>,
}

impl Holder {
    /// Fetches from `host` what it holds, by as many connections as its domains' names take; each
    /// needs the link until it ends, whoever still waits for that.
    pub(super) async fn fetch(
        &self,
        atrn: &AtrnWay,
        host: &config::Holder,
        hostname: &str,
        (asked, lease): (&mut Asked, &Arc<Lease>),
    ) -> Found {
        let mut found = Found::default();
        for domains in lines(&self.wakeup.names) {
            let secrets = match self.secrets(atrn).await {
                Ok(secrets) => secrets,
                Err(why) => {
                    asked.say(format_args!("nothing was sent: {why}"));
                    return Found::MISSING;
                }
            };
            let asking = self.turn(atrn, (host, hostname), (&domains, secrets), asked);
            let turned = match timeout(DIALOGUE_TIMEOUT, asking).await {
                Ok(Ok(turned)) => turned,
                Ok(Err(answer)) => {
                    found.note(answer);
                    continue;
                }
                Err(_) => {
                    let minutes = DIALOGUE_TIMEOUT.as_secs() / 60;
                    asked.say(format_args!("it took more than {minutes} minutes"));
                    found.note(Answer::Missing);
                    break;
                }
            };
            // A session has deadlines of its own, and its mail may take hours.
            asked.unix_seconds = self.caller.clock.timestamp().unix_seconds;
            self.caller.board.fetches(&self.name, asked.clone());
            let came =
                self.caller.turns.receive(turned, Arc::clone(lease) as _).await.unwrap_or_default();
            asked.say(told(&came));
            found.came(&came);
        }
        found
    }

    async fn secrets(&self, atrn: &AtrnWay) -> Result<Secrets, String> {
        let (atrn, opportunistic) = (atrn.clone(), Arc::clone(&self.caller.tls));
        let read = spawn_blocking(move || {
            let tls = match rule(atrn.tls) {
                Rule::Opportunistic => opportunistic,
                Rule::Never => Arc::new(opportunistic.in_clear()),
                rule => Arc::new(Tls::verified(rule, atrn.tls_ca.as_deref())?),
            };
            Ok(Secrets { password: read_password(&atrn.password_file)?, tls })
        });
        read.await.unwrap_or_else(|_| Err("its files could not be read".to_owned()))
    }

    /// Goes on until the roles have turned, or to what came in place of that.
    async fn turn(
        &self,
        atrn: &AtrnWay,
        (host, hostname): (&config::Holder, &str),
        (domains, secrets): (&[&str], Secrets),
        asked: &mut Asked,
    ) -> Result<Turned, Answer> {
        let Secrets { password, tls } = secrets;
        let open = Open {
            hostname,
            connector: &*self.caller.connector,
            tls: &tls,
            clock: &self.caller.clock,
            own: Some(&self.caller.own),
            connect_timeout: CONNECT_TIMEOUT,
            mail_behind: false,
            step: None,
            relay: None,
        };
        let config::Holder { host, port } = host.clone();
        let to = Endpoint { protocol: Protocol::Smtp, host, port };
        let mut connection = open.connect(&to).await.map_err(|NotOpen { failed, why }| {
            asked.say(why);
            match failed {
                Failed::Refused | Failed::Ourselves => Answer::Refused,
                _ => Answer::Missing,
            }
        })?;
        let is_verified = connection.is_secure() && atrn.tls.is_verified();
        let how = match (connection.is_secure(), is_verified) {
            (_, true) => "under verified TLS",
            (true, false) => "under TLS",
            (false, false) => "in clear",
        };
        asked.say(format_args!("connected to {}, {how}", connection.address()));
        if !connection.takes_atrn() {
            asked.say("it does not offer ATRN");
            connection.quit().await;
            return Err(Answer::Refused);
        }
        let user = atrn.user.as_str().to_owned();
        let trust = match (is_verified, atrn.tls) {
            (true, _) => Trust::Certain,
            (false, HolderTls::Off) => Trust::Near,
            (false, _) => Trust::None,
        };
        let credentials = Credentials { user, password, trust };
        if let Err(answer) = log_in(credentials, &mut connection, asked).await {
            connection.quit().await;
            return Err(answer);
        }
        ask(connection, domains, asked).await
    }
}

async fn log_in(
    credentials: Credentials,
    connection: &mut Connection<'_>,
    asked: &mut Asked,
) -> Result<(), Answer> {
    let (mechanism, ended) = credentials.log_in(connection).await;
    match ended {
        LoggedIn::Answered(answer) => {
            asked.say(format_args!("AUTH {mechanism}: {answer}"));
            match answer.code() {
                200..300 => Ok(()),
                500..600 => Err(Answer::Refused),
                _ => Err(Answer::Missing),
            }
        }
        LoggedIn::Impostor(why) => {
            asked.say(format_args!("AUTH {mechanism}: {why}"));
            Err(Answer::Refused)
        }
        LoggedIn::NoMechanism => {
            asked.say(
                "it offers no AUTH by SCRAM-SHA-256; CRAM-MD5 is for verified TLS or \
                 tls = \"off\", and PLAIN and LOGIN are for verified TLS",
            );
            Err(Answer::Refused)
        }
        LoggedIn::Lost(why) => {
            asked.say(format_args!("AUTH {mechanism}: {why}"));
            Err(Answer::Missing)
        }
    }
}

async fn ask(
    connection: Connection<'_>,
    domains: &[&str],
    asked: &mut Asked,
) -> Result<Turned, Answer> {
    let (answer, behind) = connection.atrn(domains).await.map_err(|why| {
        asked.say(format_args!("ATRN: {why}"));
        Answer::Missing
    })?;
    asked.say(format_args!("ATRN: {answer}"));
    match behind {
        deliver::Asked::Turned(turned) => Ok(turned),
        deliver::Asked::Stays(connection) => {
            connection.quit().await;
            Err(meaning(&answer))
        }
    }
}

/// What a reply to ATRN that does not turn the roles means.
fn meaning(answer: &deliver::Answer) -> Answer {
    Answer::to_atrn(answer.code(), answer.enhanced().map(|enhanced| enhanced.subject))
}

/// What came over a connection, for people.
fn told(came: &Came) -> String {
    let Came { messages, refused, spoke, left, within, broken } = came;
    let end = match (broken, *left, *spoke, *within) {
        (_, true, ..) => "it took leave".to_owned(),
        (Some(error), false, _, true) => format!("the connection broke within a message: {error}"),
        (Some(error), false, ..) => format!("the connection broke: {error}"),
        (None, false, _, true) => "it ended within a message".to_owned(),
        (None, false, true, false) => "it went without taking leave".to_owned(),
        (None, false, false, false) => "it turned the roles round, and sent nothing".to_owned(),
    };
    format!("{messages} message(s) came, {refused} refusal(s); {end}")
}

const fn rule(tls: HolderTls) -> Rule {
    match tls {
        HolderTls::Verified => Rule::Required,
        HolderTls::Implicit => Rule::Implicit,
        HolderTls::Opportunistic => Rule::Opportunistic,
        HolderTls::Off => Rule::Never,
    }
}

/// The domains of each ATRN. Without any, there is one ATRN that names none.
fn lines(names: &[DomainName]) -> Vec<Vec<&str>> {
    let (mut lines, mut octets) = (vec![Vec::new()], 0);
    for name in names.iter().map(DomainName::as_str) {
        octets += name.len() + 1;
        if octets > DOMAINS_MAX {
            lines.push(Vec::new());
            octets = name.len() + 1;
        }
        lines.last_mut().expect("there is one").push(name);
    }
    lines
}

/// Why a holder could not be asked by ATRN, whatever it says: a file that `way` names.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn check(way: &AtrnWay) -> Result<(), (&'static str, String)> {
    read_password(&way.password_file).map_err(|why| ("password_file", why))?;
    let verified = |rule| Tls::verified(rule, way.tls_ca.as_deref().map(Path::new));
    match rule(way.tls) {
        Rule::Opportunistic | Rule::Never => Ok(()),
        rule => verified(rule).map(drop).map_err(|why| ("tls_ca", why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_domains_are_asked_for_in_lines_of_512_octets() {
        let names: Vec<DomainName> =
            (0..100).map(|nth| format!("d{nth}.example").parse().expect("a name")).collect();
        assert_eq!(lines(&[]), [Vec::<&str>::new()]);
        assert_eq!(lines(&names[..2]), [["d0.example", "d1.example"]]);
        let lines = lines(&names);
        assert!(lines.iter().all(|line| line.join(",").len() < 505), "{lines:?}");
        assert_eq!(lines.concat(), names.iter().map(DomainName::as_str).collect::<Vec<_>>());
        assert_eq!(lines.len(), 3);
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(60));
        let long: Vec<DomainName> = vec![long.parse().expect("a name"); 3];
        assert_eq!(super::lines(&long).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
