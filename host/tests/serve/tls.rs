//! A client's side of TLS.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::place::Place;

/// The certificate that a server makes itself, and whose it is.
const OWN: &str = "spool/tls/certificate.pem";
const NAME: &str = "mx2.provider.example";

/// A connection under TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A connection, in clear or under TLS.
pub enum Wire {
    Clear(TcpStream),
    Secure(Box<Secure>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(octets),
            Self::Secure(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

/// `stream` under TLS, with the server of `place` and the certificate that it made itself.
pub fn secure(place: &Place, stream: TcpStream) -> Secure {
    secure_by(&place.path(OWN), NAME, stream)
}

/// The same by TLS 1.2.
pub fn secure_tls12(place: &Place, stream: TcpStream) -> Secure {
    secure_with(&[&TLS12], &place.path(OWN), NAME, stream)
}

/// The same with the server called `name`, whose certificate is in the file `ca`.
pub fn secure_by(ca: &Path, name: &'static str, stream: TcpStream) -> Secure {
    secure_with(ALL_VERSIONS, ca, name, stream)
}

fn secure_with(
    versions: &[&'static SupportedProtocolVersion],
    ca: &Path,
    name: &'static str,
    stream: TcpStream,
) -> Secure {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).expect("a certificate");
    roots.add(certificate).expect("it can be trusted");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(tls, stream)
}
