use std::sync::Arc;
use std::time::Duration;

use postern_spool::Domain;
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use tempfile::TempDir;

use super::super::stand::{NOW, Stand, terms};
use super::super::turn::End;
use super::{Ended, Queue};

fn name(nth: usize) -> String {
    format!("d{nth}.example")
}

/// A queue that has looked through domains that are due, each at a host of its own.
struct Looked {
    stand: Stand<LogSpool>,
    queue: Queue<LogSpool>,
    _folder: TempDir,
}

async fn looked(domains: usize, rest: &str) -> Looked {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(NOW);
    let (spool, _) = LogSpool::open(folder.path(), Options::default(), clock.clone())
        .expect("an empty folder is an empty spool");
    let held = |nth| (name(nth), format!("deliver_to = \"h{nth}.example:25\"\n{rest}"));
    let stand = Stand::over(spool, clock, terms((0..domains).map(held)));
    let paths: Vec<_> = (0..domains).map(|nth| format!("bob@{}", name(nth))).collect();
    for paths in paths.chunks(100) {
        stand.hold(paths, NOW).await;
    }
    let mut queue = Queue::new(Arc::clone(&stand.shared), stand.stopping.subscribe());
    queue.look().await;
    Looked { stand, queue, _folder: folder }
}

/// A host waits without turns: each of them would end at once, and ask for the next.
#[tokio::test]
async fn no_turn_begins_at_a_host_that_waits_before_its_time() {
    let Looked { stand, mut queue, _folder } = looked(1, "").await;
    let token = queue.turns.start().expect("it is due");
    let until = stand.clock.instant().after(Duration::from_secs(1));
    queue.end(Ended { token, end: End::HostWaits(until) });
    assert!(queue.turns.is_waiting(&Domain::new(&name(0))));
    assert!(queue.turns.start().is_none());
    stand.clock.advance(Duration::from_millis(999));
    queue.open();
    assert!(queue.turns.start().is_none());
    stand.clock.advance(Duration::from_millis(1));
    queue.open();
    assert!(queue.turns.start().is_some());
}
