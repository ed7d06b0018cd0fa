//! Lists, counts and removals.

use crate::conformance::*;
use crate::{Action, Cursor, LISTED_RECIPIENTS, StateFilter};

/// Case.
pub async fn a_list_comes_page_by_page<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.push(put(spool, &["a@b.example", "a@a.example"], &body(seed, 10)).await);
    }
    let (mut listed, mut after, mut pages) = (Vec::new(), None::<Cursor>, 0);
    loop {
        let page = spool.list(&Filter::default(), after.as_ref(), 3).await.expect("up");
        assert!(page.items.len() <= 3);
        pages += 1;
        listed.extend(page.items.into_iter().map(|held| (held.domain.to_string(), held.id)));
        let Some(next) = page.next else { break };
        // It goes on where it was, though what stood there is gone.
        after = Some(next.to_string().parse().expect("its own text"));
        if pages == 1 {
            let filter = Filter { id: Some(ids[2]), ..Filter::default() };
            assert_eq!(spool.act(&filter, Action::Remove, 10).await.map(|done| done.len()), Ok(2));
        }
    }
    let left = |from: &[usize]| from.iter().map(|&nth| ids[nth]).collect::<Vec<_>>();
    let of = |name: &str, ids: Vec<MsgId>| {
        ids.into_iter().map(|id| (name.to_owned(), id)).collect::<Vec<_>>()
    };
    let expected = [of("a.example", left(&[0, 1, 2, 3, 4])), of("b.example", left(&[0, 1, 3, 4]))];
    assert_eq!(listed, expected.concat());
}

/// Case.
pub async fn a_list_has_what_its_filter_names<S: Stand>() {
    let stand = S::new();
    let spool = stand.spool();
    let refused_id = put(spool, &["a@client.example"], b"text").await;
    settle_all(spool, &client(), refused, Next::Drained).await;
    stand.clock().advance(seconds(3_600));
    let young = Envelope { arrival: stand.clock().timestamp(), ..envelope(&["a@client.example"]) };
    let young = put_as(spool, &young, b"text").await;
    let other = put(spool, &["a@other.example"], b"text").await;
    let filter = Filter::default();
    let state = |state| Filter { state: Some(state), ..Filter::default() };
    for (filter, expected) in [
        (filter.clone(), vec![refused_id, young, other]),
        (Filter { domain: Some(client()), ..filter.clone() }, vec![refused_id, young]),
        (Filter { id: Some(other), ..filter.clone() }, vec![other]),
        (Filter { id: Some(other), domain: Some(client()), ..filter.clone() }, vec![]),
        (Filter { older: Some(seconds(60)), ..filter.clone() }, vec![refused_id, other]),
        (Filter { younger: Some(seconds(60)), ..filter.clone() }, vec![young]),
        (
            Filter { after: Some((client(), refused_id).into()), ..filter.clone() },
            vec![young, other],
        ),
        (Filter { after: Some((client(), young).into()), ..filter.clone() }, vec![other]),
        (
            Filter { id: Some(other), after: Some((Domain::new("z"), other).into()), ..filter },
            vec![],
        ),
        (state(StateFilter::Kept), vec![refused_id]),
        (state(StateFilter::Refused), vec![refused_id]),
        (state(StateFilter::Waiting), vec![young, other]),
        (state(StateFilter::Expired), vec![]),
        (state(StateFilter::Damaged), vec![]),
        (state(StateFilter::Held), vec![]),
    ] {
        assert_eq!(ids(spool, &filter).await, expected, "{filter:?}");
    }
    let paths: Vec<_> = (0..50).map(|nth| format!("user{nth}@many.example")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let many = put(spool, &paths, b"text").await;
    let listed = spool.list(&Filter { id: Some(many), ..Filter::default() }, None, 1).await;
    let listed = listed.expect("up").items.remove(0);
    let shown = listed.envelope.recipients.len();
    assert_eq!((listed.recipients, shown), (50, LISTED_RECIPIENTS));
    assert_eq!(held(spool, many).await.envelope.recipients.len(), 50);
}

/// Case.
pub async fn a_removal_ends_even_what_is_being_delivered<S: Stand>() {
    let mut stand = S::new();
    let id = put(stand.spool(), &["a@client.example", "a@other.example"], b"text").await;
    let one = turn(stand.spool(), &client()).await;
    assert_eq!(claim(stand.spool(), &one).await.len(), 1);
    let filter = Filter { id: Some(id), ..Filter::default() };
    let removed = stand.spool().act(&filter, Action::Remove, 10).await.expect("up");
    assert_eq!(removed, [(client(), id), (Domain::new("other.example"), id)]);
    for _ in 0..2 {
        assert_eq!(stand.spool().message(id).await, Ok(Vec::new()));
        assert_eq!(due(stand.spool()).await, []);
        let totals = stand.spool().totals().await.expect("up");
        assert_eq!((totals.messages, totals.under_way, totals.body_bytes), (0, 0, 0));
        stand.reopen();
    }
    assert_eq!(stand.spool().act(&filter, Action::Remove, 10).await, Ok(Vec::new()));
}

/// Case.
pub async fn queues_and_totals_count_what_is_held<S: Stand>() {
    let mut stand = S::new();
    let names = ["a.example", "b.example", "c.example"];
    for (count, name) in names.iter().enumerate() {
        for _ in 0..=count {
            put(stand.spool(), &[&format!("bob@{name}")], &body(1, 100)).await;
        }
    }
    let [a, b, c] = names.map(Domain::new);
    settle_all(stand.spool(), &a, refused, Next::Drained).await;
    let defer = |claim: &Claim| deferred(claim, Retry::In(seconds(60)));
    settle_all(stand.spool(), &b, defer, Next::Drained).await;
    // Known, and without an item.
    stand.spool().hold(&Domain::new("d.example"), true).await.expect("up");
    put(stand.spool(), &["bob@e.example"], b"").await;
    settle_all(stand.spool(), &Domain::new("e.example"), delivered, Next::Drained).await;
    for is_claimed in [true, false] {
        let under_way = if is_claimed {
            let one = turn(stand.spool(), &c).await;
            stand.spool().claim(&one, 2).await.expect("up").len() as u64
        } else {
            0
        };
        let totals = stand.spool().totals().await.expect("up");
        assert_eq!((totals.messages, totals.body_bytes, totals.kept), (6, 600, 1));
        assert_eq!((totals.waiting, totals.under_way), (5 - under_way, under_way));
        assert_eq!(totals.domains, 3);
        let first = stand.spool().queues(None, 2).await.expect("up");
        let rest = stand.spool().queues(Some(&first[1].domain), 1).await.expect("up");
        let counts: Vec<_> = first.iter().chain(&rest).map(|of| (of.waiting, of.kept)).collect();
        assert_eq!(counts, [(0, 1), (2, 0), (3 - under_way, 0)]);
        let kept = stats(stand.spool(), &a).await;
        assert_eq!((kept.oldest_waiting, kept.oldest_kept), (None, Some(NOW)));
        let waits = stats(stand.spool(), &b).await;
        assert_eq!((waits.oldest_waiting, waits.oldest_kept), (Some(NOW), None));
        assert_eq!(waits.body_bytes, 200);
        stand.reopen();
    }
    assert_eq!(stand.spool().queue(&Domain::new("f.example")).await, Ok(None));
}
