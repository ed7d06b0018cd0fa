//! The client's loop: what it sends, what it hears meanwhile, and how long it waits.
#![cfg(feature = "drive")]

mod early;
mod rig;

use std::rc::Rc;

use postern_core::client::reply::REPLY_MAX;
use postern_core::client::{CallError, Config, Event, Fault, Need, Phase, TlsPolicy, Waiting};
use postern_core::drive::deliver::{Dialogue, DialogueError, Sent, Turn, Unsent};
use rig::{
    ACCEPTED, CHUNKS, CONFIG, ENVELOPE, Ended, Ends, GROUPS, HELLO, Jump, MAIL, PLAIN, Peer,
    Pieces, Reset, Talk, Then, accepting, answer, deliver, mail, run, said, talk,
};

#[test]
fn a_message_and_quit() {
    let body = "x\r\n".repeat(2000);
    let group = format!("{ENVELOPE}DATA\r\n");
    let end = format!("{body}.\r\n");
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, GROUPS),
        (&group, "250 ok\r\n250 ok\r\n354 go\r\n"),
        (&end, "250 taken\r\n"),
        ("QUIT\r\n", "221 bye\r\n"),
    ]);
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(body.as_bytes(), 700);
    let (events, sent) = run(deliver(&mut talk, None, &mut source, None)).expect("all goes well");
    assert_eq!(sent, Sent::Whole);
    assert_eq!(events[0], Event::Greeting(answer("220 hi")));
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 taken")))));
    assert_eq!(talk.reply().map(|reply| reply.to_string()).as_deref(), Some("250 taken"));
    run(talk.quit());
    assert!(talk.reply().is_none(), "QUIT's answer is no event");
    assert_eq!(run(talk.next()), Err(DialogueError::Closed));
    assert_eq!(said(&heard), format!("{HELLO}{group}{end}QUIT\r\n"));
}

/// The roles have turned (RFC 2645 §5.3), and the peer has greeted in the same segment.
#[test]
fn what_came_before_the_dialogue_is_its_first_input() {
    let peer = Peer::new(&[(HELLO, PLAIN)]);
    let mut talk = talk(peer, &Jump::default(), 1300);
    assert!(talk.received(b"220 ") && talk.received(b"hi\r\n"));
    assert!(!talk.received(&[b'x'; REPLY_MAX]), "there is no room for so much");
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Greeting(answer("220 hi")))));
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Transaction)));
}

#[test]
fn a_peer_that_reads_nothing_runs_out_of_time() {
    for then in [Then::Stuck, Then::FlushStuck] {
        let (peer, _) = accepting(500, then, 500, "");
        let clock = Jump::default();
        let mut talk = talk(peer, &clock, 1300);
        let mut source = Pieces::new(&[b'x'; 498], 4000);
        let ended = match run(deliver(&mut talk, None, &mut source, None)) {
            Ok(_) => run(talk.next()).expect_err("no verdict comes"),
            Err(Unsent::Dialogue(failure)) => failure,
            Err(Unsent::Source(error)) => panic!("{error}"),
        };
        assert_eq!(ended, DialogueError::Fault(Fault::TimedOut(Waiting::Verdict)), "{then:?}");
        assert_eq!(clock.now.get(), 600_000, "its ten minutes, flushing included");
    }
    let (peer, _) = accepting(500, Then::Stuck, 500, "");
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(&[b'x'; 20_000], 4000);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it is stuck");
    assert_eq!(ended, Unsent::Dialogue(DialogueError::Fault(Fault::TimedOut(Waiting::Room))));
    assert_eq!(clock.now.get(), 180_000);
}

#[test]
fn a_broken_link_is_named_with_what_was_waited_for() {
    let (peer, _) = accepting(500, Then::Broken, 500, "");
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 20_000], 4000);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it broke");
    let failure: Ended = DialogueError::Link { error: Reset, waiting: Waiting::Room };
    assert_eq!(failure.to_string(), "reset; we waited for it to take the message");
    assert_eq!(ended, Unsent::Dialogue(failure));

    let peer = Peer { ends: Ends::HangsUp, ..Peer::new(&[("", "220 hi\r\n"), (HELLO, PLAIN)]) };
    let mut talk = rig::talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(b"", 1);
    let ended = run(deliver(&mut talk, None, &mut source, None)).expect_err("it hung up");
    assert_eq!(ended, Unsent::Dialogue(DialogueError::Fault(Fault::HungUp(Waiting::Command))));

    let peer = Peer { ends: Ends::Fails, ..Peer::new(&[("", "220 hi\r\n")]) };
    let mut talk = rig::talk(peer, &Jump::default(), 1300);
    run(talk.next()).expect("the greeting");
    let failure: Ended = DialogueError::Link { error: Reset, waiting: Waiting::Command };
    assert_eq!(run(talk.next()), Err(failure));
}

/// A message whose end is not the one that was stored must not reach the peer as if it were.
#[test]
fn a_damaged_message_never_comes_to_its_end() {
    for room in [1200, 1216, 1300] {
        for size in (1..2700).step_by(7).chain(1170..1320) {
            let peer = Peer::new(&[
                ("", "220 hi\r\n"),
                (HELLO, CHUNKS),
                (ENVELOPE, "250 ok\r\n250 ok\r\n"),
            ]);
            let heard = Rc::clone(&peer.said);
            let mut talk = talk(peer, &Jump::default(), room);
            let body = vec![b'#'; size];
            let mut source = Pieces { damaged: true, ..Pieces::new(&body, 512) };
            let ended = run(deliver(&mut talk, Some(size), &mut source, None));
            assert_eq!(ended, Err(Unsent::Source("damaged")), "{size}");
            let sent = heard.take().iter().filter(|octet| **octet == b'#').count();
            assert!(sent < size, "{size}: {sent}");
        }
    }
}

#[test]
fn mail_of_the_next_message_is_behind_the_end() {
    let next = mail(None);
    let group = format!("{ENVELOPE}DATA\r\n");
    let end = format!("1\r\n.\r\n{MAIL}");
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, GROUPS),
        (&group, ACCEPTED),
        (&end, "250 first\r\n250 ok\r\n"),
    ]);
    let heard = Rc::clone(&peer.said);
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(b"1\r\n", 10);
    let (_, sent) = run(deliver(&mut talk, None, &mut source, Some(&next))).expect("well");
    assert_eq!(sent, Sent::WithNext);
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 first")))));
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Recipient { index: 0 })));
    assert_eq!(clock.now.get(), 0);
    assert_eq!(said(&heard), format!("{HELLO}{group}{end}"));
}

#[test]
fn a_peer_that_drops_mail_behind_a_message_leaves_the_next_untried() {
    let (peer, _) = accepting(usize::MAX / 2, Then::Taken, 6, "250 first\r\n");
    let clock = Jump::default();
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces::new(b"1\r\n", 10);
    let next = mail(None);
    run(deliver(&mut talk, None, &mut source, Some(&next))).expect("all of it left");
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 first")))));
    let ended = run(talk.next()).expect_err("nothing is said of MAIL");
    assert_eq!(ended, DialogueError::Fault(Fault::TimedOut(Waiting::QueuedMail)));
    assert_eq!(clock.now.get(), 10_000);
}

#[test]
fn quit_is_waited_for_for_seconds() {
    let clock = Jump::default();
    let mut silent = talk(Peer::new(&[("", "220 hi\r\n"), (HELLO, PLAIN)]), &clock, 1300);
    assert_eq!(run(silent.next()), Ok(Turn::Event(Event::Greeting(answer("220 hi")))));
    assert_eq!(run(silent.next()), Ok(Turn::Need(Need::Transaction)));
    run(silent.quit());
    assert_eq!(clock.now.get(), 5000);

    // After a refusal too; and in a transaction it is no way out.
    let refusing = Peer::new(&[("", "554 no\r\n"), ("QUIT\r\n", "221 bye\r\n")]);
    let heard = Rc::clone(&refusing.said);
    let mut refused = talk(refusing, &clock, 1300);
    let failure = DialogueError::Refused { phase: Phase::Greeting, reply: answer("554 no") };
    assert_eq!(run(refused.next()), Err(failure));
    assert_eq!(refused.reply().map(|reply| reply.to_string()).as_deref(), Some("554 no"));
    run(refused.quit());
    assert_eq!(said(&heard), "QUIT\r\n");
    let (peer, _) = accepting(500, Then::Taken, 500, "");
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &clock, 1300);
    let mut source = Pieces { damaged: true, ..Pieces::new(b"x", 10) };
    run(deliver(&mut talk, None, &mut source, None)).expect_err("it is damaged");
    run(talk.quit());
    assert!(!said(&heard).contains("QUIT"));
}

#[test]
fn a_probe_says_whether_a_recipient_would_be_taken() {
    let asked = "MAIL FROM:<>\r\nRCPT TO:<postmaster@b.example>\r\n";
    let recipient = |line| Event::Recipient { index: 0, reply: answer(line) };
    for (replies, expected) in [
        ("250 ok\r\n550 nobody\r\n", recipient("550 nobody")),
        ("250 ok\r\n250 somebody\r\n", recipient("250 somebody")),
        // It says nothing of the recipient.
        ("550 no bounces\r\n503 no\r\n", Event::MailRefused(answer("550 no bounces"))),
    ] {
        let peer = Peer::new(&[
            ("", "220 hi\r\n"),
            (HELLO, GROUPS),
            (asked, replies),
            ("RSET\r\n", "250 ok\r\n"),
        ]);
        let mut talk = talk(peer, &Jump::default(), 1300);
        while run(talk.next()) != Ok(Turn::Need(Need::Transaction)) {}
        let said = run(talk.probe(b"postmaster@b.example"));
        assert_eq!(said, Ok(expected));
        // The connection is as it was.
        assert!(talk.call(|client, out| client.mail(&mail(None), out)).is_ok());
    }
}

#[test]
fn a_message_of_our_own_is_decided_by_one_reply() {
    let command = |reply| Event::Recipient { index: 0, reply };
    let (envelope, end) = (format!("{ENVELOPE}DATA\r\n"), "x\r\n.\r\n");
    for (replies, verdict, expected) in [
        ("250 ok\r\n250 ok\r\n354 go\r\n", "250 taken\r\n", Event::Message(answer("250 taken"))),
        ("250 ok\r\n250 ok\r\n354 go\r\n", "554 no\r\n", Event::Message(answer("554 no"))),
        ("250 ok\r\n250 ok\r\n451 later\r\n", "", Event::Message(answer("451 later"))),
        ("250 ok\r\n550 nobody\r\n503 no\r\n", "", command(answer("550 nobody"))),
        ("450 no\r\n503 no\r\n503 no\r\n", "", Event::MailRefused(answer("450 no"))),
    ] {
        let peer = Peer::new(&[
            ("", "220 hi\r\n"),
            (HELLO, GROUPS),
            (&envelope, replies),
            (if verdict.is_empty() { "" } else { end }, verdict),
            ("RSET\r\n", "250 ok\r\n"),
        ]);
        let heard = Rc::clone(&peer.said);
        let mut talk = talk(peer, &Jump::default(), 1300);
        while run(talk.next()) != Ok(Turn::Need(Need::Transaction)) {}
        let mut text = &b"x\r\n"[..];
        let decided = run(talk.send_own(&mail(None), b"b@b.example", &mut text));
        assert_eq!(decided, Ok(expected));
        assert_eq!(said(&heard).contains(end), !verdict.is_empty(), "{replies}");
        // The connection is as it was.
        assert!(talk.call(|client, out| client.mail(&mail(None), out)).is_ok(), "{replies}");
    }
}

/// A peer that hangs up behind its word has said it, and one without a recipient takes nothing.
#[test]
fn what_decided_is_not_lost_behind_it() {
    let (group, refused) =
        (format!("{ENVELOPE}DATA\r\n"), Event::Recipient { index: 0, reply: () });
    for (replies, end, expected) in [
        ("250 ok\r\n550 nobody\r\n", "", Some(refused)),
        ("250 ok\r\n550 nobody\r\n354 go\r\n", "250 taken\r\n", Some(refused)),
        ("550 no\r\n", "", Some(Event::MailRefused(()))),
        ("250 ok\r\n250 ok\r\n354 go\r\n", "554 no\r\n", Some(Event::Message(()))),
        ("250 ok\r\n250 ok\r\n", "", None),
        ("250 ok\r\n250 ok\r\n354 go\r\n", "", None),
    ] {
        let mut peer = Peer::new(&[("", "220 hi\r\n"), (HELLO, GROUPS), (&group, replies)]);
        peer.replies.extend((!end.is_empty()).then(|| (peer.replies[2].0 + 3, end.to_owned())));
        peer.ends = Ends::HangsUp;
        let mut talk = talk(peer, &Jump::default(), 1300);
        while run(talk.next()) != Ok(Turn::Need(Need::Transaction)) {}
        let mut text = &b"x\r\n"[..];
        let decided = run(talk.send_own(&mail(None), b"b@b.example", &mut text));
        assert_eq!(decided.ok().map(|event| event.map(drop)), expected, "{replies}{end}");
    }
}

#[test]
fn a_handshake_takes_the_link_and_gives_it_back() {
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, "250-peer\r\n250 STARTTLS\r\n"),
        ("STARTTLS\r\n", "220 go\r\n"),
        (HELLO, PLAIN),
    ]);
    let config = Config { tls: TlsPolicy::Required, ..CONFIG };
    let mut talk: Talk = Dialogue::new(config, peer, Jump::default(), vec![0; 4096], vec![0; 1300]);
    run(talk.next()).expect("the greeting");
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Tls)));
    let mut talk = run(talk.secure(|link| async { Ok::<_, ()>(link) })).expect("it is as good");
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Transaction)));
}

/// What a client says before it is greeted is there for the session, whole and in order.
#[test]
fn a_turned_link_is_handed_over_with_what_is_unread() {
    let offers = "250-peer\r\n250-AUTH CRAM-MD5\r\n250 ATRN\r\n";
    for early in ["", "EHLO peer\r\nMAIL"] {
        let peer = Peer::new(&[
            ("", "220 hi\r\n"),
            (HELLO, offers),
            ("ATRN\r\n", &format!("250 turning\r\n{early}")),
        ]);
        let mut talk = talk(peer, &Jump::default(), 1300);
        run(talk.next()).expect("the greeting");
        assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Transaction)));
        talk.call(|client, out| client.atrn([].into_iter(), out)).expect("it is offered");
        assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Atrn(answer("250 turning")))));
        let (_, input, unread) = match early {
            // It may be taken before its need is heard of, too.
            "" => talk.turned(),
            _ => {
                assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Turn)));
                talk.turned()
            }
        };
        assert_eq!(&input[..unread], early.as_bytes());
    }
}

#[test]
fn a_shut_down_ends_each_wait() {
    let clock = Jump { shuts_down: true, ..Jump::default() };
    let mut talk = talk(Peer::new(&[]), &clock, 1300);
    assert_eq!(run(talk.next()), Err(DialogueError::ShutDown));

    // The last words behind a broken write, too.
    let peer = Peer { takes: 0, then: Then::Broken, ..Peer::new(&[("", "220 hi\r\n")]) };
    let mut talk = rig::talk(peer, &clock, 1300);
    run(talk.next()).expect("the greeting is there");
    assert_eq!(run(talk.next()), Err(DialogueError::ShutDown));
}

/// The command has left before the octets of TLS do, even where its answer came first.
#[test]
fn a_handshake_begins_behind_the_command() {
    let fault = Err(DialogueError::Fault(Fault::PlaintextAfterStartTls));
    for (more, expected) in [("", Ok(Turn::Need(Need::Tls))), ("250 injected\r\n", fault)] {
        let peer = Peer::new(&[
            ("", "220 hi\r\n"),
            (HELLO, "250-peer\r\n250 STARTTLS\r\n"),
            ("", "220 go\r\n"),
            ("", more),
        ]);
        let heard = Rc::clone(&peer.said);
        let config = Config { tls: TlsPolicy::Required, ..CONFIG };
        let clock = Jump::default();
        let mut talk: Talk = Dialogue::new(config, peer, clock, vec![0; 4096], vec![0; 1300]);
        run(talk.next()).expect("the greeting");
        let went_on = expected.is_ok();
        assert_eq!(run(talk.next()), expected, "{more:?}");
        let whole = said(&heard) == format!("{HELLO}STARTTLS\r\n");
        assert_eq!(whole, went_on, "{more:?}");
    }
}

/// What can't be asked leaves no transaction open.
#[test]
fn a_probe_of_what_is_no_path_changes_nothing() {
    let probe = "MAIL FROM:<>\r\n";
    let peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, PLAIN),
        (probe, "250 ok\r\n"),
        ("RSET\r\n", "250 ok\r\n"),
    ]);
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &Jump::default(), 1300);
    while run(talk.next()) != Ok(Turn::Need(Need::Transaction)) {}
    assert_eq!(run(talk.probe(b"a b@c")), Err(DialogueError::Call(CallError::BadText)));
    assert_eq!(run(talk.next()), Ok(Turn::Need(Need::Transaction)));
    assert_eq!(said(&heard), format!("{HELLO}{probe}RSET\r\n"));
}
