//! `postern card salvage`.

use std::io::Write;
use std::path::Path;

use super::super::spool::show_exported;
use super::super::{CommandError, Verdict};
use super::failed;
use crate::export::salvage;
use postern_card_tool::{CardFile, Salvage};

/// Writes what can be found on the card at `path` into `folder`, and says what that is.
pub(super) async fn run(
    path: &Path,
    folder: &Path,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let card = CardFile::read(path).map_err(|error| failed(path, error))?;
    let Some(mut card) = Salvage::open(card).await else {
        return Err(failed(path, "has nothing of Postern's on it"));
    };
    let salvaged = salvage(&mut card, folder).await.map_err(CommandError::run)?;
    let verdict = show_exported(&salvaged.held, out)?;
    if salvaged.gone > 0 {
        let gone = salvaged.gone;
        writeln!(
            out,
            "{gone} message(s) that were delivered, removed or never acknowledged: gone/"
        )?;
    }
    if !card.is_listed {
        writeln!(out, "the card can't say what it holds: some of these may have been delivered")?;
    }
    if card.unreadable > 0 {
        writeln!(out, "{} block(s) can't be read", card.unreadable)?;
    }
    let is_sure = card.is_listed && card.unreadable == 0;
    Ok(if is_sure { verdict } else { Verdict::Problem })
}
