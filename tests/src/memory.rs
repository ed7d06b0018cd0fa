//! Scripts on the core in memory, with virtual time, the client's octets split at will.

mod client;
mod handler;

use postern_core::session::Config;
use postern_core::wire::Text;
use postern_core::wire::ehlo::Extension;

use crate::dialogue::{Script, Settings, Step};
use crate::play;
use client::Client;

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
    let mut client = Client::new(&config, split);
    play::play(script, 0, &mut client)?;
    play::compare_stored(script, &client.end()?)
}

const HOSTNAME: Text<'static> = Text::new(b"mx.example").expect("printable");
const MECHANISMS: Text<'static> = Text::new(b"PLAIN").expect("printable");

fn config(settings: &Settings) -> Result<Config<'static>, String> {
    let mut config = Config::new(HOSTNAME)
        .with(Extension::StartTls)
        .with(Extension::Chunking)
        .with(Extension::SmtpUtf8)
        .with(Extension::Dsn)
        .with(Extension::Etrn);
    config.max_message_size = settings.max_message_size;
    config.max_recipients = settings.max_recipients;
    for name in &settings.needs {
        config = match extension(name)? {
            Extension::Auth => config.with_auth(MECHANISMS),
            other => config.with(other),
        };
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
