//! Much mail, in shapes: how long a start takes, what it takes of memory, and how long each call
//! keeps the index locked.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options, longest_lock};
use postern_spool::{
    Action, Claim, Cursor, Domain, Fate, Filter, Next, Retry, Settled, Spool, Wake,
};

const LEASE: Duration = Duration::from_secs(600);
/// Messages that are claimed and settled at once.
const BATCH: usize = 1_000;

/// Fills a spool in `folder` with `messages` for `domains`, and measures it in a process of its
/// own.
pub async fn measure(folder: &Path, messages: u64, domains: u64) {
    let started = Instant::now();
    fill(folder, messages, domains).await;
    let seconds = started.elapsed().as_secs_f64();
    println!("{messages} messages for {domains} domains: filled in {seconds:.0} s");
    let program = std::env::current_exe().expect("Linux has it");
    let status =
        Command::new(program).arg("--shape").arg(folder).arg(messages.to_string()).status();
    assert!(status.expect("it starts").success());
    std::fs::remove_dir_all(folder).expect("it is ours");
}

async fn fill(folder: &Path, messages: u64, domains: u64) {
    const SESSIONS: u64 = 256;
    let clock = Clock::system();
    let opened = LogSpool::open(folder, Options::default(), clock.clone());
    let spool = Arc::new(opened.expect("the folder is usable").0);
    let tasks = (0..SESSIONS).map(|session| {
        let (spool, clock) = (spool.clone(), clock.clone());
        tokio::spawn(async move {
            for number in (session..messages).step_by(SESSIONS as usize) {
                super::append(&spool, &clock, &[b'x'; 100], number % domains).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no session panics");
    }
    spool.close().await;
}

/// Bytes of memory that this process uses, and has used at most.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let field = |name| {
        let line = status.lines().find_map(|line: &str| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        1_024 * kibibytes.expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Measures the spool in `folder`, which holds `messages`.
pub async fn measure_in_this_process(folder: &Path, messages: u64) {
    let (before, _) = memory();
    let cpu = super::cpu();
    let started = Instant::now();
    let opened = LogSpool::open(folder, Options::default(), Clock::system());
    let spool = Arc::new(opened.expect("it was just filled").0);
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = (super::cpu() - cpu).as_secs_f64();
    let (after, most) = memory();
    println!(
        "  open {seconds:.2} s ({cpu_seconds:.2} s of CPU; goal: 2 for a million), \
         {} bytes a message \
         (goal: 100), {} while it opened",
        (after - before) / messages,
        (most - before) / messages,
    );
    let locked = |what: &str| {
        let (time, cpu) = longest_lock();
        println!(
            "  {what:<28} locked for {:>6.0} us of CPU at most ({:.0} us in all; goal: 1000)",
            cpu.as_secs_f64() * 1e6,
            time.as_secs_f64() * 1e6,
        );
    };
    longest_lock();
    let due = spool.due(None, 100_000).await.expect("it works");
    locked("due, all");
    spool.totals().await.expect("it works");
    locked("totals");
    spool.queues(None, 100_000).await.expect("it works");
    locked("queues, all");
    let domain = &due[due.len() / 2].domain;
    settle(&spool, domain, 50, |_| Fate::Deferred(b"later".to_vec())).await;
    locked("claim and put off, 1,000");
    spool.release(std::slice::from_ref(domain), Wake::Operator).await.expect("it works");
    locked("release of what was put off");
    settle(&spool, domain, 1, |_| Fate::Refused(b"no".to_vec())).await;
    locked("claim and refuse, 1,000");
    spool.list(&Filter::default(), None, 100).await.expect("it works");
    locked("list, first page");
    let last: Cursor =
        format!("{domain}/ffffffff-ffff-ffff-ffff-ffffffffffff").parse().expect("ok");
    spool.list(&Filter::default(), Some(&last), 100).await.expect("it works");
    locked("list, a later page");
    spool.act(&Filter::default(), Action::Remove, BATCH).await.expect("it works");
    locked("remove, 1,000");
    let domains: Vec<Domain> = due.iter().map(|due| due.domain.clone()).collect();
    let started = Instant::now();
    spool.release(&domains, Wake::Operator).await.expect("it works");
    let seconds = started.elapsed().as_secs_f64();
    locked("release of all domains");
    println!("  release of all domains in {seconds:.2} s");
    if domains.len() == 1 {
        measure_tidying(&spool, &domains).await;
        locked("settling and tidying");
    }
}

/// Settles up to `batches` of a domain's mail in one turn.
async fn settle(spool: &LogSpool, domain: &Domain, batches: usize, fate: impl Fn(&Claim) -> Fate) {
    let turn = spool.turn(domain, 1, LEASE).await.expect("it works");
    let Some(turn) = turn else { return };
    for _ in 0..batches {
        let claims = spool.claim(&turn, BATCH).await.expect("it works");
        if claims.is_empty() {
            break;
        }
        let done = claims.iter().map(|claim| {
            let fates = claim.waiting().map(|(number, _)| (number, fate(claim))).collect();
            let retry = Retry::In(Duration::from_secs(3_600));
            Settled { id: claim.id, fates, retry, follow: None }
        });
        spool.settle(&turn, done.collect()).await.expect("it works");
    }
    spool.end(turn, Next::More).await.expect("it works");
}

/// Delivers most of what is held, so that segments are copied and cleared away, and measures how
/// long one who puts messages meanwhile waits for each.
async fn measure_tidying(spool: &Arc<LogSpool>, domains: &[Domain]) {
    let stop = Arc::new(AtomicBool::new(false));
    let putting = {
        let (spool, stop) = (spool.clone(), stop.clone());
        tokio::spawn(async move {
            let (clock, mut times) = (Clock::system(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let started = Instant::now();
                super::append(&spool, &clock, &[b'x'; 100], 7).await;
                times.push(started.elapsed());
            }
            times
        })
    };
    let before = spool.totals().await.expect("it works");
    for domain in domains {
        let waiting = spool.queue(domain).await.expect("it works").map_or(0, |queue| queue.waiting);
        // One in ten stays, spread over all segments.
        let batches = (waiting as usize * 9 / 10).div_ceil(BATCH);
        settle(spool, domain, batches, |claim| match claim.id.as_bytes()[15] % 10 {
            0 => Fate::Deferred(b"later".to_vec()),
            _ => Fate::Delivered(Vec::new()),
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut times = putting.await.expect("no session panics");
    times.sort_unstable();
    let after = spool.totals().await.expect("it works");
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!(
        "  {} puts beside tidying: median {:.1} ms (goal: 2), worst {:.1} ms (goal: 50); \
         disk {} to \
         {} MB",
        times.len(),
        millis(times.get(times.len() / 2)),
        millis(times.last()),
        before.disk_bytes / 1_000_000,
        after.disk_bytes / 1_000_000,
    );
}
