//! The whole server, as a process: mail in by SMTP, held, released by ETRN, and out again.

use std::fs;
use std::time::Instant;

use rustix::process::{Resource, Signal};
use serde_json::Value;

mod accounts;
mod appletalk;
mod asking;
mod atrn;
mod binding;
mod caller;
mod dovecot;
mod fetching;
mod link;
mod lists;
mod outgoing;
mod place;
mod relay;
mod short;
mod stop;
mod storms;
mod submission;
mod tls;
mod wakeups;

use place::{AWAY, END, PATIENCE, Place, Talk, hold};

#[test]
fn mail_is_held_until_etrn_releases_it_to_its_host() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    let held = holder.queue();
    assert_eq!((held.len(), &held[0]["status"]), (1, &Value::from("waiting")));
    assert!(client.queue().is_empty(), "it was delivered before it was asked for");

    let answer = client.run(&["etrn", &server.address.to_string(), "client.example"]);
    assert!(answer.starts_with("253 "), "{answer}");
    let accepted = home.logged("accepted");
    assert_eq!(accepted["to"], "info@client.example");
    let arrived = client.queue();
    assert_eq!(arrived[0]["reverse_path"], "ann@sender.example");
    server.stop();
    assert_eq!(holder.run(&["spool", "check"]), "0 message(s) held (0 B) in 1 segment(s)\n");
    home.stop();
}

#[test]
fn what_was_accepted_is_there_after_a_crash() {
    let holder = Place::new(&hold(AWAY, "\"any\""));
    let mut server = holder.serve();
    server.send("info@client.example");
    let before = holder.queue();
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    drop(server);
    let server = holder.serve();
    assert_eq!(holder.queue(), before);
    server.stop();

    let folder = holder.path("export");
    let text = holder.run(&["spool", "export", folder.to_str().expect("UTF-8")]);
    assert_eq!(text, "1 message(s) exported, 0 damaged\n");
    let id = before[0]["id"].as_str().expect("an id");
    let message = fs::read_to_string(folder.join(format!("{id}.eml"))).expect("the message");
    assert!(message.starts_with("Received: from sender.example ([127.0.0.1])"), "{message}");
    assert!(message.ends_with(&format!("Subject: hello{END}{END}Hello!{END}")), "{message}");
    let envelope = fs::read_to_string(folder.join(format!("{id}.json"))).expect("the envelope");
    let envelope: Value = serde_json::from_str(&envelope).expect("JSON");
    for key in ["id", "reverse_path", "helo", "arrival_unix_seconds"] {
        assert_eq!(envelope[key], before[0][key], "{key}");
    }
    assert_eq!(envelope["recipients"][0]["path"], "info@client.example");
    assert_eq!(envelope["size"], message.len());
}

#[test]
fn the_configuration_is_read_again_on_sighup() {
    let place = Place::new("");
    let file = place.path("recipients");
    fs::write(&file, "info\n").expect("a file");
    place.configure(&hold(AWAY, &format!("{file:?}")));
    let server = place.serve();
    assert!(server.rcpt("info@client.example").starts_with("250 "));
    assert!(server.rcpt("sales@client.example").starts_with("550 5.1.1 "));

    fs::write(&file, "sales\n").expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    assert!(server.rcpt("info@client.example").starts_with("550 5.1.1 "));
    assert!(server.rcpt("sales@client.example").starts_with("250 "));

    fs::write(&file, "not an address\n").expect("a file");
    server.signal(Signal::HUP);
    let problem = server.logged("the configuration stays as it was");
    assert!(problem["problem"].as_str().is_some_and(|text| text.contains("line 1")), "{problem}");
    assert!(server.rcpt("sales@client.example").starts_with("250 "));
    server.stop();
}

/// Of one server that greets by one name and says EHLO by another, hosts think ill.
#[test]
fn a_hostname_that_changed_is_said_in_greetings_and_in_ehlo() {
    let client = Place::new(&hold(AWAY, "\"any\""));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "\"any\""));
    let server = holder.serve();
    server.send("info@client.example");
    let file = holder.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let text = text.replace("mx2.provider.example", "mx9.provider.example");
    fs::write(&file, text).expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    assert!(Talk::with(server.address).say("HELO a.example").contains("mx9.provider.example"));
    holder.run(&["queue", "release", "client.example"]);
    home.logged("accepted");
    assert_eq!(client.queue()[0]["helo"], "mx9.provider.example");
    server.stop();
    home.stop();
}

/// LimitFSIZE of systemd is one. Where it was the end of the process, a limit was an outage.
#[test]
fn a_limit_of_the_size_of_files_refuses_mail_and_ends_nothing() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    server.send("info@client.example");
    server.limit(Resource::Fsize, Some(1));
    let text = format!("Subject: hello{END}{END}Hello!{END}.");
    let mail = ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>", "DATA", &text];
    let said = server.say(&mail);
    assert!(said[4].starts_with("452 4.3.1 "), "{said:?}");
    let health = place.command(&["health"]).output().expect("the command starts");
    assert_eq!(health.status.code(), Some(1), "it says so");
    server.limit(Resource::Fsize, None);
    let end = Instant::now() + PATIENCE;
    while server.say(&mail[..2])[1].starts_with("452 ") {
        assert!(Instant::now() < end, "it does not come back");
    }
    server.send("info@client.example");
    assert_eq!(place.queue().len(), 2);
    server.stop();
}

#[test]
fn a_second_server_leaves_the_first_alone() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let second = place.command(&["serve"]).output().expect("the command starts");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(text.contains("another process listens at"), "{text}");
    server.send("info@client.example");
    server.stop();
    assert!(!place.path("control").exists(), "the socket is removed");
}

#[test]
fn a_transaction_that_runs_ends_before_the_server_does() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let (mut busy, mut idle) = (Talk::with(server.address), Talk::with(server.address));
    for line in ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(busy.say(line).starts_with("250 "));
    }
    assert!(busy.say("DATA").starts_with("354 "));
    server.signal(Signal::TERM);
    server.logged("stopping: transactions that run may end");
    assert!(idle.hear().starts_with("421 "), "an idle session is told to go");
    let health = place.command(&["health"]).output().expect("the command starts");
    assert_eq!(health.status.code(), Some(1), "a server that stops is not healthy");
    assert!(busy.say(&format!("Subject: hello{END}{END}.")).starts_with("250 "));
    server.ended();
    let server = place.serve();
    assert_eq!(place.queue().len(), 1);
    server.stop();
}

#[test]
fn what_was_refused_is_kept_until_it_is_tried_again_by_hand() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"sales\"]"));
    let server = holder.serve();
    server.send("sales@client.example");
    holder.run(&["queue", "release", "client.example"]);
    let kept = holder.run_until(&["queue", "list", "--state", "kept"], " kept ");
    assert!(kept.contains("550 5.1.1"), "{kept}");

    client.configure(&hold(AWAY, "[\"info\", \"sales\"]"));
    home.signal(Signal::HUP);
    home.logged("the configuration was read again");
    let retried = holder.run(&["queue", "retry", "client.example"]);
    assert_eq!(retried, "1 message(s) of 1 domain(s) to be tried again\n");
    assert_eq!(home.logged("accepted")["to"], "sales@client.example");
    server.stop();
    home.stop();
}

/// A domain whose mail goes only when it is asked for is asked for by that.
#[test]
fn a_message_that_a_person_wants_to_go_goes() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    let waits = holder.queue();
    let id = waits[0]["id"].as_str().expect("an id");
    let retried = holder.run(&["queue", "retry", id]);
    assert_eq!(retried, "1 message(s) of 1 domain(s) to be tried again\n");
    home.logged("accepted");
    server.stop();
    home.stop();
}

#[test]
fn what_is_held_back_stays_when_it_is_asked_for() {
    let client = Place::new(&hold(AWAY, "\"any\""));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    holder.run(&["queue", "hold", "client.example"]);
    let released = holder.run(&["queue", "release", "client.example"]);
    assert!(released.contains("it is held back"), "{released}");
    let said = server.say(&["EHLO client.example", "ETRN client.example"]);
    assert!(said[1].starts_with("458 "), "{said:?}");
    assert_eq!(holder.queue()[0]["status"], "held");
    holder.run(&["queue", "unhold", "client.example"]);
    holder.run(&["queue", "release", "client.example"]);
    home.logged("accepted");
    server.stop();
    home.stop();
}
