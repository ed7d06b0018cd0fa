//! A client's time.

use std::time::Duration;

use postern_core::session::{Config, Event, Expired, Need, Next, Verdict};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::reply::Reason;

use crate::peer::{CONFIG, DATA, OPEN, Peer, at};

const IDLE_MS: u64 = CONFIG.idle_timeout_ms as u64;
const REFUSED: Verdict<'static> = Verdict::Refuse(Reason::Policy, None);
const SESSION_MS: u64 = CONFIG.session_timeout_ms as u64;

#[test]
fn silence_ends_a_session_after_the_idle_time_out() {
    let mut peer = Peer::greeted(CONFIG);
    assert_eq!(peer.left_ms(), IDLE_MS);
    peer.now_ms = IDLE_MS - 1;
    peer.drive(b"NOOP\r\n");
    assert_eq!(peer.left_ms(), IDLE_MS, "a command refills");
    peer.heard();
    assert_eq!(peer.expire(), (vec![], Need::Close));
    assert_eq!(peer.heard(), "421 4.4.2 Too slow, closing\r\n");
}

#[test]
fn half_a_command_does_not_refill() {
    let mut peer = Peer::greeted(CONFIG);
    peer.now_ms = 1000;
    peer.drive(b"NOO");
    assert_eq!(peer.left_ms(), IDLE_MS - 1000);
}

#[test]
fn a_line_of_auth_refills() {
    let mut peer = Peer::greeted(CONFIG.with_auth(crate::peer::text("PLAIN")));
    peer.drive(b"AUTH PLAIN\r\n");
    peer.now_ms = 1000;
    peer.drive(b"AAAA\r\n");
    assert_eq!(peer.left_ms(), IDLE_MS);
}

#[test]
fn a_tls_handshake_refills() {
    let mut peer = Peer::greeted(CONFIG);
    peer.now_ms = 1000;
    peer.drive(b"STARTT");
    peer.now_ms = 2000;
    assert_eq!(peer.drive(b"LS\r\n").1, Need::Tls);
    peer.session.tls_started();
    peer.drive(b"");
    assert_eq!(peer.left_ms(), IDLE_MS);
}

#[test]
fn an_expired_session_says_so_once() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(OPEN);
    peer.heard();
    assert_eq!(peer.expire(), (vec!["Discard(TimedOut)".to_owned()], Need::Close));
    assert_eq!(peer.codes(), ["421"]);
    assert_eq!(peer.session.deadline(), Instant::FAR, "nobody has to wait for it any more");
    let again = peer.session.expire(Instant::FAR);
    assert_eq!(again, Expired::NotDue);
    assert_eq!(peer.drive(b"NOOP\r\n"), (vec![], Need::Close));
    assert_eq!(peer.heard(), "");
}

/// The least rate is 50 octets a second: one buys 20 ms.
#[test]
fn octets_of_a_message_buy_time() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(DATA);
    peer.now_ms = 10_000;
    peer.drive(&[b'x'; 100]);
    assert_eq!(peer.left_ms(), IDLE_MS - 8_000);
    peer.drive(&[b'x'; 10_000]);
    assert_eq!(peer.left_ms(), IDLE_MS, "no more than the idle time-out");
    peer.now_ms = 20_000;
    peer.drive(b"\r\n.\r\n");
    assert_eq!(peer.left_ms(), IDLE_MS, "the end refills");
}

#[test]
fn a_message_in_drips_ends_by_its_rate() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(DATA);
    let mut drips = 0;
    while peer.session.deadline() > peer.now() {
        peer.drive(b"x");
        peer.now_ms += 1000;
        drips += 1;
    }
    // Each second costs 1000 ms and its octet buys 20 of them.
    assert_eq!(drips, IDLE_MS.div_ceil(980));
    assert_eq!(peer.expire().0, ["Discard(TimedOut)"]);
}

#[test]
fn small_pieces_earn_what_large_ones_do() {
    let mut peer = Peer::greeted(Config { min_rate: 2000, idle_timeout_ms: 3000, ..CONFIG });
    peer.drive(DATA);
    for _ in 0..4000 {
        assert!(peer.left_ms() > 1);
        peer.now_ms += 1;
        peer.drive(b"xxx");
    }
}

#[test]
fn without_a_rate_a_message_may_drip() {
    let mut peer = Peer::greeted(Config { min_rate: 0, ..CONFIG });
    peer.drive(DATA);
    for _ in 0..100 {
        peer.now_ms += IDLE_MS - 1;
        peer.drive(b"x");
        assert_eq!(peer.left_ms(), IDLE_MS);
    }
}

/// 52 MB at 2,000 octets a second take seven hours.
#[test]
fn a_large_message_on_a_slow_link_arrives() {
    let chunk = b"BDAT 52000000 LAST\r\n";
    for transfer in [&b"DATA\r\n"[..], chunk] {
        let mut peer = Peer::greeted(CONFIG);
        peer.drive(OPEN);
        peer.drive(transfer);
        peer.heard();
        for _ in 0..26_000 {
            peer.now_ms += 1000;
            assert!(peer.session.deadline() > peer.now());
            peer.drive(&[b'x'; 2000]);
        }
        peer.drive(if transfer == chunk { b"" } else { b"\r\n.\r\n" });
        assert_eq!(peer.codes(), ["250"]);
    }
}

/// Else a chunk of one octet in five minutes would hold a channel for years.
#[test]
fn commands_between_chunks_buy_nothing() {
    let mut peer = Peer::greeted(CONFIG);
    peer.drive(OPEN);
    peer.drive(b"BDAT 1\r\nx");
    peer.now_ms = IDLE_MS / 2;
    peer.drive(b"NOOP\r\nBDAT 1\r\nx");
    assert_eq!(peer.left_ms(), IDLE_MS / 2 + 20);
}

#[test]
fn a_session_ends_after_its_own_time_out() {
    let config = Config { max_idle_commands: 0, ..CONFIG };
    let mut peer = Peer::greeted(config);
    let step_ms = IDLE_MS - 1;
    for _ in 0..SESSION_MS / step_ms {
        peer.now_ms += step_ms;
        peer.drive(b"NOOP\r\n");
    }
    assert_eq!(peer.left_ms(), SESSION_MS % step_ms);
    peer.heard();
    assert_eq!(peer.expire().1, Need::Close);
    assert_eq!(peer.codes(), ["421"]);
}

#[test]
fn an_accepted_message_renews_the_session() {
    let config = Config { session_timeout_ms: 400_000, ..CONFIG };
    for (verdict, left_ms) in [(Verdict::Accept, IDLE_MS), (REFUSED, 200_000)] {
        let mut peer = Peer::greeted(config);
        peer.refuses = Some(("End", verdict));
        peer.now_ms = 200_000;
        peer.drive(DATA);
        peer.drive(b".\r\n");
        assert_eq!(peer.left_ms(), left_ms, "{verdict:?}");
    }
}

/// What is read only to be dropped has no right to any time.
#[test]
fn a_message_that_is_refused_costs_the_session_its_time() {
    let config = Config { session_timeout_ms: 100_000, ..CONFIG };
    let mut peer = Peer::greeted(config);
    peer.drive(DATA);
    assert_eq!(peer.left_ms(), IDLE_MS);
    peer.drive(b"bare\n");
    assert_eq!(peer.left_ms(), 100_000);
}

#[test]
fn output_is_bounded_and_paid_for() {
    let config = Config { session_timeout_ms: 400_000, ..CONFIG };
    let mut peer = Peer::greeted(config);
    peer.session.sending(peer.now());
    assert_eq!(peer.left_ms(), IDLE_MS);
    peer.now_ms = 200_000;
    peer.drive(b"");
    assert_eq!(peer.left_ms(), 200_000, "of the session's, and none of the command's");
    peer.session.sending(peer.now());
    assert_eq!(peer.left_ms(), 200_000);
}

#[test]
fn a_carrier_can_shorten_the_patience() {
    let mut peer = Peer::greeted(CONFIG);
    peer.session.set_patience(Duration::from_secs(10));
    assert_eq!((peer.left_ms(), peer.session.patience()), (10_000, Duration::from_secs(10)));
    peer.now_ms = 1000;
    peer.drive(b"NOOP\r\n");
    assert_eq!(peer.left_ms(), 10_000);
    peer.session.set_patience(Duration::MAX);
    peer.drive(b"NOOP\r\n");
    assert_eq!(peer.left_ms(), IDLE_MS, "what was configured is the most");
}

#[test]
fn our_own_slowness_is_not_the_clients() {
    let mut peer = Peer::greeted(CONFIG);
    let mut buffer = [0; 1024];
    let mut out = Out::new(&mut buffer);
    let step = peer.session.step(peer.now(), b"MAIL FROM:<>\r\n", &mut out);
    let Next::Event(Event::Mail { ask, .. }) = step.next else { panic!("not expected: {step:?}") };
    assert_eq!(peer.session.deadline(), Instant::FAR);
    peer.session.answer(ask, Verdict::Accept, &mut out).expect("open");
    peer.now_ms = 3_600_000;
    assert_eq!(peer.session.step(at(3_600_000), b"", &mut out).next, Next::Need(Need::Input));
    assert_eq!(peer.left_ms(), IDLE_MS);
}

#[test]
fn octets_of_a_refused_chunk_buy_time_too() {
    let mut peer = Peer::greeted(CONFIG);
    peer.refuses = Some(("Data", REFUSED));
    peer.drive(OPEN);
    peer.drive(b"BDAT 100000\r\n");
    peer.now_ms = 10_000;
    peer.drive(&[b'x'; 100]);
    assert_eq!(peer.left_ms(), IDLE_MS - 8_000);
}
