//! Which parameters go to which peer, and which messages can't.

use crate::dialogue::{EHLO, GREETING, PLAIN, QUIT};
use crate::script::{CONFIG, Job, MAIL, NO_PARAMS, play};
use postern_core::client::{CallError, Client, MIN_OUT, Mail, Need, Next, Recipient, Step};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::{Body, MailParams, Notify, RcptParams, Ret};

#[test]
fn parameters_go_where_they_are_offered() {
    let mail = Mail {
        reverse_path: b"",
        params: MailParams {
            size: Some(4),
            body: Body::EightBitMime,
            smtputf8: true,
            ret: Ret::Headers,
            envid: Some(b"id+3D1"),
            auth: None,
        },
        needs_utf8: true,
    };
    let job = Job::Message { mail, to: &[], body: b"" };
    let all = "250-p\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n";
    let offered = "MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+3D1\r\n";
    let report = play(
        CONFIG,
        &[job],
        &[GREETING, (EHLO, all), (offered, "250 ok\r\n"), ("RSET\r\n", "250 ok\r\n"), QUIT],
    );
    assert_eq!(report, [""; 0]);

    let plain = Mail { params: MailParams { smtputf8: false, ..mail.params }, ..mail };
    let jobs = [job, Job::Message { mail: plain, to: &[], body: b"" }];
    let script =
        [GREETING, PLAIN, ("MAIL FROM:<>\r\n", "250 ok\r\n"), ("RSET\r\n", "250 ok\r\n"), QUIT];
    let report = play(CONFIG, &jobs, &script);
    assert_eq!(report, ["error: the message needs SMTPUTF8, which the peer does not offer"]);
}

#[test]
fn binary_mail_goes_by_bdat_or_not_at_all() {
    let params = MailParams { size: Some(3), body: Body::BinaryMime, ..NO_PARAMS };
    let mail = Mail { params, ..MAIL };
    let job = Job::Message { mail, to: &["b@b.example"], body: b"\n.\0" };
    let report = play(CONFIG, &[job], &[GREETING, (EHLO, "250-p\r\n250 CHUNKING\r\n"), QUIT]);
    assert_eq!(report, ["error: the message needs BINARYMIME, which the peer does not offer"]);
    let script = [
        GREETING,
        (EHLO, "250-p\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"),
        ("MAIL FROM:<ann@a.example> BODY=BINARYMIME\r\n", "250 ok\r\n"),
        ("RCPT TO:<b@b.example>\r\n", "250 ok\r\n"),
        ("BDAT 3 LAST\r\n\n.\0", "250 ok\r\n"),
        QUIT,
    ];
    assert_eq!(play(CONFIG, &[job], &script), ["rcpt 0: 250 ok", "message: 250 ok"]);
}

/// A keyword is the whole word (RFC 5321 §4.1.1.1), in any case, and its parameters change nothing.
#[test]
fn keywords_are_whole_words() {
    let mail = Mail { params: MailParams { size: Some(4), ..NO_PARAMS }, ..MAIL };
    let job = Job::Message { mail, to: &[], body: b"" };
    let plain = "MAIL FROM:<ann@a.example>\r\n";
    let sized = "MAIL FROM:<ann@a.example> SIZE=4\r\n";
    for (offer, said) in [("SIZEX", plain), ("XSIZE", plain), ("SIZ", plain), ("SIZE", sized)] {
        for offer in [offer.to_owned(), format!("{} 1000", offer.to_lowercase())] {
            let hello = format!("250-peer\r\n250 {offer}\r\n");
            let reset = ("RSET\r\n", "250 ok\r\n");
            let script = [GREETING, (EHLO, &hello), (said, "250 ok\r\n"), reset, QUIT];
            play(CONFIG, &[job], &script);
        }
    }
    // What stands in the first line is the peer's name.
    let script =
        [GREETING, (EHLO, "250 SIZE\r\n"), (plain, "550 no\r\n"), ("RSET\r\n", "250\r\n"), QUIT];
    play(CONFIG, &[job], &script);
}

#[test]
fn the_size_that_is_offered_is_known() {
    for (offer, limit) in [
        ("250-SIZE 1000\r\n", Some(1000)),
        ("250-size 1000 x\r\n", Some(1000)),
        ("250-SIZE\r\n", None),
        ("250-SIZE 0\r\n", None),
        ("250-SIZE many\r\n", None),
        ("250-SIZE 99999999999999999999\r\n", Some(u64::MAX)),
        ("250-XSIZE 1000\r\n", None),
    ] {
        let mut client = Client::new(CONFIG);
        let mut buffer = [0; 2000];
        let mut out = Out::new(&mut buffer);
        let hello = format!("250-peer\r\n{offer}250 HELP\r\n");
        for mut input in ["220 hi\r\n", &hello] {
            loop {
                let step = client.step(Instant::from_millis(0), input.as_bytes(), &mut out);
                input = &input[step.consumed..];
                if let Next::Need(_) = step.next {
                    break;
                }
            }
        }
        assert_eq!(client.size_limit(), limit, "{offer}");
    }
}

/// What the client says for a recipient with these parameters, to a peer with these offers.
fn rcpt(offers: &str, mail: &Mail<'_>, to: &Recipient<'_>) -> Result<String, CallError> {
    let mut client = Client::new(CONFIG);
    let mut buffer = [0; MIN_OUT];
    let mut said = String::new();
    let hello = format!("250-peer\r\n{offers}250 HELP\r\n");
    for mut input in ["220 hi\r\n", &hello, "250 ok\r\n"] {
        loop {
            let mut out = Out::new(&mut buffer);
            let Step { consumed, next } =
                client.step(Instant::from_millis(0), input.as_bytes(), &mut out);
            input = &input[consumed..];
            match next {
                Next::Need(Need::Transaction) => client.mail(mail, &mut out)?,
                Next::Need(Need::Recipient { .. }) => {
                    client.rcpt(to, &mut out)?;
                    said += &String::from_utf8_lossy(out.written());
                    return Ok(said);
                }
                Next::Need(_) => break,
                _ => {}
            }
        }
    }
    panic!("MAIL was refused");
}

const UTF8: Mail<'static> = Mail { params: MailParams { smtputf8: true, ..NO_PARAMS }, ..MAIL };

#[test]
fn a_recipients_parameters_go_where_they_are_offered() {
    let notify = Notify::SUCCESS.and(Notify::FAILURE).and_then(|both| both.and(Notify::DELAY));
    let orcpt = Some(&b"rfc822;a+3Db@c.example"[..]);
    let to = Recipient {
        forward_path: b"b@b.example",
        params: RcptParams { notify: notify.expect("they may stand together"), orcpt },
    };
    let with_dsn =
        "RCPT TO:<b@b.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+3Db@c.example\r\n";
    assert_eq!(rcpt("250-DSN\r\n", &MAIL, &to).as_deref(), Ok(with_dsn));
    assert_eq!(rcpt("", &MAIL, &to).as_deref(), Ok("RCPT TO:<b@b.example>\r\n"));
    let never = Recipient { params: RcptParams { notify: Notify::NEVER, orcpt: None }, ..to };
    let with_dsn = "RCPT TO:<b@b.example> NOTIFY=NEVER\r\n";
    assert_eq!(rcpt("250-DSN\r\n", &MAIL, &never).as_deref(), Ok(with_dsn));
}

/// The longest values that RFC 5321 and RFC 3461 allow fit the room that a step promises.
#[test]
fn the_longest_commands_fit_the_room_that_is_promised() {
    let path = format!("{}@{}", "l".repeat(64), "d".repeat(191));
    let (envid, orcpt) = ("e".repeat(100), format!("rfc822;{}", "o".repeat(493)));
    let mail = Mail {
        reverse_path: path.as_bytes(),
        params: MailParams {
            size: Some(u64::MAX),
            body: Body::EightBitMime,
            smtputf8: true,
            ret: Ret::Headers,
            envid: Some(envid.as_bytes()),
            auth: None,
        },
        needs_utf8: true,
    };
    let notify = Notify::SUCCESS.and(Notify::FAILURE).and_then(|both| both.and(Notify::DELAY));
    let to = Recipient {
        forward_path: path.as_bytes(),
        params: RcptParams {
            notify: notify.expect("they may stand together"),
            orcpt: Some(orcpt.as_bytes()),
        },
    };
    let offers = "250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n";
    let said = rcpt(offers, &mail, &to).expect("it fits");
    assert!((800..MIN_OUT).contains(&said.len()), "{}", said.len());
}

/// RFC 6533 §3: an ORCPT in UTF-8 only goes with SMTPUTF8; the recipient goes in any case.
#[test]
fn an_orcpt_in_utf8_goes_with_smtputf8_only() {
    let orcpt = |text: &'static str| Recipient {
        forward_path: b"b@b.example",
        params: RcptParams { notify: Notify::UNSTATED, orcpt: Some(text.as_bytes()) },
    };
    let (dsn, both) = ("250-DSN\r\n", "250-DSN\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n");
    let (utf8, ascii) = (orcpt("utf-8;\u{fc}@b.c"), orcpt("utf-8;u@b.c"));
    let without = "RCPT TO:<b@b.example>\r\n";
    assert_eq!(rcpt(dsn, &UTF8, &utf8).as_deref(), Ok(without));
    assert_eq!(rcpt(both, &MAIL, &utf8).as_deref(), Ok(without), "MAIL did not say SMTPUTF8");
    let with = "RCPT TO:<b@b.example> ORCPT=utf-8;\u{fc}@b.c\r\n";
    assert_eq!(rcpt(both, &UTF8, &utf8).as_deref(), Ok(with));
    let with = "RCPT TO:<b@b.example> ORCPT=utf-8;u@b.c\r\n";
    assert_eq!(rcpt(dsn, &UTF8, &ascii).as_deref(), Ok(with));
}

/// RFC 6531 §3.2: what is ASCII throughout is no internationalized message, whatever its sender
/// said of it, and goes to a peer without SMTPUTF8 as any other does.
#[test]
fn what_does_not_need_smtputf8_goes_without() {
    let to = |path: &'static str| Recipient {
        forward_path: path.as_bytes(),
        params: RcptParams::default(),
    };
    let (ann, jorg) = (to("ann@b.example"), to("j\u{f6}rg@b.example"));
    let needs = Err(CallError::NeedsSmtpUtf8);
    assert_eq!(rcpt("", &UTF8, &ann).as_deref(), Ok("RCPT TO:<ann@b.example>\r\n"));
    assert_eq!(rcpt("", &UTF8, &jorg), needs, "this one only");
    assert_eq!(rcpt("", &Mail { needs_utf8: true, ..UTF8 }, &ann), needs);
    let sender = "\u{e4}nn@a.example".as_bytes();
    assert_eq!(rcpt("", &Mail { reverse_path: sender, ..UTF8 }, &ann), needs);
    // SMTPUTF8 is offered with 8BITMIME, or not at all (RFC 6531 §3.1).
    let offered = "250-8BITMIME\r\n250-SMTPUTF8\r\n";
    let with = rcpt(offered, &Mail { needs_utf8: true, ..UTF8 }, &jorg);
    assert_eq!(with.as_deref(), Ok("RCPT TO:<j\u{f6}rg@b.example>\r\n"));
    // Octets over 127 in a header that nobody declared go on as they came, as 8-bit mail does.
    assert!(rcpt("", &Mail { needs_utf8: true, ..MAIL }, &ann).is_ok());

    let mixed =
        Job::Message { mail: UTF8, to: &["ann@b.example", "j\u{f6}rg@b.example"], body: b"1\r\n" };
    let script = [
        GREETING,
        PLAIN,
        ("MAIL FROM:<ann@a.example>\r\n", "250 ok\r\n"),
        ("RCPT TO:<ann@b.example>\r\n", "250 ok\r\n"),
        ("DATA\r\n", "354 go\r\n"),
        ("1\r\n.\r\n", "250 ok\r\n"),
        QUIT,
    ];
    let report = ["rcpt 0: 250 ok", "error: the recipient needs SMTPUTF8", "message: 250 ok"];
    assert_eq!(play(CONFIG, &[mixed], &script), report);
}
