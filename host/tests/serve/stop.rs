//! A server ends in bounded time, whoever holds on to it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::place::{AWAY, END, PATIENCE, Place, Server, Talk, hold};
use crate::tls::secure;

/// A control client that has said half of its request, or was sent away before.
pub fn half_a_request(place: &Place) -> UnixStream {
    let mut client = UnixStream::connect(place.path("control")).expect("the server listens");
    let _sent_away = client.write_all(b"GET /hea");
    client
}

/// A session in the middle of a message.
fn half_a_message(server: &Server) -> Talk {
    let mut talk = Talk::with(server.address);
    for line in ["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>"] {
        assert!(talk.say(line).starts_with("250 "));
    }
    assert!(talk.say("DATA").starts_with("354 "));
    talk
}

#[test]
fn control_clients_do_not_delay_the_end() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let _clients = [half_a_request(&place), half_a_request(&place)];
    server.stop();
    assert!(!place.path("control").exists(), "the socket is removed");
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let place = Place::new(&hold(AWAY, "\"any\""));
    let server = place.serve();
    let (_request, _message) = (half_a_request(&place), half_a_message(&server));
    server.signal(Signal::TERM);
    server.logged("stopping: transactions that run may end");
    server.signal(Signal::INT);
    server.logged("stopping at once");
    server.ended();
    let server = place.serve();
    assert!(place.queue().is_empty(), "half a message was never answered with 250");
    server.stop();
}

#[test]
fn pipes_for_files_delay_nothing() {
    let place = Place::new(&hold(AWAY, "[\"info\"]"));
    let server = place.serve();
    let (file, pipe) = (place.path("postern.toml"), place.path("pipe"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    for key in ["certificate", "key"] {
        let tls = format!("tls = {{ certificate = {file:?}, key = {file:?} }}\n");
        let tls = tls.replace(&format!("{key} = {file:?}"), &format!("{key} = {pipe:?}"));
        place.configure_with(&tls, &hold(AWAY, "[\"info\"]"));
        server.signal(Signal::HUP);
        server.logged("the configuration stays as it was");
    }
    fs::rename(&pipe, &file).expect("the files");
    server.signal(Signal::HUP);
    server.logged("the configuration stays as it was");
    assert!(server.rcpt("info@client.example").starts_with("250 "));
    server.stop();
}

/// What a log can be written to that takes nothing: a reader that stands still, and a file that
/// must not block; a reader that has gone; a full disk.
fn bad_outputs() -> [OwnedFd; 4] {
    let full = |blocking: bool| {
        let (mut output, unread) = UnixStream::pair().expect("sockets");
        output.set_nonblocking(true).expect("a socket");
        while output.write(&[b'x'; 1024]).is_ok() {}
        output.set_nonblocking(!blocking).expect("a socket");
        // Open until the test's process ends.
        std::mem::forget(unread);
        OwnedFd::from(output)
    };
    let (gone, _) = UnixStream::pair().expect("sockets");
    let disk = File::options().write(true).open("/dev/full").expect("Linux has it");
    [full(true), full(false), gone.into(), disk.into()]
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing_and_delays_nothing() {
    for output in bad_outputs() {
        let place = Place::new(&hold(AWAY, "[\"info\"]"));
        let server = place.serve_logging_to(output);
        server.send("info@client.example");
        assert_eq!(place.queue().len(), 1);
        server.signal(Signal::TERM);
        assert!(server.wait().success());
    }
}

/// Writes commands and reads no reply, until the server has enough of it.
fn never_read(stream: &mut impl Write) -> ErrorKind {
    let lines = format!("EHLO a.example{END}").repeat(500);
    loop {
        if let Err(error) = stream.write_all(lines.as_bytes()) {
            return error.kind();
        }
    }
}

#[test]
fn a_client_that_never_reads_loses_its_channel() {
    let place = Place::new("");
    // Longer than a busy machine takes for a handshake.
    place.configure_with("idle_timeout = \"5s\"\ntls = \"self-signed\"\n", "");
    let server = place.serve();
    let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    let connect = || {
        let stream = TcpStream::connect(server.address).expect("the server listens");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time");
        stream
    };
    let in_clear = never_read(&mut connect());
    assert!(reset.contains(&in_clear), "{in_clear}");

    let mut talk = Talk::with(server.address);
    assert!(talk.say("EHLO a.example").starts_with("250 "));
    assert!(talk.say("STARTTLS").starts_with("220 "));
    let under_tls = never_read(&mut secure(&place, talk.into_stream()));
    assert!(reset.contains(&under_tls), "{under_tls}");
    server.stop();
}
