//! Weekly windows of local time: when a request may raise a link.
//!
//! A window is what the clocks on the wall show. One that begins in the hour that a change of the
//! clocks skips begins with the change; one in the hour that is there twice is open twice. While
//! the time of day is unknown every schedule is open: a device learns the time over the link.

mod zone;

use core::fmt;

pub use zone::{Zone, ZoneError};

use zone::{DAY_S, bounded};

use crate::time::Timestamp;
use crate::wire::lex::{parse_decimal, split_once};

/// How far ahead a change is looked for: a window that the clocks skip comes a week later.
const AHEAD_S: i64 = 21 * DAY_S;
/// Minutes of a day.
const DAY_MIN: u16 = 24 * 60;

/// The same hours on some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// A bit for each day on which it begins; Sunday is bit 0.
    days: u8,
    /// When it begins and ends, in minutes after midnight. It ends on the next day where that is
    /// not later.
    from_min: u16,
    until_min: u16,
}

/// Why a window can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowError {
    /// Days are `mon`, `tue` and so on, ranges of them, and lists of both.
    Days,
    /// Hours are two times of day such as `7-19` or `22:30-6`.
    Hours,
    /// It would begin and end at the same time.
    Empty,
}

impl WindowError {
    /// What was expected where the window could not be read.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Days => "days such as mon-fri or sat,sun, in front of the hours",
            Self::Hours => "hours such as 7-19 or 22:30-6:00, behind the days",
            Self::Empty => "hours that end when they begin are none; the whole day is 0-24",
        }
    }
}

impl Window {
    /// Reads `mon-fri 07:00-19:00`, `sat,sun 9-12`, `22-6` (each day) or `sun` (all of it).
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let mut words = text.split_ascii_whitespace();
        let (first, second) = (words.next().ok_or(WindowError::Days)?, words.next());
        if words.next().is_some() {
            return Err(WindowError::Hours);
        }
        let begins_with_days = first.starts_with(|first: char| first.is_ascii_alphabetic());
        let (days, hours) = match second {
            Some(hours) => (parse_days(first)?, Some(hours)),
            None if begins_with_days => (parse_days(first)?, None),
            None => (0x7F, Some(first)),
        };
        let (from_min, until_min) = hours.map_or(Ok((0, DAY_MIN)), parse_hours)?;
        Ok(Self { days, from_min, until_min })
    }

    /// The window that [`Window::parts`] are of; none where no window has such.
    pub const fn of_parts((days, from_min, until_min): (u8, u16, u16)) -> Option<Self> {
        let is_one = days < 0x80 && from_min < DAY_MIN && until_min <= DAY_MIN;
        if is_one && from_min != until_min {
            Some(Self { days, from_min, until_min })
        } else {
            None
        }
    }

    /// A bit for each day on which it begins, Sunday's the lowest, and when it begins and ends, in
    /// minutes after midnight.
    pub const fn parts(&self) -> (u8, u16, u16) {
        (self.days, self.from_min, self.until_min)
    }

    /// Whether it is open on `day` (0 is Sunday) at `minute`.
    fn covers(&self, day: u8, minute: u16) -> bool {
        let Self { from_min, until_min, .. } = *self;
        if from_min < until_min {
            return self.begins(day) && (from_min..until_min).contains(&minute);
        }
        let begun_today = self.begins(day) && minute >= from_min;
        let begun_yesterday = self.begins(day.wrapping_add(6)) && minute < until_min;
        begun_today || begun_yesterday
    }

    fn begins(&self, day: u8) -> bool {
        self.days & bit(day) != 0
    }
}

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// As [`Window::parse`] reads it.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, name) in (0..7).zip(DAYS).filter(|(day, _)| self.begins(*day)) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        let [from, until] =
            [self.from_min, self.until_min].map(|minute| (minute / 60, minute % 60));
        write!(f, " {:02}:{:02}-{:02}:{:02}", from.0, from.1, until.0, until.1)
    }
}

/// The bit of a day of the week, or of the one so many weeks later.
const fn bit(day: u8) -> u8 {
    1_u8.wrapping_shl((day % 7) as u32)
}

fn parse_days(list: &str) -> Result<u8, WindowError> {
    let mut days = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (parse_day(first)?, parse_day(last)?);
        days |= bit(day);
        while day != last {
            day = day.wrapping_add(1) % 7;
            days |= bit(day);
        }
    }
    Ok(days)
}

fn parse_day(name: &str) -> Result<u8, WindowError> {
    let day = (0..7).zip(DAYS).find(|(_, other)| other.eq_ignore_ascii_case(name));
    day.map(|(day, _)| day).ok_or(WindowError::Days)
}

/// `from-until`, both in minutes after midnight.
fn parse_hours(hours: &str) -> Result<(u16, u16), WindowError> {
    let (from, until) = split_once(hours.as_bytes(), b'-').ok_or(WindowError::Hours)?;
    let from_min = parse_minute(from).filter(|from_min| *from_min < DAY_MIN);
    let (from_min, until_min) = from_min.zip(parse_minute(until)).ok_or(WindowError::Hours)?;
    if from_min == until_min { Err(WindowError::Empty) } else { Ok((from_min, until_min)) }
}

/// `h`, `hh` or either with `:mm`, up to 24:00.
fn parse_minute(time: &[u8]) -> Option<u16> {
    let (hour, minute) = split_once(time, b':').unwrap_or((time, b"00"));
    if hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let minute = parse_decimal(minute).filter(|minute| *minute < 60)?;
    let minutes = parse_decimal(hour)?.wrapping_mul(60).wrapping_add(minute);
    u16::try_from(minutes).ok().filter(|minutes| *minutes <= DAY_MIN)
}

/// When a link may be raised.
#[derive(Debug, Clone, Copy)]
pub struct Schedule<'w> {
    windows: &'w [Window],
    zone: Zone,
}

impl<'w> Schedule<'w> {
    /// Open in each of `windows`, by the clocks of `zone`; at any time where there are none.
    pub const fn new(windows: &'w [Window], zone: Zone) -> Self {
        Self { windows, zone }
    }

    /// Whether it is open at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        !now.known || self.is_open_at(bounded(now.unix_seconds))
    }

    /// The next second in which it opens, or closes if it is open at `now`; `None` where neither
    /// is to be seen: a schedule that is always open, or never, or a time that is not known.
    pub fn next_change(&self, now: Timestamp) -> Option<u64> {
        let now_s = now.known.then(|| bounded(now.unix_seconds))?;
        let is_open = self.is_open_at(now_s);
        let mut at_s = now_s;
        while at_s < now_s.saturating_add(AHEAD_S) {
            at_s = self.next_edge(at_s)?;
            if self.is_open_at(at_s) != is_open {
                return u64::try_from(at_s).ok();
            }
        }
        None
    }

    fn is_open_at(&self, unix_s: i64) -> bool {
        let local_s = unix_s.saturating_add(self.zone.ahead_at(unix_s));
        // 1970-01-01 was a Thursday.
        let day = local_s.div_euclid(DAY_S).wrapping_add(4).rem_euclid(7);
        let minute = local_s.rem_euclid(DAY_S) / 60;
        let (day, minute) = (u8::try_from(day).unwrap_or(0), u16::try_from(minute).unwrap_or(0));
        self.windows.is_empty() || self.windows.iter().any(|window| window.covers(day, minute))
    }

    /// The next second in which a window may begin or end, or the clocks are changed.
    fn next_edge(&self, unix_s: i64) -> Option<i64> {
        let local_s = unix_s.saturating_add(self.zone.ahead_at(unix_s));
        let edges = self.windows.iter().flat_map(|window| [window.from_min, window.until_min]);
        let edges = edges.map(|minute| {
            let behind = i64::from(minute).wrapping_mul(60).wrapping_sub(local_s).rem_euclid(DAY_S);
            unix_s.saturating_add(if behind == 0 { DAY_S } else { behind })
        });
        edges.chain(self.zone.next_change(unix_s)).min()
    }
}
