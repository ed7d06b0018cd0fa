//! The values of the configuration, each its own type.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use postern_core::wire::path::Mailbox;
use toml::de::DeValue;

use super::domain_name::{self, DomainName};
use super::fault::Faults;
use super::settings::{Setting, Value, Word, found};

/// A number of bytes, written `"50 MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl Word for ByteSize {
    const EXPECTED: &'static str = "a size such as \"50 MiB\" (B, KiB, MiB, GiB, TiB)";

    fn parse(text: &str) -> Result<Self, String> {
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let units = [units.as_slice(), &[("TiB", 1 << 40)]].concat();
        amount(text, &units).map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// A number of bytes of at least `MIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeFrom<const MIN: u64>(pub u64);

impl<const MIN: u64> Word for SizeFrom<MIN> {
    const EXPECTED: &'static str = ByteSize::EXPECTED;

    fn parse(text: &str) -> Result<Self, String> {
        let ByteSize(bytes) = ByteSize::parse(text)?;
        if bytes >= MIN { Ok(Self(bytes)) } else { Err(format!("must be at least {}", least(MIN))) }
    }
}

/// `bytes` in the largest unit that has it whole.
fn least(bytes: u64) -> String {
    let units = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    let fits = units.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    fits.map_or_else(String::new, |(name, unit)| format!("{} {name}", bytes / unit))
}

impl Word for Duration {
    const EXPECTED: &'static str = "a time such as \"30m\" (s, m, h, d, w)";

    fn parse(text: &str) -> Result<Self, String> {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
        match amount(text, &units) {
            Some(0) => Err("must be more than 0".to_owned()),
            Some(seconds) => Ok(Self::from_secs(seconds)),
            None => Err(unexpected::<Self>(text)),
        }
    }
}

/// How long is waited, which may be not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause(pub Duration);

impl Word for Pause {
    const EXPECTED: &'static str = Duration::EXPECTED;

    fn parse(text: &str) -> Result<Self, String> {
        if amount(text, &[("s", 1), ("m", 1), ("h", 1), ("d", 1), ("w", 1)]) == Some(0) {
            return Ok(Self(Duration::ZERO));
        }
        Duration::parse(text).map(Self)
    }
}

/// A whole number and its unit, multiplied.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

pub(super) fn unexpected<T: Word>(text: &str) -> String {
    format!("expected {}, found \"{text}\"", T::EXPECTED)
}

/// A whole number of at least `MIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<const MIN: u32>(u32);

impl<const MIN: u32> Count<MIN> {
    /// The number, at least `MIN`.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32> Setting for Count<MIN> {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Integer(digits) => u32::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let read = number.filter(|number| *number >= MIN).map(Self);
        if read.is_none() {
            let found = found(value.get_ref());
            let reason = format!("expected a whole number from {MIN} to {}, {found}", u32::MAX);
            faults.add(value.span(), key, reason);
        }
        read
    }
}

impl Setting for bool {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                let reason = format!("expected true or false, {}", found(other));
                faults.add(value.span(), key, reason);
                None
            }
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Word for DomainName {
    const EXPECTED: &'static str = domain_name::EXPECTED;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// A mailbox, `local-part@domain` (RFC 5321 section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    local_part: Box<str>,
    domain: DomainName,
}

impl Address {
    /// What stands before the `@`, quotes included.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

impl Word for Address {
    const EXPECTED: &'static str = "an address such as \"postmaster@client.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        let split = Mailbox::parse(text.as_bytes()).and_then(|_| text.rsplit_once('@'));
        let domain = split.and_then(|(_, domain)| DomainName::parse(domain).ok());
        match (split, domain) {
            (Some((local, _)), Some(domain)) => Ok(Self { local_part: local.into(), domain }),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// A host, by name or by address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// To be looked up: its A and AAAA records, never its MX.
    Name(DomainName),
    /// Used as it is.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Word for Host {
    const EXPECTED: &'static str = "a name or address such as \"mail.client.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        parse_host(text).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// Reads `host:port`.
pub(super) fn parse_host_port(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((parse_host(host)?, port))
}

pub(super) fn parse_host(text: &str) -> Option<Host> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(inner) = bracketed {
        return inner.parse().ok().map(|address| Host::Address(IpAddr::V6(address)));
    }
    match text.parse() {
        Ok(address) => Some(Host::Address(IpAddr::V4(address))),
        Err(_) => DomainName::parse(text).ok().map(Host::Name),
    }
}

/// How long the queue of a domain waits after a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryEvery {
    /// This long, 10 % more or less.
    Every(Duration),
    /// Until it is released: only when asked.
    Never,
}

impl Word for RetryEvery {
    const EXPECTED: &'static str = TIME_OR_NEVER;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(time_or_never(text)?.map_or(Self::Never, Self::Every))
    }
}

/// How long mail that waits for a person is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFor {
    /// This long.
    For(Duration),
    /// Until a person removes it.
    Ever,
}

impl Word for KeptFor {
    const EXPECTED: &'static str = TIME_OR_NEVER;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(time_or_never(text)?.map_or(Self::Ever, Self::For))
    }
}

const TIME_OR_NEVER: &str = "a time such as \"30m\" (s, m, h, d, w), or \"never\"";

/// `None` for "never".
fn time_or_never(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        _ if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            Err(format!("expected {TIME_OR_NEVER}, found \"{text}\""))
        }
        _ => Duration::parse(text).map(Some),
    }
}

/// The characters that end the part of a local part that a list knows, as `+` in `user+tag`
/// (RFC 5233 section 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subaddress(Box<str>);

impl Subaddress {
    /// A local part is compared whole.
    pub fn none() -> Self {
        Self(Box::default())
    }

    /// What stands before the first of them in `local`, if anything does and one is there.
    pub fn base<'l>(&self, local: &'l [u8]) -> Option<&'l [u8]> {
        let end = local.iter().position(|byte| self.0.as_bytes().contains(byte))?;
        local.get(..end).filter(|base| !base.is_empty())
    }
}

impl Word for Subaddress {
    const EXPECTED: &'static str = "characters of #$&'*+-/=?^_`{|}~, such as \"+\", or \"\"";

    fn parse(text: &str) -> Result<Self, String> {
        let sound = text.chars().all(|letter| "#$&'*+-/=?^_`{|}~".contains(letter));
        if sound { Ok(Self(text.into())) } else { Err(unexpected::<Self>(text)) }
    }
}

/// Whether a domain's host takes internationalized mail (RFC 6531).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpUtf8 {
    /// As it said last.
    Auto,
    /// It does.
    Taken,
    /// It does not.
    NotTaken,
}

impl Setting for SmtpUtf8 {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(Self::Taken),
            DeValue::Boolean(false) => Some(Self::NotTaken),
            DeValue::String(word) if word == "auto" => Some(Self::Auto),
            other => {
                let reason = format!("expected true, false or \"auto\", {}", found(other));
                faults.add(value.span(), key, reason);
                None
            }
        }
    }
}

/// What becomes of a recipient that the domain's host refuses for good after our 250.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRefusal {
    /// Kept, shown by `postern queue` and exportable: bounces go to forged addresses.
    Keep,
}

impl Word for OnRefusal {
    const EXPECTED: &'static str = "\"keep\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "drop" | "bounce" => Err(format!("\"{text}\" is not in this version: write \"keep\"")),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// The form of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Word for LogFormat {
    const EXPECTED: &'static str = "\"auto\", \"json\" or \"text\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

impl Word for tracing::Level {
    const EXPECTED: &'static str = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";

    fn parse(text: &str) -> Result<Self, String> {
        let named = ["error", "warn", "info", "debug", "trace"].contains(&text);
        let level = named.then(|| Self::from_str(text).ok()).flatten();
        level.ok_or_else(|| unexpected::<Self>(text))
    }
}

impl Word for PathBuf {
    const EXPECTED: &'static str = "an absolute path such as \"/var/spool/postern\"";

    fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err(unexpected::<Self>(text)) }
    }
}

impl Word for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as \"[::]:25\" or \"192.0.2.1:25\"";

    fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text).map_err(|_| unexpected::<Self>(text))
    }
}

/// Where a name server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl NameServer {
    /// The port of one that none is given for (RFC 1035 section 4.2).
    const PORT: u16 = 53;
}

impl Word for NameServer {
    const EXPECTED: &'static str = "a name server's address, such as \"192.0.2.53\" or \
        \"[2001:db8::53]:5353\"";

    fn parse(text: &str) -> Result<Self, String> {
        let alone = |_| IpAddr::from_str(text).map(|address| (address, Self::PORT).into());
        let server = SocketAddr::from_str(text).or_else(alone).map(Self);
        server.map_err(|_| unexpected::<Self>(text))
    }
}

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Word for IpNet {
    const EXPECTED: &'static str = "a network or address such as \"192.0.2.0/24\"";

    fn parse(text: &str) -> Result<Self, String> {
        let address = || IpAddr::from_str(text).map(Self::from);
        let net = Self::from_str(text).or_else(|_| address());
        net.map(|net| fold(net).trunc()).map_err(|_| unexpected::<Self>(text))
    }
}

/// An IPv4 network that was written as IPv6 (`::ffff:192.0.2.0/120`) as IPv4: addresses are folded
/// before they are matched, and would never be found in it.
fn fold(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    let folded = four.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    folded.map_or(net, IpNet::V4)
}

/// Whether and how STARTTLS is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// With a certificate made once and kept in the spool's folder.
    SelfSigned,
    /// With these files, PEM.
    Files(TlsFiles),
}

super::settings::settings! {
/// A certificate and its key.
pub struct TlsFiles {
    /// The certificate, then those that it is signed by, in PEM.
    pub certificate: PathBuf => Example("\"/etc/postern/cert.pem\""),
    /// The private key, in PEM.
    pub key: PathBuf => Example("\"/etc/postern/key.pem\""),
}
}

impl Setting for Tls {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => TlsFiles::read(value, key, faults).map(Self::Files),
            DeValue::String(text) if text == "self-signed" => Some(Self::SelfSigned),
            other => {
                let expected = "expected \"self-signed\" or \
                    { certificate = \"/etc/postern/cert.pem\", key = \"/etc/postern/key.pem\" }";
                faults.add(value.span(), key, format!("{expected}, {}", found(other)));
                None
            }
        }
    }
}
