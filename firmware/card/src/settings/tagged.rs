//! Settings as octets: each with a key, so that cards of older and of newer tools can be read.
//!
//! | Octets | A setting |
//! | --- | --- |
//! | 1 | key; from 128 on, a device that does not know it must not run with the card |
//! | 2 | octets of the value, n |
//! | n | value, as postcard encodes it; more may follow it in what a newer tool has written |
//!
//! A key that is missing has its default. A key is never given another meaning.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{Address, NextHop, Protocol, Settings};

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
    pub(super) const HOLDER: u8 = 14;
    pub(super) const WAKE_ON_LAN: u8 = 15;
    pub(super) const FAILED_TO: u8 = 16;
    pub(super) const TIME_SERVER: u8 = 17;
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
    const DEFAULT: Self = Self {
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
        holder: None,
        wake_on_lan: None,
        failed_to: "",
        time_server: "",
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
        put.setting(key::HOLDER, &self.holder)?;
        put.setting(key::WAKE_ON_LAN, &self.wake_on_lan)?;
        put.setting(key::FAILED_TO, &self.failed_to)?;
        put.setting(key::TIME_SERVER, &self.time_server)?;
        Some(put.used)
    }

    /// Decodes what [`Settings::encode`] wrote, of this version or another: keys that are not known
    /// are passed over, unless they must be.
    pub fn decode(mut octets: &'s [u8]) -> Result<Self, SettingsFault> {
        let mut settings = Self::DEFAULT;
        while let Some((key, rest)) = octets.split_first() {
            let value = rest.split_first_chunk().and_then(|(length, rest)| {
                rest.split_at_checked(u16::from_le_bytes(*length).into())
            });
            let (value, rest) = value.ok_or(SettingsFault::Damaged)?;
            settings.set(*key, value)?;
            octets = rest;
        }
        Ok(settings)
    }

    fn set(&mut self, key: u8, value: &'s [u8]) -> Result<(), SettingsFault> {
        match key {
            key::HOSTNAME => self.hostname = take(value)?,
            key::ADDRESS => self.address = take(value)?,
            key::DOMAINS => self.domains = take(value)?,
            key::ANY_RECIPIENT => self.any_recipient = take(value)?,
            key::POSTMASTER => self.postmaster = take(value)?,
            key::NEXT_HOP => self.next_hop = take(value)?,
            key::ETRN_FROM => self.etrn_from = take(value)?,
            key::ETRN_NAMES => self.etrn_names = take(value)?,
            key::RETRY_EVERY_S => self.retry_every_s = take(value)?,
            key::EXPIRE_AFTER_S => self.expire_after_s = take(value)?,
            key::CHANNELS => self.channels = take(value)?,
            key::MAX_MESSAGE_SIZE => self.max_message_size = take(value)?,
            key::IDLE_TIMEOUT_MS => self.idle_timeout_ms = take(value)?,
            key::HOLDER => self.holder = take(value)?,
            key::WAKE_ON_LAN => self.wake_on_lan = take(value)?,
            key::FAILED_TO => self.failed_to = take(value)?,
            key::TIME_SERVER => self.time_server = take(value)?,
            CRITICAL.. => return Err(SettingsFault::Unknown(key)),
            _ => {}
        }
        Ok(())
    }
}

fn take<'s, T: Deserialize<'s>>(value: &'s [u8]) -> Result<T, SettingsFault> {
    postcard::from_bytes(value).map_err(|_| SettingsFault::Damaged)
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

#[cfg(test)]
mod tests {
    use heapless::Vec;

    use super::{SettingsFault, key};
    use crate::settings::{Address, Holder, Network, SETTINGS_MAX, Settings};

    fn settings() -> Settings<'static> {
        let names = ["client.example"].into_iter().collect();
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
            holder: Some(Holder { host: "192.0.2.53", port: 25, names, every_s: 3_600 }),
            wake_on_lan: Some([2, 0, 0, 0, 0, 10]),
            ..Settings::DEFAULT
        }
    }

    type Octets = Vec<u8, SETTINGS_MAX>;

    fn encoded() -> Octets {
        let mut octets = [0; SETTINGS_MAX];
        let length = settings().encode(&mut octets).expect("they fit");
        octets.into_iter().take(length).collect()
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
    }

    #[test]
    fn a_setting_of_a_newer_tool_is_passed_over_or_refused() {
        let of_newer = |key| joined(&[key, 3, 0, 7, 7, 7], &encoded());
        for known_not in [0, key::TIME_SERVER + 1, 127] {
            assert_eq!(Settings::decode(&of_newer(known_not)), Ok(settings()));
        }
        for critical in [128, 255] {
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
        assert_eq!(damaged.count(), octets.len() - 1 - 16);
        assert_eq!(Settings::decode(&[key::HOSTNAME, 2, 0, 9, 9]), Err(SettingsFault::Damaged));
    }
}
