//! Delivery into a Maildir: files that whoever reads the mail finds, and moves.
//!
//! What is there is whole and durable, and there once, however often a delivery was stopped: a
//! file is named after its message and its recipient. All that may wait for the disk is done in
//! threads for that.

mod content;
mod disk;
mod folder;
mod name;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use postern_core::client::reply::Enhanced;
use postern_spool::{Body, Claim, Error, Recipient, Spool};
use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::content::{UnixLines, delivery_fields};
use self::disk::Trouble;
use self::folder::{Begun, Draft, Folder};
use self::name::FileName;
use super::answer::Answer;
use super::not_open::NotOpen;
use super::told::Told;
use super::transfer::{Loss, Sent, Stage, Verdict};
use crate::config::MaildirPath;
use crate::net::descriptors;
use crate::observe::progress::Phase;
use crate::policy::{Files, Policy};

/// Octets that are written at once.
const WRITE: usize = 256 * 1024;
/// A disk that takes longer is told of.
const SLOW: Duration = Duration::from_secs(60);

/// A Maildir, or a folder with one for each recipient, that is open.
pub struct Maildir<'c> {
    path: &'c MaildirPath,
    policy: &'c Policy,
    told: Told<'c>,
    base: Arc<OwnedFd>,
    /// The Maildir that was written to last, and, where each recipient has his own, whose it is.
    last: Option<(String, Arc<Folder>)>,
}

/// Why a recipient did not get the message.
enum Undelivered {
    /// It concerns nobody else.
    Verdict(Verdict),
    /// Nobody gets any.
    Loss(Loss),
}

/// Whether mail could be delivered into `path`, as far as can be told without delivering any.
///
/// # Errors
/// Why not.
pub fn check(path: &MaildirPath, files: Files) -> Result<(), String> {
    open(path, files).map(|_| ()).map_err(|trouble| trouble.to_string())
}

fn open(path: &MaildirPath, files: Files) -> Result<(OwnedFd, Option<Folder>), Trouble> {
    let base = disk::open_base(&path.base)?;
    let one = path.below.is_none();
    let folder = one.then(|| Folder::open(&base, &path.base, files)).transpose()?;
    Ok((base, folder))
}

impl<'c> Maildir<'c> {
    /// Opens `path`. The folder that an operator named is not made: where a disk is not mounted,
    /// mail waits for it.
    pub(super) async fn open(
        path: &'c MaildirPath,
        policy: &'c Policy,
        told: Told<'c>,
    ) -> Result<Self, NotOpen> {
        told.phase(Phase::Folder);
        let not_open = |trouble: Trouble| NotOpen::from_io(&trouble.io_error(), trouble.what());
        let left = descriptors::leave_reserved();
        left.map_err(|error| NotOpen::from_io(&error, "opening a Maildir"))?;
        let (own_path, files) = (path.clone(), policy.files);
        let opened = blocking(path, move || open(&own_path, files)).await;
        let (base, folder) = opened.map_err(not_open)?;
        told.phase(Phase::Idle);
        let last = folder.map(|folder| (String::new(), Arc::new(folder)));
        Ok(Self { path, policy, told, base: Arc::new(base), last })
    }

    /// Delivers a message to those recipients of its claim that wait.
    pub(super) async fn send<S: Spool>(&mut self, claim: &Claim, spool: &S) -> Sent {
        let recipients = claim.waiting().count();
        let mut sent = Sent { verdicts: Vec::with_capacity(recipients), loss: None };
        for (_, recipient) in claim.waiting() {
            let verdict = match self.deliver(claim, recipient, spool).await {
                Ok(answer) => Verdict::Reply(Stage::Message, answer),
                Err(Undelivered::Verdict(verdict)) => verdict,
                Err(Undelivered::Loss(loss)) => {
                    sent.loss = Some(loss);
                    break;
                }
            };
            sent.verdicts.push(Some(verdict));
        }
        sent.verdicts.resize(recipients, None);
        self.told.phase(Phase::Idle);
        sent
    }

    async fn deliver<S: Spool>(
        &mut self,
        claim: &Claim,
        recipient: &Recipient,
        spool: &S,
    ) -> Result<Answer, Undelivered> {
        let folder = self.folder(recipient).await?;
        self.told.phase(Phase::Writing);
        let name = FileName::new(claim.id, &recipient.path);
        let begun = self.on_disk(&folder, move |folder| folder.begin(name)).await?;
        let Begun::Draft(draft) = begun else {
            return Ok(answer(250, (0, 0), format_args!("delivered before, as {name}")));
        };
        let fields = delivery_fields(&claim.envelope.reverse_path, &recipient.path);
        let draft = self.write(&folder, draft, fields, (claim, spool)).await?;
        self.told.phase(Phase::Syncing);
        self.on_disk(&folder, move |folder| folder.commit(draft)).await?;
        Ok(answer(250, (0, 0), format_args!("delivered as {name}")))
    }

    /// The Maildir of `recipient`.
    async fn folder(&mut self, recipient: &Recipient) -> Result<Arc<Folder>, Undelivered> {
        let user = match &self.path.below {
            None => String::new(),
            Some(_) => self.policy.folder(&recipient.path).ok_or_else(|| {
                let why = "he is not among the domain's recipients now, and has no folder";
                later(answer(450, (1, 1), why))
            })?,
        };
        if let Some((_, last)) = self.last.as_ref().filter(|(last, _)| *last == user) {
            return Ok(Arc::clone(last));
        }
        self.told.phase(Phase::Folder);
        let (base, path) = (Arc::clone(&self.base), self.path.clone());
        let (owner, files) = (user.clone(), self.policy.files);
        let opened = blocking(self.path, move || {
            let below = path.below.as_deref().unwrap_or_else(|| "".as_ref());
            Folder::of_user((&base, &path.base), (&owner, below), files)
        });
        let folder = Arc::new(opened.await.map_err(|trouble| self.undelivered(&trouble))?);
        self.last = Some((user, Arc::clone(&folder)));
        Ok(folder)
    }

    /// Writes `fields` and the message behind them.
    async fn write<S: Spool>(
        &self,
        folder: &Arc<Folder>,
        mut draft: Draft,
        mut octets: Vec<u8>,
        (claim, spool): (&Claim, &S),
    ) -> Result<Draft, Undelivered> {
        let mut lines = UnixLines::default();
        let mut body = match spool.body(claim.id).await {
            Ok(body) => body,
            Err(error) => return Err(self.unreadable(folder, draft, error).await),
        };
        loop {
            let is_end = match body.chunk().await {
                Ok([]) => true,
                Ok(chunk) => {
                    lines.feed(chunk, &mut octets);
                    false
                }
                Err(error) => return Err(self.unreadable(folder, draft, error).await),
            };
            if is_end {
                std::mem::take(&mut lines).end(&mut octets);
            }
            if is_end || octets.len() >= WRITE {
                let write = move |folder: &Folder| {
                    folder.write(&mut draft, &octets)?;
                    octets.clear();
                    Ok((draft, octets))
                };
                (draft, octets) = self.on_disk(folder, write).await?;
            }
            if is_end {
                return Ok(draft);
            }
        }
    }

    async fn unreadable(&self, folder: &Arc<Folder>, draft: Draft, error: Error) -> Undelivered {
        let folder = Arc::clone(folder);
        blocking(self.path, move || folder.discard(draft)).await;
        Undelivered::Loss(Loss::Unreadable(error))
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        folder: &Arc<Folder>,
        work: impl FnOnce(&Folder) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Undelivered> {
        let folder = Arc::clone(folder);
        let done = blocking(self.path, move || work(&folder)).await;
        done.map_err(|trouble| self.undelivered(&trouble))
    }

    /// Whom what went wrong concerns: the owner of a folder of his own, or everybody.
    fn undelivered(&self, trouble: &Trouble) -> Undelivered {
        let is_own = self.path.below.is_some();
        match trouble.errno {
            Errno::NOSPC | Errno::ROFS | Errno::IO | Errno::STALE => {}
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => {}
            Errno::DQUOT if is_own => return later(answer(452, (2, 2), trouble)),
            _ if is_own => return later(answer(451, (3, 0), trouble)),
            _ => {}
        }
        Undelivered::Loss(Loss::Closing(answer(451, (3, 0), trouble).to_string()))
    }
}

fn later(answer: Answer) -> Undelivered {
    Undelivered::Verdict(Verdict::Reply(Stage::Recipient, answer))
}

/// What a host would say (RFC 3463).
fn answer(code: u16, (subject, detail): (u16, u16), text: impl std::fmt::Display) -> Answer {
    let class = if code < 300 { 2 } else { 4 };
    Answer::silent(code, Enhanced { class, subject, detail }, text)
}

/// Does `work` in a thread that may wait for the disk, and says so where it does: a network's file
/// system may hang for hours.
async fn blocking<T: Send + 'static>(
    path: &MaildirPath,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let mut working = spawn_blocking(work);
    let done = match timeout(SLOW, &mut working).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = SLOW.as_secs();
            tracing::warn!(maildir = %path, seconds, "the disk has not answered yet");
            working.await
        }
    };
    match done {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
