//! A caller's store is Dovecot: what was fetched goes there by LMTP, or into a Maildir that Dovecot
//! serves, and is read by IMAP as it was sent.

use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::caller::{ANNA, Caller, ETRN};
use crate::holder::{Holder, PRIVATE};
use crate::letter::trace;
use crate::mailbox;
use crate::world::{Host, World};

/// Dovecot as the user that Postern is, whose folder is anna's mailbox.
const SERVE: &str = "usermod --uid 10001 vmail && mkdir /var/mail/anna@client.example \
    && ln -s /var/lib/postern/anna /var/mail/anna@client.example/mail \
    && chown -R vmail /var/mail && exec serve";

#[tokio::test]
async fn by_lmtp() {
    let world = World::start().await;
    let holder = Holder::postern(&world, &format!("etrn_from = {PRIVATE}")).await;
    let store = world.greeting(store(&world).await).await;
    let lmtp = format!("lmtp://{}:24", store.address().await);
    let caller = Caller::with_store(&world, &holder, ETRN, &lmtp).await;
    let sent = fetches(&caller, &holder).await;
    has(&store, &sent).await;
}

#[tokio::test]
async fn by_a_maildir() {
    let world = World::start().await;
    let holder = Holder::postern(&world, &format!("etrn_from = {PRIVATE}")).await;
    let caller = Caller::start(&world, &holder, ETRN).await;
    let sent = fetches(&caller, &holder).await;
    let folders = vec![caller.host.id().to_owned()];
    let store = store(&world).await.with_cmd(["sh", "-c", SERVE]);
    let store = store.with_host_config_modifier(move |config| {
        config.volumes_from = Some(folders.clone());
    });
    has(&world.greeting(store).await, &sent).await;
}

async fn store(world: &World) -> ContainerRequest<GenericImage> {
    world.host("postern-client", "store.client.example").await
}

async fn fetches(caller: &Caller, holder: &Holder) -> Vec<u8> {
    let sent = caller.misses_a_message(holder).await;
    caller.asks("253 2.0.0 ").await;
    holder.holds(0).await;
    sent
}

async fn has(store: &Host, sent: &[u8]) {
    let got = mailbox::message(store, ANNA, 1).await;
    let trace = trace(&got, sent);
    for line in [
        "Return-Path: <bob@sender.example>\r\n",
        "Delivered-To: anna@client.example\r\n",
        "by mx2.provider.example",
        "by mail.client.example",
    ] {
        assert!(trace.contains(line), "{line:?} is not in {trace}");
    }
}
