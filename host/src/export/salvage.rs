//! Mail out of a damaged card as files.

use std::io;
use std::path::Path;

use postern_card::Card;
use postern_card_tool::{Fate, Found, Salvage};

use super::{Exported, Folder, MessageFile, envelope_json};

/// The folder, in that of a salvage, for what was delivered or removed before.
const GONE: &str = "gone";

/// What a salvage wrote.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// What the card holds, or may hold.
    pub held: Exported,
    /// Messages in the folder `gone`: what was delivered or removed, or never acknowledged.
    pub gone: u64,
}

/// Writes each message that was found on a card into `folder`, which is made if it is missing, and
/// must be empty. Those that the card no longer holds go into a folder `gone` in it, if they are
/// whole. One that can't be written costs no other: it is told among what is unreadable.
///
/// # Errors
/// Those of making the folders.
pub async fn salvage<C: Card<Error = io::Error>>(
    card: &mut Salvage<C>,
    folder: &Path,
) -> io::Result<Salvaged> {
    let mut salvaged = Salvaged::default();
    let mut unlisted = Exported::default();
    let found = std::mem::take(&mut card.found);
    let (gone, held): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.fate == Fate::Gone);
    let into = Folder::make(folder)?;
    for message in held {
        write(card, &message, &into, &mut salvaged.held).await;
    }
    if gone.is_empty() {
        return Ok(salvaged);
    }
    let into = Folder::make(&folder.join(GONE))?;
    for message in gone {
        let damaged = unlisted.damaged.len();
        write(card, &message, &into, &mut unlisted).await;
        for (name, _) in unlisted.damaged.drain(damaged..) {
            // Overwritten in part, as it should be in time.
            into.remove(&name)?;
        }
    }
    salvaged.gone = unlisted.messages;
    salvaged.held.unreadable.append(&mut unlisted.unreadable);
    Ok(salvaged)
}

async fn write<C: Card<Error = io::Error>>(
    card: &mut Salvage<C>,
    message: &Found,
    folder: &Folder,
    exported: &mut Exported,
) {
    let name = if folder.has(&message.name()) { message.second_name() } else { message.name() };
    let written = match folder.begin(&name) {
        Ok(file) => {
            let written = fill(file, card, message, exported).await;
            written.inspect_err(|_| folder.give_up(&name))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        exported.unreadable.push(format!("{name} could not be written: {error}"));
    }
}

async fn fill<C: Card<Error = io::Error>>(
    mut file: MessageFile<'_>,
    card: &mut Salvage<C>,
    message: &Found,
    exported: &mut Exported,
) -> io::Result<()> {
    let damage = card.content(message, |octets| file.write(octets)).await?;
    match &message.envelope {
        Ok((id, envelope)) => {
            let size = message.octets.unwrap_or_default();
            let envelope = envelope_json(*id, size, envelope, &envelope.recipients);
            file.end(Some(&envelope), damage, exported)
        }
        Err(reason) => file.end(None, Some(reason.clone()), exported),
    }
}
