//! Mail that is fetched by ATRN (RFC 2645).

use std::fs;
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use md5::{Digest, Md5};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{Resource, Signal};

use super::accounts::authenticate;
use super::place::{AWAY, END, Place, Server, Talk};
use super::tls::{self, Wire};

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

/// Takes the one message that waits for it, and is left.
fn take_the_one(talk: &mut Talk) {
    let (messages, left) = take(talk, &|_| None);
    assert!(left && messages.len() == 1, "{messages:?}");
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
    take_the_one(&mut turned(address, "ATRN"));
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
    take_the_one(&mut turned(address, "ATRN"));
    server.logged("fetched");
    assert!(place.queue().is_empty());
    server.stop();
}

/// A client that asks again and again, for what it then defers or does not take, fills no disk.
#[test]
fn what_one_client_does_is_logged_a_few_times() {
    let (_place, server, address) = holder();
    server.send("info@client.example");
    for _ in 0..12 {
        drop(authenticated(address));
        assert!(authenticated(address).say("ATRN").starts_with("250 "));
        let mut talk = turned(address, "ATRN");
        let later = |line: &str| line.starts_with("MAIL").then_some("451 later");
        assert!(take(&mut talk, &later).1);
    }
    let logged = server.end();
    let lines = |texts: &[&str]| {
        logged.iter().filter(|line| texts.iter().any(|text| line["message"] == *text)).count()
    };
    assert_eq!(lines(&["authenticated"]), 10);
    assert_eq!(lines(&["fetched", "fetched in part", "turned round in vain"]), 10);
    assert_eq!(lines(&["sent"]), 10, "of twelve tries");
}

/// It is a person's doing, and no damage.
#[test]
fn what_a_person_removes_within_the_turn_is_not_sent() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "info@client.example", "sales@client.example"] {
        server.send(path);
    }
    let mut talk = turned(address, "ATRN");
    let (messages, _) = take(&mut talk, &|line| (line == ".").then_some(""));
    assert!(messages.len() == 1 && messages[0].contains("info@"), "{messages:?}");
    let queue = place.queue();
    let last = queue.iter().find(|item| item["recipients"].to_string().contains("sales"));
    let id = last.expect("it waits")["id"].as_str().expect("an id").to_owned();
    place.run(&["queue", "remove", &id]);
    talk.tell(&format!("250 taken{END}"));
    let (messages, left) = take(&mut talk, &|_| None);
    let whole = messages.iter().filter(|message| message.ends_with("Hello!")).count();
    assert!(whole == 1 && !left, "its DATA was said, and no end of it: {messages:?}");
    server.logged("not sent: a person has removed it");
    assert!(place.queue().is_empty());
    assert!(server.end().iter().all(|line| line["message"] != "unreadable"));
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
    take_the_one(&mut turned(address, "ATRN"));
    server.stop();
}

/// TLS is kept when the roles turn, however it began.
#[test]
fn what_is_fetched_under_tls_goes_under_tls() {
    let place = Place::new("");
    let accounts = place.path("accounts");
    place.configure_with(
        "tls = \"self-signed\"\n",
        &format!(
            "[accounts]\nfile = {accounts:?}\n[atrn]\nlisten = [\"127.0.0.1:0\"]\n\
             listen_tls = [\"127.0.0.1:0\"]\n{}",
            hold("client.example")
        ),
    );
    place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    let server = place.serve();
    let health = place.run(&["health", "--json"]);
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    let at = |nth: usize| -> SocketAddr {
        health["listening"][nth].as_str().expect("an address").parse().expect("an address")
    };
    let by_starttls = || {
        let mut talk = Talk::with(at(1));
        assert!(talk.say("EHLO client.example").starts_with("250 "));
        assert!(talk.say("ATRN").starts_with("530 "), "it is in clear");
        assert!(talk.say("STARTTLS").starts_with("220 "));
        talk.secured(&place)
    };
    let at_once = || {
        let stream = TcpStream::connect(at(2)).expect("the server listens");
        Talk::over(stream, |stream| Wire::Secure(Box::new(tls::secure(&place, stream))))
    };
    for open in [&by_starttls as &dyn Fn() -> Talk, &at_once] {
        server.send("info@client.example");
        let mut talk = open();
        talk.say("EHLO client.example");
        let plain = BASE64.encode(format!("\0ann\0{PASSWORD}"));
        assert!(talk.say(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
        assert!(talk.say("ATRN").starts_with("250 "));
        talk.tell(&format!("220 client.example{END}"));
        take_the_one(&mut talk);
        assert_eq!(server.logged("sent")["tls"], true);
        assert_eq!(server.logged("fetched")["tls"], true);
    }
    assert!(place.queue().is_empty());
    server.stop();
}

/// What fetchmail has.
#[test]
fn cram_md5_is_enough_in_clear() {
    let place = Place::with_accounts(&hold("client.example"));
    place.account(&["add", "ann", "--domain", "client.example", "--cram-md5"], PASSWORD);
    let server = place.serve();
    server.send("info@client.example");
    let mut talk = Talk::with(place.atrn_address());
    talk.say("EHLO client.example");
    let challenge = talk.say("AUTH CRAM-MD5");
    let challenge = BASE64.decode(&challenge[4..]).expect("base64");
    let answer = BASE64.encode(format!("ann {}", hmac_md5(PASSWORD.as_bytes(), &challenge)));
    assert!(talk.say(&answer).starts_with("235 "));
    assert!(talk.say("ATRN").starts_with("250 "));
    talk.tell(&format!("220 client.example{END}"));
    take_the_one(&mut talk);
    server.stop();
}

/// RFC 2104, of a key of up to 64 octets.
fn hmac_md5(key: &[u8], text: &[u8]) -> String {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Md5::digest([&padded(0x36), text].concat());
    let outer = Md5::digest([&padded(0x5c)[..], &inner].concat());
    outer.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Between a message's end and its verdict everything may happen; the messages come once, but for
/// the one whose verdict nobody could note.
#[test]
fn a_server_that_is_killed_within_the_turn_goes_on_at_the_next() {
    let (place, mut server, address) = holder();
    for path in ["info@client.example", "sales@client.example"] {
        server.send(path);
    }
    let mut talk = turned(address, "ATRN");
    let (messages, _) = take(&mut talk, &|line| (line == ".").then_some(""));
    assert_eq!(messages.len(), 1);
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    drop(server);
    let server = place.serve();
    let (again, left) = take(&mut turned(place.atrn_address(), "ATRN"), &|_| None);
    assert!(left && again.len() == 2, "{again:?}");
    assert!(again.contains(&messages[0]), "the same, with the same id");
    server.logged("fetched");
    assert!(place.queue().is_empty());
    server.stop();
}

#[test]
fn a_server_that_stops_within_the_turn_hears_the_verdict_and_leaves() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "sales@client.example"] {
        server.send(path);
    }
    let mut idle = Talk::with(server.address);
    let mut talk = turned(address, "ATRN");
    let (messages, _) = take(&mut talk, &|line| (line == ".").then_some(""));
    assert_eq!(messages.len(), 1);
    server.signal(Signal::TERM);
    assert!(idle.hear().starts_with("421 "), "everybody was told");
    talk.tell(&format!("250 taken{END}"));
    let (messages, _) = take(&mut talk, &|_| None);
    assert!(messages.is_empty(), "{messages:?}");
    server.ended();
    let server = place.serve();
    assert_eq!(place.queue().len(), 1, "the other one waits");
    server.stop();
}

#[test]
fn a_domain_that_is_given_a_host_within_the_turn_is_fetched_no_more() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "sales@client.example", "info@second.example"] {
        server.send(path);
    }
    let mut talk = turned(address, "ATRN client.example,second.example");
    let (messages, _) = take(&mut talk, &|line| (line == ".").then_some(""));
    assert_eq!(messages.len(), 1);
    let file = place.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let text = text.replacen("deliver_to = \"asker\"", &format!("deliver_to = \"{AWAY}\""), 1);
    fs::write(&file, text).expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    talk.tell(&format!("250 taken{END}"));
    let (messages, _) = take(&mut talk, &|_| None);
    assert!(messages.iter().all(|message| message.contains("second.example")), "{messages:?}");
    let left: Vec<_> = place.queue().into_iter().map(|item| item["domain"].clone()).collect();
    assert!(left.contains(&"client.example".into()), "{left:?}");
    server.stop();
}

/// What the client has taken is told to the spool until that can be written, or the lease ends.
#[test]
fn a_disk_that_is_full_at_the_settling_costs_no_second_copy() {
    let (place, server, address) = holder();
    for path in ["info@client.example", "sales@client.example"] {
        server.send(path);
    }
    let mut talk = turned(address, "ATRN");
    let (messages, _) = take(&mut talk, &|line| (line == ".").then_some(""));
    assert_eq!(messages.len(), 1);
    server.limit(Resource::Fsize, Some(1));
    talk.tell(&format!("250 taken{END}"));
    // Nobody waits for the disk at this end.
    let (more, left) = take(&mut talk, &|_| None);
    assert!(left);
    server.logged("not recorded yet; nothing more is sent");
    server.limit(Resource::Fsize, None);
    server.logged("fetched in part");
    let sent = messages.len() + more.len();
    if place.queue().is_empty() {
        assert_eq!(sent, 2);
    } else {
        let (rest, left) = take(&mut turned(address, "ATRN"), &|_| None);
        assert!(left && sent + rest.len() == 2, "{sent} and {}: each once", rest.len());
    }
    server.stop();
}

/// A session from another address of this machine's.
pub fn talk_from(address: [u8; 4], server: SocketAddr) -> Talk {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("a socket");
    bind(&socket, &SocketAddr::from((address, 0))).expect("an address of this machine's");
    connect(&socket, &server).expect("the server listens");
    Talk::over(TcpStream::from(socket), Wire::Clear)
}

fn asks_by_etrn() -> (Place, Server) {
    let asker = format!("{}etrn_from = [\"authenticated\"]\n", hold("client.example"));
    let place = Place::with_accounts(&asker);
    place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    let server = place.serve();
    server.send("info@client.example");
    (place, server)
}

/// It goes to port 25 there, at which nobody listens: the log says where it was tried.
#[test]
fn who_has_authenticated_is_delivered_to_where_he_asks_from() {
    let (place, server) = asks_by_etrn();
    let mut talk = talk_from([127, 0, 0, 2], server.address);
    talk.say("EHLO client.example");
    assert!(talk.say("ETRN client.example").starts_with("459 "), "he has not authenticated");
    assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
    assert!(talk.say("ETRN client.example").starts_with("253 "));
    assert_eq!(server.logged("no delivery yet: it asked")["host"], "127.0.0.2:25");

    let address = ["link-up", "client.example", "--address", "127.0.0.3"];
    assert!(place.run(&address).contains("1 message(s) released"));
    while server.logged("no delivery yet: it asked")["host"] != "127.0.0.3:25" {}
    let (code, text) = place.try_run(&["link-up", "client.example"]);
    assert!(code != Some(0) && text.contains("give an address"), "{text}");
    // What a hook says that knows no address would lead to this machine, or to everybody.
    for nobodys in ["0.0.0.0", "::", "::ffff:0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1"] {
        let address = ["link-up", "client.example", "--address", nobodys];
        let (code, text) = place.try_run(&address);
        assert!(code == Some(1) && text.contains("is the address of no host"), "{text}");
    }
    // Whoever names no address sends it nowhere.
    place.run(&["queue", "release", "client.example"]);
    place.run_until(&["queue", "domains", "--json"], "it waits to be fetched (ATRN)");
    take_the_one(&mut turned(place.atrn_address(), "ATRN"));
    server.stop();
}

/// What comes behind it may be for somebody else at that address.
#[test]
fn an_address_that_is_said_while_nothing_waits_is_for_no_later_mail() {
    let place = Place::with_accounts(&hold("client.example"));
    let server = place.serve();
    let address = ["link-up", "client.example", "--address", "127.0.0.3"];
    assert!(place.run(&address).contains("nothing waits"));
    server.send("info@client.example");
    place.run(&["queue", "release", "--all"]);
    place.run_until(&["queue", "domains", "--json"], "it waits to be fetched (ATRN)");
    server.stop();
}

/// Who comes to fetch is not there to be delivered to.
#[test]
fn a_connection_that_fetches_releases_nothing_else() {
    let away = super::place::hold(AWAY, "\"any\"");
    let hosts = ["client.example", "second.example"].map(|domain| {
        let last = if domain.starts_with('c') { 2 } else { 3 };
        let table = away.replace("client.example", domain);
        format!("{table}release_on_connect = [\"127.0.0.{last}\"]\n")
    });
    let place = Place::with_accounts(&hosts.concat());
    place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    let server = place.serve();
    for path in ["info@client.example", "info@second.example"] {
        server.send(path);
    }
    let mut fetching = talk_from([127, 0, 0, 2], place.atrn_address());
    fetching.say("EHLO client.example");
    assert!(authenticate(&mut fetching, "ann", PASSWORD).starts_with("235 "));
    let mut talk = talk_from([127, 0, 0, 3], server.address);
    talk.say("EHLO client.example");
    assert_eq!(server.logged("released")["client"], "127.0.0.3");
    server.stop();
}

/// What came since the session began goes once its client has authenticated.
#[test]
fn an_authentication_releases_what_a_connection_does() {
    let host = super::place::hold(AWAY, "\"any\"");
    let host = host.replace("127.0.0.0/8", "authenticated");
    let place = Place::with_accounts(&format!("{host}release_on_connect = [\"127.0.0.2\"]\n"));
    place.account(&["add", "ann", "--domain", "client.example"], PASSWORD);
    let server = place.serve();
    let mut talk = talk_from([127, 0, 0, 2], server.address);
    talk.say("EHLO client.example");
    server.send("info@client.example");
    assert!(authenticate(&mut talk, "ann", PASSWORD).starts_with("235 "));
    let released = server.logged("released");
    assert_eq!(
        (&released["trigger"], &released["client"]),
        (&"connection".into(), &"127.0.0.2".into())
    );
    server.stop();
}
