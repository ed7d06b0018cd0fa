//! In place of AppleTalk: this device takes no mail over it, and `postern_card` refuses a card that
//! wants it to.

use core::future::{Pending, pending};

use postern_card::Card;

use crate::Board;
use crate::memory::AppleTalkMemory;
use crate::net::Net;
use crate::shared::Shared;

#[allow(clippy::extra_unused_type_parameters)] // Only what is there has a size to be checked.
pub(crate) fn run<B: Board, C: Card>(
    _: &Shared<'_, C>,
    _: Net<'_>,
    _: &mut AppleTalkMemory,
) -> Pending<()> {
    pending()
}
