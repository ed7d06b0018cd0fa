//! One side of a dialogue, line by line.

use embassy_net::tcp::ConnectError;

use super::host::{Host, Socket};
use super::world::World;

/// What a dialogue runs on.
pub trait Line {
    /// As many octets as have come, none at their end; or it broke.
    async fn read(&mut self, octets: &mut [u8]) -> Option<usize>;

    /// How many of `octets` go; or it broke.
    async fn write(&mut self, octets: &[u8]) -> Option<usize>;
}

impl Line for Socket {
    async fn read(&mut self, octets: &mut [u8]) -> Option<usize> {
        (**self).read(octets).await.ok()
    }

    async fn write(&mut self, octets: &[u8]) -> Option<usize> {
        (**self).write(octets).await.ok()
    }
}

/// A connection.
pub struct Talk<L = Socket> {
    socket: L,
    unread: Vec<u8>,
}

/// The other side hung up, or broke the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Talk {
    fn new(host: &Host) -> Self {
        Self::on(host.socket())
    }

    /// Connects to the device.
    pub async fn connect(world: &World) -> Result<Self, ConnectError> {
        Self::connect_from(&world.far, world).await
    }

    /// Connects a host to the device.
    pub async fn connect_from(host: &Host, world: &World) -> Result<Self, ConnectError> {
        let mut talk = Self::new(host);
        talk.socket.connect((world.device_at.get(), 25)).await?;
        Ok(talk)
    }

    /// Connects to the device, which greets us.
    pub async fn greeted(world: &World) -> Self {
        Self::greeted_from(&world.far, world).await
    }

    /// Connects a host to the device, which greets it.
    pub async fn greeted_from(host: &Host, world: &World) -> Self {
        let mut talk = Self::connect_from(host, world).await.expect("somebody listens");
        talk.expect(&[("", "220 "), ("EHLO client.example\r\n", "250 ")]).await;
        talk
    }

    /// Waits for somebody to connect.
    pub async fn accept(host: &Host, port: u16) -> Self {
        let mut talk = Self::new(host);
        talk.socket.accept(port).await.expect("the socket is new");
        talk
    }

    /// Breaks the connection: nothing is said any more, but that it is over.
    pub async fn hang_up(mut self) {
        self.socket.abort();
        let _sent = self.socket.flush().await;
    }

    /// Closes our side, and waits for the other to do the same.
    pub async fn close(mut self) {
        self.socket.close();
        while self.line().await.is_ok() {}
        let _acknowledged = self.socket.flush().await;
    }
}

impl<L: Line> Talk<L> {
    /// On a connection that is open.
    pub fn on(socket: L) -> Self {
        Self { socket, unread: Vec::new() }
    }

    pub async fn send(&mut self, octets: &[u8]) -> Result<(), Gone> {
        let mut rest = octets;
        while !rest.is_empty() {
            let sent = self.socket.write(rest).await.ok_or(Gone)?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// The next line, without its CRLF.
    pub async fn line(&mut self) -> Result<Vec<u8>, Gone> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|octets| octets == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect();
                return Ok(line);
            }
            let mut octets = [0; 1500];
            match self.socket.read(&mut octets).await {
                Some(0) | None => return Err(Gone),
                Some(read) => self.unread.extend_from_slice(&octets[..read]),
            }
        }
    }

    /// The last line of the next reply.
    pub async fn reply(&mut self) -> Result<String, Gone> {
        loop {
            let line = self.line().await?;
            if line.get(3) != Some(&b'-') {
                return Ok(String::from_utf8(line).expect("replies are ASCII"));
            }
        }
    }

    /// Says something, and returns the last line of the reply to it.
    pub async fn say(&mut self, words: impl AsRef<[u8]>) -> Result<String, Gone> {
        self.send(words.as_ref()).await?;
        self.reply().await
    }

    /// Says each of `words`, to which the reply's last line must begin as given.
    pub async fn expect(&mut self, dialogue: &[(&str, &str)]) {
        for (words, begin) in dialogue {
            let reply = self.say(words).await;
            let reply = reply.unwrap_or_else(|Gone| panic!("{words:?}: the device hung up"));
            assert!(reply.starts_with(begin), "{words:?}: {reply}");
        }
    }

    /// Hands a message over to `recipients` and returns the reply to it, or to what was refused
    /// before.
    pub async fn mail(&mut self, recipients: &[&str], content: &[u8]) -> Result<String, Gone> {
        let size = content.len();
        let mail = format!("MAIL FROM:<sender@origin.example> SIZE={size}\r\n");
        let mut reply = self.say(mail).await?;
        for recipient in recipients {
            if reply.starts_with('2') {
                reply = self.say(format!("RCPT TO:<{recipient}>\r\n")).await?;
            }
        }
        if reply.starts_with('2') {
            reply = self.say("DATA\r\n").await?;
        }
        if !reply.starts_with('3') {
            return Ok(reply);
        }
        self.send(&stuffed(content)).await?;
        self.say(".\r\n").await
    }
}

/// A message as DATA takes it: its lines that begin with a dot get another (RFC 5321 §4.5.2).
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    assert!(content.is_empty() || content.ends_with(b"\r\n"), "a message ends with a line's end");
    let mut stuffed = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}
