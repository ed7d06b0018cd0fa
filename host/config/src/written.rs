//! Which keys a configuration file has, and where.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::domain_name::DomainName;
use super::fault::Faults;
use super::settings::Word;

/// The keys that a file has, each with its line: `receive.channels`, and, in whatever case the file
/// names the domain, `hold."client.example".deliver_to`. A key that several tables of a list have
/// stands in the line of the first.
#[derive(Debug, Default)]
pub struct Written(BTreeMap<String, usize>);

impl Written {
    /// Those of `document`, which was parsed from the file that `faults` are collected of.
    pub(super) fn new(document: &DeTable<'_>, faults: &Faults<'_>) -> Self {
        let mut written = Self::default();
        written.note(document, "", faults);
        written
    }

    fn note(&mut self, table: &DeTable<'_>, path: &str, faults: &Faults<'_>) {
        for (name, value) in table {
            let text = name.get_ref();
            let key = match path {
                "" => text.to_string(),
                "hold" => match DomainName::parse(text) {
                    Ok(domain) => format!("hold.\"{domain}\""),
                    Err(_) => format!("hold.\"{text}\""),
                },
                _ => format!("{path}.{text}"),
            };
            match value.get_ref() {
                DeValue::Table(inner) => self.note(inner, &key, faults),
                DeValue::Array(items) => {
                    for item in items {
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.note(inner, &key, faults);
                        }
                    }
                }
                _ => {}
            }
            self.0.entry(key).or_insert_with(|| faults.line_of(name.span().start));
        }
    }

    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The keys of the section `section` that the file has.
    pub fn within(&self, section: &str) -> impl Iterator<Item = &str> {
        let keys = self.0.keys().map(String::as_str);
        keys.filter(move |key| key.rsplit_once('.').is_some_and(|(of, _)| of == section))
    }

    /// The keys of the name `name` that the file has in its holds.
    pub fn in_holds(&self, name: &str) -> impl Iterator<Item = &str> {
        let in_a_hold = move |key: &&str| {
            key.starts_with("hold.") && key.rsplit_once("\".").is_some_and(|(_, last)| last == name)
        };
        self.0.keys().map(String::as_str).filter(in_a_hold)
    }

    /// The line of the key or, when it is not written, of the section that it belongs to.
    pub fn line(&self, key: &str) -> Option<usize> {
        let section = || self.0.get(key.rsplit_once('.')?.0);
        self.0.get(key).or_else(section).copied()
    }
}
