//! Where mail for domains that are not held goes, from those who may send it.

use std::path::PathBuf;
use std::time::Duration;

use super::deliver_to::{Endpoint, Protocol};
use super::settings::{Word, settings};
use super::submission::SenderPattern;
use super::values::{Host, KeptFor, unexpected};
use super::wakeup::UserName;
use super::{Faults, Written};

settings! {
/// Mail for domains that are not held, from those who may submit it: it waits in the same queue,
/// and goes to a smarthost. Absent: no such mail is taken. What others sent never goes there.
pub struct Relay {
    /// REQUIRED. The host that takes mail for all other domains, as "host:port".
    pub smarthost: Smarthost => Example("\"smtp.provider.example:587\""),
    /// TLS towards it, with a certificate that is verified: "verified", by STARTTLS; or "implicit",
    /// from the first octet on. "none" is for a smarthost on this machine alone, which is then at
    /// a loopback address. Absent: "implicit" at port 465, else "verified".
    pub tls: Option<RelayTls> => Example("\"verified\""),
    /// The certificates, in PEM, one of which the smarthost's is or is signed by. Absent: those
    /// that this machine trusts.
    pub tls_ca: Option<PathBuf> => Example("\"/etc/postern/provider.pem\""),
    /// Who we are to it: by SCRAM-SHA-256 (bound to the TLS connection where that can be),
    /// CRAM-MD5, PLAIN or LOGIN, the first that it offers.
    /// Needs password_file. Absent: nobody; it knows us by our address.
    pub user: Option<UserName> => Example("\"client.example\""),
    /// The file with that user's password, which is its first line. Nobody but the server may read
    /// it (mode 0600). It is read each time.
    pub password_file: Option<PathBuf> => Example("\"/etc/postern/password\""),
    /// Senders whose mail waits for no window of link.schedule, and not for link.collect: an
    /// address, or all of a domain. Other mail waits for [link] as holders do that are asked.
    pub urgent: Vec<SenderPattern> => Default("[]"),
    /// How often delivery is tried, 10 % more or less.
    pub retry_every: Duration => Default("\"30m\""),
    /// How long mail is tried before it is given up, and its sender told. What waits for [link] is
    /// not given up.
    pub expire_after: Duration => Default("\"5d\""),
    /// How long it waits before a sender hears of it who wants to (NOTIFY=DELAY, RFC 3461).
    pub notice_after: Duration => Default("\"4h\""),
    /// How long mail is kept that was refused or has expired, and whose sender could not be told,
    /// from its arrival on, before it is removed, with a line in the log; "never": until a person
    /// removes it.
    pub kept_for: KeptFor => Default("\"14d\""),
}
}

/// The host that takes mail for all other domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Smarthost(pub Endpoint);

impl Word for Smarthost {
    const EXPECTED: &'static str = "\"host:port\" such as \"smtp.provider.example:587\"";

    fn parse(text: &str) -> Result<Self, String> {
        let endpoint = text.parse().ok();
        let spoken = endpoint.filter(|to: &Endpoint| to.protocol == Protocol::Smtp);
        spoken.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// TLS towards the smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayTls {
    /// By STARTTLS.
    Verified,
    /// From the first octet on.
    Implicit,
    /// None: it is on this machine.
    Local,
}

impl Word for RelayTls {
    const EXPECTED: &'static str = "\"verified\", \"implicit\" or \"none\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "verified" => Ok(Self::Verified),
            "implicit" => Ok(Self::Implicit),
            "none" => Ok(Self::Local),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// The port of submission under TLS from the first octet on (RFC 8314 section 7.3).
const SUBMISSIONS: u16 = 465;

impl Relay {
    /// TLS towards the smarthost, as it is written or by its port.
    pub fn tls(&self) -> RelayTls {
        self.tls.unwrap_or(match self.smarthost.0.port {
            SUBMISSIONS => RelayTls::Implicit,
            _ => RelayTls::Verified,
        })
    }

    pub(super) fn refuse_incomplete(&self, written: &Written, faults: &mut Faults<'_>) {
        let mut refuse = |key: &str, reason: &str| {
            let key = format!("relay.{key}");
            faults.add_at(written.line(&key), &key, reason.to_owned());
        };
        match (&self.user, &self.password_file) {
            (Some(_), None) => {
                refuse("user", "needs password_file = \"/etc/postern/password\"");
            }
            (None, Some(_)) => refuse("password_file", "needs user = \"client.example\""),
            _ => {}
        }
        if self.tls() != RelayTls::Local {
            return;
        }
        let is_here = match &self.smarthost.0.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.as_str() == "localhost",
        };
        if !is_here {
            let reason = "is \"none\", and the smarthost is not on this machine: what is sent, a \
                password too, could be read by others";
            refuse("tls", reason);
        }
        if self.tls_ca.is_some() {
            refuse("tls_ca", "is not looked at with tls = \"none\": leave it out");
        }
    }
}
