//! Asking a running server through its control socket.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// What a running server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 or another of HTTP's.
    pub status: StatusCode,
    /// Text or JSON, as the API says for each path.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nothing listens at the socket.
    Connect(PathBuf, io::Error),
    /// It did, and then failed.
    Talk(hyper::Error),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, error) => {
                write!(f, "no server answers at {}: {error}", path.display())?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => write!(f, "; ask as root or its group"),
                    _ => write!(f, "; is `postern serve` running with this configuration?"),
                }
            }
            Self::Talk(error) => write!(f, "the server broke off: {error}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

impl From<hyper::Error> for NoAnswer {
    fn from(error: hyper::Error) -> Self {
        Self::Talk(error)
    }
}

/// Asks the server at `socket` for `target`: a path and query of the control API.
///
/// # Errors
/// When no server listens there, or it breaks off.
pub async fn ask(socket: &Path, method: Method, target: &str) -> Result<Answer, NoAnswer> {
    send(socket, method, target, Vec::new()).await
}

/// The same, with a text.
///
/// # Errors
/// When no server listens there, or it breaks off.
pub async fn send(
    socket: &Path,
    method: Method,
    target: &str,
    text: Vec<u8>,
) -> Result<Answer, NoAnswer> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| NoAnswer::Connect(socket.to_owned(), error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .body(Body::from(text))
        .expect("a path and query of ours is a valid request");
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}
