//! How mailers on AppleTalk reach a device.

use postern_card::settings::AppleTalk as CardAppleTalk;
use postern_config::{AppleTalk, AppleTalkLink, DomainName};

use super::Conversion;

/// Connections over AppleTalk at once that a device is built for.
const CHANNELS: u8 = 1;

impl<'c> Conversion<'c> {
    /// The section, unless it turns itself off.
    fn section(&self) -> Option<&'c AppleTalk> {
        let section = self.config.receive.appletalk.as_ref();
        section.filter(|section| section.channels.get() > 0)
    }

    /// The names that they find it by, in Mac Roman.
    pub(super) fn appletalk_names(&self) -> Vec<Vec<u8>> {
        let hostname = self.config.hostname.as_ref().map_or("", DomainName::as_str);
        let names = self.section().map_or(&[][..], |section| &section.names);
        names.iter().map(|name| name.to_mac_roman(hostname)).collect()
    }

    /// What is to be done there, under these `names`.
    pub(super) fn appletalk<'t>(&mut self, names: &'t [Vec<u8>]) -> Option<CardAppleTalk<'t>> {
        const KEY: &str = "receive.appletalk.channels";
        let AppleTalk { link, channels, .. } = self.section()?;
        match link {
            AppleTalkLink::LToUdp => {}
            AppleTalkLink::EtherTalk => {
                self.refuse("receive.appletalk.link", "a device speaks \"ltoudp\" only");
            }
        }
        if self.written.has(KEY) && channels.get() != CHANNELS.into() {
            self.refuse(KEY, format!("a device has {CHANNELS}"));
        }
        // At most eight, as the file has been read.
        let names = names.iter().map(Vec::as_slice);
        Some(CardAppleTalk { channels: CHANNELS, names: self.list(KEY, names) })
    }
}
