//! Nobody sends through us who may not: each known trick, at each door, in clear and under TLS.

use super::place::{AWAY, END, Talk};
use super::submission::{PASSWORD, Submission};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;

/// Recipients at domains that are not held, however they are written.
const RECIPIENTS: [&str; 82] = [
    // As they are.
    "<bob@far.example>",
    "<BOB@FAR.EXAMPLE>",
    "bob@far.example",
    "<bob@far.example.>",
    "<bob@xn--bcher-kva.example>",
    "<bob@b\u{fc}cher.example>",
    "<bob@localhost>",
    "<bob@localhost.localdomain>",
    "<bob@example>",
    "<bob>",
    "<bob@>",
    "<@far.example>",
    "<>",
    // Below, above and beside what is held.
    "<info@a.client.example>",
    "<info@mail.client.example>",
    "<info@example>",
    "<info@client.example.far.example>",
    "<info@client.example..>",
    "<info@.client.example>",
    "<info@notclient.example>",
    "<info@client-example>",
    "<info@client.example:25>",
    "<info@client.example/far.example>",
    // A dot at its end, and letters that look alike.
    "<bob@far.example..>",
    "<bob@client.example.>x",
    "<info@cli\u{435}nt.example>",
    "<info@\u{441}lient.example>",
    "<info@client\u{3002}far\u{3002}example>",
    "<info@client.example\u{200b}.far.example>",
    "<info@client\u{ff0e}example\u{ff0e}far.example>",
    "<info@xn--clint-qze.example>",
    // The percent hack.
    "<bob%far.example@mx2.provider.example>",
    "<bob%far.example@client.example>",
    "<bob%far.example@any.example>",
    "<bob%far.example>",
    "<bob%far.example@>",
    "<bob%far.example@[127.0.0.1]>",
    "<bob%far.example@localhost>",
    "<bob%far.example%client.example@mx2.provider.example>",
    "<bob%client.example@far.example>",
    "<bob%any.example%far.example@any.example>",
    "<\"bob%far.example\"@any.example>",
    "<\"bob%far.example\"@mx2.provider.example>",
    // Bang paths.
    "<far.example!bob@any.example>",
    "<far.example!bob@mx2.provider.example>",
    "<far.example!bob>",
    "<any.example!far.example!bob@any.example>",
    "<\"far.example!bob\"@any.example>",
    "<mx2.provider.example!bob%far.example@any.example>",
    // Source routes.
    "<@mx2.provider.example:bob@far.example>",
    "<@any.example:bob@far.example>",
    "<@any.example,@client.example:bob@far.example>",
    "<@[127.0.0.1]:bob@far.example>",
    "<@far.example:bob%far.example@any.example>",
    "<@any.example:far.example!bob@any.example>",
    "<@any.example:@far.example>",
    "<@any.example;bob@far.example>",
    // An @ in quotes, or two of them.
    "<\"bob@far.example\"@any.example>",
    "<\"bob@far.example\"@client.example>",
    "<\"bob@far.example\"@mx2.provider.example>",
    "<\"bob@far.example\">",
    "<\"bob\\@far.example\"@any.example>",
    "<bob\\@far.example@any.example>",
    "<bob@far.example@any.example>",
    "<bob@any.example@far.example>",
    "<\"info@any.example\"@far.example>",
    "<bob@far.example,info@any.example>",
    "<info@any.example>,<bob@far.example>",
    "<info@any.example> <bob@far.example>",
    "<info@any.example bob@far.example>",
    "<info@any.example>\0<bob@far.example>",
    "<info@any.example\rRCPT TO:<bob@far.example>>",
    // Address literals.
    "<bob@[127.0.0.1]>",
    "<bob@[192.0.2.1]>",
    "<bob@[IPv6:::1]>",
    "<bob@[IPv6:::ffff:192.0.2.1]>",
    "<bob@127.0.0.1>",
    "<bob@2130706433>",
    "<bob@#2130706433>",
    // Our own name.
    "<bob@mx2.provider.example>",
    "<bob@MX2.Provider.example>",
    "<bob@[mx2.provider.example]>",
];

/// What is said before MAIL to be taken for somebody else.
const PRELUDES: [&[&str]; 24] = [
    &[],
    &["HELO mx2.provider.example"],
    &["EHLO mx2.provider.example"],
    &["EHLO localhost"],
    &["EHLO [127.0.0.1]"],
    &["EHLO [127.0.0.2]"],
    &["EHLO client.example"],
    &["XCLIENT ADDR=127.0.0.2"],
    &["XCLIENT ADDR=127.0.0.2 NAME=mailer.example LOGIN=ann"],
    &["XFORWARD ADDR=127.0.0.2 SOURCE=LOCAL"],
    &["PROXY TCP4 127.0.0.2 127.0.0.1 40000 25"],
    &["PROXY UNKNOWN"],
    &["\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\x1c\x40\0\x19"],
    &["HELP", "VRFY bob@far.example", "EXPN bob"],
    &["AUTH"],
    &["AUTH PLAIN ="],
    &["AUTH PLAIN AGFubgA="],
    &["AUTH PLAIN AAAA"],
    &["AUTH LOGIN", "YW5u", "eA=="],
    &["AUTH EXTERNAL YW5u"],
    &["AUTH ANONYMOUS YW5u"],
    &["AUTH GSSAPI", "*"],
    &["ETRN client.example", "ATRN client.example"],
    &["STARTTLS x", "NOOP ann"],
];

/// Senders that are ours, nobody, or nearly.
const SENDERS: [&str; 12] = [
    "<ann@client.example>",
    "<>",
    "<ann@client.example> AUTH=ann@client.example",
    "<ann@client.example> AUTH=<>",
    "<@client.example:ann@client.example>",
    "<postmaster@mx2.provider.example>",
    "<mailer-daemon@mx2.provider.example>",
    "<info@client.example>",
    "<bob@far.example>",
    "<ann@[127.0.0.1]>",
    "ann@client.example",
    "<ann%second.example@client.example> SIZE=1",
];

/// Senders that are not ann's.
const FOREIGN: [&str; 30] = [
    "<bob@far.example>",
    "<bob@client.example>",
    "<info@client.example>",
    "<ann@far.example>",
    "<ann@a.client.example>",
    "<ann@client.example.far.example>",
    "<ann@example>",
    "<ann+x@client.example>",
    "<ann.@client.example>",
    "<annn@client.example>",
    "<ann%client.example@far.example>",
    "<ann%client.example@mx2.provider.example>",
    "<client.example!ann@far.example>",
    "<@client.example:bob@far.example>",
    "<@second.example,@client.example:bob@far.example>",
    "<\"ann@client.example\"@far.example>",
    "<\"bob@far.example\"@client.example>",
    "<\"ann\\@client.example\"@far.example>",
    "<bob@far.example> AUTH=ann@client.example",
    "<ann@[127.0.0.1]>",
    "<ann@[client.example]>",
    "<ann@mx2.provider.example>",
    "<ann@xn--clint-qze.example>",
    "<ann@a.second.example>",
    "<ann@secondexample>",
    "<postmaster@client.example>",
    "<\u{430}nn@client.example> SMTPUTF8",
    "<ann@cli\u{435}nt.example> SMTPUTF8",
    "<ann@second.example@far.example>",
    "<ann@client.example\0@far.example>",
];

impl Talk {
    /// Says `line`, whatever it has in it; the reply, if the server has not closed.
    fn try_say(&mut self, line: &str) -> Option<String> {
        self.try_tell(&format!("{line}{END}"))?;
        let is_last = |line: &String| line.as_bytes().get(3) != Some(&b'-');
        std::iter::from_fn(|| self.line()).find(is_last)
    }
}

/// Tries to send by `mail` to `rcpt` as whatever came before allows, whatever the answers are;
/// whether it was taken. `None`: the server has closed.
fn is_sent(talk: &mut Talk, mail: &str, rcpt: &str) -> Option<bool> {
    talk.try_say(&format!("MAIL FROM:{mail}"))?;
    talk.try_say(&format!("RCPT TO:{rcpt}"))?;
    let said = talk.try_say("DATA")?;
    let mut is_taken = false;
    if said.starts_with("354 ") {
        let text = format!("Subject: relayed{END}{END}x{END}.");
        is_taken = talk.try_say(&text)?.starts_with("250 2.0.0 Held as ");
    }
    talk.try_say("RSET")?;
    Some(is_taken)
}

/// How a stranger comes in.
type Way<'a> = (&'static str, &'a dyn Fn() -> Talk);

fn stand() -> Submission {
    let hold = |domain: &str, recipients: &str| {
        format!(
            "[hold.\"{domain}\"]\nrecipients = {recipients}\ndeliver_to = \"{AWAY}\"\n\
             etrn_from = [\"192.0.2.0/24\"]\nretry_every = \"never\"\n"
        )
    };
    let holds = hold("client.example", "[\"info\"]") + &hold("any.example", "\"any\"");
    let relay = format!("[relay]\nsmarthost = \"{AWAY}\"\n");
    Submission::new("trusted = [\"127.0.0.2\"]\ni_know = true", &(relay + &holds))
}

/// Every stranger's way in, and what he says, with one variant of the rest each: all recipients
/// after EHLO, and all preludes and senders to one recipient.
#[test]
fn no_stranger_sends_to_a_domain_that_is_not_held() {
    let stand = stand();
    let mail = || stand.server.address;
    let ways: [Way<'_>; 5] = [
        ("25 in clear", &|| Talk::with(mail())),
        ("25 under TLS", &|| stand.after_starttls(mail())),
        ("587 in clear", &|| Talk::with(stand.clear)),
        ("587 under TLS", &|| stand.after_starttls(stand.clear)),
        ("465", &|| stand.at_tls()),
    ];
    let mut tried = 0;
    for (way, open) in ways {
        for chunk in RECIPIENTS.chunks(15) {
            let mut talk = open();
            talk.try_say("EHLO stranger.example");
            for rcpt in chunk {
                for mail in ["<ann@client.example>", "<> SMTPUTF8"] {
                    tried += 1;
                    let sent = is_sent(&mut talk, mail, rcpt);
                    assert_eq!(sent, Some(false), "{way}: {mail} {rcpt:?}");
                }
            }
        }
        for prelude in PRELUDES {
            let mut talk = open();
            talk.try_say("EHLO stranger.example");
            for line in prelude {
                talk.try_say(line);
            }
            tried += 1;
            let sent = is_sent(&mut talk, "<>", "<bob@far.example>");
            assert_ne!(sent, Some(true), "{way}: {prelude:?}");
        }
        for sender in SENDERS {
            let mut talk = open();
            talk.try_say("EHLO stranger.example");
            tried += 1;
            let sent = is_sent(&mut talk, sender, "<bob@far.example>");
            assert_eq!(sent, Some(false), "{way}: {sender}");
        }
    }
    assert!(tried >= 5 * 80, "{tried}");
    let held = stand.place.queue();
    assert!(held.is_empty(), "{held:?}");
    stand.server.stop();
}

/// Who has a password sends to anybody, as himself: else he would send as anybody.
#[test]
fn no_account_sends_as_another() {
    let stand = stand();
    let ways: [Way<'_>; 2] =
        [("587", &|| stand.after_starttls(stand.clear)), ("465", &|| stand.at_tls())];
    let plain = BASE64.encode(format!("\0ann\0{PASSWORD}"));
    for (way, open) in ways {
        let mut talk = open();
        talk.try_say("EHLO mailer.example");
        assert!(talk.say(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
        for (number, sender) in FOREIGN.iter().enumerate() {
            let sent = is_sent(&mut talk, sender, "<bob@far.example>");
            assert_eq!(sent, Some(false), "{way}: {sender:?}");
            if number % 10 == 9 {
                let sent = is_sent(&mut talk, "<ann@client.example>", "<bob@far.example>");
                assert_eq!(sent, Some(true), "{way}");
            }
        }
        // At our own name and at an address there is nobody, for whoever asks.
        for rcpt in ["<bob%far.example@mx2.provider.example>", "<bob@[192.0.2.1]>"] {
            let sent = is_sent(&mut talk, "<ann@client.example>", rcpt);
            assert_eq!(sent, Some(false), "{way}: {rcpt}");
        }
    }
    let held = stand.place.queue();
    assert_eq!(held.len(), 6);
    for held in held {
        let sent = (&held["domain"], &held["reverse_path"]);
        assert_eq!(sent, (&"far.example".into(), &"ann@client.example".into()));
    }
    stand.server.stop();
}

/// A password opens the door that it was said at.
#[test]
fn an_account_relays_where_mail_is_submitted_and_nowhere_else() {
    let held = "[hold.\"client.example\"]\nrecipients = [\"info\"]\ndeliver_to = \"asker\"\n\
        etrn_from = [\"authenticated\"]\n";
    let relay = format!("[relay]\nsmarthost = \"{AWAY}\"\n");
    let stand = Submission::new("", &(relay + held));
    let mut talk = stand.after_starttls(stand.server.address);
    talk.say("EHLO mailer.example");
    let plain = BASE64.encode(format!("\0ann\0{PASSWORD}"));
    assert!(talk.say(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
    assert_eq!(is_sent(&mut talk, "<ann@client.example>", "<bob@far.example>"), Some(false));
    let mut talk = stand.at_tls();
    talk.say("EHLO mailer.example");
    assert!(talk.say(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
    assert_eq!(is_sent(&mut talk, "<ann@client.example>", "<bob@far.example>"), Some(true));
    stand.server.stop();
}
