//! On what the conformance cases run: a folder, and a disk that loses what was not synced.

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, SimDisk};
use crate::clock::Clock;
use crate::conformance::{NOW, Stand, body, put};
use crate::log::disk::{BODIES, DRAFTS, Disk};
use crate::log::folder::Folder;
use crate::log::{LogSpool, Options, check};

/// Small enough that every way of storing a body and every change of segment is met.
const SMALL: Options = Options {
    segment_bytes: 64 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 4 << 10,
    inline_bytes: 12 << 10,
};

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
}

crate::conformance_cases!(on_a_folder, super::OnFolder);
crate::conformance_cases!(on_a_disk_that_forgets, super::OnSimDisk);

#[tokio::test]
async fn no_file_is_left_of_what_is_not_held() {
    use crate::{Action, Draft, Filter, Spool};
    let mut stand = OnFolder::new();
    let spool = stand.spool();
    let envelope = crate::conformance::envelope(&["bob@client.example"]);
    let mut draft = spool.begin(&envelope, None).await.expect("begun");
    draft.write(&body(1, 100_000)).await.expect("written");
    drop(draft);
    put(spool, &["bob@client.example"], &body(2, 20_000)).await;
    let removed = spool.act(&Filter::default(), Action::Remove, 10).await;
    assert_eq!(removed.map(|removed| removed.len()), Ok(1));
    stand.spool = None;
    let disk = Folder::read_only(stand.folder.path()).expect("nobody uses it");
    for folder in [DRAFTS, BODIES] {
        assert_eq!(disk.list(folder).expect("readable"), Vec::<String>::new());
    }
}

/// Once they began with the millisecond of the start.
#[test]
fn fences_grow_however_soon_a_spool_is_opened_again() {
    let mut rig = Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk");
    rig.put(&[(&["bob@client.example"], 10)]);
    let mut last = 0;
    for _ in 0..50 {
        let (turn, _) = rig.claim("client.example", 1).expect("there is mail");
        assert!(last < turn.fence);
        last = turn.fence;
        rig.restart();
    }
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_folder() {
    let mut stand = OnFolder::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    // Once the lock was a file: whoever removed or locked it let a second process in, or kept
    // all out.
    let old = std::fs::File::create(stand.folder.path().join("lock")).expect("a file");
    old.try_lock().expect("nobody has it");
    let second = LogSpool::open(stand.folder.path(), SMALL, stand.clock.clone());
    let text = second.expect_err("the folder is locked").to_string();
    assert!(text.contains("another process"), "{text}");
    let report = check(stand.folder.path()).expect("a check needs no lock");
    assert_eq!((report.messages, report.findings.len()), (1, 0));
    stand.reopen();
    assert_eq!(check(stand.folder.path()).expect("it is there").messages, 1);
}
