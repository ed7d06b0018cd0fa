//! Mail that is fetched by ATRN (RFC 2645).

use std::net::SocketAddr;

use super::accounts::authenticate;
use super::place::{END, Place, Server, Talk};

const PASSWORD: &str = "s3cret pass";

/// What a host at the other end says to a command, where it is not what any says.
type Answers<'a> = &'a dyn Fn(&str) -> Option<&'static str>;

fn hold(domain: &str) -> String {
    format!("[hold.\"{domain}\"]\nrecipients = \"any\"\ndeliver_to = \"asker\"\n")
}

/// A holder of two domains of one account's, and of one that is another's.
fn holder() -> (Place, Server, SocketAddr) {
    let domains = ["client.example", "second.example", "other.example"];
    let place = Place::with_accounts(&domains.map(hold).concat());
    let [first, second, _] = domains;
    let add = ["add", "ann", "--domain", first, "--domain", second];
    assert_eq!(place.account(&add, PASSWORD), (Some(0), String::new()));
    let server = place.serve();
    let address = place.atrn_address();
    (place, server, address)
}

fn authenticated(address: SocketAddr) -> Talk {
    let mut talk = Talk::with(address);
    talk.say("EHLO client.example");
    assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
    talk
}

/// Turns the connection round, and greets.
fn turned(address: SocketAddr, atrn: &str) -> Talk {
    let mut talk = authenticated(address);
    let said = talk.say(atrn);
    assert!(said.starts_with("250 "), "{said}");
    talk.tell(&format!("220 client.example{END}"));
    talk
}

/// Takes mail as a host does until the other side takes leave, or hangs up, or until an answer is
/// empty; the messages, and whether it was the first.
fn take(talk: &mut Talk, answers: Answers<'_>) -> (Vec<String>, bool) {
    let mut messages = Vec::new();
    while let Some(line) = talk.line() {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let usual = match verb {
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        let said = answers(&line).unwrap_or(usual);
        if said.is_empty() {
            break;
        }
        talk.tell(&format!("{said}{END}"));
        match verb {
            "QUIT" => return (messages, true),
            "DATA" if said.starts_with("354") => {
                let lines = std::iter::from_fn(|| talk.line()).take_while(|line| line != ".");
                messages.push(lines.collect::<Vec<_>>().join("\n"));
                let said = answers(".").unwrap_or("250 taken");
                if said.is_empty() {
                    break;
                }
                talk.tell(&format!("{said}{END}"));
            }
            _ => {}
        }
    }
    (messages, false)
}

#[test]
fn what_is_held_for_an_account_is_fetched_over_its_connection() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "sales@client.example", "info@second.example"] {
        server.send(path);
    }
    server.send("info@other.example");
    let mut talk = turned(address, "ATRN");
    let (messages, left) = take(&mut talk, &|_| None);
    assert!(left && messages.len() == 3, "{messages:?}");
    assert!(messages.iter().all(|message| message.ends_with("\n\nHello!")), "{messages:?}");
    let fetched = server.logged("fetched");
    assert_eq!((&fetched["domains"], &fetched["tls"]), (&2.into(), &false.into()));
    let left: Vec<_> = place.queue().into_iter().map(|item| item["domain"].clone()).collect();
    assert_eq!(left, ["other.example"], "it is another account's");
    server.stop();
}

#[test]
fn each_atrn_has_its_answer() {
    let (place, server, address) = holder();
    let mut talk = Talk::with(address);
    talk.tell(&format!("EHLO client.example{END}"));
    let offered: Vec<_> = std::iter::from_fn(|| talk.line())
        .inspect(|line| assert_eq!(&line[..3], "250"))
        .take_while(|line| line.as_bytes()[3] == b'-')
        .collect();
    assert!(offered.contains(&"250-ATRN".to_owned()), "{offered:?}");
    assert!(talk.say("ATRN").starts_with("530 5.7.0 "));
    assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
    server.send("info@other.example");
    for (atrn, answer) in [
        ("ATRN", "453 "),
        ("ATRN client.example,SECOND.example", "453 "),
        ("ATRN other.example", "450 4.7.1 "),
        ("ATRN client.example,other.example", "450 4.7.1 "),
        ("ATRN elsewhere.example", "450 4.7.1 "),
        ("ATRN client.example,", "501 "),
        ("ATRN @client.example", "501 "),
    ] {
        let said = talk.say(atrn);
        assert!(said.starts_with(answer), "{atrn}: {said}");
    }
    server.send("info@client.example");
    assert!(talk.say("ATRN second.example").starts_with("453 "));
    place.run(&["queue", "hold", "client.example"]);
    assert!(talk.say("ATRN").starts_with("451 "), "a person holds it back");
    place.run(&["queue", "unhold", "client.example"]);

    let mut other = turned(address, "ATRN client.example,second.example,client.example");
    assert_eq!(other.line().as_deref(), Some("EHLO mx2.provider.example"));
    other.tell(&format!("250 client.example{END}"));
    assert!(other.line().is_some_and(|line| line.starts_with("MAIL FROM:<ann@sender.example>")));
    let said = talk.say("ATRN");
    assert!(said.starts_with("450 4.3.2 "), "it goes over the other connection: {said}");
    let said = server.say(&["EHLO client.example", "ATRN", "ETRN client.example"]);
    assert!(said[1].starts_with("502 "), "{said:?}");
    assert!(said[2].starts_with("459 "), "{said:?}");
    drop(other);
    server.stop();
}

/// What came behind ATRN in one piece is the greeting, and what the host puts off waits for its
/// next ATRN.
#[test]
fn what_a_host_defers_waits_until_it_is_fetched_again() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "sales@client.example"] {
        server.send(path);
    }
    let mut talk = authenticated(address);
    assert!(talk.say(&format!("ATRN{END}220 client.example")).starts_with("250 "));
    let later = |line: &str| line.contains("<info@").then_some("450 4.2.0 later");
    let (messages, left) = take(&mut talk, &later);
    assert!(left && messages.len() == 1, "{messages:?}");
    server.logged("fetched");
    let waits = place.queue();
    assert_eq!((waits.len(), &waits[0]["status"]), (1, &"waiting".into()), "{waits:?}");
    let (messages, left) = take(&mut turned(address, "ATRN"), &|_| None);
    assert!(left && messages.len() == 1, "{messages:?}");
    server.logged("fetched");
    assert!(place.queue().is_empty());
    server.stop();
}

#[test]
fn whoever_turns_the_roles_and_then_fails_loses_nothing() {
    let (place, server, address) = holder();
    server.send("info@client.example");
    for (greeting, why) in [
        ("", "hung up"),
        ("554 go away", "554 go away"),
        ("421 not now", "421 not now"),
        ("EHLO mx2.provider.example", "reply"),
    ] {
        let mut talk = authenticated(address);
        assert!(talk.say("ATRN").starts_with("250 "));
        if !greeting.is_empty() {
            talk.tell(&format!("{greeting}{END}"));
        }
        drop(talk);
        let logged = server.logged("turned round in vain");
        let reason = logged["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(why), "{greeting}: {reason}");
    }
    // In the middle of a message, and in the place of its verdict.
    for last in ["DATA", "."] {
        let mut talk = turned(address, "ATRN");
        let none = |line: &str| (line == last).then_some("");
        let (_, left) = take(&mut talk, &none);
        assert!(!left);
        drop(talk);
        server.logged("fetched in part");
        assert_eq!(place.queue()[0]["status"], "waiting");
    }
    let (messages, left) = take(&mut turned(address, "ATRN"), &|_| None);
    assert!(left && messages.len() == 1, "{messages:?}");
    server.logged("fetched");
    assert!(place.queue().is_empty());
    server.stop();
}

/// Nobody else delivers it, whoever asks for that; and that is said.
#[test]
fn what_is_fetched_goes_nowhere_else() {
    let (place, server, address) = holder();
    server.send("info@client.example");
    let released = place.run(&["queue", "release", "client.example"]);
    assert!(released.contains("client.example"), "{released}");
    let domains = place.run_until(&["queue", "domains", "--json"], "it waits to be fetched (ATRN)");
    assert!(domains.contains("client.example"), "{domains}");
    let (messages, left) = take(&mut turned(address, "ATRN"), &|_| None);
    assert!(left && messages.len() == 1, "{messages:?}");
    server.stop();
}
