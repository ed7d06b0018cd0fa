//! The loop of the old manual: a caller writes to nobody at its own name by way of its provider.
//! The message comes back, which opens the way for what waits, and nothing of it is left.

use crate::caller::{Caller, filed};
use crate::holder::{Holder, PRIVATE};
use crate::letter::trace;
use crate::poll;
use crate::world::World;

const WAKEUP: &str = "email = \"null%client.example@mx2.provider.example\"\n\
    email_host = \"mx2.provider.example\"";

#[tokio::test]
async fn through_postern() {
    let world = World::start().await;
    let keys = format!("wakeup_from = {PRIVATE}");
    loops(&world, &Holder::postern(&world, &keys).await).await;
}

/// Postfix takes the address apart (`allow_percent_hack`, which is its default) for a client in its
/// `mynetworks`. It tries what waits each 5 s, so that this comes while the caller listens.
#[tokio::test]
async fn through_postfix() {
    let world = World::start().await;
    let settings = "mydestination=mx2.provider.example \
        queue_run_delay=5s minimal_backoff_time=5s maximal_backoff_time=5s";
    loops(&world, &Holder::postfix(&world, settings).await).await;
}

async fn loops(world: &World, holder: &Holder) {
    let caller = Caller::start(world, holder, WAKEUP).await;
    let sent = caller.misses_a_message(holder).await;
    caller.asks("e-mail to null%client.example@mx2.provider.example: 250 ").await;
    poll::until("the loop is closed", async || {
        let log = caller.host.log().await;
        log.lines().any(|line| line.contains("\"message\":\"discarded\"")).then_some(())
    })
    .await;
    trace(&caller.has_a_message().await, &filed(sent));
    holder.holds(0).await;
    assert_eq!(caller.mail().await.len(), 1, "of the wake-up nothing is left");
}
