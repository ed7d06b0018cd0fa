//! Hosts that show that they are there, otherwise than by ETRN.

use std::fs;

use rustix::process::{Resource, Signal};

use crate::place::{AWAY, END, Place, Server, Talk, hold};

const WAKE: &str = "wake@mx2.provider.example";
const TOKEN: &str = "k7v2p9x4m1q8c5z3";

/// A holder of mail for a host that is there, with the rest of the domain's table.
fn holder(host: &str, rest: &str) -> Place {
    Place::new(&(hold(host, "[\"info\"]") + rest))
}

#[test]
fn a_connection_from_where_a_host_is_releases_its_mail() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let rest = "release_on_connect = [\"127.0.0.0/28\"]\n";
    let holder = holder(&home.address.to_string(), rest);
    let server = holder.serve();
    server.send("info@client.example");
    assert_eq!(holder.queue().len(), 1, "it came over a connection that began before");
    drop(Talk::with(server.address));
    assert_eq!(server.logged("released")["trigger"], "connection");
    assert_eq!(home.logged("accepted")["to"], "info@client.example");
    server.stop();
    home.stop();
}

#[test]
fn a_hook_of_a_link_releases_mail() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = holder(&home.address.to_string(), "");
    let server = holder.serve();
    server.send("info@client.example");
    let said = holder.run(&["link-up", "client.example"]);
    assert_eq!(said, "client.example: 1 message(s) released, 0 already on their way\n");
    home.logged("accepted");
    server.stop();
    home.stop();
}

/// The codes of the replies to a message for `recipients`, from its first RCPT on.
fn mail(server: &Server, recipients: &[&str], octets: usize) -> Vec<String> {
    let rcpts = recipients.iter().map(|to| format!("RCPT TO:<{to}>"));
    let text = format!(
        "Subject: wake{END}{END}{}.",
        format!("{}{END}", "x".repeat(98)).repeat(octets / 100)
    );
    let lines: Vec<_> =
        ["EHLO sender.example".to_owned(), "MAIL FROM:<ann@sender.example>".to_owned()]
            .into_iter()
            .chain(rcpts)
            .chain(["DATA".to_owned(), text])
            .collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    server.say(&lines).split_off(2).iter().map(|reply| reply[..3].to_owned()).collect()
}

#[test]
fn mail_to_a_wake_up_address_releases_and_is_not_delivered() {
    let client = Place::new(&hold(AWAY, "[\"info\", \"sales\"]"));
    let home = client.serve();
    let table = hold(&home.address.to_string(), "[\"info\", \"sales\"]");
    let holder = Place::new(&format!("{table}wakeup_address = \"{WAKE}\"\n"));
    let server = holder.serve();
    server.send("info@client.example");
    assert_eq!(mail(&server, &[WAKE, WAKE], 0), ["250", "250", "354", "250"]);
    assert_eq!(server.logged("released")["trigger"], "mail");
    assert_eq!(home.logged("accepted")["to"], "info@client.example");
    holder.run_until(&["queue", "list"], "the queue is empty");
    // Its other recipients go their way, and the next wake-up takes them along.
    assert_eq!(mail(&server, &["sales@client.example", WAKE], 100_000)[..2], ["250", "250"]);
    let accepted = server.logged("accepted");
    assert_eq!(
        (&accepted["to"], &accepted["recipients"]),
        (&"sales@client.example".into(), &1.into())
    );
    assert_eq!(mail(&server, &[WAKE], 0), ["250", "354", "250"]);
    assert_eq!(home.logged("accepted")["to"], "sales@client.example");
    server.stop();
    home.stop();
}

#[test]
fn who_may_not_release_a_domain_is_told_so_unless_he_has_its_token() {
    let table = hold(AWAY, "[\"info\"]").replace("127.0.0.0/8", "192.0.2.0/24");
    let keys = format!("wakeup_address = \"{WAKE}\"\nwakeup_token = \"{TOKEN}\"\n");
    let holder = Place::new(&format!("{table}{keys}"));
    let server = holder.serve();
    server.send("info@client.example");
    assert!(server.rcpt(WAKE).starts_with("550 5.7.1 "));
    assert_eq!(server.logged("refused")["word"], "wakeup");
    assert!(server.rcpt("null%client.example@mx2.provider.example").starts_with("550 5.7.1 "));
    let [local, domain]: [_; 2] = WAKE.split('@').collect::<Vec<_>>().try_into().expect("two");
    assert!(
        server.rcpt(&format!("{local}+{}@{domain}", TOKEN.replace('k', "x"))).starts_with("550 ")
    );
    let secret = format!("{local}+{TOKEN}@{domain}");
    assert_eq!(mail(&server, &[WAKE, &secret], 0), ["550", "250", "354", "250"]);
    let released = server.logged("released");
    assert_eq!((&released["domain"], &released["messages"]), (&"client.example".into(), &1.into()));
    server.stop();
}

#[test]
fn a_wake_up_is_small_and_each_needs_a_place_on_the_disk() {
    let table = hold(AWAY, "[\"info\"]");
    let holder = Place::new(&format!("{table}wakeup_address = \"{WAKE}\"\n"));
    let server = holder.serve();
    server.send("info@client.example");
    let said = server.say(&[
        "EHLO a.example",
        "MAIL FROM:<> SIZE=65537",
        &format!("RCPT TO:<{WAKE}>"),
        "RCPT TO:<info@client.example>",
    ]);
    assert!(said[2].starts_with("552 5.3.4 ") && said[3].starts_with("250 "), "{said:?}");
    assert_eq!(mail(&server, &[WAKE], 66_000), ["250", "354", "552"]);
    assert_eq!(mail(&server, &[WAKE], 60_000), ["250", "354", "250"]);
    server.logged("released");
    server.limit(Resource::Fsize, Some(1));
    assert_eq!(mail(&server, &[WAKE], 0), ["250", "354", "452"], "it could not be recorded");
    server.logged("no release by mail");
    server.limit(Resource::Fsize, None);
    server.stop();
}

/// A session goes on as it began.
#[test]
fn a_wake_up_that_is_configured_away_while_it_comes_acts_all_the_same() {
    let table = hold(AWAY, "[\"info\"]");
    let holder = Place::new(&format!("{table}wakeup_address = \"{WAKE}\"\n"));
    let server = holder.serve();
    server.send("info@client.example");
    let mut talk = Talk::with(server.address);
    for line in ["EHLO a.example", "MAIL FROM:<>", &format!("RCPT TO:<{WAKE}>")] {
        assert!(talk.say(line).starts_with("250 "));
    }
    holder.configure(&hold(AWAY, "[\"info\"]").replace("client.example", "other.example"));
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    assert!(talk.say("DATA").starts_with("354 "));
    assert!(talk.say(".").starts_with("250 "));
    assert_eq!(server.logged("released")["messages"], 1);
    assert!(server.rcpt(WAKE).starts_with("550 "));
    assert_eq!(holder.queue().len(), 1, "it stays, without a table");
    server.stop();
}

#[test]
fn mail_for_the_null_account_is_discarded() {
    let holder = Place::new(&hold(AWAY, "[\"info\"]"));
    let server = holder.serve();
    let null = "null%mx2.provider.example@mx2.provider.example";
    assert_eq!(mail(&server, &["null@mx2.provider.example", null], 60_000)[..2], ["250", "250"]);
    assert_eq!(server.logged("discarded")["client"], "127.0.0.1");
    assert_eq!(mail(&server, &[null], 66_000), ["250", "354", "552"]);
    assert_eq!(mail(&server, &[null, "info@client.example"], 66_000)[3], "250");
    assert_eq!(holder.queue().len(), 1, "what somebody gets, and nothing else");
    // Two messages are used up, and the third's for whoever got it.
    for _ in 3..10 {
        assert!(server.rcpt(null).starts_with("250 "));
    }
    assert!(server.rcpt(null).starts_with("451 4.3.2 "));
    assert!(server.rcpt("info@client.example").starts_with("250 "));
    server.stop();
}

/// The old manual's way: a wake-up e-mail to `null%your.server@provider`. It releases the mail that
/// waits with the provider, goes to the server with it, and is discarded there.
#[test]
fn a_wake_up_mail_to_null_at_the_providers_goes_round() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let file = client.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("mx2.provider.example", "client.example")).expect("a file");
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    assert_eq!(holder.queue().len(), 1);
    let null = "null%client.example@mx2.provider.example";
    assert_eq!(mail(&server, &[null], 0), ["250", "354", "250"]);
    let released = server.logged("released");
    assert_eq!((&released["trigger"], &released["messages"]), (&"mail".into(), &2.into()));
    let [accepted, _] = home.logged_both(["accepted", "discarded"]);
    assert_eq!(accepted["to"], "info@client.example");
    holder.run_until(&["queue", "list"], "the queue is empty");
    assert_eq!(client.queue().len(), 1, "the wake-up itself is held nowhere");
    server.stop();
    home.stop();
}
