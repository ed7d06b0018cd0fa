//! Where a domain's mail goes: a host, its mail exchangers, a Maildir of this machine's, or whoever
//! fetches it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::domain_name::DomainName;
use super::fault::Faults;
use super::settings::Word;
use super::values::{Host, parse_host_port, unexpected};
use super::written::Written;
use super::{Config, Hold};

/// What is spoken with the host that a queue is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    Smtp,
    /// LMTP: a reply for each recipient after the message (RFC 2033).
    Lmtp,
}

/// Where a domain's queue is delivered, as its table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To the domain's mail exchangers.
    Mx,
    /// There, whatever the domain.
    Fixed(DeliverTo),
}

/// Where a domain's queue is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeliverTo {
    /// To a host.
    Host(Endpoint),
    /// To the best of a domain's mail exchangers that is there, if it is better than we are.
    Mx(MxRoute),
    /// Into files of this machine's.
    Maildir(MaildirPath),
    /// To whoever authenticates and asks for it, over his own connection.
    Asker,
    /// To the smarthost of `[relay]`, which takes mail for all domains that are not held: no
    /// table of a domain's says so.
    Relay(Endpoint),
}

/// The mail exchangers of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MxRoute {
    /// The domain.
    pub domain: DomainName,
    /// Addresses that no host of the Internet has are used too.
    pub private: bool,
}

/// A host, and how it is talked to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What is spoken there.
    pub protocol: Protocol,
    /// The host.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

/// A Maildir, or one for each recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaildirPath {
    /// The Maildir; with `below`, the folder that those of the recipients are in.
    pub base: PathBuf,
    /// What follows `{user}`: the Maildir in a recipient's own folder; empty: that folder itself.
    pub below: Option<PathBuf>,
}

/// What stands for the recipient's name.
const USER: &str = "{user}";
/// The longest name of a recipient's folder.
const NAME_MAX: usize = 64;
const SCHEME: &str = "maildir:";
const ASKER: &str = "asker";
const MX: &str = "mx";

impl Route {
    /// Where the mail of the domain goes that says so; `private` goes for its mail exchangers.
    pub fn of(&self, domain: &DomainName, private: bool) -> DeliverTo {
        match self {
            Self::Mx => DeliverTo::Mx(MxRoute { domain: domain.clone(), private }),
            Self::Fixed(to) => to.clone(),
        }
    }

    /// The place, where it is the same for every domain.
    pub const fn fixed(&self) -> Option<&DeliverTo> {
        match self {
            Self::Mx => None,
            Self::Fixed(to) => Some(to),
        }
    }

    /// The host, if it is one that is named.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.fixed().and_then(DeliverTo::endpoint)
    }

    /// The Maildir, if it is one.
    pub const fn maildir(&self) -> Option<&MaildirPath> {
        match self {
            Self::Fixed(DeliverTo::Maildir(path)) => Some(path),
            _ => None,
        }
    }

    /// Whether it stays until it is fetched.
    pub fn is_asker(&self) -> bool {
        self.fixed().is_some_and(DeliverTo::is_asker)
    }
}

impl DeliverTo {
    /// The host, if it is one that is named.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Host(endpoint) | Self::Relay(endpoint) => Some(endpoint),
            Self::Mx(_) | Self::Maildir(_) | Self::Asker => None,
        }
    }

    /// Whether it is a host, named or to be found.
    pub const fn is_host(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Mx(_) | Self::Relay(_))
    }

    /// Whether it stays until it is fetched.
    pub const fn is_asker(&self) -> bool {
        matches!(self, Self::Asker)
    }

    /// Whether it takes only what was submitted.
    pub const fn is_relay(&self) -> bool {
        matches!(self, Self::Relay(_))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx => f.write_str(MX),
            Self::Fixed(to) => to.fmt(f),
        }
    }
}

impl fmt::Display for DeliverTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(endpoint) | Self::Relay(endpoint) => endpoint.fmt(f),
            Self::Mx(MxRoute { domain, .. }) => write!(f, "{MX}:{domain}"),
            Self::Maildir(path) => write!(f, "{SCHEME}{path}"),
            Self::Asker => f.write_str(ASKER),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.protocol == Protocol::Lmtp { "lmtp://" } else { "" };
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

impl fmt::Display for MaildirPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.display().fmt(f)?;
        match &self.below {
            Some(below) => Path::new("/").join(USER).join(below).display().fmt(f),
            None => Ok(()),
        }
    }
}

impl Word for Route {
    const EXPECTED: &'static str = "\"host:port\", \"mx\", \"lmtp://host:port\", \
        \"maildir:/path\" or \"asker\", such as \"mail.client.example:25\" or \
        \"[2001:db8::25]:25\"";

    fn parse(text: &str) -> Result<Self, String> {
        if text == MX { Ok(Self::Mx) } else { text.parse().map(Self::Fixed) }
    }
}

/// The text names no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseEndpointError;

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let (protocol, address) = match text.strip_prefix("lmtp://") {
            Some(address) => (Protocol::Lmtp, address),
            None => (Protocol::Smtp, text),
        };
        let (host, port) = parse_host_port(address).ok_or(ParseEndpointError)?;
        Ok(Self { protocol, host, port })
    }
}

impl FromStr for DeliverTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(SCHEME) {
            _ if text == ASKER => Ok(Self::Asker),
            Some(path) => MaildirPath::parse(path).map(Self::Maildir),
            None => text.parse().map(Self::Host).map_err(|_| unexpected::<Route>(text)),
        }
    }
}

impl MaildirPath {
    fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected an absolute path such as \"maildir:/srv/mail/client\" or \
            \"maildir:/srv/mail/{user}/Maildir\"";
        let path = Path::new(text);
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let mut parts = path.components();
        let sound = parts.next() == Some(Component::RootDir) && parts.clone().all(is_plain);
        if !sound || parts.next().is_none() || text.contains(char::is_control) {
            return Err(format!("{EXPECTED}, found \"{SCHEME}{text}\""));
        }
        // What is written is what is opened: no part of it is "..", and none is lost.
        let Some((base, below)) = text.split_once(USER) else {
            return without_braces(text).map(|base| Self { base, below: None });
        };
        if !base.ends_with('/') || !(below.is_empty() || below.starts_with('/')) {
            return Err(format!("\"{USER}\" stands for a whole part of the path"));
        }
        let (base, below) = (without_braces(base)?, without_braces(below)?);
        let below = below.strip_prefix("/").map(Path::to_owned).unwrap_or(below);
        Ok(Self { base, below: Some(below) })
    }
}

fn without_braces(text: &str) -> Result<PathBuf, String> {
    if text.contains(['{', '}']) {
        return Err(format!("only \"{USER}\" is filled in, and once"));
    }
    // Without slashes that mean nothing, so that one folder has one spelling.
    Ok(Path::new(text).components().collect())
}

/// The folder of a recipient that is listed as `listed`, as lists are compared: without what
/// follows a `+`; `None`: no folder is called that.
pub fn folder_name(listed: &[u8]) -> Option<&str> {
    let name = listed.split(|octet| *octet == b'+').next().unwrap_or_default();
    let is_plain =
        |octet: &u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-');
    let sound = (1..=NAME_MAX).contains(&name.len())
        && !name.starts_with(b".")
        && name.iter().all(is_plain);
    str::from_utf8(name).ok().filter(|_| sound)
}

impl Config {
    /// Every recipient of a domain with `{user}` has a folder of his own.
    pub(super) fn refuse_unfit_folders(&self, written: &Written, faults: &mut Faults<'_>) {
        for (domain, hold) in &self.hold {
            let key = format!("hold.\"{domain}\".deliver_to");
            for reason in hold.unfit_folders(domain) {
                faults.add_at(written.line(&key), &key, reason);
            }
        }
    }
}

impl Hold {
    fn unfit_folders(&self, domain: &DomainName) -> Vec<String> {
        let Some(MaildirPath { below: Some(_), .. }) = self.deliver_to.maildir() else {
            return Vec::new();
        };
        let Some(listed) = self.recipients.local_parts(domain) else {
            return vec![format!("\"{USER}\" wants recipients that are listed, or in a file")];
        };
        let unfit = listed.filter(|local| folder_name(local).is_none());
        let mut unfit: Vec<_> = unfit.map(String::from_utf8_lossy).collect();
        unfit.sort_unstable();
        let why = format!(
            "can be no folder for \"{USER}\": up to {NAME_MAX} of a-z, 0-9, \".\", \"_\", \"=\" \
            and \"-\", no \".\" first"
        );
        unfit.into_iter().map(|local| format!("\"{local}\" {why}")).collect()
    }
}

/// The permissions of the files that are delivered into a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// For nobody but the owner.
    pub const PRIVATE: Self = Self(0o600);

    /// The bits, of 0666.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Those of a folder whose files have these: who may read a message may also look for it, and
    /// a group that may, may move it from `new` to `cur`.
    pub const fn of_folders(self) -> u32 {
        let group = if self.0 & 0o040 == 0 { 0 } else { 0o070 };
        let others = if self.0 & 0o004 == 0 { 0 } else { 0o005 };
        0o700 | group | others
    }
}

impl Word for FileMode {
    const EXPECTED: &'static str = "permissions such as \"0640\": at least \"0600\", and no \
        writing by others";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.len() == 4 && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| digits);
        let sound = |bits: &u32| bits & !0o664 == 0 && bits & 0o600 == 0o600;
        bits.filter(sound).map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// A group of the system's, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(pub u32);

/// Where the system's groups are listed.
const GROUPS: &str = "/etc/group";

impl Word for Group {
    const EXPECTED: &'static str = "a group's name such as \"mail\", or its number";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        let list = super::file::read_text(Path::new(GROUPS)).unwrap_or_default();
        let number = group_number(&list, text).map(Self);
        number.ok_or_else(|| format!("\"{text}\" is no group in {GROUPS}: write its number"))
    }
}

/// The number of the group `name` in a list of group(5).
fn group_number(list: &str, name: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = fields.next().filter(|found| *found == name).and(fields.nth(1))?;
        number.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildir(text: &str) -> Result<MaildirPath, String> {
        match Route::parse(text) {
            Ok(Route::Fixed(DeliverTo::Maildir(path))) => Ok(path),
            Ok(to) => panic!("{to:?} is no Maildir"),
            Err(reason) => Err(reason),
        }
    }

    #[test]
    fn a_maildir_is_one_or_each_recipients_own() {
        for (text, base, below) in [
            ("maildir:/srv/mail/client", "/srv/mail/client", None),
            ("maildir:/srv//mail/", "/srv/mail", None),
            ("maildir:/srv/mail/{user}", "/srv/mail", Some("")),
            ("maildir:/srv/mail/{user}/Maildir/", "/srv/mail", Some("Maildir")),
            ("maildir:/home/{user}/Mail/in", "/home", Some("Mail/in")),
        ] {
            let expected = MaildirPath { base: base.into(), below: below.map(PathBuf::from) };
            assert_eq!(maildir(text), Ok(expected), "{text}");
        }
        for text in ["maildir:/srv/mail/client", "maildir:/home/{user}/Maildir"] {
            assert_eq!(maildir(text).expect("it is sound").to_string(), text[SCHEME.len()..]);
        }
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_is_none() {
        for text in ["", "/", "srv/mail", "~/Maildir", "/srv/../etc", "/srv/./../x", "/srv/\u{1}"] {
            let reason = maildir(&format!("maildir:{text}")).expect_err(text);
            assert!(reason.starts_with("expected an absolute path"), "{text}: {reason}");
        }
        for (text, expected) in [
            ("/srv/mail-{user}", "\"{user}\" stands for a whole part of the path"),
            ("/srv/{user}s", "\"{user}\" stands for a whole part of the path"),
            ("/srv/{user}/{user}", "only \"{user}\" is filled in, and once"),
            ("/srv/{domain}", "only \"{user}\" is filled in, and once"),
            ("/{user}/{domain}", "only \"{user}\" is filled in, and once"),
        ] {
            assert_eq!(maildir(&format!("maildir:{text}")), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_folder_has_a_plain_name() {
        let long = "a".repeat(NAME_MAX);
        for (listed, folder) in [
            ("info", "info"),
            ("ann.lee_2=x-y", "ann.lee_2=x-y"),
            ("ann+dev", "ann"),
            (&long, &long),
            ("..a", ""),
            (".", ""),
            ("", ""),
            ("+dev", ""),
            ("a/b", ""),
            ("john doe", ""),
            ("jörg", ""),
            ("Ann", ""),
            (&format!("{long}a"), ""),
        ] {
            assert_eq!(folder_name(listed.as_bytes()).unwrap_or_default(), folder, "{listed}");
        }
    }

    #[test]
    fn whoever_may_read_mail_may_also_reach_it() {
        for (mode, folders) in [("0600", 0o700), ("0640", 0o770), ("0660", 0o770), ("0644", 0o775)]
        {
            let mode = FileMode::parse(mode).expect("permissions");
            assert_eq!(mode.of_folders(), folders, "{mode:?}");
        }
        for text in ["", "600", "0400", "0666", "0700", "1600", "0o600", "rw-r-----", "0680"] {
            assert_eq!(FileMode::parse(text), Err(unexpected::<FileMode>(text)));
        }
    }

    #[test]
    fn a_group_is_a_number_or_is_looked_up() {
        const LIST: &str = "root:x:0:\nmail:x:8:ann,bob\nodd\nvmail:x:5000:\n";
        let numbers =
            ["root", "mail", "vmail", "mai", "x", "odd"].map(|name| group_number(LIST, name));
        assert_eq!(numbers, [Some(0), Some(8), Some(5000), None, None, None]);
        assert_eq!(Group::parse("5000"), Ok(Group(5000)));
        let reason = "\"no:such\" is no group in /etc/group: write its number";
        assert_eq!(Group::parse("no:such"), Err(reason.to_owned()));
    }
}
