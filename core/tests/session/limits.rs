//! What ends a session that leads nowhere, and how it closes.

use postern_core::session::{Config, Need, Next, Session, Transport, Verdict};
use postern_core::wire::Out;
use postern_core::wire::ehlo::{Extension, Extensions};
use postern_core::wire::reply::Reason;

use crate::peer::{CONFIG, DATA, OPEN, Peer, at, text};

#[test]
fn a_client_may_err_so_often() {
    for line in [&b"XYZZY\r\n"[..], b"MAIL FROM:<@>\r\n", b"RCPT TO:<a@b.example>\r\n", b"XYZ\r\n"]
    {
        let mut peer = Peer::greeted(CONFIG);
        let errors = usize::from(CONFIG.max_errors);
        assert_eq!(peer.drive(&line.repeat(errors - 1)).1, Need::Input);
        peer.heard();
        assert_eq!(peer.drive(&line.repeat(2)).1, Need::Close);
        assert_eq!(peer.codes().last().map(String::as_str), Some("421"));
        assert_eq!(peer.drive(b"NOOP\r\n").1, Need::Close);
        assert_eq!(peer.heard(), "");
    }
}

/// Recipients can be guessed so: a list of them is what a holder rests on.
#[test]
fn refused_recipients_count_and_discard() {
    let mut peer = Peer::greeted(CONFIG);
    peer.refuses = Some(("Rcpt", Verdict::Refuse(Reason::UnknownUser, None)));
    let guesses = b"RCPT TO:<a@b.example>\r\n".repeat(30);
    let (events, need) = peer.drive(&[b"MAIL FROM:<>\r\n", &guesses[..]].concat());
    assert_eq!(events.iter().filter(|event| *event == "Rcpt").count(), 20);
    assert_eq!(events.last().map(String::as_str), Some("Discard(Limits)"));
    assert_eq!(need, Need::Close);
}

#[test]
fn an_overlong_line_and_a_refused_message_are_errors() {
    let mut peer = Peer::greeted(Config { max_errors: 2, ..CONFIG });
    let line = [&b"x".repeat(5000)[..], b"\r\n"].concat();
    assert_eq!(peer.drive(&line).1, Need::Input);
    peer.drive(DATA);
    assert_eq!(peer.drive(b"a\nb\r\n.\r\nNOOP\r\n").1, Need::Close);
    assert_eq!(peer.codes(), ["500", "250", "250", "354", "554", "421"]);
}

#[test]
fn a_message_that_is_accepted_forgives() {
    let mut peer = Peer::greeted(CONFIG);
    let message = [DATA, b".\r\n"].concat();
    for _ in 0..5 {
        peer.drive(&b"XYZZY\r\n".repeat(19));
        peer.drive(&b"NOOP\r\n".repeat(98));
        assert_eq!(peer.drive(&message).1, Need::Input);
    }
    peer.refuses = Some(("End", Verdict::Refuse(Reason::Uncertain, None)));
    peer.drive(&b"XYZZY\r\n".repeat(19));
    peer.drive(&message);
    assert_eq!(peer.drive(b"XYZZY\r\n").1, Need::Close, "one that is refused does not");
}

/// A message may have more recipients than are taken (RFC 5321 §4.5.3.1.10), and a full disk is
/// ours.
#[test]
fn what_is_refused_for_now_is_no_error() {
    let busy = Verdict::Refuse(Reason::Busy, None);
    for (refused, lines) in [("Mail", &b"MAIL FROM:<>\r\n"[..]), ("Rcpt", b"RCPT TO:<a@b.c>\r\n")] {
        let mut peer = Peer::greeted(CONFIG);
        if refused == "Rcpt" {
            peer.drive(b"MAIL FROM:<>\r\n");
        }
        peer.refuses = Some((refused, busy));
        assert_eq!(peer.drive(&lines.repeat(60)).1, Need::Input, "{refused}");
    }
}

#[test]
fn commands_that_lead_nowhere_are_counted() {
    let idle: [&[u8]; 8] = [
        b"NOOP\r\n",
        b"RSET\r\n",
        b"VRFY a\r\n",
        b"HELP\r\n",
        b"EHLO c\r\n",
        b"HELO c\r\n",
        b"ETRN a.example\r\n",
        b"MAIL FROM:<>\r\nRSET\r\n",
    ];
    let config = Config { max_idle_commands: 10, ..CONFIG };
    for line in idle {
        let mut peer = Peer::new(config);
        peer.drive(b"HELO c\r\n");
        assert_eq!(peer.drive(&line.repeat(8)).1, Need::Input, "{}", line.escape_ascii());
        peer.heard();
        assert_eq!(peer.drive(line).1, Need::Close, "{}", line.escape_ascii());
        assert_eq!(peer.codes().last().map(String::as_str), Some("421"));
    }
}

#[test]
fn nothing_is_counted_where_no_limit_is_set() {
    let mut peer = Peer::greeted(Config { max_errors: 0, max_idle_commands: 0, ..CONFIG });
    assert_eq!(peer.drive(&b"XYZZY\r\nNOOP\r\n".repeat(1000)).1, Need::Input);
}

#[test]
fn a_request_of_http_closes() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(OPEN);
    peer.heard();
    let request = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nMAIL FROM:<>\r\n";
    assert_eq!(peer.drive(request), (vec!["Discard(LostStep)".into()], Need::Close));
    assert_eq!(peer.codes(), ["421"]);
}

#[test]
fn a_bad_bdat_closes_where_bdat_is_offered() {
    let long = [b"BDAT ", &b" ".repeat(5000)[..], b"1\r\n"].concat();
    for line in [&b"BDAT x\r\n"[..], b"BDAT 4\tLAST\r\n", b"BDAT 4\0\r\n", b"bdat\r\n", &long] {
        let mut peer = Peer::greeted(CONFIG);
        let hidden = [line, b"NOOP\r\n"].concat();
        assert_eq!(peer.drive(&hidden).1, Need::Close, "{}", line.escape_ascii());
        assert_eq!(peer.codes(), ["501"]);
    }
}

#[test]
fn a_bad_bdat_is_a_command_like_others_where_it_is_not_offered() {
    let mut peer = Peer::greeted(CONFIG.without(Extension::Chunking));
    assert_eq!(peer.drive(b"BDAT x\r\nNOOP\r\n").1, Need::Input);
    assert_eq!(peer.codes(), ["502", "250"]);
}

/// RFC 5321 §3.1.
#[test]
fn whoever_is_answered_554_may_say_quit() {
    let mut peer = Peer::new(CONFIG);
    peer.refuses = Some(("Connect", Verdict::Refuse(Reason::Policy, None)));
    assert_eq!(
        peer.drive(b"EHLO c\r\nXYZZY\r\nMAIL FROM:<>\r\nNOOP\r\n"),
        (vec!["Connect".into()], Need::Input)
    );
    assert_eq!(peer.codes(), ["554", "503", "503", "503", "503"]);
    assert_eq!(peer.drive(b"QUIT\r\n").1, Need::Close);
    assert_eq!(peer.codes(), ["221"]);
}

#[test]
fn a_reason_for_now_is_421_before_there_is_a_session() {
    for name in ["Connect", "Hello"] {
        for reason in [Reason::Busy, Reason::Full, Reason::Down, Reason::TooManySessions] {
            let mut peer = Peer::new(CONFIG);
            peer.refuses = Some((name, Verdict::Refuse(reason, None)));
            assert_eq!(peer.drive(b"EHLO c\r\n").1, Need::Close, "{name}, {reason:?}");
            assert_eq!(peer.codes().last().map(String::as_str), Some("421"));
        }
    }
    let mut peer = Peer::new(CONFIG);
    peer.refuses = Some(("Hello", Verdict::Refuse(Reason::Policy, None)));
    assert_eq!(peer.drive(b"EHLO c\r\nMAIL FROM:<>\r\n").1, Need::Input);
    assert_eq!(peer.codes(), ["220", "550", "503"]);
}

#[test]
fn a_verdict_that_closes_closes_at_every_command() {
    let cases: [(&str, &[u8]); 7] = [
        ("Connect", b""),
        ("Hello", b"EHLO c\r\n"),
        ("Mail", b"EHLO c\r\nMAIL FROM:<>\r\n"),
        ("Rcpt", b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"),
        ("Data", b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"),
        ("End", b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n.\r\n"),
        ("StartTls", b"EHLO c\r\nSTARTTLS\r\n"),
    ];
    for (name, lines) in cases {
        let mut peer = Peer::new(CONFIG);
        peer.refuses = Some((name, Verdict::Close(Reason::Policy, None)));
        assert_eq!(peer.drive(lines).1, Need::Close, "{name}");
    }
}

#[test]
fn a_shut_down_waits_for_a_transaction_and_for_nothing_else() {
    let auth = CONFIG.with_auth(text("PLAIN"));
    let chunk = b"BDAT 9 LAST\r\nx";
    let cases: [(&[u8], bool); 7] = [
        (b"", true),
        (b"NOO", true),
        (b"AUTH PLAIN\r\n", true),
        (&[b'x'; 20_000], true),
        (chunk, true),
        (OPEN, false),
        (DATA, false),
    ];
    for (lines, closes) in cases {
        let mut peer = Peer::greeted(auth);
        peer.drive(lines);
        peer.heard();
        peer.session.shut_down();
        let (need, heard) = (peer.drive(b"").1, peer.codes());
        assert_eq!(need == Need::Close, closes, "{}", lines[..lines.len().min(20)].escape_ascii());
        assert_eq!(heard.concat(), if closes { "421" } else { "" });
    }
}

/// The greeting is the caller's, and says it in its own words.
#[test]
fn a_shut_down_before_the_greeting_is_told_by_it() {
    let mut peer = Peer::new(CONFIG);
    peer.refuses = Some(("Connect", Verdict::Refuse(Reason::ShuttingDown, None)));
    peer.session.shut_down();
    assert_eq!(peer.drive(b"").1, Need::Close);
    assert_eq!(peer.heard(), "421 Shutting down, try later\r\n");
}

#[test]
fn a_running_transaction_ends_before_a_shut_down_does() {
    for before in [OPEN, DATA] {
        let mut peer = Peer::greeted(CONFIG);
        peer.drive(before);
        peer.session.shut_down();
        peer.drive(if before == OPEN { b"DATA\r\n" } else { b"" });
        peer.heard();
        assert_eq!(peer.drive(b".\r\nNOOP\r\n").1, Need::Close);
        assert_eq!(peer.codes(), ["250", "421"]);
    }
}

/// Whatever is offered, whatever the names: in an empty output of `min_out` there is room.
#[test]
fn the_least_output_holds_every_reply() {
    let name = [b'x'; 255];
    for length in [1, 200, 240, 255] {
        for config in [CONFIG, CONFIG.with_auth(text("PLAIN")), bare()] {
            let hostname = postern_core::wire::Text::new(&name[..length]).expect("printable");
            let config = Config { hostname, ..config };
            for hello in [&b"HELO c\r\n"[..], b"EHLO c\r\n"] {
                let mut session = Session::new(&config, 1, Transport::Clear);
                let mut buffer = vec![0; config.min_out()];
                for input in [&b""[..], hello] {
                    let mut out = Out::new(&mut buffer);
                    let step = session.step(at(0), input, &mut out);
                    let Next::Event(event) = step.next else { panic!("there is room") };
                    crate::peer::answer(&mut session, event, Verdict::Accept, &mut out);
                }
            }
        }
    }
}

fn bare() -> Config<'static> {
    let extensions = Extensions::NONE;
    Config { extensions, ..CONFIG }
}

/// A peer that floods costs twice what a message may have, and no more.
#[test]
fn what_was_refused_and_goes_on_ends_the_session() {
    let config = Config { max_message_size: 1000, ..CONFIG };
    let lines = b"0123456789012345678901234567890123456789012345678\r\n";
    let eaten = |begin: &[u8]| {
        let mut peer = Peer::greeted(config);
        peer.drive(begin);
        let mut octets = 0;
        while peer.drive(lines).1 != Need::Close {
            octets += lines.len();
            assert!(octets < 10_000, "{begin:?}");
        }
        (octets, peer.codes().last().cloned().unwrap_or_default())
    };
    assert_eq!(eaten(DATA), (1989, "552".to_owned()));
    let chunk = b"BDAT 999999999999 LAST\r\n";
    assert_eq!(eaten(&[OPEN, &chunk[..]].concat()), (1989, "552".to_owned()));
    assert_eq!(eaten(chunk), (0, "421".to_owned()), "no transaction is open");
    // What comes to its end in time costs the client nothing.
    let mut peer = Peer::greeted(config);
    peer.drive(DATA);
    assert_eq!(peer.drive(&[&lines.repeat(38)[..], b".\r\nNOOP\r\n"].concat()).1, Need::Input);
    assert!(peer.codes().ends_with(&["552".to_owned(), "250".to_owned()]));
}
