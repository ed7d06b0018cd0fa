//! STARTTLS by rustls: TLS 1.2 and 1.3, with the certificate of the configuration or one of our own
//! making.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{DomainName, Tls, TlsFiles, read_file};

/// What is wrong with a certificate or a key, and where.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    reason: String,
}

impl TlsError {
    fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for TlsError {}

/// The acceptor that `tls` asks for. A self-signed certificate for `hostname` is made in the folder
/// `own` unless it is there already: clients that remember it are not to be alarmed at each start.
///
/// # Errors
/// A file that can't be read or written, or that holds no certificate or key.
pub fn acceptor(tls: &Tls, hostname: &DomainName, own: &Path) -> Result<TlsAcceptor, TlsError> {
    match tls {
        Tls::Files(files) => load(files),
        Tls::SelfSigned => {
            let certificate = own.join("certificate.pem");
            let files = TlsFiles { certificate, key: own.join("key.pem") };
            if !(has_text(&files.certificate) && has_text(&files.key)) {
                make(&files, hostname, own)?;
            }
            load(&files)
        }
    }
}

/// The acceptor with the certificate and key in these files.
///
/// # Errors
/// A file that can't be read or holds neither, or a key of another certificate.
pub fn load(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::new(&files.certificate, error))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| TlsError::new(&files.key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::new(&files.certificate, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(file).map_err(|error| TlsError::new(file, error))
}

fn make(files: &TlsFiles, hostname: &DomainName, own: &Path) -> Result<(), TlsError> {
    let made = rcgen::generate_simple_self_signed([hostname.to_string()])
        .map_err(|error| TlsError::new(&files.certificate, error))?;
    fs::create_dir_all(own).map_err(|error| TlsError::new(own, error))?;
    write_new(&files.key, &made.signing_key.serialize_pem(), 0o600)?;
    write_new(&files.certificate, &made.cert.pem(), 0o644)?;
    tracing::info!(certificate = %files.certificate.display(), "made a self-signed certificate");
    Ok(())
}

/// An empty file is what a power cut may have left of one.
fn has_text(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.len() > 0)
}

/// The key must never be readable by others, not even between its creation and a chmod; the file
/// gets its name once it is whole and durable.
fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let unfinished = file.with_extension("part");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&unfinished)
        .and_then(|mut open| open.write_all(text.as_bytes()).and_then(|()| open.sync_all()))
        .and_then(|()| fs::rename(&unfinished, file))
        .map_err(|error| TlsError::new(file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_a_power_cut_left_empty_is_made_again() {
        let own = tempfile::tempdir().expect("a folder for the test");
        let hostname: DomainName = "mx.example".parse().expect("a name");
        let path = |name: &str| own.path().join(name);
        for name in ["certificate.pem", "key.pem"] {
            fs::write(path(name), "").expect("it is ours");
            assert!(acceptor(&Tls::SelfSigned, &hostname, own.path()).is_ok(), "{name}");
        }
        let made = fs::read(path("key.pem")).expect("it was made");
        assert!(acceptor(&Tls::SelfSigned, &hostname, own.path()).is_ok());
        assert_eq!(fs::read(path("key.pem")).expect("it stays"), made);
    }
}
