//! When mail is listened for, and the holders that are asked for it.

use std::time::Duration;

use toml::de::DeValue;

use super::domain_name::DomainName;
use super::fault::Faults;
use super::settings::{Outline, Setting, Value, Word, found, settings};
use super::values::{Host, parse_host, parse_host_port, unexpected};

/// When there is a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Always.
    Always,
    /// From just before a wake-up goes out until nothing comes any more.
    Scheduled,
    /// Never: nothing listens.
    Off,
}

impl Word for Listener {
    const EXPECTED: &'static str = "\"always\", \"scheduled\" or \"off\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "scheduled" => Ok(Self::Scheduled),
            "off" => Ok(Self::Off),
            "on-link" => Err(format!("\"{text}\" is not in this version: write \"scheduled\"")),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

settings! {
/// A holder that is asked for the mail that it holds for us, at the start and then again and again;
/// with [[wakeup]], one table a holder. A device asks one.
pub struct Wakeup {
    /// REQUIRED. The holder that ETRN (RFC 1985) is sent to: "host" (port 25) or "host:port", or a
    /// list of several names of the same holder, which are tried in order. A name's addresses are
    /// looked up, never its MX.
    pub etrn: Holders => Example("\"mx2.provider.example\""),
    /// How long after its answer it is asked again. One that gave none is asked after 1, 2, 5, 10
    /// and so on minutes, up to this.
    pub every: Duration => Default("\"30m\""),
    /// What the ETRN names; at most 8 on a device. Empty: each domain held.
    pub names: Vec<DomainName> => Default("[]"),
}
}

/// The holders that are asked, one table each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wakeups(Vec<Wakeup>);

impl Wakeups {
    /// In the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Wakeup> {
        self.0.iter()
    }

    /// Whether nobody is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Setting for Wakeups {
    const OUTLINE: Option<&'static Outline> = Wakeup::OUTLINE;

    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let tables = match value.get_ref() {
            DeValue::Table(_) => return Some(Self(vec![Wakeup::read(value, key, faults)?])),
            DeValue::Array(tables) => tables,
            other => {
                let reason = format!("expected a [[{key}]] section, {}", found(other));
                faults.add(value.span(), key, reason);
                return None;
            }
        };
        let read: Vec<_> = tables.iter().map(|table| Wakeup::read(table, key, faults)).collect();
        let mut wakeups: Vec<Wakeup> = Vec::with_capacity(read.len());
        for (wakeup, table) in read.into_iter().zip(tables) {
            let wakeup = wakeup?;
            // They would share one record of what the holder said.
            if wakeups.iter().any(|earlier| earlier.etrn == wakeup.etrn) {
                let reason = format!("{} is asked in another table already", wakeup.etrn);
                faults.add(table.span(), &format!("{key}.etrn"), reason);
            }
            wakeups.push(wakeup);
        }
        Some(Self(wakeups))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// A host that is asked for mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The host.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

/// SMTP's port (RFC 5321 section 4.5.4.2).
const SMTP_PORT: u16 = 25;

impl Word for Holder {
    const EXPECTED: &'static str = "\"host\" or \"host:port\", such as \"mx2.provider.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        let alone = || parse_host(text).map(|host| (host, SMTP_PORT));
        let address = parse_host_port(text).or_else(alone);
        address.map(|(host, port)| Self { host, port }).ok_or_else(|| unexpected::<Self>(text))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The names of one holder, in the order in which they are tried; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders(Vec<Holder>);

impl Holders {
    /// The names; there is at least one.
    pub fn as_slice(&self) -> &[Holder] {
        &self.0
    }

    /// The name that is tried first.
    pub fn first(&self) -> &Holder {
        &self.0[0]
    }
}

impl std::fmt::Display for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.0.iter().map(Holder::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

impl Setting for Holders {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Holder::read(value, key, faults).map(|holder| Self(vec![holder]));
        }
        let holders = Vec::<Holder>::read(value, key, faults)?;
        if holders.is_empty() {
            faults.add(value.span(), key, format!("is empty: expected {}", Holder::EXPECTED));
            return None;
        }
        Some(Self(holders))
    }
}
