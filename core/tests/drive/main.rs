//! The loop: when it lends, when it waits, and how it ends.
#![cfg(feature = "drive")]

#[cfg(feature = "appletalk")]
mod appletalk;
mod rig;
mod waits;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embedded_io_async::ErrorKind;
use postern_core::drive::{Broken, Exit, Handler, Wake};
use postern_core::session::{AuthVerdict, Config, EtrnVerdict, Greeting, Verdict, Why};
use postern_core::wire::command::{Command, parse};
use postern_core::wire::ehlo::{Extension, Extensions};
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;
use rig::{CONFIG, Ends, Rig, Script, codes, run, script, text};

const DATA: &[u8] = b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";

#[test]
fn a_message_goes_through_in_pieces() {
    let pieces: [&[u8]; 5] = [
        b"HELO c.example\r\nMAIL FR",
        b"OM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n",
        b"one\r",
        b"\n.",
        b"\r\nQUIT\r\n",
    ];
    let (ended, rig, link) = run(CONFIG, script(&pieces));
    assert_eq!(ended, Ok(Exit::Closed));
    assert_eq!(codes(&link.said), ["220", "250", "250", "250", "354", "250", "221"]);
    assert_eq!(rig.keeper.messages, [b"one\r\n"]);
    assert_eq!(rig.log(), ["open", "commit"]);
    assert!(rig.lender.given_back >= 4, "an idle session has no buffers");
    assert!(rig.lender.lent.is_none() && link.flushed >= 4 && link.closed == 1);
}

/// It is greeted first all the same, and nothing of it is lost (RFC 2645 §5.3).
#[test]
fn what_a_client_said_before_the_roles_turned_is_heard() {
    const SAID: &[u8] =
        b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\none\r\n.\r\nQUIT\r\n";
    for early in 0..=SAID.len() {
        let (before, rest) = SAID.split_at(early);
        let mut rig = Rig::new(CONFIG);
        let (input, output) = rig.lender.sizes;
        let mut input = vec![0; input];
        input[..early].copy_from_slice(before);
        (rig.unread, rig.lender.lent) = (early, Some((input, vec![0; output])));
        let mut link = script(&[rest]);
        assert_eq!(rig.serve(&mut link), Ok(Exit::Closed));
        assert_eq!(codes(&link.said), ["220", "250", "250", "250", "354", "250", "221"]);
        assert_eq!(rig.keeper.messages, [b"one\r\n"]);
        assert_eq!(rig.keeper.log.last().map(String::as_str), Some("quit"));
    }
}

#[test]
fn a_message_comes_by_bdat() {
    let pieces: [&[u8]; 2] = [
        b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 3\r\none",
        b"BDAT 4 LAST\r\ntwo\nBDAT 1",
    ];
    let (_, rig, link) = run(CONFIG, script(&pieces));
    assert_eq!(codes(&link.said), ["220", "250", "250", "250", "250", "554"]);
    assert_eq!(rig.log(), ["open", "discard BareLineEnd"]);
}

#[test]
fn a_hang_up_in_a_message_discards_it() {
    for ends in [Ends::HangsUp, Ends::Fails] {
        let (ended, rig, link) = run(CONFIG, Script { ends, ..script(&[DATA, b"half"]) });
        assert_eq!(rig.log(), ["open", "discard HangUp"]);
        let hung_up = ends == Ends::HangsUp;
        let broken = Broken::Link(ErrorKind::ConnectionReset);
        assert_eq!(ended, if hung_up { Ok(Exit::Closed) } else { Err(broken) });
        assert_eq!(link.closed, usize::from(hung_up));
        assert!(rig.lender.lent.is_none() && rig.keeper.messages.is_empty());
    }
}

/// A carrier can't be told twice, nor behind a commit.
#[test]
fn what_fails_is_discarded_once() {
    let cases: [(Option<&'static str>, &'static [u8], &[&str]); 6] = [
        (None, b"bare\nlf", &["open", "discard BareLineEnd"]),
        (None, b"bare\nlf\r\n.\r\n", &["open", "discard BareLineEnd"]),
        (Some("open"), b"NOOP\r\n", &["open", "discard Refused"]),
        (Some("chunk"), b"x\r\n", &["open", "discard Refused"]),
        (Some("chunk"), b"x\r\n.\r\nNOOP\r\n", &["open", "discard Refused"]),
        (Some("commit"), b"x\r\n.\r\n", &["open", "commit"]),
    ];
    for (full, piece, log) in cases {
        let mut rig = Rig::new(CONFIG);
        rig.keeper.full = full;
        let ended = rig.serve(&mut script(&[DATA, piece]));
        assert_eq!((ended, rig.log()), (Ok(Exit::Closed), log.to_vec()), "{full:?}");
    }
}

#[test]
fn a_handler_that_fails_in_a_body_refuses_at_its_end() {
    let mut rig = Rig::new(CONFIG);
    rig.keeper.full = Some("chunk");
    let mut link = script(&[DATA, b"x", b"y\r\n.\r\nNOOP\r\n"]);
    assert_eq!(rig.serve(&mut link), Ok(Exit::Closed));
    assert_eq!(codes(&link.said), ["220", "250", "250", "250", "354", "452", "250"]);
    assert_eq!(rig.keeper.body, b"x", "the rest was dropped");
}

#[test]
fn tls_takes_the_session_out_of_the_loop_and_back() {
    let mut rig = Rig::new(CONFIG);
    let mut link = script(&[b"EHLO c\r\nSTARTTLS\r\n"]);
    assert_eq!(rig.serve(&mut link), Ok(Exit::Tls));
    assert_eq!((codes(&link.said), link.closed), (vec!["220", "250", "220"], 0));
    rig.session.tls_started();
    let mut link = script(&[b"NOOP\r\nEHLO c\r\nSTARTTLS\r\nQUIT\r\n"]);
    assert_eq!(rig.serve(&mut link), Ok(Exit::Closed));
    assert_eq!(codes(&link.said), ["250", "250", "503", "221"], "and no second greeting");
    assert!(rig.lender.lent.is_none());
}

#[test]
fn plaintext_behind_starttls_ends_the_session() {
    let (ended, ..) = run(CONFIG, script(&[b"EHLO c\r\nSTARTTLS\r\nNOOP\r\n"]));
    assert_eq!(ended, Ok(Exit::Closed));
}

#[test]
fn atrn_turns_the_connection_round_with_what_is_unread() {
    let config = CONFIG.with(Extension::Atrn).with_auth(text("PLAIN"));
    let lines = b"EHLO c\r\nAUTH PLAIN\r\nAAAA\r\nATRN a.example,b.example\r\n220 hello";
    let (ended, rig, link) = run(config, script(&[lines]));
    assert_eq!(ended, Ok(Exit::Turn { unread: 9 }));
    assert_eq!(codes(&link.said), ["220", "250", "334", "235", "250"]);
    assert_eq!(rig.log(), ["auth PLAIN", "line AAAA", "atrn 2"]);
    let (input, _) = rig.lender.lent.expect("the buffers are still lent");
    assert_eq!(&input[..9], b"220 hello");
    assert_eq!(link.closed, 0);
}

#[test]
fn etrn_and_xclient_are_asked() {
    let config = CONFIG.with(Extension::Etrn).with(Extension::Xclient);
    let lines = b"ETRN @a.example\r\nXCLIENT ADDR=192.0.2.1 NAME=a\r\nQUIT\r\n";
    let (_, rig, link) = run(config, script(&[lines]));
    assert_eq!(codes(&link.said), ["220", "253", "220", "221"]);
    assert_eq!(rig.log(), ["etrn a.example", "xclient 2"]);
}

#[test]
fn a_shut_down_is_heard_while_the_client_is_silent_or_does_not_read() {
    for (pieces, said) in [(&[][..], ["220", "421"]), (&[&b"NOOP\r\n"[..]], ["220", "421"])] {
        let mut rig = Rig::new(CONFIG);
        rig.wishes = vec![Wake::ShutDown];
        let mut link = Script { ends: Ends::Silent, ..script(pieces) };
        link.takes = if pieces.is_empty() { rig::Takes::All } else { rig::Takes::Later };
        assert_eq!(rig.serve(&mut link), Ok(Exit::Closed));
        assert_eq!(codes(&link.said), said);
    }
}

#[test]
fn a_carrier_in_a_hurry_shortens_the_wait() {
    let mut rig = Rig::new(CONFIG);
    rig.wishes = vec![Wake::Hurry(Duration::from_secs(7))];
    let mut link = Script { ends: Ends::Silent, ..script(&[]) };
    assert_eq!(rig.serve(&mut link), Ok(Exit::Closed));
    assert_eq!((codes(&link.said), link.time.get()), (vec!["220", "421"], 7_000));
}

#[test]
fn buffers_that_are_too_small_are_a_misuse() {
    let least = (CONFIG.min_input(), CONFIG.min_out());
    for sizes in [(least.0, least.1 - 1), (0, least.1), (10, least.1)] {
        let mut rig = Rig::new(CONFIG);
        rig.lender.sizes = sizes;
        let ended = rig.serve(&mut script(&[b"EHLO client.example\r\nNOOP\r\n"]));
        assert_eq!(ended, Err(Broken::Misuse), "{sizes:?}");
        assert!(rig.lender.lent.is_none());
    }
}

/// The greeting of the longest name is longer than any other reply.
#[test]
fn the_least_buffers_do_for_the_longest_name() {
    const NAME: [u8; 255] = [b'x'; 255];
    let hostname = postern_core::wire::Text::new(&NAME).expect("printable");
    let config = Config { hostname, extensions: Extensions::NONE, ..CONFIG };
    let (ended, _, link) = run(config, script(&[b"EHLO c\r\nHELO c\r\nQUIT\r\n"]));
    assert_eq!((ended, codes(&link.said)), (Ok(Exit::Closed), vec!["220", "250", "250", "221"]));
}

/// Has none of the extensions.
struct Bare;

impl Handler for Bare {
    async fn connect(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn hello(&mut self, _: &[u8], _: Greeting) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn mail(&mut self, _: ReversePath<'_>, _: MailParams<'_>) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn rcpt(&mut self, _: ForwardPath<'_>, _: RcptParams<'_>) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn open(&mut self) -> Verdict<'_> {
        Verdict::Accept
    }

    async fn chunk(&mut self, _: &[u8]) -> Result<(), Reason> {
        Ok(())
    }

    async fn commit(&mut self, _: u64) -> Verdict<'_> {
        Verdict::Accept
    }

    fn discard(&mut self, _: Why) {}
}

/// What waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_handler_refuses_what_it_does_not_know() {
    let no = |reason| Verdict::Refuse(reason, None);
    let node = Node::parse(b"a.example").expect("a node");
    assert_eq!(at_once(Bare.etrn(node)), EtrnVerdict::Unable);
    let domains = Domains::parse(b"").expect("all domains");
    assert_eq!(at_once(Bare.atrn(domains)), no(Reason::NotOffered));
    assert_eq!(at_once(Bare.start_tls()), no(Reason::NoTls));
    let auth = |reason| AuthVerdict::Refuse(reason, None);
    assert_eq!(at_once(Bare.auth(b"PLAIN", None)), auth(Reason::NotOffered));
    assert_eq!(at_once(Bare.auth_line(b"AAAA")), auth(Reason::BadCredentials));
    let Ok(Command::Xclient(attributes)) = parse(b"XCLIENT NAME=a") else { panic!("XCLIENT") };
    assert_eq!(at_once(Bare.xclient(attributes)), no(Reason::NotOffered));
}
