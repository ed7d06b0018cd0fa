//! The client's mailboxes, read over IMAP.

use crate::poll;
use crate::world::{Output, Shell};

const PASSWORD: &str = "postern";

/// How many messages `user` has. Waits for an answer: Dovecot may start after Postfix.
pub async fn count(client: &impl Shell, user: &str) -> usize {
    let status = poll::until("the mailbox can be read", async || {
        let status = imap(client, user, "", &["--request", "STATUS INBOX (MESSAGES)"]).await;
        status.succeeded().then(|| status.text())
    })
    .await;
    let count = status.split("MESSAGES ").nth(1).and_then(|rest| rest.split(')').next());
    count.and_then(|count| count.parse().ok()).expect("a STATUS reply")
}

/// Waits until `user` has the message `number`, counted from 1, and fetches it.
pub async fn message(client: &impl Shell, user: &str, number: usize) -> Vec<u8> {
    poll::until("the mail is in the mailbox", async || {
        (count(client, user).await >= number).then_some(())
    })
    .await;
    imap(client, user, &format!("INBOX;MAILINDEX={number}"), &[]).await.expect_success()
}

async fn imap(client: &impl Shell, user: &str, path: &str, options: &[&str]) -> Output {
    let login = format!("{user}:{PASSWORD}");
    let url = format!("imap://127.0.0.1/{path}");
    // A login that was begun while Dovecot starts may never be answered; the next one is.
    let curl = ["curl", "--max-time", "45", "--silent", "--show-error", "--user", &login, &url];
    let command = [&curl, options].concat();
    client.run(&command).await
}
