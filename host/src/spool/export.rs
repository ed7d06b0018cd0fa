//! Mail out of the spool as files that any mail program reads.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use postern_core::envelope::{Body as BodyType, Notify, Ret, State};
use serde_json::{Value, json};

use super::{Body, Envelope, Held, MsgId, Page, Recipient, Spool};

/// Items that are looked up at once.
const PAGE: usize = 256;

/// What an export wrote, and what it could not.
#[derive(Debug, Default)]
pub struct Exported {
    /// Messages written.
    pub messages: u64,
    /// Messages that cannot be read back, and why; their files are not there.
    pub damaged: Vec<(MsgId, String)>,
}

/// Writes each message that is held into `folder`: its content as `<id>.eml`, octet for octet, and
/// its envelope as `<id>.json`. Files that are there already are an error, so that no export is
/// taken for a part of another. What the spool holds is not changed.
pub async fn export<S: Spool>(spool: &S, folder: &Path) -> io::Result<Exported> {
    std::fs::create_dir_all(folder)?;
    let mut exported = Exported::default();
    let mut seen = HashSet::new();
    let mut page = Page { max: PAGE, ..Page::default() };
    loop {
        let held = spool.list(&page).await.map_err(io::Error::other)?;
        let Some(last) = held.last() else { return Ok(exported) };
        page.after = Some((last.domain.clone(), last.id));
        for id in held.iter().map(|held| held.id) {
            if !seen.insert(id) {
                continue;
            }
            let items = spool.show(id).await.map_err(io::Error::other)?;
            if items.is_empty() {
                continue;
            }
            match export_body(spool, id, folder).await? {
                Ok(()) => {
                    let envelope = serde_json::to_vec_pretty(&envelope_json(&items))?;
                    create(folder, id, "json")?.write_all(&envelope)?;
                    exported.messages += 1;
                }
                Err(what) => exported.damaged.push((id, what)),
            }
        }
    }
}

/// The outer error is the folder's, the inner one the message's.
async fn export_body<S: Spool>(
    spool: &S,
    id: MsgId,
    folder: &Path,
) -> io::Result<Result<(), String>> {
    let mut body = match spool.read(id, 0).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut file = create(folder, id, "eml")?;
    loop {
        match body.chunk().await {
            Ok([]) => break,
            Ok(chunk) => file.write_all(chunk)?,
            Err(error) => {
                std::fs::remove_file(folder.join(format!("{id}.eml")))?;
                return Ok(Err(error.to_string()));
            }
        }
    }
    Ok(Ok(()))
}

fn create(folder: &Path, id: MsgId, extension: &str) -> io::Result<std::fs::File> {
    let path = folder.join(format!("{id}.{extension}"));
    std::fs::File::create_new(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The envelope of a message, of which `items` are all items (one at least).
pub fn envelope_json(items: &[Held]) -> Value {
    let Some(first) = items.first() else { return Value::Null };
    let Envelope { arrival, client, client_port, esmtp, tls, authenticated, smtp_utf8, .. } =
        first.envelope;
    let recipients = items.iter().flat_map(|held| &held.envelope.recipients);
    json!({
        "id": first.id.to_string(),
        "size": first.size,
        "arrival_unix_seconds": arrival.unix_seconds,
        "arrival_known": arrival.known,
        "client": client.map(|address| address.to_string()),
        "client_port": client_port,
        "helo": text(&first.envelope.helo),
        "esmtp": esmtp,
        "tls": tls,
        "authenticated": authenticated,
        "smtputf8": smtp_utf8,
        "reverse_path": text(&first.envelope.reverse_path),
        "body": match first.envelope.body {
            BodyType::Unstated => Value::Null,
            BodyType::SevenBit => "7BIT".into(),
            BodyType::EightBitMime => "8BITMIME".into(),
            BodyType::BinaryMime => "BINARYMIME".into(),
        },
        "ret": match first.envelope.ret {
            Ret::Unstated => Value::Null,
            Ret::Full => "FULL".into(),
            Ret::Headers => "HDRS".into(),
        },
        "envid": optional(&first.envelope.envelope_id),
        "recipients": recipients.map(recipient_json).collect::<Vec<_>>(),
    })
}

fn recipient_json(recipient: &Recipient) -> Value {
    let names = [
        (Notify::NEVER, "NEVER"),
        (Notify::SUCCESS, "SUCCESS"),
        (Notify::FAILURE, "FAILURE"),
        (Notify::DELAY, "DELAY"),
    ];
    let notify = names.iter().filter(|(flag, _)| recipient.notify.has(*flag));
    json!({
        "path": text(&recipient.path),
        "notify": notify.map(|(_, name)| *name).collect::<Vec<_>>(),
        "orcpt": optional(&recipient.original),
        "state": match recipient.state {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Refused => "refused",
            State::Expired => "expired",
        },
        "attempts": recipient.attempts,
        "reply": optional(&recipient.reply),
    })
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn optional(octets: &[u8]) -> Option<String> {
    (!octets.is_empty()).then(|| text(octets))
}
