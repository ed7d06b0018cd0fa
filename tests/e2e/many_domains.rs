//! 10,000 messages for 1,000 domains: taken, listed, and each handed to its host once.

use std::fmt::Write;

use crate::load::Load;
use crate::queue;
use crate::sink::Sink;
use crate::world::World;

const MESSAGES: usize = 10_000;
const DOMAINS: usize = 1_000;

#[tokio::test]
async fn ten_thousand_messages_for_a_thousand_domains() {
    let world = World::start().await;
    let (postern, sink) = (world.postern(&config()).await, Sink::start(&world).await);
    world.publish(&sink.host, &postern, &postern).await;

    let load = Load::start(postern.smtp().await, 0..MESSAGES, recipient);
    let acknowledged = load.finish().await;
    assert_eq!(acknowledged.len(), MESSAGES);
    queue::has_once(&postern, acknowledged.values()).await;

    sink.listen().await;
    queue::release_all(&postern).await;
    let received = sink.receives(MESSAGES).await;
    assert_eq!(received.len(), MESSAGES, "each came");
    assert!(received.values().all(|count| *count == 1), "and came once");
    queue::holds(&postern, 0).await;
}

fn config() -> String {
    let mut config = "hostname = \"mx2.provider.example\"\n".to_owned();
    for domain in 0..DOMAINS {
        write!(
            config,
            "[hold.\"client-{domain}.example\"]\nrecipients = [\"anna\"]\n\
            deliver_to = \"mail.client.example:25\"\nretry_every = \"never\"\n"
        )
        .expect("a string takes what is written");
    }
    config
}

fn recipient(number: usize) -> String {
    format!("anna@client-{}.example", number % DOMAINS)
}
