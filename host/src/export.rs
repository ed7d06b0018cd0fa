//! Mail as files that any mail program reads: of each message the content as `<name>.eml`, byte
//! for byte, and the envelope as `<name>.json`.

mod card;
mod salvage;
mod spool;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postern_core::envelope::{Body, Notify, Ret, State};
use serde_json::{Value, json};

use postern_spool::{Envelope, MsgId, Recipient};

pub use card::export as export_card;
pub use salvage::{Salvaged, salvage};
pub use spool::export;

/// What an export wrote.
#[derive(Debug, Default)]
pub struct Exported {
    /// Messages that were read whole.
    pub messages: u64,
    /// Messages that were not, by name, and why. What could be read is in `<name>.damaged`.
    pub damaged: Vec<(String, String)>,
    /// What else cannot be read, and may have been messages.
    pub unreadable: Vec<String>,
    /// Folders of the spool that are not there, of which there need be none.
    pub missing: Vec<String>,
}

/// A folder that mail is exported into.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder. One that is there must be empty, so that no export is taken for a part of
    /// another.
    pub fn make(path: &Path) -> io::Result<Self> {
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(path);
        made.map_err(|error| at(path, &error))?;
        let first = fs::read_dir(path).map_err(|error| at(path, &error))?.next();
        if first.is_some() {
            let kind = io::ErrorKind::AlreadyExists;
            return Err(at(path, &io::Error::new(kind, "the folder is not empty")));
        }
        Ok(Self(path.to_owned()))
    }

    /// Begins the files of a message.
    pub fn begin(&self, name: &str) -> io::Result<MessageFile<'_>> {
        let path = self.path(name, "eml");
        let file = BufWriter::new(create(&path)?);
        Ok(MessageFile { folder: self, name: name.to_owned(), path, file })
    }

    /// Removes what was written of a message that turned out to be damaged.
    fn remove(&self, name: &str) -> io::Result<()> {
        for extension in ["json", "damaged"] {
            let path = self.path(name, extension);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a message of this name was written.
    fn has(&self, name: &str) -> bool {
        ["eml", "damaged"].iter().any(|extension| self.path(name, extension).exists())
    }

    /// Leaves what was written of a message under a name that no mail program opens, if it can be.
    fn give_up(&self, name: &str) {
        // The failure to tell of is the one before.
        let _there_is_none = fs::rename(self.path(name, "eml"), self.path(name, "damaged"));
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.0.join(format!("{name}.{extension}"))
    }
}

/// A message that is being exported.
#[derive(Debug)]
pub struct MessageFile<'f> {
    folder: &'f Folder,
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
}

impl MessageFile<'_> {
    /// Appends to the content.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets).map_err(|error| at(&self.path, &error))
    }

    /// Writes the envelope, if it is known, and counts the message. One of which something could
    /// not be read, for the reason `damage`, is kept under a name that no mail program opens.
    pub fn end(
        mut self,
        envelope: Option<&Value>,
        damage: Option<String>,
        exported: &mut Exported,
    ) -> io::Result<()> {
        self.file.flush().map_err(|error| at(&self.path, &error))?;
        if let Some(envelope) = envelope {
            let path = self.folder.path(&self.name, "json");
            let text = serde_json::to_vec_pretty(envelope).expect("an envelope is JSON");
            create(&path)?.write_all(&text).map_err(|error| at(&path, &error))?;
        }
        match damage {
            None => exported.messages += 1,
            Some(reason) => {
                let kept = self.folder.path(&self.name, "damaged");
                fs::rename(&self.path, &kept).map_err(|error| at(&kept, &error))?;
                exported.damaged.push((self.name, reason));
            }
        }
        Ok(())
    }
}

/// Nobody else may read mail.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The envelope of a message of `size` bytes, with these recipients.
pub fn envelope_json<'e>(
    id: MsgId,
    size: u64,
    envelope: &Envelope,
    recipients: impl IntoIterator<Item = &'e Recipient>,
) -> Value {
    let Envelope { arrival, client, client_port, esmtp, tls, authenticated, submitted, .. } =
        envelope;
    json!({
        "id": id.to_string(),
        "size": size,
        "arrival_unix_seconds": arrival.unix_seconds,
        "arrival_known": arrival.known,
        "client": client.map(|address| address.to_string()),
        "client_port": client_port,
        "helo": text(&envelope.helo),
        "esmtp": esmtp,
        "tls": tls,
        "authenticated": authenticated,
        "submitted": submitted,
        "smtputf8": envelope.smtp_utf8,
        "reverse_path": text(&envelope.reverse_path),
        "body": match envelope.body {
            Body::Unstated => Value::Null,
            Body::SevenBit => "7BIT".into(),
            Body::EightBitMime => "8BITMIME".into(),
            Body::BinaryMime => "BINARYMIME".into(),
        },
        "ret": match envelope.ret {
            Ret::Unstated => Value::Null,
            Ret::Full => "FULL".into(),
            Ret::Headers => "HDRS".into(),
        },
        "envid": optional(&envelope.envelope_id),
        "recipients": recipients.into_iter().map(recipient_json).collect::<Vec<_>>(),
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
