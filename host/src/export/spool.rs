//! Mail out of the spool as files.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::export::{Exported, Folder, MessageFile, envelope_json};
use postern_spool::log::{Finding, LogReader};
use postern_spool::{Body, Error, MsgId};

/// Items that are looked up at once.
const PAGE: usize = 256;

/// Writes each message that the spool at `spool` holds into `folder`, which is made if it is
/// missing, and must be empty. What the spool holds is not changed; its disk need not be writable,
/// and a server may use it meanwhile: what that delivers before it was written is left out.
pub async fn export(spool: &Path, folder: &Path) -> io::Result<Exported> {
    let mut reader = LogReader::open(spool)?;
    let folder = Folder::make(folder)?;
    let mut exported = Exported::default();
    let mut lost = BTreeSet::new();
    for id in held(&reader).await {
        lost.extend(export_message(&reader, id, &folder, &mut exported).await?.then_some(id));
    }
    if !lost.is_empty() && reader.is_in_use()? {
        // The server may have moved or delivered them.
        exported.damaged.clear();
        reader = LogReader::open(spool)?;
        for id in lost {
            folder.remove(&id.to_string())?;
            export_message(&reader, id, &folder, &mut exported).await?;
        }
    }
    for finding in &reader.report().findings {
        match finding {
            Finding::Damaged(damage) => exported.unreadable.push(damage.to_string()),
            Finding::Missing { .. } => exported.missing.push(finding.to_string()),
            _ => {}
        }
    }
    Ok(exported)
}

/// The messages, those for several domains once.
async fn held(reader: &LogReader) -> BTreeSet<MsgId> {
    let (mut ids, mut after) = (BTreeSet::new(), None);
    loop {
        let listed = reader.list(after.as_ref(), PAGE).await;
        ids.extend(listed.items.iter().map(|held| held.id));
        after = listed.next;
        if after.is_none() {
            return ids;
        }
    }
}

/// Says whether something of it could not be read.
async fn export_message(
    reader: &LogReader,
    id: MsgId,
    folder: &Folder,
    exported: &mut Exported,
) -> io::Result<bool> {
    let items = reader.message(id).await;
    let Some(first) = items.first() else { return Ok(false) };
    let recipients = items.iter().flat_map(|held| &held.envelope.recipients);
    let envelope = envelope_json(id, first.size, &first.envelope, recipients);
    let mut file = folder.begin(&id.to_string())?;
    let damage = copy_body(reader, id, &mut file).await?;
    let is_damaged = damage.is_some();
    file.end(Some(&envelope), damage, exported)?;
    Ok(is_damaged)
}

/// Returns what is wrong with the body, if something is.
async fn copy_body(
    reader: &LogReader,
    id: MsgId,
    file: &mut MessageFile<'_>,
) -> io::Result<Option<String>> {
    let mut body = match reader.body(id).await {
        Ok(body) => body,
        Err(Error::Damaged(reason)) => return Ok(Some(reason)),
        Err(error) => return Err(io::Error::other(error)),
    };
    loop {
        match body.chunk().await {
            Ok([]) => return Ok(None),
            Ok(octets) => file.write(octets)?,
            Err(Error::Damaged(reason)) => return Ok(Some(reason)),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}
