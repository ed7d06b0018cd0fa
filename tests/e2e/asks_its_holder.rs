//! A caller that listens only when it has asked: Postern with `listener = "scheduled"` fetches its
//! mail by ETRN, and closes again, whatever its holder runs.

use crate::caller::{Caller, ETRN, filed};
use crate::holder::{Holder, PRIVATE};
use crate::letter::{body, trace};
use crate::world::World;

#[tokio::test]
async fn from_postern() {
    let world = World::start().await;
    let holder = Holder::postern(&world, &format!("etrn_from = {PRIVATE}")).await;
    let (sent, got) = fetches(&world, &holder, "253 2.0.0 ").await;
    let trace = trace(&got, &sent);
    assert!(trace.starts_with("Return-Path: <bob@sender.example>\n"), "{trace}");
}

#[tokio::test]
async fn from_postfix() {
    let world = World::start().await;
    let holder = Holder::postfix(&world, "").await;
    let (sent, got) = fetches(&world, &holder, "250 Queuing started").await;
    let trace = trace(&got, &sent);
    assert!(trace.contains("\tby mx2.provider.example (Postfix) "), "{trace}");
}

#[tokio::test]
async fn from_sendmail() {
    let world = World::start().await;
    let holder = Holder::sendmail(&world).await;
    let (sent, got) = fetches(&world, &holder, "250 2.0.0 ").await;
    // sendmail sorts the header's fields.
    assert_eq!(body(&got), body(&sent), "{}", got.escape_ascii());
}

/// A message waits at the holder while nobody listens, and comes when the caller asks: as it was
/// sent, and as it came.
async fn fetches(world: &World, holder: &Holder, said: &str) -> (Vec<u8>, Vec<u8>) {
    let caller = Caller::start(world, holder, ETRN).await;
    let sent = caller.misses_a_message(holder).await;
    caller.asks(said).await;
    let got = caller.has_a_message().await;
    holder.holds(0).await;
    (filed(sent), got)
}
