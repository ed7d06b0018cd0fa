//! Measures the local spool: `spool_bench FOLDER [SECONDS [MESSAGES]]`, on the disk that mail will
//! be on. Without MESSAGES, only appends and settlings are measured.

mod shapes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postern_core::envelope::{Body, Ret};
use postern_spool::clock::Clock;
use postern_spool::log::{LogSpool, Options};
use postern_spool::{Draft, Envelope, Fate, MsgId, Next, Recipient, Retry, Settled, Spool, Totals};

const BODY_BYTES: usize = 8 << 10;
const CHUNK_BYTES: usize = 4 << 10;
const DOMAINS: u64 = 1_000;

fn envelope(clock: &Clock, number: u64) -> Envelope {
    let path = format!("somebody@client-{}.example", number);
    Envelope {
        arrival: clock.timestamp(),
        client: "192.0.2.7".parse().ok(),
        client_port: 40_025,
        helo: b"relay.sender.example".to_vec(),
        esmtp: true,
        tls: false,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example".to_vec(),
        body: Body::EightBitMime,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: vec![Recipient::new(path.as_bytes())],
    }
}

async fn append(spool: &LogSpool, clock: &Clock, body: &[u8], number: u64) -> MsgId {
    let envelope = envelope(clock, number);
    let mut writer = spool.begin(&envelope, Some(body.len() as u64)).await.expect("there is place");
    for chunk in body.chunks(CHUNK_BYTES) {
        writer.write(chunk).await.expect("there is place");
    }
    writer.commit().await.expect("the disk works")
}

/// User and system time of this process.
fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<u64> = usage
        .rsplit(')')
        .next()
        .expect("the name is in parentheses")
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().expect("a number of ticks"))
        .collect();
    Duration::from_millis(10 * fields.iter().sum::<u64>())
}

async fn measure_appends(folder: &Path, sessions: usize, time: Duration) {
    let clock = Clock::system();
    let (spool, report) =
        LogSpool::open(folder, Options::default(), clock.clone()).expect("the folder is usable");
    assert_eq!(report.findings, [], "a fresh folder");
    let spool = Arc::new(spool);
    let body: Arc<[u8]> = (0..BODY_BYTES).map(|octet| (octet * 31 % 251) as u8).collect();
    let (stop, appended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (started, cpu_before) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..sessions)
        .map(|_| {
            let (spool, clock, body) = (spool.clone(), clock.clone(), body.clone());
            let (stop, appended) = (stop.clone(), appended.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = appended.fetch_add(1, Ordering::Relaxed);
                    append(&spool, &clock, &body, number % DOMAINS).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no session panics");
    }
    let (count, seconds) = (appended.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    let stats = spool.totals().await.expect("it works");
    println!(
        "appends c={sessions:<3} {:>7.0}/s  {:.3} syncs each  {:.1} MB/s  {:.1} us of CPU each",
        count as f64 / seconds,
        stats.syncs as f64 / count as f64,
        stats.body_bytes as f64 / seconds / 1e6,
        (cpu() - cpu_before).as_micros() as f64 / count as f64,
    );
    if sessions > 1 {
        measure_settling(&spool, &stats).await;
    }
}

async fn measure_settling(spool: &Arc<LogSpool>, stats: &Totals) {
    let (started, cpu_before) = (Instant::now(), cpu());
    let due = spool.due(None, usize::MAX).await.expect("it works");
    let domains: Vec<_> = due.into_iter().map(|due| due.domain).collect();
    let tasks = domains.chunks(domains.len().div_ceil(64)).map(|domains| {
        let (spool, domains) = (spool.clone(), domains.to_vec());
        tokio::spawn(async move {
            let lease = Duration::from_secs(600);
            for domain in domains {
                let turn = spool.turn(&domain, 1, lease).await.expect("it works").expect("due");
                for claim in spool.claim(&turn, 1_000).await.expect("it works") {
                    let fates = claim.waiting();
                    let fates = fates.map(|(number, _)| (number, Fate::Delivered(Vec::new())));
                    let (id, fates) = (claim.id, fates.collect());
                    let settled = Settled { id, fates, retry: Retry::Now, follow: None };
                    spool.settle(&turn, vec![settled]).await.expect("it works");
                }
                spool.end(turn, Next::Drained).await.expect("it works");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no delivery panics");
    }
    let left = spool.totals().await.expect("it works");
    let settled = stats.messages - left.messages;
    println!(
        "settles c=64  {:>7.0}/s  {:.3} syncs each  {:.1} us of CPU each  {} left",
        settled as f64 / started.elapsed().as_secs_f64(),
        (left.syncs - stats.syncs) as f64 / settled as f64,
        (cpu() - cpu_before).as_micros() as f64 / settled as f64,
        left.messages,
    );
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, folder, messages] = &arguments[..]
        && flag == "--shape"
    {
        let messages = messages.parse().expect("a number of messages");
        return shapes::measure_in_this_process(Path::new(folder), messages).await;
    }
    let root = arguments.first().expect("usage: spool_bench FOLDER [SECONDS [MESSAGES]]");
    let seconds = arguments.get(1).map_or(3, |text| text.parse().expect("a number of seconds"));
    let messages = arguments.get(2).map_or(0, |text| text.parse().expect("a number of messages"));
    for sessions in [1, 16, 64] {
        let folder = Path::new(&root).join(format!("c{sessions}"));
        measure_appends(&folder, sessions, Duration::from_secs(seconds)).await;
        let started = Instant::now();
        let opened = LogSpool::open(&folder, Options::default(), Clock::system());
        let (spool, report) = opened.expect("it was just used");
        println!("reopened in {:.0} ms: {report}", started.elapsed().as_secs_f64() * 1e3);
        drop(spool);
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }
    for domains in [messages / 10, 1] {
        if messages > 0 {
            shapes::measure(&Path::new(&root).join("shape"), messages, domains.max(1)).await;
        }
    }
}
