//! When mail is listened for, and the holders that are asked for it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::domain_name::DomainName;
use super::fault::Faults;
use super::settings::{Outline, Setting, Value, Word, found, settings};
use super::values::{Address, Host, parse_host, parse_host_port, unexpected};

/// When there is a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Always.
    Always,
    /// From just before a wake-up goes out until nothing comes any more.
    Scheduled,
    /// While the link is up.
    OnLink,
    /// Never: nothing listens.
    Off,
}

impl Word for Listener {
    const EXPECTED: &'static str = "\"always\", \"scheduled\", \"on-link\" or \"off\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "scheduled" => Ok(Self::Scheduled),
            "on-link" => Ok(Self::OnLink),
            "off" => Ok(Self::Off),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

settings! {
/// A holder that is asked for the mail that it holds for us, at the start and then again and again;
/// with [[wakeup]], one table a holder; a device asks 4 at most, each by 4 names at most. REQUIRED
/// is one of etrn, atrn and email.
pub struct Table {
    /// The holder that ETRN (RFC 1985) is sent to: "host" (port 25) or "host:port", or a list of
    /// several names of the same holder, which are tried in order. A name's addresses are looked
    /// up, never its MX.
    pub etrn: Option<Holders<25>> => Example("\"mx2.provider.example\""),
    /// The same for ATRN (RFC 2645), with port 366: the mail comes over the connection that we
    /// open, so that it needs no listener and no address of its own. It is for those who are behind
    /// NAT, and needs user and password_file.
    pub atrn: Option<Holders<366>> => Example("\"mx2.provider.example\""),
    /// Who we are to the holder that is asked by ATRN.
    pub user: Option<UserName> => Example("\"client.example\""),
    /// The file with that user's password, which is its first line. Nobody but the server may read
    /// it (mode 0600). It is read each time.
    pub password_file: Option<PathBuf> => Example("\"/etc/postern/password\""),
    /// TLS towards the holder that is asked by ATRN: "verified", by STARTTLS; "implicit", from the
    /// first octet on, verified as well (port 366 has STARTTLS as a rule); "opportunistic", as
    /// deliveries have it: by STARTTLS where that is offered, with any certificate, else in clear;
    /// or "off", always in clear. The password itself is sent under verified TLS only, where
    /// nothing better than PLAIN is offered; SCRAM-SHA-256 proves it without. So does CRAM-MD5, but
    /// whoever passes for the holder can guess at leisure what it proves: it is used under verified
    /// TLS, and with "off", where it is known who is in between. Absent: "verified".
    pub tls: Option<HolderTls> => Example("\"verified\""),
    /// The certificates, in PEM, one of which the holder's is or is signed by. Absent: those that
    /// this machine trusts.
    pub tls_ca: Option<PathBuf> => Example("\"/etc/postern/provider.pem\""),
    /// The special account of a holder that is woken by e-mail: any mail to it releases what is
    /// held. What it gets is a short message that is marked as written by a program. Needs
    /// email_host.
    pub email: Option<Account> => Example("\"wake-client@mx2.provider.example\""),
    /// The host that the e-mail is handed to, written as etrn is: the holder itself, since mail
    /// that waits on its way wakes nobody.
    pub email_host: Option<Holders<25>> => Example("\"mx2.provider.example\""),
    /// The e-mail's sender, since some accounts go by that. Absent: "<>", whom nobody answers.
    pub email_from: Option<Sender> => Example("\"postmaster@client.example\""),
    /// How long after its answer it is asked again. One that gave none is asked after 1, 2, 5, 10
    /// and so on minutes, up to this.
    pub every: Duration => Default("\"30m\""),
    /// What the ETRN or ATRN names, or the e-mail tells; at most 8 on a device. Empty: each domain
    /// held, or with ATRN all that the user may have.
    pub names: Vec<DomainName> => Default("[]"),
}
}

/// A holder that is asked for mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wakeup {
    /// By what it is asked.
    pub way: Way,
    /// From one answer to the next request.
    pub every: Duration,
    /// What is asked for.
    pub names: Vec<DomainName>,
}

/// By what a holder is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// ETRN (RFC 1985), sent to these names of it.
    Etrn(Vec<Holder>),
    /// ATRN (RFC 2645).
    Atrn(Atrn),
    /// An e-mail to a special account.
    Email(Email),
}

/// How mail is fetched by ATRN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atrn {
    /// The holder's names.
    pub holders: Vec<Holder>,
    /// Who we are to it.
    pub user: UserName,
    /// The file with the password.
    pub password_file: PathBuf,
    /// TLS towards it.
    pub tls: HolderTls,
    /// The certificates that it is verified by; absent: those that this machine trusts.
    pub tls_ca: Option<PathBuf>,
}

/// How a holder is woken by e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The holder's names.
    pub holders: Vec<Holder>,
    /// Who gets it.
    pub to: Account,
    /// Who sends it.
    pub from: Sender,
}

impl Wakeup {
    /// The holder's names, in the order in which they are tried; there is at least one.
    pub fn holders(&self) -> &[Holder] {
        match &self.way {
            Way::Etrn(holders)
            | Way::Atrn(Atrn { holders, .. })
            | Way::Email(Email { holders, .. }) => holders,
        }
    }

    /// Who is asked, as one text that no other table has.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.holders().iter().map(Holder::to_string).collect();
        let names = names.join(", ");
        match &self.way {
            Way::Etrn(_) | Way::Atrn(_) => names,
            Way::Email(Email { to, .. }) => format!("{to} at {names}"),
        }
    }

    /// The way that it is asked in, as the key that says it.
    pub const fn key(&self) -> &'static str {
        match self.way {
            Way::Etrn(_) => "etrn",
            Way::Atrn(_) => "atrn",
            Way::Email(_) => "email",
        }
    }
}

impl Setting for Wakeup {
    const OUTLINE: Option<&'static Outline> = Table::OUTLINE;

    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let table = Table::read(value, key, faults)?;
        let (every, names) = (table.every, table.names.clone());
        let way = table.way().map_err(|(name, reason)| {
            let key = if name.is_empty() { key.to_owned() } else { format!("{key}.{name}") };
            faults.add(value.span(), &key, reason.to_owned());
        });
        Some(Self { way: way.ok()?, every, names })
    }
}

/// What is wrong with a table: a key of it, or none, and why.
type Wrong = (&'static str, &'static str);

impl Table {
    fn way(self) -> Result<Way, Wrong> {
        let Self { etrn, atrn, user, password_file, tls, tls_ca, email, .. } = self;
        let (email_host, email_from) = (self.email_host, self.email_from);
        if atrn.is_none() && (etrn.is_some() || email.is_some()) {
            let keys = [
                ("user", user.is_some()),
                ("password_file", password_file.is_some()),
                ("tls", tls.is_some()),
                ("tls_ca", tls_ca.is_some()),
            ];
            refuse(&keys, "is for atrn, and this table has none: leave it out")?;
        }
        if email.is_none() && (etrn.is_some() || atrn.is_some()) {
            let keys = [("email_host", email_host.is_some()), ("email_from", email_from.is_some())];
            refuse(&keys, "is for email, and this table has none: leave it out")?;
        }
        match (etrn, atrn, email) {
            (Some(Holders(holders)), None, None) => Ok(Way::Etrn(holders)),
            (None, Some(Holders(holders)), None) => {
                let (user, password_file) = (user.ok_or(NO_USER)?, password_file.ok_or(NO_FILE)?);
                let tls = tls.unwrap_or(HolderTls::Verified);
                if tls_ca.is_some() && !tls.is_verified() {
                    return Err(NOT_LOOKED_AT);
                }
                Ok(Way::Atrn(Atrn { holders, user, password_file, tls, tls_ca }))
            }
            (None, None, Some(to)) => {
                let Holders(holders) = email_host.ok_or(NO_HOST)?;
                Ok(Way::Email(Email { holders, to, from: email_from.unwrap_or(Sender(None)) }))
            }
            (None, None, None) => Err(NOTHING),
            _ => Err(("", "has more than one of etrn, atrn and email: write a table for each")),
        }
    }
}

const NO_USER: Wrong = ("user", "is required with atrn: user = \"client.example\"");
const NO_FILE: Wrong =
    ("password_file", "is required with atrn: password_file = \"/etc/postern/password\"");
const NOT_LOOKED_AT: Wrong =
    ("tls_ca", "is not looked at with tls = \"opportunistic\" or \"off\": leave it out");
const NO_HOST: Wrong =
    ("email_host", "is required with email: email_host = \"mx2.provider.example\"");
const NOTHING: Wrong =
    ("", "asks by nothing: etrn = \"mx2.provider.example\", atrn or email is required");

fn refuse(keys: &[(&'static str, bool)], reason: &'static str) -> Result<(), Wrong> {
    let there = keys.iter().find(|(_, is_there)| *is_there);
    there.map_or(Ok(()), |(name, _)| Err((*name, reason)))
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
            if wakeups.iter().any(|earlier| earlier.name() == wakeup.name()) {
                let reason = format!("{} is asked in another table already", wakeup.name());
                faults.add(table.span(), &format!("{key}.{}", wakeup.key()), reason);
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

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One of a holder's names, at `PORT` unless it says another.
struct Name<const PORT: u16>(Holder);

impl<const PORT: u16> Word for Name<PORT> {
    const EXPECTED: &'static str = "\"host\" or \"host:port\", such as \"mx2.provider.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        let alone = || parse_host(text).map(|host| (host, PORT));
        let address = parse_host_port(text).or_else(alone);
        let holder = address.map(|(host, port)| Self(Holder { host, port }));
        holder.ok_or_else(|| unexpected::<Self>(text))
    }
}

/// The names of one holder, in the order in which they are tried; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders<const PORT: u16>(Vec<Holder>);

impl<const PORT: u16> Setting for Holders<PORT> {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Name::<PORT>::read(value, key, faults).map(|Name(holder)| Self(vec![holder]));
        }
        let holders = Vec::<Name<PORT>>::read(value, key, faults)?;
        if holders.is_empty() {
            faults.add(value.span(), key, format!("is empty: expected {}", Name::<PORT>::EXPECTED));
            return None;
        }
        Some(Self(holders.into_iter().map(|Name(holder)| holder).collect()))
    }
}

/// A mailbox in printable ASCII, of at most 254 octets (RFC 5321 section 4.5.3.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(Box<str>);

impl Account {
    /// As it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Word for Account {
    const EXPECTED: &'static str =
        "an address in ASCII, such as \"wake-client@mx2.provider.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        let address = Address::parse(text).map(|address| address.to_string());
        let is_sound = |text: &String| {
            text.len() <= 254 && text.bytes().all(|octet| (0x20..0x7f).contains(&octet))
        };
        let sound = address.ok().filter(is_sound);
        sound.map(|text| Self(text.into())).ok_or_else(|| unexpected::<Self>(text))
    }
}

/// Who sends a wake-up e-mail; nobody: the null reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Option<Account>);

impl Sender {
    /// As it stands in a path; empty for nobody.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Account::as_str)
    }
}

impl Word for Sender {
    const EXPECTED: &'static str =
        "\"<>\", or an address in ASCII, such as \"postmaster@client.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "<>" => Ok(Self(None)),
            _ => Account::parse(text)
                .map(|account| Self(Some(account)))
                .map_err(|_| unexpected::<Self>(text)),
        }
    }
}

/// Who somebody is to a server that asks for a password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserName(Box<str>);

impl UserName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for UserName {
    const EXPECTED: &'static str = "a user name such as \"client.example\", of at most 255 octets";

    fn parse(text: &str) -> Result<Self, String> {
        let sound = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        if sound { Ok(Self(text.into())) } else { Err(unexpected::<Self>(text)) }
    }
}

/// TLS towards a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderTls {
    /// By STARTTLS, and the certificate must be right.
    Verified,
    /// From the first octet on, and the certificate must be right.
    Implicit,
    /// Where STARTTLS is offered and works, with any certificate.
    Opportunistic,
    /// Never.
    Off,
}

impl HolderTls {
    /// Whether the certificate must be right.
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Implicit)
    }

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Implicit => "implicit",
            Self::Opportunistic => "opportunistic",
            Self::Off => "off",
        }
    }
}

impl Word for HolderTls {
    const EXPECTED: &'static str = "\"verified\", \"implicit\", \"opportunistic\" or \"off\"";

    fn parse(text: &str) -> Result<Self, String> {
        let all = [Self::Verified, Self::Implicit, Self::Opportunistic, Self::Off];
        let meant = all.into_iter().find(|tls| tls.word() == text);
        meant.ok_or_else(|| unexpected::<Self>(text))
    }
}
