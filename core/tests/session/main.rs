//! What a session promises its caller: tokens, time, faults and TLS.

mod limits;
mod peer;
mod time;
mod transaction;

use peer::{CONFIG, DATA, Peer, answer, at, text};
use postern_core::session::{
    Ask, Config, Event, Expired, Need, Next, Session, Step, Transport, Unanswered, Verdict,
};
use postern_core::time::Instant;
use postern_core::wire::ehlo::{Extension, Extensions};
use postern_core::wire::{Out, Text};

fn accept(session: &mut Session<'_>, event: Event<'_>, out: &mut Out<'_>) {
    answer(session, event, Verdict::Accept, out);
}

fn first_event<'i>(session: &mut Session<'_>, input: &'i [u8], out: &mut Out<'_>) -> Event<'i> {
    let Step { next, .. } = session.step(at(0), input, out);
    let Next::Event(event) = next else { panic!("an event") };
    event
}

/// A session whose HELO is asked and not answered.
fn asked(id: u32) -> (Session<'static>, Ask) {
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    let mut session = Session::new(&CONFIG, id, Transport::Clear);
    let connect = first_event(&mut session, b"", &mut out);
    accept(&mut session, connect, &mut out);
    match first_event(&mut session, b"HELO client.example\r\n", &mut out) {
        Event::Hello { ask, .. } => (session, ask),
        other => panic!("not expected here: {other:?}"),
    }
}

/// A host knows itself by what it says there.
#[test]
fn a_greeting_may_have_words_of_its_own_behind_the_name() {
    let long = "x".repeat(Text::MAX - "mx.example".len());
    for (words, greeting) in [
        ("ESMTP me", "220 mx.example ESMTP me\r\n".to_owned()),
        (&long[1..], format!("220 mx.example {}\r\n", &long[1..])),
        (&long, "220 mx.example ESMTP Postern\r\n".to_owned()),
    ] {
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer[..CONFIG.min_out()]);
        let mut session = Session::new(&CONFIG, 1, Transport::Clear);
        let connect = first_event(&mut session, b"", &mut out);
        let words = Text::new(words.as_bytes()).expect("printable");
        answer(&mut session, connect, Verdict::AcceptWith(words), &mut out);
        assert_eq!(out.written(), greeting.as_bytes());
    }
}

#[test]
fn an_ask_of_another_session_changes_nothing() {
    let (mut session, own) = asked(1);
    let (_other, foreign) = asked(2);
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    assert_eq!(session.answer(foreign, Verdict::Accept, &mut out), Err(Unanswered::Stale));
    assert!(out.is_empty());
    assert_eq!(session.answer(own, Verdict::Accept, &mut out), Ok(()));
    assert_eq!(out.written(), b"250 mx.example greets you\r\n");
}

#[test]
fn an_ask_that_the_deadline_overtook_changes_nothing() {
    let (mut session, ask) = asked(1);
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    assert_eq!(session.deadline(), Instant::FAR, "an open ask stops the clock");
    assert_eq!(session.expire(Instant::FAR), Expired::Closing);
    let answered = session.answer(ask, Verdict::Accept, &mut out);
    assert_eq!(answered, Err(Unanswered::Stale));
    assert_eq!(session.step(Instant::FAR, b"", &mut out).next, Next::Need(Need::Close));
    assert_eq!(out.written(), b"421 4.4.2 Too slow, closing\r\n");
}

#[test]
fn an_answer_without_room_is_handed_back() {
    let (mut session, ask) = asked(1);
    let mut small = [0; 16];
    let refused = session.answer(ask, Verdict::Accept, &mut Out::new(&mut small));
    let Err(Unanswered::NoRoom(ask)) = refused else { panic!("there was no room: {refused:?}") };
    let mut buffer = [0; 1024];
    assert_eq!(session.answer(ask, Verdict::Accept, &mut Out::new(&mut buffer)), Ok(()));
}

#[test]
fn nothing_is_said_without_room_for_the_longest_reply() {
    let mut session = Session::new(&CONFIG, 1, Transport::Clear);
    let mut small = vec![0; CONFIG.min_out() - 1];
    let step = session.step(at(0), b"", &mut Out::new(&mut small));
    assert_eq!(step, Step { consumed: 0, next: Next::Need(Need::Room) });
}

#[test]
fn the_longest_reply_to_ehlo_fills_the_room_that_is_asked_for() {
    let hostname = [b'x'; Text::MAX];
    let mut config = Config::new(Text::new(&hostname).expect("printable"))
        .with(Extension::BinaryMime)
        .with(Extension::StartTls)
        .with(Extension::Xclient)
        .with(Extension::Atrn)
        .with_auth(text("PLAIN LOGIN"));
    (config.max_message_size, config.max_recipients) = (u64::MAX, u16::MAX);
    let mut session = Session::new(&config, 1, Transport::Clear);
    let mut buffer = vec![0; config.min_out()];
    let input = b"EHLO c\r\n";
    for consumed in [0, input.len()] {
        let mut out = Out::new(&mut buffer);
        let step = session.step(at(0), input, &mut out);
        assert_eq!(step.consumed, consumed);
        let Next::Event(event) = step.next else { panic!("there is room") };
        accept(&mut session, event, &mut out);
        assert_eq!(out.free() == 0, consumed > 0, "{:?}", String::from_utf8_lossy(out.written()));
    }
}

#[test]
fn a_fault_is_discarded_at_once_and_told_at_the_true_end() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(DATA);
    peer.heard();
    let (events, _) = peer.drive(b"line\r\nbare\n.\r\nNOOP\r\n");
    assert_eq!(events, ["Chunk", "Discard(BareLineEnd)"]);
    assert_eq!(peer.heard(), "", "the message has not ended yet");
    peer.drive(b".\r\nNOOP\r\n");
    let heard = peer.heard();
    assert!(heard.starts_with("554 5.6.0 ") && heard.ends_with("250 2.0.0 Ok\r\n"), "{heard}");
}

#[test]
fn what_was_said_before_tls_is_forgotten() {
    let mut peer = Peer::greeted(CONFIG);
    assert_eq!(peer.drive(b"STARTTLS\r\n").1, Need::Tls);
    peer.heard();
    peer.session.tls_started();
    peer.drive(b"MAIL FROM:<>\r\nSTARTTLS\r\nEHLO again.example\r\nSTARTTLS\r\n");
    let heard = peer.heard();
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes[..2], ["503", "503"]);
    assert_eq!(codes.last(), Some(&"503"));
    assert!(!heard.contains("STARTTLS\r\n") && heard.contains("250-PIPELINING\r\n"), "{heard}");
}

#[test]
fn plaintext_behind_starttls_ends_the_session() {
    let mut peer = Peer::greeted(CONFIG);
    let (_, need) = peer.drive(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n");
    assert_eq!((need, peer.input.len()), (Need::Close, 0));
    peer.session.tls_started();
    assert_eq!(peer.drive(b"EHLO again.example\r\n").1, Need::Close);
}

/// The session copies no octet of a message: what it hands out are slices of the caller's input,
/// so that the spool's copy is the only one.
#[test]
fn a_message_is_handed_out_where_it_lies() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(DATA);
    let input = b"one\r\n..two\r\n.\r\n".to_vec();
    let range = input.as_ptr_range();
    let (mut handed_out, mut consumed) = (0, 0);
    let mut buffer = [0; 1024];
    loop {
        let mut out = Out::new(&mut buffer);
        let step = peer.session.step(at(0), &input[consumed..], &mut out);
        consumed += step.consumed;
        match step.next {
            Next::Event(Event::Chunk(octets)) => {
                assert!(range.contains(&octets.as_ptr()) && octets.as_ptr_range().end <= range.end);
                handed_out += octets.len();
            }
            Next::Event(Event::End { size, .. }) => break assert_eq!(size, 11),
            other => panic!("not expected here: {other:?}"),
        }
    }
    assert_eq!(handed_out, b"one\r\n.two\r\n".len());
    println!("{handed_out} octets of a message handed out, 0 copied by the session");
}

/// RFC 5321 §4.2: ESMTP tells that EHLO is worth a try.
#[test]
fn the_greeting_names_host_and_protocol() {
    let mut peer = Peer::new(CONFIG);
    peer.drive(b"");
    assert_eq!(peer.heard(), "220 mx.example ESMTP Postern\r\n");
}

/// RFC 3030 §3, RFC 6531 §3.1, RFC 4954 §3, RFC 2645 §5.2.1.
#[test]
fn nothing_is_offered_that_would_be_refused() {
    let keywords = |config: Config<'static>| {
        let mut peer = Peer::new(config);
        peer.drive(b"EHLO c\r\n");
        peer.heard()
    };
    let all = CONFIG.with(Extension::BinaryMime).with(Extension::Atrn).with_auth(text("PLAIN"));
    let said = keywords(all);
    for keyword in ["BINARYMIME", "SMTPUTF8", "AUTH PLAIN", "ATRN"] {
        assert!(said.contains(&format!("250-{keyword}\r\n")), "{keyword}: {said}");
    }
    assert!(!keywords(all.without(Extension::Chunking)).contains("BINARYMIME"));
    assert!(!keywords(all.without(Extension::EightBitMime)).contains("SMTPUTF8"));
    let said = keywords(CONFIG.with(Extension::Auth).with(Extension::Atrn));
    assert!(!said.contains("AUTH") && !said.contains("ATRN"), "{said}");
}

#[test]
fn who_is_authenticated_is_not_offered_it_again() {
    let mut peer = Peer::greeted(CONFIG.with_auth(text("PLAIN")).with(Extension::Atrn));
    peer.drive(b"AUTH PLAIN\r\nAAAA\r\n");
    peer.heard();
    peer.drive(b"EHLO c\r\nAUTH PLAIN\r\n");
    let heard = peer.heard();
    assert!(heard.contains("250-ATRN\r\n"), "it needs AUTH, and is for those who have: {heard}");
    assert!(!heard.contains("250-AUTH") && heard.ends_with("503 5.5.1 Authenticated already\r\n"));
}

#[test]
fn who_was_authenticated_before_tls_or_xclient_is_not_any_more() {
    let config = CONFIG.with_auth(text("PLAIN")).with(Extension::Xclient);
    for anew in [&b"STARTTLS\r\n"[..], b"XCLIENT ADDR=192.0.2.1\r\n"] {
        let mut peer = Peer::greeted(config);
        peer.drive(b"AUTH PLAIN\r\nAAAA\r\n");
        peer.drive(anew);
        peer.session.tls_started();
        peer.heard();
        peer.drive(b"MAIL FROM:<>\r\nEHLO c\r\n");
        let heard = peer.heard();
        assert!(heard.starts_with("503 5.5.1 ") && heard.contains("250-AUTH PLAIN"), "{heard}");
    }
}

/// RFC 4954 §4: what tells a listener the password is not offered to him.
#[test]
fn mechanisms_in_clear_are_those_that_may_be_said_in_clear() {
    let tls = text("SCRAM-SHA-256 PLAIN");
    for (clear, offered) in [("", None), ("SCRAM-SHA-256", Some("250-AUTH SCRAM-SHA-256\r\n"))] {
        let config = CONFIG.with_tls_auth(tls, text(clear)).with(Extension::Atrn);
        let mut peer = Peer::new(config);
        peer.drive(b"EHLO c\r\nAUTH PLAIN\r\n");
        let heard = peer.heard();
        assert!(heard.contains("250-ATRN\r\n"), "{heard}");
        assert_eq!(heard.contains("AUTH "), offered.is_some(), "{heard}");
        assert!(offered.is_none_or(|line| heard.contains(line)), "{heard}");
        let needs_tls = heard.ends_with("530 5.7.0 STARTTLS first\r\n");
        assert_eq!(needs_tls, offered.is_none(), "{heard}");
        if needs_tls {
            peer.drive(b"STARTTLS\r\n");
            peer.session.tls_started();
            peer.heard();
            peer.drive(b"EHLO c\r\nAUTH PLAIN\r\nAAAA\r\n");
            let heard = peer.heard();
            assert!(heard.contains("250-AUTH SCRAM-SHA-256 PLAIN\r\n"), "{heard}");
            assert!(heard.ends_with("235 2.7.0 Authenticated\r\n"), "{heard}");
        }
    }
}

#[test]
fn what_is_offered_may_depend_on_what_the_handshake_came_to() {
    const BOUND: Config<'static> =
        CONFIG.with_auth(Text::new(b"SCRAM-SHA-256-PLUS PLAIN").expect("printable"));
    let mut peer = Peer::new(CONFIG.with_auth(text("PLAIN")));
    peer.session.tls_started_with(&BOUND);
    peer.drive(b"EHLO c\r\n");
    assert!(peer.heard().contains("250-AUTH PLAIN\r\n"), "no handshake was asked for");
    peer.drive(b"STARTTLS\r\n");
    peer.session.tls_started_with(&BOUND);
    peer.heard();
    peer.drive(b"EHLO c\r\n");
    let heard = peer.heard();
    assert!(heard.contains("250-AUTH SCRAM-SHA-256-PLUS PLAIN\r\n"), "{heard}");
}

#[test]
fn an_overlong_line_of_auth_is_refused_whole() {
    let mut peer = Peer::greeted(CONFIG.with_auth(text("PLAIN")));
    peer.drive(b"AUTH PLAIN\r\n");
    peer.heard();
    peer.drive(&b"A".repeat(13_000));
    assert_eq!(peer.heard(), "");
    peer.drive(b"A\r\nNOOP\r\n");
    assert_eq!(peer.heard(), "500 5.5.6 Authentication line too long\r\n250 2.0.0 Ok\r\n");
}

/// What each extension adds to a command line (RFC 5321 §4.5.3.1.4).
#[test]
fn the_longest_line_is_that_of_what_is_offered() {
    let none = Config { extensions: Extensions::NONE, ..CONFIG };
    assert_eq!(none.min_input(), 512);
    let adds = [
        (Extension::Size, 26),
        (Extension::EightBitMime, 17),
        (Extension::Dsn, 540),
        (Extension::SmtpUtf8, 0),
        (Extension::Chunking, 0),
    ];
    for (extension, octets) in adds {
        assert_eq!(none.with(extension).min_input(), 512 + octets, "{extension:?}");
    }
    let utf8 = none.with(Extension::EightBitMime).with(Extension::SmtpUtf8);
    assert_eq!(utf8.min_input(), 512 + 17 + 460);
    assert_eq!(none.with_auth(text("PLAIN")).min_input(), 12_288);
}
