//! `postern account`: who may ask for mail, or submit it, by password.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use clap::{Args, Subcommand};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use serde_json::json;

use super::table::table;
use super::{CommandError, Format, Verdict};
use crate::accounts::{Account, Book, Rights, change};
use crate::config::{ByteSize, Config, DomainName, SenderPattern};

/// Octets of a password's line: far more than it may have.
const LINE_MAX: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account; its password is read from standard input, or asked for
    Add(Add),
    /// Give an account another password, read from standard input, or asked for
    Passwd {
        /// The account
        name: String,
        /// From now on it may send as this, and nothing else; several times for several
        #[arg(long = "address", value_name = "PATTERN")]
        addresses: Vec<SenderPattern>,
    },
    /// The accounts, the domains whose mail they may ask for, and what they may send as
    List(Format),
    /// Remove an account; who is logged in by it gets no more mail either
    Remove {
        /// The account
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What it authenticates as: letters, digits and .-_@+
    name: String,
    /// A domain whose mail it may ask for; several times for several
    #[arg(long = "domain", value_name = "DOMAIN", required_unless_present = "addresses")]
    domains: Vec<DomainName>,
    /// What it may send as where mailers submit: ann@client.example, or *@client.example; several
    /// times for several
    #[arg(long = "address", value_name = "PATTERN")]
    addresses: Vec<SenderPattern>,
    /// The largest message that it may submit, such as "10 MiB"
    #[arg(long, value_name = "SIZE", requires = "addresses")]
    size: Option<ByteSize>,
    /// Keep what CRAM-MD5 needs, too, for a client that has nothing else, such as fetchmail: who
    /// steals the file can log in with that
    #[arg(long)]
    cram_md5: bool,
}

impl AccountCommand {
    /// Runs it on the accounts of `config`.
    pub(super) fn run(
        &self,
        config: &Config,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let file = &config.accounts.file;
        let failed = |error| CommandError::run(format_args!("{}: {error}", file.display()));
        match self {
            Self::Add(add) => {
                // Not beneath the lock, which others wait for.
                let password = add.is_new(&book(file).map_err(failed)?).and_then(|()| password());
                let password = password.map_err(CommandError::run)?;
                change(file, |book| add.put(book, &password)).map_err(failed)?;
                for domain in &add.domains {
                    if !config.hold.contains_key(domain) {
                        writeln!(out, "warning: {domain} is not held")?;
                    }
                }
            }
            Self::Passwd { name, addresses } => {
                let is_there = book(file).map_err(failed)?.get(name).is_some();
                let password = if is_there { password() } else { Err(is_not_there(name)) };
                let password = password.map_err(CommandError::run)?;
                change(file, |book| {
                    let old = book.get(name).ok_or_else(|| is_not_there(name))?;
                    let (mut rights, cram_md5) = (old.rights().clone(), old.has_cram_md5());
                    if !addresses.is_empty() {
                        rights.addresses.clone_from(addresses);
                    }
                    book.put(Account::new(name, rights, &password, cram_md5)?);
                    Ok(())
                })
                .map_err(failed)?;
            }
            Self::Remove { name } => {
                let remove = |book: &mut Book| match book.remove(name) {
                    true => Ok(()),
                    false => Err(is_not_there(name)),
                };
                change(file, remove).map_err(failed)?;
            }
            Self::List(format) => return list(file, *format, out),
        }
        Ok(Verdict::Well)
    }
}

impl Add {
    fn is_new(&self, book: &Book) -> Result<(), String> {
        let name = &self.name;
        match book.get(name) {
            Some(_) => Err(format!("{name} is there already: postern account passwd, or remove")),
            None => Ok(()),
        }
    }

    fn put(&self, book: &mut Book, password: &str) -> Result<(), String> {
        self.is_new(book)?;
        let (domains, addresses) = (self.domains.iter().cloned().collect(), self.addresses.clone());
        let rights = Rights { domains, addresses, size: self.size.map(|size| size.0) };
        book.put(Account::new(&self.name, rights, password, self.cram_md5)?);
        Ok(())
    }
}

fn is_not_there(name: &str) -> String {
    format!("there is no account {name}")
}

/// The accounts in `file`; none where it is not there.
fn book(file: &Path) -> io::Result<Book> {
    match Book::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::default()),
        read => read,
    }
}

fn list(file: &Path, format: Format, out: &mut impl Write) -> Result<Verdict, CommandError> {
    let book = book(file)
        .map_err(|error| CommandError::run(format_args!("{}: {error}", file.display())))?;
    let words = |words: &[SenderPattern]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    if format.json {
        for account in book.accounts() {
            let Rights { domains, addresses, size } = account.rights();
            let domains: Vec<_> = domains.iter().map(DomainName::as_str).collect();
            let shown = json!({
                "name": account.name(),
                "domains": domains,
                "cram_md5": account.has_cram_md5(),
                "addresses": words(addresses),
                "size": size,
            });
            writeln!(out, "{shown}")?;
        }
        return Ok(Verdict::Well);
    }
    let mut rows = vec![["NAME", "CRAM-MD5", "DOMAINS", "SENDS AS"].map(str::to_owned)];
    rows.extend(book.accounts().map(|account| {
        let Rights { domains, addresses, .. } = account.rights();
        let domains: Vec<_> = domains.iter().map(DomainName::as_str).collect();
        let cram_md5 = if account.has_cram_md5() { "yes" } else { "no" };
        let cells = [account.name(), cram_md5, &domains.join(" "), &words(addresses).join(" ")];
        cells.map(|cell| if cell.is_empty() { "-" } else { cell }.to_owned())
    }));
    write!(out, "{}", table(&rows))?;
    Ok(Verdict::Well)
}

/// The password: the first line of standard input; at a terminal, twice, and not shown.
pub(super) fn password() -> Result<String, String> {
    if !io::stdin().is_terminal() {
        return line(&mut io::stdin().lock()).map_err(|error| error.to_string());
    }
    let asked = || -> io::Result<_> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        ask_twice(&terminal)
    };
    let (one, other) = asked().map_err(|error| error.to_string())?;
    if one == other { Ok(one) } else { Err("the two are not the same".to_owned()) }
}

fn ask_twice(terminal: &File) -> io::Result<(String, String)> {
    let _quiet = Quiet::new(terminal)?;
    let mut lines = BufReader::new(terminal);
    let mut ask = |mut terminal: &File, prompt: &str| {
        write!(terminal, "{prompt}: ")?;
        let mut said = Vec::new();
        let mut typed = io::Read::take(&mut lines, LINE_MAX);
        // One octet at a time: behind the interrupt no end of a line comes.
        for octet in io::Read::bytes(&mut typed) {
            match octet? {
                b'\n' => break,
                INTERRUPT => {
                    writeln!(terminal)?;
                    let reason = "interrupted: nothing was changed";
                    return Err(io::Error::other(reason));
                }
                octet => said.push(octet),
            }
        }
        writeln!(terminal)?;
        String::from_utf8(said).map_err(io::Error::other)
    };
    Ok((ask(terminal, "Password")?, ask(terminal, "Again")?))
}

fn line(lines: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    io::Read::take(lines, LINE_MAX).read_line(&mut line)?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Control-C.
const INTERRUPT: u8 = 3;

/// A terminal that shows nothing of what is typed, until this is dropped. Meanwhile it sends no
/// signals, whose default would end us and leave it so: Control-C ends what is typed instead.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing either.
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// What comes of it when `typed` follows the first prompt; afterwards the terminal is as it
    /// was.
    fn type_in(typed: &[u8]) -> io::Result<(String, String)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let mut keyboard = File::from(openpt(flags).expect("a terminal"));
        grantpt(&keyboard).expect("it is ours");
        unlockpt(&keyboard).expect("it is ours");
        let name = ptsname(&keyboard, Vec::new()).expect("it has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = File::from(open(&name, flags, Mode::empty()).expect("it is there"));
        let before = tcgetattr(terminal.as_fd()).expect("a terminal");
        let said = thread::scope(|scope| {
            let asked = scope.spawn(|| ask_twice(&terminal));
            let mut prompt = [0; 10];
            keyboard.read_exact(&mut prompt).expect("a prompt");
            assert_eq!(prompt, *b"Password: ");
            keyboard.write_all(typed).expect("it is read");
            asked.join().expect("no panic")
        });
        let after = tcgetattr(terminal.as_fd()).expect("a terminal");
        assert_eq!(after.local_modes, before.local_modes);
        said
    }

    #[test]
    fn an_interrupt_at_the_prompt_leaves_the_terminal_as_it_was() {
        let both = type_in(b"secret\nsecret\n").expect("it is typed");
        assert_eq!(both, ("secret".to_owned(), "secret".to_owned()));
        let error = type_in(b"sec\x03\n\n").expect_err("it was interrupted");
        assert_eq!(error.to_string(), "interrupted: nothing was changed");
        type_in(b"secret\n\x03\n").expect_err("it was interrupted");
    }
}
