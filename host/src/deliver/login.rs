//! Authenticating with a holder, or with the smarthost (RFC 4954).

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use postern_core::client::Mechanism;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::spawn_blocking;

use super::answer::Answer;
use super::connection::{Connection, Login};
use crate::accounts::{Binding, ScramClient, cram_answer};

/// Octets of chance in what SCRAM calls a nonce.
const NONCE: usize = 18;

/// Who we are.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) trust: Trust,
}

/// What is known of whom we talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Somebody in between may pass for the holder.
    None,
    /// It is near, on a network of the operator's own.
    Near,
    /// It has shown who it is: it may be told the password.
    Certain,
}

/// How authenticating ended.
pub(crate) enum LoggedIn {
    /// As the other says it.
    Answered(Answer),
    /// It is not whom we were told to ask, as far as it has shown, and why.
    Impostor(&'static str),
    /// By nothing that it offers.
    NoMechanism,
    /// There was no answer, and why.
    Lost(String),
}

impl Credentials {
    /// The best of what is offered: the password is told to nobody who could do without, and what
    /// proves it is bound to the connection where that can be.
    fn choose(
        &self,
        is_offered: impl Fn(Mechanism) -> bool,
        binding: Option<Binding>,
    ) -> Option<Mechanism> {
        const ALL: [Mechanism; 5] = [
            Mechanism::ScramSha256Plus,
            Mechanism::ScramSha256,
            Mechanism::CramMd5,
            Mechanism::Plain,
            Mechanism::Login,
        ];
        let may = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => binding.is_some(),
            Mechanism::ScramSha256 => true,
            // What it proves can be guessed at, millions of times a second.
            Mechanism::CramMd5 => self.trust >= Trust::Near,
            Mechanism::Plain | Mechanism::Login => self.trust == Trust::Certain,
        };
        ALL.into_iter().filter(|mechanism| is_offered(*mechanism)).find(may)
    }

    /// Authenticates over `connection` by the best mechanism, which is returned too.
    pub(crate) async fn log_in(self, connection: &mut Connection<'_>) -> (&'static str, LoggedIn) {
        let (offered, binding) = (connection.mechanisms(), connection.binding());
        let Some(mechanism) = self.choose(|mechanism| offered.has(mechanism), binding) else {
            return ("", LoggedIn::NoMechanism);
        };
        let ended = match mechanism {
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => {
                self.scram(mechanism, connection).await
            }
            Mechanism::CramMd5 => self.cram(connection).await,
            Mechanism::Plain => self.plain(connection).await,
            Mechanism::Login => self.login(connection).await,
        };
        (mechanism.name(), ended.unwrap_or_else(LoggedIn::Lost))
    }

    async fn plain(self, connection: &mut Connection<'_>) -> Result<LoggedIn, String> {
        let initial = BASE64.encode(format!("\0{}\0{}", self.user, self.password));
        let login = connection.auth(Mechanism::Plain, Some(&initial)).await?;
        ended(connection, login).await
    }

    /// Whatever it asks for, the first answer is the user, and the second the password.
    async fn login(self, connection: &mut Connection<'_>) -> Result<LoggedIn, String> {
        let mut login = connection.auth(Mechanism::Login, None).await?;
        for answer in [self.user, self.password] {
            if let Login::Challenge(_) = login {
                login = connection.respond(Some(&BASE64.encode(answer))).await?;
            }
        }
        ended(connection, login).await
    }

    async fn cram(self, connection: &mut Connection<'_>) -> Result<LoggedIn, String> {
        let login = match connection.auth(Mechanism::CramMd5, None).await? {
            Login::Challenge(challenge) => {
                let challenge = challenge.text().as_bytes();
                let answer = cram_answer(&self.user, &self.password, challenge);
                connection.respond(answer.as_deref()).await?
            }
            login @ Login::Ended(_) => login,
        };
        ended(connection, login).await
    }

    async fn scram(
        self,
        mechanism: Mechanism,
        connection: &mut Connection<'_>,
    ) -> Result<LoggedIn, String> {
        let is_offered = connection.mechanisms().has(Mechanism::ScramSha256Plus);
        let client = ScramClient::new(&self.user, &self.password, nonce()?);
        let mut client = match (mechanism, connection.binding()) {
            (Mechanism::ScramSha256Plus, Some(binding)) => client.bound(binding),
            // Below TLS 1.3 too: whoever is in between may have chosen that, and hidden the other.
            _ if !is_offered => client.could_be_bound(),
            _ => client,
        };
        let first = client.first();
        let challenge = match connection.auth(mechanism, Some(&first)).await? {
            Login::Challenge(challenge) => challenge,
            login => return unproved(connection, login).await,
        };
        // It may take a second.
        let (client, response) = spawn_blocking(move || {
            let response = client.answer(challenge.text().as_bytes());
            (client, response)
        })
        .await
        .map_err(|_| "the answer could not be found out".to_owned())?;
        let response = match response {
            Ok(response) => response,
            Err(why) => {
                connection.respond(None).await?;
                return Ok(LoggedIn::Impostor(why));
            }
        };
        let login = connection.respond(Some(&response)).await?;
        match login {
            Login::Challenge(proof) if client.is_proof(proof.text().as_bytes()) => {
                let login = connection.respond(Some("")).await?;
                ended(connection, login).await
            }
            login => unproved(connection, login).await,
        }
    }
}

/// What stands for `login` where nothing may be asked any more.
async fn ended(connection: &mut Connection<'_>, login: Login) -> Result<LoggedIn, String> {
    let login = match login {
        Login::Challenge(_) => connection.respond(None).await?,
        login @ Login::Ended(_) => login,
    };
    match login {
        Login::Ended(answer) => Ok(LoggedIn::Answered(answer)),
        Login::Challenge(_) => Err("it asks on and on".to_owned()),
    }
}

/// The same where the other has not proved that it knows the password, as SCRAM has it.
async fn unproved(connection: &mut Connection<'_>, login: Login) -> Result<LoggedIn, String> {
    match login {
        Login::Challenge(_) => {
            connection.respond(None).await?;
            Ok(LoggedIn::Impostor("it does not know the password: its proof is wrong"))
        }
        Login::Ended(answer) if answer.is_done() => {
            Ok(LoggedIn::Impostor("it does not know the password: it gave no proof"))
        }
        Login::Ended(answer) => Ok(LoggedIn::Answered(answer)),
    }
}

fn nonce() -> Result<String, String> {
    let mut octets = [0; NONCE];
    let filled = SystemRandom::new().fill(&mut octets);
    filled.map_err(|_| "this machine has no random numbers".to_owned())?;
    Ok(BASE64.encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is in between learns nothing that can be guessed at.
    #[test]
    fn the_password_is_told_to_nobody_who_is_not_known() {
        let choose = |trust, offered: &[&str], is_bound: bool| {
            let (user, password) = ("me".to_owned(), "secret".to_owned());
            let credentials = Credentials { user, password, trust };
            let is_offered = |mechanism: Mechanism| offered.contains(&mechanism.name());
            let binding = is_bound.then(|| Binding::of_test(1));
            credentials.choose(is_offered, binding).map(Mechanism::name)
        };
        let all = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"];
        for (trust, expected) in [
            (Trust::Certain, [Some("CRAM-MD5"), Some("PLAIN"), Some("LOGIN")]),
            (Trust::Near, [Some("CRAM-MD5"), None, None]),
            (Trust::None, [None; 3]),
        ] {
            assert_eq!(choose(trust, &all, true), Some("SCRAM-SHA-256-PLUS"));
            assert_eq!(choose(trust, &all, false), Some("SCRAM-SHA-256"));
            let without = [&all[..3], &all[..2], &all[1..2]];
            assert_eq!(without.map(|offered| choose(trust, offered, true)), expected, "{trust:?}");
        }
    }
}
