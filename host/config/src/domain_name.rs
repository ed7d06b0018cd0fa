//! Domain names, of which each has one form here.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::file::is_format;

/// A domain name in lower case: letters, digits and hyphens, without a dot at its end
/// (RFC 5321 section 2.3.5). An internationalized one is in its xn-- form: both of its forms are
/// the same name (RFC 5890 section 2.3.2.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a peer wrote as `octets`; `None`: it is none.
    pub fn from_wire(octets: &[u8]) -> Option<Self> {
        str::from_utf8(octets).ok()?.parse().ok()
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What to write, for who wrote something else.
pub(crate) const EXPECTED: &str = "a domain name such as \"client.example\"";

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unexpected = || format!("expected {EXPECTED}, found \"{text}\"");
        let ascii = to_ascii(text).ok_or_else(unexpected)?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        let letters = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let valid = name.len() <= 253
            && name.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && letters(label)
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            });
        if !valid || name.parse::<IpAddr>().is_ok() {
            return Err(unexpected());
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

/// `text` with each internationalized label in its xn-- form, as UTS 46 maps it for a look-up
/// (non-transitional, so that `straße` is not `strasse`); `None`: it has none.
fn to_ascii(text: &str) -> Option<Cow<'_, str>> {
    let xn = |label: &str| label.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--"));
    if text.is_ascii() && !text.split('.').any(xn) {
        return Some(Cow::Borrowed(text));
    }
    // UTS 46 drops what nobody sees, but for the joiners, which belong to some scripts.
    if text.contains(|letter| is_format(letter) && !matches!(letter, '\u{200c}' | '\u{200d}')) {
        return None;
    }
    let (deny, hyphens, length) = (AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
    Uts46::new().to_ascii(text.as_bytes(), deny, hyphens, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        text.parse().ok().map(|name: DomainName| name.to_string())
    }

    #[test]
    fn both_forms_of_an_internationalized_name_are_one_name() {
        for (text, expected) in [
            ("Client.EXAMPLE.", "client.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("mail.r3---sn.example", "mail.r3---sn.example"),
        ] {
            assert_eq!(name(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_name() {
        for text in [
            "",
            ".",
            "a..example",
            "-a.example",
            "a_b.example",
            "192.0.2.1",
            "1９2.0.2.1",
            "xn--a.example",
            "xn--zzzzzzz99999.example",
            "cli\u{200b}ent.example",
            "client.example\u{feff}",
            "ö ö.example",
            "\u{308}a.example",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(&format!("{}.example", "a".repeat(64))), None);
        assert_eq!(name(&format!("{}.example", "ö".repeat(60))), None);
        assert_eq!(DomainName::from_wire(b"a\xff.example"), None);
    }
}
