//! Settings as octets: each with a key, so that cards of older and of newer tools can be read.
//!
//! | Octets | A setting |
//! | --- | --- |
//! | 1 | key; from 128 on, a device that does not know it must not run with the card |
//! | 2 | octets of the value, n |
//! | n | value, as postcard encodes it; more may follow it in what a newer tool has written |
//!
//! A key that is missing has its default. A key is never given another meaning. That of a holder is
//! there once for each. A device that does not know what keeps it from listening, or from asking,
//! must not run: it would do either.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{Address, Holder, Host, List, Listener, NextHop, Protocol, Settings, Way};

/// Keys from this one on must be known.
const CRITICAL: u8 = 0x80;

/// The keys of all settings.
mod key {
    pub(super) const HOSTNAME: u8 = 1;
    pub(super) const ADDRESS: u8 = 2;
    pub(super) const DOMAINS: u8 = 3;
    pub(super) const ANY_RECIPIENT: u8 = 4;
    pub(super) const POSTMASTER: u8 = 5;
    pub(super) const NEXT_HOP: u8 = 6;
    pub(super) const ETRN_FROM: u8 = 7;
    pub(super) const ETRN_NAMES: u8 = 8;
    pub(super) const RETRY_EVERY_S: u8 = 9;
    pub(super) const EXPIRE_AFTER_S: u8 = 10;
    pub(super) const CHANNELS: u8 = 11;
    pub(super) const MAX_MESSAGE_SIZE: u8 = 12;
    pub(super) const IDLE_TIMEOUT_MS: u8 = 13;
    /// What can be said of a holder as the first tools did it.
    pub(super) const PLAIN_HOLDER: u8 = 14;
    pub(super) const WAKE_ON_LAN: u8 = 15;
    pub(super) const FAILED_TO: u8 = 16;
    pub(super) const TIME_SERVER: u8 = 17;
    pub(super) const IDLE_S: u8 = 18;
    pub(super) const WAIT_S: u8 = 19;
    pub(super) const LOG: u8 = 20;
    pub(super) const LISTENER: u8 = 128;
    pub(super) const SCHEDULE: u8 = 129;
    pub(super) const HOLDER: u8 = 130;
    /// A holder, and then its account and the sender.
    pub(super) const EMAIL_HOLDER: u8 = 131;
    /// A holder, and then the user and the password.
    pub(super) const ATRN_HOLDER: u8 = 132;
    /// Unknown to a device that is built without AppleTalk: mailers would look for it in vain.
    #[cfg(feature = "appletalk")]
    pub(super) const APPLETALK: u8 = 133;
}

/// The keys of a holder that is asked by ETRN, and by ATRN: a device that is built without must not
/// run.
pub const HOLDER: u8 = key::HOLDER;
/// The second of them.
pub const ATRN_HOLDER: u8 = key::ATRN_HOLDER;

/// The key of the schedule: a device that can't read a rule in it must not run either.
pub const SCHEDULE: u8 = key::SCHEDULE;

/// The one holder of the first tools, with one name.
#[derive(Serialize, Deserialize)]
struct PlainHolder<'s> {
    host: &'s str,
    port: u16,
    #[serde(borrow)]
    names: List<&'s str>,
    every_s: u32,
}

impl<'s> PlainHolder<'s> {
    /// All that there is to say of `holders`, if it can be said so.
    fn of(holders: &[Holder<'s>]) -> Option<Self> {
        let [Holder { hosts, names, every_s, way: Way::Etrn }] = holders else { return None };
        let [Host { name, port }] = hosts.as_slice() else { return None };
        Some(Self { host: name, port: *port, names: names.clone(), every_s: *every_s })
    }

    #[cfg(feature = "wakeup")]
    fn holder(self) -> Holder<'s> {
        let Self { host: name, port, names, every_s } = self;
        let hosts = [Host { name, port }].into_iter().collect();
        Holder { hosts, names, every_s, way: Way::Etrn }
    }
}

/// Why settings can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsFault {
    /// They are not what [`Settings::encode`] wrote.
    Damaged,
    /// They have a key that this version does not know, and must.
    Unknown(u8),
}

impl<'s> Settings<'s> {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self {
        hostname: "",
        address: Address::Dhcp,
        domains: Vec::new(),
        any_recipient: false,
        postmaster: "",
        next_hop: NextHop { protocol: Protocol::Smtp, host: "", port: 25 },
        etrn_from: Vec::new(),
        etrn_names: Vec::new(),
        retry_every_s: None,
        expire_after_s: 432_000,
        channels: 0,
        max_message_size: 0,
        idle_timeout_ms: 300_000,
        holders: Vec::new(),
        listener: Listener::Always,
        idle_s: 60,
        wait_s: 300,
        schedule: None,
        #[cfg(feature = "appletalk")]
        appletalk: None,
        wake_on_lan: None,
        failed_to: "",
        time_server: "",
        log: None,
    };

    /// Encodes them into `octets`, which [`super::SETTINGS_MAX`] are enough for, and returns how
    /// many octets that took; none when they do not fit.
    pub fn encode(&self, octets: &mut [u8]) -> Option<usize> {
        let mut put = Put { octets, used: 0 };
        put.setting(key::HOSTNAME, &self.hostname)?;
        put.setting(key::ADDRESS, &self.address)?;
        put.setting(key::DOMAINS, &self.domains)?;
        put.setting(key::ANY_RECIPIENT, &self.any_recipient)?;
        put.setting(key::POSTMASTER, &self.postmaster)?;
        put.setting(key::NEXT_HOP, &self.next_hop)?;
        put.setting(key::ETRN_FROM, &self.etrn_from)?;
        put.setting(key::ETRN_NAMES, &self.etrn_names)?;
        put.setting(key::RETRY_EVERY_S, &self.retry_every_s)?;
        put.setting(key::EXPIRE_AFTER_S, &self.expire_after_s)?;
        put.setting(key::CHANNELS, &self.channels)?;
        put.setting(key::MAX_MESSAGE_SIZE, &self.max_message_size)?;
        put.setting(key::IDLE_TIMEOUT_MS, &self.idle_timeout_ms)?;
        let plain = PlainHolder::of(&self.holders);
        put.setting(key::PLAIN_HOLDER, &plain)?;
        put.setting(key::WAKE_ON_LAN, &self.wake_on_lan)?;
        put.setting(key::FAILED_TO, &self.failed_to)?;
        put.setting(key::TIME_SERVER, &self.time_server)?;
        put.setting(key::IDLE_S, &self.idle_s)?;
        put.setting(key::WAIT_S, &self.wait_s)?;
        put.setting(key::LOG, &self.log)?;
        // An older device does by itself what these say where they are not there.
        if self.listener != Listener::Always {
            put.setting(key::LISTENER, &self.listener)?;
        }
        if self.schedule.is_some() {
            put.setting(key::SCHEDULE, &self.schedule)?;
        }
        #[cfg(feature = "appletalk")]
        if self.appletalk.is_some() {
            put.setting(key::APPLETALK, &self.appletalk)?;
        }
        for holder in self.holders.iter().filter(|_| plain.is_none()) {
            let Holder { hosts, names, every_s, way } = holder;
            let common = (hosts, names, every_s);
            match way {
                Way::Etrn => put.setting(key::HOLDER, &common)?,
                Way::Email { to, from } => put.setting(key::EMAIL_HOLDER, &(common, to, from))?,
                Way::Atrn { user, password } => {
                    put.setting(key::ATRN_HOLDER, &(common, user, password))?;
                }
            }
        }
        Some(put.used)
    }

    /// Decodes what [`Settings::encode`] wrote, of this version or another: keys that are not known
    /// are passed over, unless they must be.
    pub fn decode(octets: &'s [u8]) -> Result<Self, SettingsFault> {
        let mut settings = Self::DEFAULT;
        settings.take_all(octets)?;
        Ok(settings)
    }

    /// Decodes them in place, over the default: a device's stack has no room for copies of them.
    pub(crate) fn take_all(&mut self, mut octets: &'s [u8]) -> Result<(), SettingsFault> {
        while let Some((key, rest)) = octets.split_first() {
            let value = rest.split_first_chunk().and_then(|(length, rest)| {
                rest.split_at_checked(u16::from_le_bytes(*length).into())
            });
            let (value, rest) = value.ok_or(SettingsFault::Damaged)?;
            self.set(*key, value)?;
            octets = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: u8, value: &'s [u8]) -> Result<(), SettingsFault> {
        match key {
            key::HOSTNAME => take(value, &mut self.hostname),
            key::ADDRESS => take(value, &mut self.address),
            key::DOMAINS => take(value, &mut self.domains),
            key::ANY_RECIPIENT => take(value, &mut self.any_recipient),
            key::POSTMASTER => take(value, &mut self.postmaster),
            key::NEXT_HOP => take(value, &mut self.next_hop),
            key::ETRN_FROM => take(value, &mut self.etrn_from),
            key::ETRN_NAMES => take(value, &mut self.etrn_names),
            key::RETRY_EVERY_S => take(value, &mut self.retry_every_s),
            key::EXPIRE_AFTER_S => take(value, &mut self.expire_after_s),
            key::CHANNELS => take(value, &mut self.channels),
            key::MAX_MESSAGE_SIZE => take(value, &mut self.max_message_size),
            key::IDLE_TIMEOUT_MS => take(value, &mut self.idle_timeout_ms),
            key::PLAIN_HOLDER => self.add_plain(value),
            key::WAKE_ON_LAN => take(value, &mut self.wake_on_lan),
            key::FAILED_TO => take(value, &mut self.failed_to),
            key::TIME_SERVER => take(value, &mut self.time_server),
            key::IDLE_S => take(value, &mut self.idle_s),
            key::WAIT_S => take(value, &mut self.wait_s),
            key::LOG => take(value, &mut self.log),
            key::LISTENER => take(value, &mut self.listener),
            #[cfg(feature = "wakeup")]
            key::SCHEDULE => take(value, &mut self.schedule),
            #[cfg(feature = "appletalk")]
            key::APPLETALK => take(value, &mut self.appletalk),
            #[cfg(feature = "wakeup")]
            key::HOLDER | key::EMAIL_HOLDER | key::ATRN_HOLDER => self.add(key, value),
            _ if key >= CRITICAL => Err(SettingsFault::Unknown(key)),
            _ => Ok(()),
        }
    }

    #[cfg(feature = "wakeup")]
    #[inline(never)]
    fn add(&mut self, key: u8, value: &'s [u8]) -> Result<(), SettingsFault> {
        let taken = postcard::take_from_bytes(value);
        let ((hosts, names, every_s), rest) = taken.map_err(|_| SettingsFault::Damaged)?;
        let mut way = Way::Etrn;
        if key != key::HOLDER {
            let texts = postcard::from_bytes(rest);
            let (first, second) = texts.map_err(|_| SettingsFault::Damaged)?;
            way = match key {
                key::EMAIL_HOLDER => Way::Email { to: first, from: second },
                _ => Way::Atrn { user: first, password: second },
            };
        }
        let holder = Holder { hosts, names, every_s, way };
        self.holders.push(holder).map_err(|_| SettingsFault::Damaged)
    }

    #[cfg(feature = "wakeup")]
    #[inline(never)]
    fn add_plain(&mut self, value: &'s [u8]) -> Result<(), SettingsFault> {
        let plain: Option<PlainHolder<'s>> =
            postcard::from_bytes(value).map_err(|_| SettingsFault::Damaged)?;
        let Some(plain) = plain else { return Ok(()) };
        self.holders.push(plain.holder()).map_err(|_| SettingsFault::Damaged)
    }

    /// To pass over a holder would be to never ask it.
    #[cfg(not(feature = "wakeup"))]
    fn add_plain(&mut self, value: &[u8]) -> Result<(), SettingsFault> {
        match value {
            [0, ..] => Ok(()),
            _ => Err(SettingsFault::Unknown(HOLDER)),
        }
    }
}

/// Decodes `value` into `place`. Not inlined, or all values have a place of their own in one frame.
#[inline(never)]
fn take<'s, T: Deserialize<'s>>(value: &'s [u8], place: &mut T) -> Result<(), SettingsFault> {
    *place = postcard::from_bytes(value).map_err(|_| SettingsFault::Damaged)?;
    Ok(())
}

struct Put<'o> {
    octets: &'o mut [u8],
    used: usize,
}

impl Put<'_> {
    fn setting<T: Serialize>(&mut self, key: u8, value: &T) -> Option<()> {
        let room = self.octets.get_mut(self.used..)?;
        let (head, room) = room.split_first_chunk_mut::<3>()?;
        let length = postcard::to_slice(value, room).ok()?.len();
        let [low, high] = u16::try_from(length).ok()?.to_le_bytes();
        *head = [key, low, high];
        self.used += head.len() + length;
        Some(())
    }
}

#[cfg(all(test, not(feature = "wakeup")))]
mod tests_without_wakeup {
    use super::{Settings, SettingsFault, key};

    #[test]
    fn who_asks_nobody_refuses_holders_in_each_form_and_windows() {
        assert_eq!(Settings::decode(&[key::PLAIN_HOLDER, 1, 0, 0]), Ok(Settings::DEFAULT));
        let plain = [key::PLAIN_HOLDER, 6, 0, 1, 1, b'h', 25, 0, 60];
        assert_eq!(Settings::decode(&plain), Err(SettingsFault::Unknown(key::HOLDER)));
        let others = [key::HOLDER, key::EMAIL_HOLDER, key::ATRN_HOLDER, key::SCHEDULE];
        for key in others {
            let refused = Settings::decode(&[key, 1, 0, 0]).map(drop);
            assert_eq!(refused, Err(SettingsFault::Unknown(key)));
        }
    }
}

#[cfg(all(test, feature = "wakeup"))]
mod tests {
    use heapless::Vec;

    use super::{SettingsFault, key};
    use crate::settings::{
        Address, Holder, Host, Listener, Network, SETTINGS_MAX, Schedule, Settings, Way, Window,
    };

    /// Whether this program knows it or not.
    const APPLETALK: u8 = 133;

    fn settings() -> Settings<'static> {
        let names = ["client.example"].into_iter().collect();
        let hosts = [Host { name: "192.0.2.53", port: 25 }].into_iter().collect();
        let address = Address::Static {
            network: ([192, 0, 2, 2].into(), 24),
            gateway: Some([192, 0, 2, 1].into()),
            dns: [[192, 0, 2, 3].into()].into_iter().collect(),
        };
        let network = Network { address: [192, 0, 2, 0].into(), prefix: 24 };
        Settings {
            hostname: "mx2.provider.example",
            address,
            domains: ["client.example", "other.example"].into_iter().collect(),
            any_recipient: true,
            etrn_from: [network].into_iter().collect(),
            retry_every_s: Some(1_800),
            channels: 3,
            holders: [Holder { hosts, names, every_s: 3_600, way: Way::Etrn }]
                .into_iter()
                .collect(),
            wake_on_lan: Some([2, 0, 0, 0, 0, 10]),
            ..Settings::DEFAULT
        }
    }

    /// What no older device can do.
    fn of_today() -> Settings<'static> {
        let names: super::List<_> = ["client.example"].into_iter().collect();
        let host = |name| Host { name, port: 25 };
        let hosts = [host("192.0.2.53"), host("mx2.provider.example")];
        let one = Holder {
            hosts: hosts.into_iter().collect(),
            names: names.clone(),
            every_s: 3_600,
            way: Way::Etrn,
        };
        let way = Way::Email { to: "wake@mx3.provider.example", from: "" };
        let hosts: Vec<_, 4> = [host("mx3.provider.example")].into_iter().collect();
        let other = Holder { hosts: hosts.clone(), names: names.clone(), every_s: 60, way };
        let way = Way::Atrn { user: "client.example", password: "s3cret" };
        let third = Holder { hosts, names, every_s: 60, way };
        let window = Window { days: 0x3E, from_min: 420, until_min: 1_140 };
        Settings {
            holders: [one, other, third].into_iter().collect(),
            listener: Listener::Scheduled,
            idle_s: 20,
            wait_s: 90,
            log: Some(host("192.0.2.9")),
            schedule: Some(Schedule {
                zone: "CET-1CEST,M3.5.0,M10.5.0/3",
                windows: [window].into_iter().collect(),
            }),
            #[cfg(feature = "appletalk")]
            appletalk: Some(crate::settings::AppleTalk {
                channels: 1,
                names: [&b"mx2:SMTP@*"[..], b"\x8ama:MAIL@*"].into_iter().collect(),
            }),
            ..settings()
        }
    }

    type Octets = Vec<u8, SETTINGS_MAX>;

    fn encoded() -> Octets {
        octets_of(&settings())
    }

    fn octets_of(settings: &Settings<'_>) -> Octets {
        let mut octets = [0; SETTINGS_MAX];
        let length = settings.encode(&mut octets).expect("they fit");
        octets.into_iter().take(length).collect()
    }

    /// The keys in `octets`.
    fn keys(mut octets: &[u8]) -> Vec<u8, 32> {
        let mut keys = Vec::new();
        while let [key, low, high, rest @ ..] = octets {
            keys.push(*key).expect("there are few");
            octets = &rest[usize::from(u16::from_le_bytes([*low, *high]))..];
        }
        keys
    }

    fn joined(first: &[u8], second: &[u8]) -> Octets {
        first.iter().chain(second).copied().collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let octets = encoded();
        assert_eq!(Settings::decode(&octets), Ok(settings()));
        let mut short = [0; SETTINGS_MAX];
        assert_eq!(settings().encode(&mut short[..octets.len() - 1]), None);
        assert_eq!(settings().encode(&mut [0; 2]), None);
        assert_eq!(Settings::decode(&octets_of(&of_today())), Ok(of_today()));
    }

    #[test]
    fn an_older_device_runs_with_what_it_can_do_and_with_nothing_else() {
        let must_be_known = |settings: &Settings<'_>| {
            let keys = keys(&octets_of(settings));
            keys.into_iter().filter(|key| *key >= super::CRITICAL).collect::<Vec<_, 32>>()
        };
        assert_eq!(must_be_known(&settings()), [0; 0]);
        let (listener, schedule) = (key::LISTENER, key::SCHEDULE);
        let all = [listener, schedule, key::HOLDER, key::EMAIL_HOLDER, key::ATRN_HOLDER];
        let of_today: Vec<_, 32> =
            must_be_known(&of_today()).into_iter().filter(|key| *key != APPLETALK).collect();
        assert_eq!(of_today, all);
        if cfg!(feature = "appletalk") {
            let alone = Settings { holders: Vec::new(), ..self::of_today() };
            assert_eq!(must_be_known(&alone), [listener, schedule, APPLETALK]);
        }
        let one = Settings { listener: Listener::Off, schedule: None, ..settings() };
        assert_eq!(must_be_known(&one), [listener]);
    }

    #[test]
    fn more_holders_than_there_is_place_for_are_damage() {
        let all = (0..5).fold(Octets::new(), |all, _| joined(&all, &encoded()));
        assert_eq!(Settings::decode(&all), Err(SettingsFault::Damaged));
    }

    #[test]
    fn a_setting_of_a_newer_tool_is_passed_over_or_refused() {
        let of_newer = |key| joined(&[key, 3, 0, 7, 7, 7], &encoded());
        for known_not in [0, key::LOG + 1, 127] {
            assert_eq!(Settings::decode(&of_newer(known_not)), Ok(settings()));
        }
        for critical in [APPLETALK + 1, 255] {
            let fault = SettingsFault::Unknown(critical);
            assert_eq!(Settings::decode(&of_newer(critical)), Err(fault));
        }
        // A value that has grown.
        let longer = joined(&encoded(), &[key::CHANNELS, 3, 0, 2, 9, 9]);
        assert_eq!(Settings::decode(&longer), Ok(Settings { channels: 2, ..settings() }));
    }

    #[test]
    fn a_setting_that_an_older_tool_did_not_know_has_its_default() {
        assert_eq!(Settings::decode(&[]), Ok(Settings::DEFAULT));
    }

    #[test]
    fn settings_that_are_cut_short_are_damaged() {
        let octets = encoded();
        let cut = |length: usize| Settings::decode(&octets[..length]);
        let damaged =
            (1..octets.len()).filter(|length| cut(*length) == Err(SettingsFault::Damaged));
        // All but those between two settings.
        assert_eq!(damaged.count(), octets.len() - 1 - 19);
        assert_eq!(Settings::decode(&[key::HOSTNAME, 2, 0, 9, 9]), Err(SettingsFault::Damaged));
    }
}
