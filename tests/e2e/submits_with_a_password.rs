//! Mailers that nobody here wrote submit a message each, with a password and under TLS that they
//! verify. Each message arrives behind a real smarthost as it was sent.

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use tokio::task::spawn_blocking;

use crate::bundle::{Bundle, Service};
use crate::letter::{letter, trace};
use crate::{mailbox, queue};

const NAME: &str = "mail.lan.example";
const ANN: &str = "ann@lan.example";
const PASSWORD: &str = "secret";
/// What a server makes for itself.
const CERTIFICATE: &str = "/var/spool/postern/tls/certificate.pem";

/// Reads the message, whose lines end in CRLF. The mailer's name is the first argument. s-nail
/// would encode a long line.
const OPTIONS: &str = r#"
cat >/crlf; sed 's/\r$//' /crlf >/lf; sed '1,/^$/d;/^xxx/d' /lf >/body
name=mail.lan.example; from=ann@lan.example; to=$1@far.example; ca=/certificate.pem
swaks="--server $name --from $from --to $to --auth-user ann --auth-password secret
    --tls-verify --tls-ca-path $ca"
msmtp="--host=$name --from=$from --tls=on --tls-trust-file=$ca --auth=plain --user=ann
    --passwordeval=/password --debug $to"
curl="--silent --show-error --verbose --ssl-reqd --cacert $ca --user ann:secret
    --mail-from $from --mail-rcpt $to --upload-file /crlf"
snail="-:/ -v -v -S v15-compat -S from=$from -S smtp-use-starttls -S tls-verify=strict
    -S tls-ca-file=$ca -S tls-ca-no-defaults -S mime-encoding=8bit -S ttycharset=utf-8
    -S sendcharsets=utf-8 -S record=/sent.$1 -s Hello"
postfix="relayhost=[$name]:587 smtp_tls_security_level=secure smtp_tls_CAfile=$ca
    smtp_tls_secure_cert_match=hostname smtp_sasl_auth_enable=yes
    smtp_sasl_security_options=noanonymous smtp_sasl_mechanism_filter=scram-sha-256
    smtp_sasl_password_maps=inline:{{[$name]:587=ann:secret}}"
"#;
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
to, port = sys.argv[1:]
trust = ssl.create_default_context(cafile="/certificate.pem")
if port == "465":
    smtp = smtplib.SMTP_SSL("mail.lan.example", context=trust)
else:
    smtp = smtplib.SMTP("mail.lan.example", port)
    smtp.starttls(context=trust)
smtp.set_debuglevel(1)
smtp.login("ann", "secret")
smtp.sendmail("ann@lan.example", [to], open("/crlf", "rb").read())
smtp.quit()
"#;

/// A mailer's name, how it sends, and what its own account of that has.
type Mailer = (&'static str, &'static str, &'static str);
/// `\0ann\0secret`, as an initial response.
const PLAIN: &str = "AUTH PLAIN AGFubgBzZWNyZXQ=";
const MAILERS: [Mailer; 13] = [
    ("swaks", r#"swaks $swaks --port 587 --tls --auth PLAIN --data "$(cat /lf)""#, PLAIN),
    ("swaks-login", r#"swaks $swaks --port 587 --tls --auth LOGIN --data "$(cat /lf)""#, "AUTH L"),
    ("swaks-465", r#"swaks $swaks --port 465 --tlsc --auth PLAIN --data "$(cat /lf)""#, PLAIN),
    ("msmtp", "msmtp $msmtp --port=587 </lf", PLAIN),
    ("msmtp-465", "msmtp $msmtp --port=465 --tls-starttls=off </lf", PLAIN),
    ("curl", "curl $curl smtp://$name:587 --login-options AUTH=PLAIN", "AUTH PLAIN\r\n"),
    ("curl-login", "curl $curl smtp://$name:587 --login-options AUTH=LOGIN", "AUTH LOGIN\r\n"),
    ("curl-465", "curl $curl smtps://$name --login-options AUTH=PLAIN --sasl-ir", PLAIN),
    ("smtplib", "python3 /submit.py $to 587", PLAIN),
    ("smtplib-465", "python3 /submit.py $to 465", PLAIN),
    (
        "s-nail",
        "s-nail $snail -S mta=submission://ann:secret@$name -S smtp-auth=login $to </body
        cat /sent.$1",
        "AUTH LOGIN",
    ),
    (
        "s-nail-465",
        "s-nail $snail -S mta=submissions://ann:secret@$name -S smtp-auth=plain $to </body
        cat /sent.$1",
        "AUTH PLAIN",
    ),
    // What it does can be told by its mail alone: it knows no mechanism but SCRAM-SHA-256.
    ("postfix", "postconf -e $postfix; postfix reload; sendmail -i -f $from $to </lf", ""),
];

#[tokio::test]
async fn what_each_mailer_submits_arrives_as_it_was() {
    let bundle = Bundle::new();
    // From a network that is trusted nobody needs a password.
    bundle.configure("lan", &[("\ntrusted = ", "\n# ")]);
    bundle.up(&["lan", "smarthost", "mailer"]).await;
    let [postern, smarthost, mailer] = ["lan", "smarthost", "mailer"].map(|it| bundle.service(it));
    let add = ["postern", "account", "add", "ann", "--address", ANN];
    postern.run_with(&add, PASSWORD).await.expect_success();
    let certificate = postern.file(CERTIFICATE).expect("it was made at the start");
    let certificate = String::from_utf8(certificate).expect("PEM is text");
    for (file, text) in [
        ("/certificate.pem", &*certificate),
        ("/submit.py", SMTPLIB),
        ("/password", "#!/bin/sh\necho secret\n"),
    ] {
        mailer
            .run_with(&["install", "-m", "0755", "/dev/stdin", file], text)
            .await
            .expect_success();
    }

    let mut sent = Vec::new();
    for (number, of) in (1..).zip(MAILERS) {
        sent.push((of.0, submits(&mailer, of, number).await));
    }
    for (number, name, port) in [(14, "lettre", 587), (15, "lettre-465", 465)] {
        let message = letter(&mailbox_of(name), number);
        lettre_submits(lettre(&bundle, port, &certificate), name, &message).await;
        sent.push((name, message));
    }
    for (name, message) in sent {
        let got = mailbox::message(&smarthost, &mailbox_of(name), 1).await;
        is_ours(name, &trace(&got, &message));
    }
    queue::holds(&postern, 0).await;
}

/// The mailbox of the mailer with this name.
fn mailbox_of(name: &str) -> String {
    format!("{name}@far.example")
}

/// Has a mailer submit a message, which is returned as it was sent.
async fn submits(mailer: &Service<'_>, (name, command, account): Mailer, number: usize) -> Vec<u8> {
    let letter = letter(&mailbox_of(name), number);
    let text = str::from_utf8(&letter).expect("it is UTF-8");
    let script = format!("{OPTIONS}{command}");
    let output = mailer.run_with(&["sh", "-ec", &script, "sh", name], text).await;
    let said = format!("{}{}", output.text(), output.stderr);
    assert!(output.succeeded() && said.contains(account), "{name}: {said}");
    if name.starts_with("s-nail") { recorded(&output.text()) } else { letter }
}

/// The one message of a mailbox file: s-nail makes the header itself, and records what it sent.
fn recorded(file: &str) -> Vec<u8> {
    let (_from, message) = file.split_once('\n').expect("a line begins the message");
    let message = message.strip_suffix('\n').expect("an empty line ends it");
    assert!(message.contains("\n\nGrüße aus dem Süden\n.\n..two dots\n"), "{file}");
    message.replace('\n', "\r\n").into_bytes()
}

/// A mailer in Rust, on this machine.
fn lettre(bundle: &Bundle, port: u16, certificate: &str) -> SmtpTransport {
    let place = bundle.published("lan", port);
    let root = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
    let tls = TlsParameters::builder(NAME.to_owned());
    let tls = tls.certificate_store(CertificateStore::None).add_root_certificate(root);
    let tls = tls.build_rustls().expect("a certificate to trust");
    SmtpTransport::builder_dangerous(place.ip().to_string())
        .port(place.port())
        .tls(if port == 465 { Tls::Wrapper(tls) } else { Tls::Required(tls) })
        .credentials(Credentials::new("ann".to_owned(), PASSWORD.to_owned()))
        .authentication(vec![Mechanism::Plain])
        .build()
}

async fn lettre_submits(mailer: SmtpTransport, name: &str, message: &[u8]) {
    let address = |text: &str| text.parse().expect("an address");
    let envelope = Envelope::new(Some(address(ANN)), vec![address(&mailbox_of(name))]);
    let envelope = envelope.expect("there is a recipient");
    // It ends the last line itself.
    let message = message.strip_suffix(b"\r\n").expect("a last line").to_vec();
    let sending = spawn_blocking(move || mailer.send_raw(&envelope, &message));
    sending.await.expect("it does not panic").expect(name);
}

/// Sees to it that nothing stands in front of a message but what hosts write there, and that
/// Postern was told the password under TLS.
fn is_ours(name: &str, trace: &str) {
    let of_hosts = ["Return-Path: ", "Delivered-To: ", "Received: ", "\t", " "];
    for line in trace.lines() {
        assert!(of_hosts.iter().any(|start| line.starts_with(start)), "{name}: {line}");
    }
    let with =
        trace.split(" by mail.lan.example").nth(1).and_then(|rest| rest.split(" id ").next());
    let with: Vec<_> = with.expect(name).split_whitespace().collect();
    assert!(matches!(with[..], ["with", "ESMTPSA" | "UTF8SMTPSA"]), "{name}: {trace}");
}
