//! `postern spool`: the spool as it is on the disk, whether or not a server uses it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::table::size;
use super::{CommandError, Format, Verdict};
use crate::export::Exported;
use crate::export::export;
use postern_spool::log::{Damage, Report, check};

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// Read the whole spool and report what is not as it was written; changes nothing
    Check(Format),
    /// Write each message as ID.eml, and its envelope as ID.json, into a new folder
    Export {
        /// Made if it is missing; must be empty
        folder: PathBuf,
    },
}

impl SpoolCommand {
    pub(super) fn run(&self, spool: &Path, out: &mut impl Write) -> Result<Verdict, CommandError> {
        match self {
            Self::Check(format) => {
                let report = check(spool).map_err(|error| failed(spool, &error))?;
                show(&report, *format, out)?;
                Ok(if report.has_damage() { Verdict::Problem } else { Verdict::Well })
            }
            Self::Export { folder } => super::wait_for(export_all(spool, folder, out)),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> CommandError {
    CommandError::run(format!("{}: {error}", path.display()))
}

fn show(report: &Report, format: Format, out: &mut impl Write) -> Result<(), CommandError> {
    let Report { messages, body_bytes, segments, findings } = report;
    if format.json {
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        let damage = report.has_damage();
        let answer = json!({
            "messages": messages,
            "body_bytes": body_bytes,
            "segments": segments,
            "damage": damage,
            "damaged": report.damage().map(damage_json).collect::<Vec<_>>(),
            "findings": findings,
        });
        return Ok(writeln!(out, "{answer}")?);
    }
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    let bodies = size(*body_bytes);
    writeln!(out, "{messages} message(s) held ({bodies}) in {segments} segment(s)")?;
    Ok(())
}

fn damage_json(damage: &Damage) -> serde_json::Value {
    let Damage { file, range, what, id, domains, is_held } = damage;
    json!({
        "file": file,
        "octets": range.as_ref().map(|range| [range.start, range.end]),
        "what": what,
        "id": id.map(|id| id.to_string()),
        "domains": domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "held": is_held,
    })
}

async fn export_all(
    spool: &Path,
    folder: &Path,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    show_exported(&export(spool, folder).await.map_err(CommandError::run)?, out)
}

/// Says what an export wrote.
pub(super) fn show_exported(
    exported: &Exported,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let Exported { messages, damaged, unreadable, missing } = exported;
    for what in missing.iter().chain(unreadable) {
        writeln!(out, "{what}")?;
    }
    for (name, reason) in damaged {
        writeln!(out, "{name}: {reason}; what could be read is in {name}.damaged")?;
    }
    writeln!(out, "{messages} message(s) exported, {} damaged", damaged.len())?;
    Ok(if damaged.is_empty() && unreadable.is_empty() { Verdict::Well } else { Verdict::Problem })
}
