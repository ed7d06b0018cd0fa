//! A network namespace with a TAP: what is in it has a cable of its own, which carries multicast.
//! QEMU's user-mode network does not.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The TAP.
const TAP: &str = "tap0";

/// A namespace, which is gone when this is dropped.
pub struct Namespace(String);

impl Namespace {
    /// One in which this machine has `address`, with the length of its network's prefix.
    ///
    /// # Panics
    /// When it can't be made: that takes root.
    pub fn new(address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self(format!("postern-{}-{number}", std::process::id()));
        ip(&["netns", "add", &namespace.0]);
        let within = ["-n", &namespace.0];
        for words in [
            &["link", "set", "lo", "up"][..],
            &["tuntap", "add", "dev", TAP, "mode", "tap"],
            &["address", "add", address, "dev", TAP],
            &["link", "set", TAP, "up"],
        ] {
            ip(&[&within, words].concat());
        }
        namespace
    }

    /// The TAP, to be one end of a cable.
    pub fn tap(&self) -> &'static str {
        TAP
    }

    /// Does something in it, in a thread of its own: sockets stay where they were made.
    ///
    /// # Panics
    /// When `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let namespace = File::open(format!("/run/netns/{}", self.0)).expect("`ip` made it");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("it takes root");
            act()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("it does not panic"))
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(words: &[&str]) {
    let status = Command::new("ip").args(words).status();
    let done = status.is_ok_and(|status| status.success());
    assert!(done, "`ip {}` failed: it takes root, and Debian's iproute2", words.join(" "));
}
