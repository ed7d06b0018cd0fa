//! A mail host that sleeps is woken: the packet is heard on the wire by a host of its network.

use crate::letter::letter;
use crate::poll;
use crate::sink::Sink;
use crate::smtp::Smtp;
use crate::world::World;

const ANNA: &str = "anna@client.example";
const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
wake_on_lan = "02:00:5e:00:53:01"
"#;
/// Waits for a broadcast as a network card does, and writes it down.
const LISTEN: &str = "import socket\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    s.bind(('', 9))\n\
    open('/listens', 'w').close()\n\
    open('/packet', 'w').write(s.recv(2000).hex())\n";

#[tokio::test]
async fn a_packet_goes_to_the_sleeping_host_and_then_its_mail() {
    let world = World::start().await;
    let (sink, postern) = (Sink::start(&world).await, world.postern(CONFIG).await);
    world.publish(&sink.host, &postern, &postern).await;
    let listen = format!("python3 -c \"{LISTEN}\" >/dev/null 2>&1 &");
    sink.host.run(&["sh", "-c", &listen]).await.expect_success();
    let listens = async || sink.host.run(&["ls", "/listens"]).await.succeeded().then_some(());
    poll::until("somebody listens", listens).await;

    let mut smtp = Smtp::connect(postern.smtp().await).await.expect("Postern greets");
    let reply = smtp.send("bob@sender.example", ANNA, &letter(ANNA, 1)).await;
    assert_eq!(reply.expect("Postern replies").code, 250);
    let packet = poll::until("a packet", async || {
        Some(sink.host.run(&["cat", "/packet"]).await.text()).filter(|text| !text.is_empty())
    })
    .await;
    assert_eq!(packet, format!("{}{}", "ff".repeat(6), "02005e005301".repeat(16)));
    sink.listen().await;
    assert_eq!(sink.receives(1).await.get("1@sender.example"), Some(&1));
}
