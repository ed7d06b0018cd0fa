//! Holding back, trying again, and expiring.

use postern_core::envelope::State;

use crate::conformance::*;
use crate::{Action, Wake};

/// Case.
pub async fn a_held_domain_takes_mail_and_gives_none<S: Stand>() {
    let mut stand = S::new();
    assert_eq!(stand.spool().hold(&client(), true).await, Ok(()));
    let id = put(stand.spool(), &["bob@client.example"], b"text").await;
    for _ in 0..2 {
        let pending = stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
        assert!(pending[0].held);
        assert_eq!(due(stand.spool()).await, []);
        assert!(no_turn(stand.spool(), &client()).await);
        assert_eq!(status(stand.spool(), id).await, Status::Held);
        assert!(stats(stand.spool(), &client()).await.held);
        stand.reopen();
    }
    assert_eq!(stand.spool().hold(&client(), false).await, Ok(()));
    stand.spool().work().await;
    for _ in 0..2 {
        assert_eq!(due(stand.spool()).await, [client()]);
        stand.reopen();
    }
}

/// Case.
pub async fn a_held_message_stays_while_others_go<S: Stand>() {
    let mut stand = S::new();
    let first = put(stand.spool(), &["bob@client.example"], b"text").await;
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let filter = Filter { id: Some(first), ..Filter::default() };
    let act = async |spool: &S::Spool, action| spool.act(&filter, action, 10).await.expect("up");
    assert_eq!(act(stand.spool(), Action::Hold).await, [(client(), first)]);
    assert_eq!(act(stand.spool(), Action::Hold).await, [], "it was held already");
    stand.reopen();
    assert_eq!(settle_all(stand.spool(), &client(), delivered, Next::Drained).await, 1);
    stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    assert!(no_turn(stand.spool(), &client()).await);
    assert_eq!(status(stand.spool(), first).await, Status::Held);
    assert_eq!(act(stand.spool(), Action::Unhold).await, [(client(), first)]);
    stand.reopen();
    assert_eq!(settle_all(stand.spool(), &client(), delivered, Next::Drained).await, 1);
}

/// Case.
pub async fn what_was_refused_or_has_expired_can_be_tried_again<S: Stand>() {
    let mut stand = S::new();
    let id = put(stand.spool(), &["bob@client.example"], b"text").await;
    settle_all(stand.spool(), &client(), refused, Next::Drained).await;
    let retry = async |spool: &S::Spool| {
        spool.act(&Filter::default(), Action::Retry, 10).await.expect("up")
    };
    assert_eq!(retry(stand.spool()).await, [(client(), id)]);
    assert_eq!(retry(stand.spool()).await, [], "it waits already");
    stand.reopen();
    let defer = |claim: &Claim| deferred(claim, Retry::In(seconds(86_400)));
    settle_all(stand.spool(), &client(), defer, Next::Drained).await;
    assert_eq!(retry(stand.spool()).await, [(client(), id)], "it was put off");
    stand.reopen();
    let expired = |claim: &Claim| all(claim, &Fate::Expired(Vec::new()), Retry::Now);
    settle_all(stand.spool(), &client(), expired, Next::Drained).await;
    assert_eq!(status(stand.spool(), id).await, Status::Kept);
    assert_eq!(retry(stand.spool()).await, [(client(), id)]);
    stand.reopen();
    let held = held(stand.spool(), id).await;
    assert_eq!(held.envelope.recipients[0].state, State::Waiting);
    assert_eq!(settle_all(stand.spool(), &client(), delivered, Next::Drained).await, 1);
}

/// Case.
pub async fn what_was_tried_expires_and_what_was_not_is_spared<S: Stand>() {
    for reopens in [true, false] {
        tried_expires(S::new(), reopens).await;
    }
}

async fn tried_expires<S: Stand>(mut stand: S, reopens: bool) {
    let (day, week) = (seconds(86_400), seconds(7 * 86_400));
    let tried = put(stand.spool(), &["bob@client.example"], b"text").await;
    let defer = |claim: &Claim| deferred(claim, Retry::WhenAsked);
    settle_all(stand.spool(), &client(), defer, Next::Drained).await;
    let spared = put(stand.spool(), &["bob@client.example"], b"text").await;
    assert_eq!(stand.spool().expire(&client(), day, 10).await.expect("up").ids, []);
    stand.clock().advance(week);
    stand.reopen();
    let expired = stand.spool().expire(&client(), day, 10).await.expect("up");
    assert_eq!((expired.ids, expired.left), (vec![tried], 1));
    for _ in 0..2 {
        assert_eq!(status(stand.spool(), tried).await, Status::Kept);
        assert!(stand.spool().due(None, 10).await.expect("up")[0].asked, "it has its one try");
        stand.reopen();
    }
    // One that found no way has tried nothing.
    let one = turn(stand.spool(), &client()).await;
    let unrouted = Next::PutOff { retry: Retry::WhenAsked, reach: Reach::Unrouted, why: vec![] };
    stand.spool().end(one, unrouted).await.expect("it goes on");
    assert!(stats(stand.spool(), &client()).await.away);
    if reopens {
        stand.reopen();
    }
    assert!(stats(stand.spool(), &client()).await.unrouted);
    let expired = stand.spool().expire(&client(), day, 10).await.expect("up");
    assert_eq!((expired.ids, expired.left), (vec![], 1));
    assert!(stats(stand.spool(), &client()).await.unrouted, "nobody has found it yet");
    // A turn that comes to nothing has tried all that were there.
    let one = turn(stand.spool(), &client()).await;
    stand.spool().end(one, put_off(Retry::WhenAsked)).await.expect("it goes on");
    assert!(!stats(stand.spool(), &client()).await.unrouted);
    let young = put(stand.spool(), &["bob@client.example"], b"text").await;
    if reopens {
        stand.reopen();
    }
    let expired = stand.spool().expire(&client(), day, 10).await.expect("up");
    assert_eq!((expired.ids, expired.left), (vec![spared], 1));
    assert_eq!(held(stand.spool(), young).await.envelope.recipients[0].state, State::Waiting);
}

/// Case.
pub async fn what_was_submitted_is_left_to_a_turn_that_tells_its_sender<S: Stand>() {
    let mut stand = S::new();
    let submitted = Envelope { submitted: true, ..envelope(&["bob@client.example"]) };
    let id = put_as(stand.spool(), &submitted, b"text").await;
    let defer = |claim: &Claim| deferred(claim, Retry::WhenAsked);
    settle_all(stand.spool(), &client(), defer, Next::Drained).await;
    stand.clock().advance(seconds(7 * 86_400));
    stand.reopen();
    let expired = stand.spool().expire(&client(), seconds(86_400), 10).await.expect("up");
    assert_eq!((expired.ids, expired.left), (vec![], 1));
    let one = turn(stand.spool(), &client()).await;
    let claims = stand.spool().claim(&one, 10).await.expect("it goes on");
    assert_eq!(claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [id]);
}

/// Case.
pub async fn nothing_expires_while_the_time_is_not_known<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let undated = Envelope {
        arrival: Timestamp { unix_seconds: 0, known: false },
        ..envelope(&["bob@client.example"])
    };
    put_as(spool, &undated, b"text").await;
    put(spool, &["bob@client.example"], b"text").await;
    let defer = |claim: &Claim| deferred(claim, Retry::WhenAsked);
    settle_all(spool, &client(), defer, Next::Drained).await;
    stand.clock().set(Timestamp { unix_seconds: NOW.unix_seconds + 1_000_000, known: false });
    assert_eq!(spool.expire(&client(), seconds(60), 10).await, Ok(crate::Expired::default()));
    stand.clock().set(Timestamp { unix_seconds: NOW.unix_seconds + 1_000_000, known: true });
    assert_eq!(spool.expire(&client(), seconds(60), 10).await.expect("up").ids.len(), 1);
}
