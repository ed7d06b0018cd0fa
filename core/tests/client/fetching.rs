//! AUTH and ATRN against a scripted peer, at every split of what the peer says.

use crate::dialogue::{EHLO, GREETING, QUIT};
use crate::script::{CONFIG, Job, play};
use postern_core::client::{
    CallError, Client, Config, Event, Fault, Mechanism, Need, Next, TlsPolicy, Waiting,
};
use postern_core::time::Instant;
use postern_core::wire::Out;

const OFFERS: (&str, &str) =
    (EHLO, "250-peer\r\n250-AUTH LOGIN cram-md5 SCRAM-SHA-256 PLAIN\r\n250 ATRN\r\n");
const SCRAM: Job<'static> = Job::Auth(Mechanism::ScramSha256, Some("Zmlyc3Q="), &["cHJvb2Y=", ""]);

#[test]
fn the_roles_turn_behind_the_last_reply() {
    for (atrn, domains) in
        [("ATRN\r\n", &[][..]), ("ATRN a.example,b.example\r\n", &["a.example", "b.example"])]
    {
        for said_early in ["", "EHLO peer\r\n", "250 and more\r\n"] {
            let turned = format!("250 OK now reversing\r\n{said_early}");
            let report = play(
                CONFIG,
                &[SCRAM, Job::Atrn(domains)],
                &[
                    GREETING,
                    OFFERS,
                    ("AUTH SCRAM-SHA-256 Zmlyc3Q=\r\n", "334 bm9uY2U=\r\n"),
                    ("cHJvb2Y=\r\n", "334 dj1z\r\n"),
                    ("\r\n", "235 2.7.0 welcome\r\n"),
                    (atrn, &turned),
                ],
            );
            let unread = format!("turned, unread: {:?}", said_early.escape_debug().to_string());
            let events = ["challenge: 334 bm9uY2U=", "challenge: 334 dj1z"];
            let ends = ["auth: 235 2.7.0 welcome", "atrn: 250 OK now reversing", &unread];
            assert_eq!(report, [&events[..], &ends[..]].concat());
        }
    }
}

#[test]
fn whoever_is_refused_may_try_another_way_or_leave() {
    let cram = Job::Auth(Mechanism::CramMd5, None, &["YW5uIDEyMw=="]);
    for (refusal, shown) in [
        ("535 5.7.8 no\r\n", "auth: 535 5.7.8 no"),
        ("454 4.7.0 later\r\n", "auth: 454 4.7.0 later"),
    ] {
        let report = play(
            CONFIG,
            &[cram, cram],
            &[
                GREETING,
                OFFERS,
                ("AUTH CRAM-MD5\r\n", "334 PDEyMz4=\r\n"),
                ("YW5uIDEyMw==\r\n", refusal),
                ("AUTH CRAM-MD5\r\n", "504 what?\r\n"),
                QUIT,
            ],
        );
        assert_eq!(report, ["challenge: 334 PDEyMz4=", shown, "auth: 504 what?"]);
    }
}

#[test]
fn each_refusal_of_atrn_leaves_the_connection_as_it_was() {
    for refusal in ["450 no", "451 later", "453 You have no mail", "502 what?", "530 who?"] {
        let script = [GREETING, OFFERS, ("ATRN\r\n", &format!("{refusal}\r\n")), QUIT];
        assert_eq!(play(CONFIG, &[Job::Atrn(&[])], &script), [format!("atrn: {refusal}")]);
    }
    let script = [GREETING, OFFERS, ("ATRN\r\n", "421 bye\r\n")];
    assert_eq!(play(CONFIG, &[Job::Atrn(&[])], &script), ["refused in Mail: 421 bye"]);
}

#[test]
fn a_challenge_that_makes_no_sense_is_given_up() {
    let script = [
        GREETING,
        OFFERS,
        ("AUTH SCRAM-SHA-256 Zmlyc3Q=\r\n", "334 \r\n"),
        ("*\r\n", "501 5.7.0 cancelled\r\n"),
        QUIT,
    ];
    let job = Job::Auth(Mechanism::ScramSha256, Some("Zmlyc3Q="), &[]);
    assert_eq!(play(CONFIG, &[job], &script), ["challenge: 334", "auth: 501 5.7.0 cancelled"]);
    // A peer that goes on all the same would do so for ever.
    let fault = format!("fault: {}", Fault::Unexpected(334));
    for (at, answer) in [(3, "334 again\r\n"), (2, "354 go on\r\n")] {
        let mut script = script;
        script[at].1 = answer;
        let report = play(CONFIG, &[job], &script[..=at]);
        assert_eq!(report.last(), Some(&fault.replace("334", &answer[..3])));
    }
    let turns = [GREETING, OFFERS, ("ATRN\r\n", "354 go on\r\n")];
    assert_eq!(play(CONFIG, &[Job::Atrn(&[])], &turns), [fault.replace("334", "354")]);
}

#[test]
fn what_is_not_offered_is_not_asked_for() {
    let bare = [GREETING, (EHLO, "250-peer\r\n250-AUTH CRAM-MD5\r\n250 ETRN\r\n"), QUIT];
    assert_eq!(
        play(CONFIG, &[SCRAM, Job::Atrn(&[])], &bare),
        [
            "error: the peer does not offer AUTH by this mechanism",
            "error: the peer does not offer ATRN"
        ]
    );
    let plain = Job::Auth(Mechanism::Plain, Some("AGEAYg=="), &[]);
    let report = play(CONFIG, &[plain], &[GREETING, OFFERS, QUIT]);
    assert_eq!(report, ["error: the mechanism needs TLS"]);
    let within = [GREETING, OFFERS, ("AUTH PLAIN AGEAYg==\r\n", "235 ok\r\n"), QUIT];
    let implicit = Config { tls: TlsPolicy::Implicit, ..CONFIG };
    assert_eq!(play(implicit, &[plain], &within), ["auth: 235 ok"]);
    // What was offered in clear does not count within TLS.
    let first = (EHLO, "250-peer\r\n250-AUTH PLAIN\r\n250-ATRN\r\n250 STARTTLS\r\n");
    let nothing = (EHLO, "250-peer\r\n250-AUTH\r\n250 ATRN\r\n");
    let script = [GREETING, first, ("STARTTLS\r\n", "220 go\r\n"), nothing, QUIT];
    let required = Config { tls: TlsPolicy::Required, ..CONFIG };
    let report = play(required, &[plain], &script);
    assert_eq!(report, ["tls", "error: the peer does not offer AUTH by this mechanism"]);
}

/// A client whose turn it is, behind these offers.
fn ready() -> Client<'static> {
    let mut client = Client::new(CONFIG);
    let mut said = [GREETING.1, OFFERS.1].map(str::as_bytes).into_iter();
    let (mut input, mut buffer) = (&b""[..], [0; 2000]);
    loop {
        let mut out = Out::new(&mut buffer);
        let step = client.step(Instant::from_millis(0), input, &mut out);
        input = &input[step.consumed..];
        match step.next {
            Next::Need(Need::Transaction) => return client,
            Next::Event(Event::Greeting(_)) => {}
            Next::Need(Need::Input) => input = said.next().expect("an answer is due"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_that_ends_a_line_gets_into_one() {
    let mut buffer = [0; 2000];
    let mut out = Out::new(&mut buffer);
    let mut client = ready();
    for bad in [&b"a b"[..], b"a\r\nQUIT", b"\0"] {
        let asked = client.auth(Mechanism::ScramSha256, Some(bad), &mut out);
        assert_eq!(asked, Err(CallError::BadText));
        assert_eq!(client.atrn([bad].into_iter(), &mut out), Err(CallError::BadText));
    }
    for bad in ["", "a.example,b.example", "@a.example", "-"] {
        let domains = ["c.example", bad];
        let domains = domains.iter().map(|domain| domain.as_bytes());
        assert_eq!(client.atrn(domains, &mut out), Err(CallError::BadText), "{bad}");
    }
    let many = ["a.example"; 300];
    let domains = many.iter().map(|domain| domain.as_bytes());
    assert_eq!(client.atrn(domains, &mut out), Err(CallError::NoRoom));
    assert_eq!(client.respond(b"YQ==", &mut out), Err(CallError::OutOfTurn));
    assert_eq!(client.cancel(&mut out), Err(CallError::OutOfTurn));
    assert!(out.is_empty());
    client.auth(Mechanism::ScramSha256, Some(b""), &mut out).expect("it is its turn");
    assert_eq!(out.written(), b"AUTH SCRAM-SHA-256 =\r\n");
    assert_eq!(client.atrn([].into_iter(), &mut out), Err(CallError::OutOfTurn));
}

/// RFC 2645 §5.2.1: at least ten minutes.
#[test]
fn atrn_has_the_time_to_look_through_a_queue() {
    let (mut client, mut buffer) = (ready(), [0; 2000]);
    client.atrn([].into_iter(), &mut Out::new(&mut buffer)).expect("it is its turn");
    let step = client.step(Instant::from_millis(5), b"", &mut Out::new(&mut buffer));
    assert!(matches!(step.next, Next::Need(Need::Input)));
    assert_eq!(client.waiting(), Waiting::Atrn);
    assert_eq!(client.deadline(), Instant::from_millis(5 + 600_000));
    let fault = client.expire(client.deadline());
    assert_eq!(fault, Some(Fault::TimedOut(Waiting::Atrn)));
}
