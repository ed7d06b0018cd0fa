//! `postern etrn` against a holder that follows a script.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::thread;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

const END: &str = "\r\n";

/// Lines of the holder and what it must be told after them; then it hangs up.
type Script = &'static [(&'static [&'static str], &'static str)];

/// The command's exit code and both its outputs when the holder follows `script`.
fn ask(script: Script, arguments: &[&str]) -> (i32, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let holder = listener.local_addr().expect("an address").to_string();
    let play = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the command connects");
        let mut heard = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        for (said, expected) in script {
            let text: String = said.iter().map(|line| format!("{line}{END}")).collect();
            stream.write_all(text.as_bytes()).expect("the command listens");
            if !expected.is_empty() {
                assert_eq!(heard.next().expect("a line").expect("text"), *expected);
            }
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["etrn", "--hostname", "home.client.example", &holder])
        .args(arguments)
        .output()
        .expect("the command starts");
    play.join().expect("the script is followed");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.code().expect("an exit code"), text.replace(&holder, "HOLDER"))
}

#[test]
fn the_holders_answer_is_shown() {
    let script: Script = &[
        (&["220 mx2.provider.example ESMTP"], "EHLO home.client.example"),
        (&["250-mx2.provider.example", "250 ETRN"], "ETRN @client.example"),
        (&["253 2.0.0 3 pending messages for @client.example started"], "QUIT"),
        (&["221 2.0.0 bye"], ""),
    ];
    let text = "253 2.0.0 3 pending messages for @client.example started\n";
    assert_eq!(ask(script, &["@client.example"]), (0, text.to_owned()));
    let json = "{\"code\":253,\"text\":\"2.0.0 3 pending messages for @client.example started\"}\n";
    assert_eq!(ask(script, &["@client.example", "--json"]), (0, json.to_owned()));
}

#[test]
fn a_refusal_is_a_problem_even_when_the_holder_hangs_up_on_it() {
    let script: Script = &[
        (&["220 mx2.provider.example ESMTP"], "EHLO home.client.example"),
        (&["250-mx2.provider.example", "250 ETRN"], "ETRN client.example"),
        (&["459 4.7.1 Node client.example not allowed"], "QUIT"),
    ];
    let expected = (1, "459 4.7.1 Node client.example not allowed\n".to_owned());
    assert_eq!(ask(script, &["client.example"]), expected);
}

#[test]
fn a_holder_without_etrn_is_named() {
    let script: Script = &[
        (&["220 mx2.provider.example ESMTP"], "EHLO home.client.example"),
        (&["250 mx2.provider.example"], ""),
    ];
    let expected = (1, "postern: HOLDER: the peer does not offer ETRN\n".to_owned());
    assert_eq!(ask(script, &["client.example"]), expected);
}

#[test]
fn a_holder_that_hangs_up_or_will_not_serve_is_named() {
    let busy: Script = &[(&["421 4.3.2 too many sessions"], "")];
    let expected = "postern: HOLDER: 421 4.3.2 too many sessions\n";
    assert_eq!(ask(busy, &["client.example"]), (1, expected.to_owned()));
    let silent: Script = &[(&[], "")];
    let expected = "postern: HOLDER: it hung up; we waited for its greeting\n";
    assert_eq!(ask(silent, &["client.example"]), (1, expected.to_owned()));
}

#[test]
fn wrong_usage_and_an_absent_holder_are_told_apart() {
    let run = |host: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        let output = command.args(["etrn", host, "client.example"]).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (code, text) = run("lmtp://127.0.0.1:25");
    assert_eq!(code, Some(2));
    assert!(text.contains("LMTP has no ETRN"), "{text}");
    // Bound, and not listening: nobody else gets the port meanwhile.
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let place = SocketAddr::try_from(getsockname(&socket).expect("it is bound"));
    let place = place.expect("an address of IP").to_string();
    let (code, text) = run(&place);
    assert_eq!(code, Some(1));
    let why = format!("postern: {place}: connecting to {place}: ");
    assert!(text.starts_with(&why), "{text}");
}
