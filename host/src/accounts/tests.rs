use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use postern_core::time::Timestamp;
use tempfile::TempDir;

use super::scram::{Client, WORK};
use super::*;

const WRONG: &str = "not it";
const RIGHT: &str = "s3cret pass";

struct Stand {
    accounts: Arc<Accounts>,
    clock: Clock,
    folder: TempDir,
}

/// What a whole exchange came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    In(String),
    Denied(Denied),
    Malformed,
    Wrong,
    Unbound,
}

impl Stand {
    /// `ann` without and `bob` with what CRAM-MD5 needs.
    fn new() -> Self {
        let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
        let accounts = Arc::new(Accounts::new(&[7; 32], clock.clone()));
        let stand = Self { accounts, clock, folder: tempfile::tempdir().expect("a folder") };
        stand.add("ann", false);
        stand.add("bob", true);
        stand
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("accounts")
    }

    fn add(&self, name: &str, cram_md5: bool) {
        let domains = BTreeSet::from(["a.example".parse().expect("a name")]);
        let account = Account::new(name, domains.into(), RIGHT, cram_md5).expect("an account");
        change(&self.file(), |book| {
            book.put(account);
            Ok(())
        })
        .expect("it is written");
    }

    async fn book(&self) -> Option<Arc<Book>> {
        self.accounts.book(&self.file()).await
    }

    async fn names(&self) -> Option<Vec<String>> {
        let book = self.book().await?;
        Some(book.accounts().map(|account| account.name().to_owned()).collect())
    }

    /// An exchange by `mechanism`, in which the client says what `says` has it answer.
    async fn exchange(
        &self,
        mechanism: Mechanism,
        initial: Option<&str>,
        says: impl FnMut(&str) -> String,
    ) -> Came {
        self.exchange_over(None, mechanism, initial, says).await
    }

    /// The same over a connection with this binding.
    async fn exchange_over(
        &self,
        binding: Option<Binding>,
        mechanism: Mechanism,
        initial: Option<&str>,
        mut says: impl FnMut(&str) -> String,
    ) -> Came {
        let book = self.book().await.expect("there are accounts");
        let mut exchange = self.accounts.begin(mechanism, book, "mx2.example", binding);
        let mut next = exchange.begin(initial.map(str::as_bytes));
        loop {
            next = match next {
                Next::Challenge(challenge) => {
                    assert!(challenge.len() <= 255, "it fits into a reply: {challenge}");
                    exchange.answer(says(&challenge).as_bytes())
                }
                Next::Check(claim) => {
                    match self.accounts.check("192.0.2.1".parse().expect("one"), claim).await {
                        Ok(account) => exchange.accept(account),
                        Err(denied) => return Came::Denied(denied),
                    }
                }
                Next::Done(account) => return Came::In(account.name().to_owned()),
                Next::Malformed => return Came::Malformed,
                Next::Wrong => return Came::Wrong,
                Next::Unbound => return Came::Unbound,
            };
        }
    }

    async fn plain(&self, said: &str) -> Came {
        let said = BASE64.encode(said);
        self.exchange(Mechanism::Plain, Some(&said), |_| unreachable!("it has said all")).await
    }

    async fn scram(&self, name: &str, password: &str) -> Came {
        let client = Client::new(name, password, "nonce".to_owned());
        self.scram_over(None, Mechanism::Scram, client).await
    }

    async fn scram_over(
        &self,
        binding: Option<Binding>,
        mechanism: Mechanism,
        mut client: Client,
    ) -> Came {
        let first = client.first();
        let mut answered = false;
        self.exchange_over(binding, mechanism, Some(&first), |challenge| {
            if std::mem::replace(&mut answered, true) {
                assert!(client.is_proof(challenge.as_bytes()), "the server has the keys");
                return String::new();
            }
            client.answer(challenge.as_bytes()).expect("a server's first message")
        })
        .await
    }

    async fn cram(&self, name: &str, password: &str) -> Came {
        self.exchange(Mechanism::CramMd5, None, |challenge| {
            let challenge = BASE64.decode(challenge).expect("base64");
            assert!(challenge.starts_with(b"<") && challenge.ends_with(b"@mx2.example>"));
            let answer = cram::States::new(password.as_bytes()).answer(&challenge);
            BASE64.encode(format!("{name} {answer}"))
        })
        .await
    }

    async fn login(&self, name: &str, password: &str) -> Came {
        self.exchange(Mechanism::Login, None, |challenge| {
            let asked = BASE64.decode(challenge).expect("base64");
            BASE64.encode(if asked == b"Username:" { name } else { password })
        })
        .await
    }
}

fn is_in(name: &str) -> Came {
    Came::In(name.to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_mechanism_lets_in_who_has_the_password_and_nobody_else() {
    let stand = Stand::new();
    let denied = Came::Denied(Denied::Wrong);
    assert_eq!(stand.scram("ann", RIGHT).await, is_in("ann"));
    assert_eq!(stand.login("ann", RIGHT).await, is_in("ann"));
    assert_eq!(stand.plain(&format!("\0ann\0{RIGHT}")).await, is_in("ann"));
    assert_eq!(stand.plain(&format!("ann\0ann\0{RIGHT}")).await, is_in("ann"));
    assert_eq!(stand.cram("bob", RIGHT).await, is_in("bob"));
    for name in ["ann", "nobody", "", "ünknown"] {
        for came in [
            stand.scram(name, WRONG).await,
            stand.login(name, WRONG).await,
            stand.cram(name, WRONG).await,
        ] {
            assert_eq!(came, denied, "{name}");
            stand.clock.advance(Duration::from_secs(3600));
        }
    }
    assert_eq!(stand.cram("ann", RIGHT).await, denied, "it does not keep what that needs");
    assert_eq!(stand.plain(&format!("bob\0ann\0{RIGHT}")).await, Came::Wrong, "as another");
}

#[tokio::test(start_paused = true)]
async fn what_no_client_says_is_malformed_at_every_step() {
    let stand = Stand::new();
    for said in ["", "ann", "ann\0", "\0ann\0pass\0more"] {
        assert_eq!(stand.plain(said).await, Came::Malformed, "{said:?}");
    }
    let first = |said: &str| BASE64.encode(said);
    let nonce = "x".repeat(91);
    for said in [
        "",
        "n",
        "n,,",
        "n,,n=ann",
        "n,,n=ann,r=",
        "p=tls-unique,,n=ann,r=x",
        "n,,m=ext,n=ann,r=x",
        "n,,n=ann,r=a b",
        &format!("n,,n=ann,r={nonce}"),
    ] {
        let begin = first(said);
        let came = stand.exchange(Mechanism::Scram, Some(&begin), |_| unreachable!("refused"));
        assert_eq!(came.await, Came::Malformed, "{said:?}");
    }
    for last in ["", "c=biws", "c=biws,r=x", "c=biws,r=x,p=!", "r=x,c=biws,p=AAAA"] {
        let begin = first("n,,n=ann,r=x");
        let came = stand.exchange(Mechanism::Scram, Some(&begin), |_| BASE64.encode(last));
        assert_eq!(came.await, Came::Malformed, "{last:?}");
    }
    let begin = first("n,,n=ann,r=x");
    let last = BASE64.encode("c=biws,r=x,p=AAAA");
    let came = stand.exchange(Mechanism::Scram, Some(&begin), |_| last.clone());
    assert_eq!(came.await, Came::Wrong, "another's nonce");
    let begin = first("n,a=bob,n=ann,r=x");
    let came = stand.exchange(Mechanism::Scram, Some(&begin), |_| unreachable!("refused"));
    assert_eq!(came.await, Came::Wrong, "as another");
    let came = stand.exchange(Mechanism::CramMd5, Some("AAAA"), |_| unreachable!("refused"));
    assert_eq!(came.await, Came::Malformed, "the server speaks first");
    let mut client = Client::new("ann", RIGHT, "nonce".to_owned());
    let begin = client.first();
    let came = stand.exchange(Mechanism::Scram, Some(&begin), |challenge| {
        client.answer(challenge.as_bytes()).unwrap_or_else(|_| first("more"))
    });
    assert_eq!(came.await, Came::Malformed, "a client that has heard our proof says nothing");
}

#[tokio::test(start_paused = true)]
async fn what_is_bound_to_a_connection_is_of_no_use_on_another() {
    let (stand, ann) = (Stand::new(), || Client::new("ann", RIGHT, "nonce".to_owned()));
    let (plus, scram) = (Mechanism::ScramPlus, Mechanism::Scram);
    let [own, other] = [1, 2].map(Binding::of_test);
    for (binding, mechanism, client, expected) in [
        (Some(own), plus, ann().bound(own), is_in("ann")),
        (Some(own), plus, ann().bound(other), Came::Unbound),
        (None, plus, ann().bound(own), Came::Malformed),
        (Some(own), plus, ann(), Came::Malformed),
        (Some(own), plus, ann().could_be_bound(), Came::Unbound),
        (Some(own), scram, ann().bound(own), Came::Malformed),
        (Some(own), scram, ann().could_be_bound(), Came::Unbound),
        (Some(own), scram, ann(), is_in("ann")),
        (None, scram, ann().could_be_bound(), is_in("ann")),
    ] {
        let came = stand.scram_over(binding, mechanism, client).await;
        assert_eq!(came, expected, "{mechanism:?} {binding:?}");
    }
    for (says, hears) in [("n", "y"), ("y", "n")] {
        let begin = BASE64.encode(format!("{hears},,n=ann,r=x"));
        let came = stand.exchange(scram, Some(&begin), |first| {
            let first = BASE64.decode(first).expect("base64");
            let first = String::from_utf8(first).expect("ASCII");
            let nonce = first.split(',').next().expect("it has one");
            BASE64.encode(format!("c={},{nonce},p=AAAA", BASE64.encode(format!("{says},,"))))
        });
        assert_eq!(came.await, Came::Unbound, "a flag that was changed on the way");
    }
    for begin in ["p=tls-unique,,n=ann,r=x", "p=,,n=ann,r=x", "p=tls-exporter2,,n=ann,r=x"] {
        let begin = BASE64.encode(begin);
        let came = stand.exchange_over(Some(own), plus, Some(&begin), |_| unreachable!("refused"));
        assert_eq!(came.await, Came::Malformed, "{begin}");
    }
}

#[tokio::test]
async fn a_file_that_has_changed_is_read_again() {
    let stand = Stand::new();
    assert_eq!(stand.names().await.expect("there are"), ["ann", "bob"]);
    stand.add("eve", false);
    assert_eq!(stand.names().await.expect("there are"), ["ann", "bob", "eve"]);
    change(&stand.file(), |book| Ok(book.remove("ann"))).expect("it is written");
    assert_eq!(stand.names().await.expect("there are"), ["bob", "eve"]);
}

/// A configuration may name another.
#[tokio::test]
async fn the_accounts_of_another_file_are_not_those_of_this() {
    let stand = Stand::new();
    assert!(stand.book().await.is_some());
    let other = stand.folder.path().join("others");
    assert!(stand.accounts.book(&other).await.is_none());
    assert_eq!(stand.names().await.expect("they are there"), ["ann", "bob"]);
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_gone_changes_nothing() {
    let stand = Stand::new();
    let file = stand.file();
    let whole = fs::read(&file).expect("it is there");
    assert!(stand.names().await.is_some());
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("it is ours");
        assert_eq!(stand.names().await.expect("as they were"), ["ann", "bob"], "{length}");
    }
    fs::remove_file(&file).expect("it is there");
    assert_eq!(stand.names().await.expect("as they were"), ["ann", "bob"]);
    fs::create_dir(&file).expect("nothing has its name");
    assert_eq!(stand.names().await.expect("as they were"), ["ann", "bob"]);
    fs::remove_dir(&file).expect("it is there");
    fs::write(&file, &whole).expect("it is ours");
    stand.add("eve", false);
    assert_eq!(stand.names().await.expect("read again"), ["ann", "bob", "eve"]);
}

/// Else every connection would read it, with all others waiting for that.
#[tokio::test]
async fn a_file_that_is_no_good_is_read_once_a_second_and_when_it_changes() {
    let stand = Stand::new();
    let whole = fs::read(stand.file()).expect("it is there");
    fs::write(stand.file(), "postern accounts 1\n").expect("it is ours");
    for _ in 0..2 {
        for _ in 0..100 {
            assert!(stand.book().await.is_none());
        }
        stand.clock.advance(READ_EVERY);
    }
    stand.clock.advance(LOG_EVERY);
    let failed_again = stand.accounts.unreadable.pass((), stand.clock.instant());
    assert_eq!(failed_again, Some(1));
    assert!(stand.book().await.is_none());
    fs::write(stand.file(), whole).expect("it is ours");
    assert_eq!(stand.names().await.expect("it is whole"), ["ann", "bob"]);
}

#[tokio::test]
async fn without_a_file_that_can_be_read_there_is_nobody() {
    let stand = Stand::new();
    fs::write(stand.file(), "postern accounts 1\n").expect("it is ours");
    assert!(stand.book().await.is_none());
    fs::remove_file(stand.file()).expect("it is there");
    assert!(stand.book().await.is_none());
    stand.add("ann", false);
    fs::set_permissions(stand.file(), Permissions::from_mode(0o0)).expect("it is ours");
    let readable = fs::read(stand.file()).is_ok();
    assert_eq!(stand.book().await.is_some(), readable, "as the system has it");
}

/// What it takes tells nobody which names there are.
#[tokio::test]
async fn a_name_that_there_is_not_costs_the_same_work() {
    let stand = Stand::new();
    let book = stand.book().await.expect("there are accounts");
    let work = |name: &str, password: &str| {
        let mut exchange = stand.accounts.begin(Mechanism::Plain, Arc::clone(&book), "mx2", None);
        let said = BASE64.encode(format!("\0{name}\0{password}"));
        let Next::Check(claim) = exchange.begin(Some(said.as_bytes())) else { panic!("whole") };
        let before = WORK.get();
        let is_in = claim.account().is_some();
        (is_in, WORK.get() - before)
    };
    let (is_in, of_right) = work("ann", RIGHT);
    assert!(is_in && of_right > 0);
    for name in ["ann", "bob", "nobody", "", "ünknown"] {
        assert_eq!(work(name, WRONG), (false, of_right), "{name}");
    }
}

/// From one address, guessing costs the guesser time, and us nothing.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_wrong_passwords_are_ten_and_then_none() {
    let stand = Stand::new();
    let book = stand.book().await.expect("there are accounts");
    let client = "192.0.2.1".parse().expect("an address");
    let began = tokio::time::Instant::now();
    let mut came = (0, 0);
    for number in 0..100_000 {
        let mut exchange = stand.accounts.begin(Mechanism::Plain, Arc::clone(&book), "mx2", None);
        let said = BASE64.encode(format!("\0ann\0{number}"));
        let Next::Check(claim) = exchange.begin(Some(said.as_bytes())) else { panic!("whole") };
        match stand.accounts.check(client, claim).await {
            Err(Denied::Wrong) => came.0 += 1,
            Err(Denied::TooOften) => came.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, (10, 99_990));
    assert!(stand.accounts.is_shut_out(client));
    assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4 + 6 * 8);
    assert_eq!(stand.accounts.deriving.times.load(Ordering::Relaxed), 10, "no work for the others");
    let other = "198.51.100.1".parse().expect("an address");
    assert!(!stand.accounts.is_shut_out(other));
}
