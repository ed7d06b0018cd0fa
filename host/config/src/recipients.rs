//! Who a held domain takes mail for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::address_set::{AddressSet, POSTMASTER, canonical, not_an_address};
use super::domain_name::DomainName;
use super::fault::Faults;
use super::file::read_text;
use super::list_source::ListSource;
use super::settings::{Setting, Value, found};
use super::values::Subaddress;

const EXPECTED: &str = "a list of addresses or local parts such as [\"info\", \"sales\"], \
    the absolute path of a file with one a line, \"ask\", \"import\", \"any\" or a table with urls";

/// The recipients of a held domain. The postmaster always is one (RFC 5321 section 4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// Every local part: spam included.
    Any,
    /// Those written in the configuration.
    List(Arc<AddressSet>),
    /// Those that the domain's host takes mail for, when it is asked.
    Ask,
    /// Those of a list that is fetched, and kept elsewhere.
    Fetched(Arc<ListSource>),
    /// Those of the list that was given last, which is kept elsewhere.
    Imported,
    /// Those in a file, read once with the configuration, however many domains name it.
    File(PathBuf, Arc<AddressSet>),
}

impl Recipients {
    fn set(&self) -> Option<&AddressSet> {
        match self {
            Self::Any | Self::Ask | Self::Fetched(_) | Self::Imported => None,
            Self::List(set) | Self::File(_, set) => Some(set),
        }
    }

    /// Whether mail for `local` at `domain` is taken, and where the host is asked, or the list is
    /// kept elsewhere, whether it may be; `local` as it stands in the path, quotes included. What
    /// is listed stands for its subaddresses.
    ///
    /// # Errors
    /// Why it is not.
    pub fn judge(
        &self,
        local: &[u8],
        domain: &DomainName,
        subaddress: &Subaddress,
    ) -> Result<(), NotTaken> {
        let local = canonical(local);
        let known = |local: &[u8]| {
            local == POSTMASTER || self.set().is_some_and(|set| set.contains(local, domain))
        };
        let is_routed = local.iter().any(|byte| b"@%!".contains(byte));
        match self {
            _ if known(&local) => Ok(()),
            Self::Any | Self::Ask if is_routed => Err(NotTaken::Routed),
            Self::Any | Self::Ask | Self::Fetched(_) | Self::Imported => Ok(()),
            _ if !is_routed && subaddress.base(&local).is_some_and(known) => Ok(()),
            _ => Err(NotTaken::Unknown),
        }
    }

    /// The recipient that `local` at `domain` is, as he is listed; `None`: nobody is, or anybody
    /// is taken. The postmaster is listed everywhere.
    pub fn listed(
        &self,
        local: &[u8],
        domain: &DomainName,
        subaddress: &Subaddress,
    ) -> Option<Vec<u8>> {
        let set = self.set()?;
        let local = canonical(local);
        let is_listed = |local: &[u8]| local == POSTMASTER || set.contains(local, domain);
        let base = || subaddress.base(&local).filter(|base| is_listed(base));
        if is_listed(&local) { Some(local.to_vec()) } else { base().map(<[u8]>::to_vec) }
    }

    /// What the domain's host must be asked about for mail to `local`, without a subaddress: as it
    /// is compared, and as it is written in a path. `None`: what becomes of it is known.
    pub fn asked_about(&self, local: &[u8], subaddress: &Subaddress) -> Option<[Vec<u8>; 2]> {
        let compared = canonical(local);
        let is_atom = |local: &&[u8]| {
            let is_special =
                |octet: &u8| octet.is_ascii_control() || b" \"(),:;<>@[\\]".contains(octet);
            !local.iter().any(is_special)
        };
        let base = subaddress.base(&compared).filter(is_atom);
        // As it is compared, so that what a host says of `Info` is no word on `info`.
        let asked = match base.or_else(|| Some(&*compared).filter(is_atom)) {
            Some(atom) => [atom.to_vec(), atom.to_vec()],
            None => [compared.to_vec(), local.to_vec()],
        };
        let is_known = *self != Self::Ask || asked[0] == POSTMASTER;
        (!is_known).then_some(asked)
    }

    /// Whom a list that is kept elsewhere must have for mail to `local` to be taken: as it is
    /// compared. `None`: what becomes of it is known.
    pub fn looked_up(&self, local: &[u8]) -> Option<Vec<u8>> {
        let local = canonical(local);
        let is_elsewhere = matches!(self, Self::Fetched(_) | Self::Imported);
        (is_elsewhere && local != POSTMASTER).then(|| local.into_owned())
    }

    /// Takes the list that `old` read from the same file when that file names nobody now. Says
    /// which file.
    pub(super) fn keep_list_of(&mut self, old: &Self) -> Option<&Path> {
        match (self, old) {
            (Self::File(file, set), Self::File(old_file, old_set))
                if file == old_file && set.is_empty() && !old_set.is_empty() =>
            {
                *set = Arc::clone(old_set);
                Some(file)
            }
            _ => None,
        }
    }

    /// The local parts of `domain` that are listed, as they are compared; `None` for
    /// any.
    pub fn local_parts(&self, domain: &DomainName) -> Option<impl Iterator<Item = &[u8]>> {
        self.set().map(|set| set.local_parts(domain))
    }

    /// How many recipients of `domain` are listed; `None` for any.
    pub fn count(&self, domain: &DomainName) -> Option<usize> {
        self.set().map(|set| set.local_parts(domain).count())
    }
}

/// Why mail for an address of a held domain is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// It is not among those listed.
    Unknown,
    /// Anybody is taken, or asked about, but its local part has `@`, `%` or `!`. Hosts read these
    /// as a route on to another domain, and they relay for whom they trust: through us, everybody.
    Routed,
}

impl Setting for Recipients {
    fn read(value: &Value<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(word) if word == "any" => Some(Self::Any),
            DeValue::String(word) if word == "ask" => Some(Self::Ask),
            DeValue::String(word) if word == "import" => Some(Self::Imported),
            DeValue::String(path) if Path::new(path.as_ref()).is_absolute() => {
                let path = PathBuf::from(path.as_ref());
                let set = match faults.recipient_files().0.get(&path) {
                    Some(known) => known.clone(),
                    None => read_file(&path, value, key, faults),
                };
                set.map(|set| Self::File(path, set))
            }
            DeValue::Array(items) => {
                read_list(items, key, faults).map(|set| Self::List(Arc::new(set)))
            }
            DeValue::Table(_) => {
                let source = ListSource::read(value, key, faults);
                source.map(|source| Self::Fetched(Arc::new(source)))
            }
            // It may have a secret in it.
            DeValue::String(url) if url.contains("://") => {
                let reason =
                    format!("expected {EXPECTED}, found a URL: write {{ urls = [\"…\"] }}");
                faults.add(value.span(), key, reason);
                None
            }
            other => {
                let reason = format!("expected {EXPECTED}, {}", found(other));
                faults.add(value.span(), key, reason);
                None
            }
        }
    }
}

fn read_file(
    path: &Path,
    value: &Value<'_>,
    key: &str,
    faults: &mut Faults<'_>,
) -> Option<Arc<AddressSet>> {
    let text = read_text(path).map_err(|error| vec![error.to_string()]);
    let set = text.and_then(|text| AddressSet::from_file(&text));
    let set = set.map_err(|reasons| {
        for reason in reasons {
            faults.add(value.span(), key, format!("{}: {reason}", path.display()));
        }
    });
    let set = set.ok().map(Arc::new);
    faults.recipient_files().0.insert(path.to_owned(), set.clone());
    set
}

fn read_list(items: &[Value<'_>], key: &str, faults: &mut Faults<'_>) -> Option<AddressSet> {
    let mut set = AddressSet::default();
    let mut sound = true;
    for item in items {
        let reason = match item.get_ref() {
            DeValue::String(entry) if set.insert(entry).is_some() => continue,
            DeValue::String(entry) => not_an_address(entry),
            other => format!("expected {EXPECTED}, {}", found(other)),
        };
        faults.add(item.span(), key, reason);
        sound = false;
    }
    sound.then_some(set)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Word;
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).expect("a domain name")
    }

    fn judge(recipients: &Recipients, local: &[u8], domain: &DomainName) -> Result<(), NotTaken> {
        recipients.judge(local, domain, &Subaddress::parse("+-").expect("characters"))
    }

    #[test]
    fn what_is_listed_stands_for_its_subaddresses() {
        let set = AddressSet::from_file("info\nann+dev\nsales@other.example\n").expect("sound");
        let recipients = Recipients::List(Arc::new(set));
        let (client, other) = (name("client.example"), name("other.example"));
        for local in ["info+", "Info+a+b", "info-x", "\"info+a b\"", "ann+DEV", "postmaster+x"] {
            assert_eq!(judge(&recipients, local.as_bytes(), &client), Ok(()), "{local}");
        }
        assert_eq!(judge(&recipients, b"sales+x", &other), Ok(()));
        for local in ["sales+x", "ann", "ann+x", "+info", "infos+x"] {
            let judged = judge(&recipients, local.as_bytes(), &client);
            assert_eq!(judged, Err(NotTaken::Unknown), "{local}");
        }
        let none = Subaddress::parse("").expect("no character");
        assert_eq!(recipients.judge(b"info+x", &client, &none), Err(NotTaken::Unknown));
        let plus = Subaddress::parse("+").expect("a character");
        for (local, listed) in [
            ("Info+a+b", Some("info")),
            ("\"INFO\"", Some("info")),
            ("ann+DEV", Some("ann+dev")),
            ("PostMaster+x", Some("postmaster")),
            ("sales", None),
            ("infos", None),
        ] {
            let found = recipients.listed(local.as_bytes(), &client, &plus);
            assert_eq!(found.as_deref(), listed.map(str::as_bytes), "{local}");
        }
        assert_eq!(Recipients::Any.listed(b"info", &client, &plus), None);
        for local in ["info+x%evil.example", "\"info+x@evil.example\"", "postmaster+!x"] {
            let local = local.as_bytes();
            assert_eq!(judge(&recipients, local, &client), Err(NotTaken::Unknown));
            assert_eq!(judge(&Recipients::Any, local, &client), Err(NotTaken::Routed));
        }
    }

    #[test]
    fn a_host_is_asked_about_what_would_be_listed() {
        let plus = Subaddress::parse("+").expect("a character");
        let asked = |local: &[u8]| {
            let both = Recipients::Ask.asked_about(local, &plus)?;
            Some(both.map(|local| String::from_utf8(local).expect("UTF-8")))
        };
        for (local, compared, written) in [
            ("Info", "info", "info"),
            ("Info+Tag", "info", "info"),
            ("\"John Doe\"", "john doe", "\"John Doe\""),
            ("\"John Doe+x\"", "john doe+x", "\"John Doe+x\""),
            ("JÖRG+x", "jörg", "jörg"),
        ] {
            let expected = Some([compared.to_owned(), written.to_owned()]);
            assert_eq!(asked(local.as_bytes()), expected, "{local}");
        }
        for local in ["postmaster", "PostMaster+x", "\"postmaster\""] {
            assert_eq!(asked(local.as_bytes()), None, "{local}");
        }
        assert_eq!(Recipients::Any.asked_about(b"info", &plus), None);
        assert_eq!(judge(&Recipients::Ask, b"info", &name("client.example")), Ok(()));
        let routed = judge(&Recipients::Ask, b"info%evil.example", &name("client.example"));
        assert_eq!(routed, Err(NotTaken::Routed));
    }

    #[test]
    fn a_file_names_local_parts_and_addresses() {
        let text = "# staff\ninfo\n\nSales@Client.example  # two of them\n\"john doe\"\n";
        let set = AddressSet::from_file(text).expect("a sound file");
        let recipients = Recipients::File(PathBuf::from("/r"), Arc::new(set));
        let client = name("client.example");
        for local in ["info", "INFO", "\"info\"", "\"in\\fo\"", "sales", "\"John Doe\""] {
            assert_eq!(judge(&recipients, local.as_bytes(), &client), Ok(()), "{local}");
        }
        let other = name("other.example");
        assert_eq!(judge(&recipients, b"info", &other), Ok(()));
        assert_eq!(judge(&recipients, b"sales", &other), Err(NotTaken::Unknown));
        assert_eq!(judge(&recipients, b"john", &client), Err(NotTaken::Unknown));
        assert_eq!(recipients.count(&client), Some(3));
        assert_eq!(recipients.count(&name("other.example")), Some(2));
    }

    #[test]
    fn case_and_composition_beyond_ascii_are_one() {
        let set = AddressSet::from_file("ñandú\njo\u{308}rg\nΟΔΟΣ\n").expect("a sound file");
        let recipients = Recipients::List(Arc::new(set));
        let client = name("client.example");
        for local in ["Ñandú", "n\u{303}andu\u{301}", "JÖRG", "jörg", "\"Jo\u{308}rg\"", "οδος"]
        {
            assert_eq!(judge(&recipients, local.as_bytes(), &client), Ok(()), "{local}");
        }
        for local in [&b"nandu"[..], b"jorg", b"j\xf6rg"] {
            assert_eq!(judge(&recipients, local, &client), Err(NotTaken::Unknown));
        }
    }

    #[test]
    fn the_postmaster_is_always_a_recipient() {
        let none = Recipients::List(Arc::default());
        let client = name("client.example");
        assert_eq!(judge(&none, b"PostMaster", &client), Ok(()));
        assert_eq!(judge(&none, b"info", &client), Err(NotTaken::Unknown));
    }

    #[test]
    fn any_recipient_is_none_with_a_route_in_it() {
        let client = name("client.example");
        for local in [
            "victim%evil.example",
            "evil.example!victim",
            "\"victim@evil.example\"",
            "\"victim\\@evil.example\"",
            "\"postmaster%evil.example\"",
        ] {
            let judged = judge(&Recipients::Any, local.as_bytes(), &client);
            assert_eq!(judged, Err(NotTaken::Routed), "{local}");
            let mut listed = AddressSet::default();
            listed.insert(&format!("{local}@client.example")).expect("an address");
            assert_eq!(
                judge(&Recipients::List(Arc::new(listed)), local.as_bytes(), &client),
                Ok(())
            );
        }
        for local in ["info", "a+b", "\"john doe\"", "a=b/c", "#"] {
            assert_eq!(judge(&Recipients::Any, local.as_bytes(), &client), Ok(()), "{local}");
        }
    }

    #[test]
    fn a_character_that_nobody_sees_is_named_with_its_line() {
        let wrong = AddressSet::from_file("info\nsales\u{200b}\n\u{feff}x@client.example\n");
        let expected = [
            "line 2: \"sales\" has a character that nobody sees, U+200B",
            "line 3: \"x@client.example\" has a character that nobody sees, U+FEFF",
        ];
        assert_eq!(wrong.expect_err("two wrong lines"), expected);
    }

    #[test]
    fn every_wrong_line_of_a_file_is_named() {
        let wrong = AddressSet::from_file("info\ntwo words\n@client.example\na@b@c\nx@-y\n");
        let expected = [
            "line 2: \"two words\" is neither an address nor a local part",
            "line 3: \"@client.example\" is neither an address nor a local part",
            "line 4: \"a@b@c\" is neither an address nor a local part",
            "line 5: \"x@-y\" is neither an address nor a local part",
        ];
        assert_eq!(wrong.expect_err("four wrong lines"), expected);
    }
}
