//! On what the conformance cases run: a folder, and a disk that loses what was not synced.

use super::conformance::{self, NOW, put};
use super::sim_disk::{Fault, Loss, SimDisk};
use crate::Spool;
use crate::clock::Clock;
use crate::log::disk::{Disk, Folder};
use crate::log::{LogSpool, Options, check};

/// Small enough that every way of storing a body and every change of segment is met.
const SMALL: Options = Options {
    segment_bytes: 64 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 4 << 10,
    inline_bytes: 12 << 10,
};

/// A spool that can end and be opened again, with a clock that the case moves.
pub trait Stand: Send + Sync + 'static {
    type Spool: Spool;

    fn new() -> Self;
    fn clock(&self) -> &Clock;
    fn spool(&self) -> &Self::Spool;
    /// Ends the spool in the worst way that loses nothing acknowledged, and opens it again.
    fn reopen(&mut self);
    /// Ends the spool, and counts the files in one of its folders.
    fn files(&mut self, folder: &str) -> usize;
}

/// A folder of the file system.
pub struct OnFolder {
    folder: tempfile::TempDir,
    clock: Clock,
    spool: Option<LogSpool>,
}

impl Stand for OnFolder {
    type Spool = LogSpool;

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut stand = Self { folder, clock: Clock::manual(NOW), spool: None };
        stand.reopen();
        stand
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn spool(&self) -> &LogSpool {
        self.spool.as_ref().expect("it is open")
    }

    fn reopen(&mut self) {
        self.spool = None;
        let opened = LogSpool::open(self.folder.path(), SMALL, self.clock.clone());
        let (spool, report) = opened.expect("the folder is right");
        assert_eq!(report.findings, [], "it was closed in good order");
        self.spool = Some(spool);
    }

    fn files(&mut self, folder: &str) -> usize {
        self.spool = None;
        Folder::read_only(self.folder.path())
            .and_then(|disk| disk.list(folder))
            .expect("readable")
            .len()
    }
}

/// A disk in memory, whose power goes at each end.
pub struct OnSimDisk {
    disk: SimDisk,
    clock: Clock,
    spool: Option<LogSpool<SimDisk>>,
}

impl Stand for OnSimDisk {
    type Spool = LogSpool<SimDisk>;

    fn new() -> Self {
        let (disk, clock) = (SimDisk::new(Fault::None), Clock::manual(NOW));
        let mut stand = Self { disk, clock, spool: None };
        stand.reopen();
        stand
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn spool(&self) -> &LogSpool<SimDisk> {
        self.spool.as_ref().expect("it is open")
    }

    fn reopen(&mut self) {
        self.disk = self.disk.after(Loss::All, Fault::None);
        self.spool = None;
        let opened = LogSpool::open_on(self.disk.clone(), SMALL, self.clock.clone());
        let (spool, report) = opened.expect("the disk is right");
        assert!(!report.has_damage(), "{report}");
        self.spool = Some(spool);
    }

    fn files(&mut self, folder: &str) -> usize {
        self.spool = None;
        self.disk.list(folder).expect("a folder").len()
    }
}

macro_rules! conformance {
    ($($case:ident)*) => {
        mod on_a_folder {
            $(#[tokio::test]
            async fn $case() {
                super::conformance::$case::<super::OnFolder>().await;
            })*
        }
        mod on_a_disk_that_forgets {
            $(#[tokio::test]
            async fn $case() {
                super::conformance::$case::<super::OnSimDisk>().await;
            })*
        }
    };
}

conformance! {
    what_has_no_place_is_refused_before_its_first_octet
    bodies_of_every_length_come_back_whole
    a_message_is_one_item_for_each_domain_and_dies_with_the_last
    items_are_claimed_in_order_and_never_twice
    a_lease_lapses_and_its_old_holder_cannot_settle
    what_is_put_off_waits_for_its_time_or_a_release
    a_domain_that_is_put_off_stays_so_over_a_restart
    recipients_are_settled_one_by_one_and_the_refused_are_kept
    old_items_expire_only_while_the_time_is_known
    a_person_lists_page_by_page_and_removes_even_what_is_leased
    those_who_deliver_hear_of_arrivals_and_releases
    what_is_not_committed_leaves_nothing
    many_sessions_share_the_memory_for_drafts
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_folder() {
    let mut stand = OnFolder::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    // Once the lock was a file: removing it, or locking it, let a second process in, or kept all out.
    let old = std::fs::File::create(stand.folder.path().join("lock")).expect("a file");
    old.try_lock().expect("nobody has it");
    let second = LogSpool::open(stand.folder.path(), SMALL, stand.clock.clone());
    let text = second.expect_err("the folder is locked").to_string();
    assert!(text.contains("another process"), "{text}");
    let report = check(stand.folder.path()).expect("a check needs no lock");
    assert_eq!((report.messages, report.findings.len()), (1, 0));
    stand.spool = None;
    stand.reopen();
    assert_eq!(stand.spool().stats().messages, 1);
}
