//! Weekly windows and time zones: by hand at their edges, and against jiff over two centuries.

use jiff::tz::TimeZone;
use postern_core::schedule::{Schedule, Window, WindowError, Zone, ZoneError};
use postern_core::time::Timestamp;
use proptest::prelude::*;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Monday 2026-01-05T00:00:00Z.
const MONDAY: u64 = 1_767_571_200;

const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";
const SYDNEY: &str = "AEST-10AEDT,M10.1.0,M4.1.0/3";
/// Half an hour, in the south.
const LORD_HOWE: &str = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";

/// What a rule can look like, beside the four.
const ODD: [&str; 9] = [
    // Changes on the Saturday before, by a negative time.
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    // Ireland's winter time is behind its standard time.
    "IST-1GMT0,M10.5.0,M3.5.0/1",
    // The 29th of February, counted and not.
    "AAA3BBB,59,299",
    "AAA3BBB,J59,J60/1:30:15",
    "AAA-12:45:30BBB,J60,J300",
    // Times of days.
    "AAA0BBB,M2.1.4/-167,M11.5.5/167",
    "<+03>-3",
    "UTC0",
    "AAA-24BBB,M2.4.6/24,M9.3.1/0",
];

fn schedule(windows: &[&str], zone: &str, then: impl FnOnce(Schedule<'_>)) {
    let windows: Vec<_> =
        windows.iter().map(|window| Window::parse(window).expect(window)).collect();
    then(Schedule::new(&windows, Zone::parse(zone).expect(zone)));
}

fn at(unix_seconds: u64) -> Timestamp {
    Timestamp { unix_seconds, known: true }
}

/// Seconds since 1970 of a local time such as `2026-03-29T01:59[Europe/Berlin]`, by jiff.
fn utc(time: &str) -> u64 {
    let time: jiff::Timestamp = time.parse().expect(time);
    time.as_second().try_into().expect("after 1970")
}

#[test]
fn a_window_is_open_from_its_first_second_to_the_last_before_its_end() {
    schedule(&["mon-fri 07:00-19:00", "sat 9-12"], "UTC0", |schedule| {
        let opens = MONDAY + 7 * HOUR_S;
        assert!(!schedule.is_open(at(opens - 1)));
        assert!(schedule.is_open(at(opens)));
        assert!(schedule.is_open(at(MONDAY + 19 * HOUR_S - 1)));
        assert!(!schedule.is_open(at(MONDAY + 19 * HOUR_S)));
        assert_eq!(schedule.next_change(at(MONDAY)), Some(opens));
        assert_eq!(schedule.next_change(at(opens)), Some(MONDAY + 19 * HOUR_S));
        let friday_evening = MONDAY + 4 * DAY_S + 19 * HOUR_S;
        let saturday = MONDAY + 5 * DAY_S;
        assert_eq!(schedule.next_change(at(friday_evening)), Some(saturday + 9 * HOUR_S));
        assert_eq!(schedule.next_change(at(saturday + 12 * HOUR_S)), Some(opens + 7 * DAY_S));
    });
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins_over_the_weeks_end_too() {
    schedule(&["sat 22:30-6"], "UTC0", |schedule| {
        let saturday = MONDAY + 5 * DAY_S;
        assert!(!schedule.is_open(at(saturday + 5 * HOUR_S)), "that is Friday's night");
        let opens = saturday + 22 * HOUR_S + 1800;
        assert_eq!(schedule.next_change(at(MONDAY)), Some(opens));
        assert_eq!(schedule.next_change(at(opens)), Some(saturday + 30 * HOUR_S));
    });
    schedule(&["sun 20-24", "mon 0-2"], "UTC0", |schedule| {
        let opens = MONDAY + 6 * DAY_S + 20 * HOUR_S;
        assert_eq!(schedule.next_change(at(opens)), Some(opens + 6 * HOUR_S), "they touch");
    });
}

#[test]
fn days_are_lists_and_ranges_that_may_pass_the_weeks_end() {
    let same =
        |one: &str, other: &str| assert_eq!(Window::parse(one), Window::parse(other), "{one}");
    same("sat-mon 7-8", "sun,mon,SAT 07:00-8:00");
    same("7-8", "mon-sun 7-8");
    same("wed", "wed 0-24");
    assert_ne!(Window::parse("wed 22-24"), Window::parse("wed 22-0:01"));
}

#[test]
fn what_is_no_window_says_what_was_expected() {
    for (text, error) in [
        ("", WindowError::Days),
        ("mo 7-19", WindowError::Days),
        ("mon- 7-19", WindowError::Days),
        ("mon,,tue 7-19", WindowError::Days),
        ("7-19 mon", WindowError::Days),
        ("mon 7", WindowError::Hours),
        ("mon 7-25", WindowError::Hours),
        ("mon 24-7", WindowError::Hours),
        ("mon 7:5-8", WindowError::Hours),
        ("mon 7:60-8", WindowError::Hours),
        ("mon 007-8", WindowError::Hours),
        ("mon -8", WindowError::Hours),
        ("mon 7 - 8", WindowError::Hours),
        ("mon 7-8 9-10", WindowError::Hours),
        ("mon 7-7:00", WindowError::Empty),
    ] {
        assert_eq!(Window::parse(text), Err(error), "{text:?}");
        assert!(!error.expected().is_empty());
    }
}

#[test]
fn what_is_no_rule_says_what_was_expected() {
    for (rule, error) in [
        ("", ZoneError::Name),
        ("CE-1", ZoneError::Name),
        ("<+01-1", ZoneError::Name),
        ("Europe/Berlin", ZoneError::Offset),
        ("CET", ZoneError::Offset),
        ("CET-25", ZoneError::Offset),
        ("CET-24:00:01", ZoneError::Offset),
        ("CET-1CE", ZoneError::Name),
        ("CET-1CEST", ZoneError::Change),
        ("CET-1CEST,M3.5.0", ZoneError::Change),
        ("CET-1CEST,M13.5.0,M10.5.0", ZoneError::Change),
        ("CET-1CEST,M3.0.0,M10.5.0", ZoneError::Change),
        ("CET-1CEST,M3.5.7,M10.5.0", ZoneError::Change),
        ("CET-1CEST,J0,J1", ZoneError::Change),
        ("CET-1CEST,366,1", ZoneError::Change),
        ("CET-1CEST,M3.5.0/168,M10.5.0", ZoneError::Change),
        ("CET-1CEST,M3.5.0,M10.5.0/3 ", ZoneError::Rest),
    ] {
        assert_eq!(Zone::parse(rule), Err(error), "{rule:?}");
        assert!(!error.expected().is_empty());
    }
}

#[test]
fn a_window_in_the_hour_that_is_skipped_comes_a_week_later() {
    schedule(&["sun 02:15-02:45"], BERLIN, |schedule| {
        let before = at(utc("2026-03-29T00:00:00Z"));
        assert_eq!(schedule.next_change(before), Some(utc("2026-04-05T00:15:00Z")));
        let behind_the_last = at(utc("2026-03-22T01:45:00Z"));
        assert_eq!(schedule.next_change(behind_the_last), Some(utc("2026-04-05T00:15:00Z")));
    });
    schedule(&["sun 01:30-02:30", "sun 02:30-03:30"], BERLIN, |schedule| {
        let opens = utc("2026-03-29T00:30:00Z");
        assert_eq!(schedule.next_change(at(opens - 1)), Some(opens));
        assert_eq!(schedule.next_change(at(opens)), Some(utc("2026-03-29T01:30:00Z")));
    });
}

#[test]
fn a_window_in_the_hour_that_is_there_twice_is_open_twice() {
    schedule(&["sun 02:15-02:45"], BERLIN, |schedule| {
        let mut now = utc("2026-10-25T00:00:00Z");
        let edges = [(); 4].map(|()| {
            now = schedule.next_change(at(now)).expect("it goes on");
            now
        });
        let times = ["00:15", "00:45", "01:15", "01:45"];
        assert_eq!(edges, times.map(|time| utc(&format!("2026-10-25T{time}:00Z"))));
    });
}

#[test]
fn without_windows_or_without_a_known_time_it_is_open() {
    schedule(&[], BERLIN, |schedule| {
        assert!(schedule.is_open(at(MONDAY)));
        assert_eq!(schedule.next_change(at(MONDAY)), None);
    });
    schedule(&["mon 7-8"], BERLIN, |schedule| {
        let guess = Timestamp { unix_seconds: MONDAY, known: false };
        assert!(schedule.is_open(guess));
        assert_eq!(schedule.next_change(guess), None);
    });
    schedule(&["mon-sun"], BERLIN, |schedule| {
        assert!(schedule.is_open(at(MONDAY)));
        assert_eq!(schedule.next_change(at(MONDAY)), None, "it never closes");
    });
}

#[test]
fn a_clock_that_is_mad_is_no_panic() {
    schedule(&["mon 7-8"], NEW_YORK, |schedule| {
        for time in [0, 1, u64::MAX, u64::MAX / 1000, 253_402_300_799] {
            schedule.is_open(at(time));
            schedule.next_change(at(time));
        }
    });
}

#[test]
fn daylight_time_that_ends_when_it_begins_never_ends() {
    for rule in ["EST5EDT,0/0,J365/25", "WART4WARST,J1/0,J365/25"] {
        let zone = Zone::parse(rule).expect(rule);
        let ahead_s = zone.ahead_s(MONDAY);
        let hours = (0..5 * 366 * 24).map(|hour| MONDAY + hour * HOUR_S);
        assert!(hours.into_iter().all(|time| zone.ahead_s(time) == ahead_s), "{rule}");
        schedule(&["mon 7-8"], rule, |schedule| {
            let opens = schedule.next_change(at(MONDAY + DAY_S));
            assert_eq!(opens, Some((MONDAY + 7 * DAY_S + 7 * HOUR_S).strict_sub_signed(ahead_s)));
        });
    }
}

/// Each five minutes of more than a year: a change is told exactly where two of them differ.
#[test]
fn what_is_told_of_the_next_change_is_what_a_clock_would_see() {
    let windows = ["mon-fri 07:00-19:00", "sun 02:15-02:45", "sat,sun 23:30-01:10", "tue 0-24"];
    let mut changes = 0;
    for zone in [BERLIN, NEW_YORK, SYDNEY, LORD_HOWE] {
        schedule(&windows, zone, |schedule| {
            let parsed = Zone::parse(zone).expect(zone);
            let mut told = schedule.next_change(at(MONDAY)).expect("it goes on");
            let mut ahead = (parsed.ahead_s(MONDAY), 0);
            for now in (MONDAY..MONDAY + 400 * DAY_S).step_by(300) {
                let (before, open) = (schedule.is_open(at(now)), schedule.is_open(at(now + 300)));
                if before != open {
                    assert_eq!(told, now + 300, "{zone}");
                    told = schedule.next_change(at(told)).expect("it goes on");
                }
                if parsed.ahead_s(now) != ahead.0 {
                    ahead = (parsed.ahead_s(now), ahead.1 + 1);
                }
            }
            changes += ahead.1;
        });
    }
    assert!(changes >= 8, "the clocks were changed {changes} times");
}

fn jiff_ahead_s(zone: &TimeZone, unix_s: u64) -> i64 {
    let time = jiff::Timestamp::from_second(unix_s.try_into().expect("small")).expect("in range");
    zone.to_offset(time).seconds().into()
}

/// Each hour of eleven years, leap years among them, and each day of two centuries.
#[test]
fn local_time_is_what_jiff_says() {
    for rule in [BERLIN, NEW_YORK, SYDNEY, LORD_HOWE].into_iter().chain(ODD) {
        let (ours, theirs) = (Zone::parse(rule).expect(rule), TimeZone::posix(rule).expect(rule));
        let hours = (0..11 * 366 * 24).map(|hour| MONDAY + hour * HOUR_S);
        let days = (1..200 * 366).map(|day| day * DAY_S + 7 * HOUR_S);
        for time in hours.chain(days) {
            assert_eq!(ours.ahead_s(time), jiff_ahead_s(&theirs, time), "{rule} at {time}");
        }
    }
}

proptest! {
    #[test]
    fn any_rule_is_read_as_jiff_reads_it(
        west_h in -24_i64..=24,
        first in (1..=12_u8, 1..=5_u8, 0..=6_u8, -167..=167_i16),
        second in (1..=12_u8, 1..=5_u8, 0..=6_u8, -167..=167_i16),
        time in 0..8_000_000_000_u64,
    ) {
        // What holds where the two changes cross each other nobody defines.
        prop_assume!(first.0.abs_diff(second.0) > 1 && first.0.abs_diff(second.0) < 11);
        let date = |(month, week, day, hour): (u8, u8, u8, i16)| {
            format!("M{month}.{week}.{day}/{hour}")
        };
        let rule = format!("AAA{west_h}BBB,{},{}", date(first), date(second));
        let ours = Zone::parse(&rule).expect(&rule);
        let Ok(theirs) = TimeZone::posix(&rule) else { return Ok(()) };
        prop_assert_eq!(ours.ahead_s(time), jiff_ahead_s(&theirs, time), "{} at {}", rule, time);
    }

    #[test]
    fn no_text_is_a_panic(text: String) {
        let _ = Window::parse(&text);
        let _ = Zone::parse(&text);
    }
}

#[test]
fn a_window_is_shown_as_it_is_read_and_kept_as_numbers() {
    for (written, shown) in [
        ("mon-fri 7-19", "mon,tue,wed,thu,fri 07:00-19:00"),
        ("sun", "sun 00:00-24:00"),
        ("22:30-6", "sun,mon,tue,wed,thu,fri,sat 22:30-06:00"),
        ("fri-sun 0-24:00", "sun,fri,sat 00:00-24:00"),
    ] {
        let window = Window::parse(written).expect(written);
        assert_eq!(window.to_string(), shown);
        assert_eq!(Window::parse(shown), Ok(window));
        assert_eq!(Window::of_parts(window.parts()), Some(window));
    }
    for parts in [(0x80, 0, 60), (1, 1440, 60), (1, 0, 1441), (1, 60, 60)] {
        assert_eq!(Window::of_parts(parts), None, "{parts:?}");
    }
}
