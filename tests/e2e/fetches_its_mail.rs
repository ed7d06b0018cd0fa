//! A host behind NAT, to which nobody can connect: it fetches its mail by ATRN (RFC 2645), over the
//! connection that it opens, in clear within a network of its own, and under TLS.

use testcontainers::{CopyTargetOptions, ImageExt};

use crate::caller::{ANNA, filed};
use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::world::{Host, World};
use crate::{mailbox, poll, queue};

const PASSWORD: &str = "correct horse";
const PROVIDER: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "asker"
[atrn]
listen = ["[::]:366"]
clear_from = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
"#;
/// Where the provider has TLS from the first octet on, and how it comes by a certificate.
const TLS: &str = "listen_tls = [\"[::]:3660\"]\n[receive]\ntls = \"self-signed\"\n";
const CERTIFICATE: &str = "/var/spool/postern/tls/certificate.pem";
/// TLS for a client that has none.
const STUNNEL: &str = r#"
[atrn]
client = yes
accept = 3660
connect = mx2.provider.example:3660
CAfile = /provider.pem
verifyPeer = yes
"#;
/// It listens to nobody.
const CALLER: &str = r#"
hostname = "mail.client.example"
[receive]
listener = "off"
[link]
schedule = []
time_zone = "UTC"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "maildir:/var/lib/postern/{user}"
[[wakeup]]
atrn = "mx2.provider.example"
user = "client"
password_file = "/etc/postern/password"
"#;

#[tokio::test]
async fn by_postern_in_clear() {
    let world = World::start().await;
    let provider = provider(&world, "", &[]).await;
    fetches(&world, &provider, "tls = \"opportunistic\"", "in clear").await;
}

#[tokio::test]
async fn by_postern_under_tls() {
    let world = World::start().await;
    let provider = provider(&world, TLS, &[]).await;
    let verified = "tls = \"verified\"\ntls_ca = \"/etc/postern/provider.pem\"";
    fetches(&world, &provider, verified, "under verified TLS").await;
}

/// In clear, and through stunnel: under TLS of its own fetchmail waits on the socket for what it
/// has decrypted already.
#[tokio::test]
async fn by_fetchmail() {
    let world = World::start().await;
    let provider = provider(&world, TLS, &["--cram-md5"]).await;
    let client = world.client().await;
    world.publish(&client, &provider, &client).await;
    let certificate = String::from_utf8(provider.file(CERTIFICATE).expect("it was made"));
    let files =
        [("/provider.pem", &*certificate.expect("PEM is text")), ("/stunnel.conf", STUNNEL)];
    for (file, text) in files {
        client.run_with(&["tee", file], text).await.expect_success();
    }
    client.run(&["stunnel", "/stunnel.conf"]).await.expect_success();
    for (number, (host, port)) in (1..).zip([("mx2.provider.example", 366), ("127.0.0.1", 3660)]) {
        let sent = comes(&provider).await;
        let settings = format!(
            "poll {host} protocol ODMR service {port} username client password \"{PASSWORD}\" \
             fetchdomains client.example smtphost 127.0.0.1 sslproto ''\n"
        );
        let fetchmail = ["fetchmail", "--verbose", "--fetchmailrc", "-"];
        let said = client.run_with(&fetchmail, &settings).await;
        assert!(said.succeeded(), "{settings}{}\n{}", said.text(), said.stderr);
        trace(&mailbox::message(&client, ANNA, number).await, &sent);
        queue::holds(&provider, 0).await;
    }
}

/// A provider that knows the client.
async fn provider(world: &World, keys: &str, options: &[&str]) -> Host {
    let provider = world.postern(&format!("{PROVIDER}{keys}")).await;
    let add = ["postern", "account", "add", "client", "--domain", "client.example"];
    provider.run_with(&[&add, options].concat(), PASSWORD).await.expect_success();
    provider
}

/// A message comes to the provider, and waits.
async fn comes(provider: &Host) -> Vec<u8> {
    let sent = letter(ANNA, 1);
    let mut smtp = Smtp::connect(provider.smtp().await).await.expect("the provider greets");
    let reply = smtp.send("bob@sender.example", ANNA, &sent).await.expect("it replies");
    assert_eq!(reply.code, 250, "{reply:?}");
    queue::holds(provider, 1).await;
    sent
}

/// Postern fetches what waits with its provider, connected as `how` says.
async fn fetches(world: &World, provider: &Host, tls: &str, how: &str) {
    let sent = comes(provider).await;
    let certificate = provider.file(CERTIFICATE);
    let caller = caller(world, certificate, tls).await;
    let sender = world.sender().await;
    world.publish_and_ask(&caller, provider, &sender, &sender).await;

    let asked = caller.run(&["postern", "wakeup", "--now"]).await;
    let said = asked.text();
    assert!(asked.succeeded() && said.contains(how), "{said}\n{}", asked.stderr);
    let plus = if how.contains("TLS") { "-PLUS" } else { "" };
    assert!(said.contains(&format!("AUTH SCRAM-SHA-256{plus}: 235 ")), "{said}");
    assert!(said.contains("1 message(s) came, 0 refusal(s); it took leave"), "{said}");
    let mail = async || caller.files("/var/lib/postern/anna/new").pop();
    trace(&poll::until("the mail is in the Maildir", mail).await, &filed(sent));
    queue::holds(provider, 0).await;
}

/// The host of client.example, which trusts `certificate`.
async fn caller(world: &World, certificate: Option<Vec<u8>>, tls: &str) -> Host {
    let config = format!("{CALLER}{tls}\n").into_bytes();
    let password = CopyTargetOptions::new("/etc/postern/password").with_mode(0o600);
    let request = world.host("postern", "mail.client.example").await;
    // What is copied is root's, and the password is nobody else's.
    let request = request.with_user("0").with_copy_to("/etc/postern/postern.toml", config);
    let request = request.with_copy_to(password, PASSWORD.as_bytes().to_vec());
    Host::start_new(match certificate {
        Some(certificate) => request.with_copy_to("/etc/postern/provider.pem", certificate),
        None => request,
    })
    .await
}
