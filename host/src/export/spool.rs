//! Mail out of the spool as files.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use crate::export::{Exported, Folder, MessageFile, envelope_json};
use postern_spool::{Body, Error, Filter, Held, MsgId, Spool};

/// Items that are looked up at once.
const PAGE: usize = 256;

/// Writes each message that is held into `folder`, which is made if it is missing, and must be
/// empty. What the spool holds is not changed.
pub async fn export<S: Spool>(spool: &S, folder: &Path) -> io::Result<Exported> {
    let folder = Folder::make(folder)?;
    let mut exported = Exported::default();
    let mut seen = HashSet::new();
    let mut after = None;
    loop {
        let listed = spool.list(&Filter::default(), after.as_ref(), PAGE).await;
        let listed = listed.map_err(io::Error::other)?;
        for id in listed.items.iter().map(|held| held.id) {
            // A message for several domains is listed under each of them.
            if seen.insert(id) {
                let items = spool.message(id).await.map_err(io::Error::other)?;
                export_message(spool, id, &items, &folder, &mut exported).await?;
            }
        }
        after = listed.next;
        if after.is_none() {
            return Ok(exported);
        }
    }
}

async fn export_message<S: Spool>(
    spool: &S,
    id: MsgId,
    items: &[Held],
    folder: &Folder,
    exported: &mut Exported,
) -> io::Result<()> {
    let Some(first) = items.first() else { return Ok(()) };
    let recipients = items.iter().flat_map(|held| &held.envelope.recipients);
    let envelope = envelope_json(id, first.size, &first.envelope, recipients);
    let mut file = folder.begin(&id.to_string())?;
    let damage = copy_body(spool, id, &mut file).await?;
    file.end(Some(&envelope), damage, exported)
}

/// Returns what is wrong with the body, if something is.
async fn copy_body<S: Spool>(
    spool: &S,
    id: MsgId,
    file: &mut MessageFile<'_>,
) -> io::Result<Option<String>> {
    let mut body = match spool.body(id).await {
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
