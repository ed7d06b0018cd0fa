//! One GET (RFC 9110) over one connection, of which only what is whole is taken.

use std::io;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Octets of a list at most, over all its URLs.
pub(super) const LIST_MAX: usize = 32 << 20;

/// What is asked for.
pub(super) struct Get<'g> {
    /// What Host says.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: &'g str,
    /// A header of our own, and its value.
    pub(super) header: Option<(&'g str, &'g str)>,
    /// Octets of the body at most.
    pub(super) most: usize,
}

impl Get<'_> {
    /// The body of the answer that comes over `stream`.
    ///
    /// # Errors
    /// It is no whole one. No part of what was asked for is in the reason.
    pub(super) async fn over<S>(&self, stream: S) -> Result<Vec<u8>, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let broke = |error: hyper::Error| format!("it broke off: {error}");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let mut request = Request::builder()
            .uri(self.target)
            .header("host", &self.authority)
            .header("user-agent", concat!("postern/", env!("CARGO_PKG_VERSION")))
            .header("accept", "application/json, text/plain;q=0.9, */*;q=0.1")
            .header("connection", "close");
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|_| "it can't be asked for: see urls".to_owned())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broke)?;
            body(answer, self.most).await
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            body = &mut exchange => body,
            // What was read whole is whole, however the connection ended.
            _ended = &mut connection => exchange.await,
        }
    }
}

async fn body(response: Response<Incoming>, most: usize) -> Result<Vec<u8>, String> {
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            return Err(format!("it answers {}: no redirect is followed", status.as_str()));
        }
        status => return Err(format!("it answers {}", status.as_str())),
    }
    let headers = response.headers();
    let is_plain = |value: &hyper::header::HeaderValue| value == "identity";
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err("its answer is compressed, which was not asked for".to_owned());
    }
    let codings = headers.get_all(TRANSFER_ENCODING).iter();
    let codings = codings.flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    let codings: Vec<_> = codings.map(<[u8]>::trim_ascii).collect();
    let is_chunked = match &codings[..] {
        [] => false,
        [only] if only.eq_ignore_ascii_case(b"chunked") => true,
        // Behind another one it would be read to the end by closing.
        _ => return Err("its answer is in a transfer coding that was not asked for".to_owned()),
    };
    let has_end = headers.contains_key(CONTENT_LENGTH) || is_chunked;
    // An end by closing is that of a connection that broke, too.
    if !has_end || is_chunked && response.version() < Version::HTTP_11 {
        return Err("its answer does not say where it ends".to_owned());
    }
    let too_long = || format!("the list is longer than {} MiB", LIST_MAX >> 20);
    let mut body = response.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("its answer was cut short: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        if octets.len() + data.len() > most {
            return Err(too_long());
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

/// What `error`, of connecting or of TLS, is, without the host's name.
pub(super) fn why_of(error: &io::Error) -> String {
    use tokio_rustls::rustls::{CertificateError, Error};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is another host's".to_owned(),
        _ => error.to_string(),
    }
}
