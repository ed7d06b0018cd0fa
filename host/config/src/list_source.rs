//! Where a list of recipients is fetched from.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::fault::Faults;
use super::file;
use super::settings::{Outline, Setting, Value, Word, found, settings};
use super::values::{Host, parse_host, parse_host_port};

/// URLs that a list is put together from, at most.
const URLS_MAX: usize = 10;
/// The shortest time between two fetches: what is fetched oftener is in somebody's way.
const EVERY_MIN: Duration = Duration::from_secs(60);
/// Octets of a header's value at most.
const TOKEN_MAX: usize = 4096;

settings! {
/// A list of recipients that is fetched by HTTP.
pub struct Table {
    /// What the list is put together from.
    pub urls: Vec<ListUrl> => Example("[\"https://mail.client.example/recipients\"]"),
    /// The header that has the token.
    pub header: Option<HeaderName> => Example("\"Authorization\""),
    /// The file whose first line is that header's value.
    pub token_file: Option<PathBuf> => Example("\"/etc/postern/token\""),
    /// Where the addresses are in JSON.
    pub select: Selects => Default("[]"),
    /// Certificates that the server's must be signed by.
    pub ca: Option<PathBuf> => Example("\"/etc/postern/ca.pem\""),
    /// How often it is fetched.
    pub every: Duration => Default("\"1h\""),
    /// How old it may get before health says so.
    pub stale: Duration => Default("\"7d\""),
}
}

/// A list of recipients that is fetched by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSource {
    /// What the list is put together from: one at least.
    pub urls: Vec<ListUrl>,
    /// The header that says who we are, and the file whose first line is its value.
    pub header: Option<(HeaderName, PathBuf)>,
    /// Where the addresses are in what comes, which is JSON; none: it has one a line.
    pub select: Vec<Select>,
    /// The file with the certificates that the server's must be signed by; `None`: those that this
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// How often it is fetched.
    pub every: Duration,
    /// How old it may get before health says so.
    pub stale: Duration,
}

impl ListSource {
    /// The header's value, as it is in the file now.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn token(&self) -> Result<Option<(&HeaderName, String)>, String> {
        let Some((header, path)) = &self.header else { return Ok(None) };
        let wrong = |why: &str| format!("token_file {}: {why}", path.display());
        let text = file::read_private_text(path).map_err(|error| wrong(&error.to_string()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        let is_visible = token.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        match token.len() {
            0 => Err(wrong("its first line is empty: that is where the token stands")),
            1..=TOKEN_MAX if is_visible => Ok(Some((header, token.to_owned()))),
            _ => Err(wrong("its first line can be no header's value")),
        }
    }
}

impl Setting for ListSource {
    const OUTLINE: Option<&'static Outline> = None;

    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let Table { urls, header, token_file, select, ca, every, stale } =
            Table::read(value, key, faults)?;
        let wrong = match () {
            () if urls.is_empty() => Some(("urls", "is empty: there is nothing to fetch")),
            () if urls.len() > URLS_MAX => Some(("urls", "has more than 10")),
            () if header.is_some() != token_file.is_some() => {
                Some(("header", "and token_file: one is nothing without the other"))
            }
            () if every < EVERY_MIN => Some(("every", "is less than a minute")),
            () if stale < every => Some(("stale", "is less than every: health would be red")),
            () if ca.is_some() && !urls.iter().any(|url| url.is_secure) => {
                Some(("ca", "is for https, and urls has none"))
            }
            () => None,
        };
        if let Some((name, reason)) = wrong {
            faults.add(value.span(), &format!("{key}.{name}"), reason.to_owned());
            return None;
        }
        Some(Self { urls, header: header.zip(token_file), select: select.0, ca, every, stale })
    }
}

/// Where a part of a list is. It may have a secret in it: nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ListUrl {
    /// Whether it is https.
    pub is_secure: bool,
    /// The server.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

impl ListUrl {
    /// What the request's Host says (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (is_secure, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://")?),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let alone = || parse_host(authority).map(|host| (host, if is_secure { 443 } else { 80 }));
        let (host, port) = parse_host_port(authority).or_else(alone)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        let is_plain = target.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#');
        is_plain.then(|| Self { is_secure, host, port, target: format!("{slash}{target}") })
    }
}

impl fmt::Debug for ListUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListUrl(hidden)")
    }
}

impl Setting for ListUrl {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let url = match value.get_ref() {
            DeValue::String(text) => Self::read(text),
            _ => None,
        };
        let reason = match &url {
            None => {
                "expected a URL such as \"https://mail.client.example/recipients\", with a \
                host, and no name or password in it"
            }
            Some(url) if !url.is_secure && !url.is_loopback() => {
                "is http, which anybody on the way can read and change: write https, or an address \
                of this machine such as 127.0.0.1"
            }
            Some(_) => return url,
        };
        faults.add(value.span(), key, reason.to_owned());
        None
    }
}

impl ListUrl {
    fn is_loopback(&self) -> bool {
        matches!(self.host, Host::Address(address) if IpAddr::is_loopback(&address))
    }
}

impl Setting for Vec<ListUrl> {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            faults.add(value.span(), key, "expected a list of URLs".to_owned());
            return None;
        };
        let urls: Vec<_> = items.iter().map(|item| Setting::read(item, key, faults)).collect();
        urls.into_iter().collect()
    }
}

/// The name of a header of HTTP (RFC 9110 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for HeaderName {
    const EXPECTED: &'static str = "a header's name such as \"Authorization\" or \"X-API-Key\"";

    fn parse(text: &str) -> Result<Self, String> {
        // What a connection is by, and where, is ours to say.
        const OURS: [&str; 8] = [
            "host",
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
            "upgrade",
            "accept-encoding",
            "range",
        ];
        let is_token =
            |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        let lower = text.to_ascii_lowercase();
        let is_fit = (1..=64).contains(&text.len())
            && text.bytes().all(is_token)
            && !OURS.contains(&&*lower);
        if is_fit {
            Ok(Self(text.to_owned()))
        } else {
            Err(super::values::unexpected::<Self>(text))
        }
    }
}

/// Where the addresses are in JSON: a JSON pointer (RFC 6901), in which `*` is each of an array's
/// or an object's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select(Vec<Step>);

/// One step of a [`Select`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the value of this key, or with this number in an array.
    Key(String),
    /// To each.
    Each,
}

impl Select {
    /// The steps, from the outermost on.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl Word for Select {
    const EXPECTED: &'static str = "a JSON pointer such as \"/*/username\"";

    fn parse(text: &str) -> Result<Self, String> {
        let unexpected = || super::values::unexpected::<Self>(text);
        let pointer = match text {
            "" => return Ok(Self(Vec::new())),
            _ => text.strip_prefix('/').ok_or_else(unexpected)?,
        };
        let step = |step: &str| match step {
            "*" => Some(Step::Each),
            _ => {
                let is_escaped = |tilde: (usize, &str)| step[tilde.0 + 1..].starts_with(['0', '1']);
                let is_sound = step.match_indices('~').all(is_escaped);
                is_sound.then(|| Step::Key(step.replace("~1", "/").replace("~0", "~")))
            }
        };
        let steps: Option<Vec<_>> = pointer.split('/').map(step).collect();
        steps.map(Self).ok_or_else(unexpected)
    }
}

/// One pointer, or several: each answer has its addresses where one of them leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selects(Vec<Select>);

impl Setting for Selects {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => Select::read(value, key, faults).map(|one| Self(vec![one])),
            DeValue::Array(_) => Vec::<Select>::read(value, key, faults).map(Self),
            other => {
                let reason = format!("expected {}, {}", Select::EXPECTED, found(other));
                faults.add(value.span(), key, reason);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::{Config, Recipients};
    use super::*;

    fn source(table: &str) -> Result<ListSource, String> {
        let text = format!(
            "[hold.\"client.example\"]\nrecipients = {table}\ndeliver_to = \"h.example:25\"\n"
        );
        let config = Config::parse(Path::new("postern.toml"), &text).map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            problems.join("\n")
        })?;
        match &config.hold.values().next().expect("one").recipients {
            Recipients::Fetched(source) => Ok(ListSource::clone(source)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_says_where_the_list_is() {
        let read = source(
            "{ urls = [\"https://mail.client.example/api?a=b\", \"http://127.0.0.1:8080\"], header \
             = \"X-API-Key\", token_file = \"/t\", select = [\"/*/username\", \"/a~1b/0/~0\"], \
             every = \"10m\" }",
        );
        let read = read.expect("it is sound");
        let [one, two] = &read.urls[..] else { panic!("{read:?}") };
        assert_eq!((one.authority(), &*one.target), ("mail.client.example".into(), "/api?a=b"));
        assert_eq!((two.authority(), &*two.target), ("127.0.0.1:8080".into(), "/"));
        assert!(one.is_secure && one.port == 443 && !two.is_secure);
        let key = |key: &str| Step::Key(key.to_owned());
        assert_eq!(read.select[0].steps(), [Step::Each, key("username")]);
        assert_eq!(read.select[1].steps(), [key("a/b"), key("0"), key("~")]);
        assert_eq!((read.every.as_secs(), read.stale.as_secs()), (600, 7 * 86_400));
        let shown = format!("{read:?}");
        assert!(!shown.contains("mail.client.example") && !shown.contains("api"), "{shown}");
    }

    #[test]
    fn a_section_is_a_table_too() {
        let text = "[hold.\"client.example\"]\ndeliver_to = \"h.example:25\"\n\
            [hold.\"client.example\".recipients]\nurls = [\"https://h.example/a\"]\n";
        let config = Config::parse(Path::new("postern.toml"), text).expect("it is sound");
        let hold = config.hold.values().next().expect("one");
        assert!(matches!(hold.recipients, Recipients::Fetched(_)), "{hold:?}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        let secret = "s3cret";
        for (table, why) in [
            ("{}", "is required"),
            ("\"https://h.example/s3cret\"", "found a URL: write { urls = "),
            ("{ urls = [] }", "nothing to fetch"),
            ("{ urls = \"https://h.example\" }", "a list of URLs"),
            ("{ urls = [\"ftp://h.example/s3cret\"] }", "expected a URL"),
            ("{ urls = [\"https://ann:s3cret@h.example/\"] }", "no name or password"),
            ("{ urls = [\"https://h.example/s3cret#a\"] }", "expected a URL"),
            ("{ urls = [\"https://h.example/s3cret \\r\\nHost: x\"] }", "expected a URL"),
            ("{ urls = [\"https:///s3cret\"] }", "expected a URL"),
            ("{ urls = [\"http://mail.client.example/s3cret\"] }", "is http"),
            ("{ urls = [\"http://localhost/s3cret\"] }", "is http"),
            ("{ urls = [\"http://192.0.2.1/s3cret\"] }", "is http"),
            ("{ urls = [\"https://h.example\"], header = \"A\" }", "nothing without"),
            ("{ urls = [\"https://h.example\"], token_file = \"/t\" }", "nothing without"),
            (
                "{ urls = [\"https://h.example\"], header = \"Host\", token_file = \"/t\" }",
                "a header's name",
            ),
            (
                "{ urls = [\"https://h.example\"], header = \"a b\", token_file = \"/t\" }",
                "a header's name",
            ),
            ("{ urls = [\"https://h.example\"], select = \"a\" }", "a JSON pointer"),
            ("{ urls = [\"https://h.example\"], select = \"/~2\" }", "a JSON pointer"),
            ("{ urls = [\"https://h.example\"], every = \"59s\" }", "less than a minute"),
            ("{ urls = [\"https://h.example\"], stale = \"5m\" }", "is less than every"),
            ("{ urls = [\"http://[::1]/\"], ca = \"/ca\" }", "is for https"),
            ("{ url = [\"https://h.example/s3cret\"] }", "did you mean \"urls\""),
        ] {
            let told = source(table).expect_err(table);
            assert!(told.contains(why) && !told.contains(secret), "{table}: {told}");
        }
    }

    #[test]
    fn a_token_is_one_line_of_a_file_of_our_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("token");
        let table =
            format!("{{ urls = [\"https://h.example\"], header = \"A\", token_file = {file:?} }}");
        let source = source(&table).expect("it is sound");
        assert!(source.token().is_err_and(|why| why.contains("No such file")));
        for (text, expected) in [
            ("Bearer s3cret\n", Ok("Bearer s3cret")),
            (" s3cret \r\nmore", Ok("s3cret")),
            ("", Err("first line is empty")),
            ("a\u{7f}", Err("no header's value")),
            ("s\u{e4}cret", Err("no header's value")),
        ] {
            fs::write(&file, text).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
            match (source.token(), expected) {
                (Ok(Some((_, token))), Ok(expected)) => assert_eq!(token, expected),
                (Err(told), Err(why)) => assert!(told.contains(why), "{told}"),
                (told, _) => panic!("{text:?}: {told:?}"),
            }
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert!(source.token().is_err_and(|why| why.contains("others may use it")));
    }
}
