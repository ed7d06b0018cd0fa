//! What the trait promises, on whatever holds it: each case runs on every [`Stand`].

use std::time::Duration;

use postern_core::envelope::{Body as BodyType, Ret, State};
use postern_core::time::Timestamp;

use super::stand::Stand;
use crate::{
    Body, Claim, Domain, Envelope, Error, Event, Fate, MsgId, Outcome, Page, Recipient, Refuse,
    Spool, Status, Wake, Writer,
};

pub const NOW: Timestamp = Timestamp { unix_seconds: 1_800_000_000, known: true };
pub const LEASE: Duration = Duration::from_secs(600);

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

pub async fn bodies_of_every_length_come_back_whole<S: Stand>() {
    let mut bench = S::new();
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

pub async fn what_has_no_place_is_refused_before_its_first_octet<S: Stand>() {
    let bench = S::new();
    assert_eq!(bench.spool().takes(None), Ok(()));
    assert_eq!(bench.spool().takes(Some(1_000)), Ok(()));
    assert_eq!(bench.spool().takes(Some(1 << 50)), Err(Refuse::Full));
    assert_eq!(bench.spool().takes(Some(1_000)), Ok(()), "what was asked for is not set aside");
    let begun = bench.spool().begin(&envelope(&["bob@client.example"]), Some(1 << 50)).await;
    assert_eq!(begun.err(), Some(Refuse::Full));
}

pub async fn a_message_is_one_item_for_each_domain_and_dies_with_the_last<S: Stand>() {
    let mut bench = S::new();
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
    assert_eq!(bench.files("bodies"), 0);
}

pub async fn items_are_claimed_in_order_and_never_twice<S: Stand>() {
    let bench = S::new();
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

pub async fn a_lease_lapses_and_its_old_holder_cannot_settle<S: Stand>() {
    let bench = S::new();
    let spool = bench.spool();
    put(spool, &["bob@client.example"], b"text").await;
    let first = claim(spool, "client.example").await;
    bench.clock().advance(LEASE / 2);
    assert_eq!(spool.renew(&first, LEASE).await, Ok(()));
    bench.clock().advance(LEASE / 2);
    assert_eq!(claim(spool, "client.example").await, []);
    bench.clock().advance(LEASE);
    let second = claim(spool, "client.example").await;
    assert_eq!(second.len(), 1);
    assert_eq!(spool.renew(&first, LEASE).await, Err(Error::Stale));
    let (first, second) = (first[0].clone(), second[0].clone());
    assert_eq!(spool.settle(first, Outcome::Delivered).await, Err(Error::Stale));
    assert_eq!(spool.settle(second.clone(), Outcome::Delivered).await, Ok(()));
    assert_eq!(spool.settle(second, Outcome::Delivered).await, Err(Error::Stale));
}

pub async fn what_is_put_off_waits_for_its_time_or_a_release<S: Stand>() {
    let mut bench = S::new();
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
            bench.clock().advance(Duration::from_secs(1_000_000));
        }
        assert_eq!(bench.spool().due(10).await, Ok(vec![domain.clone()]));
    }
    let held = bench.spool().show(id).await.expect("up").remove(0);
    let recipient = &held.envelope.recipients[0];
    assert_eq!((recipient.attempts, &recipient.reply), (2, &reply));
}

pub async fn a_domain_that_is_put_off_stays_so_over_a_restart<S: Stand>() {
    let mut bench = S::new();
    let domain = Domain::new("client.example");
    put(bench.spool(), &["bob@client.example"], b"text").await;
    assert_eq!(bench.spool().defer_domain(&domain, later(1_800)).await, Ok(()));
    put(bench.spool(), &["bob@client.example"], b"text").await;
    bench.reopen();
    assert_eq!(bench.spool().due(10).await, Ok(Vec::new()));
    assert_eq!(claim(bench.spool(), "client.example").await, []);
    bench.clock().advance(Duration::from_secs(1_800));
    assert_eq!(bench.spool().due(10).await, Ok(vec![domain.clone()]));
    assert_eq!(bench.spool().defer_domain(&domain, later(9_000)).await, Ok(()));
    let pending = bench.spool().release(&domain, Wake::Operator).await.expect("up");
    assert_eq!(pending.waiting, 2);
    assert_eq!(claim(bench.spool(), "client.example").await.len(), 2);
}

pub async fn recipients_are_settled_one_by_one_and_the_refused_are_kept<S: Stand>() {
    let mut bench = S::new();
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

pub async fn old_items_expire_only_while_the_time_is_known<S: Stand>() {
    let bench = S::new();
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

pub async fn a_person_lists_page_by_page_and_removes_even_what_is_leased<S: Stand>() {
    let bench = S::new();
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

pub async fn those_who_deliver_hear_of_arrivals_and_releases<S: Stand>() {
    let bench = S::new();
    let mut events = bench.spool().events();
    let domain = Domain::new("client.example");
    put(bench.spool(), &["bob@client.example"], b"text").await;
    put(bench.spool(), &["bob@client.example"], b"text").await;
    bench.spool().release(&domain, Wake::Etrn).await.expect("up");
    assert_eq!(events.recv().await, Ok(Event::Arrived(domain.clone())));
    assert_eq!(events.recv().await, Ok(Event::Released(domain, Wake::Etrn)));
}

pub async fn what_is_not_committed_leaves_nothing<S: Stand>() {
    let mut bench = S::new();
    for length in [100, 10_000, 100_000] {
        let envelope = envelope(&["bob@client.example"]);
        let mut writer = bench.spool().begin(&envelope, None).await.expect("begun");
        writer.write(&body(1, length)).await.expect("written");
        assert_eq!(bench.spool().stats().drafts, 1);
        drop(writer);
        assert_eq!(bench.spool().stats().drafts, 0);
    }
    assert_eq!(bench.files("drafts"), 0);
    bench.reopen();
    assert_eq!(bench.spool().stats().messages, 0);
}

pub async fn many_sessions_share_the_memory_for_drafts<S: Stand>() {
    let bench = std::sync::Arc::new(S::new());
    let sessions = (0..200).map(|seed| {
        let bench = bench.clone();
        tokio::spawn(async move {
            let body = body(seed, 1_000 + 97 * seed as usize);
            (put(bench.spool(), &["bob@client.example"], &body).await, body)
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        let (id, body) = session.await.expect("no session panics");
        assert!(body_of(bench.spool(), id, 0).await == body);
    }
    assert_eq!(bench.spool().stats().messages, 200);
}
