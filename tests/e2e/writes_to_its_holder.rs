//! A caller whose holder has no ETRN, and a special account: any mail to it releases what waits.

use crate::caller::{Caller, filed};
use crate::holder::{Holder, PRIVATE};
use crate::letter::trace;
use crate::world::World;

const WAKEUP: &str = "email = \"wake-client@mx2.provider.example\"\n\
    email_host = \"mx2.provider.example\"";

#[tokio::test]
async fn to_postern() {
    let world = World::start().await;
    let keys =
        format!("wakeup_address = \"wake-client@mx2.provider.example\"\nwakeup_from = {PRIVATE}");
    let holder = Holder::postern(&world, &keys).await;
    fetches(&world, &holder, "mail comes").await;
}

/// The account is a pipe to Postfix's own command that delivers what waits for a domain.
#[tokio::test]
async fn to_a_postfix_with_a_pipe() {
    let world = World::start().await;
    let settings = "mydestination=mx2.provider.example local_recipient_maps= \
        transport_maps='inline:{client.example=smtp:[mail.client.example], \
        wake-client@mx2.provider.example=wake}' \
        && postconf -M 'wake/unix=wake unix - n n - - pipe \
        user=nobody argv=/usr/sbin/postqueue -s client.example'";
    let holder = Holder::postfix(&world, settings).await;
    fetches(&world, &holder, "e-mail to wake-client@mx2.provider.example: 250 ").await;
}

async fn fetches(world: &World, holder: &Holder, said: &str) {
    let caller = Caller::start(world, holder, WAKEUP).await;
    let sent = caller.misses_a_message(holder).await;
    caller.asks(said).await;
    trace(&caller.has_a_message().await, &filed(sent));
    holder.holds(0).await;
}
