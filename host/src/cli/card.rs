//! `postern card`: a device's memory card, or its image in a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use postern_card::{Inspection, Recovery};

use super::spool::show_exported;
use super::{CommandError, Format, Verdict, wait_for};
use crate::config::ByteSize;
use crate::export::export_card;
use postern_card_tool::{CardFile, reason};

mod check;
mod create;
mod show;

#[derive(Debug, Subcommand)]
pub(super) enum CardCommand {
    /// Put a device's settings on a card; what was on it is lost
    Create {
        /// Make a file of this size, such as "64 MiB"
        #[arg(long, value_name = "SIZE")]
        size: Option<ByteSize>,
        /// Even if the card holds mail
        #[arg(long)]
        force: bool,
        /// A block device, or a file
        card: PathBuf,
    },
    /// Show a card's settings, its room, and the mail on it
    Show {
        /// A block device, or a file
        card: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Read the settings and all mail on a card and report what is not as it was written; changes
    /// nothing
    Check {
        /// A block device, or a file
        card: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Write each message as ID.eml, and its envelope as ID.json, into a new folder
    Export {
        /// A block device, or a file
        card: PathBuf,
        /// Made if it is missing; must be empty
        folder: PathBuf,
    },
}

impl CardCommand {
    pub(super) fn run(&self, config: &Path, out: &mut impl Write) -> Result<Verdict, CommandError> {
        match self {
            Self::Create { size, force, card } => {
                wait_for(create::create(config, card, *size, *force, out))
            }
            Self::Show { card, format } => wait_for(show::show(card, *format, out)),
            Self::Check { card, format } => wait_for(check::check(card, *format, out)),
            Self::Export { card, folder } => wait_for(async {
                let (mut inspection, _) = inspect(card).await?;
                let exported = export_card(&mut inspection, folder).await;
                show_exported(&exported.map_err(CommandError::run)?, out)
            }),
        }
    }
}

/// Looks at the card at `path`.
async fn inspect(path: &Path) -> Result<(Box<Inspection<CardFile>>, Recovery), CommandError> {
    let card = CardFile::read(path).map_err(|error| failed(path, error))?;
    match Inspection::open(card).await {
        Ok((inspection, recovery)) => Ok((Box::new(inspection), recovery)),
        Err((_, fault)) => Err(failed(path, reason(&fault))),
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> CommandError {
    CommandError::run(format!("{}: {error}", path.display()))
}
