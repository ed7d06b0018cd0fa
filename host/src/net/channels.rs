//! The sessions that are open at once: how many, from whom, and whether they run short.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use postern_core::wire::reply::Reason;
use tokio::sync::watch;

use crate::config::Receive;
use crate::policy::network;

/// The sessions that are open, in all and by client address.
#[derive(Debug, Default)]
pub(super) struct Channels {
    taken: Mutex<Taken>,
    short: Short,
    sessions: watch::Sender<Sessions>,
}

/// How many sessions were let in, and how many of these are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    pub(super) began: u64,
    pub(super) ended: u64,
    /// How many of those that are gone had brought no mail for anybody.
    pub(super) void: u64,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    /// How many there may be, when one was last taken.
    limit: u32,
    by_network: HashMap<IpAddr, u32>,
}

/// A channel that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Channel {
    channels: Arc<Channels>,
    network: IpAddr,
    is_void: bool,
}

impl Channel {
    /// The session has brought no mail for anybody.
    pub(super) fn was_void(&mut self) {
        self.is_void = true;
    }
}

impl Channels {
    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &Receive,
    ) -> Result<Channel, Reason> {
        let network = network(client);
        let mut taken = self.taken.lock().expect("no holder panics");
        taken.limit = limits.channels.get();
        if taken.all >= taken.limit {
            return Err(Reason::Busy);
        }
        let here = taken.by_network.entry(network).or_default();
        if *here >= limits.channels_per_address.get() {
            return Err(Reason::TooManySessions);
        }
        *here += 1;
        taken.all += 1;
        self.judge(&taken);
        self.sessions.send_modify(|sessions| sessions.began += 1);
        Ok(Channel { channels: Arc::clone(self), network, is_void: false })
    }

    /// The sessions so far.
    pub(super) fn sessions(&self) -> watch::Receiver<Sessions> {
        self.sessions.subscribe()
    }

    /// Whether channels run short, so that silent clients have to go sooner.
    pub(super) fn short(&self) -> watch::Receiver<bool> {
        self.short.subscribe()
    }

    fn judge(&self, taken: &Taken) {
        self.short.judge(taken.all, taken.limit);
    }
}

/// Whether channels run short.
#[derive(Debug, Default)]
pub(crate) struct Short(watch::Sender<bool>);

impl Short {
    /// Of so many channels `taken` are.
    ///
    /// From three quarters on they run short, until half of them are free: each change wakes every
    /// session.
    pub(crate) fn judge(&self, taken: u32, limit: u32) {
        let (all, limit) = (u64::from(taken), u64::from(limit));
        self.0.send_if_modified(|short| {
            let now = if *short { all * 2 > limit } else { all * 4 >= limit * 3 };
            std::mem::replace(short, now) != now
        });
    }

    /// What changes with it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut taken = self.channels.taken.lock().expect("no holder panics");
        taken.all -= 1;
        let here = taken.by_network.get_mut(&self.network).expect("it was counted when taken");
        *here -= 1;
        if *here == 0 {
            taken.by_network.remove(&self.network);
        }
        self.channels.judge(&taken);
        self.channels.sessions.send_modify(|sessions| {
            sessions.ended += 1;
            sessions.void += u64::from(self.is_void);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn config(channels: u32, per_address: u32) -> Config {
        let source =
            format!("[receive]\nchannels = {channels}\nchannels_per_address = {per_address}\n");
        Config::parse(Path::new("postern.toml"), &source).expect("a sound configuration")
    }

    fn admit(channels: &Arc<Channels>, client: &str, config: &Config) -> Result<Channel, Reason> {
        channels.admit(client.parse().expect("an address"), &config.receive)
    }

    #[test]
    fn a_channel_is_free_again_when_its_session_ends() {
        let (channels, config) = (Arc::default(), config(2, 1));
        let first = admit(&channels, "192.0.2.1", &config).expect("free");
        let other = admit(&channels, "192.0.2.2", &config).expect("free");
        assert_eq!(admit(&channels, "192.0.2.3", &config).err(), Some(Reason::Busy));
        drop(other);
        assert_eq!(admit(&channels, "192.0.2.1", &config).err(), Some(Reason::TooManySessions));
        drop(first);
        assert!(admit(&channels, "192.0.2.1", &config).is_ok());
    }

    #[test]
    fn few_channels_run_short_once_none_is_left() {
        for (limit, free) in [(1, 0), (3, 1)] {
            let short = Short::default();
            let changes = short.subscribe();
            short.judge(limit - 1, limit);
            assert!(!*changes.borrow(), "{limit}");
            short.judge(limit, limit);
            assert!(*changes.borrow(), "{limit}");
            short.judge(free, limit);
            assert!(!*changes.borrow(), "{limit}");
        }
    }

    #[test]
    fn ipv6_clients_count_by_their_network() {
        let (channels, config) = (Arc::default(), config(9, 1));
        let _first = admit(&channels, "2001:db8::1", &config).expect("free");
        let neighbour = admit(&channels, "2001:db8::ffff:0:0:2", &config);
        assert_eq!(neighbour.err(), Some(Reason::TooManySessions));
        assert!(admit(&channels, "2001:db8:0:1::1", &config).is_ok());
    }

    #[test]
    fn channels_run_short_at_three_quarters_and_until_half_are_free() {
        let (channels, config) = (Arc::<Channels>::default(), config(8, 8));
        let mut short = channels.short();
        let mut changes =
            || short.has_changed().expect("it lives").then(|| *short.borrow_and_update());
        let mut taken = Vec::new();
        for count in 1..=8 {
            taken.push(admit(&channels, "192.0.2.1", &config).expect("free"));
            assert_eq!(changes(), (count == 6).then_some(true), "{count}");
        }
        for count in (0..8).rev() {
            taken.pop();
            assert_eq!(changes(), (count == 4).then_some(false), "{count}");
        }
    }
}
