//! The disk becomes full under load, and free again: Postern says so to the senders, loses nothing
//! and goes on.

use std::process::Command;

use testcontainers::core::Mount;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::load::Load;
use crate::queue;
use crate::sink::Sink;
use crate::world::World;

const SPOOL: &str = "/var/spool/postern";
const CONFIG: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["anna"]
deliver_to = "mail.client.example:25"
retry_every = "never"
"#;

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    // Before the containers, since what is made first is dropped last.
    let volume = SmallVolume::create();
    let world = World::start().await;
    let sink = Sink::start(&world).await;
    let neighbour = volume.mounted(world.host("postern-sender", "neighbour").await);
    let neighbour = world.greeting(neighbour).await;
    let request = world.host("postern", "mx2.provider.example").await;
    let request = request.with_copy_to("/etc/postern/postern.toml", CONFIG.as_bytes().to_vec());
    let postern = world.greeting(volume.mounted(request)).await;
    world.publish(&sink.host, &postern, &neighbour).await;

    let load = Load::start(postern.smtp().await, 0..4_000, |_| "anna@client.example".into());
    load.acknowledged(500).await;
    let ballast = format!("{SPOOL}/ballast");
    let filled = neighbour.run(&["dd", "if=/dev/zero", &format!("of={ballast}"), "bs=64K"]).await;
    assert!(filled.stderr.contains("No space left"), "the volume is full: {filled:?}");
    load.refused().await;
    neighbour.run(&["rm", &ballast]).await.expect_success();
    let acknowledged = load.finish().await;
    assert_eq!(acknowledged.len(), 4_000, "all was taken in the end");
    queue::has_once(&postern, acknowledged.values()).await;

    postern.kill();
    postern.start().await;
    queue::has_once(&postern, acknowledged.values()).await;
    sink.listen().await;
    queue::release_all(&postern).await;
    let received = sink.receives(acknowledged.len()).await;
    assert!(acknowledged.keys().all(|number| received[&number.to_string()] == 1));
}

/// A disk of 160 MiB in memory, there while a container has it mounted.
struct SmallVolume(String);

impl SmallVolume {
    fn create() -> Self {
        let name = format!("postern-e2e-{}", std::process::id());
        let size = "o=size=160m,uid=10001,gid=10001";
        let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", size];
        docker(&[&["volume", "create"], &options[..], &[&name]].concat());
        Self(name)
    }

    fn mounted(&self, request: ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage> {
        request.with_mount(Mount::volume_mount(&self.0, SPOOL))
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        docker(&["volume", "rm", &self.0]);
    }
}

fn docker(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed");
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
}
