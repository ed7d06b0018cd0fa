//! Releases and turns.

use crate::conformance::*;
use crate::{Ended, Error, NO_LIMIT, NextTry, Wake};

/// Case.
pub async fn messages_are_claimed_in_order_and_never_twice<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let mut ids = Vec::new();
    for seed in 0..10 {
        ids.push(put(spool, &["bob@client.example"], &body(seed, 100)).await);
    }
    let domain = Domain::new("Client.Example");
    let (first, second) = (turn(spool, &domain).await, turn(spool, &domain).await);
    assert!(first.fence < second.fence);
    let some = spool.claim(&first, 4).await.expect("up");
    let rest = claim(spool, &second).await;
    let claimed: Vec<_> = some.iter().chain(&rest).map(|claim| claim.id).collect();
    assert_eq!(claimed, ids);
    assert_eq!(claim(spool, &first).await, []);
    assert_eq!(due(spool).await, []);
    assert_eq!(status(spool, ids[0]).await, Status::UnderWay);
}

/// Case.
pub async fn a_turn_that_lapses_loses_its_claims_and_cannot_settle<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let spool = stand.spool();
    let first = turn(spool, &client()).await;
    let claims = claim(spool, &first).await;
    stand.clock().advance(LEASE / 2);
    assert_eq!(spool.renew(&first, LEASE).await, Ok(()));
    stand.clock().advance(LEASE / 2);
    assert!(no_turn(spool, &client()).await);
    stand.clock().advance(LEASE);
    let second = turn(spool, &client()).await;
    assert_eq!(claim(spool, &second).await, claims);
    assert_eq!(spool.renew(&first, LEASE).await, Err(Error::Stale));
    assert_eq!(spool.claim(&first, 1).await, Err(Error::Stale));
    assert_eq!(spool.settle(&first, vec![delivered(&claims[0])]).await, Err(Error::Stale));
    assert_eq!(spool.end(first, put_off(Retry::WhenAsked)).await, Err(Error::Stale));
    assert_eq!(settle(spool, &second, delivered(&claims[0])).await, Recorded::Ended);
    put(spool, &["bob@client.example"], b"text").await;
    stand.reopen();
    assert_eq!(stand.spool().renew(&second, LEASE).await, Err(Error::Stale));
    assert!(turn(stand.spool(), &client()).await.fence > second.fence);
}

/// Case.
pub async fn a_domain_has_no_more_turns_than_its_limit<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    assert!(no_turn(spool, &client()).await, "there is nothing to deliver");
    put(spool, &["bob@client.example"], b"text").await;
    let first = spool.turn(&client(), 1, LEASE).await.expect("up").expect("the first");
    assert_eq!(spool.turn(&client(), 1, LEASE).await, Ok(None));
    assert_eq!(spool.end(first, Next::More).await, Ok(Ended::Done));
    let second = spool.turn(&client(), 2, LEASE).await.expect("up");
    assert_eq!(spool.turn(&client(), 2, LEASE).await, Ok(None), "the second will claim it");
    let connected = spool.turn(&client(), NO_LIMIT, LEASE).await.expect("up").expect("it may, too");
    assert_eq!(spool.end(connected, Next::Untried).await, Ok(Ended::Done));
    put(spool, &["bob@client.example"], b"text").await;
    assert!(second.is_some() && spool.turn(&client(), 2, LEASE).await.expect("up").is_some());
}

/// Case.
pub async fn what_is_not_settled_waits_again_at_once<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let first = put(spool, &["bob@client.example"], b"text").await;
    let second = put(spool, &["bob@client.example"], b"text").await;
    let one = turn(spool, &client()).await;
    assert_eq!(claim(spool, &one).await.len(), 2);
    spool.end(one, Next::More).await.expect("it goes on");
    let two = turn(spool, &client()).await;
    let claimed: Vec<_> = claim(spool, &two).await.iter().map(|claim| claim.id).collect();
    assert_eq!(claimed, [first, second]);
}

/// Case.
pub async fn a_turn_that_is_drained_ends_no_release_that_another_goes_on_with<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    put(spool, &["bob@client.example"], b"text").await;
    put(spool, &["bob@client.example"], b"text").await;
    spool.release(&[client()], Wake::Etrn).await.expect("up");
    let (first, second) = (turn(spool, &client()).await, turn(spool, &client()).await);
    assert_eq!(spool.claim(&first, 1).await.expect("up").len(), 1);
    let claims = claim(spool, &second).await;
    assert_eq!(settle(spool, &second, delivered(&claims[0])).await, Recorded::Ended);
    spool.end(second, Next::Drained).await.expect("up");
    spool.end(first, Next::More).await.expect("up");
    let third = turn(spool, &client()).await;
    assert!(third.asked, "what the first gave back was asked for");
    let claims = claim(spool, &third).await;
    assert_eq!(settle(spool, &third, delivered(&claims[0])).await, Recorded::Ended);
    spool.end(third, Next::Drained).await.expect("up");
    put(spool, &["bob@client.example"], b"text").await;
    assert!(!turn(spool, &client()).await.asked, "the last one has ended it");
}

/// Case.
pub async fn a_turn_that_is_drained_ends_its_release_though_some_is_put_off<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    let one = turn(stand.spool(), &client()).await;
    assert!(one.asked);
    let claims = claim(stand.spool(), &one).await;
    let later = deferred(&claims[0], Retry::In(seconds(900)));
    assert_eq!(settle(stand.spool(), &one, later).await, Recorded::Kept);
    stand.spool().end(one, Next::Drained).await.expect("up");
    put(stand.spool(), &["bob@client.example"], b"text").await;
    for _ in 0..2 {
        let due = stand.spool().due(None, 10).await.expect("up");
        assert_eq!((due.len(), due[0].asked), (1, false));
        stand.reopen();
    }
}

/// Case.
pub async fn a_turn_that_puts_off_ends_the_release_that_others_go_on_with<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    put(spool, &["bob@client.example"], b"text").await;
    put(spool, &["bob@client.example"], b"text").await;
    spool.release(&[client()], Wake::Etrn).await.expect("up");
    let (first, second) = (turn(spool, &client()).await, turn(spool, &client()).await);
    assert!(first.asked && second.asked);
    assert_eq!(spool.claim(&first, 1).await.expect("up").len(), 1);
    spool.end(second, put_off(Retry::In(seconds(900)))).await.expect("up");
    spool.end(first, Next::More).await.expect("up");
    assert_eq!(due(spool).await, []);
    stand.clock().advance(seconds(900));
    assert!(!turn(spool, &client()).await.asked, "it had its try");
}

/// Case.
pub async fn those_who_deliver_hear_of_what_is_due<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    put(spool, &["bob@client.example"], b"text").await;
    spool.work().await;
    let later = |claim: &Claim| deferred(claim, Retry::In(seconds(900)));
    settle_all(spool, &client(), later, Next::Drained).await;
    // What is put off is not due, but what comes then is.
    put(spool, &["bob@client.example"], b"text").await;
    spool.work().await;
    settle_all(spool, &client(), later, Next::Drained).await;
    spool.release(&[client()], Wake::Etrn).await.expect("up");
    spool.work().await;
    assert_eq!(due(spool).await, [client()]);
}

/// Case.
pub async fn domains_are_due_in_the_order_of_their_waiting<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let names = ["b.example", "c.example", "a.example"];
    for name in names {
        put(spool, &[&format!("bob@{name}")], b"text").await;
    }
    assert_eq!(due(spool).await, names.map(Domain::new));
    let first = spool.due(None, 1).await.expect("up");
    let rest = spool.due(first.last(), 10).await.expect("up");
    assert_eq!((first.len(), rest.len()), (1, 2));
    assert!(rest.iter().all(|due| !due.asked && due.domain != first[0].domain));
}

/// Case.
pub async fn what_is_put_off_waits_for_its_time_or_a_release<S: Stand>() {
    let mut stand = S::new();
    let id = put(stand.spool(), &["bob@client.example"], b"text").await;
    for release in [false, true] {
        let pause = if release { seconds(9_000_000) } else { seconds(1_000_000) };
        let defer = |claim: &Claim| deferred(claim, Retry::In(pause));
        settle_all(stand.spool(), &client(), defer, Next::Drained).await;
        for _ in 0..2 {
            let until = stand.clock().timestamp().unix_seconds + pause.as_secs();
            let expected = Status::Waiting(NextTry::At(until));
            assert_eq!(status(stand.spool(), id).await, expected);
            assert_eq!(due(stand.spool()).await, []);
            assert!(no_turn(stand.spool(), &client()).await);
            stand.reopen();
        }
        if release {
            let pending = stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
            assert_eq!((pending[0].waiting, pending[0].under_way), (1, 0));
        } else {
            stand.clock().advance(pause);
        }
        assert_eq!(due(stand.spool()).await, [client()]);
        assert_eq!(status(stand.spool(), id).await, Status::Waiting(NextTry::Now));
    }
    let recipient = held(stand.spool(), id).await.envelope.recipients.remove(0);
    assert_eq!((recipient.attempts, &recipient.reply[..]), (2, &b"try later"[..]));
}

/// Case.
pub async fn a_domain_that_is_put_off_stays_so_over_a_restart<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let one = turn(stand.spool(), &client()).await;
    let ended = stand.spool().end(one, put_off(Retry::In(seconds(1_800)))).await;
    assert_eq!(ended, Ok(Ended::Done));
    put(stand.spool(), &["bob@client.example"], b"text").await;
    for _ in 0..2 {
        assert_eq!(due(stand.spool()).await, []);
        assert!(no_turn(stand.spool(), &client()).await);
        let stats = stats(stand.spool(), &client()).await;
        assert_eq!(stats.next_try, NextTry::At(NOW.unix_seconds + 1_800));
        assert_eq!(stats.last_answer, b"connection refused");
        assert!(stats.away);
        stand.reopen();
    }
    stand.clock().advance(seconds(1_800));
    assert_eq!(due(stand.spool()).await, [client()]);
    assert!(!stats(stand.spool(), &client()).await.away, "it may be there");
    let one = turn(stand.spool(), &client()).await;
    stand.spool().end(one, put_off(Retry::In(seconds(9_000)))).await.expect("it goes on");
    assert!(stats(stand.spool(), &client()).await.away);
    let pending = stand.spool().release(&[client()], Wake::Operator).await.expect("up");
    assert_eq!(pending[0].waiting, 2);
    assert!(!stats(stand.spool(), &client()).await.away);
    let one = turn(stand.spool(), &client()).await;
    assert_eq!(claim(stand.spool(), &one).await.len(), 2);
    let (retry, why) = (Retry::In(seconds(60)), b"later".to_vec());
    let deferred = Next::PutOff { retry, reach: Reach::Answered, why };
    stand.spool().end(one, deferred).await.expect("it goes on");
    for _ in 0..2 {
        assert!(!stats(stand.spool(), &client()).await.away, "it was reached");
        stand.reopen();
    }
}

/// Case.
pub async fn what_waits_to_be_asked_for_waits_over_a_restart<S: Stand>() {
    let mut stand = S::new();
    let id = put(stand.spool(), &["bob@client.example"], b"text").await;
    let defer = |claim: &Claim| deferred(claim, Retry::WhenAsked);
    settle_all(stand.spool(), &client(), defer, Next::Drained).await;
    for _ in 0..2 {
        stand.clock().advance(seconds(1_000_000_000));
        assert_eq!(due(stand.spool()).await, []);
        assert_eq!(status(stand.spool(), id).await, Status::Waiting(NextTry::WhenAsked));
        stand.reopen();
    }
    stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    let one = turn(stand.spool(), &client()).await;
    assert!(one.asked);
    stand.spool().end(one, put_off(Retry::WhenAsked)).await.expect("it goes on");
    for _ in 0..2 {
        assert_eq!(due(stand.spool()).await, []);
        assert_eq!(stats(stand.spool(), &client()).await.next_try, NextTry::WhenAsked);
        stand.reopen();
    }
}

/// Case: the domain's epoch and the mark that it was asked for are durable.
pub async fn a_release_survives_a_crash_before_its_turn<S: Stand>() {
    let mut stand = S::new();
    for _ in 0..3 {
        put(stand.spool(), &["bob@client.example"], b"text").await;
    }
    let defer = |claim: &Claim| deferred(claim, Retry::WhenAsked);
    settle_all(stand.spool(), &client(), defer, put_off(Retry::WhenAsked)).await;
    stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    for _ in 0..2 {
        stand.reopen();
        let due = stand.spool().due(None, 10).await.expect("up");
        assert_eq!((due.len(), due[0].asked), (1, true));
    }
    let one = turn(stand.spool(), &client()).await;
    let claims = stand.spool().claim(&one, 2).await.expect("up");
    let done = claims.iter().map(delivered).collect();
    assert_eq!(stand.spool().settle(&one, done).await.map(|recorded| recorded.len()), Ok(2));
    // What a turn left when it ended by a crash is still asked for.
    stand.reopen();
    assert!(stand.spool().due(None, 10).await.expect("up")[0].asked);
    settle_all(stand.spool(), &client(), delivered, Next::Drained).await;
    put(stand.spool(), &["bob@client.example"], b"text").await;
    for _ in 0..2 {
        assert!(!stand.spool().due(None, 10).await.expect("up")[0].asked, "it was served");
        stand.reopen();
    }
}

/// Case.
pub async fn a_release_during_a_turn_undoes_its_put_offs<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let one = turn(stand.spool(), &client()).await;
    let claims = claim(stand.spool(), &one).await;
    let pending = stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    assert_eq!((pending[0].waiting, pending[0].under_way), (0, 1));
    let later = deferred(&claims[0], Retry::In(seconds(900)));
    assert_eq!(settle(stand.spool(), &one, later).await, Recorded::Kept);
    let ended = stand.spool().end(one, put_off(Retry::In(seconds(900)))).await;
    assert_eq!(ended, Ok(Ended::Released));
    for _ in 0..2 {
        assert!(stand.spool().due(None, 10).await.expect("up")[0].asked);
        stand.reopen();
    }
    let one = turn(stand.spool(), &client()).await;
    assert_eq!(claim(stand.spool(), &one).await.len(), 1);
}

/// Case.
pub async fn a_release_says_what_waits<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let other = Domain::new("other.example");
    put(spool, &["bob@client.example"], b"text").await;
    let names = [other.clone(), client()];
    let pending = spool.release(&names, Wake::Operator).await.expect("up");
    assert_eq!((pending[0].waiting, pending[0].exact), (0, true));
    assert_eq!((pending[1].waiting, pending[1].exact), (1, true));
    // Nothing waited for it, so nobody has asked for what comes later.
    put(spool, &["bob@other.example"], b"text").await;
    let due = spool.due(None, 10).await.expect("up");
    let asked: Vec<_> = due.iter().map(|due| (&due.domain, due.asked)).collect();
    assert_eq!(asked, [(&client(), true), (&other, false)]);
    assert_eq!(spool.release(&[], Wake::Operator).await, Ok(Vec::new()));
}

/// Case.
pub async fn a_suspension_lasts_until_a_turn_ends_otherwise<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let why = b"not from you".to_vec();
    let suspended =
        |why: &Vec<u8>| Next::Suspended { retry: Retry::In(seconds(1_800)), why: why.clone() };
    let one = turn(stand.spool(), &client()).await;
    stand.spool().end(one, suspended(&why)).await.expect("it goes on");
    put(stand.spool(), &["bob@client.example"], b"text").await;
    for _ in 0..2 {
        assert_eq!(due(stand.spool()).await, []);
        assert_eq!(stats(stand.spool(), &client()).await.suspended.as_ref(), Some(&why));
        assert_eq!(stand.spool().totals().await.expect("up").suspended, 1);
        stand.reopen();
    }
    // A release leads to a turn, which finds out.
    let pending = stand.spool().release(&[client()], Wake::Etrn).await.expect("up");
    assert!(pending[0].suspended);
    let one = turn(stand.spool(), &client()).await;
    assert!(one.suspended && one.asked);
    // One that finds nothing out leaves it as it is.
    stand.spool().end(one, Next::Untried).await.expect("it goes on");
    stand.reopen();
    let one = turn(stand.spool(), &client()).await;
    assert!(one.suspended && one.asked);
    stand.spool().end(one, suspended(&why)).await.expect("it goes on");
    stand.clock().advance(seconds(1_800));
    let one = turn(stand.spool(), &client()).await;
    stand.spool().end(one, Next::More).await.expect("it goes on");
    for _ in 0..2 {
        assert_eq!(stats(stand.spool(), &client()).await.suspended, None);
        assert_eq!(due(stand.spool()).await, [client()]);
        stand.reopen();
    }
}

/// Case: what was put off while the clock was a year ahead is due once it is right.
pub async fn a_clock_that_was_ahead_puts_nothing_off<S: Stand>() {
    let mut stand = S::new();
    let year = seconds(365 * 86_400);
    stand.clock().set(Timestamp { unix_seconds: NOW.unix_seconds + year.as_secs(), known: true });
    put(stand.spool(), &["bob@client.example"], b"text").await;
    let defer = |claim: &Claim| deferred(claim, Retry::In(seconds(1_800)));
    settle_all(stand.spool(), &client(), defer, put_off(Retry::In(seconds(1_800)))).await;
    assert_eq!(due(stand.spool()).await, []);
    stand.clock().set(NOW);
    for _ in 0..2 {
        assert_eq!(due(stand.spool()).await, [client()]);
        stand.reopen();
    }
}
