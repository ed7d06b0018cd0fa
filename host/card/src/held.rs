//! The messages on a card.

use std::io;

use postern_card::{Fault, Inspection, Message};

use super::CardFile;
use postern_spool::{Envelope, MsgId};

/// A message on a card.
#[derive(Debug)]
pub struct CardMessage {
    /// Counted from 1, in the order of [`next`].
    pub number: u64,
    /// Where it is on the card.
    pub message: Message,
    /// Its id and envelope, or why they can't be read.
    pub envelope: Result<(MsgId, Envelope), String>,
}

impl CardMessage {
    /// What it is called: by its id, or, where that can't be read, by its number.
    pub fn name(&self) -> String {
        match &self.envelope {
            Ok((id, _)) => id.to_string(),
            Err(_) => format!("unreadable-{}", self.number),
        }
    }
}

/// The message behind `after`, or the first.
pub async fn next(
    card: &mut Inspection<CardFile>,
    after: Option<&CardMessage>,
) -> Result<Option<CardMessage>, Fault<io::Error>> {
    let next = card.next(after.map(|held| held.message.id)).await?;
    let Some(message) = next else { return Ok(None) };
    let number = after.map_or(1, |held| held.number + 1);
    let envelope = envelope(card, &message).await;
    Ok(Some(CardMessage { number, message, envelope }))
}

async fn envelope(
    card: &mut Inspection<CardFile>,
    message: &Message,
) -> Result<(MsgId, Envelope), String> {
    let mut reader = message.envelope();
    let (mut octets, mut piece) = (Vec::new(), [0; 512]);
    loop {
        match card.read(&mut reader, &mut piece).await.map_err(|fault| reason(&fault))? {
            0 => break,
            count => octets.extend_from_slice(&piece[..count]),
        }
    }
    Envelope::decode(&octets).map_err(|fault| format!("its envelope is damaged: {fault}"))
}

/// What a person is told of a fault.
pub fn reason(fault: &Fault<io::Error>) -> String {
    match fault {
        Fault::Card(error) => error.to_string(),
        fault => fault.to_string(),
    }
}
