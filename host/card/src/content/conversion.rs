//! A configuration in the terms of a card's settings.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use postern_card::settings::{
    Address, DNS_MAX, Host as CardHost, LIST_MAX, List, Listener as CardListener, NextHop,
    Protocol as CardProtocol, SETTINGS_MAX, Schedule, Settings, Window,
};

use postern_config::{
    Config, Device, DeviceAddress, DomainName, Endpoint, Faults, Hold, Host, Listener, Problem,
    Protocol, Recipients, Route, Setting, Written,
};

mod appletalk;
mod holders;
mod holds;

/// Sessions at once that a device is built for.
const CHANNELS: u8 = 8;
/// SMTP's port, the one that a device listens on.
const PORT: u16 = 25;
/// Bytes of the largest message where the configuration does not say it.
const MESSAGE: u64 = 10 << 20;
/// One message has at most this part of a card.
const CARD_SHARE: u64 = 4;

/// Reads a configuration and collects what a device can't do.
pub(super) struct Conversion<'c> {
    config: &'c Config,
    device: Device,
    written: &'c Written,
    card_octets: u64,
    faults: Faults<'c>,
}

/// A configuration as a card takes it.
pub(super) struct Converted {
    /// Encoded.
    pub(super) settings: Vec<u8>,
    /// As clients write them.
    pub(super) recipients: BTreeSet<Vec<u8>>,
}

/// The hold that stands for all: a device has one queue.
#[derive(Clone, Copy)]
struct First<'c> {
    domain: &'c DomainName,
    hold: &'c Hold,
    next_hop: &'c Endpoint,
}

/// The texts that the settings borrow.
struct Texts {
    postmaster: String,
    next_hop: String,
    /// The names of each holder.
    holders: Vec<Vec<String>>,
    /// Of each, what proves who we are; empty where nothing does.
    passwords: Vec<String>,
    failed_to: String,
    time_server: String,
    log: String,
    /// In Mac Roman.
    appletalk: Vec<Vec<u8>>,
}

impl<'c> Conversion<'c> {
    pub(super) fn new(
        config: &'c Config,
        written: &'c Written,
        card_octets: u64,
        faults: Faults<'c>,
    ) -> Self {
        let device = config.device.clone().or_else(Device::absent);
        let device = device.expect("every key of [device] has a default");
        Self { config, device, written, card_octets, faults }
    }

    pub(super) fn run(mut self) -> Result<Converted, Vec<Problem>> {
        let Some((domain, hold)) = self.config.hold.first_key_value() else {
            self.refuse("hold", "is required: a device without a domain takes no mail");
            return Err(self.faults.into_problems());
        };
        let Some(next_hop) = hold.deliver_to.endpoint() else {
            let key = format!("hold.\"{domain}\".deliver_to");
            let reason = match hold.deliver_to {
                Route::Mx => "a device looks no MX up: write \"host:port\"",
                _ if hold.deliver_to.is_asker() => {
                    "nobody fetches mail from a device: write \"host:port\""
                }
                _ => "a device has no Maildir: write \"host:port\"",
            };
            self.refuse(&key, reason);
            return Err(self.faults.into_problems());
        };
        let first = First { domain, hold, next_hop };
        self.refuse_differing_holds(first);
        self.refuse_too_many_domains();
        self.refuse_other_listeners();
        let recipients = self.recipients();
        let texts = self.texts(first);
        let mut octets = [0; SETTINGS_MAX];
        let encoded = self.settings(&texts, first).encode(&mut octets);
        if encoded.is_none() {
            self.refuse("", "the names in it are too long for a card's settings");
        }
        let problems = self.faults.into_problems();
        match encoded {
            Some(length) if problems.is_empty() => {
                Ok(Converted { settings: octets[..length].to_vec(), recipients })
            }
            _ => Err(problems),
        }
    }

    fn refuse(&mut self, key: &str, reason: impl Into<String>) {
        self.faults.add_at(self.written.line(key), key, reason.into());
    }

    fn texts(&mut self, first: First<'c>) -> Texts {
        let config = self.config;
        let postmaster = config.postmaster.as_ref().map(ToString::to_string);
        let failed_to = self.device.failed_to.as_ref().map(ToString::to_string);
        let time_server = self.device.time_server.clone();
        let log = self.device.log.clone();
        Texts {
            postmaster: postmaster.unwrap_or_else(|| format!("postmaster@{}", first.domain)),
            next_hop: self.host(&first.key("deliver_to"), &first.next_hop.host),
            holders: self.holder_names(),
            passwords: self.passwords(),
            failed_to: failed_to.unwrap_or_default(),
            appletalk: self.appletalk_names(),
            time_server: time_server
                .map_or_else(String::new, |host| self.host("device.time_server", &host)),
            log: log.map_or_else(String::new, |to| self.host("device.log", &to.host)),
        }
    }

    fn settings<'t>(&mut self, texts: &'t Texts, first: First<'c>) -> Settings<'t>
    where
        'c: 't,
    {
        let receive = &self.config.receive;
        Settings {
            hostname: self.hostname(),
            address: self.address(),
            domains: self.domains(),
            any_recipient: first.hold.recipients == Recipients::Any,
            postmaster: &texts.postmaster,
            next_hop: next_hop(first.next_hop, &texts.next_hop),
            etrn_from: self.etrn_from(first),
            etrn_names: self.etrn_names(),
            retry_every_s: self.retry_every_s(first),
            expire_after_s: self.seconds(&first.key("expire_after"), first.hold.expire_after),
            channels: self.channels(),
            max_message_size: self.max_message_size(receive.max_message_size.0),
            idle_timeout_ms: self.idle_timeout_ms(receive.idle_timeout),
            holders: self.holders(&texts.holders, &texts.passwords),
            listener: self.listener(),
            idle_s: self.seconds("receive.idle", receive.idle),
            wait_s: self.seconds("receive.wait", receive.wait),
            schedule: self.schedule(),
            appletalk: self.appletalk(&texts.appletalk),
            wake_on_lan: self.device.wake_on_lan.map(|address| address.0),
            failed_to: &texts.failed_to,
            time_server: &texts.time_server,
            log: self.device.log.as_ref().map(|to| CardHost { name: &texts.log, port: to.port }),
        }
    }

    fn hostname(&mut self) -> &'c str {
        if self.config.hostname.is_none() {
            self.refuse("hostname", "is required: a device has no name of its own");
        }
        self.config.hostname.as_ref().map_or("", DomainName::as_str)
    }

    fn address(&mut self) -> Address {
        let Device { address, gateway, dns, .. } = self.device.clone();
        let DeviceAddress::Static(network) = address else {
            for (key, given) in [("gateway", gateway.is_some()), ("dns", !dns.is_empty())] {
                if given {
                    let reason = "with address = \"dhcp\" the DHCP server says it: leave it out";
                    self.refuse(&format!("device.{key}"), reason);
                }
            }
            return Address::Dhcp;
        };
        if gateway.is_some_and(|gateway| !network.contains(&gateway)) {
            self.refuse("device.gateway", format!("is not in {}", network.trunc()));
        }
        if dns.len() > DNS_MAX {
            self.refuse("device.dns", format!("a device asks {DNS_MAX} name servers at most"));
        }
        let network = (network.addr(), network.prefix_len());
        Address::Static { network, gateway, dns: dns.into_iter().take(DNS_MAX).collect() }
    }

    /// `host`, the value of `key`, as a device reads it.
    fn host(&mut self, key: &str, host: &Host) -> String {
        let asks_nobody = self.device.dns.is_empty();
        match host {
            Host::Name(name) => {
                if asks_nobody && self.device.address != DeviceAddress::Dhcp {
                    self.refuse(key, "is a name, and device.dns has no server to look it up");
                }
                name.to_string()
            }
            Host::Address(address) => {
                if address.is_ipv6() {
                    self.refuse(key, IPV4_ONLY);
                }
                address.to_string()
            }
        }
    }

    fn refuse_other_listeners(&mut self) {
        let receive = &self.config.receive;
        let everywhere = |at: &SocketAddr| at.ip().is_unspecified() && at.port() == PORT;
        if receive.listen.is_empty() || !receive.listen.iter().all(everywhere) {
            let reason = format!("a device listens on port {PORT} of its address: leave it out");
            self.refuse("receive.listen", reason);
        }
    }

    fn listener(&self) -> CardListener {
        match self.config.receive.listener {
            Listener::Always => CardListener::Always,
            Listener::Scheduled => CardListener::Scheduled,
            Listener::OnLink => CardListener::OnLink,
            Listener::Off => CardListener::Off,
        }
    }

    /// The windows in which holders are asked.
    fn schedule(&mut self) -> Option<Schedule<'c>> {
        const KEY: &str = "link.schedule";
        let link = &self.config.link;
        let (windows, time_zone) = link.schedule.as_ref().zip(link.time_zone.as_ref())?;
        if self.device.time_server.is_none() {
            self.refuse(KEY, "needs device.time_server: a device has no clock of its own");
        }
        let windows = windows.iter().map(|window| {
            let (days, from_min, until_min) = window.parts();
            Window { days, from_min, until_min }
        });
        Some(Schedule { zone: time_zone.rule(), windows: self.list(KEY, windows) })
    }

    fn channels(&mut self) -> u8 {
        const KEY: &str = "receive.channels";
        if !self.written.has(KEY) {
            return CHANNELS;
        }
        let channels = u8::try_from(self.config.receive.channels.get());
        let channels = channels.ok().filter(|channels| *channels <= CHANNELS);
        channels.unwrap_or_else(|| {
            self.refuse(KEY, format!("a device has {CHANNELS} at most"));
            CHANNELS
        })
    }

    fn max_message_size(&mut self, octets: u64) -> u32 {
        const KEY: &str = "receive.max_message_size";
        let most = self.card_octets / CARD_SHARE;
        let octets = if self.written.has(KEY) { octets } else { MESSAGE.min(most) };
        let fitting = u32::try_from(octets).ok().filter(|_| octets <= most);
        fitting.unwrap_or_else(|| {
            let kib = most.min(u64::from(u32::MAX)) >> 10;
            self.refuse(KEY, format!("is more than a quarter of this card; write \"{kib} KiB\""));
            u32::MAX
        })
    }

    fn idle_timeout_ms(&mut self, timeout: Duration) -> u32 {
        u32::try_from(timeout.as_millis()).unwrap_or_else(|_| {
            self.refuse("receive.idle_timeout", "is longer than a device can count: 49 days");
            u32::MAX
        })
    }

    fn seconds(&mut self, key: &str, time: Duration) -> u32 {
        u32::try_from(time.as_secs()).unwrap_or_else(|_| {
            self.refuse(key, "is longer than a device can count: 136 years");
            u32::MAX
        })
    }

    /// As many of `items`, the values of `key`, as a device has place for.
    fn list<T>(&mut self, key: &str, items: impl Iterator<Item = T>) -> List<T> {
        let mut list = List::new();
        for item in items {
            if list.push(item).is_err() {
                self.refuse(key, format!("a device has place for {LIST_MAX}"));
                break;
            }
        }
        list
    }
}

impl First<'_> {
    /// The name of its key `key`.
    fn key(&self, key: &str) -> String {
        format!("hold.\"{}\".{key}", self.domain)
    }
}

const IPV4_ONLY: &str = "a device speaks IPv4 only";

fn next_hop<'t>(to: &Endpoint, host: &'t str) -> NextHop<'t> {
    let protocol = match to.protocol {
        Protocol::Smtp => CardProtocol::Smtp,
        Protocol::Lmtp => CardProtocol::Lmtp,
    };
    NextHop { protocol, host, port: to.port }
}
