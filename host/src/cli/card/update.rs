//! `postern card update`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use postern_card::{Fault, Store};
use postern_core::envelope::State;

use super::super::table::size;
use super::super::{CommandError, Verdict};
use super::{failed, inspect, mount};
use postern_card_tool::{CardContent, CardFile, Firmware, next, reason};
use postern_spool::clock::Clock;

/// Changes the settings and recipients on the card at `path` to those of `config`. Until all of
/// them are there, the card has those from before.
pub(super) async fn settings(
    config: &Path,
    path: &Path,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let octets = CardFile::read(path).map_err(|error| failed(path, error))?.bytes();
    let content = CardContent::load(config, octets).map_err(CommandError::Config)?;
    let orphans = orphans(path, &content).await?;
    let mut store = mount(path).await?;
    let updated = store.update(&content.settings(), content.recipients()).await;
    updated.map_err(|fault| failed(path, fault))?;
    set_time(&mut store, path).await?;
    for warning in content.warnings() {
        writeln!(out, "warning: {warning}")?;
    }
    for (domain, messages) in orphans {
        writeln!(
            out,
            "warning: {messages} message(s) for {domain}, which these settings do not hold, wait \
                on the card; they go to {}",
            content.settings().next_hop.host
        )?;
    }
    writeln!(out, "{}: new settings, {} message(s) kept", path.display(), store.messages())?;
    Ok(())
}

/// The domains that messages wait for and that the new settings do not hold, and how many do.
async fn orphans(
    path: &Path,
    content: &CardContent,
) -> Result<BTreeMap<String, u32>, CommandError> {
    let (mut card, _) = inspect(path).await?;
    let settings = content.settings();
    let (mut orphans, mut last) = (BTreeMap::new(), None);
    let stopped = |fault: Fault<_>| failed(path, reason(&fault));
    while let Some(held) = next(&mut card, last.as_ref()).await.map_err(stopped)? {
        if let Ok((_, envelope)) = &held.envelope {
            let waiting = envelope.recipients.iter().filter(|to| to.state == State::Waiting);
            let mut domains: Vec<_> = waiting.filter_map(|to| domain(&to.path)).collect();
            domains.sort_unstable();
            domains.dedup();
            let is_held = |domain: &str| {
                settings.domains.iter().any(|held| held.eq_ignore_ascii_case(domain))
            };
            for domain in domains.into_iter().filter(|domain| !is_held(domain)) {
                *orphans.entry(domain).or_default() += 1;
            }
        }
        last = Some(held);
    }
    Ok(orphans)
}

fn domain(path: &[u8]) -> Option<String> {
    let path = String::from_utf8_lossy(path);
    path.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase())
}

/// Puts the firmware `image` on the card at `path`.
pub(super) async fn firmware(
    image: &Path,
    path: &Path,
    force: bool,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let firmware = load(image)?;
    put(&firmware, path, force).await?;
    say(&firmware, path, out)?;
    Ok(Verdict::Well)
}

/// Reads a firmware image.
pub(super) fn load(image: &Path) -> Result<Firmware, CommandError> {
    Firmware::load(image).map_err(|why| failed(image, why))
}

/// Refuses firmware that a card with this room for it, in octets, can't have.
pub(super) fn check_room(firmware: &Firmware, path: &Path, room: u32) -> Result<(), CommandError> {
    let needed = firmware.octets.len();
    if room == 0 {
        return Err(failed(path, "is too small for firmware, which needs a card of 64 MiB"));
    }
    if needed > room as usize {
        let (needed, room) = (size(needed as u64), size(room.into()));
        return Err(failed(path, format!("has {room} for firmware, and this is {needed}")));
    }
    Ok(())
}

/// Puts firmware on a card. Until all of it is there, the card has the one from before.
pub(super) async fn put(firmware: &Firmware, path: &Path, force: bool) -> Result<(), CommandError> {
    let mut store = mount(path).await?;
    check_room(firmware, path, store.image_octets_max())?;
    let before = store.image().await.map_err(|fault| failed(path, reason(&fault)))?;
    if let Some(before) = before.filter(|it| it.label.board() != firmware.label.board() && !force) {
        let (board, other) = (before.label.board(), firmware.label.board());
        let why = format!("has firmware for {board}, and this is for {other}: --force puts it on");
        return Err(failed(path, why));
    }
    let put = store.put_image(firmware.label, &firmware.octets).await;
    put.map_err(|fault| failed(path, reason(&fault)))?;
    set_time(&mut store, path).await
}

/// Notes the time on a card: a device believes no time server that says less.
async fn set_time(store: &mut Store<CardFile>, path: &Path) -> Result<(), CommandError> {
    let now = Clock::system().timestamp();
    if !now.known {
        return Ok(());
    }
    let set = store.set_time(now.unix_seconds).await;
    set.map_err(|fault| failed(path, reason(&fault)))
}

/// Says what a device does with firmware that was put on the card at `path`.
pub(super) fn say(
    firmware: &Firmware,
    path: &Path,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (board, version) = (firmware.label.board(), firmware.label.version());
    let size = size(firmware.octets.len() as u64);
    writeln!(
        out,
        "{}: firmware {version} for {board}, {size}; a {board} that runs another version tries it \
            at its next start",
        path.display()
    )?;
    Ok(())
}
