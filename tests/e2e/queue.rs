//! What Postern holds, by its own command.

use serde_json::Value;

use crate::poll;
use crate::world::Shell;

/// The ids of the messages held, in the queue's order.
pub async fn ids(postern: &impl Shell) -> Vec<String> {
    let list = postern.run(&["postern", "queue", "list", "--json"]).await.expect_success();
    let list = String::from_utf8(list).expect("JSON is UTF-8");
    list.lines().map(id).collect()
}

fn id(line: &str) -> String {
    let item: Value = serde_json::from_str(line).expect("--json gives one object a line");
    item["id"].as_str().expect("an item has an id").to_owned()
}

/// Waits until `count` messages are held.
pub async fn holds(postern: &impl Shell, count: usize) {
    poll::until(&format!("{count} messages in the queue"), async || {
        (ids(postern).await.len() == count).then_some(())
    })
    .await;
}

/// Starts the delivery of everything.
pub async fn release_all(postern: &impl Shell) {
    postern.run(&["postern", "queue", "release", "--all"]).await.expect_success();
}

/// Sees to it that each of `acknowledged` is held, and nothing is held twice.
pub async fn has_once(postern: &impl Shell, acknowledged: impl Iterator<Item = &String>) {
    let mut held = ids(postern).await;
    let count = held.len();
    held.sort_unstable();
    held.dedup();
    assert_eq!(held.len(), count, "messages are held twice");
    let lost: Vec<_> = acknowledged.filter(|id| held.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
