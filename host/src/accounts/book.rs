//! The file of the accounts: one a line.
//!
//! ```text
//! postern accounts 2
//! NAME DOMAIN,DOMAIN SCRAM-SHA-256$iterations:salt$stored:server [CRAM-MD5$states] \
//!     [addresses=PATTERN,PATTERN] [size=OCTETS]
//! end
//! ```
//!
//! An account that only sends has `-` for its domains. A file without senders is one of version 1,
//! which had none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::cram::States;
use super::scram::{self, Keys};
use crate::config::{DomainName, SenderPattern, read_file};

/// What a file begins with; the first version knew no senders.
const FIRST: [&str; 2] = ["postern accounts 1", "postern accounts 2"];
/// Behind it nothing is missing: a file that is being written, or was cut, is seen.
const LAST: &str = "end";
/// Octets of a name.
const NAME_MAX: usize = 64;
/// Octets of a password that `account add` takes.
const PASSWORD_MAX: usize = 512;
/// The domains of an account that has none.
const NO_DOMAINS: &str = "-";
const ADDRESSES: &str = "addresses=";
const SIZE: &str = "size=";

/// Somebody who may authenticate.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    rights: Rights,
    pub(super) keys: Keys,
    pub(super) cram: Option<States>,
}

/// What an account may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The domains whose mail it may ask for.
    pub domains: BTreeSet<DomainName>,
    /// What it may send as.
    pub addresses: Vec<SenderPattern>,
    /// Octets of a message that it submits, at most; `None`: as of any.
    pub size: Option<u64>,
}

impl From<BTreeSet<DomainName>> for Rights {
    fn from(domains: BTreeSet<DomainName>) -> Self {
        Self { domains, ..Self::default() }
    }
}

/// All accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    accounts: BTreeMap<String, Arc<Account>>,
}

/// Its keys stay out of the log.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Account {
    /// An account with the keys of `password`; what CRAM-MD5 needs is kept where `cram_md5` says
    /// so.
    ///
    /// # Errors
    /// Why it can't be: a name or a password that not every client sends alike.
    pub fn new(name: &str, rights: Rights, password: &str, cram_md5: bool) -> Result<Self, String> {
        if !is_name(name) {
            return Err(format!(
                "\"{name}\" is no name of an account: 1 to {NAME_MAX} letters, digits and .-_@+"
            ));
        }
        if rights.domains.is_empty() && rights.addresses.is_empty() {
            return Err("an account is for at least one domain or address".to_owned());
        }
        if password.is_empty() || password.len() > PASSWORD_MAX {
            return Err(format!("a password has 1 to {PASSWORD_MAX} characters"));
        }
        // What is beyond has several forms (RFC 4013), and clients disagree on them.
        if !password.bytes().all(|octet| (0x20..0x7f).contains(&octet)) {
            return Err(
                "a password is of printable ASCII: not all clients send others alike".to_owned()
            );
        }
        let mut salt = [0; scram::SALT];
        let random = SystemRandom::new().fill(&mut salt);
        random.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Self {
            name: name.to_owned(),
            rights,
            keys: Keys::derive(password.as_bytes(), &salt, scram::ITERATIONS),
            cram: cram_md5.then(|| States::new(password.as_bytes())),
        })
    }

    /// One that stands in no file: Dovecot knows its password.
    pub(crate) fn of_dovecot(name: &str, addresses: Vec<SenderPattern>) -> Self {
        let rights = Rights { addresses, ..Rights::default() };
        Self { name: name.to_owned(), rights, keys: Keys::NONE, cram: None }
    }

    /// What it authenticates as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The domains whose mail it may ask for.
    pub fn domains(&self) -> &BTreeSet<DomainName> {
        &self.rights.domains
    }

    /// Whether both have the same password, made into the same keys.
    pub(crate) fn has_the_keys_of(&self, other: &Self) -> bool {
        self.keys == other.keys
    }

    /// Whether it can authenticate by CRAM-MD5.
    pub fn has_cram_md5(&self) -> bool {
        self.cram.is_some()
    }

    fn line(&self) -> String {
        let Rights { domains, addresses, size } = &self.rights;
        let domains = match domains.is_empty() {
            true => NO_DOMAINS.to_owned(),
            false => joined(domains),
        };
        let mut line = format!("{} {domains} {}", self.name, self.keys.to_text());
        if let Some(states) = &self.cram {
            let _written = write!(line, " {}", states.to_text());
        }
        if !addresses.is_empty() {
            let _written = write!(line, " {ADDRESSES}{}", joined(addresses));
        }
        if let Some(size) = size {
            let _written = write!(line, " {SIZE}{size}");
        }
        line
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().filter(|name| is_name(name))?.to_owned();
        let domains = match words.next()? {
            NO_DOMAINS => BTreeSet::new(),
            domains => split(domains)?.into_iter().collect(),
        };
        let mut rights = Rights { domains, ..Rights::default() };
        let (keys, mut cram) = (Keys::from_text(words.next()?)?, None);
        for word in words {
            if let Some(addresses) = word.strip_prefix(ADDRESSES) {
                rights.addresses = split(addresses).filter(|_| rights.addresses.is_empty())?;
            } else if let Some(size) = word.strip_prefix(SIZE) {
                rights.size = Some(size.parse().ok().filter(|_| rights.size.is_none())?);
            } else {
                cram = Some(States::from_text(word).filter(|_| cram.is_none())?);
            }
        }
        let is_for_something = !(rights.domains.is_empty() && rights.addresses.is_empty());
        is_for_something.then_some(Self { name, rights, keys, cram })
    }
}

fn joined<'w>(words: impl IntoIterator<Item = &'w (impl ToString + 'w)>) -> String {
    words.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn split<T: FromStr>(words: &str) -> Option<Vec<T>> {
    words.split(',').map(|word| word.parse().ok()).collect()
}

/// Only what SASL's mechanisms and our file need no escapes for.
fn is_name(name: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_@+".contains(&octet);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

impl Book {
    /// Those in `file`.
    ///
    /// # Errors
    /// It can't be read, or is not whole: which line is none of ours.
    pub fn read(file: &Path) -> io::Result<Self> {
        let text = String::from_utf8(read_file(file)?);
        let text = text.map_err(|_| invalid("it is not text in UTF-8".to_owned()))?;
        Self::parse(&text).map_err(invalid)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().zip(1..);
        if lines.next().is_none_or(|(line, _)| !FIRST.contains(&line)) {
            let [_, first] = FIRST;
            return Err(format!("line 1 is not \"{first}\": `postern account` makes this file"));
        }
        let mut book = Self::default();
        for (line, number) in lines {
            let is_last = line == LAST && text.lines().count() == number;
            if is_last && text.ends_with('\n') {
                return Ok(book);
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let account = Account::from_line(line);
            let account = account.ok_or_else(|| format!("line {number} is no account"))?;
            if book.accounts.contains_key(account.name()) {
                return Err(format!("line {number}: \"{}\" is there twice", account.name()));
            }
            book.put(account);
        }
        Err(format!("its last line is not \"{LAST}\": it is not whole"))
    }

    /// The whole file.
    pub(super) fn to_text(&self) -> String {
        let lines: String = self.accounts().map(|account| account.line() + "\n").collect();
        let is_plain = |account: &Account| {
            let Rights { domains, addresses, size } = &account.rights;
            !domains.is_empty() && addresses.is_empty() && size.is_none()
        };
        let [plain, first] = FIRST;
        let first = if self.accounts().all(is_plain) { plain } else { first };
        format!("{first}\n{lines}{LAST}\n")
    }

    /// All of them, in the order of their names.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(AsRef::as_ref)
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// Adds it, or puts it in the place of the one of its name.
    pub fn put(&mut self, account: Account) {
        self.accounts.insert(account.name.clone(), Arc::new(account));
    }

    /// Takes out the one of this name; whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.accounts.remove(name).is_some()
    }

    /// Whether any of them can authenticate by CRAM-MD5.
    pub fn has_cram_md5(&self) -> bool {
        self.accounts().any(Account::has_cram_md5)
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, cram_md5: bool) -> Account {
        let domains = ["a.example", "b.example"].map(|name| name.parse().expect("a name"));
        let rights = BTreeSet::from(domains).into();
        Account::new(name, rights, "s3cret pass", cram_md5).expect("an account")
    }

    fn book() -> Book {
        let mut book = Book::default();
        book.put(account("ann@a.example", true));
        book.put(account("bob", false));
        book
    }

    #[test]
    fn a_book_is_read_as_it_was_written_and_in_no_part() {
        let text = book().to_text();
        assert!(!text.contains("s3cret"), "{text}");
        assert!(Book::parse(&text).is_ok_and(|read| read == book_of(&text)));
        for length in 0..text.len() {
            assert!(Book::parse(&text[..length]).is_err(), "{length}");
        }
        let commented = text.replace("end\n", "# a comment\n\nend\n");
        assert!(Book::parse(&commented).is_ok_and(|read| read == book_of(&text)));
    }

    fn book_of(text: &str) -> Book {
        Book::parse(text).expect("whole")
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let text = book().to_text();
        let bob = text.lines().nth(2).expect("bob");
        for (wrong, reason) in [
            ("".to_owned(), "line 1 is not \"postern accounts 2\""),
            (text.replace(" 1\n", " 3\n"), "line 1 is not \"postern accounts 2\""),
            (text.replace("bob ", "b,b "), "line 3 is no account"),
            (text.replace("bob ", "bob - "), "line 3 is no account"),
            (text.replace("end\n", &format!("{bob}\nend\n")), "line 4: \"bob\" is there twice"),
            (text.clone() + "end\n", "line 4 is no account"),
        ] {
            let found = Book::parse(&wrong).expect_err(reason);
            assert!(found.starts_with(reason), "{found}");
        }
    }

    #[test]
    fn who_may_send_is_kept_in_a_file_of_the_second_version() {
        assert!(book().to_text().starts_with("postern accounts 1\n"));
        let mut book = book();
        let addresses = ["ann@a.example", "*@büro.example"].map(|text| text.parse().expect("one"));
        let rights =
            Rights { domains: BTreeSet::new(), addresses: addresses.to_vec(), size: Some(7) };
        for (name, cram_md5) in [("cleo", true), ("dora", false)] {
            let account = Account::new(name, rights.clone(), "s3cret pass", cram_md5);
            book.put(account.expect("an account"));
        }
        let text = book.to_text();
        assert!(text.starts_with("postern accounts 2\n"), "{text}");
        assert!(text.contains(" addresses=ann@a.example,*@xn--bro-hoa.example size=7\n"), "{text}");
        let read = book_of(&text);
        assert_eq!(read, book);
        assert_eq!(read.get("dora").map(|dora| dora.rights()), Some(&rights));
        for (right, wrong) in [
            (" size=7", " size=x"),
            (" size=7", " size=7 size=7"),
            ("addresses=ann@a.example", "addresses=ann"),
            (" addresses=ann@a.example,*@xn--bro-hoa.example", ""),
        ] {
            let found = Book::parse(&text.replace(right, wrong)).expect_err(wrong);
            assert_eq!(found, "line 4 is no account", "{wrong}");
        }
    }

    #[test]
    fn names_and_passwords_are_such_that_every_client_sends_them_alike() {
        let domains = BTreeSet::from(["a.example".parse::<DomainName>().expect("a name")]);
        let long = "x".repeat(PASSWORD_MAX + 1);
        for (name, password) in [
            ("", "p"),
            ("a=b", "p"),
            ("a b", "p"),
            (&"n".repeat(NAME_MAX + 1), "p"),
            ("ann", ""),
            ("ann", "pässword"),
            ("ann", "two\nlines"),
            ("ann", &long),
        ] {
            assert!(Account::new(name, domains.clone().into(), password, false).is_err(), "{name}");
        }
        assert!(Account::new("ann", Rights::default(), "p", false).is_err());
        assert!(Account::new("ann", domains.into(), &long[1..], false).is_ok());
    }
}
