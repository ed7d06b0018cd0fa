//! Accounts: who may ask for mail, or submit it, by password, whatever his address (RFC 4954).
//!
//! Kept of a password are SCRAM-SHA-256's keys (RFC 5802, RFC 7677): who steals the file can't log
//! in with it, and must guess the password to. PLAIN and LOGIN are checked by deriving the same
//! keys; only what CRAM-MD5 needs is kept beside them, where a person wants that for a client that
//! has nothing else.
//!
//! An outsider can't tell a name that there is from one that there is not: both have a salt, do the
//! same work, and fail with the same words.

mod binding;
mod book;
mod change;
mod cram;
mod deriving;
mod dovecot;
mod exchange;
mod failures;
mod scram;

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;
use ring::hmac;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

pub use binding::Binding;
pub use book::{Account, Book, Rights};
pub use change::change;
pub use cram::cram_answer;
pub use dovecot::check as check_dovecot;
pub use exchange::{Claim, Exchange, Mechanism, Next};
pub use scram::Client as ScramClient;

use crate::config::DomainName;
use crate::observe::rate::Limiter;
use crate::policy::network;
use deriving::Deriving;
use dovecot::{Question, Said};
use failures::Failures;

/// Whoever else may do anything with a file.
const OTHERS: u32 = 0o077;
/// A file that can't be read is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Those who are asked for with Dovecot at once; each is a socket.
const ASKED: usize = 64;
/// How long it is told that Dovecot gave no answer, if nobody asked since.
const TOLD_FOR: Duration = Duration::from_secs(10 * 60);
/// One that could not be read, and has not changed, is read no more often.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What the server knows of accounts, and of those who fail.
pub struct Accounts {
    clock: Clock,
    /// What answers for those that there are not are made of.
    decoys: Arc<hmac::Key>,
    read: Mutex<Read>,
    failures: Failures,
    deriving: Deriving,
    asking: Semaphore,
    alarm: Alarm,
    unreadable: Limiter<()>,
}

/// The accounts as they were last read.
#[derive(Default)]
struct Read {
    file: PathBuf,
    identity: Option<Identity>,
    /// None were read yet.
    book: Option<Arc<Book>>,
    /// What could not be read, and when.
    failed: Option<(Option<Identity>, Instant)>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    place: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No such account, or it is not its password.
    Wrong,
    /// He, or others for this account, have failed too often of late.
    TooOften,
    /// Too many want to be let in at once.
    Unable,
    /// Whoever knows the passwords does not answer.
    Down,
}

/// Why nobody can be let in. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Alarm(Arc<Mutex<Troubles>>);

#[derive(Debug, Default)]
struct Troubles {
    /// Why Dovecot could not be asked of late.
    dovecot: Option<(Instant, String)>,
    /// Why the accounts could not be read.
    accounts: Option<String>,
}

impl Alarm {
    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is at `now`, as far as anybody has asked; the accounts' while they `are_asked`.
    pub fn at(&self, now: Instant, are_asked: bool) -> Vec<String> {
        let troubles = self.troubles();
        let dovecot = troubles.dovecot.as_ref().filter(|(at, _)| now < at.after(TOLD_FOR));
        let dovecot = dovecot.map(|(_, why)| format!("no mailer can authenticate: {why}"));
        dovecot.into_iter().chain(troubles.accounts.clone().filter(|_| are_asked)).collect()
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

impl Identity {
    fn at(file: &Path) -> Option<Self> {
        fs::metadata(file).map(|found| Self::of(&found)).ok()
    }

    fn of(found: &Metadata) -> Self {
        Self {
            place: (found.dev(), found.ino()),
            size: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What an operator should know of the accounts in `file`: why nobody can log in, or who else
/// could, and which of their domains are not held.
pub fn check(file: &Path, is_held: impl Fn(&DomainName) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    match fs::metadata(file).map(|found| found.mode() & 0o777) {
        Ok(mode) if mode & OTHERS != 0 => wrong.push(format!(
            "others may use it (mode {mode:04o}), and so guess passwords or log in: chmod 0600 it"
        )),
        _ => {}
    }
    match Book::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            wrong.push(
                "is not there: nobody can authenticate before postern account add".to_owned(),
            );
        }
        Err(error) => wrong.push(format!("nobody can authenticate: {error}")),
        Ok(book) => wrong.extend(book.accounts().flat_map(|account| {
            let lost = account.domains().iter().filter(|domain| !is_held(domain));
            lost.map(|domain| format!("{} has {domain}, which is not held", account.name()))
        })),
    }
    wrong
}

impl Accounts {
    /// Nobody has failed yet; `secret` is the server's own.
    pub fn new(secret: &[u8; 32], clock: Clock) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let decoys = hmac::sign(&key, b"accounts that there are not");
        let decoys = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, decoys.as_ref()));
        Self {
            failures: Failures::new(clock.clone()),
            clock,
            decoys,
            read: Mutex::default(),
            deriving: Deriving::default(),
            asking: Semaphore::new(ASKED),
            alarm: Alarm::default(),
            unreadable: Limiter::new(1, LOG_EVERY),
        }
    }

    /// The same, which tells by `alarm` why nobody can be let in.
    #[must_use]
    pub fn telling(self, alarm: Alarm) -> Self {
        Self { alarm, ..self }
    }

    /// The accounts in `file`, read again if it has changed. One that can't be read, or is not
    /// whole, changes nothing, and the log says so.
    ///
    /// `None`: it was not read yet.
    pub async fn book(self: &Arc<Self>, file: &Path) -> Option<Arc<Book>> {
        let (accounts, file) = (Arc::clone(self), file.to_owned());
        // Its panic is in the log.
        spawn_blocking(move || accounts.look(&file)).await.unwrap_or_default()
    }

    fn look(&self, file: &Path) -> Option<Arc<Book>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, now) = (Identity::at(file), self.clock.instant());
        if read.file != file {
            *read = Read { file: file.to_owned(), ..Read::default() };
        }
        let is_known = identity.is_some() && read.identity == identity;
        // Each connection asks, and whoever reads keeps all others waiting.
        let has_failed = |(failed, at): &(Option<Identity>, Instant)| {
            *failed == identity && now < at.after(READ_EVERY)
        };
        if is_known || read.failed.as_ref().is_some_and(has_failed) {
            if is_known {
                self.alarm.troubles().accounts = None;
            }
            return read.book.clone();
        }
        match Book::read(file) {
            Ok(book) => {
                let accounts = book.accounts().count();
                tracing::info!(file = %file.display(), accounts, "the accounts were read");
                (read.identity, read.book, read.failed) = (identity, Some(Arc::new(book)), None);
                self.alarm.troubles().accounts = None;
            }
            Err(error) => {
                read.failed = Some((identity, now));
                self.log_unreadable(file, &error, read.book.is_some());
            }
        }
        read.book.clone()
    }

    fn log_unreadable(&self, file: &Path, error: &io::Error, known: bool) {
        // Nobody has made one yet: that is no fault.
        let is_none_yet = !known && error.kind() == io::ErrorKind::NotFound;
        let means =
            if known { "the accounts stay as they were" } else { "nobody can authenticate" };
        self.alarm.troubles().accounts =
            (!is_none_yet).then(|| format!("{means}: {}: {error}", file.display()));
        let Some(unlogged) = self.unreadable.pass((), self.clock.instant()) else { return };
        let file = file.display();
        match known {
            true => tracing::error!(%file, %error, unlogged, "the accounts stay as they were"),
            false => tracing::error!(%file, %error, unlogged, "nobody can authenticate"),
        }
    }

    /// Begins an exchange by `mechanism` over a connection with this `binding`, if it has one.
    pub fn begin(
        &self,
        mechanism: Mechanism,
        book: Arc<Book>,
        hostname: &str,
        binding: Option<Binding>,
    ) -> Exchange {
        Exchange::new(mechanism, (book, Arc::clone(&self.decoys)), hostname, binding)
    }

    /// Whether `client` has failed too often to be heard at all.
    pub fn is_shut_out(&self, client: IpAddr) -> bool {
        self.failures.is_shut_out(network(client))
    }

    /// Finds out whether what `client` claims is so; who fails hears of it late.
    ///
    /// # Errors
    /// Why he is not let in.
    pub async fn check(&self, client: IpAddr, claim: Claim) -> Result<Arc<Account>, Denied> {
        let name = claim.name().to_vec();
        self.attempt(client, &name, async {
            match claim {
                Claim::Password { .. } => {
                    let checked = self.deriving.run(move || claim.account()).await;
                    checked.map_err(|deriving::Crowded| Denied::Unable)
                }
                Claim::Cram { .. } | Claim::Scram { .. } => Ok(claim.account()),
            }
        })
        .await
    }

    /// The same by Dovecot at `socket`: the user that it is there.
    ///
    /// # Errors
    /// Why he is not let in.
    pub async fn ask_dovecot(
        &self,
        client: IpAddr,
        socket: &Path,
        claim: &Claim,
    ) -> Result<String, Denied> {
        // Of the others Dovecot would have to tell what they are checked by.
        let Claim::Password { name, password, .. } = claim else { return Err(Denied::Wrong) };
        self.attempt(client, name, async {
            let _place = self.asking.try_acquire().map_err(|_| Denied::Unable)?;
            match dovecot::ask(socket, Question { client, name, password }).await {
                Ok(said) => {
                    self.alarm.troubles().dovecot = None;
                    Ok(match said {
                        Said::In(user) => Some(user),
                        Said::Out => None,
                    })
                }
                Err(why) => {
                    self.log_down(socket, &why);
                    Err(Denied::Down)
                }
            }
        })
        .await
    }

    fn log_down(&self, socket: &Path, why: &str) {
        let (now, socket) = (self.clock.instant(), socket.display());
        if let Some(unlogged) = self.unreadable.pass((), now) {
            tracing::error!(%socket, error = why, unlogged, "Dovecot lets nobody in");
        }
        self.alarm.troubles().dovecot = Some((now, format!("{socket}: {why}")));
    }

    /// Has `find_out` tell whether `client` is who he says, `name`, unless he has failed too often.
    async fn attempt<T>(
        &self,
        client: IpAddr,
        name: &[u8],
        find_out: impl Future<Output = Result<Option<T>, Denied>>,
    ) -> Result<T, Denied> {
        let name = hmac::sign(&self.decoys, name);
        let attempt = self.failures.attempt(network(client), name.as_ref());
        // Counted before the work: many at once are as many as one after the other.
        let attempt = attempt.ok_or(Denied::TooOften)?;
        match find_out.await {
            Ok(Some(found)) => {
                self.failures.succeeded(&attempt);
                Ok(found)
            }
            Ok(None) => {
                sleep(attempt.pause).await;
                Err(Denied::Wrong)
            }
            Err(denied) => {
                self.failures.succeeded(&attempt);
                Err(denied)
            }
        }
    }
}

#[cfg(test)]
mod tests;
