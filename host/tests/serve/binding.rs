//! A password that is bound to the TLS connection (SCRAM-SHA-256-PLUS, RFC 9266) is of no use to
//! whoever is in between, whatever certificate he has.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use postern::accounts::ScramClient;
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{
    ALL_VERSIONS, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use super::fetching::{caller, certificate, holder};
use super::place::{AWAY, END, Place, Talk, hold};
use super::submission::{PASSWORD, Submission};
use super::tls::{Secure, Wire, secure_by, secure_tls12};

const PLUS: &str = "SCRAM-SHA-256-PLUS";
const SCRAM: &str = "SCRAM-SHA-256";

fn client() -> ScramClient {
    ScramClient::new("ann", PASSWORD, "fyko+d2lbbFgONRv9qkxdawL".to_owned())
}

/// What `client` hears last when it authenticates by `mechanism`.
fn log_in(talk: &mut Talk, mechanism: &str, mut client: ScramClient) -> String {
    let said = talk.say(&format!("AUTH {mechanism} {}", client.first()));
    let Some(challenge) = said.strip_prefix("334 ") else { return said };
    let answer = client.answer(challenge.as_bytes()).expect("a server's first message");
    let said = talk.say(&answer);
    let Some(proof) = said.strip_prefix("334 ") else { return said };
    assert!(client.is_proof(proof.as_bytes()), "{proof}");
    talk.say("")
}

#[test]
fn a_mailer_is_let_in_over_the_connection_that_it_has_and_no_other() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let open = || {
        let mut talk = stand.at_tls();
        talk.say("EHLO mailer.example");
        talk
    };
    let mut other = open();
    let another = other.binding().expect("TLS 1.3");
    let mut talk = open();
    let own = talk.binding().expect("TLS 1.3");
    let refused = |talk: &mut Talk, mechanism, client| {
        let said = log_in(talk, mechanism, client);
        assert!(said.starts_with("535 5.7.8 "), "{said}");
        let logged = stand.server.logged("refused");
        assert_eq!(logged["word"], "auth_binding");
    };
    refused(&mut talk, PLUS, client().bound(another));
    refused(&mut talk, SCRAM, client().could_be_bound());
    let unsupported = BASE64.encode("p=tls-unique,,n=ann,r=x");
    assert!(talk.say(&format!("AUTH {PLUS} {unsupported}")).starts_with("501 5.5.2 "));
    assert!(talk.say(&format!("AUTH {SCRAM} {unsupported}")).starts_with("501 5.5.2 "));
    let said = log_in(&mut talk, PLUS, client().bound(own));
    assert!(said.starts_with("235 "), "{said}");
    assert_eq!(stand.server.logged("authenticated")["mechanism"], PLUS);
    let said = log_in(&mut other, SCRAM, client());
    assert!(said.starts_with("235 "), "one that can't: {said}");
    let mut talk = stand.after_starttls(stand.clear);
    talk.say("EHLO mailer.example");
    let own = talk.binding().expect("TLS 1.3");
    assert!(log_in(&mut talk, PLUS, client().bound(own)).starts_with("235 "));
    stand.server.stop();
}

/// rustls does not tell whether a connection has an extended master secret (RFC 9266 section 4.2).
#[test]
fn below_tls_1_3_nothing_is_bound() {
    let stand = Submission::new("", &hold(AWAY, "[\"info\"]"));
    let stream = TcpStream::connect(stand.tls).expect("the server listens");
    let mut talk =
        Talk::over(stream, |stream| Wire::Secure(Box::new(secure_tls12(&stand.place, stream))));
    talk.tell(&format!("EHLO mailer.example{END}"));
    let auth = std::iter::from_fn(|| talk.line()).find(|line| line.contains("AUTH"));
    assert_eq!(auth.as_deref(), Some("250-AUTH SCRAM-SHA-256 PLAIN LOGIN"));
    while talk.line().is_some_and(|line| !line.starts_with("250 ")) {}
    assert!(talk.say(&format!("AUTH {PLUS}")).starts_with("504 "));
    let said = log_in(&mut talk, SCRAM, client().could_be_bound());
    assert!(said.starts_with("235 "), "it was told the truth: {said}");
    stand.server.stop();
}

/// What somebody in between makes of a line.
type Forge = fn(&str) -> String;

/// Takes connections for the server at `server`, whose certificate stands in `theirs` and his own
/// in `own`, and hands on what is said, as the two have it. With his client he speaks TLS of one of
/// `versions`.
fn between(
    (theirs, own): (&Place, &Place),
    server: SocketAddr,
    forges: (Forge, Forge),
    versions: &[&'static SupportedProtocolVersion],
) -> SocketAddr {
    let chain = CertificateDer::from_pem_file(own.path("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(own.path("key.pem")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a key of the certificate");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let ca = theirs.path("cert.pem");
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let tls = ServerConnection::new(Arc::new(config.clone())).expect("a server");
            let stream_on = TcpStream::connect(server).expect("the server listens");
            let onward = BufReader::new(secure_by(&ca, "127.0.0.1", stream_on));
            let client = BufReader::new(StreamOwned::new(tls, stream));
            // It ends when one of them does.
            let _ended = hand_on(client, onward, forges);
        }
    });
    address
}

fn hand_on(
    mut client: BufReader<StreamOwned<ServerConnection, TcpStream>>,
    mut server: BufReader<Secure>,
    (of_server, of_client): (Forge, Forge),
) -> Result<()> {
    loop {
        let mut line = String::from("-");
        while !line.is_empty() && line.as_bytes().get(3) != Some(&b' ') {
            line.clear();
            server.read_line(&mut line)?;
            client.get_mut().write_all(of_server(&line).as_bytes())?;
        }
        line.clear();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        server.get_mut().write_all(of_client(&line).as_bytes())?;
    }
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

fn without_plus(line: &str) -> String {
    line.replace("SCRAM-SHA-256-PLUS ", "")
}

/// `y` made `n` in the first message.
fn cannot_bind(line: &str) -> String {
    let Some(first) = line.strip_prefix("AUTH SCRAM-SHA-256 ") else { return line.to_owned() };
    let first = BASE64.decode(first.trim_end()).expect("base64");
    assert_eq!(first.first(), Some(&b'y'));
    let first = BASE64.encode([b"n", &first[1..]].concat());
    format!("AUTH SCRAM-SHA-256 {first}{END}")
}

/// He has a certificate that the caller takes, and so hears all; the password's proof is of no use
/// to him, whatever he makes of what is said.
#[test]
fn whoever_is_in_between_does_not_get_in() {
    let [theirs, own] = [Place::new(""), Place::new("")];
    let tls = certificate(&theirs);
    certificate(&own);
    let (place, holder) = holder(&tls, "listen_tls = [\"127.0.0.1:0\"]\n");
    let health: Value = serde_json::from_str(&place.run(&["health", "--json"])).expect("JSON");
    let address = health["listening"][1].as_str().expect("one").parse().expect("an address");
    let fetched = |address, certificate: &Place| {
        let ca = certificate.path("cert.pem");
        let home = caller(address, &format!("tls = \"implicit\"\ntls_ca = {ca:?}\n"));
        let server = home.serve();
        let asked = server.logged("a holder was asked");
        server.stop();
        asked["dialogue"].as_str().expect("text").to_owned()
    };
    let said = fetched(address, &theirs);
    assert!(said.contains("AUTH SCRAM-SHA-256-PLUS: 235 "), "{said}");
    for (forges, mechanism, versions) in [
        ((as_it_is as Forge, as_it_is as Forge), PLUS, ALL_VERSIONS),
        ((without_plus, as_it_is), SCRAM, ALL_VERSIONS),
        ((without_plus, cannot_bind), SCRAM, ALL_VERSIONS),
        // Nothing can be bound there: it would be he who says so.
        ((without_plus, as_it_is), SCRAM, &[&TLS12]),
    ] {
        let said = fetched(between((&theirs, &own), address, forges, versions), &own);
        assert!(said.contains(&format!("AUTH {mechanism}: 535 5.7.8 ")), "{said}");
        assert_eq!(holder.logged("refused")["word"], "auth_binding");
    }
    holder.stop();
}
