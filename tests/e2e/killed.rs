//! `kill -9` at random moments under load: what was acknowledged is found again, once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use crate::load::Load;
use crate::queue;
use crate::sink::Sink;
use crate::world::World;

/// More than a round can send.
const ROUND: usize = 1_000_000;
const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
retry_every = "never"
"#;

#[tokio::test]
async fn every_acknowledged_message_outlives_kill_9() {
    let world = World::start().await;
    let (postern, sink) = (world.postern(CONFIG).await, Sink::start(&world).await);
    world.publish(&sink.host, &postern, &postern).await;

    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds() {
        let numbers = round * ROUND..(round + 1) * ROUND;
        let load = Load::start(postern.smtp().await, numbers, |_| "anna@client.example".into());
        let moment = 1 + random() % 300;
        load.acknowledged(moment).await;
        postern.kill();
        acknowledged.append(&mut load.finish().await);
        println!("round {round}: killed after {moment}, {} in all", acknowledged.len());
        postern.start().await;
        queue::has_once(&postern, acknowledged.values()).await;
    }

    sink.listen().await;
    queue::release_all(&postern).await;
    queue::holds(&postern, 0).await;
    let received = sink.receives(acknowledged.len()).await;
    for number in acknowledged.keys() {
        assert_eq!(received.get(&number.to_string()), Some(&1), "message {number}");
    }
}

fn rounds() -> usize {
    if std::env::var_os("POSTERN_LONG").is_some() { 50 } else { 10 }
}

fn random() -> usize {
    usize::try_from(RandomState::new().hash_one(()) >> 32).expect("32 bits")
}
