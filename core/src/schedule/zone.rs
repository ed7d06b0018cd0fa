//! A time zone as a POSIX TZ rule: one rule for all years, since a device has no room for a
//! history of them (IEEE Std 1003.1-2017 §8.3, with the times of RFC 9636 §3.3.1).

use crate::wire::lex::parse_decimal;

/// Seconds of a day.
pub(super) const DAY_S: i64 = 86_400;
/// The last second of the year 9999. Later times count as this one.
const LAST_S: i64 = 253_402_300_799;

/// What a rule lacks. The text of each is for the person who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneError {
    /// The name of standard or daylight time: three letters or more, or anything in `<>`.
    Name,
    /// Hours west of Greenwich, as in `CET-1`: `[+-]hh[:mm[:ss]]`, up to 24 hours.
    Offset,
    /// When daylight time begins and ends: `,M3.5.0,M10.5.0/3`, `,J60,J300` or `,59,299`.
    Change,
    /// Something stands behind the rule.
    Rest,
}

impl ZoneError {
    /// What was expected where the rule could not be read.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Name => "a name of three letters or more, such as CET or <+03>",
            Self::Offset => "hours west of Greenwich, such as the -1 in CET-1",
            Self::Change => "when daylight time begins and ends, such as ,M3.5.0,M10.5.0/3",
            Self::Rest => "nothing more",
        }
    }
}

/// The local time of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone {
    /// What standard time is ahead of UTC.
    standard_s: i64,
    daylight: Option<Daylight>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Daylight {
    /// What daylight time is ahead of UTC.
    ahead_s: i64,
    begins: Change,
    ends: Change,
}

/// One change of the clocks in each year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds behind that day's midnight, by the clocks before the change; may be negative, or
    /// days.
    time_s: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// From 0; 29 February counts.
    Numbered(i64),
    /// From 1; 29 February is never counted, and can't be named.
    Julian(i64),
    /// The `week`th such weekday (0 is Sunday) of a month (from 1); the last where `week` is 5.
    Weekday { month: i64, week: i64, weekday: i64 },
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self { standard_s: 0, daylight: None };

    /// Reads a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    ///
    /// The dates of daylight time must be there: POSIX leaves it open what holds without them.
    pub fn parse(rule: &str) -> Result<Self, ZoneError> {
        let mut reader = Reader { rest: rule.as_bytes() };
        reader.name()?;
        let standard_s = reader.offset()?.checked_neg().ok_or(ZoneError::Offset)?;
        if reader.rest.is_empty() {
            return Ok(Self { standard_s, daylight: None });
        }
        reader.name()?;
        let ahead_s = match reader.rest.first() {
            Some(b',') | None => standard_s.saturating_add(3600),
            Some(_) => reader.offset()?.checked_neg().ok_or(ZoneError::Offset)?,
        };
        let daylight = Daylight { ahead_s, begins: reader.change()?, ends: reader.change()? };
        if !reader.rest.is_empty() {
            return Err(ZoneError::Rest);
        }
        Ok(Self { standard_s, daylight: Some(daylight) })
    }

    /// Seconds that local time is ahead of UTC at `unix_s`, seconds since 1970-01-01T00:00:00Z.
    pub fn ahead_s(&self, unix_s: u64) -> i64 {
        self.ahead_at(bounded(unix_s))
    }

    pub(super) fn ahead_at(&self, unix_s: i64) -> i64 {
        let Some(daylight) = &self.daylight else { return self.standard_s };
        // The last change until then decides. Where daylight time ends in the second in which it
        // begins again, it never ends.
        let last = self.changes(daylight, unix_s).filter(|(at, _)| *at <= unix_s).max();
        match last {
            Some((_, Clocks::Daylight)) => daylight.ahead_s,
            _ => self.standard_s,
        }
    }

    /// The next second in which local time is changed.
    pub(super) fn next_change(&self, unix_s: i64) -> Option<i64> {
        let now = self.ahead_at(unix_s);
        let later = self.changes(self.daylight.as_ref()?, unix_s).map(|(at, _)| at);
        later.filter(|at| *at > unix_s && self.ahead_at(*at) != now).min()
    }

    /// The changes of the year of `unix_s`, of the one before and the one after it.
    fn changes(&self, daylight: &Daylight, unix_s: i64) -> impl Iterator<Item = (i64, Clocks)> {
        let Self { standard_s, .. } = *self;
        let Daylight { ahead_s, begins, ends } = *daylight;
        let year = year_of(unix_s.div_euclid(DAY_S));
        [year.wrapping_sub(1), year, year.wrapping_add(1)].into_iter().flat_map(move |year| {
            let begin = begins.in_year(year).saturating_sub(standard_s);
            let end = ends.in_year(year).saturating_sub(ahead_s);
            [(end, Clocks::Standard), (begin, Clocks::Daylight)]
        })
    }
}

/// What the clocks show after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clocks {
    Standard,
    Daylight,
}

impl Change {
    /// The change of a year, in local seconds since 1970-01-01T00:00:00.
    fn in_year(self, year: i64) -> i64 {
        let first = first_day(year);
        let is_leap = first_day(year.wrapping_add(1)).wrapping_sub(first) == 366;
        let day = match self.day {
            Day::Numbered(day) => day,
            Day::Julian(day) if is_leap && day >= 60 => day,
            Day::Julian(day) => day.wrapping_sub(1),
            Day::Weekday { month, week, weekday } => {
                let begin = day_of_month(month, is_leap);
                let end = day_of_month(month.wrapping_add(1), is_leap);
                // 1970-01-01 was a Thursday, the fourth day behind a Sunday.
                let weekday_of_first = first.wrapping_add(begin).wrapping_add(4).rem_euclid(7);
                let to_weekday = weekday.wrapping_sub(weekday_of_first).rem_euclid(7);
                let weeks = week.wrapping_sub(1).wrapping_mul(7);
                let day = begin.wrapping_add(to_weekday).wrapping_add(weeks);
                if day >= end { day.wrapping_sub(7) } else { day }
            }
        };
        first.wrapping_add(day).wrapping_mul(DAY_S).wrapping_add(self.time_s)
    }
}

/// Days of a year before its `month`, from 1 to 13.
fn day_of_month(month: i64, is_leap: bool) -> i64 {
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    lengths.iter().zip(1..month).fold(0_i64, |days, (length, _)| days.wrapping_add(*length))
}

/// The first day of a year (from 1 on) in days since 1970-01-01 (proleptic Gregorian calendar).
fn first_day(year: i64) -> i64 {
    let before = year.wrapping_sub(1);
    let leap_days = before.wrapping_div(4) - before.wrapping_div(100) + before.wrapping_div(400);
    year.wrapping_sub(1970).wrapping_mul(365).wrapping_add(leap_days.wrapping_sub(477))
}

/// The year in which a day lies.
fn year_of(days: i64) -> i64 {
    let mut year = days.div_euclid(365).wrapping_add(1970);
    while first_day(year) > days {
        year = year.wrapping_sub(1);
    }
    year
}

/// A time of day that the calendar here can count.
pub(super) fn bounded(unix_s: u64) -> i64 {
    i64::try_from(unix_s).map_or(LAST_S, |unix_s| unix_s.min(LAST_S))
}

/// What is not read yet of a rule.
struct Reader<'r> {
    rest: &'r [u8],
}

impl Reader<'_> {
    fn name(&mut self) -> Result<(), ZoneError> {
        if self.take(b'<') {
            let end = self.rest.iter().position(|octet| *octet == b'>').ok_or(ZoneError::Name)?;
            self.rest = self.rest.get(end.saturating_add(1)..).unwrap_or_default();
            return Ok(());
        }
        let letters = self.rest.iter().take_while(|octet| octet.is_ascii_alphabetic()).count();
        self.rest = self.rest.get(letters..).unwrap_or_default();
        if letters < 3 { Err(ZoneError::Name) } else { Ok(()) }
    }

    /// Seconds, positive to the west.
    fn offset(&mut self) -> Result<i64, ZoneError> {
        let offset_s = self.time().ok_or(ZoneError::Offset)?;
        if offset_s.abs() > 24 * 3600 { Err(ZoneError::Offset) } else { Ok(offset_s) }
    }

    /// `,DAY[/TIME]`.
    fn change(&mut self) -> Result<Change, ZoneError> {
        self.take(b',').then_some(()).and_then(|()| self.day_and_time()).ok_or(ZoneError::Change)
    }

    fn day_and_time(&mut self) -> Option<Change> {
        let day = if self.take(b'M') {
            let month = self.number(1, 12)?;
            let week = self.take(b'.').then(|| self.number(1, 5))??;
            let weekday = self.take(b'.').then(|| self.number(0, 6))??;
            Day::Weekday { month, week, weekday }
        } else if self.take(b'J') {
            Day::Julian(self.number(1, 365)?)
        } else {
            Day::Numbered(self.number(0, 365)?)
        };
        let time_s = if self.take(b'/') { self.time()? } else { 2 * 3600 };
        Some(Change { day, time_s })
    }

    /// `[+-]h[:mm[:ss]]`, up to 167 hours.
    fn time(&mut self) -> Option<i64> {
        let is_negative = self.take(b'-');
        if !is_negative {
            self.take(b'+');
        }
        let mut time_s = self.number(0, 167)?.wrapping_mul(3600);
        for unit_s in [60, 1] {
            if !self.take(b':') {
                break;
            }
            time_s = time_s.wrapping_add(self.number(0, 59)?.wrapping_mul(unit_s));
        }
        Some(if is_negative { time_s.wrapping_neg() } else { time_s })
    }

    /// At most three digits.
    fn number(&mut self, least: i64, most: i64) -> Option<i64> {
        let digits = self.rest.iter().take(3).take_while(|octet| octet.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(digits)?;
        let number = i64::try_from(parse_decimal(digits)?).ok()?;
        self.rest = rest;
        (least..=most).contains(&number).then_some(number)
    }

    fn take(&mut self, octet: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == octet => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}
