//! Submitted mail waits for the link and its schedule, as holders do that are asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use serde_json::Value;

use super::atrn::talk_from;
use super::link::{DOWN, Linked, STATUS, UP};
use super::place::{END, Place, Server};

/// No window ever opens.
const NEVER: &str = "schedule = []\ntime_zone = \"Etc/UTC\"\n";

/// A home whose relay is another server, reached by a link that is raised for it.
struct Home {
    link: Linked,
    server: Server,
    smarthost: Place,
    provider: Server,
}

impl Home {
    fn new(keys: &str, relay: &str) -> Self {
        Self::with([UP, DOWN, STATUS], keys, relay)
    }

    fn with(scripts: [&str; 3], keys: &str, relay: &str) -> Self {
        let hold = |name: &str| {
            format!(
                "[hold.\"{name}\"]\nrecipients = \"any\"\ndeliver_to = \"127.0.0.1:1\"\n\
                 retry_every = \"never\"\n"
            )
        };
        let smarthost = Place::new(&[hold("far.example"), hold("other.example")].concat());
        let provider = smarthost.serve();
        let link = Linked(Place::new(""));
        configure(&link, scripts, provider.address, (keys, relay));
        let server = link.0.serve();
        Self { link, server, smarthost, provider }
    }

    fn submit(&self, from: &str, to: &str) {
        submit(&self.server, from, to);
    }

    /// The recipients that wait here.
    fn waiting(&self) -> Vec<(String, Value)> {
        let path = |held: &Value| held["recipients"][0]["path"].as_str().expect("one").to_owned();
        let attempts = |held: &Value| held["recipients"][0]["attempts"].clone();
        self.link.0.queue().iter().map(|held| (path(held), attempts(held))).collect()
    }

    fn status(&self, text: &str) -> String {
        self.link.0.run_until(&["status"], text)
    }

    fn stop(self) {
        self.server.stop();
        self.provider.stop();
    }
}

/// Submits a message; it is held.
fn submit(server: &Server, from: &str, to: &str) {
    let mut talk = talk_from([127, 0, 0, 2], server.address);
    let text = format!("Subject: hi{END}{END}hi{END}.");
    let (mail, rcpt) = (format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"));
    for line in ["EHLO mailer.example", &mail, &rcpt, "DATA", &text, "QUIT"] {
        let said = talk.say(line);
        assert!(said.starts_with(['2', '3']), "{line}: {said}");
    }
}

fn configure(link: &Linked, scripts: [&str; 3], provider: SocketAddr, keys: (&str, &str)) {
    let (keys, relay) = keys;
    let relay = format!(
        "[relay]\nsmarthost = \"{provider}\"\ntls = \"none\"\n{relay}\n\
         [submission]\ntrusted = [\"127.0.0.2\"]\ni_know = true\n"
    );
    link.configure_as("", scripts, keys, &relay);
}

#[test]
fn mail_raises_the_link_and_lowers_it_once_it_has_gone() {
    let home = Home::new("", "");
    home.submit("ann@client.example", "bob@far.example");
    assert_eq!(home.provider.logged("accepted")["to"], "bob@far.example");
    home.link.called("up down");
    assert_eq!(home.waiting(), []);
    home.status(" ago: 250 2.0.0 Held as ");
    home.stop();
}

/// Nothing of it counts as a try, and a person does not wait; what others wait for stays.
#[test]
fn outside_of_its_windows_only_a_person_has_it_raised() {
    let home = Home::new(NEVER, "");
    home.submit("ann@client.example", "bob@far.example");
    home.submit("ann@client.example", "cid@other.example");
    let shown = home.status("mail for 2 domain(s), when the window opens");
    assert!(shown.contains("2 message(s) for 2 domain(s), the oldest for "), "{shown}");
    home.link.0.run(&["queue", "release", "far.example"]);
    assert_eq!(home.provider.logged("accepted")["to"], "bob@far.example");
    home.link.called("up down");
    home.status("mail for 1 domain(s), when the window opens");
    assert_eq!(home.waiting(), [("cid@other.example".to_owned(), 0.into())]);
    home.link.0.run(&["queue", "release", "--all"]);
    assert_eq!(home.provider.logged("accepted")["to"], "cid@other.example");
    home.link.called("up down up down");
    home.stop();
}

#[test]
fn urgent_senders_do_not_wait_nor_do_they_take_others_along() {
    let home = Home::new(NEVER, "urgent = [\"alarm@client.example\"]");
    home.submit("ann@client.example", "bob@far.example");
    home.status("mail for 1 domain(s), when the window opens");
    home.submit("alarm@client.example", "cid@other.example");
    assert_eq!(home.provider.logged("accepted")["to"], "cid@other.example");
    home.link.called("up down");
    assert_eq!(home.waiting(), [("bob@far.example".to_owned(), 0.into())]);
    home.stop();
}

/// It may be urgent by a configuration that comes later.
#[test]
fn what_waits_is_urgent_once_its_sender_is() {
    let home = Home::new(NEVER, "");
    home.submit("ann@client.example", "bob@far.example");
    home.submit("eve@client.example", "bob@other.example");
    home.status("mail for 2 domain(s), when the window opens");
    let settings = (NEVER, "urgent = [\"eve@client.example\"]");
    configure(&home.link, [UP, DOWN, STATUS], home.provider.address, settings);
    home.server.signal(rustix::process::Signal::HUP);
    assert_eq!(home.provider.logged("accepted")["to"], "bob@other.example");
    home.link.called("up down");
    assert_eq!(home.waiting(), [("bob@far.example".to_owned(), 0.into())]);
    home.stop();
}

#[test]
fn mail_is_collected_before_the_link_is_raised_and_goes_if_it_is_up() {
    let home = Home::new("collect = \"1h\"\n", "");
    home.submit("ann@client.example", "bob@far.example");
    home.status("mail for 1 domain(s), for more, ");
    assert_eq!(home.link.calls(), "");
    home.link.0.run(&["link", "up"]);
    assert_eq!(home.provider.logged("accepted")["to"], "bob@far.example");
    home.link.called("up down");
    home.submit("ann@client.example", "cid@far.example");
    home.status("mail for 1 domain(s), for more, ");
    configure(&home.link, [UP, DOWN, STATUS], home.provider.address, ("", ""));
    home.server.signal(rustix::process::Signal::HUP);
    assert_eq!(home.provider.logged("accepted")["to"], "cid@far.example");
    home.link.called("up down up down");
    home.stop();
}

/// What came meanwhile went over it, and was cut off.
#[test]
fn a_link_that_is_being_lowered_takes_no_mail() {
    let waits =
        "mkfifo gate; echo lowering >> calls; read go < gate; rm -f link; echo down >> calls";
    let home = Home::with([UP, waits, STATUS], "collect = \"1h\"\n", "");
    home.link.0.run(&["link", "up"]);
    home.link.called("up lowering");
    home.submit("ann@client.example", "bob@far.example");
    home.status("mail for 1 domain(s), for more, ");
    std::fs::write(home.link.0.path("gate"), "\n").expect("it is read");
    home.link.called("up lowering down");
    home.status("mail for 1 domain(s), for more, ");
    assert_eq!(home.waiting(), [("bob@far.example".to_owned(), 0.into())]);
    home.stop();
}

/// It is no fault of the mail, however old that is.
#[test]
fn a_link_that_does_not_come_up_is_no_try() {
    let dead = "echo up >> calls; exit 1";
    let home = Home::with([dead, DOWN, STATUS], "", "expire_after = \"1s\"");
    home.submit("ann@client.example", "bob@far.example");
    home.link.called("up down");
    home.status("mail for 1 domain(s), when the link is raised");
    home.link.0.run(&["queue", "release", "far.example"]);
    home.link.called("up down up down");
    home.server.logged("urgent mail waits: the link was not raised");
    home.status("mail for 1 domain(s), when the link is raised");
    assert_eq!(home.waiting(), [("bob@far.example".to_owned(), 0.into())]);
    let held = home.link.0.queue();
    assert_eq!((held[0]["status"].as_str(), held.len()), (Some("waiting"), 1));
    assert_eq!(home.smarthost.queue().len(), 0);
    home.stop();
}

/// Takes one message, as any host does.
fn take(provider: &TcpListener) -> String {
    let (mut stream, _) = provider.accept().expect("it is called");
    let mut heard = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut said, mut rcpt) = ("220 hi", String::new());
    loop {
        stream.write_all(format!("{said}{END}").as_bytes()).expect("it listens");
        let mut line = String::new();
        heard.read_line(&mut line).expect("it says something");
        said = match line.trim_end() {
            "DATA" => {
                stream.write_all(format!("354 go{END}").as_bytes()).expect("it listens");
                while line != format!(".{END}") {
                    line.clear();
                    heard.read_line(&mut line).expect("it goes on");
                }
                "250 taken"
            }
            "QUIT" => return rcpt,
            other => {
                if let Some(path) = other.strip_prefix("RCPT TO:") {
                    path.clone_into(&mut rcpt);
                }
                "250 ok"
            }
        };
    }
}

/// A link is up some seconds before what it leads to can be reached: it stays up, and nothing is
/// put off.
#[test]
fn a_smarthost_that_is_not_reached_at_once_is_tried_again_soon() {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = getsockname(&socket).expect("it is bound").try_into().expect("an address");
    let link = Linked(Place::new(""));
    configure(&link, [UP, DOWN, STATUS], address, ("", ""));
    let server = link.0.serve();
    submit(&server, "ann@client.example", "bob@far.example");
    for _ in 0..2 {
        server.logged("no delivery yet: it asked");
    }
    assert_eq!(link.calls(), "up");
    listen(&socket, 5).expect("nobody else has the port");
    assert_eq!(take(&TcpListener::from(socket)), "<bob@far.example>");
    link.called("up down");
    server.stop();
}

/// What its end did to a connection is no fault of the smarthost, and no try of the mail.
#[test]
fn a_link_that_goes_while_the_smarthost_is_called_is_no_try() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let link = Linked(Place::new(""));
    configure(&link, [UP, DOWN, STATUS], address, ("", ""));
    let server = link.0.serve();
    submit(&server, "ann@client.example", "bob@far.example");
    let (stream, _) = listener.accept().expect("it is called");
    link.0.run(&["link", "down"]);
    drop(stream);
    server.logged("no delivery: the link has gone");
    assert_eq!(take(&listener), "<bob@far.example>");
    link.called("up down up down");
    server.stop();
}
