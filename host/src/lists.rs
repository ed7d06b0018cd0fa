//! Who domains take mail for, as lists say that are kept here and come from elsewhere: fetched by
//! HTTP (`fetch`), or given by a person or a timer. The last good one of each domain is on the
//! disk.

mod entries;
mod file;
mod held;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_spool::clock::Clock;
use tokio::task::spawn_blocking;

use crate::ask::Found;
use crate::config::{Config, DomainName, Recipients, Subaddress};
pub use entries::{Entries, EntriesError, by_line};
pub use held::{Change, Origin, Used};
use held::{Held, Now, Waiting};

/// How old a list may get that is given, before health says so.
const IMPORT_STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is wrong with a domain's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// There is none yet, and why.
    None(DomainName, String),
    /// Its file can't be used, and why: the next waits for a person.
    Lost(DomainName, String),
    /// What is known of it can't be written, and why.
    Unkept(DomainName, String),
    /// It is so many seconds old, and why no other has come.
    Stale(DomainName, u64, String),
    /// Another has come, why it is not taken, and its sum.
    Waits(DomainName, String, u32),
}

/// What is shown of a domain's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The domain.
    pub domain: DomainName,
    /// Where it comes from.
    pub origin: Origin,
    /// The one that is used.
    pub good: Option<ShownGood>,
    /// The one that waits for a person: how many it has, why it waits, and its sum.
    pub waiting: Option<(usize, String, u32)>,
    /// Why no other has come, since the one that is used.
    pub failure: Option<String>,
    /// How many addresses have vanished of late: senders to them are told to come again.
    pub vanished: usize,
}

/// A list has come, and was not written.
#[derive(Debug)]
pub struct Unkept {
    is_used: bool,
    error: String,
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = if self.is_used { "is used" } else { "waits" };
        write!(
            f,
            "it {is}, but will be gone after a restart, as it can't be written: {}",
            self.error
        )
    }
}

impl std::error::Error for Unkept {}

/// Why a list is not accepted, or not for long.
#[derive(Debug)]
pub enum Unaccepted {
    /// The one that waits is another than was meant: its sum.
    Another(u32),
    /// It is used.
    Unkept(Unkept),
}

/// What is shown of a list that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownGood {
    /// Where it came from.
    pub origin: Origin,
    /// How many addresses it has.
    pub addresses: usize,
    /// When it came, in seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: u64,
}

/// The lists of all domains that have one.
pub struct Lists {
    clock: Clock,
    folder: Option<PathBuf>,
    held: Mutex<HashMap<DomainName, Listed>>,
    /// Held by whoever changes a list, until it is on the disk.
    changing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Default)]
struct Listed {
    held: Held,
    failure: Option<String>,
    /// Why it is not on the disk.
    unkept: Option<String>,
}

impl Lists {
    /// There are none, and none is kept over a restart.
    pub fn new(clock: Clock) -> Self {
        Self { clock, folder: None, held: Mutex::default(), changing: Arc::default() }
    }

    /// What stands in the spool's folder `spool` for the domains of `config` is known.
    pub fn open(spool: &Path, config: &Config, clock: Clock) -> Self {
        let folder = Some(file::folder(spool));
        let lists = Self { folder, ..Self::new(clock) };
        lists.load(config);
        lists
    }

    /// Reads the lists of the domains of `config` that are not known yet.
    pub fn load(&self, config: &Config) {
        let Some(folder) = &self.folder else { return };
        for (domain, _) in domains(config) {
            if self.lock().contains_key(domain) {
                continue;
            }
            let held = file::read(folder, domain, self.now().seconds).unwrap_or_else(|error| {
                tracing::error!(
                    %domain,
                    %error,
                    "the list of recipients is lost: senders are told to come again until another \
                    is accepted"
                );
                Held { lost: Some(error.to_string()), ..Held::default() }
            });
            let listed = Listed { held, ..Listed::default() };
            self.lock().entry(domain.clone()).or_insert(listed);
        }
    }

    /// What the list of `domain` says of the local part `local`, as it is compared.
    pub fn about(&self, domain: &DomainName, local: &[u8], subaddress: &Subaddress) -> Found {
        let seconds = self.now().seconds;
        let lists = self.lock();
        lists.get(domain).map_or(Found::Nothing, |it| it.held.about(local, subaddress, seconds))
    }

    /// A list of `domain` has come: it is used, or waits for a person.
    ///
    /// # Errors
    /// It is, but won't be after a restart.
    pub async fn offer(
        &self,
        domain: &DomainName,
        entries: Entries,
        origin: Origin,
    ) -> Result<Change, Unkept> {
        let now = self.now();
        let offer = |listed: &mut Listed| {
            listed.failure = None;
            listed.held.offer(entries, origin, now)
        };
        let (change, kept) = self.change(domain, offer).await;
        match &change {
            Change::Waits(why) => {
                let told = "a list of recipients waits: postern recipients accept";
                tracing::warn!(%domain, %why, "{told}");
            }
            Change::Used(used) => log_used(domain, *used),
        }
        let is_used = matches!(change, Change::Used(_));
        kept.map(|()| change).map_err(|error| Unkept { is_used, error })
    }

    /// The list of `domain` that waits is used, if it is the one with the sum `of`, where that is
    /// said. `None`: there is none.
    ///
    /// # Errors
    /// It is another, or is used and won't be after a restart.
    pub async fn accept(
        &self,
        domain: &DomainName,
        of: Option<u32>,
    ) -> Result<Option<Used>, Unaccepted> {
        let now = self.now();
        let accept = |listed: &mut Listed| match (of, &listed.held.waiting) {
            (Some(of), Some(waiting)) if waiting.sum != of => Err(Unaccepted::Another(waiting.sum)),
            _ => Ok(listed.held.accept(now)),
        };
        let (accepted, kept) = self.change(domain, accept).await;
        let accepted = accepted?;
        if let Some(used) = accepted {
            log_used(domain, used);
        }
        let unkept = |error| Unaccepted::Unkept(Unkept { is_used: true, error });
        kept.map(|()| accepted).map_err(unkept)
    }

    /// No list of `domain` has come, and why.
    pub fn failed(&self, domain: &DomainName, why: String) {
        let mut lists = self.lock();
        let listed = lists.entry(domain.clone()).or_default();
        if listed.failure.as_ref() != Some(&why) {
            tracing::warn!(%domain, %why, "no list of recipients has come");
        }
        listed.failure = Some(why);
    }

    async fn change<T>(
        &self,
        domain: &DomainName,
        change: impl FnOnce(&mut Listed) -> T,
    ) -> (T, Result<(), String>) {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let mut listed = self.lock().get(domain).cloned().unwrap_or_default();
        let changed = change(&mut listed);
        let (held, seconds) = (listed.held.clone(), self.now().seconds);
        self.lock().insert(domain.clone(), listed);
        let Some(folder) = self.folder.clone() else { return (changed, Ok(())) };
        let kept = spawn_blocking({
            let domain = domain.clone();
            move || {
                // Whoever waits for this may give up: the next write must not.
                let _changing = changing;
                file::write(&folder, &domain, &held, seconds)
            }
        });
        let kept = kept.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let unkept = kept.err().map(|error| error.to_string());
        if let Some(error) = &unkept {
            tracing::error!(%domain, %error, "a list of recipients can't be written");
        }
        if let Some(listed) = self.lock().get_mut(domain) {
            listed.unkept.clone_from(&unkept);
        }
        (changed, unkept.map_or(Ok(()), Err))
    }

    /// What is wrong with the lists of `config`.
    pub fn complaints(&self, config: &Config) -> Vec<Complaint> {
        let (now, mut complaints) = (self.now().unix_seconds, Vec::new());
        let lists = self.lock();
        for (domain, recipients) in domains(config) {
            let listed = lists.get(domain).cloned().unwrap_or_default();
            let stale = match recipients {
                Recipients::Fetched(source) => source.stale,
                _ => IMPORT_STALE,
            };
            let why = listed.failure.unwrap_or_default();
            let unkept = listed.unkept.map(|why| Complaint::Unkept(domain.clone(), why));
            let lost = listed.held.lost;
            let waiting = listed.held.waiting;
            complaints.extend(unkept);
            let waits = |it: Waiting| Complaint::Waits(domain.clone(), it.why, it.sum);
            complaints.extend(waiting.map(waits));
            match listed.held.good.map(|good| now.saturating_sub(good.unix_seconds)) {
                Some(age) if age > stale.as_secs() => {
                    complaints.push(Complaint::Stale(domain.clone(), age, why));
                }
                None if lost.is_some() => {
                    complaints.push(Complaint::Lost(domain.clone(), lost.unwrap_or_default()));
                }
                // It is about to be fetched.
                None if why.is_empty() && matches!(recipients, Recipients::Fetched(_)) => {}
                None => complaints.push(Complaint::None(domain.clone(), why)),
                Some(_) => {}
            }
        }
        complaints
    }

    /// The lists of `config`: of all domains, or one.
    pub fn shown(&self, config: &Config, domain: Option<&DomainName>) -> Vec<Shown> {
        let now = self.now().seconds;
        let lists = self.lock();
        let wanted = domains(config).filter(|(name, _)| domain.is_none_or(|it| it == *name));
        let shown = wanted.map(|(domain, recipients)| {
            let listed = lists.get(domain).cloned().unwrap_or_default();
            let origin = match recipients {
                Recipients::Fetched(_) => Origin::Fetched,
                _ => Origin::Imported,
            };
            let good = listed.held.good.map(|good| ShownGood {
                origin: good.origin,
                addresses: good.entries.len(),
                unix_seconds: good.unix_seconds,
            });
            let waiting = listed.held.waiting.map(|it| (it.entries.len(), it.why, it.sum));
            let vanished = listed.held.vanished.values().filter(|until| now < **until).count();
            let failure = listed.unkept.or(listed.held.lost).or(listed.failure);
            Shown { domain: domain.clone(), origin, good, waiting, failure, vanished }
        });
        shown.collect()
    }

    fn now(&self) -> Now {
        let unix_seconds = self.clock.timestamp().unix_seconds;
        Now { unix_seconds, seconds: self.clock.instant().as_millis() / 1000 }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DomainName, Listed>> {
        // Each change of it is one insertion.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains = self.lock().len();
        f.debug_struct("Lists").field("domains", &domains).finish_non_exhaustive()
    }
}

fn log_used(domain: &DomainName, Used { addresses, new, vanished }: Used) {
    if new + vanished > 0 {
        tracing::info!(%domain, addresses, new, vanished, "the list of recipients has changed");
    }
}

/// Whether `recipients` are those of a list that is kept here.
pub fn is_kept(recipients: &Recipients) -> bool {
    matches!(recipients, Recipients::Fetched(_) | Recipients::Imported)
}

fn domains(config: &Config) -> impl Iterator<Item = (&DomainName, &Recipients)> {
    let all = config.hold.iter().map(|(domain, hold)| (domain, &hold.recipients));
    all.filter(|(_, recipients)| is_kept(recipients))
}

#[cfg(test)]
mod tests;
