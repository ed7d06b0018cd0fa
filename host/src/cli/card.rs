//! `postern card`: a device's memory card, or its image in a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use postern_card::{Inspection, Recovery, Store};

use super::spool::show_exported;
use super::{CommandError, Format, Verdict, wait_for};
use crate::config::ByteSize;
use crate::export::export_card;
use postern_card_tool::{CardFile, reason};

mod check;
mod create;
mod remove;
mod salvage;
mod show;
mod update;

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
        /// Put this firmware on the card too: the file that cargo has built for the device's board
        #[arg(long, value_name = "IMAGE")]
        firmware: Option<PathBuf>,
        /// A block device, or a file
        card: PathBuf,
    },
    /// Change the settings on a card to those of the configuration, or the firmware; the mail on
    /// it stays
    Update {
        /// Put this firmware on the card, and leave the settings as they are: the file that cargo
        /// has built for the device's board
        #[arg(long, value_name = "IMAGE")]
        firmware: Option<PathBuf>,
        /// The settings as well
        #[arg(long, requires = "firmware")]
        settings: bool,
        /// Even if the firmware that is on the card is for another board
        #[arg(long, requires = "firmware")]
        force: bool,
        /// A block device, or a file
        card: PathBuf,
    },
    /// Remove messages from a card for good
    Remove {
        /// A block device, or a file
        card: PathBuf,
        #[command(flatten)]
        which: Which,
        /// Even if it is more than 100 messages
        #[arg(long)]
        yes: bool,
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
    /// Write all messages that can be found on a damaged card, or on a part of one, into a new
    /// folder; changes nothing on the card
    Salvage {
        /// A block device, or a file
        card: PathBuf,
        /// Made if it is missing; must be empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Which messages: these, or those.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// As `card show` lists them
    #[arg(value_name = "ID")]
    names: Vec<String>,
    /// All that need a person: what was refused, has expired or can't be read
    #[arg(long)]
    failed: bool,
}

impl CardCommand {
    pub(super) fn run(&self, config: &Path, out: &mut impl Write) -> Result<Verdict, CommandError> {
        match self {
            Self::Create { size, force, firmware, card } => {
                let request = create::Request { size: *size, force: *force, firmware };
                wait_for(create::create(config, card, request, out))
            }
            Self::Update { firmware, settings, force, card } => wait_for(async {
                if *settings || firmware.is_none() {
                    update::settings(config, card, out).await?;
                }
                match firmware {
                    Some(image) => update::firmware(image, card, *force, out).await,
                    None => Ok(Verdict::Well),
                }
            }),
            Self::Remove { card, which: Which { names, failed }, yes } => {
                let of = if *failed { remove::Of::Failed } else { remove::Of::Named(names) };
                wait_for(remove::remove(card, of, *yes, out))
            }
            Self::Show { card, format } => wait_for(show::show(card, *format, out)),
            Self::Check { card, format } => wait_for(check::check(card, *format, out)),
            Self::Export { card, folder } => wait_for(async {
                let (mut inspection, _) = inspect(card).await?;
                let exported = export_card(&mut inspection, folder).await;
                show_exported(&exported.map_err(CommandError::run)?, out)
            }),
            Self::Salvage { card, to } => wait_for(salvage::run(card, to, out)),
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

/// Mounts the card at `path`, to write on it.
async fn mount(path: &Path) -> Result<Box<Store<CardFile>>, CommandError> {
    let card = CardFile::write(path).map_err(|error| failed(path, error))?;
    match Box::pin(Store::mount(card)).await {
        Ok((store, _)) => Ok(Box::new(store)),
        Err((_, fault)) => Err(failed(path, reason(&fault))),
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> CommandError {
    CommandError::run(format!("{}: {error}", path.display()))
}
