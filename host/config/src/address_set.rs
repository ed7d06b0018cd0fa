//! Sets of addresses, and how local parts are compared.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::domain_name::DomainName;
use super::file::is_format;

pub(super) const POSTMASTER: &[u8] = b"postmaster";

/// Addresses, and local parts that stand for any domain that the set is used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    locals: HashSet<Box<[u8]>>,
    addresses: HashMap<DomainName, HashSet<Box<[u8]>>>,
}

/// The recipients files that were read for one configuration; `None`: its faults were told.
#[derive(Debug, Default)]
pub(super) struct RecipientFiles(pub(super) HashMap<PathBuf, Option<Arc<AddressSet>>>);

impl AddressSet {
    /// Reads a recipients file: one address or local part a line, `#` starts a comment.
    ///
    /// # Errors
    /// Every line that is neither, with its number.
    pub(super) fn from_file(text: &str) -> Result<Self, Vec<String>> {
        let mut set = Self::default();
        let mut wrong = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let entry = line.split_once('#').map_or(line, |(entry, _)| entry).trim();
            if !entry.is_empty() && set.insert(entry).is_none() {
                wrong.push(format!("line {}: {}", number + 1, not_an_address(entry)));
            }
        }
        if wrong.is_empty() { Ok(set) } else { Err(wrong) }
    }

    /// Adds an address or a local part; `None`: it is neither.
    pub(super) fn insert(&mut self, entry: &str) -> Option<()> {
        let (local, domain) = match entry.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain.parse().ok()?)),
            None => (entry, None),
        };
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let atom = |c: char| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>@[]\\".contains(c);
        if local.is_empty() || local.contains(is_format) || !(quoted || local.chars().all(atom)) {
            return None;
        }
        let local = canonical(local.as_bytes()).into_owned().into_boxed_slice();
        match domain {
            Some(domain) => self.addresses.entry(domain).or_default().insert(local),
            None => self.locals.insert(local),
        };
        Some(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.addresses.is_empty()
    }

    pub(super) fn contains(&self, local: &[u8], domain: &DomainName) -> bool {
        let at_domain = || self.addresses.get(domain).is_some_and(|set| set.contains(local));
        self.locals.contains(local) || at_domain()
    }

    /// The local parts of `domain`, as they are compared, in no order.
    pub(super) fn local_parts(&self, domain: &DomainName) -> impl Iterator<Item = &[u8]> {
        let of_domain = self.addresses.get(domain).into_iter().flatten();
        self.locals.iter().chain(of_domain).map(AsRef::as_ref)
    }
}

/// Whether `local`, as it stands in a path, is whoever runs the mail of its domain
/// (RFC 5321 section 4.5.1).
pub fn is_postmaster(local: &[u8]) -> bool {
    canonical(local).as_ref() == POSTMASTER
}

/// A local part without quotes, in lower case and in Unicode's normalization form C: `"Info"` and
/// `info` are one mailbox (RFC 5321 section 4.1.2), no host today tells `Info` from `info`, and
/// one letter has one spelling (RFC 6530 section 10.1).
pub fn canonical(local: &[u8]) -> Cow<'_, [u8]> {
    let plain = without_quotes(local);
    match str::from_utf8(&plain) {
        Ok(text) if !text.is_ascii() => {
            let form_c = ComposingNormalizerBorrowed::new_nfc();
            let lower = form_c.normalize(text).to_lowercase();
            Cow::Owned(form_c.normalize(&lower).into_owned().into_bytes())
        }
        _ if plain.iter().any(u8::is_ascii_uppercase) => Cow::Owned(plain.to_ascii_lowercase()),
        _ => plain,
    }
}

fn without_quotes(local: &[u8]) -> Cow<'_, [u8]> {
    let quoted = local.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = quoted else { return Cow::Borrowed(local) };
    let mut escaped = false;
    let plain = inner.iter().filter(|byte| {
        escaped = !escaped && **byte == b'\\';
        !escaped
    });
    Cow::Owned(plain.copied().collect())
}

/// Why `entry` could not be added.
pub(super) fn not_an_address(entry: &str) -> String {
    match entry.find(is_format) {
        Some(place) => {
            let unseen = entry[place..].chars().next().map_or(0, u32::from);
            let seen = entry.replace(is_format, "");
            format!("\"{seen}\" has a character that nobody sees, U+{unseen:04X}")
        }
        None => format!("\"{entry}\" is neither an address nor a local part"),
    }
}
