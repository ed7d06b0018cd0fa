//! The device in QEMU: the firmware's real image, with a card's image and a port of this machine.
//!
//! To the device, this machine is 10.0.2.2, and every client seems to come from there.

mod log;
mod monitor;
mod namespace;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub use log::lines_in;

use log::Log;
use monitor::Monitor;

pub use namespace::Namespace;

use crate::tidy::root;

/// Far more than anything takes, so that a device that does nothing is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the first connection waits for a greeting, and the last; each waits twice as long as
/// the one before. One that is made before the device has an address waits for seconds in vain.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_secs(2);
/// The program.
const QEMU: &str = "qemu-system-arm";
/// Where the memory begins, which the stack is the first of.
const MEMORY: u32 = 0x2000_0000;

/// The firmware's image.
///
/// # Panics
/// When it was not built.
pub fn firmware() -> PathBuf {
    image("postern-lm3s6965evb")
}

/// The firmware's image that was built without its log.
///
/// # Panics
/// When it was not built.
pub fn silent_firmware() -> PathBuf {
    image("postern-lm3s6965evb-silent")
}

/// The firmware's image that receives and passes on alone.
///
/// # Panics
/// When it was not built.
pub fn least_firmware() -> PathBuf {
    image("postern-lm3s6965evb-least")
}

/// The firmware's image that takes mail over AppleTalk.
///
/// # Panics
/// When it was not built.
pub fn appletalk_firmware() -> PathBuf {
    image("postern-lm3s6965evb-appletalk")
}

/// The image that tries the chip's arithmetic.
///
/// # Panics
/// When it was not built.
pub fn arithmetic() -> PathBuf {
    image("examples/arithmetic")
}

fn image(name: &str) -> PathBuf {
    let image = root().join("firmware/target/thumbv7m-none-eabi/release").join(name);
    assert!(image.exists(), "tests/run device builds {}", image.display());
    image
}

/// A device that runs. Its power is cut when this is dropped.
pub struct Device {
    qemu: Child,
    monitor: Monitor,
    log: Arc<Log>,
    address: SocketAddr,
}

impl Device {
    /// Starts `image` with the card's image at `card`, and QEMU with more `options`.
    ///
    /// # Panics
    /// When QEMU does not start.
    pub fn start(image: &Path, card: &Path, options: &[&str]) -> Self {
        let mut qemu = Command::new(QEMU);
        qemu.args(["-nic", "user,hostfwd=tcp:127.0.0.1:0-:25"]).args(options);
        let mut device = Self::run(qemu, image, card);
        device.address.set_port(device.monitor.forwarded_port());
        device
    }

    /// Starts it on the TAP of a namespace, where nobody outside reaches it.
    ///
    /// # Panics
    /// When QEMU does not start.
    pub fn start_in(namespace: &Namespace, image: &Path, card: &Path) -> Self {
        let mut qemu = namespace.command(QEMU);
        qemu.arg("-nic").arg(format!("tap,ifname={},script=no,downscript=no", namespace.tap()));
        Self::run(qemu, image, card)
    }

    fn run(mut qemu: Command, image: &Path, card: &Path) -> Self {
        let octets = fs::read(image).expect("the firmware's image can be read");
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut qemu = qemu
            .args(["-machine", "lm3s6965evb", "-display", "none", "-serial", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-drive")
            .arg(format!("if=sd,format=raw,file={}", card.display()))
            .args(["-chardev", "socket,id=monitor,fd=0", "-mon", "chardev=monitor,mode=control"])
            .arg("-kernel")
            .arg(image)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("qemu-system-arm starts");
        let log = Log::follow(&mut qemu, &octets);
        let monitor = Monitor::new(ours, PATIENCE);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { qemu, monitor, log, address }
    }

    /// Where its port 25 is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection that the device has greeted; the greeting is still to be read.
    ///
    /// # Panics
    /// When it does not within a minute, with the log.
    pub fn connect(&self) -> TcpStream {
        self.hear(b'2')
    }

    /// A connection that the device refuses; what it says is still to be read.
    ///
    /// # Panics
    /// When it does not within a minute, with the log.
    pub fn connect_in_vain(&self) -> TcpStream {
        self.hear(b'4')
    }

    /// Connects until the device's first octet is `first`.
    fn hear(&self, first: u8) -> TcpStream {
        let end = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        while Instant::now() < end {
            // QEMU takes the connection in any case; only a greeting says that the device did.
            if let Some(stream) = self.heard(first, wait) {
                stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
                return stream;
            }
            thread::park_timeout(FIRST_WAIT);
            wait = (2 * wait).min(LAST_WAIT);
        }
        panic!("the device does not say {}..:\n{}", first as char, self.log.text());
    }

    fn heard(&self, wanted: u8, wait: Duration) -> Option<TcpStream> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(wait)).expect("it is not zero");
        let mut first = [0];
        match stream.peek(&mut first) {
            Ok(octets) => (octets == 1 && first == [wanted]).then_some(stream),
            Err(error) => {
                let expected = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset];
                assert!(expected.contains(&error.kind()), "{error}:\n{}", self.log.text());
                None
            }
        }
    }

    /// The lines of its log, with those that QEMU wrote itself.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until its log makes `found` give something.
    ///
    /// # Panics
    /// When it does not within a minute, with the log.
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let found = self.log.wait(PATIENCE, found);
        found.unwrap_or_else(|| panic!("not in the log: {what}\n{}", self.log.text()))
    }

    /// Pulls its reset pin.
    pub fn reset(&mut self) {
        self.monitor.ask("system_reset", serde_json::json!({}));
    }

    /// Octets of the stack that were never used, of the `octets` that it has (memory.x): QEMU's
    /// memory is zero at first.
    pub fn stack_to_spare(&mut self, octets: usize) -> usize {
        let memory = self.monitor.memory(MEMORY, octets);
        memory.iter().take_while(|octet| **octet == 0).count()
    }

    /// Processor time that QEMU has used.
    pub fn cpu_time(&self) -> Duration {
        const TICK_MS: u64 = 10;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.qemu.id()));
        let stat = stat.expect("QEMU runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * TICK_MS)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.qemu.kill().expect("our own child can be killed");
        self.qemu.wait().expect("our own child can be waited for");
    }
}
