//! A client on a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::play::Peer;
use crate::replies::Replies;

/// Far more than any reply takes, so that a server that says nothing is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection; none once it was closed from here.
pub struct Client {
    stream: Option<Stream>,
    trust: Option<Arc<ClientConfig>>,
    replies: Replies,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(octets),
            Self::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
        }
    }
}

impl Client {
    /// On a connection that was made. TLS is possible with a server whose certificate is one of
    /// those that `trust` has.
    pub fn new(stream: TcpStream, trust: Option<Arc<ClientConfig>>) -> Result<Self, String> {
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream: Some(Stream::Tcp(stream)), trust, replies: Replies::default() })
    }

    /// Hears the greeting and says what it takes to get into TLS.
    pub fn begin_tls(&mut self) -> Result<(), String> {
        self.expect("220")?;
        self.send(b"EHLO sender.example.org\r\n")?;
        self.expect("250")?;
        self.send(b"STARTTLS\r\n")?;
        self.expect("220")?;
        self.start_tls()
    }

    fn expect(&mut self, code: &str) -> Result<(), String> {
        let lines = self.reply()?;
        let good = lines.iter().all(|line| line.starts_with(code));
        if good { Ok(()) } else { Err(format!("expected {code}, got {lines:?}")) }
    }

    /// More octets from the server; false at the end.
    fn hear(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        let stream = self.stream.as_mut().ok_or("the connection was closed from here")?;
        match stream.read(&mut buffer) {
            Ok(octets) => {
                self.replies.feed(&buffer[..octets]);
                Ok(octets > 0)
            }
            // A server that closes with octets unread resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(format!("{error}; unread: {}", self.replies.rest())),
        }
    }
}

impl Peer for Client {
    fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("the connection was closed from here")?;
        stream.write(octets).map_err(|error| error.to_string())
    }

    fn reply(&mut self) -> Result<Vec<String>, String> {
        loop {
            if let Some(lines) = self.replies.take()? {
                return Ok(lines);
            }
            if !self.hear()? {
                return Err(format!("the server closed; unread: {}", self.replies.rest()));
            }
        }
    }

    fn unread(&self) -> String {
        self.replies.rest()
    }

    fn start_tls(&mut self) -> Result<(), String> {
        let Some(Stream::Tcp(stream)) = self.stream.take() else {
            return Err("TLS begins on an open TCP connection".into());
        };
        let config = self.trust.clone().ok_or("no certificate is trusted")?;
        let name = ServerName::try_from("mx.example").expect("a domain name");
        let tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        self.stream = Some(Stream::Tls(Box::new(StreamOwned::new(tls, stream))));
        Ok(())
    }

    fn turned(&mut self) -> Result<(), String> {
        Err("the server does not turn round".into())
    }

    fn closed(&mut self) -> Result<(), String> {
        while self.hear()? {}
        match self.replies.rest() {
            rest if rest.is_empty() => Ok(()),
            rest => Err(format!("closed, but first said: {rest}")),
        }
    }

    fn hang_up(&mut self) {
        self.stream = None;
    }

    fn wait(&mut self, _: u64) -> Result<(), String> {
        Err("time passes in memory only".into())
    }
}
