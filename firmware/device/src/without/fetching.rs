//! In place of what fetches mail: this device does not, and refuses a card that wants it to.

use postern_card::Card;
use postern_card::settings::Holder;
use postern_core::wakeup::{Answer, Found};

use crate::connector::{Connector, Room};
use crate::dialogue::{Dialogue, Failure};
use crate::shared::Shared;

/// Whether there is anything here.
pub(crate) const IS_THERE: bool = false;

pub(crate) async fn turn(
    _: &mut Dialogue<'_, '_>,
    _: &Holder<'_>,
    _: (&str, &str),
    _: &mut [u8],
    _: &mut Found,
) -> Result<bool, Failure> {
    Err(Failure::NotOffered)
}

pub(crate) async fn receive<C: Card>(
    _: &Shared<'_, C>,
    _: &mut Connector<'_, '_>,
    _: &mut Room<'_>,
    _: usize,
) -> Answer {
    Answer::Missing
}
