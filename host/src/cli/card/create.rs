//! `postern card create`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use postern_card::{BLOCK, Fault, Inspection, Layout, format};
use rustix::rand::{GetRandomFlags, getrandom};

use super::super::table::size as shown;
use super::super::{CommandError, Verdict};
use super::{failed, inspect, update};
use crate::config::ByteSize;
use postern_card_tool::CardContent;
use postern_card_tool::{CardFile, reason};
use postern_spool::clock::Clock;

/// How a card is to be made.
pub(super) struct Request<'r> {
    /// The size of a file that is made.
    pub(super) size: Option<ByteSize>,
    /// Whether mail on it may be lost.
    pub(super) force: bool,
    /// The firmware that goes on it.
    pub(super) firmware: &'r Option<PathBuf>,
}

/// Formats the card at `path` with what `config` says. Where nothing is, a file is made.
pub(super) async fn create(
    config: &Path,
    path: &Path,
    request: Request<'_>,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let Request { size, force, firmware } = request;
    let is_new =
        matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    let octets = if is_new { size_of_new(path, size)? } else { size_of_old(path, size)? };
    let content = CardContent::load(config, octets).map_err(CommandError::Config)?;
    let firmware = firmware.as_deref().map(update::load).transpose()?;
    if let Some(firmware) = &firmware {
        let blocks = u32::try_from(octets / BLOCK as u64).unwrap_or(u32::MAX);
        update::check_room(firmware, path, Layout::for_card(blocks).image_octets_max())?;
    }
    if !is_new && !force {
        refuse_mail(path).await?;
    }
    let card = if is_new { CardFile::make(path, octets) } else { CardFile::write(path) };
    let mut card = card.map_err(|error| failed(path, error))?;
    let mut written = write(&mut card, path, &content).await;
    drop(card);
    if let (Ok(()), Some(firmware)) = (&written, &firmware) {
        written = update::put(firmware, path, false).await;
    }
    if let Err(failure) = written {
        if is_new {
            // It would be in the way of the next attempt; the failure to tell of is this one.
            let _still_there = fs::remove_file(path);
        }
        return Err(failure);
    }
    show(path, &content, out).await?;
    if let Some(firmware) = &firmware {
        update::say(firmware, path, out)?;
    }
    Ok(Verdict::Well)
}

fn size_of_new(path: &Path, size: Option<ByteSize>) -> Result<u64, CommandError> {
    let missing = || failed(path, "is not there; to make a file, say its size: --size \"64 MiB\"");
    size.map(|size| size.0).ok_or_else(missing)
}

fn size_of_old(path: &Path, size: Option<ByteSize>) -> Result<u64, CommandError> {
    let octets = CardFile::read(path).map_err(|error| failed(path, error))?.bytes();
    match size {
        Some(ByteSize(size)) if size != octets => {
            let found = format!("is there, and has {octets} bytes: leave --size out");
            Err(failed(path, found))
        }
        _ => Ok(octets),
    }
}

/// Mail that may be there nowhere else is not lost by a slip.
async fn refuse_mail(path: &Path) -> Result<(), CommandError> {
    let card = CardFile::read(path).map_err(|error| failed(path, error))?;
    match Box::pin(Inspection::open(card)).await {
        Ok((inspection, _)) if inspection.messages() > 0 => {
            let messages = inspection.messages();
            let held = format!(
                "holds {messages} message(s), which would be lost: `postern card export` saves \
                    them, --force drops them"
            );
            Err(failed(path, held))
        }
        Ok(_) | Err((_, Fault::NotOurs)) => Ok(()),
        Err((_, fault)) => {
            let unknown = format!(
                "{}; whether there is mail on it can't be told, and --force drops it",
                reason(&fault)
            );
            Err(failed(path, unknown))
        }
    }
}

async fn write(
    card: &mut CardFile,
    path: &Path,
    content: &CardContent,
) -> Result<(), CommandError> {
    let mut seed = [0; 32];
    getrandom(&mut seed, GetRandomFlags::empty()).map_err(CommandError::run)?;
    let now = Clock::system().timestamp();
    let now_unix_s = if now.known { now.unix_seconds } else { 0 };
    let formatted = format(card, &content.settings(), content.recipients(), seed, now_unix_s).await;
    formatted.map(|_| ()).map_err(|fault| failed(path, fault))
}

/// Says what is on the card now, by what can be read there.
async fn show(
    path: &Path,
    content: &CardContent,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (inspection, _) = inspect(path).await?;
    for warning in content.warnings() {
        writeln!(out, "warning: {warning}")?;
    }
    let card = shown(u64::from(inspection.geometry().blocks) * BLOCK as u64);
    let free = shown(inspection.free());
    let domains = content.settings().domains.len();
    let recipients = match content.settings().any_recipient {
        true => "any recipient".to_owned(),
        false => format!("{} recipient(s)", content.recipients().len()),
    };
    let path = path.display();
    writeln!(out, "{path}: {card}, {free} for mail; {domains} domain(s), {recipients}")?;
    Ok(())
}
