//! The calling side of each hop: core's client and its loop.

use postern::deliver::Stream;
use postern_core::client::reply::{REPLY_MAX, Reply};
use postern_core::client::{
    Config, Event, MIN_OUT, Mail, Need, Protocol, Recipient, Timeouts, TlsPolicy,
};
use postern_core::drive::deliver::{Dialogue, Sent, Turn};
use postern_core::wire::Text;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_spool::clock::Clock;

use crate::wire::{Ticks, Turned};

const CONFIG: Config<'static> = Config {
    hostname: Text::new(b"client.example").expect("printable"),
    protocol: Protocol::Smtp,
    tls: TlsPolicy::Off,
    timeouts: Timeouts::RFC5321,
};

/// A reply's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    pub fn is_done(self) -> bool {
        self.0 / 100 == 2
    }
}

impl From<Reply<'_>> for Code {
    fn from(reply: Reply<'_>) -> Self {
        Self(reply.code())
    }
}

/// A connection over which mail can be sent.
pub struct Talk(Dialogue<'static, Code, Turned, Ticks, Vec<u8>>);

/// What became of a message.
pub struct Verdict {
    /// The host's last word; none: it gave none.
    pub code: Option<Code>,
    /// The connection is of no further use.
    pub is_lost: bool,
}

impl Verdict {
    pub fn is_done(&self) -> bool {
        self.code.is_some_and(Code::is_done)
    }
}

impl Talk {
    /// Comes to where a transaction can begin; `None`: it does not come so far.
    pub async fn open(stream: Stream, clock: Clock) -> Option<Self> {
        let (input, output) = (vec![0; REPLY_MAX], vec![0; 2 * MIN_OUT]);
        let dialogue = Dialogue::new(CONFIG, Turned(stream), Ticks(clock), input, output);
        let mut talk = Self(dialogue);
        loop {
            match talk.0.next().await.ok()? {
                Turn::Event(_) => {}
                Turn::Need(Need::Transaction) => return Some(talk),
                Turn::Need(_) => return None,
            }
        }
    }

    /// Sends a message to all of `paths`, or none.
    pub async fn send(&mut self, from: &[u8], paths: &[&[u8]], body: &[u8]) -> Verdict {
        let size = Some(body.len() as u64);
        let params = MailParams { size, ..MailParams::default() };
        let mail = Mail { reverse_path: from, params, needs_utf8: false };
        let mut verdict = Verdict { code: None, is_lost: false };
        let mut called = self.0.call(|client, out| client.mail(&mail, out));
        loop {
            if called.is_err() {
                verdict.is_lost = true;
                return verdict;
            }
            let event = match self.0.next().await {
                Ok(Turn::Event(event)) => event,
                Ok(Turn::Need(Need::Recipient { index })) => {
                    called = match paths.get(usize::from(index)) {
                        Some(path) => {
                            let params = RcptParams::default();
                            let to = Recipient { forward_path: path, params };
                            self.0.call(|client, out| client.rcpt(&to, out))
                        }
                        None => self.0.call(|client, _| client.rcpt_end()),
                    };
                    continue;
                }
                Ok(Turn::Need(Need::Body)) => match self.0.send_message(&mut &*body).await {
                    Ok(Sent::Refused(event)) => event,
                    Ok(_) => continue,
                    Err(_) => return Verdict { is_lost: true, ..verdict },
                },
                Ok(Turn::Need(_)) => return verdict,
                Err(_) => return Verdict { is_lost: true, ..verdict },
            };
            match event {
                Event::Message(code) | Event::MailRefused(code) => verdict.code = Some(code),
                Event::Recipient { reply, .. } if !reply.is_done() => verdict.code = Some(reply),
                _ => {}
            }
        }
    }

    /// Takes leave, and waits until the peer has, too.
    pub async fn quit(mut self) {
        self.0.quit().await;
    }
}
