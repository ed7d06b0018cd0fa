//! Reading a section of the file, so that one declaration is struct, defaults, reader and manual.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Faults;

/// A value of the file and where it stands.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A type that a key of the file can have.
pub trait Setting: Sized {
    /// The keys inside, for a type that is a section of the file.
    const OUTLINE: Option<&'static Outline> = None;

    /// Reads a value; what is wrong with it goes to `faults`, and then there is no result.
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self>;

    /// What a key that is not given, and has no default text, means; `None`: it is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// A [`Setting`] that is written as one TOML string.
pub trait Word: Sized {
    /// What to write, with an example: it ends "expected …".
    const EXPECTED: &'static str;

    /// Reads the text between the quotes; the error is the whole reason.
    fn parse(text: &str) -> Result<Self, String>;
}

/// The keys of a section, with their manual.
pub struct Outline {
    pub(super) about: &'static [&'static str],
    pub(super) keys: &'static [Key],
}

/// A key of a section, with its manual.
pub struct Key {
    pub(super) name: &'static str,
    pub(super) about: &'static [&'static str],
    pub(super) shown: Shown,
    pub(super) outline: Option<&'static Outline>,
}

/// What the whole file of `config default` shows for a key.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    /// The TOML text that an absent key stands for.
    Default(&'static str),
    /// TOML text for a comment: the key is required, or its absence has a meaning of its own.
    Example(&'static str),
    /// The header of a section that is there even when it is not written.
    Section(&'static str),
}

/// Declares a section: the struct, its reader, its defaults and its manual in one place.
macro_rules! settings {
    ($(#[doc = $about:literal])* pub struct $name:ident {
        $($(#[doc = $doc:literal])* pub $field:ident: $type:ty => $kind:ident($text:literal),)*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $type,)* }

        impl $crate::settings::Setting for $name {
            const OUTLINE: Option<&'static $crate::settings::Outline> =
                Some(&$crate::settings::Outline {
                    about: &[$($about),*],
                    keys: &[$($crate::settings::Key {
                        name: stringify!($field),
                        about: &[$($doc),*],
                        shown: $crate::settings::Shown::$kind($text),
                        outline: <$type as $crate::settings::Setting>::OUTLINE,
                    }),*],
                });

            fn read(
                value: &$crate::settings::Value<'_>,
                key: &str,
                faults: &mut $crate::fault::Faults<'_>,
            ) -> Option<Self> {
                let outline = Self::OUTLINE.expect("a section has an outline");
                let section = $crate::settings::Section::open(value, key, faults)?;
                section.refuse_unknown(outline, faults);
                $(let $field = section.read(
                    stringify!($field),
                    $crate::settings::Shown::$kind($text),
                    faults,
                );)*
                Some(Self { $($field: $field?),* })
            }

            fn absent() -> Option<Self> {
                let mut faults = $crate::fault::Faults::new(std::path::Path::new(""), "");
                Self::read(&$crate::settings::empty_table(), "", &mut faults)
            }
        }
    };
}
pub(super) use settings;

/// A section without a key.
pub(super) fn empty_table() -> Value<'static> {
    Spanned::new(0..0, DeValue::Table(DeTable::new()))
}

/// A section being read.
pub(super) struct Section<'v, 'i> {
    value: &'v Value<'i>,
    table: &'v DeTable<'i>,
    path: &'v str,
}

impl<'v, 'i> Section<'v, 'i> {
    /// The section at `path`; a fault when `value` is something else.
    pub(super) fn open(
        value: &'v Value<'i>,
        path: &'v str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { value, table, path }),
            other => {
                let found = found(other);
                faults.add(value.span(), path, format!("expected a [{path}] section, {found}"));
                None
            }
        }
    }

    /// Faults every key that `outline` does not list, naming the one that was probably meant.
    pub(super) fn refuse_unknown(&self, outline: &Outline, faults: &mut Faults<'_>) {
        for name in self.table.keys() {
            let text = name.get_ref().as_ref();
            if !outline.keys.iter().any(|key| key.name == text) {
                faults.add(name.span(), &self.key(text), unknown(text, outline));
            }
        }
    }

    /// The value of the key `name`, its default, or a fault and nothing.
    pub(super) fn read<T: Setting>(
        &self,
        name: &str,
        shown: Shown,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let key = self.key(name);
        let given = self.table.get(name);
        if let Some(value) = given {
            return T::read(value, &key, faults);
        }
        match shown {
            Shown::Default(text) => Some(default(&key, text)),
            Shown::Section(_) => Some(T::absent().expect("a section's keys have defaults")),
            Shown::Example(text) => T::absent().or_else(|| {
                faults.add(self.value.span(), &key, format!("is required: {name} = {text}"));
                None
            }),
        }
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The value that a default text stands for.
fn default<T: Setting>(key: &str, text: &'static str) -> T {
    let mut faults = Faults::new(std::path::Path::new("default"), text);
    let value = DeValue::parse(text).expect("the text of a default is TOML");
    let read = T::read(&value, key, &mut faults);
    read.unwrap_or_else(|| panic!("the text of a default is valid: {:?}", faults.into_problems()))
}

/// Why the key `text` is refused, with the one of `outline` that was probably meant.
fn unknown(text: &str, outline: &Outline) -> String {
    // Beyond a third of its letters, a guess misleads more than it helps.
    let within = text.len().div_ceil(3);
    let names = || outline.keys.iter().map(|key| key.name);
    let nearest = names()
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, _)| *distance <= within)
        .min();
    match nearest {
        Some((_, name)) => format!("unknown key; did you mean \"{name}\"?"),
        None => format!("unknown key; known are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// `found …` for a value of a wrong type.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("found \"{text}\""),
        DeValue::Integer(number) => format!("found the number {}", number.as_str()),
        DeValue::Boolean(flag) => format!("found {flag}"),
        other => format!("found a TOML {}", other.type_str()),
    }
}

impl<T: Word> Setting for T {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let read = match value.get_ref() {
            DeValue::String(text) => T::parse(text),
            other => Err(format!("expected {}, {}", T::EXPECTED, found(other))),
        };
        read.map_err(|reason| faults.add(value.span(), key, reason)).ok()
    }
}

impl<T: Setting> Setting for Option<T> {
    const OUTLINE: Option<&'static Outline> = T::OUTLINE;

    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        T::read(value, key, faults).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Word> Setting for Vec<T> {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            let reason =
                format!("expected a list, each {}; {}", T::EXPECTED, found(value.get_ref()));
            faults.add(value.span(), key, reason);
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| T::read(item, key, faults)).collect();
        read.into_iter().collect()
    }
}

impl<K: Word + Ord, V: Setting> Setting for BTreeMap<K, V> {
    const OUTLINE: Option<&'static Outline> = V::OUTLINE;

    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let (mut map, mut sound) = (Self::new(), true);
        let section = Section::open(value, key, faults)?;
        for (name, value) in section.table {
            let (place, path) = (name.span(), format!("{key}.\"{}\"", name.get_ref()));
            let name = K::parse(name.get_ref())
                .map_err(|reason| faults.add(name.span(), &path, reason))
                .ok();
            let value = V::read(value, &path, faults);
            match (name, value) {
                (Some(name), Some(value)) if !map.contains_key(&name) => {
                    map.insert(name, value);
                }
                (Some(_), Some(_)) => {
                    faults.add(place, &path, "is there twice".to_owned());
                    sound = false;
                }
                _ => sound = false,
            }
        }
        sound.then_some(map)
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}
