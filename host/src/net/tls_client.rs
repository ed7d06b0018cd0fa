//! TLS towards the hosts that mail goes to, without a check of who they are; and towards holders
//! that mail is fetched from, with one.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config::{Host, read_file};

/// What every TLS connection to a host shares.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    rule: Rule,
}

/// When there is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Where STARTTLS is offered and works; else all goes in clear.
    Opportunistic,
    /// By STARTTLS, or nothing goes.
    Required,
    /// From the first octet on, or nothing goes.
    Implicit,
    /// There is none: the connection does not leave this machine.
    Local,
    /// Never: all goes in clear.
    Never,
}

impl Tls {
    /// TLS 1.2 and 1.3; any certificate will do.
    pub fn opportunistic() -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(any)
            .with_no_client_auth();
        Self { connector: TlsConnector::from(Arc::new(config)), rule: Rule::Opportunistic }
    }

    /// TLS 1.2 and 1.3, with a certificate that is signed by one of those in the file `ca`, or is
    /// one of them; without a file, by one that this machine trusts. Reads files.
    ///
    /// # Errors
    /// Why there is nothing to check a certificate by.
    pub fn verified(rule: Rule, ca: Option<&Path>) -> Result<Self, String> {
        let (roots, whose) = match ca {
            Some(file) => (read_roots(file), file.display().to_string()),
            None => (own_roots(), "this machine's certificates".to_owned()),
        };
        let roots = roots.map_err(|why| format!("{whose}: {why}"))?;
        let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), rule })
    }

    /// None, for what does not leave this machine.
    pub fn local() -> Self {
        Self { rule: Rule::Local, ..Self::opportunistic() }
    }

    /// None at all, whatever is offered.
    #[must_use]
    pub fn in_clear(&self) -> Self {
        Self { rule: Rule::Never, ..self.clone() }
    }

    /// When there is TLS.
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// Whether mail goes in clear where there is none.
    pub fn is_optional(&self) -> bool {
        self.rule == Rule::Opportunistic
    }

    pub(crate) async fn connect<S>(&self, host: &Host, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
            Host::Address(address) => ServerName::IpAddress((*address).into()),
        };
        self.connector.connect(name, stream).await
    }
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let text = read_file(file).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
}

/// One that cannot be read is passed over, as the others may be enough.
fn own_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match found.errors.first() {
        _ if !roots.is_empty() => Ok(roots),
        Some(error) => Err(error.to_string()),
        None => Err("there are none: name a file with those of the provider (tls_ca)".to_owned()),
    }
}

/// Takes every certificate. Signatures of the handshake are checked all the same, so that the
/// host is at least the one that the certificate belongs to.
struct AnyCertificate(Arc<CryptoProvider>);

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCertificate")
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
