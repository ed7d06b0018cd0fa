extern crate std;

use std::string::String;
use std::vec;

use super::*;

const TIME: Timestamp = Timestamp { unix_seconds: 1_700_000_000, known: true };

fn text(text: &'static str) -> Text<'static> {
    Text::new(text.as_bytes()).expect("printable")
}

fn report() -> Report<'static> {
    Report {
        hostname: text("mx2.example"),
        to: b"ann@client.example",
        id: text("0-1"),
        time: TIME,
        arrival: Timestamp { unix_seconds: TIME.unix_seconds - 60, known: true },
        envelope_id: b"QQ+2B314",
        remote: text("smtp.provider.example"),
        untold: 0,
        utf8: false,
    }
}

const BOB: About<'static> = About {
    path: b"bob@far.example",
    original: b"rfc822;bob+2Bx@far.example",
    action: Action::Failed,
    reply: b"550 5.1.1 nobody",
    is_brief: false,
};

fn write(report: &Report<'_>, about: &[About<'_>], returned: Returned<'_>) -> String {
    let mut buffer = vec![0; 8192];
    let mut out = Out::new(&mut buffer);
    report.write(about.iter().copied(), returned, &mut out).expect("it fits");
    String::from_utf8(out.written().into()).expect("it is text")
}

#[test]
fn it_is_a_whole_report() {
    let header = Returned::Header(b"Subject: hi\r\n");
    assert_eq!(
        write(&report(), &[BOB], header),
        "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
         From: Mail delivery <MAILER-DAEMON@mx2.example>\r\n\
         To: <ann@client.example>\r\n\
         Subject: Your mail could not be delivered\r\n\
         Message-ID: <0-1@mx2.example>\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\
         \tboundary=\"=_0-1\"\r\n\
         \r\n\
         --=_0-1\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         This is mx2.example. You have sent mail through it on \
         Tue, 14 Nov 2023 22:12:20 +0000.\r\n\
         \r\n\
         <bob@far.example>\r\n    \
             It was refused for good, and is not tried any more.\r\n    \
             smtp.provider.example: 550 5.1.1 nobody\r\n\
         \r\n\
         --=_0-1\r\n\
         Content-Type: message/delivery-status\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         Reporting-MTA: dns; mx2.example\r\n\
         Original-Envelope-Id: QQ+314\r\n\
         Arrival-Date: Tue, 14 Nov 2023 22:12:20 +0000\r\n\
         \r\n\
         Original-Recipient: rfc822; bob+x@far.example\r\n\
         Final-Recipient: rfc822; bob@far.example\r\n\
         Action: failed\r\n\
         Status: 5.1.1\r\n\
         Remote-MTA: dns; smtp.provider.example\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 nobody\r\n\
         \r\n\
         --=_0-1\r\n\
         Content-Type: text/rfc822-headers\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         Subject: hi\r\n\
         \r\n\
         --=_0-1--\r\n"
    );
}

/// What others said can end neither its line nor its part.
#[test]
fn no_word_of_others_becomes_a_line_of_its_own() {
    let about = About {
        reply: b"550 5.1.1 a\r\nStatus: 2.0.0\r\n\r\n--=_0-1\r\n\xff",
        original: b"rfc822;a+0D+0AAction:+20delivered+00",
        ..BOB
    };
    let report = Report { envelope_id: b"+0D+0AX:+20y", ..report() };
    let written = write(&report, &[about], Returned::Nothing);
    assert!(written.contains("Original-Envelope-Id: ??X: y\r\n"), "{written}");
    assert!(written.contains("rfc822; a??Action: delivered?\r\n"), "{written}");
    assert!(written.contains("smtp; 550 5.1.1 a??Status: 2.0.0????--=_0-1???\r\n"), "{written}");
    assert_eq!(written.matches("\r\nStatus: ").count(), 1);
    assert!(written.lines().all(|line| line.len() < 998));
}

#[test]
fn each_action_has_its_status() {
    for (action, reply, status) in [
        (Action::Failed, "550 5.7.1 no", "Action: failed\r\nStatus: 5.7.1"),
        (Action::Failed, "550 no", "Action: failed\r\nStatus: 5.0.0"),
        (Action::Failed, "550 4.7.1 odd", "Action: failed\r\nStatus: 5.0.0"),
        (Action::Failed, "the message has 9 octets", "Action: failed\r\nStatus: 5.0.0"),
        (Action::Expired, "450 4.2.1 later", "Action: failed\r\nStatus: 4.4.7"),
        (Action::Delayed, "450 4.2.1 later", "Action: delayed\r\nStatus: 4.2.1"),
        (Action::Delayed, "", "Action: delayed\r\nStatus: 4.0.0"),
        (Action::Delayed, "552 5.2.2 full", "Action: delayed\r\nStatus: 4.2.2\r\n"),
        (Action::Relayed, "250 2.0.0 queued", "Action: relayed\r\nStatus: 2.0.0"),
        (Action::Relayed, "250 queued as 5.1.2", "Action: relayed\r\nStatus: 2.0.0"),
    ] {
        let about = About { action, reply: reply.as_bytes(), ..BOB };
        let written = write(&report(), &[about], Returned::Nothing);
        assert!(written.contains(status), "{reply}: {written}");
    }
}

#[test]
fn what_is_beyond_ascii_is_said_in_its_own_forms() {
    let report = Report { to: "änn@client.example".as_bytes(), utf8: true, ..report() };
    let about = About { path: "bób@far.example".as_bytes(), original: b"", ..BOB };
    let returned = Returned::Message("Subject: ü\r\n\r\nhi\r\n".as_bytes());
    let written = write(&report, &[about], returned);
    for expected in [
        "report-type=global-delivery-status",
        "Content-Type: message/global-delivery-status\r\n",
        "Final-Recipient: utf-8; bób@far.example\r\n",
        "Content-Type: message/global\r\n",
    ] {
        assert!(written.contains(expected), "{expected}: {written}");
    }
    let raw = Returned::Header("Subject: ü\r\n".as_bytes());
    assert!(write(&report, &[BOB], raw).contains("Content-Type: message/global-headers\r\n"));
}

/// For a sender whose way may take no SMTPUTF8 (RFC 6533 §3).
#[test]
fn to_ascii_what_is_beyond_it_is_said_in_seven_bits() {
    let about = About {
        path: "b\u{f3}b+x@far.example".as_bytes(),
        original: "utf-8;\u{1f600}@far.example".as_bytes(),
        ..BOB
    };
    let written = write(&report(), &[about], Returned::Nothing);
    for expected in [
        "Original-Recipient: utf-8; \\x{1F600}@far.example\r\n",
        "Final-Recipient: utf-8; b\\x{F3}b\\x{2B}x@far.example\r\n",
        "<b\\x{F3}b\\x{2B}x@far.example>\r\n",
    ] {
        assert!(written.contains(expected), "{expected}: {written}");
    }
    assert!(written.is_ascii());
}

#[test]
fn it_is_written_whole_or_not_at_all() {
    let whole = write(&report(), &[BOB, BOB], Returned::Header(b"A: b\r\n")).len();
    for room in 0..whole {
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        let written =
            report().write([BOB, BOB].into_iter(), Returned::Header(b"A: b\r\n"), &mut out);
        assert_eq!((written, out.len()), (Err(NoRoom), 0));
    }
}

#[test]
fn a_header_is_given_back_in_whole_lines() {
    for (message, expected) in [
        ("A: b\r\nC: d\r\n\r\nbody\r\n", "A: b\r\nC: d\r\n"),
        ("A: b\r\nC: cut off he", "A: b\r\n"),
        ("\r\nbody\r\n\r\n", ""),
        ("A: b\r\n", "A: b\r\n"),
        ("A", ""),
        ("", ""),
    ] {
        assert_eq!(&message[..header_len(message.as_bytes())], expected, "{message}");
    }
}

#[test]
fn of_a_long_reply_the_begin_is_said() {
    let reply = ["550 5.1.1 ", &"x".repeat(1000)].concat();
    let text = write(&report(), &[About { reply: reply.as_bytes(), ..BOB }], Returned::Nothing);
    let said = ["Diagnostic-Code: smtp; 550 5.1.1 ", &"x".repeat(390), "\r\n"].concat();
    assert!(text.contains(&said), "{text}");
}
