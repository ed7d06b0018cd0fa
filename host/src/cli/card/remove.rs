//! `postern card remove`.

use std::io::Write;
use std::path::Path;

use super::super::table::{foreign, paths};
use super::super::{CommandError, Verdict};
use super::{failed, inspect, mount};
use postern_card_tool::{CardMessage, next, reason};

/// Messages that are removed without `--yes`.
const WITHOUT_YES: usize = 100;

/// Which messages are removed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'n> {
    /// Those of these names.
    Named(&'n [String]),
    /// Those that need a person.
    Failed,
}

/// Removes messages from the card at `path`, all that are named or none, and says which.
pub(super) async fn remove(
    path: &Path,
    of: Of<'_>,
    yes: bool,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let chosen = choose(path, of).await?;
    if chosen.len() > WITHOUT_YES && !yes {
        let many = format!("that is {} messages: say --yes if it is meant", chosen.len());
        return Err(failed(path, many));
    }
    if chosen.is_empty() {
        writeln!(out, "0 message(s) removed")?;
        return Ok(Verdict::Well);
    }
    let mut store = mount(path).await?;
    for held in &chosen {
        let removed = store.remove(held.message.id).await;
        removed.map_err(|fault| failed(path, format!("{}: {}", held.name(), reason(&fault))))?;
        writeln!(out, "{}", line(held))?;
    }
    if chosen.iter().any(|held| held.message.damaged) {
        let counted = store.recount_flagged().await;
        counted.map_err(|fault| failed(path, reason(&fault)))?;
    }
    writeln!(out, "{} message(s) removed", chosen.len())?;
    Ok(Verdict::Well)
}

async fn choose(path: &Path, of: Of<'_>) -> Result<Vec<CardMessage>, CommandError> {
    let (mut card, _) = inspect(path).await?;
    let mut all: Vec<CardMessage> = Vec::new();
    while let Some(held) =
        next(&mut card, all.last()).await.map_err(|fault| failed(path, reason(&fault)))?
    {
        all.push(held);
    }
    if let Of::Named(names) = of {
        let is_there = |name: &&String| all.iter().any(|held| held.name() == **name);
        if let Some(missing) = names.iter().find(|name| !is_there(name)) {
            return Err(failed(path, format!("holds no message {missing}: nothing is removed")));
        }
    }
    all.retain(|held| match of {
        Of::Named(names) => names.contains(&held.name()),
        Of::Failed => held.message.flagged || held.envelope.is_err(),
    });
    Ok(all)
}

fn line(held: &CardMessage) -> String {
    let Ok((_, envelope)) = &held.envelope else { return held.name() };
    let text = |octets: &[u8]| foreign(&String::from_utf8_lossy(octets));
    let to = &envelope.recipients;
    let first = to.first().map_or_else(String::new, |to| text(&to.path));
    format!(
        "{} from <{}> to {}",
        held.name(),
        text(&envelope.reverse_path),
        paths(&first, to.len())
    )
}
