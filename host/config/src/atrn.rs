//! A door for those who have authenticated, at the port of ATRN (RFC 2645).

use std::net::SocketAddr;

use ipnet::IpNet;

use super::settings::settings;
use super::{Config, Faults, Written};

settings! {
/// A door for hosts that authenticate and ask by ETRN, apart from everybody's mail: ATRN itself
/// (RFC 2645), for which port 366 is, is not served yet.
pub struct Atrn {
    /// The addresses and ports to listen on, such as "[::]:366", with STARTTLS where receive.tls
    /// is there. Empty: such hosts ask at receive.listen.
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
        const KEY: &str = "atrn.listen_tls";
        let wanted = self.atrn.as_ref().is_some_and(|atrn| !atrn.listen_tls.is_empty());
        if wanted && self.receive.tls.is_none() {
            let reason = "needs a certificate: receive.tls = \"self-signed\", or files";
            faults.add_at(written.line(KEY), KEY, reason.to_owned());
        }
    }

    pub(super) fn warn_of_atrn(&self, warn: &mut dyn FnMut(&str, String)) {
        let Some(atrn) = &self.atrn else { return };
        if self.receive.tls.is_none() && atrn.clear_from.is_empty() {
            let reason = "is empty, and receive.tls is not there: nobody can authenticate";
            warn("atrn.clear_from", reason.to_owned());
        }
    }
}
