//! The bundle's caller, whose link is down: mail waits with its holder until the window opens, then
//! the link comes up, the mail moves, and the link goes down again. Both sides show it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bundle::{Bundle, Service};
use crate::letter::{letter, trace};
use crate::smtp::Smtp;
use crate::world::Shell;
use crate::{caller, poll, queue};

const DORA: &str = "dora@dialup.example";
/// The holder's number in the bundle's network.
const HOLDER: u8 = 20;
const CONFIG: &str = "/run/postern/postern.toml";
const STATUS: &str = "postern --config /run/postern/postern.toml status";

#[tokio::test]
async fn mail_comes_when_the_window_opens() {
    let bundle = Bundle::new();
    let (holder, dialup) = (bundle.service("backup-mx"), bundle.service("dialup"));
    let changes = [
        ("@FIVE_MINUTES_OF_TEN@", ""),
        ("Europe/Berlin", "UTC"),
        ("idle = \"20s\"", "idle = \"5s\""),
    ];
    bundle.configure("dialup", &changes);
    bundle.up(&["dns", "backup-mx", "dialup"]).await;
    let sent = letter(DORA, 1);
    let mut smtp = Smtp::connect(bundle.smtp(HOLDER)).await.expect("the holder greets");
    let reply = smtp.send("bob@sender.example", DORA, &sent).await.expect("the holder replies");
    assert_eq!(reply.code, 250, "{reply:?}");
    queue::holds(&holder, 1).await;
    shows(&dialup, STATUS, &["scheduled: closed\n", "command: down"]).await;
    shows(&holder, "postern status", &[" 1 message(s) ("]).await;

    // Its own windows are five minutes in ten: this one opens within a minute.
    let schedule = format!("s/^schedule = .*/schedule = [\"{}\"]/", next_minutes());
    let edit = format!("sed -i '{schedule}' {CONFIG} && kill -HUP 1");
    dialup.run(&["sh", "-c", &edit]).await.expect_success();
    let got = poll::until("the mail is there", async || {
        let mail = dialup.run(&["sh", "-c", "cat /var/spool/postern/mail/new/*"]).await;
        mail.succeeded().then_some(mail.stdout)
    })
    .await;
    shows(&dialup, STATUS, &["command: up for ", "ETRN dialup.example: 253 ", "(UTC)"]).await;
    trace(&got, &caller::filed(sent));
    queue::holds(&holder, 0).await;
    shows(&dialup, STATUS, &["scheduled: closed\n", "command: down"]).await;
    shows(&holder, "postern status", &[" 0 message(s) ("]).await;
}

/// Waits until what its command `status` writes has these texts.
async fn shows(service: &Service<'_>, status: &str, texts: &[&str]) {
    let command: Vec<_> = status.split(' ').collect();
    poll::until(&format!("{texts:?}"), async || {
        let shown = service.run(&command).await.text();
        texts.iter().all(|text| shown.contains(text)).then_some(())
    })
    .await;
}

/// A window of three minutes from the next one on.
fn next_minutes() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let clock = |minutes: u64| {
        let minute = (now / 60 + minutes) % (24 * 60);
        format!("{}:{:02}", minute / 60, minute % 60)
    };
    format!("{}-{}", clock(1), clock(4))
}
