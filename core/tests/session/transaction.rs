//! Each MAIL that was accepted is followed by exactly one End or Discard.

use postern_core::session::{Need, Verdict, Why};
use postern_core::wire::ehlo::Extension;
use postern_core::wire::reply::Reason;

use crate::peer::{CONFIG, DATA, OPEN, Peer};

const NO: Verdict<'static> = Verdict::Refuse(Reason::Full, None);
const CLOSED: Verdict<'static> = Verdict::Refuse(Reason::Down, None);
const CLOSE: Verdict<'static> = Verdict::Close(Reason::Policy, None);

/// The Ends and Discards of a session that says `lines` and hangs up, and the codes of its replies.
fn ends(mut peer: Peer, lines: &[&[u8]]) -> (Vec<String>, Vec<String>) {
    let mut events = Vec::new();
    for line in lines {
        events.extend(peer.drive(line).0);
    }
    events.retain(|event| event == "End" || event.starts_with("Discard"));
    events.extend(peer.session.hang_up().map(|why| format!("Discard({why:?})")));
    assert_eq!(peer.session.hang_up(), None, "it is told once");
    (events, peer.codes())
}

fn plain(lines: &[&[u8]]) -> (Vec<String>, Vec<String>) {
    ends(Peer::greeted(CONFIG), lines)
}

#[test]
fn a_message_that_was_committed_is_not_discarded() {
    assert_eq!(plain(&[DATA, b"x\r\n.\r\n"]).0, ["End"]);
    assert_eq!(ends(Peer::refusing("End", NO), &[DATA, b"x\r\n.\r\n"]).0, ["End"]);
    assert_eq!(ends(Peer::refusing("End", CLOSED), &[DATA, b"x\r\n.\r\n"]).0, ["End"]);
    assert_eq!(plain(&[OPEN, b"BDAT 1\r\nxBDAT 0 LAST\r\n"]).0, ["End"]);
}

#[test]
fn a_mail_that_was_refused_is_not_discarded() {
    for verdict in [NO, CLOSED, CLOSE] {
        assert_eq!(ends(Peer::refusing("Mail", verdict), &[b"MAIL FROM:<>\r\n"]).0, [""; 0]);
    }
}

#[test]
fn whatever_ends_a_transaction_discards_it_once() {
    let cases: [(&[&[u8]], &str); 11] = [
        (&[OPEN], "HangUp"),
        (&[DATA, b"half"], "HangUp"),
        (&[OPEN, b"RSET\r\n"], "Reset"),
        (&[OPEN, b"EHLO again\r\n"], "Reset"),
        (&[OPEN, b"HELO again\r\n"], "Reset"),
        (&[OPEN, b"QUIT\r\n"], "Quit"),
        (&[DATA, b"bare\n"], "BareLineEnd"),
        (&[DATA, b"bare\nand\rmore\0\r\n.\r\nRSET\r\n"], "BareLineEnd"),
        (&[DATA, b"a\0b\r\n.\r\n"], "Nul"),
        (&[OPEN, b"BDAT 99999999999 LAST\r\nx"], "TooBig"),
        (&[OPEN, b"BDAT x\r\n"], "LostStep"),
    ];
    for (lines, why) in cases {
        assert_eq!(plain(lines).0, [format!("Discard({why})")], "{lines:?}");
    }
}

#[test]
fn what_the_caller_refuses_it_discards_once() {
    let bdat: &[&[u8]] = &[OPEN, b"BDAT 3\r\nabcNOOP\r\n"];
    let data: &[&[u8]] = &[DATA, b"NOOP\r\n"];
    let cases = [
        ("Rcpt", CLOSE, data, "421"),
        ("Data", NO, data, "250"),
        ("Data", CLOSED, data, ""),
        ("Data", NO, bdat, "250"),
        ("Data", CLOSE, bdat, ""),
        ("ChunkEnd", NO, bdat, "250"),
        ("ChunkEnd", CLOSED, bdat, ""),
    ];
    for (event, verdict, lines, last) in cases {
        let (ends, codes) = ends(Peer::refusing(event, verdict), lines);
        assert_eq!(ends, ["Discard(Refused)"], "{event}, {verdict:?}");
        assert!(last != "250" || codes.last().is_some_and(|code| code == "250"), "{codes:?}");
    }
}

#[test]
fn a_refused_data_ends_the_transaction() {
    let (_, codes) = ends(Peer::refusing("Data", NO), &[DATA, b"DATA\r\nMAIL FROM:<>\r\n"]);
    assert_eq!(codes, ["250", "250", "452", "503", "250"]);
}

/// Else the message's text would be obeyed as commands.
#[test]
fn a_refused_chunk_is_read_and_dropped() {
    let chunk = [OPEN, b"BDAT 8 LAST\r\nRSET\r\n\r\nNOOP\r\n"].concat();
    let (_, codes) = ends(Peer::refusing("Data", NO), &[&chunk]);
    assert_eq!(codes, ["250", "250", "452", "250"]);
    let chunks = [OPEN, b"BDAT 3\r\nabcBDAT 3 LAST\r\nabc"].concat();
    let (_, codes) = ends(Peer::refusing("ChunkEnd", NO), &[&chunks, b"NOOP\r\n"]);
    assert_eq!(codes, ["250", "250", "452", "503", "250"], "the transaction is over");
}

#[test]
fn a_flaw_in_a_chunk_is_told_at_its_end() {
    for (flaw, why) in [(&b"a\nb"[..], "BareLineEnd"), (b"a\rb", "BareLineEnd"), (b"\0ab", "Nul")] {
        let lines = [OPEN, b"BDAT 3\r\n", flaw, b"NOOP\r\n"].concat();
        let (ends, codes) = plain(&[&lines]);
        assert_eq!(ends, [format!("Discard({why})")]);
        assert_eq!(codes, ["250", "250", "554", "250"]);
    }
    let (ends, codes) = plain(&[OPEN, b"BDAT 2\r\na\rBDAT 1 LAST\r\n\n"]);
    assert_eq!((ends.concat(), codes.concat()), ("End".into(), "250250250250".into()));
    assert_eq!(plain(&[OPEN, b"BDAT 2\r\na\rBDAT 0 LAST\r\n"]).0, ["Discard(BareLineEnd)"]);
}

#[test]
fn a_binary_message_may_hold_anything() {
    let config = CONFIG.with(Extension::BinaryMime);
    let mail = b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b.example>\r\n";
    let (ends, _) = ends(Peer::greeted(config), &[mail, b"BDAT 4 LAST\r\n\0\n\r\r"]);
    assert_eq!(ends, ["End"]);
}

#[test]
fn an_abort_discards_at_once_and_is_told_at_the_true_end() {
    let mut peer = Peer::greeted(CONFIG);
    peer.aborts = Some(Reason::Full);
    peer.drive(DATA);
    peer.heard();
    let (events, need) = peer.drive(b"xyz");
    assert_eq!((events, need), (vec!["Chunk".into(), "Discard(Refused)".into()], Need::Input));
    assert_eq!(peer.drive(b"more\r\n.\r\n").0, [""; 0]);
    assert_eq!(peer.heard(), "452 4.3.1 No room now, try later\r\n");
    assert_eq!(peer.session.hang_up(), None);
}

#[test]
fn an_abort_between_chunks_is_told_at_the_end_of_the_next() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(OPEN);
    peer.drive(b"BDAT 1\r\nx");
    peer.session.abort(Reason::Full);
    peer.heard();
    assert_eq!(peer.drive(b"BDAT 1\r\nx").0, ["Discard(Refused)"]);
    assert_eq!(peer.drive(b"RSET\r\n").0, [""; 0]);
    assert_eq!(peer.codes(), ["452", "250"]);
}

#[test]
fn an_abort_by_a_reason_that_closes_closes() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(DATA);
    peer.session.abort(Reason::Down);
    assert_eq!(peer.drive(b"x\r\n.\r\nNOOP\r\n").1, Need::Close);
    assert_eq!(peer.codes().last().map(String::as_str), Some("421"));
}

#[test]
fn an_abort_outside_a_message_does_nothing() {
    let mut peer = Peer::greeted(CONFIG);
    peer.session.abort(Reason::Full);
    peer.drive(OPEN);
    peer.session.abort(Reason::Full);
    assert_eq!(peer.drive(b"DATA\r\n.\r\n").0, ["Data", "End"]);
}

#[test]
fn a_hang_up_before_mail_is_answered_discards_nothing() {
    use postern_core::session::{Event, Next};
    use postern_core::wire::Out;

    let mut peer = Peer::greeted(CONFIG);
    let mut buffer = [0; 1024];
    let step = peer.session.step(peer.now(), b"MAIL FROM:<>\r\n", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Next::Event(Event::Mail { .. })));
    assert_eq!(peer.session.hang_up(), None::<Why>);
}
