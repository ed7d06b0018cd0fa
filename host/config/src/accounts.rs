//! Where accounts are kept, and who may do without one.

use std::path::PathBuf;

use ipnet::IpNet;

use super::settings::{Word, settings};
use super::{Config, Hold};

settings! {
/// Accounts: who may ask for mail, or submit it, by password.
pub struct AccountSettings {
    /// The file of the accounts, which `postern account` changes. It is read again when it has
    /// changed. Nobody but the server may read it (mode 0600).
    pub file: PathBuf => Default("\"/var/lib/postern/accounts\""),
}
}

impl Config {
    /// Whether anybody authenticates as one of the accounts.
    pub fn asks_accounts(&self) -> bool {
        let submits = self.submission.as_ref().is_some_and(|submission| {
            let is_nowhere = submission.listen.is_empty() && submission.listen_tls.is_empty();
            submission.dovecot.is_none() && !is_nowhere
        });
        submits || self.atrn.is_some() || self.hold.values().any(Hold::etrn_authenticated)
    }
}

/// Somebody who may ask for a domain's mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Whoever comes from this network.
    Network(IpNet),
    /// Whoever has authenticated as an account with the domain, wherever he is.
    Authenticated,
}

impl Word for Asker {
    const EXPECTED: &'static str =
        "a network or address such as \"192.0.2.0/24\", or \"authenticated\"";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "authenticated" {
            return Ok(Self::Authenticated);
        }
        let network = IpNet::parse(text).map(Self::Network);
        network.map_err(|_| super::values::unexpected::<Self>(text))
    }
}
