//! What [`Spool`] promises, as cases that run on any back end. A back end brings a [`Stand`], and
//! [`conformance_cases!`](crate::conformance_cases) makes a test of each case.

mod hold;
mod leave_to;
mod people;
mod receive;
mod release;
mod settle;

use std::time::Duration;

use postern_core::envelope::{Body as BodyType, Ret};
use postern_core::time::Timestamp;

use crate::clock::Clock;
use crate::{
    Body, Claim, Domain, Draft, Due, Envelope, Fate, Filter, Held, MsgId, Next, QueueStats, Reach,
    Recipient, Recorded, Retry, Settled, Spool, Status, Turn,
};

pub use hold::*;
pub use people::*;
pub use receive::*;
pub use release::*;
pub use settle::*;

/// The time at which the cases begin.
pub const NOW: Timestamp = Timestamp { unix_seconds: 1_800_000_000, known: true };
/// The lease of the cases' turns.
pub const LEASE: Duration = Duration::from_secs(600);

/// A spool that can crash and be opened again, with a clock that the case moves.
pub trait Stand: Send + Sync + 'static {
    /// The back end.
    type Spool: Spool;

    /// An empty spool, and the clock that it runs on, which stands at [`NOW`].
    fn new() -> Self;
    /// The clock.
    fn clock(&self) -> &Clock;
    /// The spool.
    fn spool(&self) -> &Self::Spool;
    /// Ends the spool in the worst way that loses nothing acknowledged, and opens it again.
    fn reopen(&mut self);
}

/// Makes a test of each case, in a module that is named, on a [`Stand`].
#[macro_export]
macro_rules! conformance_cases {
    ($name:ident, $stand:ty) => {
        mod $name {
            $crate::conformance_cases! { @ $stand:
                bodies_of_every_length_come_back_whole
                what_has_no_place_is_refused_before_its_first_octet
                what_is_not_committed_leaves_nothing
                many_sessions_share_the_memory_for_drafts
                a_message_is_one_item_for_each_domain_and_dies_with_the_last
                a_closed_spool_takes_and_gives_nothing
                the_secret_stays
                messages_are_claimed_in_order_and_never_twice
                a_turn_that_lapses_loses_its_claims_and_cannot_settle
                a_domain_has_no_more_turns_than_its_limit
                a_turn_that_is_drained_ends_no_release_that_another_goes_on_with
                a_turn_that_is_drained_ends_its_release_though_some_is_put_off
                a_turn_that_puts_off_ends_the_release_that_others_go_on_with
                what_is_not_settled_waits_again_at_once
                those_who_deliver_hear_of_what_is_due
                domains_are_due_in_the_order_of_their_waiting
                what_is_put_off_waits_for_its_time_or_a_release
                a_domain_that_is_put_off_stays_so_over_a_restart
                what_waits_to_be_asked_for_waits_over_a_restart
                a_release_survives_a_crash_before_its_turn
                a_release_during_a_turn_undoes_its_put_offs
                a_release_says_what_waits
                a_suspension_lasts_until_a_turn_ends_otherwise
                a_clock_that_was_ahead_puts_nothing_off
                recipients_are_settled_one_by_one_and_the_refused_are_kept
                who_is_not_named_was_not_tried
                a_settling_can_be_repeated
                a_follow_up_is_there_with_its_settling
                a_follow_up_to_what_is_left_as_it_was_is_there_once
                what_was_removed_meanwhile_is_gone
                a_held_domain_takes_mail_and_gives_none
                a_held_message_stays_while_others_go
                what_was_refused_or_has_expired_can_be_tried_again
                what_was_tried_expires_and_what_was_not_is_spared
                what_was_submitted_is_left_to_a_turn_that_tells_its_sender
                nothing_expires_while_the_time_is_not_known
                a_list_comes_page_by_page
                a_list_has_what_its_filter_names
                a_removal_ends_even_what_is_being_delivered
                queues_and_totals_count_what_is_held
            }
        }
    };
    (@ $stand:ty: $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            $crate::conformance::$case::<$stand>().await;
        })*
    };
}

/// An envelope to these paths.
pub fn envelope(paths: &[&str]) -> Envelope {
    Envelope {
        arrival: NOW,
        client: "192.0.2.7".parse().ok(),
        client_port: 40_025,
        helo: b"relay.sender.example".to_vec(),
        esmtp: true,
        tls: true,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"ann@sender.example".to_vec(),
        body: BodyType::EightBitMime,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: paths.iter().map(|path| Recipient::new(path.as_bytes())).collect(),
    }
}

/// Bytes that no two messages share.
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

/// Puts a message.
pub async fn put<S: Spool>(spool: &S, paths: &[&str], body: &[u8]) -> MsgId {
    put_as(spool, &envelope(paths), body).await
}

async fn put_as<S: Spool>(spool: &S, envelope: &Envelope, body: &[u8]) -> MsgId {
    let mut draft = spool.begin(envelope, Some(body.len() as u64)).await.expect("begun");
    for chunk in body.chunks(1_500) {
        draft.write(chunk).await.expect("written");
    }
    let id = draft.id();
    assert_eq!(draft.commit().await, Ok(id));
    id
}

/// The body of a message, read to its end.
pub async fn body_of<S: Spool>(spool: &S, id: MsgId) -> Vec<u8> {
    let mut reader = spool.body(id).await.expect("it is held");
    let mut body = Vec::new();
    loop {
        let chunk = reader.chunk().await.expect("it is whole");
        if chunk.is_empty() {
            return body;
        }
        body.extend_from_slice(chunk);
    }
}

/// The domain that most cases are about.
fn client() -> Domain {
    Domain::new("client.example")
}

async fn turn<S: Spool>(spool: &S, domain: &Domain) -> Turn {
    let turn = spool.turn(domain, 10, LEASE).await.expect("the spool is up");
    turn.expect("there is something to deliver")
}

async fn claim<S: Spool>(spool: &S, turn: &Turn) -> Vec<Claim> {
    spool.claim(turn, 100).await.expect("the turn goes on")
}

async fn no_turn<S: Spool>(spool: &S, domain: &Domain) -> bool {
    spool.turn(domain, 10, LEASE).await == Ok(None)
}

async fn due<S: Spool>(spool: &S) -> Vec<Domain> {
    let due = spool.due(None, 100).await.expect("the spool is up");
    due.into_iter().map(|due: Due| due.domain).collect()
}

/// The same fate for all that waited.
fn all(claim: &Claim, fate: &Fate, retry: Retry) -> Settled {
    let fates = claim.waiting().map(|(number, _)| (number, fate.clone())).collect();
    Settled { id: claim.id, fates, retry, follow: None }
}

fn delivered(claim: &Claim) -> Settled {
    all(claim, &Fate::Delivered(b"taken".to_vec()), Retry::Now)
}

fn deferred(claim: &Claim, retry: Retry) -> Settled {
    all(claim, &Fate::Deferred(b"try later".to_vec()), retry)
}

fn refused(claim: &Claim) -> Settled {
    all(claim, &Fate::Refused(b"unknown".to_vec()), Retry::Now)
}

async fn settle<S: Spool>(spool: &S, turn: &Turn, settled: Settled) -> Recorded {
    spool.settle(turn, vec![settled]).await.expect("it is recorded").remove(0)
}

/// Takes a turn and settles all that is claimed in it.
async fn settle_all<S: Spool>(
    spool: &S,
    domain: &Domain,
    settled: impl Fn(&Claim) -> Settled,
    next: Next,
) -> usize {
    let turn = turn(spool, domain).await;
    let claims = claim(spool, &turn).await;
    let done = claims.iter().map(settled).collect();
    let recorded = spool.settle(&turn, done).await.expect("it is recorded");
    spool.end(turn, next).await.expect("the turn goes on");
    recorded.len()
}

fn put_off(retry: Retry) -> Next {
    Next::PutOff { retry, reach: Reach::Away, why: b"connection refused".to_vec() }
}

async fn held<S: Spool>(spool: &S, id: MsgId) -> Held {
    let mut held = spool.message(id).await.expect("the spool is up");
    assert_eq!(held.len(), 1, "it is held for one domain");
    held.remove(0)
}

async fn status<S: Spool>(spool: &S, id: MsgId) -> Status {
    held(spool, id).await.status
}

async fn stats<S: Spool>(spool: &S, domain: &Domain) -> QueueStats {
    spool.queue(domain).await.expect("the spool is up").expect("it is known")
}

async fn ids<S: Spool>(spool: &S, filter: &Filter) -> Vec<MsgId> {
    let listed = spool.list(filter, None, 100).await.expect("the spool is up");
    listed.items.into_iter().map(|held| held.id).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
