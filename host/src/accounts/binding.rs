//! What ties a password to the TLS connection that it is said over: the binding `tls-exporter`
//! (RFC 9266) of SCRAM-SHA-256-PLUS. Somebody in between has two connections, and so two of these.

use std::fmt;

use tokio_rustls::rustls::{ConnectionCommon, ProtocolVersion};

/// Its name in SCRAM (RFC 9266 section 3).
pub(super) const TYPE: &str = "tls-exporter";
/// RFC 9266 section 2.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What both ends of one TLS connection know, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// That of `connection`, once its handshake is done. There is none below TLS 1.3: without an
    /// extended master secret two connections can have the same, and rustls does not tell whether
    /// there is one (RFC 9266 section 4.2).
    pub fn of<Data>(connection: &ConnectionCommon<Data>) -> Option<Self> {
        if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        connection.export_keying_material([0; 32], LABEL, Some(b"")).map(Self).ok()
    }

    pub(super) const fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// One that no connection has.
    #[cfg(test)]
    pub(crate) const fn of_test(octet: u8) -> Self {
        Self([octet; 32])
    }
}

/// It stays out of the log.
impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding")
    }
}
