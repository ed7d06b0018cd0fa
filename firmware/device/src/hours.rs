//! When holders are asked: the windows of the settings' schedule.

use postern_card::settings::{LIST_MAX, Settings};
use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::{Instant, Timestamp};

/// The windows of the settings.
pub(crate) struct Hours {
    windows: heapless::Vec<Window, LIST_MAX>,
    zone: Zone,
    /// Whether there is a schedule at all; one without windows never opens.
    is_set: bool,
}

impl Hours {
    /// Those of the settings; none where this program can't read them.
    pub(crate) fn of(settings: &Settings<'_>) -> Option<Self> {
        let Some(schedule) = &settings.schedule else {
            return Some(Self { windows: heapless::Vec::new(), zone: Zone::UTC, is_set: false });
        };
        let zone = Zone::parse(schedule.zone).ok()?;
        let mut windows = heapless::Vec::new();
        for window in &schedule.windows {
            let parts = (window.days, window.from_min, window.until_min);
            windows.push(Window::of_parts(parts)?).ok()?;
        }
        Some(Self { windows, zone, is_set: true })
    }

    /// When the window ends that is open at `today`, which is `now`, if one is; [`Instant::FAR`]:
    /// there is no end to be seen.
    pub(crate) fn ends(&self, today: Timestamp, now: Instant) -> Option<Instant> {
        if !self.is_set {
            return Some(Instant::FAR);
        }
        let schedule = self.schedule()?;
        schedule.is_open(today).then(|| self.change(today, now))
    }

    /// When a request may be made that is due at `now`.
    pub(crate) fn opens(&self, today: Timestamp, now: Instant) -> Instant {
        match self.ends(today, now) {
            Some(_) => now,
            None => self.change(today, now),
        }
    }

    fn schedule(&self) -> Option<Schedule<'_>> {
        (!self.windows.is_empty()).then(|| Schedule::new(&self.windows, self.zone))
    }

    /// The next change.
    fn change(&self, today: Timestamp, now: Instant) -> Instant {
        let change = self.schedule().and_then(|schedule| schedule.next_change(today));
        change.map_or(Instant::FAR, |at| {
            let s = at.saturating_sub(today.unix_seconds);
            now.after(core::time::Duration::from_secs(s))
        })
    }
}
