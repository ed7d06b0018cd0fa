//! Mail out of a card as files.

use std::io;
use std::path::Path;

use postern_card::{Inspection, Message};

use postern_card_tool::{CardFile, next, reason};

use super::{Exported, Folder, MessageFile, envelope_json};

/// Bytes that are read at once.
const PIECE: usize = 4096;

/// Writes each message on the card into `folder`, which is made if it is missing, and must be
/// empty. What the card holds is not changed; a block that can't be read costs its message only.
pub async fn export(card: &mut Inspection<CardFile>, folder: &Path) -> io::Result<Exported> {
    let folder = Folder::make(folder)?;
    let (mut exported, mut last) = (Exported::default(), None);
    let stopped = |fault| io::Error::other(reason(&fault));
    while let Some(held) = next(card, last.as_ref()).await.map_err(stopped)? {
        let mut file = folder.begin(&held.name())?;
        let damage = copy_body(card, &held.message, &mut file).await?;
        match &held.envelope {
            Ok((id, envelope)) => {
                let size = held.message.message_octets;
                let envelope = envelope_json(*id, size, envelope, &envelope.recipients);
                file.end(Some(&envelope), damage, &mut exported)?;
            }
            Err(reason) => file.end(None, Some(reason.clone()), &mut exported)?,
        }
        last = Some(held);
    }
    Ok(exported)
}

/// Returns what is wrong with the body, if something is.
async fn copy_body(
    card: &mut Inspection<CardFile>,
    message: &Message,
    file: &mut MessageFile<'_>,
) -> io::Result<Option<String>> {
    let mut reader = message.body();
    let mut piece = [0; PIECE];
    loop {
        match card.read(&mut reader, &mut piece).await {
            Ok(0) => return Ok(None),
            Ok(count) => file.write(&piece[..count])?,
            Err(fault) => return Ok(Some(reason(&fault))),
        }
    }
}
