//! Where mail is fetched by ATRN (RFC 2645), and what is not for mail that is.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::settings::settings;
use super::triggers::Shared;
use super::{Config, Faults, Hold, Written};

/// Keys of a hold that do nothing where its mail is fetched.
const NOT_FETCHED: [&str; 6] = [
    "retry_every",
    "release_on_connect",
    "wake_on_lan",
    "wakeup_address",
    "wakeup_from",
    "wakeup_token",
];

settings! {
/// Where hosts without a fixed address authenticate and fetch their mail by ATRN (RFC 2645): it
/// comes over the connection that they have opened. They may ask by ETRN there too, and send none.
pub struct Atrn {
    /// The addresses and ports to listen on, such as "[::]:366", with STARTTLS where receive.tls
    /// is there.
    pub listen: Vec<SocketAddr> => Default("[]"),
    /// The same, under TLS from the first octet on.
    pub listen_tls: Vec<SocketAddr> => Default("[]"),
    /// Networks such as a WireGuard net from which a client may authenticate without TLS, by
    /// SCRAM-SHA-256 or CRAM-MD5. Whoever listens there can read the mail.
    pub clear_from: Vec<IpNet> => Default("[]"),
}
}

impl Config {
    /// Who may authenticate without TLS.
    pub fn clear_from(&self) -> &[IpNet] {
        self.atrn.as_ref().map_or(&[], |atrn| &atrn.clear_from)
    }

    pub(super) fn refuse_tls_without_certificate(
        &self,
        written: &Written,
        faults: &mut Faults<'_>,
    ) {
        let (atrn, submission) = (self.atrn.as_ref(), self.submission.as_ref());
        for (key, listens) in [
            ("atrn.listen_tls", atrn.map(|atrn| &atrn.listen_tls)),
            ("submission.listen_tls", submission.map(|submission| &submission.listen_tls)),
        ] {
            let is_wanted = listens.is_some_and(|listens| !listens.is_empty());
            if is_wanted && self.receive.tls.is_none() {
                let reason = "needs a certificate: receive.tls = \"self-signed\", or files";
                faults.add_at(written.line(key), key, reason.to_owned());
            }
        }
    }

    /// A trigger that is written, and releases nothing, looks like one that works.
    pub(super) fn refuse_triggers_of_askers(&self, written: &Written, faults: &mut Faults<'_>) {
        let fetched = |(_, hold): &(_, &Hold)| hold.deliver_to.is_asker();
        for (domain, _) in self.hold.iter().filter(fetched) {
            let keys = NOT_FETCHED.map(|key| format!("hold.\"{domain}\".{key}"));
            for key in keys.iter().filter(|key| written.has(key)) {
                let reason = "does nothing where deliver_to is \"asker\": take it out";
                faults.add_at(written.line(key), key, reason.to_owned());
            }
        }
    }

    /// Why nobody can fetch mail here, if so.
    pub(super) fn is_not_fetched_from(&self) -> Option<&'static str> {
        let Some(atrn) = self.atrn.as_ref() else {
            return Some("is \"asker\", and there is no [atrn] at which it could be fetched");
        };
        let is_nowhere = atrn.listen.is_empty() && atrn.listen_tls.is_empty();
        is_nowhere.then_some(
            "is \"asker\", and atrn.listen and listen_tls are empty: it cannot be fetched",
        )
    }

    pub(super) fn warn_of_atrn(&self, shared: &Shared, warn: &mut dyn FnMut(&str, String)) {
        let Some(atrn) = &self.atrn else { return };
        for risk in atrn.clear_from.iter().filter_map(|network| shared.risk(network)) {
            warn("atrn.clear_from", risk);
        }
        if self.receive.tls.is_none() && atrn.clear_from.is_empty() {
            let reason = "is empty, and receive.tls is not there: nobody can authenticate";
            warn("atrn.clear_from", reason.to_owned());
        }
    }
}
