//! Settling.

use postern_core::envelope::State;

use crate::conformance::*;
use crate::{Action, NewMessage, NextTry, RecipientNo};

/// Case.
pub async fn recipients_are_settled_one_by_one_and_the_refused_are_kept<S: Stand>() {
    let mut stand = S::new();
    let paths = ["ann@client.example", "bob@client.example", "cleo@client.example"];
    let id = put(stand.spool(), &paths, b"text").await;
    let fates = vec![
        (RecipientNo(2), Fate::Deferred(b"try later".to_vec())),
        (RecipientNo(0), Fate::Delivered(b"taken".to_vec())),
        (RecipientNo(1), Fate::Refused(b"unknown".to_vec())),
    ];
    let mixed = |claim: &Claim| Settled {
        id: claim.id,
        fates: fates.clone(),
        retry: Retry::Now,
        follow: None,
    };
    settle_all(stand.spool(), &client(), mixed, Next::More).await;
    stand.reopen();
    let one = turn(stand.spool(), &client()).await;
    let claims = claim(stand.spool(), &one).await;
    let waiting: Vec<_> = claims[0].waiting().map(|(_, to)| &to.path[..]).collect();
    assert_eq!(waiting, [b"cleo@client.example"]);
    assert_eq!(settle(stand.spool(), &one, delivered(&claims[0])).await, Recorded::Kept);
    for _ in 0..2 {
        assert!(no_turn(stand.spool(), &client()).await);
        let held = held(stand.spool(), id).await;
        assert_eq!((held.status, held.recipients), (Status::Kept, 1));
        let kept = &held.envelope.recipients[0];
        assert_eq!((kept.state, kept.attempts), (State::Refused, 1));
        assert_eq!(kept.reply, b"unknown");
        assert_eq!(stats(stand.spool(), &client()).await.kept, 1);
        stand.reopen();
    }
}

/// Case.
pub async fn who_is_not_named_was_not_tried<S: Stand>() {
    let mut stand = S::new();
    let id = put(stand.spool(), &["ann@client.example", "bob@client.example"], b"text").await;
    let one = turn(stand.spool(), &client()).await;
    claim(stand.spool(), &one).await;
    let untried = |retry| Settled { id, fates: Vec::new(), retry, follow: None };
    for _ in 0..2 {
        assert_eq!(settle(stand.spool(), &one, untried(Retry::Now)).await, Recorded::Kept);
    }
    assert_eq!(status(stand.spool(), id).await, Status::Waiting(NextTry::Now));
    let claims = claim(stand.spool(), &one).await;
    assert_eq!(claims.len(), 1, "it can be claimed again by the same turn");
    let fates = vec![(RecipientNo(1), Fate::Deferred(b"try later".to_vec()))];
    let some = Settled { fates, ..untried(Retry::In(seconds(60))) };
    assert_eq!(settle(stand.spool(), &one, some).await, Recorded::Kept);
    for at in [60, 120] {
        stand.reopen();
        let held = held(stand.spool(), id).await;
        let attempts: Vec<_> = held.envelope.recipients.iter().map(|to| to.attempts).collect();
        assert_eq!(attempts, [0, 1]);
        assert_eq!(held.status, Status::Waiting(NextTry::At(NOW.unix_seconds + at)));
        stand.clock().advance(seconds(60));
        let one = turn(stand.spool(), &client()).await;
        assert_eq!(claim(stand.spool(), &one).await.len(), 1);
        let put_off = untried(Retry::In(seconds(60)));
        assert_eq!(settle(stand.spool(), &one, put_off).await, Recorded::Kept);
    }
}

/// Case.
pub async fn a_settling_can_be_repeated<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let first = put(spool, &["ann@client.example", "bob@client.example"], b"text").await;
    let second = put(spool, &["ann@client.example"], b"text").await;
    let one = turn(spool, &client()).await;
    let claims = claim(spool, &one).await;
    let fates = vec![(RecipientNo(0), Fate::Delivered(b"taken".to_vec()))];
    let part = Settled { id: first, fates, retry: Retry::In(seconds(60)), follow: None };
    let done = vec![part, delivered(&claims[1])];
    for _ in 0..3 {
        let recorded = spool.settle(&one, done.clone()).await;
        assert_eq!(recorded, Ok(vec![Recorded::Kept, Recorded::Ended]));
    }
    assert_eq!(spool.message(second).await, Ok(Vec::new()));
    let left = held(spool, first).await.envelope.recipients;
    assert_eq!((left.len(), left[0].attempts), (1, 0));
}

/// Case.
pub async fn a_follow_up_is_there_with_its_settling<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["ann@client.example"], b"text").await;
    let bounce = NewMessage { envelope: envelope(&["ann@sender.example"]), body: body(9, 3_000) };
    let one = turn(stand.spool(), &client()).await;
    let claims = claim(stand.spool(), &one).await;
    let settled = Settled { follow: Some(bounce), ..refused(&claims[0]) };
    for _ in 0..2 {
        assert_eq!(settle(stand.spool(), &one, settled.clone()).await, Recorded::Kept);
    }
    let sender = Domain::new("sender.example");
    let filter = Filter { domain: Some(sender.clone()), ..Filter::default() };
    for _ in 0..2 {
        let ids = ids(stand.spool(), &filter).await;
        assert_eq!(ids.len(), 1, "one, however often it was said");
        assert!(body_of(stand.spool(), ids[0]).await == body(9, 3_000));
        stand.reopen();
    }
    assert_eq!(settle_all(stand.spool(), &sender, delivered, Next::Drained).await, 1);
}

/// Case.
pub async fn a_follow_up_to_what_is_left_as_it_was_is_there_once<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let id = put(spool, &["ann@client.example"], b"text").await;
    let delay = NewMessage { envelope: envelope(&["ann@sender.example"]), body: body(9, 300) };
    let one = turn(spool, &client()).await;
    claim(spool, &one).await;
    let settled = Settled { id, fates: Vec::new(), retry: Retry::Now, follow: Some(delay) };
    for _ in 0..2 {
        assert_eq!(settle(spool, &one, settled.clone()).await, Recorded::Kept);
        assert_eq!(spool.totals().await.expect("up").messages, 2);
    }
    assert_eq!(claim(spool, &one).await.len(), 1, "it can be claimed again");
}

/// Case.
pub async fn what_was_removed_meanwhile_is_gone<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let first = put(spool, &["ann@client.example"], b"text").await;
    put(spool, &["ann@client.example"], b"text").await;
    let one = turn(spool, &client()).await;
    let claims = claim(spool, &one).await;
    let filter = Filter { id: Some(first), ..Filter::default() };
    spool.act(&filter, Action::Remove, 10).await.expect("up");
    let bounce = NewMessage { envelope: envelope(&["ann@sender.example"]), body: Vec::new() };
    let removed = Settled { follow: Some(bounce), ..refused(&claims[0]) };
    let recorded = spool.settle(&one, vec![removed, delivered(&claims[1])]).await;
    assert_eq!(recorded, Ok(vec![Recorded::Gone, Recorded::Ended]));
    assert_eq!(spool.totals().await.expect("up").messages, 0);
}
