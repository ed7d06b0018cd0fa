//! Scripts on the core in memory, with virtual time, the client's octets split at will.

mod client;
mod room;

use postern_core::session::Config;
use postern_core::wire::Text;
use postern_core::wire::params::Extension;

use crate::dialogue::{ExpectedReply, Script, Settings, Step};
use client::{Client, State};

/// How a script's groups of octets reach the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Each group at once.
    Whole,
    /// The group with this octet of all the client's octets is split before it.
    At(usize),
    /// Octet by octet.
    Octets,
}

impl Split {
    /// Cuts `group`, which begins at octet `start` of all the client's.
    fn cut(self, group: &[u8], start: usize) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![group],
            Self::At(place) if start < place && place < start + group.len() => {
                let (left, right) = group.split_at(place - start);
                vec![left, right]
            }
            Self::At(_) => vec![group],
            Self::Octets => group.chunks(1).collect(),
        }
    }
}

/// Octets that the client sends in all.
pub fn octets(script: &Script) -> usize {
    let sizes = script.steps.iter().map(|step| match step {
        Step::Send(octets) => octets.len(),
        _ => 0,
    });
    sizes.sum()
}

/// Plays `script`; the error says at which step what differs.
pub fn play(script: &Script, split: Split) -> Result<(), String> {
    let config = config(&script.settings)?;
    let mut player = Player { client: Client::new(&config), split, sent: 0, offers: Vec::new() };
    for (number, step) in script.steps.iter().enumerate() {
        let played = player.step(step);
        played.map_err(|fault| {
            format!("{}: step {} of {}: {fault}", script.name, number + 1, script.steps.len())
        })?;
    }
    let unread = player.client.replies.rest();
    let stored = player.client.end();
    match () {
        () if !unread.is_empty() => Err(format!("{}: more replies: {unread}", script.name)),
        () if stored != script.stored => {
            Err(format!("{}: stored {stored:#?}, not {:#?}", script.name, script.stored))
        }
        () => Ok(()),
    }
}

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
const MECHANISMS: Text<'static> = Text::new(b"PLAIN").expect("printable");

fn config(settings: &Settings) -> Result<Config<'static>, String> {
    let mut config = Config::new(HOSTNAME).with(Extension::StartTls);
    config.max_message_size = settings.max_message_size;
    config.max_recipients = settings.max_recipients;
    config.auth_mechanisms = MECHANISMS;
    for name in &settings.needs {
        config = config.with(extension(name)?);
    }
    for name in &settings.without {
        config = config.without(extension(name)?);
    }
    Ok(config)
}

fn extension(name: &str) -> Result<Extension, String> {
    Ok(match name {
        "PIPELINING" => Extension::Pipelining,
        "SIZE" => Extension::Size,
        "SMTPUTF8" => Extension::SmtpUtf8,
        "CHUNKING" => Extension::Chunking,
        "BINARYMIME" => Extension::BinaryMime,
        "DSN" => Extension::Dsn,
        "ETRN" => Extension::Etrn,
        "STARTTLS" => Extension::StartTls,
        "AUTH" => Extension::Auth,
        "XCLIENT" => Extension::Xclient,
        "ATRN" => Extension::Atrn,
        _ => return Err(format!("'{name}' is not an extension")),
    })
}

struct Player<'c> {
    client: Client<'c>,
    split: Split,
    sent: usize,
    offers: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(octets) => self.send(octets),
            Step::Expect(expected) => self.expect(expected),
            Step::Offers(line) => {
                let offered = self.offers.iter().any(|offer| line.matches(offer));
                if offered { Ok(()) } else { Err(format!("{line:?} not in {:?}", self.offers)) }
            }
            Step::OffersNot(keyword) => {
                let is = |offer: &String| offer.split(' ').next() == Some(keyword);
                if self.offers.iter().any(is) { Err(format!("{keyword} offered")) } else { Ok(()) }
            }
            Step::Tls => self.state(State::Tls).map(|()| self.client.start_tls()),
            Step::Turn => self.state(State::Turn),
            Step::Close => self.state(State::Closed),
            Step::HangUp => {
                self.client.hang_up();
                Ok(())
            }
            Step::Wait(seconds) => self.client.wait(*seconds),
        }
    }

    fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        if !self.client.replies.is_empty() {
            return Err(format!("replies before it: {}", self.client.replies.rest()));
        }
        for piece in self.split.cut(octets, self.sent) {
            self.client.send(piece)?;
        }
        self.sent += octets.len();
        Ok(())
    }

    fn expect(&mut self, expected: &ExpectedReply) -> Result<(), String> {
        self.client.begin()?;
        let lines = self.client.replies.take()?;
        let lines = lines.ok_or_else(|| format!("no reply, but {expected:?} expected"))?;
        if lines.len() > 1 {
            self.offers = lines.iter().map(|line| line[4..].to_owned()).collect();
        }
        expected.compare(&lines)
    }

    fn state(&self, expected: State) -> Result<(), String> {
        let (state, rest) = (self.client.state, self.client.replies.rest());
        if state != expected {
            return Err(format!("{state:?}, not {expected:?}"));
        }
        if rest.is_empty() { Ok(()) } else { Err(format!("{state:?}, but first said: {rest}")) }
    }
}
