//! Turning the connection round for those who have authenticated (RFC 2645).

use std::net::SocketAddr;

use ipnet::IpNet;

use super::settings::settings;
use super::{Config, Faults, Written};

settings! {
/// Mail for hosts that fetch it over a connection of their own (ATRN, RFC 2645): those behind NAT,
/// or whose address changes. Without this table nothing listens for them.
pub struct Atrn {
    /// The addresses and ports to listen on, with STARTTLS where receive.tls is there.
    pub listen: Vec<SocketAddr> => Default("[\"[::]:366\"]"),
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
        const KEY: &str = "atrn.listen_tls";
        let wanted = self.atrn.as_ref().is_some_and(|atrn| !atrn.listen_tls.is_empty());
        if wanted && self.receive.tls.is_none() {
            let reason = "needs a certificate: receive.tls = \"self-signed\", or files";
            faults.add_at(written.line(KEY), KEY, reason.to_owned());
        }
    }

    pub(super) fn warn_of_atrn(&self, warn: &mut dyn FnMut(&str, String)) {
        let Some(atrn) = &self.atrn else { return };
        if atrn.listen.is_empty() && atrn.listen_tls.is_empty() {
            warn("atrn.listen", "is empty: nobody can ask by ATRN".to_owned());
        }
        if self.receive.tls.is_none() && atrn.clear_from.is_empty() {
            let reason = "is empty, and receive.tls is not there: nobody can authenticate";
            warn("atrn.clear_from", reason.to_owned());
        }
    }
}
