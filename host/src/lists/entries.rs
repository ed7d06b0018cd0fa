//! The addresses that a list has, and how they are read.

use std::collections::HashSet;
use std::fmt::{self, Display};

use crate::config::{DomainName, canonical};

/// Octets of an address at most, with those of its quotes (RFC 5321 section 4.5.3.1).
const ADDRESS_MAX: usize = 320;
/// Addresses that one list may have: each takes some 100 octets of memory.
pub(super) const ENTRIES_MAX: usize = 1_000_000;
/// Characters of an entry that are shown of one that is no address.
const SHOWN_MAX: usize = 80;
/// What some editors and exports begin a text with.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What stands for all local parts of a domain.
pub(super) const ALL: &[u8] = b"";

/// Local parts of one domain, as they are compared; an empty one is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries(pub(super) HashSet<Box<[u8]>>);

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A sum that is another for other names, in whatever order.
    pub(super) fn sum(&self) -> u32 {
        self.0.iter().map(|name| crc32c::crc32c(name)).fold(0x9e37_79b9, u32::wrapping_add)
    }

    pub(super) fn has(&self, local: &[u8]) -> bool {
        self.0.contains(local)
    }

    /// Those of `domain` among `texts`, each an address or `@` and a domain.
    ///
    /// # Errors
    /// The first that is neither, or there are more than a million.
    pub fn of<'t>(
        domain: &DomainName,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, EntriesError> {
        let mut entries = Self::default();
        entries.extend(domain, texts)?;
        Ok(entries)
    }

    /// Adds those of `domain` among `texts`.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn extend<'t>(
        &mut self,
        domain: &DomainName,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), EntriesError> {
        texts.into_iter().enumerate().try_for_each(|(nth, text)| self.add(domain, nth + 1, text))
    }

    /// Adds `text`, the `nth` of a list, if it is of `domain`.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn add(&mut self, domain: &DomainName, nth: usize, text: &str) -> Result<(), EntriesError> {
        let (local, at) =
            address(text).ok_or_else(|| EntriesError::NoAddress { nth, text: shortened(text) })?;
        if at == *domain {
            self.0.insert(local.into_boxed_slice());
        }
        if self.len() > ENTRIES_MAX { Err(EntriesError::TooMany) } else { Ok(()) }
    }
}

/// Why a list is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntriesError {
    /// An entry is no address.
    NoAddress {
        /// Which, from 1 on.
        nth: usize,
        /// What stands there, harmless to show.
        text: String,
    },
    /// They are more than are kept.
    TooMany,
}

impl Display for EntriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress { nth, .. } => write!(f, "entry {nth} is no address"),
            Self::TooMany => write!(f, "it has more than {ENTRIES_MAX} addresses"),
        }
    }
}

impl EntriesError {
    /// What it is, with the entry's text: for whoever gave the list alone.
    pub fn shown(&self) -> String {
        match self {
            Self::NoAddress { text, .. } => format!("{self}: {text}"),
            Self::TooMany => self.to_string(),
        }
    }
}

impl std::error::Error for EntriesError {}

fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_debug())
}

/// The local part of the address `text`, as it is compared, and its domain; an empty local part
/// where `text` is `@` and a domain.
fn address(text: &str) -> Option<(Vec<u8>, DomainName)> {
    let (local, domain) = text.rsplit_once('@')?;
    let domain = domain.parse().ok()?;
    let is_hidden = |letter: char| letter.is_control() || crate::config::is_format(letter);
    if text.len() > ADDRESS_MAX || local.contains(is_hidden) {
        return None;
    }
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let is_atom = |letter: char| !letter.is_whitespace() && !"\"(),:;<>@[]\\".contains(letter);
    let local = (is_quoted || local.chars().all(is_atom)).then(|| canonical(local.as_bytes()))?;
    Some((local.into_owned(), domain))
}

/// The entries of a list that has one a line; `#` at a line's begin, or behind a space, starts a
/// comment.
///
/// # Errors
/// Its last line has no end, so that there may have been more.
pub fn by_line(text: &str) -> Result<Vec<&str>, &'static str> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no end: it may have been cut short");
    }
    let lines = text.lines().map(|line| {
        let mut comments = line.match_indices('#').map(|(place, _)| place);
        let is_comment =
            |place: &usize| line[..*place].chars().next_back().is_none_or(char::is_whitespace);
        line[..comments.find(is_comment).unwrap_or(line.len())].trim()
    });
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> DomainName {
        "client.example".parse().expect("a domain name")
    }

    fn locals(texts: &[&str]) -> Result<Vec<String>, String> {
        let entries = Entries::of(&domain(), texts.iter().copied());
        let entries = entries.map_err(|error| error.shown())?;
        let text = |local: Box<[u8]>| String::from_utf8(local.into_vec()).expect("UTF-8");
        let mut locals: Vec<_> = entries.0.into_iter().map(text).collect();
        locals.sort();
        Ok(locals)
    }

    #[test]
    fn addresses_of_the_domain_count_and_others_do_not() {
        let texts = [
            "Info@client.example",
            "info@CLIENT.example.",
            "\"John Doe\"@client.example",
            "ann@other.example",
            "j\u{f6}rg@client.example",
            "@client.example",
            "@other.example",
        ];
        assert_eq!(
            locals(&texts),
            Ok(["", "info", "john doe", "j\u{f6}rg"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_is_no_address_is_named_and_harmless_to_show() {
        let long = format!("{}@client.example", "x".repeat(ADDRESS_MAX));
        for text in [
            "info",
            "",
            "@",
            "Ann <ann@client.example>",
            "two words@client.example",
            "a,b@client.example",
            "info@-.example",
            "\"a\nb\"@client.example",
            "a\u{1b}[2J@client.example",
            "a\u{200b}@client.example",
            "a\0@client.example",
            "<html>@client.example",
            &long,
        ] {
            let told = locals(&["info@client.example", text]).expect_err(text);
            assert!(told.starts_with("entry 2 is no address: "), "{told}");
            assert!(!told.contains(char::is_control) && told.len() < 200, "{told}");
        }
    }

    #[test]
    fn a_million_is_enough() {
        let texts: Vec<_> = (0..=ENTRIES_MAX).map(|n| format!("{n}@client.example")).collect();
        let texts = || texts.iter().map(String::as_str);
        assert_eq!(Entries::of(&domain(), texts()), Err(EntriesError::TooMany));
        let of_another = "other.example".parse().expect("a domain name");
        assert_eq!(Entries::of(&of_another, texts()), Ok(Entries::default()));
        assert!(Entries::of(&domain(), texts().skip(1)).is_ok());
    }

    #[test]
    fn lines_have_comments_and_an_end() {
        let text = "# ours\n\ninfo@client.example\r\n a#b@client.example # Ann's\n";
        assert_eq!(by_line(text), Ok(vec!["info@client.example", "a#b@client.example"]));
        assert_eq!(by_line(""), Ok(Vec::new()));
        let marked = "\u{feff}info@client.example\n";
        assert_eq!(by_line(marked), Ok(vec!["info@client.example"]));
        assert!(by_line("info@client.example\nsales@client.exa").is_err());
    }
}
