//! A host that cannot say ETRN: its holder sees that it is there by mail from an ordinary client
//! to the wake-up address, or by its connection.

use crate::letter::letter;
use crate::queue;
use crate::sink::Sink;
use crate::smtp::Smtp;
use crate::world::World;

const ANNA: &str = "anna@client.example";

#[tokio::test]
async fn by_mail() {
    let swaks = "swaks --server mx2.provider.example --from host@client.example \
        --to wake-client@mx2.provider.example";
    is_woken("wakeup_address = \"wake-client@mx2.provider.example\"\nwakeup_from", swaks).await;
}

#[tokio::test]
async fn by_a_connection() {
    is_woken("release_on_connect", "swaks --server mx2.provider.example --quit-after HELO").await;
}

/// A message waits, and goes when its host runs `command`; `key` has the host's address.
async fn is_woken(key: &str, command: &str) {
    let world = World::start().await;
    let sink = Sink::start(&world).await;
    let config = format!(
        "hostname = \"mx2.provider.example\"\n[hold.\"client.example\"]\nrecipients = [\"anna\"]\n\
         deliver_to = \"mail.client.example:25\"\nretry_every = \"never\"\n{key} = [\"{}\"]\n",
        sink.host.address().await
    );
    let postern = world.postern(&config).await;
    world.publish(&sink.host, &postern, &postern).await;
    let mut smtp = Smtp::connect(postern.smtp().await).await.expect("Postern greets");
    let reply = smtp.send("bob@sender.example", ANNA, &letter(ANNA, 1)).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    queue::holds(&postern, 1).await;

    sink.listen().await;
    queue::holds(&postern, 1).await;
    sink.host.run(&["sh", "-c", command]).await.expect_success();
    assert_eq!(sink.receives(1).await.get("1@sender.example"), Some(&1));
    queue::holds(&postern, 0).await;
}
