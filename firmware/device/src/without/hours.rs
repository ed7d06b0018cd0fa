//! In place of a schedule: this device has none, and refuses a card that wants one.

use postern_card::settings::Settings;
use postern_core::time::{Instant, Timestamp};

pub(crate) struct Hours;

impl Hours {
    /// Those of the settings; none where this program can't read them.
    pub(crate) fn of(settings: &Settings<'_>) -> Option<Self> {
        settings.schedule.is_none().then_some(Self)
    }

    /// There is no end to be seen.
    pub(crate) fn ends(&self, _: Timestamp, _: Instant) -> Option<Instant> {
        Some(Instant::FAR)
    }
}
