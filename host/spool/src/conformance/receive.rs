//! Receiving, and reading back.

use crate::conformance::*;
use crate::{Admission, Draft, Error, Refuse};

/// Case.
pub async fn bodies_of_every_length_come_back_whole<S: Stand>() {
    let mut stand = S::new();
    let mut held = Vec::new();
    for (seed, length) in
        [0, 1, 3_000, 4_096, 4_097, 8_191, 12_287, 12_288, 12_289, 50_000, 300_000]
            .iter()
            .enumerate()
    {
        let body = body(seed as u64, *length);
        held.push((put(stand.spool(), &["bob@client.example"], &body).await, body));
    }
    for _ in 0..2 {
        for (id, body) in &held {
            assert!(body_of(stand.spool(), *id).await == *body, "{}", body.len());
        }
        stand.reopen();
    }
    let totals = stand.spool().totals().await.expect("up");
    assert_eq!((totals.messages, totals.drafts), (11, 0));
    assert_eq!(totals.body_bytes, held.iter().map(|(_, body)| body.len() as u64).sum::<u64>());
}

/// Case.
pub async fn what_has_no_place_is_refused_before_its_first_octet<S: Stand>() {
    let stand = S::new();
    let admission = *stand.spool().admission().borrow();
    let Admission::Open { room } = admission else { panic!("an empty spool is open") };
    assert_eq!(admission.refuses(Some(room)), None);
    assert_eq!(admission.refuses(Some(room + 1)), Some(Refuse::Full));
    let begun = stand.spool().begin(&envelope(&["bob@client.example"]), Some(1 << 50)).await;
    assert_eq!(begun.err(), Some(Refuse::Full));
    put(stand.spool(), &["bob@client.example"], b"text").await;
}

/// Case.
pub async fn what_is_not_committed_leaves_nothing<S: Stand>() {
    let mut stand = S::new();
    for length in [100, 10_000, 100_000] {
        let envelope = envelope(&["bob@client.example"]);
        let mut draft = stand.spool().begin(&envelope, None).await.expect("begun");
        draft.write(&body(1, length)).await.expect("written");
        assert_eq!(stand.spool().totals().await.expect("up").drafts, 1);
        drop(draft);
        assert_eq!(stand.spool().totals().await.expect("up").drafts, 0);
    }
    stand.reopen();
    assert_eq!(stand.spool().totals().await.expect("up").messages, 0);
}

/// Case.
pub async fn many_sessions_share_the_memory_for_drafts<S: Stand>() {
    let stand = std::sync::Arc::new(S::new());
    let sessions = (0..200).map(|seed| {
        let stand = stand.clone();
        tokio::spawn(async move {
            let body = body(seed, 1_000 + 97 * seed as usize);
            (put(stand.spool(), &["bob@client.example"], &body).await, body)
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        let (id, body) = session.await.expect("no session panics");
        assert!(body_of(stand.spool(), id).await == body);
    }
    assert_eq!(stand.spool().totals().await.expect("up").messages, 200);
}

/// Case.
pub async fn a_message_is_one_item_for_each_domain_and_dies_with_the_last<S: Stand>() {
    let mut stand = S::new();
    let paths = ["ann@one.example", "bob@two.example", "cleo@ONE.example"];
    let id = put(stand.spool(), &paths, &body(1, 20_000)).await;
    let (one, two) = (Domain::new("one.example"), Domain::new("two.example"));
    let first = turn(stand.spool(), &one).await;
    let claims = claim(stand.spool(), &first).await;
    let claimed: Vec<_> = claims[0].waiting().map(|(_, to)| &to.path[..]).collect();
    assert_eq!(claimed, [&b"ann@one.example"[..], b"cleo@ONE.example"]);
    let recorded = settle(stand.spool(), &first, delivered(&claims[0])).await;
    assert_eq!(recorded, Recorded::Ended);
    stand.reopen();
    assert!(no_turn(stand.spool(), &one).await);
    assert_eq!(body_of(stand.spool(), id).await, body(1, 20_000));
    assert_eq!(settle_all(stand.spool(), &two, delivered, Next::Drained).await, 1);
    for _ in 0..2 {
        assert_eq!(stand.spool().totals().await.expect("up").messages, 0);
        assert_eq!(stand.spool().body(id).await.err(), Some(Error::Gone));
        stand.reopen();
    }
}

/// Case.
pub async fn a_closed_spool_takes_and_gives_nothing<S: Stand>() {
    let mut stand = S::new();
    put(stand.spool(), &["bob@client.example"], b"text").await;
    stand.spool().close().await;
    assert_eq!(*stand.spool().admission().borrow(), Admission::Stopped);
    let begun = stand.spool().begin(&envelope(&["bob@client.example"]), None).await;
    assert_eq!(begun.err(), Some(Refuse::Down));
    assert_eq!(stand.spool().due(None, 1).await, Err(Error::Stopped));
    assert_eq!(stand.spool().turn(&client(), 1, LEASE).await, Err(Error::Stopped));
    stand.reopen();
    assert_eq!(due(stand.spool()).await, [client()]);
}

/// Case.
pub async fn the_secret_stays<S: Stand>() {
    let mut stand = S::new();
    let secret = *stand.spool().secret();
    assert_ne!(secret, *S::new().spool().secret());
    stand.reopen();
    assert_eq!(secret, *stand.spool().secret());
}
