//! What the trait promises, on whatever holds it.

use std::time::Duration;

use postern_core::envelope::{Body as BodyType, Ret, State};
use postern_core::time::Timestamp;

use crate::clock::Clock;
use crate::spool::log::disk::{Disk, Folder};
use crate::spool::log::{LogSpool, Options};
use crate::spool::{
    Body, Claim, Domain, Envelope, Error, Event, Fate, MsgId, Outcome, Page, Recipient, Spool,
    Status, Wake, Writer,
};

pub const NOW: Timestamp = Timestamp { unix_seconds: 1_800_000_000, known: true };
const LEASE: Duration = Duration::from_secs(600);

pub fn envelope(paths: &[&str]) -> Envelope {
    Envelope {
        arrival: NOW,
        client: "192.0.2.7".parse().ok(),
        client_port: 40_025,
        helo: b"relay.sender.example".to_vec(),
        esmtp: true,
        tls: true,
        authenticated: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example".to_vec(),
        body: BodyType::EightBitMime,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: paths.iter().map(|path| Recipient::new(path.as_bytes())).collect(),
    }
}

/// Octets that no two messages share.
pub fn body(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let octets = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    });
    octets.take(length).collect()
}

pub async fn put<S: Spool>(spool: &S, paths: &[&str], body: &[u8]) -> MsgId {
    let mut writer = spool.begin(&envelope(paths), Some(body.len() as u64)).await.expect("begun");
    for chunk in body.chunks(1_500) {
        writer.write(chunk).await.expect("written");
    }
    let id = writer.id();
    assert_eq!(writer.commit().await, Ok(id));
    id
}

pub async fn body_of<S: Spool>(spool: &S, id: MsgId, from: u64) -> Vec<u8> {
    let mut reader = spool.read(id, from).await.expect("it is held");
    let mut body = Vec::new();
    loop {
        let chunk = reader.chunk().await.expect("it is whole");
        if chunk.is_empty() {
            return body;
        }
        body.extend_from_slice(chunk);
    }
}

async fn claim<S: Spool>(spool: &S, domain: &str) -> Vec<Claim> {
    spool.claim(&Domain::new(domain), 100, LEASE).await.expect("the spool is up")
}

async fn status<S: Spool>(spool: &S, id: MsgId) -> Vec<Status> {
    let held = spool.show(id).await.expect("the spool is up");
    held.into_iter().map(|held| held.status).collect()
}

fn later(seconds: u64) -> Timestamp {
    Timestamp { unix_seconds: NOW.unix_seconds + seconds, ..NOW }
}

/// Small enough that every way of storing a body and every change of segment is met.
pub const SMALL: Options = Options {
    segment_bytes: 64 << 10,
    memory_bytes: 64 << 10,
    draft_bytes: 4 << 10,
    inline_bytes: 12 << 10,
};

/// A spool that can be closed and opened again.
pub struct Bench {
    folder: tempfile::TempDir,
    pub clock: Clock,
    spool: Option<LogSpool>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut bench = Self { folder, clock: Clock::manual(NOW), spool: None };
        bench.reopen();
        bench
    }

    pub fn spool(&self) -> &LogSpool {
        self.spool.as_ref().expect("it is open")
    }

    pub fn reopen(&mut self) {
        self.spool = None;
        let opened = LogSpool::open(self.folder.path(), SMALL, self.clock.clone());
        let (spool, report) = opened.expect("the folder is right");
        assert!(!report.has_damage(), "{report}");
        self.spool = Some(spool);
    }

    pub fn close(&mut self) -> &std::path::Path {
        self.spool = None;
        self.folder.path()
    }
}

#[tokio::test]
async fn bodies_of_every_length_come_back_whole() {
    let mut bench = Bench::new();
    let mut held = Vec::new();
    for (seed, length) in
        [0, 1, 3_000, 4_096, 4_097, 8_191, 12_287, 12_288, 12_289, 50_000, 300_000]
            .iter()
            .enumerate()
    {
        let body = body(seed as u64, *length);
        held.push((put(bench.spool(), &["bob@client.example"], &body).await, body));
    }
    for round in 0..2 {
        for (id, body) in &held {
            assert!(body_of(bench.spool(), *id, 0).await == *body, "{} {round}", body.len());
            let from = body.len() as u64 / 3;
            assert!(body_of(bench.spool(), *id, from).await == body[from as usize..]);
        }
        bench.reopen();
    }
    let stats = bench.spool().stats();
    assert_eq!((stats.messages, stats.drafts), (11, 0));
    assert_eq!(stats.body_bytes, held.iter().map(|(_, body)| body.len() as u64).sum::<u64>());
}

#[tokio::test]
async fn a_message_is_one_item_for_each_domain_and_dies_with_the_last() {
    let mut bench = Bench::new();
    let paths = ["ann@one.example", "bob@two.example", "cleo@ONE.example"];
    let id = put(bench.spool(), &paths, &body(1, 20_000)).await;
    let ones = claim(bench.spool(), "one.example").await;
    let claimed: Vec<_> =
        ones[0].envelope.recipients.iter().map(|recipient| recipient.path.clone()).collect();
    assert_eq!(claimed, [b"ann@one.example".to_vec(), b"cleo@ONE.example".to_vec()]);
    let one = ones.into_iter().next().expect("one item");
    assert_eq!(bench.spool().settle(one, Outcome::Delivered).await, Ok(()));
    bench.reopen();
    assert_eq!(claim(bench.spool(), "one.example").await, []);
    let two = claim(bench.spool(), "two.example").await.remove(0);
    assert_eq!(body_of(bench.spool(), id, 0).await, body(1, 20_000));
    assert_eq!(bench.spool().settle(two, Outcome::Delivered).await, Ok(()));
    assert_eq!(bench.spool().stats().messages, 0);
    assert_eq!(bench.spool().read(id, 0).await.err(), Some(Error::Stale));
    bench.reopen();
    assert_eq!(bench.spool().stats().messages, 0);
    let bodies = bench.close().join("bodies");
    assert_eq!(std::fs::read_dir(bodies).expect("a folder").count(), 0);
}

#[tokio::test]
async fn items_are_claimed_in_order_and_never_twice() {
    let bench = Bench::new();
    let spool = bench.spool();
    let mut ids = Vec::new();
    for seed in 0..10 {
        ids.push(put(spool, &["bob@client.example"], &body(seed, 100)).await);
    }
    let domain = Domain::new("Client.Example");
    let first = spool.claim(&domain, 4, LEASE).await.expect("up");
    let rest = spool.claim(&domain, 100, LEASE).await.expect("up");
    let claimed: Vec<_> = first.iter().chain(&rest).map(|claim| claim.id).collect();
    assert_eq!(claimed, ids);
    assert_eq!(spool.claim(&domain, 100, LEASE).await, Ok(Vec::new()));
    assert_eq!(spool.due(10).await, Ok(Vec::new()));
    assert_eq!(status(spool, ids[0]).await, [Status::Leased]);
}

#[tokio::test]
async fn a_lease_lapses_and_its_old_holder_cannot_settle() {
    let bench = Bench::new();
    let spool = bench.spool();
    put(spool, &["bob@client.example"], b"text").await;
    let first = claim(spool, "client.example").await;
    bench.clock.advance(LEASE / 2);
    assert_eq!(spool.renew(&first, LEASE).await, Ok(()));
    bench.clock.advance(LEASE / 2);
    assert_eq!(claim(spool, "client.example").await, []);
    bench.clock.advance(LEASE);
    let second = claim(spool, "client.example").await;
    assert_eq!(second.len(), 1);
    assert_eq!(spool.renew(&first, LEASE).await, Err(Error::Stale));
    let (first, second) = (first[0].clone(), second[0].clone());
    assert_eq!(spool.settle(first, Outcome::Delivered).await, Err(Error::Stale));
    assert_eq!(spool.settle(second.clone(), Outcome::Delivered).await, Ok(()));
    assert_eq!(spool.settle(second, Outcome::Delivered).await, Err(Error::Stale));
}

#[tokio::test]
async fn what_is_put_off_waits_for_its_time_or_a_release() {
    let mut bench = Bench::new();
    let id = put(bench.spool(), &["bob@client.example"], b"text").await;
    let domain = Domain::new("client.example");
    let reply = b"450 4.2.1 try later".to_vec();
    for release in [false, true] {
        let claimed = claim(bench.spool(), "client.example").await.remove(0);
        let until = if release { later(9_000_000) } else { later(1_000_000) };
        let defer = Outcome::Defer { until, reply: reply.clone() };
        assert_eq!(bench.spool().settle(claimed, defer).await, Ok(()));
        bench.reopen();
        assert_eq!(bench.spool().due(10).await, Ok(Vec::new()));
        assert_eq!(claim(bench.spool(), "client.example").await, []);
        if release {
            let pending = bench.spool().release(&domain, Wake::Etrn).await.expect("up");
            assert_eq!((pending.waiting, pending.leased), (1, 0));
        } else {
            bench.clock.advance(Duration::from_secs(1_000_000));
        }
        assert_eq!(bench.spool().due(10).await, Ok(vec![domain.clone()]));
    }
    let held = bench.spool().show(id).await.expect("up").remove(0);
    let recipient = &held.envelope.recipients[0];
    assert_eq!((recipient.attempts, &recipient.reply), (2, &reply));
}

#[tokio::test]
async fn a_domain_that_is_put_off_stays_so_over_a_restart() {
    let mut bench = Bench::new();
    let domain = Domain::new("client.example");
    put(bench.spool(), &["bob@client.example"], b"text").await;
    assert_eq!(bench.spool().defer_domain(&domain, later(1_800)).await, Ok(()));
    put(bench.spool(), &["bob@client.example"], b"text").await;
    bench.reopen();
    assert_eq!(bench.spool().due(10).await, Ok(Vec::new()));
    assert_eq!(claim(bench.spool(), "client.example").await, []);
    bench.clock.advance(Duration::from_secs(1_800));
    assert_eq!(bench.spool().due(10).await, Ok(vec![domain.clone()]));
    assert_eq!(bench.spool().defer_domain(&domain, later(9_000)).await, Ok(()));
    let pending = bench.spool().release(&domain, Wake::Operator).await.expect("up");
    assert_eq!(pending.waiting, 2);
    assert_eq!(claim(bench.spool(), "client.example").await.len(), 2);
}

#[tokio::test]
async fn recipients_are_settled_one_by_one_and_the_refused_are_kept() {
    let mut bench = Bench::new();
    let paths = ["ann@client.example", "bob@client.example", "cleo@client.example"];
    let id = put(bench.spool(), &paths, b"text").await;
    let claimed = claim(bench.spool(), "client.example").await.remove(0);
    let fate = |state, reply: &str| Fate { state, reply: reply.as_bytes().to_vec() };
    let fates = vec![
        fate(State::Delivered, "250 2.1.5 fine"),
        fate(State::Refused, "550 5.1.1 unknown"),
        fate(State::Waiting, "450 4.2.1 full"),
    ];
    let partial = Outcome::Partial { fates, until: later(0) };
    assert_eq!(bench.spool().settle(claimed, partial).await, Ok(()));
    bench.reopen();
    let claimed = claim(bench.spool(), "client.example").await.remove(0);
    let waiting: Vec<_> = claimed.envelope.recipients.iter().map(|one| &one.path[..]).collect();
    assert_eq!(waiting, [b"cleo@client.example"]);
    assert_eq!(bench.spool().settle(claimed, Outcome::Delivered).await, Ok(()));
    bench.reopen();
    assert_eq!(claim(bench.spool(), "client.example").await, []);
    assert_eq!(bench.spool().due(10).await, Ok(Vec::new()));
    let held = bench.spool().show(id).await.expect("up").remove(0);
    assert_eq!(held.status, Status::Kept);
    let kept = &held.envelope.recipients[..];
    assert_eq!((kept.len(), kept[0].state), (1, State::Refused));
    assert_eq!(kept[0].reply, b"550 5.1.1 unknown");
    assert_eq!(bench.spool().stats().domains[0].kept, 1);
    assert_eq!(bench.spool().remove(id).await, Ok(1));
    assert_eq!(bench.spool().show(id).await, Ok(Vec::new()));
}

#[tokio::test]
async fn old_items_expire_only_while_the_time_is_known() {
    let bench = Bench::new();
    let domain = Domain::new("client.example");
    let id = put(bench.spool(), &["bob@client.example"], b"text").await;
    assert_eq!(bench.spool().expired(&domain, later(0), 10).await, Ok(Vec::new()));
    let unknown = Timestamp { known: false, ..later(10) };
    assert_eq!(bench.spool().expired(&domain, unknown, 10).await, Ok(Vec::new()));
    let mut expired = bench.spool().expired(&domain, later(10), 10).await.expect("up");
    assert_eq!(bench.spool().settle(expired.remove(0), Outcome::Expired).await, Ok(()));
    assert_eq!(bench.spool().expired(&domain, later(10), 10).await, Ok(Vec::new()));
    assert_eq!(status(bench.spool(), id).await, [Status::Kept]);
}

#[tokio::test]
async fn a_person_lists_page_by_page_and_removes_even_what_is_leased() {
    let bench = Bench::new();
    let spool = bench.spool();
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.push(put(spool, &["a@b.example", "a@a.example"], &body(seed, 10)).await);
    }
    let mut page = Page { max: 3, ..Page::default() };
    let mut listed = Vec::new();
    loop {
        let held = spool.list(&page).await.expect("up");
        let Some(last) = held.last() else { break };
        page.after = Some((last.domain.clone(), last.id));
        listed.extend(held.into_iter().map(|held| (held.domain.to_string(), held.id)));
    }
    let expected = ["a.example", "b.example"].iter();
    let expected: Vec<_> =
        expected.flat_map(|domain| ids.iter().map(|id| (domain.to_string(), *id))).collect();
    assert_eq!(listed, expected);
    let claimed = claim(spool, "a.example").await.remove(0);
    assert_eq!(spool.remove(claimed.id).await, Ok(2));
    assert_eq!(spool.settle(claimed, Outcome::Delivered).await, Err(Error::Stale));
    assert_eq!(spool.stats().messages, 4);
}

#[tokio::test]
async fn those_who_deliver_hear_of_arrivals_and_releases() {
    let bench = Bench::new();
    let mut events = bench.spool().events();
    let domain = Domain::new("client.example");
    put(bench.spool(), &["bob@client.example"], b"text").await;
    put(bench.spool(), &["bob@client.example"], b"text").await;
    bench.spool().release(&domain, Wake::Etrn).await.expect("up");
    assert_eq!(events.recv().await, Ok(Event::Arrived(domain.clone())));
    assert_eq!(events.recv().await, Ok(Event::Released(domain, Wake::Etrn)));
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let mut bench = Bench::new();
    for length in [100, 10_000, 100_000] {
        let envelope = envelope(&["bob@client.example"]);
        let mut writer = bench.spool().begin(&envelope, None).await.expect("begun");
        writer.write(&body(1, length)).await.expect("written");
        assert_eq!(bench.spool().stats().drafts, 1);
        drop(writer);
        assert_eq!(bench.spool().stats().drafts, 0);
    }
    let drafts = bench.close().join("drafts");
    assert_eq!(std::fs::read_dir(drafts).expect("a folder").count(), 0);
    bench.reopen();
    assert_eq!(bench.spool().stats().messages, 0);
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_folder() {
    let mut bench = Bench::new();
    let second = LogSpool::open(bench.folder.path(), SMALL, bench.clock.clone());
    let text = second.expect_err("it is locked").to_string();
    assert!(text.contains("lock") && text.contains("another process"), "{text}");
    let path = bench.close().to_owned();
    assert!(Folder::open(&path).expect("it was closed").space().is_ok());
}

#[tokio::test]
async fn many_sessions_share_the_memory_for_drafts() {
    let bench = Bench::new();
    let spool = std::sync::Arc::new(bench.spool.expect("it is open"));
    let tasks: Vec<_> = (0..200)
        .map(|seed| {
            let spool = spool.clone();
            tokio::spawn(async move {
                let body = body(seed, 1_000 + 97 * seed as usize);
                (put(&*spool, &["bob@client.example"], &body).await, body)
            })
        })
        .collect();
    for task in tasks {
        let (id, body) = task.await.expect("no session panics");
        assert!(body_of(&*spool, id, 0).await == body);
    }
    assert_eq!(spool.stats().messages, 200);
}

#[tokio::test]
async fn an_export_has_every_message_once_with_its_envelope() {
    let bench = Bench::new();
    let spool = bench.spool();
    let mut ids = Vec::new();
    for seed in 0..300 {
        ids.push(put(spool, &["a@b.example", "c@a.example"], &body(seed, 50)).await);
    }
    let folder = bench.folder.path().join("export");
    let exported = crate::spool::export(spool, &folder).await.expect("a new folder");
    assert_eq!((exported.messages, exported.damaged.len()), (300, 0));
    let read = |name: String| std::fs::read(folder.join(name)).expect("it was exported");
    assert_eq!(read(format!("{}.eml", ids[7])), body(7, 50));
    let json = serde_json::from_slice::<serde_json::Value>(&read(format!("{}.json", ids[7])));
    let json = json.expect("it is JSON");
    assert_eq!(json["reverse_path"], "ann@sender.example");
    assert_eq!(json["recipients"][1]["path"], "a@b.example");
    let again = crate::spool::export(spool, &folder).await;
    assert_eq!(again.expect_err("it is there").kind(), std::io::ErrorKind::AlreadyExists);
}
