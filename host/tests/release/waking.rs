//! Hosts that sleep, and start when they are woken.

use tokio::net::UdpSocket;

use crate::peer::{Away, Behaviour, Peer};
use crate::{Server, to, within};

#[tokio::test]
async fn a_host_that_sleeps_is_woken_and_gets_its_mail_once_it_is_up() {
    let away = Away::new();
    let wire = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let rest = format!(
        "{}\nwake_on_lan = \"02:00:00:00:00:0a\"\nwake_to = \"{}\"",
        to(away.address),
        wire.local_addr().expect("it is bound"),
    );
    let server = Server::start(&[("b.example", rest)]);
    server.hold(&["bob@b.example"], b"").await;
    let mut packet = [0; 200];
    let length = within(wire.recv(&mut packet)).await.expect("a packet");
    let expected = [vec![0xff; 6], [2, 0, 0, 0, 0, 10].repeat(16)].concat();
    assert_eq!(packet[..length], expected);
    let peer = Peer::start_at(away, Behaviour::default()).await;
    server.wait_empty_as_time_goes_by("b.example").await;
    assert_eq!(peer.got().len(), 1);
    assert!(server.progress.sleeping().is_empty());
}
