//! What a peer says before it has the message.

use std::rc::Rc;

use postern_core::client::{Event, Fault, Need, Recipient, Waiting};
use postern_core::drive::deliver::{DialogueError, Sent, Turn, Unsent};
use postern_core::wire::params::RcptParams;

use crate::rig::{
    ACCEPTED, ENVELOPE, Ended, GROUPS, HELLO, Jump, MAIL, Peer, Pieces, Reset, Speaks, Then,
    accepting, answer, deliver, mail, run, talk,
};

#[test]
fn a_refusal_within_a_message_is_heard() {
    let refused = Sent::Refused(Event::Message(answer("552 5.3.4 too big")));
    for then in [Then::Taken, Then::Stuck, Then::Broken, Then::FlushStuck] {
        for after in [0, 1, 500] {
            let (peer, start) = accepting(500, then, after, "552 5.3.4 too big\r\n");
            let heard = Rc::clone(&peer.said);
            let clock = Jump::default();
            let mut talk = talk(peer, &clock, 1300);
            let mut source = Pieces::new(&[b'x'; 20_000], 4000);
            let (_, sent) = run(deliver(&mut talk, None, &mut source, None)).expect("heard");
            assert_eq!(sent, refused, "{then:?} after {after}");
            assert!(clock.now.get() <= 2000, "{then:?}: {} ms", clock.now.get());
            assert_eq!(
                run(talk.next()),
                Err(DialogueError::Closed),
                "and the message is not ended"
            );
            assert!(heard.take().len() < start + 20_000);
        }
    }
}

/// A peer may refuse a message before its first octet, and close.
#[test]
fn a_refusal_right_behind_354_is_the_verdict() {
    let group = format!("{ENVELOPE}DATA\r\n");
    let both = format!("{ACCEPTED}554 5.7.1 spam\r\n");
    let peer = Peer::new(&[("", "220 hi\r\n"), (HELLO, GROUPS), (&group, &both)]);
    let mut talk = talk(peer, &Jump::default(), 1300);
    let to = Recipient { forward_path: b"b@b.example", params: RcptParams::default() };
    let mut verdict = None;
    let end = loop {
        match run(talk.next()) {
            Ok(Turn::Event(event)) => verdict = Some(event),
            Ok(Turn::Need(Need::Transaction)) => {
                talk.call(|client, out| client.mail(&mail(None), out)).expect("MAIL is next");
            }
            Ok(Turn::Need(Need::Recipient { index: 0 })) => {
                talk.call(|client, out| client.rcpt(&to, out)).expect("RCPT is next");
            }
            Ok(Turn::Need(Need::Recipient { .. })) => {
                talk.call(|client, _| client.rcpt_end()).expect("RCPT is next");
            }
            Ok(Turn::Need(need)) => panic!("{need:?}"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(verdict, Some(Event::Message(answer("554 5.7.1 spam"))));
    assert_eq!(end, DialogueError::Closed);
}

/// It is said of what the peer never had, however much of it has left.
#[test]
fn a_completion_before_the_end_left_is_a_fault() {
    let fault = Unsent::Dialogue(DialogueError::Fault(Fault::Unexpected(250)));
    for then in [Then::Stuck, Then::Broken] {
        for takes in [0, 1, 99, 100, 101, 102] {
            // 100 octets, and CRLF.CRLF behind them.
            let (peer, _) = accepting(takes, then, takes, "250 taken\r\n");
            let mut talk = talk(peer, &Jump::default(), 1300);
            let mut source = Pieces::new(&[b'x'; 100], 40);
            let ended = match run(deliver(&mut talk, None, &mut source, None)) {
                Ok(_) => Unsent::Dialogue(run(talk.next()).expect_err("a fault")),
                Err(ended) => ended,
            };
            assert_eq!(ended, fault, "{then:?} {takes}");
        }
    }
    // Nobody knows how much of what was not flushed has left.
    let (peer, _) = accepting(105, Then::FlushStuck, 105, "250 taken\r\n");
    let mut stuck = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 100], 40);
    run(deliver(&mut stuck, None, &mut source, None)).expect("it is in the output");
    let ended = run(stuck.next()).expect_err("a fault");
    assert_eq!(ended, DialogueError::Fault(Fault::Unexpected(250)));
    let (peer, _) = accepting(105, Then::Broken, 105, "250 taken\r\n");
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 100], 40);
    run(deliver(&mut talk, None, &mut source, None)).expect("all of it left");
    assert_eq!(run(talk.next()), Ok(Turn::Event(Event::Message(answer("250 taken")))));
}

/// The peer has the message's end, and answers it before it reads on.
#[test]
fn a_verdict_while_only_the_next_mail_is_unsent_counts() {
    let next = mail(None);
    for then in [Then::Stuck, Then::Broken] {
        for more in [0, 1, MAIL.len() - 1] {
            let takes = "1\r\n.\r\n".len() + more;
            let (peer, _) = accepting(takes, then, takes, "250 first\r\n");
            let mut talk = talk(peer, &Jump::default(), 1300);
            let mut source = Pieces::new(b"1\r\n", 10);
            run(deliver(&mut talk, None, &mut source, Some(&next))).expect("it is in the output");
            let verdict = Turn::Event(Event::Message(answer("250 first")));
            assert_eq!(run(talk.next()), Ok(verdict), "{then:?} {more}");
            let ended = run(talk.next()).expect_err("MAIL did not leave");
            let waiting = Waiting::QueuedMail;
            let expected: Ended = match then {
                Then::Broken => DialogueError::Link { error: Reset, waiting },
                _ => DialogueError::Fault(Fault::TimedOut(waiting)),
            };
            assert_eq!(ended, expected);
        }
    }
}

/// It has not stopped reading: only what it says tells that it wants no more.
#[test]
fn a_refusal_is_heard_while_the_peer_still_reads() {
    let (peer, start) = accepting(usize::MAX / 2, Then::Taken, 500, "552 5.3.4 too big\r\n");
    let heard = Rc::clone(&peer.said);
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 20_000], 4000);
    let (_, sent) = run(deliver(&mut talk, None, &mut source, None)).expect("heard");
    assert_eq!(sent, Sent::Refused(Event::Message(answer("552 5.3.4 too big"))));
    assert!(heard.take().len() <= start + 2 * 1300, "and little more was sent");
}

/// A write or a flush that waits does not keep it from being heard.
#[test]
fn a_refusal_is_heard_while_the_link_is_stuck() {
    let whole = 1000 + "\r\n.\r\n".len();
    for (takes, then) in [(800, Then::Stuck), (whole, Then::FlushStuck)] {
        let (peer, _) = accepting(takes, then, 500, "552 5.3.4 too big\r\n");
        let clock = Jump::default();
        let peer = Peer { speaks: Speaks::At(clock.clone(), 5000), ..peer };
        let mut talk = talk(peer, &clock, 1300);
        let mut source = Pieces::new(&[b'x'; 1000], 4000);
        let refused = Event::Message(answer("552 5.3.4 too big"));
        match run(deliver(&mut talk, None, &mut source, None)).expect("heard") {
            (_, Sent::Refused(event)) => assert_eq!(event, refused, "{then:?}"),
            _ => assert_eq!(run(talk.next()), Ok(Turn::Event(refused)), "{then:?}"),
        }
        assert_eq!(clock.now.get(), 5000, "{then:?}");
    }
}

/// Last words count for no more than others.
#[test]
fn a_completion_behind_a_broken_write_is_a_fault() {
    let (peer, _) = accepting(102, Then::Broken, 102, "250 taken\r\n");
    let peer = Peer { speaks: Speaks::OnceBroken, ..peer };
    let mut talk = talk(peer, &Jump::default(), 1300);
    let mut source = Pieces::new(&[b'x'; 100], 40);
    run(deliver(&mut talk, None, &mut source, None)).expect("it is in the output");
    assert_eq!(run(talk.next()), Err(DialogueError::Fault(Fault::Unexpected(250))));
}

/// MAIL that was behind the end of the message before has left; this message's end has not.
#[test]
fn a_completion_before_the_second_end_left_is_a_fault() {
    let group = format!("{ENVELOPE}DATA\r\n");
    let first = format!("1\r\n.\r\n{MAIL}");
    let second = "RCPT TO:<b@b.example>\r\nDATA\r\n";
    let mut peer = Peer::new(&[
        ("", "220 hi\r\n"),
        (HELLO, GROUPS),
        (&group, ACCEPTED),
        (&first, "250 first\r\n250 ok\r\n"),
        (second, "250 ok\r\n354 go\r\n"),
        ("2\r\n.\r", "250 second\r\n"),
    ]);
    peer.takes = [HELLO, &group, &first, second, "2\r\n.\r"].map(str::len).iter().sum();
    peer.then = Then::Stuck;
    let mut talk = talk(peer, &Jump::default(), 1300);
    let next = mail(None);
    run(deliver(&mut talk, None, &mut Pieces::new(b"1\r\n", 10), Some(&next))).expect("it goes");
    run(deliver(&mut talk, None, &mut Pieces::new(b"2\r\n", 10), None)).expect("it goes");
    assert_eq!(run(talk.next()), Err(DialogueError::Fault(Fault::Unexpected(250))));
}
