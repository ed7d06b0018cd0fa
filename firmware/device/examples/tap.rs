//! A device on this computer: its network is a TAP interface, its card a file. The way to try one
//! without a board, and without QEMU (Linux).
//!
//! Make the interface, with an address of a network that this computer is not in already; the
//! device gets another of it, by `[device]` in its `postern.toml`:
//!
//! ```sh
//! sudo ip tuntap add postern0 mode tap user "$USER"
//! sudo ip address add 192.168.25.1/24 dev postern0
//! sudo ip link set postern0 up
//! postern card create --config postern.toml card.img
//! cargo run -p postern-device --example tap -- postern0 card.img
//! ```
//!
//! Then, elsewhere, `swaks --server 192.168.25.2 --to joe@client.example`. To remove the interface:
//! `sudo ip link delete postern0`.

use std::cell::Cell;
use std::env;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::{Timer, block_on};
use embassy_net_tuntap::TunTapDevice;
use embassy_time_driver::TICK_HZ;
use postern_card::{BLOCK, Block, Card};
use postern_device::reset::{Cause, LastReset, Survivor};
use postern_device::{Board, Ended, Label, NoSlot, Runner, SmallMemory, Status, run};

// The tests' clock and executor, of which they use more: this program is one thread too, and moves
// its own time on.
#[allow(dead_code)]
#[path = "../tests/device/sim/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../tests/device/sim/tasks.rs"]
mod tasks;

use tasks::Tasks;

const USAGE: &str = "usage: tap INTERFACE CARD-IMAGE";

/// The interface's own end has an address that the kernel chose; this is the device's.
const HARDWARE_ADDRESS: [u8; 6] = [0x02, 0x50, 0x4F, 0x53, 0x54, 0x02];

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(interface), Some(image)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other(USAGE));
    };
    let mut network = TunTapDevice::new(&interface)?;
    network.set_hardware_address(HARDWARE_ADDRESS);
    let card = FileCard::open(&image)?;
    println!("a device is on {interface}; end it by Ctrl-C, as its plug would be pulled");
    let ended = block_on(device(network, card));
    println!("the device wants to be reset: {ended:?}");
    Ok(())
}

/// Runs a device until it wants to be reset.
async fn device(network: TunTapDevice, card: FileCard) -> Ended {
    // Leaked: it is a static on a board, too.
    let memory = Box::leak(Box::new(SmallMemory::new()));
    let (tasks, ended) = (Tasks::default(), Rc::new(Cell::new(None)));
    let (spawner, end) = (tasks.clone(), Rc::clone(&ended));
    tasks.spawn(async move {
        let survivor = Box::leak(Box::new(Survivor::new()));
        let mut board = Computer { last_reset: survivor.begin(Cause::Power) };
        let start = |mut runner: Runner<'static, TunTapDevice>| {
            spawner.spawn(async move { runner.run().await });
        };
        end.set(Some(run(network, card, &mut board, memory, start).await));
    });
    let boot = Instant::now();
    let mut timer = Timer::never();
    poll_fn(|context| {
        loop {
            clock::advance(ticks(boot.elapsed()));
            while tasks.poll(context) {}
            if let Some(ended) = ended.get() {
                return Poll::Ready(ended);
            }
            let next = clock::next().map(|next| next.saturating_sub(ticks(boot.elapsed())));
            timer = next.map_or_else(Timer::never, |ticks| Timer::after(duration(ticks)));
            if Pin::new(&mut timer).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

fn ticks(duration: Duration) -> u64 {
    duration.as_secs() * TICK_HZ + u64::from(duration.subsec_micros()) * TICK_HZ / 1_000_000
}

fn duration(ticks: u64) -> Duration {
    Duration::from_micros(ticks * 1_000_000 / TICK_HZ)
}

/// A computer has neither a watchdog nor, as far as this program knows, randomness.
struct Computer {
    last_reset: LastReset,
}

impl Board for Computer {
    const LABEL: Label = Label::new("computer", env!("CARGO_PKG_VERSION"));
    const RAM: usize = usize::MAX;

    type Slot = NoSlot;

    fn random(&mut self) -> [u8; 32] {
        [0; 32]
    }

    fn last_reset(&self) -> LastReset {
        self.last_reset
    }

    fn feed_watchdog(&mut self) {}

    fn show(&mut self, status: Status, lit: bool) {
        println!("{status:?}: {}", if lit { "lit" } else { "dark" });
    }
}

/// A card's image in a file.
struct FileCard {
    file: File,
    blocks: u32,
}

impl FileCard {
    fn open(path: &str) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let blocks = file.metadata()?.len() / BLOCK as u64;
        Ok(Self { file, blocks: u32::try_from(blocks).unwrap_or(u32::MAX) })
    }
}

impl Card for FileCard {
    type Error = io::Error;

    fn blocks(&self) -> u32 {
        self.blocks
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> io::Result<()> {
        self.file.read_exact_at(content, u64::from(block) * BLOCK as u64)
    }

    async fn write(&mut self, block: u32, content: &Block) -> io::Result<()> {
        self.file.write_all_at(content, u64::from(block) * BLOCK as u64)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
