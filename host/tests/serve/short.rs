//! A server that is short of something the system limits, and what comes back by itself.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use rustix::process::{Resource, Signal};

use crate::place::{AWAY, END, PATIENCE, Place, Talk, hold};
use crate::stop::half_a_request;

/// What a new client is greeted with.
fn greeting(server: SocketAddr) -> (TcpStream, String) {
    let stream = TcpStream::connect(server).expect("the system takes the connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut line = String::new();
    let _reset = BufReader::new(&stream).read_line(&mut line);
    (stream, line)
}

/// Whoever connects and connects takes no descriptors of the control socket's, nor of the spool's.
#[test]
fn clients_leave_descriptors_to_those_that_must_go_on() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let mut talk = Talk::with(server.address);
    server.limit(Resource::Nofile, Some(server.descriptors() + 40));
    let clients: Vec<_> = (0..60).map(|_| greeting(server.address)).collect();
    let served = clients.iter().filter(|(_, line)| line.starts_with("220 ")).count();
    assert!((5..20).contains(&served), "{served} are served");
    let last = &clients.last().expect("there are 60").1;
    assert!(last.starts_with("421 "), "{last}");
    place.run(&["health"]);
    let logged = server.logged("no connection could be accepted");
    assert_eq!(logged["error"], "descriptors run short");

    // Nor do those that ask and ask.
    let asking: Vec<_> = (0..40).map(|_| half_a_request(&place)).collect();
    for line in ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(talk.say(line).starts_with("250 "));
    }
    assert!(talk.say("DATA").starts_with("354 "));
    let large = format!("Subject: large{END}{END}{}.", format!("text{END}").repeat(100_000));
    assert!(talk.say(&large).starts_with("250 "));
    drop((clients, asking));
    // Their sessions end one by one.
    let end = Instant::now() + PATIENCE;
    while !greeting(server.address).1.starts_with("220 ") {
        assert!(Instant::now() < end, "nobody is served again");
    }
    assert_eq!(place.queue().len(), 1);
    server.stop();
}

/// It is not the host's fault, and is not charged to it.
#[test]
fn a_delivery_that_finds_no_descriptor_goes_as_soon_as_there_is_one() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = Place::new(&hold(&home.address.to_string(), "[\"info\"]"));
    let server = holder.serve();
    server.send("info@client.example");
    server.limit(Resource::Nofile, Some(server.descriptors() + 12));
    holder.run(&["queue", "release", "client.example"]);
    server.logged("no delivery: tried again soon");
    server.limit(Resource::Nofile, None);
    home.logged("accepted");
    server.stop();
    home.stop();
}

/// Neither for the look-up nor for the connection is one of the last descriptors used.
#[test]
fn a_delivery_counts_the_descriptors_before_it_needs_one() {
    let home = TcpListener::bind("127.0.0.1:0").expect("a free port");
    home.set_nonblocking(true).expect("a listener");
    let address = home.local_addr().expect("it is bound").to_string();
    for host in [&address[..], "no-such-host.invalid:25"] {
        let place = Place::new(&hold(host, "\"any\""));
        let server = place.serve();
        server.send("info@client.example");
        server.limit(Resource::Nofile, Some(server.descriptors() + 12));
        place.run(&["queue", "release", "client.example"]);
        server.logged("no delivery: tried again soon");
        server.stop();
    }
    let error = home.accept().expect_err("it was not connected to");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn signals_that_mean_nothing_here_end_nothing() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let signals = [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::XFSZ,
        Signal::PIPE,
    ];
    for signal in signals {
        server.signal(signal);
    }
    server.send("info@client.example");
    server.stop();
}

/// Where LimitCPU of systemd is used up, its signal comes again with each second that is used.
#[test]
fn a_limit_of_the_processors_time_is_a_stop_that_it_does_not_cut_short() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let mut talk = Talk::with(server.address);
    for line in ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(talk.say(line).starts_with("250 "));
    }
    assert!(talk.say("DATA").starts_with("354 "));
    server.signal(Signal::XCPU);
    server.logged("stopping: transactions that run may end");
    server.signal(Signal::XCPU);
    // The control API is served by what would be cut off: it has seen the signal.
    let health = place.command(&["health"]).output().expect("the command starts");
    assert_eq!(health.status.code(), Some(1));
    assert!(talk.say(&format!("Subject: hello{END}{END}.")).starts_with("250 "));
    server.ended();
}
