//! A small mailer: one message to a server on the cable.

use postern_core::appletalk::Address;
use postern_core::client::reply::REPLY_MAX;
use postern_core::client::{
    Config, Event, MIN_OUT, Mail, Need, Protocol, Recipient, Timeouts, TlsPolicy,
};
use postern_core::drive::deliver::{Dialogue, Sent, Turn};
use postern_core::wire::Text;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_spool::clock::Clock;

use super::ports::{Ports, Stream};
use crate::deliver::{Answer, PlainClock};

/// Octets that are collected before they are sent.
const OUTPUT: usize = 4096;

/// A message and its envelope.
#[derive(Debug)]
pub struct Message<'m> {
    /// What we call ourselves.
    pub hostname: &'m str,
    /// The reverse-path.
    pub from: &'m str,
    /// The forward-paths.
    pub to: &'m [String],
    /// The message; its lines end in CRLF.
    pub octets: &'m [u8],
}

type Talk<'c> = Dialogue<'c, Answer, Stream, PlainClock, Box<[u8]>>;

/// Sends `message` to the server at `peer`; what it said of each recipient that it refused, and of
/// the message. The cable has to be run meanwhile.
///
/// # Errors
/// Why there was no dialogue to its end.
pub async fn send(
    ports: &Ports,
    peer: Address,
    message: &Message<'_>,
    clock: &Clock,
) -> Result<Vec<Answer>, String> {
    const { assert!(OUTPUT >= MIN_OUT) };
    let opened = ports.open(peer, clock.instant());
    let mut stream = opened.map_err(|_| "no channel is free".to_owned())?;
    stream.opened().await.map_err(|end| end.to_string())?;
    let hostname = Text::new(message.hostname.as_bytes()).ok_or("that is no host name")?;
    let (protocol, tls, timeouts) = (Protocol::Smtp, TlsPolicy::Off, Timeouts::RFC5321);
    let config = Config { hostname, protocol, tls, timeouts };
    let [input, output] = [REPLY_MAX, OUTPUT].map(|octets| vec![0; octets].into());
    let clock = PlainClock(clock.clone());
    converse(Dialogue::new(config, stream, clock, input, output), message).await
}

async fn converse(mut talk: Talk<'_>, message: &Message<'_>) -> Result<Vec<Answer>, String> {
    let params =
        MailParams { size: u64::try_from(message.octets.len()).ok(), ..Default::default() };
    let mail = Mail { reverse_path: message.from.as_bytes(), params, needs_utf8: false };
    let (mut answers, mut to, mut is_begun) = (Vec::new(), message.to.iter(), false);
    loop {
        let called = match talk.next().await.map_err(|error| error.to_string())? {
            Turn::Need(Need::Transaction) if is_begun => break,
            Turn::Need(Need::Transaction) => {
                is_begun = true;
                talk.call(|client, out| client.mail(&mail, out))
            }
            Turn::Need(Need::Recipient { .. }) => match to.next() {
                Some(to) => {
                    let params = RcptParams::default();
                    let to = Recipient { forward_path: to.as_bytes(), params };
                    talk.call(|client, out| client.rcpt(&to, out))
                }
                None => talk.call(|client, _| client.rcpt_end()),
            },
            Turn::Need(_) => {
                let mut octets = message.octets;
                let sent = talk.send_message(&mut octets).await;
                if let Ok(Sent::Refused(Event::Message(answer))) = sent {
                    answers.push(answer);
                }
                Ok(())
            }
            Turn::Event(Event::MailRefused(answer) | Event::Message(answer)) => {
                answers.push(answer);
                Ok(())
            }
            Turn::Event(Event::Recipient { reply, .. }) if !reply.is_done() => {
                answers.push(reply);
                Ok(())
            }
            Turn::Event(_) => Ok(()),
        };
        called.map_err(|error| error.to_string())?;
    }
    talk.quit().await;
    Ok(answers)
}
