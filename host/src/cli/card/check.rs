//! `postern card check`.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use postern_card::settings::SETTINGS_MAX;
use postern_card::{Finding, MessageId};
use serde_json::json;

use super::super::{CommandError, Format, Verdict};
use super::{failed, inspect};
use postern_card_tool::{next, reason};

/// Reads the settings, the recipients and every block of every message on the card at `path`, and
/// says what is wrong.
pub(super) async fn check(
    path: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let (mut card, recovery) = inspect(path).await?;
    let stopped = |fault| failed(path, reason(&fault));
    let mut found = Vec::new();
    let checked = card.check(|finding| found.push(finding)).await.map_err(stopped)?;
    let damaged: HashSet<_> = found.iter().filter_map(message).collect();
    let (mut names, mut unreadable, mut last) = (HashMap::new(), Vec::new(), None);
    while let Some(held) = next(&mut card, last.as_ref()).await.map_err(stopped)? {
        names.insert(held.message.id, held.name());
        if let (Err(why), false) = (&held.envelope, damaged.contains(&held.message.id)) {
            unreadable.push(format!("{}: {why}", held.name()));
        }
        last = Some(held);
    }
    let settings = card.settings(&mut [0; SETTINGS_MAX]).await.err();
    let settings = settings.map(|fault| format!("settings: {}", reason(&fault)));
    let findings = found.iter().map(|finding| text(finding, &names));
    let records = (recovery.unread_records > 0).then(|| {
        format!(
            "{} record(s) of the journal can't be read: mail may be missing, or be there again",
            recovery.unread_records
        )
    });
    let found = settings.into_iter().chain(records);
    let findings: Vec<_> = found.chain(findings).chain(unreadable).collect();
    let (messages, blocks) = (checked.messages, checked.blocks);
    if format.json {
        let answer = json!({ "messages": messages, "blocks": blocks, "findings": findings });
        writeln!(out, "{answer}")?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        writeln!(out, "{messages} message(s) in {blocks} block(s), {} finding(s)", findings.len())?;
    }
    Ok(if findings.is_empty() { Verdict::Well } else { Verdict::Problem })
}

/// The message that a finding is about.
fn message(finding: &Finding) -> Option<MessageId> {
    match finding {
        Finding::Damaged { id, .. } | Finding::Shared { id, .. } => Some(*id),
        Finding::Recipients { .. } | Finding::Copy { .. } | Finding::Leaked { .. } => None,
    }
}

fn text(finding: &Finding, names: &HashMap<MessageId, String>) -> String {
    let name = |id| names.get(id).map_or("a message", String::as_str);
    match finding {
        Finding::Damaged { id, block } => format!("{}: block {block} is damaged", name(id)),
        Finding::Shared { id, block } => {
            format!("{}: block {block} belongs to another message too", name(id))
        }
        Finding::Recipients { block } => {
            format!("block {block}, of the recipients, is damaged: nobody behind it gets mail")
        }
        Finding::Copy { block } => {
            format!("block {block} is damaged, and its copy is not: the device reads that one")
        }
        Finding::Leaked { block } => {
            format!("block {block} and those behind it are in use, and by no message")
        }
    }
}
