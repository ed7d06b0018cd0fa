//! In place of what asks holders: this device asks nobody, and refuses a card that wants it to.

use postern_card::Card;
use postern_card::settings::{HOLDER, Settings};
use postern_core::time::Instant;

use crate::connector::{Connector, Room};
use crate::shared::Shared;

pub(crate) struct Holders;

pub(crate) struct Next {
    pub(crate) at: Instant,
    pub(crate) holder: Option<usize>,
}

impl Holders {
    /// The key of what the settings want and this device can't do.
    pub(crate) fn missing(settings: &Settings<'_>) -> Option<u8> {
        (!settings.holders.is_empty()).then_some(HOLDER)
    }

    pub(crate) async fn new<C: Card>(_: &Shared<'_, C>) -> Self {
        Self
    }

    pub(crate) fn next<C: Card>(&mut self, _: &Shared<'_, C>) -> Next {
        Next { at: Instant::FAR, holder: None }
    }

    pub(crate) fn link_up(&mut self) {}

    pub(crate) async fn ask<C: Card>(
        &mut self,
        _: usize,
        _: &Shared<'_, C>,
        _: &mut Connector<'_, '_>,
        _: &mut Room<'_>,
    ) {
    }
}
