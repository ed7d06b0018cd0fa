//! The whole bundle, as compose.yaml says it, is taken down and put up again: the queue is kept.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::smtp::Smtp;
use crate::{poll, queue};

#[tokio::test]
async fn a_restart_of_the_bundle_keeps_the_queue() {
    let bundle = Bundle::new();
    bundle.up(&["dns", "backup-mx"]).await;
    let address = bundle.smtp();
    let mut smtp = Smtp::connect(address).await.expect("Postern greets");
    let message = b"Subject: kept\r\n\r\nHello.\r\n";
    let reply = smtp.send("bob@sender.example", "anna@client.example", message).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    let before = bundle.queue();
    assert_eq!(before.len(), 1, "{before:?}");

    bundle.compose(&["down"]);
    bundle.up(&["dns", "backup-mx", "client"]).await;
    assert_eq!(bundle.queue(), before);
    let etrn = ["exec", "-T", "client", "etrn", "-v", "mx2.provider.example", "client.example"];
    bundle.compose(&etrn);
    poll::until("the mail is delivered", async || bundle.queue().is_empty().then_some(())).await;
    let fetch = "curl -sS --user anna@client.example:postern 'imap://127.0.0.1/INBOX;MAILINDEX=1'";
    let fetch = ["exec", "-T", "client", "sh", "-c", fetch];
    let got = poll::until("the mail is in the mailbox", async || {
        let output = bundle.command(&fetch).output().expect("a shell is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await;
    assert!(got.ends_with("Subject: kept\r\n\r\nHello.\r\n"), "{got}");
}

/// The bundle under a name, in a network and on ports of its own.
struct Bundle {
    name: String,
    network: String,
}

impl Bundle {
    fn new() -> Self {
        let process = std::process::id();
        let network = format!("10.{}.{}", 200 + process / 256 % 50, process % 256);
        Self { name: format!("postern-e2e-{process}"), network }
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("a shell is installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker/compose {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/compose");
        let mut command = Command::new(compose);
        command
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env("POSTERN_NET", &self.network)
            .envs(
                ["BACKUP_MX_SMTP_PORT", "CLIENT_IMAP_PORT", "CLIENT_SMTP_PORT", "DNS_PORT"]
                    .map(|port| (port, "0")),
            )
            .args(arguments);
        command
    }

    /// Puts services up and waits until they are healthy.
    async fn up(&self, services: &[&str]) {
        self.compose(&[&["up", "--detach", "--no-build"], services].concat());
        let label = format!("label=com.docker.compose.project={}", self.name);
        let filters = ["ps", "--quiet", "--filter", &label, "--filter", "health=healthy"];
        poll::until("all are healthy", async || {
            let healthy = Command::new("docker").args(filters).output().expect("docker is there");
            let count = String::from_utf8_lossy(&healthy.stdout).lines().count();
            (count == services.len()).then_some(())
        })
        .await;
    }

    fn smtp(&self) -> SocketAddr {
        let address = self.compose(&["port", "backup-mx", "25"]);
        address.trim().parse().expect("compose names address and port")
    }

    fn queue(&self) -> Vec<String> {
        let list = ["exec", "-T", "backup-mx", "postern", "queue", "list", "--json"];
        queue::ids_in(&self.compose(&list))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A failure here must not hide the test's own.
        let _ = self.command(&["down", "--volumes"]).output();
    }
}
