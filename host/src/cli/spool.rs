//! `postern spool`: the spool of a server that does not run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::table::size;
use super::{Failure, Format, Verdict};
use crate::clock::Clock;
use crate::control::{Item, Items};
use crate::spool::log::{LogSpool, Options, Report, check};
use crate::spool::{Body, Error, MsgId, Page, Spool};

/// Items that are listed at once.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read the whole spool and report what is not as it was written; changes nothing
    Check(Format),
    /// Write each message as ID.eml, and its envelope as ID.json, into a new folder
    Export {
        /// Made if it is missing; must be empty
        folder: PathBuf,
    },
}

impl Command {
    pub(super) fn run(&self, spool: &Path, out: &mut impl Write) -> Result<Verdict, Failure> {
        match self {
            Self::Check(format) => {
                let report = check(spool).map_err(|error| failed(spool, &error))?;
                show(&report, *format, out)?;
                Ok(if report.has_damage() { Verdict::Problem } else { Verdict::Well })
            }
            Self::Export { folder } => {
                make_empty(folder).map_err(|error| failed(folder, &error))?;
                super::wait_for(export(spool, folder, out))
            }
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::run(format!("{}: {error}", path.display()))
}

fn show(report: &Report, format: Format, out: &mut impl Write) -> Result<(), Failure> {
    let Report { messages, body_bytes, segments, findings } = report;
    if format.json {
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        let damage = report.has_damage();
        let answer = json!({
            "messages": messages,
            "body_bytes": body_bytes,
            "segments": segments,
            "damage": damage,
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

fn make_empty(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty")),
    }
}

async fn export(spool: &Path, folder: &Path, out: &mut impl Write) -> Result<Verdict, Failure> {
    let (log, _) = LogSpool::open(spool, Options::default(), Clock::system())
        .map_err(|error| failed(spool, &error))?;
    let (mut after, mut written, mut damaged) = (None, 0_u64, 0_u64);
    loop {
        let page = Page { domain: None, after, max: PAGE };
        let held = log.list(&page).await.map_err(Failure::run)?;
        let Some(last) = held.last() else { break };
        after = Some((last.domain.clone(), last.id));
        for item in &held {
            // A message for several domains is listed under each of them.
            if folder.join(format!("{}.json", item.id)).exists() {
                continue;
            }
            match export_message(&log, item.id, folder).await? {
                None => written += 1,
                Some(reason) => {
                    damaged += 1;
                    writeln!(
                        out,
                        "{}: {reason}; what could be read is in {}.damaged",
                        item.id, item.id
                    )?;
                }
            }
        }
    }
    writeln!(out, "{written} message(s) exported, {damaged} damaged")?;
    Ok(if damaged == 0 { Verdict::Well } else { Verdict::Problem })
}

/// Writes one message and its envelope; says what is wrong with the body, if something is.
async fn export_message(
    log: &LogSpool,
    id: MsgId,
    folder: &Path,
) -> Result<Option<String>, Failure> {
    let path = folder.join(format!("{id}.eml"));
    let copied = copy_body(log, id, &path).await?;
    if copied.is_some() {
        let kept = folder.join(format!("{id}.damaged"));
        fs::rename(&path, &kept).map_err(|error| failed(&kept, &error))?;
    }
    let held = log.show(id).await.map_err(Failure::run)?;
    let envelope = Items { items: held.iter().map(Item::from).collect(), next: None };
    let path = folder.join(format!("{id}.json"));
    let text = serde_json::to_vec_pretty(&envelope).expect("an envelope is JSON");
    fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    Ok(copied)
}

async fn copy_body(log: &LogSpool, id: MsgId, path: &Path) -> Result<Option<String>, Failure> {
    let mut file = File::create_new(path).map_err(|error| failed(path, &error))?;
    let mut body = match log.read(id, 0).await {
        Ok(body) => body,
        Err(Error::Damaged(reason)) => return Ok(Some(reason)),
        Err(error) => return Err(Failure::run(error)),
    };
    loop {
        match body.chunk().await {
            Ok([]) => return Ok(None),
            Ok(octets) => file.write_all(octets).map_err(|error| failed(path, &error))?,
            Err(Error::Damaged(reason)) => return Ok(Some(reason)),
            Err(error) => return Err(Failure::run(error)),
        }
    }
}
