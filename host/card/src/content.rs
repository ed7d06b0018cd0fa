//! What of a configuration goes on a device's card, and what of it a device can't do.

use std::collections::BTreeSet;
use std::path::Path;

use postern_card::settings::Settings;
use postern_config::{Config, Faults, Problem, Way, Written, source};

mod conversion;

use conversion::{Conversion, Converted};

/// Keys that mean nothing on a device, and why.
const UNUSED_KEYS: [(&str, &str); 7] = [
    ("receive.appletalk.interface", "a device has one network, and the group is joined there"),
    ("receive.appletalk.submission", "a device takes mail for its own domains only"),
    ("receive.channels_per_address", "a device gives two to one address"),
    ("receive.max_errors", "a device bears as many as it was built for"),
    ("receive.max_recipients", "a device takes as many as it was built for"),
    ("receive.tls", "a device offers no STARTTLS"),
    ("wakeup.tls_ca", "a device has no TLS"),
];
/// Keys of a hold that mean nothing on a device, and why.
const UNUSED_IN_HOLDS: [(&str, &str); 16] = [
    ("kept_for", "a device keeps what it has until its card is exported"),
    ("maildir_group", "a device has no Maildir"),
    ("maildir_mode", "a device has no Maildir"),
    ("private_mx", "a device looks no MX up"),
    ("quota", "a device takes what its card has room for"),
    ("release_on_connect", "a device is released by ETRN only"),
    ("smtputf8", "a device offers no SMTPUTF8"),
    ("subaddress", "a device takes what is listed, letter by letter"),
    ("wake_at_most", "a device wakes its host before each delivery"),
    ("wake_on_lan", "a device's is device.wake_on_lan"),
    ("wake_patience", "a device waits a minute for its host to start"),
    ("wake_to", "a device wakes within its own network"),
    ("wakeup_address", "a device is released by ETRN only"),
    ("wakeup_from", "a device is released by ETRN only"),
    ("wakeup_token", "a device is released by ETRN only"),
    ("when_away", "a device asks nobody who they take mail for"),
];
/// Sections that mean nothing on a device, and why.
const UNUSED_SECTIONS: [(&str, &str); 11] = [
    ("accounts", "a device has no accounts"),
    ("ask", "a device asks nobody who they take mail for"),
    ("atrn", "a device does not turn connections round for others"),
    ("control", "a device has no control API"),
    ("link", "a device's link is its network, which somebody else raises"),
    ("log", "a device's log is what it was built with"),
    ("release", "a device delivers over one connection"),
    ("relay", "a device takes mail for its own domains only"),
    ("resolver", "a device's name servers are device.dns"),
    ("spool", "a device keeps its mail on the card, and its memory is counted when it is built"),
    ("submission", "a device takes mail for its own domains only"),
];
/// Keys in these that a device has nevertheless.
const USED_KEYS: [&str; 2] = ["link.schedule", "link.time_zone"];

/// What is risky where a device fetches mail.
const IN_CLEAR: &str = "a device has no TLS: its provider must have the device's network in \
    [atrn] clear_from and an account with --cram-md5, all mail comes in clear, and the password \
    stands on the card";

/// What `postern card create` writes on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardContent {
    settings: Vec<u8>,
    recipients: BTreeSet<Vec<u8>>,
    warnings: Vec<Problem>,
}

impl CardContent {
    /// Reads the configuration in `file`, and the recipient files that it names, for a device whose
    /// card has `card_octets`.
    ///
    /// # Errors
    /// Everything wrong with it; or, when nothing is, everything in it that a device can't do.
    pub fn load(file: &Path, card_octets: u64) -> Result<Self, Vec<Problem>> {
        Self::parse(file, &source(file)?, card_octets)
    }

    /// Reads the configuration `source`, which came from `file`, as [`CardContent::load`] does.
    ///
    /// # Errors
    /// Those of [`CardContent::load`].
    pub fn parse(file: &Path, source: &str, card_octets: u64) -> Result<Self, Vec<Problem>> {
        let (config, written) = Config::parse_with(file, source, refuse_unused)?;
        let faults = Faults::new(file, source);
        let conversion = Conversion::new(&config, &written, card_octets, faults);
        let Converted { settings, recipients } = conversion.run()?;
        let mut warnings = config.warnings(file);
        if config.wakeup.iter().any(|wakeup| matches!(wakeup.way, Way::Atrn(_))) {
            let mut faults = Faults::new(file, source);
            faults.add_at(written.line("wakeup.atrn"), "wakeup.atrn", IN_CLEAR.to_owned());
            warnings.append(&mut faults.into_problems());
        }
        Ok(Self { settings, recipients, warnings })
    }

    /// The settings.
    pub fn settings(&self) -> Settings<'_> {
        Settings::decode(&self.settings).expect("they were encoded by us")
    }

    /// The addresses that mail is taken for, unless it is taken for any.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.recipients.iter().map(Vec::as_slice)
    }

    /// What is risky in the configuration.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

fn refuse_unused(written: &Written, faults: &mut Faults<'_>) {
    let mut refuse = |key: &str, why: &str| {
        faults.add_at(written.line(key), key, format!("{why}: leave it out"));
    };
    for (key, why) in UNUSED_KEYS.into_iter().filter(|(key, _)| written.has(key)) {
        refuse(key, why);
    }
    for (name, why) in UNUSED_IN_HOLDS {
        written.in_holds(name).for_each(|key| refuse(key, why));
    }
    for (section, why) in UNUSED_SECTIONS {
        let keys = written.within(section).filter(|key| !USED_KEYS.contains(key));
        keys.for_each(|key| refuse(key, why));
    }
}

#[cfg(test)]
mod tests;
