//! `postern card show`.

use std::io::{self, Write};
use std::path::Path;

use postern_card::settings::{SETTINGS_MAX, Settings};
use postern_card::{BLOCK, Fault, Image, Inspection, TRIES_MAX};
use serde_json::{Value, json};

use super::super::table::{foreign, paths, size, span, table};
use super::super::{CommandError, Format, Verdict};
use super::{failed, inspect};
use crate::config::from_mac_roman;
use crate::export::envelope_json;
use postern_card_tool::{CardFile, CardMessage, next, reason};
use postern_spool::clock::Clock;

mod resets;
mod settings;

/// Shows what is on the card at `path`.
pub(super) async fn show(
    path: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let (mut card, _) = inspect(path).await?;
    let stopped = |fault| failed(path, reason(&fault));
    let all = held(&mut card).await.map_err(stopped)?;
    let resets = resets::last(&mut card).await.map_err(stopped)?;
    let image = card.image().await.map_err(stopped)?;
    let mut octets = [0; SETTINGS_MAX];
    let settings = card.settings(&mut octets).await.map_err(stopped)?;
    if format.json {
        let mut shown = as_json(&card, &settings, &all);
        shown["firmware"] = image.map_or(Value::Null, firmware_json);
        shown["resets"] = resets.iter().map(|reset| resets::as_json(reset, &all)).collect();
        writeln!(out, "{shown}")?;
        return Ok(Verdict::Well);
    }
    let mut facts = facts(&card);
    facts.extend(image.map(|image| ["Firmware".to_owned(), firmware(image)]));
    let rows = [facts, settings::rows(&settings)].concat();
    out.write_all(table(&rows).as_bytes())?;
    if !all.is_empty() {
        let heads = ["ID", "STATUS", "AGE", "SIZE", "FROM", "TO"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heads).chain(all.iter().map(row)).collect();
        write!(out, "\n{}", table(&rows))?;
    }
    if !resets.is_empty() {
        let rows = resets.iter().map(|reset| resets::row(reset, &all));
        let rows: Vec<_> = std::iter::once(resets::heads()).chain(rows).collect();
        write!(out, "\n{}", table(&rows))?;
    }
    Ok(Verdict::Well)
}

async fn held(card: &mut Inspection<CardFile>) -> Result<Vec<CardMessage>, Fault<io::Error>> {
    let mut all: Vec<CardMessage> = Vec::new();
    while let Some(held) = next(card, all.last()).await? {
        all.push(held);
    }
    Ok(all)
}

fn octets(card: &Inspection<CardFile>) -> u64 {
    u64::from(card.geometry().blocks) * BLOCK as u64
}

fn facts(card: &Inspection<CardFile>) -> Vec<[String; 2]> {
    let (messages, flagged) = (card.messages(), card.flagged());
    let row = |name: &str, value| [name.to_owned(), value];
    vec![
        row("Card", format!("{}, {} for mail", size(octets(card)), size(card.free()))),
        row("Messages", format!("{messages}, of them {flagged} for a person")),
        row("Starts", card.boot().to_string()),
    ]
}

/// The firmware on the card, and how often it was started in vain.
fn firmware((image, tries): (Image, u8)) -> String {
    let (board, version) = (image.label.board(), image.label.version());
    let tried = match tries {
        0 => String::new(),
        TRIES_MAX => format!(", failed {tries} times: not tried again"),
        _ => format!(", tried {tries} time(s)"),
    };
    format!("{version} for {board}, {}{tried}", size(image.octets().into()))
}

fn firmware_json((image, tries): (Image, u8)) -> Value {
    json!({
        "board": image.label.board(),
        "version": image.label.version(),
        "octets": image.octets(),
        "tries": tries,
    })
}

/// One message in a list.
fn row(held: &CardMessage) -> [String; 6] {
    let status = if held.message.flagged { "kept" } else { "waiting" }.to_owned();
    let body = size(held.message.message_octets);
    let (age, from, to) = match &held.envelope {
        Ok((_, envelope)) => {
            let now = Clock::system().timestamp().unix_seconds;
            let age = now.saturating_sub(envelope.arrival.unix_seconds);
            let to = &envelope.recipients;
            let first = to.first().map_or_else(String::new, |to| lossy(&to.path));
            (
                if envelope.arrival.known { span(age) } else { "?".to_owned() },
                format!("<{}>", foreign(&lossy(&envelope.reverse_path))),
                paths(&first, to.len()),
            )
        }
        Err(reason) => ("?".to_owned(), "?".to_owned(), reason.clone()),
    };
    [held.name(), status, age, body, from, to]
}

fn lossy(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn as_json(card: &Inspection<CardFile>, settings: &Settings<'_>, all: &[CardMessage]) -> Value {
    let mut shown = json!({
        "octets": octets(card),
        "free_octets": card.free(),
        "starts": card.boot(),
        "last_known_unix_seconds": card.last_known_time(),
        "flagged": card.flagged(),
        "settings": settings,
        "messages": all.iter().map(message_json).collect::<Vec<_>>(),
    });
    if let Some(appletalk) = &settings.appletalk {
        let names: Value = appletalk.names.iter().copied().map(from_mac_roman).collect();
        shown["settings"]["appletalk"]["names"] = names;
    }
    shown
}

fn message_json(held: &CardMessage) -> Value {
    let size = held.message.message_octets;
    let mut message = match &held.envelope {
        Ok((id, envelope)) => envelope_json(*id, size, envelope, &envelope.recipients),
        Err(reason) => json!({ "id": held.name(), "size": size, "damaged": reason }),
    };
    message["flagged"] = held.message.flagged.into();
    message
}
