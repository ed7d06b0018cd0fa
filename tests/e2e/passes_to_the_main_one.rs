//! A secondary back-up, the third by MX, passes what it has to the main one, which holds it.

use crate::letter::letter;
use crate::queue;
use crate::sink::Sink;
use crate::smtp::Smtp;
use crate::world::World;

const ANNA: &str = "anna@client.example";
const MAIN: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
retry_every = "never"
"#;
const SECONDARY: &str = r#"
hostname = "mx3.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mx2.provider.example:25"
"#;

#[tokio::test]
async fn what_the_secondary_takes_is_held_by_the_main_one() {
    let world = World::start().await;
    let (sink, main) = (Sink::start(&world).await, world.postern(MAIN).await);
    world.publish(&sink.host, &main, &main).await;
    let secondary = world.quiet_postern("mx3.provider.example", SECONDARY).await;
    secondary.greets().await;
    let mut smtp = Smtp::connect(secondary.smtp().await).await.expect("Postern greets");
    let reply = smtp.send("bob@sender.example", ANNA, &letter(ANNA, 1)).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    queue::holds(&main, 1).await;
    queue::holds(&secondary, 0).await;

    sink.listen().await;
    queue::release_all(&main).await;
    assert_eq!(sink.receives(1).await.get("1@sender.example"), Some(&1));
    queue::holds(&main, 0).await;
}
