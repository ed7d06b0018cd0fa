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
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
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
        let (read, whose) = match ca {
            Some(file) => (read_given(file), file.display().to_string()),
            None => {
                let own = own_roots().map(|own| (own, Vec::new()));
                (own, "this machine's certificates".to_owned())
            }
        };
        let (roots, given) = read.map_err(|why| format!("{whose}: {why}"))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let by_roots =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let by_roots = by_roots.build().map_err(|error| format!("{whose}: {error}"))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known { by_roots, given }))
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

/// The certificates in `file`, as roots and as they are.
fn read_given(file: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let text = read_file(file).map_err(|error| error.to_string())?;
    let (mut roots, mut given) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        given.push(certificate);
    }
    match given.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok((roots, given)),
    }
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

/// Takes what the roots have signed, and a certificate that was given itself, also where it says
/// that it is an authority's, as those of `openssl req -x509` do. webpki refuses it for that once
/// it has looked at its times.
#[derive(Debug)]
struct Known {
    by_roots: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.by_roots.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.given.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_roots.supported_verify_schemes()
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    const NAME: &str = "smtp.provider.example";
    /// 2026-11-21.
    const NOW: Duration = Duration::from_secs(1_795_306_665);

    /// A certificate for [`NAME`] that has signed itself, as an authority's or not, in PEM.
    fn made(is_ca: bool) -> (CertificateDer<'static>, String) {
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        (made.der().clone(), made.pem())
    }

    /// `openssl req -x509` writes that it is an authority's.
    #[test]
    fn the_certificate_that_was_given_is_taken_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        for is_ca in [false, true] {
            let ((given, pem), (other, _)) = (made(is_ca), made(is_ca));
            fs::write(&file, pem).expect("a file");
            let (roots, all) = read_given(&file).expect("it is sound");
            let provider = Arc::new(crypto::ring::default_provider());
            let by_roots = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
            let known = Known { by_roots: by_roots.build().expect("a root"), given: all };
            let takes = |certificate: &CertificateDer<'_>, name: &str, days: u64| {
                let name = ServerName::try_from(name.to_owned()).expect("a name");
                let now = UnixTime::since_unix_epoch(NOW + Duration::from_secs(days * 86_400));
                known.verify_server_cert(certificate, &[], &name, &[], now).is_ok()
            };
            assert!(takes(&given, NAME, 0), "{is_ca}");
            assert!(!takes(&other, NAME, 0), "{is_ca}: another's of the same name");
            assert!(!takes(&given, "other.example", 0), "{is_ca}");
            assert!(!takes(&given, NAME, 100), "{is_ca}: its time is over");
        }
    }
}
