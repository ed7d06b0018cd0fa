use postern_core::time::Timestamp;

use super::*;

const NOW: Timestamp = Timestamp { unix_seconds: 1_795_306_665, known: true };

fn domain() -> DomainName {
    "client.example".parse().expect("a domain name")
}

fn entries(locals: &[&str]) -> Entries {
    let texts: Vec<_> = locals.iter().map(|local| format!("{local}@client.example")).collect();
    Entries::of(&domain(), texts.iter().map(String::as_str)).expect("they are addresses")
}

fn about(lists: &Lists, local: &str) -> Found {
    lists.about(&domain(), local.as_bytes(), &Subaddress::none())
}

async fn offer(lists: &Lists, locals: &[&str]) -> Change {
    let offered = lists.offer(&domain(), entries(locals), Origin::Fetched).await;
    offered.expect("it is kept")
}

#[tokio::test]
async fn a_clock_that_jumps_makes_nobody_unknown() {
    let day = Duration::from_secs(24 * 60 * 60);
    for jump in [-200_000, 200_000] {
        let unix_seconds = NOW.unix_seconds.saturating_add_signed(jump);
        let clock = Clock::manual(NOW);
        let lists = Lists::new(clock.clone());
        offer(&lists, &["a", "b"]).await;
        offer(&lists, &["a"]).await;
        clock.set(Timestamp { unix_seconds, ..NOW });
        assert_eq!(about(&lists, "b"), Found::Nothing, "{jump}");
        offer(&lists, &["a"]).await;
        clock.set(NOW);
        clock.advance(day - Duration::from_secs(1));
        assert_eq!(about(&lists, "b"), Found::Nothing, "{jump}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(about(&lists, "b"), Found::Unknown, "{jump}");
    }
}

fn config() -> Config {
    let text =
        "[hold.\"client.example\"]\nrecipients = \"import\"\ndeliver_to = \"h.example:25\"\n";
    Config::parse(Path::new("postern.toml"), text).expect("it is sound")
}

#[tokio::test]
async fn what_cannot_be_written_is_complained_of_until_it_is() {
    let spool = tempfile::tempdir().expect("a temporary folder");
    let lists = Lists::open(spool.path(), &config(), Clock::manual(NOW));
    let folder = file::folder(spool.path());
    std::fs::write(&folder, "").expect("a file");
    let offered = lists.offer(&domain(), entries(&["a", "b", "c"]), Origin::Fetched).await;
    let told = offered.expect_err("there is no folder").to_string();
    assert!(told.starts_with("it is used, but will be gone"), "{told}");
    assert_eq!(about(&lists, "a"), Found::Exists);
    let offered = lists.offer(&domain(), entries(&["x"]), Origin::Fetched).await;
    let told = offered.expect_err("there is no folder").to_string();
    assert!(told.starts_with("it waits, but will be gone"), "{told}");
    let complaints = lists.complaints(&config());
    assert!(matches!(&complaints[..], [Complaint::Unkept(..), Complaint::Waits(..)]));
    std::fs::remove_file(&folder).expect("it is ours");
    offer(&lists, &["a", "b", "c"]).await;
    assert_eq!(lists.complaints(&config()), []);
}

#[tokio::test]
async fn after_a_loss_a_person_accepts_the_next() {
    let spool = tempfile::tempdir().expect("a temporary folder");
    let open = || Lists::open(spool.path(), &config(), Clock::manual(NOW));
    offer(&open(), &["a", "b"]).await;
    let file = file::folder(spool.path()).join("client.example");
    std::fs::write(&file, "postern-list 1 ").expect("a file");
    for _ in 0..2 {
        let lists = open();
        let complaints = lists.complaints(&config());
        assert!(matches!(&complaints[..], [Complaint::Lost(..)]), "{complaints:?}");
    }
    assert!(matches!(offer(&open(), &["a"]).await, Change::Waits(_)));
    let lists = open();
    let complaints = lists.complaints(&config());
    assert!(matches!(&complaints[..], [Complaint::Waits(..), Complaint::Lost(..)]));
    assert_eq!(about(&lists, "b"), Found::Nothing);
    let used = lists.accept(&domain(), None).await.expect("it is kept").expect("one waits");
    assert_eq!(used, Used { addresses: 1, new: 1, vanished: 0 });
    assert_eq!((lists.complaints(&config()), open().complaints(&config())), (vec![], vec![]));
}

#[tokio::test]
async fn the_list_that_was_shown_is_accepted_and_no_other() {
    let lists = Lists::new(Clock::manual(NOW));
    let sum = |lists: &Lists| {
        let shown = lists.shown(&config(), None).pop().expect("one");
        shown.waiting.expect("one waits").2
    };
    offer(&lists, &["a", "b", "c"]).await;
    offer(&lists, &["x", "y"]).await;
    let seen = sum(&lists);
    offer(&lists, &["y", "x"]).await;
    assert_eq!(sum(&lists), seen);
    offer(&lists, &["x", "z"]).await;
    let refused = lists.accept(&domain(), Some(seen)).await.expect_err("it is another");
    assert!(matches!(refused, Unaccepted::Another(now) if now == sum(&lists)), "{refused:?}");
    assert_eq!((about(&lists, "a"), about(&lists, "z")), (Found::Exists, Found::Nothing));
    let used = lists.accept(&domain(), Some(sum(&lists))).await.expect("it is kept");
    assert_eq!(used, Some(Used { addresses: 2, new: 2, vanished: 3 }));
    assert_eq!(lists.shown(&config(), None)[0].vanished, 3);
}
