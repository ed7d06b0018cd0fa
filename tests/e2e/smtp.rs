//! A sender of SMTP that knows nothing of Postern's code.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// A connection, greeted and past EHLO.
pub struct Smtp {
    stream: BufStream<TcpStream>,
}

/// A reply: its code, and the text of its last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// What follows them.
    pub text: String,
}

impl Smtp {
    /// Connects and says EHLO; `None` when nobody answers, or not 220 and 250.
    pub async fn connect(to: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(to).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut smtp = Self { stream: BufStream::new(stream) };
        let greeting = smtp.reply().await?;
        let hello = smtp.command("EHLO mail.sender.example").await?;
        (greeting.code == 220 && hello.code == 250).then_some(smtp)
    }

    /// Sends a command; `None` when the connection ends before the reply.
    pub async fn command(&mut self, command: &str) -> Option<Reply> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        self.reply().await
    }

    /// Sends a message; its lines end with CRLF. The reply is the first that refuses, or the one
    /// to the message; `None` when the connection ends before.
    pub async fn send(&mut self, from: &str, to: &str, message: &[u8]) -> Option<Reply> {
        let transaction = [
            (format!("MAIL FROM:<{from}> SIZE={}", message.len()), 250),
            (format!("RCPT TO:<{to}>"), 250),
            ("DATA".to_owned(), 354),
        ];
        for (command, expected) in transaction {
            let reply = self.command(&command).await?;
            if reply.code == 421 {
                return Some(reply);
            }
            if reply.code != expected {
                self.command("RSET").await?;
                return Some(reply);
            }
        }
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                self.stream.write_all(b".").await.ok()?;
            }
            self.stream.write_all(line).await.ok()?;
        }
        self.command(".").await
    }

    async fn reply(&mut self) -> Option<Reply> {
        self.stream.flush().await.ok()?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.ok()?;
            let code = line.get(..3)?.parse().ok()?;
            if line.get(3..4)? == " " {
                return Some(Reply { code, text: line.get(4..)?.trim_end().to_owned() });
            }
        }
    }
}
