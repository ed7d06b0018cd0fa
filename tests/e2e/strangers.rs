//! Senders that nobody here wrote hand Postern a message each, in clear and over TLS. Those that
//! are told to use TLS fail when it is not offered.

use crate::queue;
use crate::world::{Host, World};

const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[receive]
tls = "self-signed"
[hold."client.example"]
recipients = ["anna"]
# Nobody listens there: what comes stays, to be counted.
deliver_to = "mail.client.example:26"
"#;

const SWAKS: &str = "swaks --server mx2.provider.example --from bob@sender.example \
    --to anna@client.example";
const MSMTP: &str = "printf 'Subject: msmtp\\n\\nHello.\\n' | msmtp --host=mx2.provider.example \
    --from=bob@sender.example anna@client.example";
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
with smtplib.SMTP("mx2.provider.example") as smtp:
    if "tls" in sys.argv:
        smtp.starttls(context=ssl._create_unverified_context())
    smtp.sendmail("bob@sender.example", ["anna@client.example"], "Subject: smtplib\r\n\r\nHello.")
"#;

#[tokio::test]
async fn swaks_msmtp_and_smtplib_send_in_clear_and_over_tls() {
    let world = World::start().await;
    let (postern, sender) = (world.postern(CONFIG).await, world.sender().await);
    world.publish(&sender, &postern, &sender).await;

    sends(&sender, &["sh", "-c", SWAKS]).await;
    sends(&sender, &["sh", "-c", &format!("{SWAKS} --tls")]).await;
    sends(&sender, &["sh", "-c", MSMTP]).await;
    let tls = "--tls=on --tls-starttls=on --tls-certcheck=off --host";
    sends(&sender, &["sh", "-c", &MSMTP.replace("--host", tls)]).await;
    sends(&sender, &["python3", "-c", SMTPLIB]).await;
    sends(&sender, &["python3", "-c", SMTPLIB, "tls"]).await;

    queue::holds(&postern, 6).await;
}

async fn sends(sender: &Host, command: &[&str]) {
    sender.run(command).await.expect_success();
}
