//! When a caller may ask by itself, and the same said in another way, to check it by.

use postern_core::schedule::Window;
use postern_core::time::Timestamp;

/// Windows of the week, in the winter of Central Europe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    Any,
    Office,
    Nights,
    Each4th,
}

const HOUR: u64 = 3600;

impl Hours {
    pub fn windows(self) -> Vec<Window> {
        let texts: &[&str] = match self {
            Self::Any => &[],
            Self::Office => &["mon-fri 07:00-19:00", "sat,sun 9-12"],
            Self::Nights => &["22:30-6", "12-12:30"],
            Self::Each4th => &["0-1", "4-5", "8-9", "12-13", "16-17", "20-21"],
        };
        texts.iter().map(|text| Window::parse(text).expect("a window")).collect()
    }

    /// Whether one is open then, or nobody can tell.
    pub fn are_open(self, time: Timestamp) -> bool {
        let local = time.unix_seconds + HOUR;
        // The first day of 1970 was a Thursday.
        let (day, second) = ((local / 86_400 + 3) % 7, local % 86_400);
        let within = |from: u64, to: u64| (from..to).contains(&second);
        !time.known
            || match self {
                Self::Any => true,
                Self::Office if day < 5 => within(7 * HOUR, 19 * HOUR),
                Self::Office => within(9 * HOUR, 12 * HOUR),
                Self::Nights => {
                    let by_day = within(6 * HOUR, 22 * HOUR + HOUR / 2);
                    !by_day || within(12 * HOUR, 12 * HOUR + HOUR / 2)
                }
                Self::Each4th => (second / HOUR).is_multiple_of(4),
            }
    }
}
