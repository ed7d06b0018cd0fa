//! The smarthost: who it is is verified before it is told anything, and it lets us in by a password
//! (RFC 4954, RFC 6409 section 4.3).

use std::path::Path;

use postern_core::client::{Client, Event, Mail, Need};
use postern_core::drive::deliver::Turn;
use postern_core::wire::params::MailParams;
use tokio::task::spawn_blocking;

use super::connection::{Broken, Connection, Open, Probe};
use super::login::{Credentials, LoggedIn, Trust};
use super::not_open::{Failed, NotOpen};
use crate::config::{Endpoint, Relay, RelayTls, UserName, read_password};
use crate::net::tls_client::{Rule, Tls};
use crate::observe::progress::Phase;

/// What is read anew for each connection.
struct Secrets {
    tls: Tls,
    password: Option<String>,
}

impl<'c> Open<'c> {
    /// Connects to the smarthost `to`, and authenticates where there is a user.
    ///
    /// # Errors
    /// Why no mail can be sent to it.
    pub(super) async fn relay(&self, to: &Endpoint) -> Result<Connection<'c>, NotOpen> {
        let Some(relay) = self.relay else {
            return Err(NotOpen::new(Failed::Absent, "there is no [relay] any more"));
        };
        // A turn is given its host before it reads the configuration. The password is not that of
        // a former one.
        if relay.smarthost.0 != *to {
            return Err(NotOpen::new(Failed::Absent, "[relay] is another by now"));
        }
        let wanted = relay.clone();
        let read = spawn_blocking(move || read(&wanted)).await;
        let read = read.unwrap_or_else(|_| Err("its files could not be read".to_owned()));
        let Secrets { tls, password } = read.map_err(|why| NotOpen::new(Failed::AtFault, why))?;
        let mut connection = self.connect_with(to, &tls).await?;
        if let Some((user, password)) = relay.user.as_ref().map(UserName::as_str).zip(password) {
            self.told().phase(Phase::Auth);
            let credentials =
                Credentials { user: user.to_owned(), password, trust: Trust::Certain };
            if let Err(not_open) = log_in(credentials, &mut connection).await {
                connection.quit().await;
                return Err(not_open);
            }
        }
        Ok(connection)
    }
}

async fn log_in(credentials: Credentials, connection: &mut Connection<'_>) -> Result<(), NotOpen> {
    let (mechanism, ended) = credentials.log_in(connection).await;
    let not_open = |failed, why: String| Err(NotOpen::new(failed, why));
    match ended {
        LoggedIn::Answered(answer) => match answer.code() {
            200..300 => Ok(()),
            500..600 => not_open(Failed::AtFault, format!("AUTH {mechanism}: {answer}")),
            _ => not_open(Failed::TurnedAway, format!("AUTH {mechanism}: {answer}")),
        },
        LoggedIn::Impostor(why) => not_open(Failed::AtFault, format!("AUTH {mechanism}: {why}")),
        LoggedIn::NoMechanism => {
            let why = "it offers no AUTH by SCRAM-SHA-256, CRAM-MD5, PLAIN or LOGIN";
            not_open(Failed::AtFault, why.to_owned())
        }
        LoggedIn::Lost(why) => not_open(Failed::TurnedAway, format!("AUTH {mechanism}: {why}")),
    }
}

fn read(relay: &Relay) -> Result<Secrets, String> {
    let ca = relay.tls_ca.as_deref();
    let tls = match relay.tls() {
        RelayTls::Verified => Tls::verified(Rule::Required, ca)?,
        RelayTls::Implicit => Tls::verified(Rule::Implicit, ca)?,
        RelayTls::Local => Tls::local(),
    };
    let password = relay.password_file.as_deref().map(read_password).transpose()?;
    Ok(Secrets { tls, password })
}

/// Why the smarthost could not be talked to, whatever it says: a file that `relay` names.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn check(relay: &Relay) -> Result<(), (&'static str, String)> {
    let password = relay.password_file.as_deref().map(read_password).transpose();
    password.map_err(|why| ("password_file", why))?;
    let ca = relay.tls_ca.as_deref().map(Path::new);
    match relay.tls() {
        RelayTls::Local => Ok(()),
        RelayTls::Verified | RelayTls::Implicit => {
            Tls::verified(Rule::Required, ca).map(drop).map_err(|why| ("tls_ca", why))
        }
    }
}

impl Connection<'_> {
    /// Asks whether it takes mail from anybody: from the null sender, which is nobody's own.
    pub(super) async fn probe_sender(&mut self) -> Probe {
        self.told.phase(Phase::Probe);
        match self.mail_from_nobody().await {
            Ok(probe) => probe,
            Err(broken) => Probe::Lost(broken.to_string()),
        }
    }

    async fn mail_from_nobody(&mut self) -> Result<Probe, Broken> {
        let mail = Mail { reverse_path: b"", params: MailParams::default(), needs_utf8: false };
        self.dialogue.call(|client, out| client.mail(&mail, out)).map_err(Broken::Call)?;
        let mut probe = Probe::Takes;
        loop {
            match self.dialogue.next().await? {
                Turn::Event(Event::MailRefused(answer)) => probe = Probe::of(&answer),
                Turn::Need(Need::Recipient { .. }) => {
                    let abandoned =
                        self.dialogue.call(|client: &mut Client<'_>, _| client.abandon());
                    abandoned.map_err(Broken::Call)?;
                }
                Turn::Event(_) => {}
                Turn::Need(_) => return Ok(probe),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use postern_core::time::Timestamp;
    use postern_spool::clock::Clock;

    use super::super::connector::{Connecting, Connector};
    use super::*;
    use crate::config::Config;
    use crate::net::stream::Stream;

    struct Nobody;

    impl Connector for Nobody {
        fn look_up<'c>(&'c self, name: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
            panic!("{name} is looked up")
        }

        fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
            panic!("{address} is called")
        }
    }

    #[tokio::test]
    async fn the_password_goes_to_no_former_smarthost() {
        let text = "hostname = \"mx2.example\"\n[relay]\nsmarthost = \"127.0.0.1:2\"\n";
        let config = Config::parse(Path::new("test.toml"), text).expect("a good configuration");
        let clock = Clock::manual(Timestamp { unix_seconds: 0, known: false });
        let open = Open {
            hostname: "mx2.example",
            connector: &Nobody,
            tls: &Tls::opportunistic(),
            clock: &clock,
            own: None,
            connect_timeout: Duration::from_secs(1),
            mail_behind: false,
            step: None,
            relay: config.relay.as_ref(),
        };
        let former: Endpoint = "127.0.0.1:1".parse().expect("an endpoint");
        let not_open = open.relay(&former).await.err().expect("it is another");
        assert_eq!(not_open.failed, Failed::Absent);
    }
}
