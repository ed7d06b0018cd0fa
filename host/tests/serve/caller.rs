//! A server that is not always there: it asks its holder, and listens meanwhile.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;

use crate::place::{AWAY, Place, hold};

/// Where nobody listens just now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// A place whose server listens at `own`, when it has asked `holder`.
fn caller(own: SocketAddr, holder: SocketAddr) -> Place {
    caller_by(own, &format!("etrn = \"{holder}\"\n"))
}

/// A place whose server listens at `own`, when it has asked a holder by the keys `wakeup`.
fn caller_by(own: SocketAddr, wakeup: &str) -> Place {
    let place = Place::new("");
    let holds = hold(AWAY, "[\"info\"]") + "[[wakeup]]\n" + wakeup;
    place.configure_with("listener = \"scheduled\"\nidle = \"1s\"\n", &holds);
    let file = place.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("127.0.0.1:0", &own.to_string())).expect("a file");
    place
}

#[test]
fn its_mail_comes_when_it_asks_and_then_it_does_not_listen_any_more() {
    let own = free();
    let holder = Place::new(&hold(&own.to_string(), "[\"info\"]"));
    let held = holder.serve();
    held.send("info@client.example");
    let home = caller(own, held.address);
    let server = home.serve();
    let [asked, _] = server.logged_both(["a holder was asked", "accepted"]);
    assert_eq!(asked["outcome"], "mail comes", "{asked}");
    let status = home.run_until(&["status"], "scheduled: closed\n");
    assert!(status.contains("ETRN client.example: 253 2.0.0 "), "{status}");
    assert!(status.contains("Held      1 message(s) "), "{status}");
    let shown = home.run(&["wakeup"]);
    assert!(shown.contains("mail comes") && shown.contains("in 29m"), "{shown}");

    let asked = home.run(&["wakeup", "--now"]);
    assert!(asked.contains("nothing waits") && asked.contains("251 2.0.0 "), "{asked}");
    held.stop();
    let (code, text) = home.try_run(&["wakeup", "--now"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no answer"), "{text}");
    server.stop();
}

/// By the holder's own address for it, and by the old manual's `null%your.server@provider`, whose
/// mail comes along and is discarded.
#[test]
fn its_mail_comes_when_it_wakes_its_holder_by_email() {
    for account in ["wake@mx2.provider.example", "null%client.example@mx2.provider.example"] {
        let own = free();
        let table = hold(&own.to_string(), "[\"info\"]");
        let holder =
            Place::new(&format!("{table}wakeup_address = \"wake@mx2.provider.example\"\n"));
        let held = holder.serve();
        held.send("info@client.example");
        let keys = format!("email = \"{account}\"\nemail_host = \"{}\"\n", held.address);
        let home = caller_by(own, &keys);
        let server = home.serve();
        let [asked, accepted] = server.logged_both(["a holder was asked", "accepted"]);
        assert_eq!(asked["outcome"], "mail comes", "{asked}");
        assert_eq!(held.logged("released")["trigger"], "mail");
        assert_eq!(accepted["to"], "info@client.example");
        let status = home.run_until(&["status"], "scheduled: closed\n");
        assert!(status.contains(&format!("e-mail to {account}: 250 2.")), "{status}");
        holder.run_until(&["queue", "list"], "the queue is empty");
        assert_eq!(home.queue().len(), 1, "the wake-up itself is held nowhere");
        let asked = home.run(&["wakeup", "--now"]);
        let next = ["in 30m", "in 29m"].iter().any(|next| asked.contains(next));
        assert!(asked.contains("mail comes") && next, "{asked}");
        held.stop();
        server.stop();
    }
}

#[test]
fn an_account_that_takes_no_mail_is_an_alarm() {
    let own = free();
    let holder = Place::new(&hold(&own.to_string(), "[\"info\"]"));
    let held = holder.serve();
    let keys = "email = \"wake@elsewhere.example\"\nemail_host = ";
    let home = caller_by(own, &format!("{keys}\"{}\"\n", held.address));
    let server = home.serve();
    assert_eq!(server.logged("a holder was asked")["outcome"], "refused");
    let status = home.run_until(&["status"], "  alarm ");
    assert!(status.contains("550 5.7.1 "), "{status}");
    let (code, text) = home.try_run(&["health"]);
    assert!(code == Some(1) && text.contains("refuses what should wake it"), "{text}");
    held.stop();
    server.stop();
}

#[test]
fn what_a_holder_said_is_known_after_a_restart() {
    let own = free();
    let holder = Place::new(&hold(&own.to_string(), "[\"info\"]"));
    let held = holder.serve();
    let home = caller(own, held.address);
    let server = home.serve();
    server.logged("a holder was asked");
    home.run_until(&["wakeup"], "in 29m");
    server.stop();
    held.stop();
    let server = home.serve();
    let shown = home.run(&["wakeup"]);
    assert!(shown.contains("nothing waits") && shown.contains("in 29m"), "{shown}");
    server.stop();
}

#[test]
fn another_configuration_is_followed_without_a_restart() {
    let (own, nobody) = (free(), free());
    let home = caller(own, nobody);
    let server = home.serve();
    assert_eq!(server.logged("a holder was asked")["outcome"], "no answer");
    let file = home.path("postern.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let (rest, _) = text.split_once("[[wakeup]]").expect("it asks");
    fs::write(&file, rest.replace("scheduled", "always")).expect("a file");
    server.signal(Signal::HUP);
    server.logged("the configuration was read again");
    home.run_until(&["status"], &format!("always: open at {own}"));
    assert_eq!(home.run(&["wakeup"]), "no holder is configured\n");
    let (code, text) = home.try_run(&["wakeup", "--now"]);
    assert!(code == Some(1) && text.contains("no holder is configured"), "{text}");
    server.stop();
}

/// It would release its own queue, and wait for mail from itself.
#[test]
fn a_holder_that_is_this_host_itself_is_none() {
    let own = free();
    let home = caller(own, own);
    let server = home.serve();
    let status = home.run_until(&["status"], &format!("{own} is this host itself"));
    assert!(status.contains(": refused"), "{status}");
    server.stop();
}

/// A Maildir that is gone, such as one on a disk that is not mounted.
#[test]
fn why_mail_does_not_go_is_on_the_one_screen() {
    let home = Place::new("");
    let maildir = home.path("mail").display().to_string();
    home.configure(&hold(&format!("maildir:{maildir}"), "[\"info\"]").replace("never", "30m"));
    let server = home.serve();
    server.send("info@client.example");
    let status = home.run_until(&["status"], "\n  waits ");
    assert!(status.contains("client.example: 1 message(s), next try in "), "{status}");
    let why = format!(": opening {maildir}: No such file or directory");
    assert!(status.contains(&why), "{status}");

    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(home.path("mail").join(folder)).expect("a folder");
    }
    home.run(&["queue", "release", "client.example"]);
    let status = home.run_until(&["status"], "Held      0 message(s) ");
    assert!(!status.contains("  waits "), "{status}");
    server.stop();
}
