//! What releases a domain besides the timer, and what `postern check` says of it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::address_set::{canonical, is_postmaster};
use super::domain_name::DomainName;
use super::machine::Machine;
use super::settings::Word;
use super::values::{Address, Subaddress};
use super::{Config, Faults, Hold, RetryEvery, Route, Written};

/// An address, mail to which releases a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeupAddress(Address);

impl WakeupAddress {
    /// What stands behind the `@`.
    pub fn domain(&self) -> &DomainName {
        self.0.domain()
    }

    /// Its local part, as local parts are compared.
    pub fn local_part(&self) -> Vec<u8> {
        canonical(self.0.local_part().as_bytes()).into_owned()
    }
}

impl Word for WakeupAddress {
    const EXPECTED: &'static str = "an address such as \"wake-client@mx2.provider.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        let address = Address::parse(text)
            .map_err(|_| format!("expected {}, found \"{text}\"", Self::EXPECTED))?;
        let local = address.local_part();
        if is_postmaster(local.as_bytes()) {
            return Err("is read by a person, who would miss mail: write another".to_owned());
        }
        if local.contains(['"', '%', '!']) {
            return Err(format!("\"{local}\" has a quote, % or !: write a plain local part"));
        }
        Ok(Self(address))
    }
}

/// What makes a wake-up address one that nobody guesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeupToken(Box<str>);

impl WakeupToken {
    /// Its letters, in lower case, and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for WakeupToken {
    const EXPECTED: &'static str = "16 to 64 lower-case letters and digits";

    fn parse(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        match text.len() {
            16..=64 if plain => Ok(Self(text.into())),
            // The text may be most of a secret.
            _ => Err(format!("expected {}", Self::EXPECTED)),
        }
    }
}

/// Prefixes shorter than these are more than one provider has.
const NARROWEST: (u8, u8) = (8, 20);

/// Addresses that strangers may seem to come from.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Ours, where the configuration names them: a proxy on this machine may be behind them.
    own: Vec<IpAddr>,
    /// What the machine tells, where it is known.
    pub(super) machine: Machine,
}

impl Shared {
    /// Those that `config` tells of.
    pub(super) fn of(config: &Config) -> Self {
        let own = config.receive.listen.iter().map(SocketAddr::ip).collect();
        Self { own, machine: Machine::default() }
    }

    /// With those of the machine that this runs on.
    pub(super) fn with_this_machines(self) -> Self {
        Self { machine: Machine::this(), ..self }
    }

    /// Why `network` may hold more than was meant.
    pub(super) fn risk(&self, network: &IpNet) -> Option<String> {
        let (four, six) = NARROWEST;
        let narrowest = if network.addr().is_ipv4() { four } else { six };
        if network.prefix_len() < narrowest {
            return Some(format!("{network} is everybody, or nearly: write the client's networks"));
        }
        if let Some(gateway) =
            self.machine.gateways.iter().find(|gateway| network.contains(*gateway))
        {
            return Some(format!(
                "{network} has {gateway}, this machine's gateway: behind a proxy, such as that of \
                 Docker's published ports, every client may come from there"
            ));
        }
        let mut own = self.own.iter().chain(&self.machine.own);
        own.find(|own| *network == IpNet::from(**own)).map(|own| {
            format!("{own} is this server's own address: a proxy's clients come from there")
        })
    }
}

impl Config {
    /// Mail to a wake-up address is not held: a recipient's would be lost.
    pub(super) fn refuse_wakeups_of_recipients(&self, written: &Written, faults: &mut Faults<'_>) {
        for (domain, hold) in &self.hold {
            let Some(address) = &hold.wakeup_address else { continue };
            let (local, at) = (address.local_part(), address.domain());
            let is_listed =
                |there: &Hold| there.recipients.listed(&local, at, &Subaddress::none()).is_some();
            if self.hold.get(at).is_some_and(is_listed) {
                let key = format!("hold.\"{domain}\".wakeup_address");
                let reason = format!("is a recipient of {at}, who would miss mail: write another");
                faults.add_at(written.line(&key), &key, reason);
            }
        }
    }
}

impl Hold {
    /// What is risky about who may release the domain.
    pub(super) fn warn_of_triggers(&self, shared: &Shared, warn: &mut dyn FnMut(&str, String)) {
        // A folder asks for nothing: the timer is enough.
        let is_host = self.deliver_to == Route::Mx || self.deliver_to.endpoint().is_some();
        let may_ask = is_host || self.retry_every == RetryEvery::Never;
        let is_woken = self.wakeup_address.is_some() || !self.wakeup_from.is_empty();
        let asks = is_woken || !self.etrn_from.is_empty() || !self.release_on_connect.is_empty();
        if may_ask && !asks {
            warn("etrn_from", self.nobody_asks().to_owned());
        }
        if self.wakeup_address.is_none() && self.wakeup_token.is_some() {
            warn("wakeup_token", "has no wakeup_address to stand in: it does nothing".to_owned());
        }
        let mut networks = self.etrn_networks().chain(&self.wakeup_from);
        let is_open = self.wakeup_token.is_some() || networks.next().is_some();
        if self.wakeup_address.is_some() && !is_open {
            let reason = "is taken from nobody: write etrn_from, wakeup_from or wakeup_token";
            warn("wakeup_address", reason.to_owned());
        }
        let etrn = self.etrn_networks().map(|network| ("etrn_from", network));
        let connect = self.release_on_connect.iter().map(|network| ("release_on_connect", network));
        let wakeup = self.wakeup_from.iter().map(|network| ("wakeup_from", network));
        for (key, network) in etrn.chain(connect).chain(wakeup) {
            if let Some(risk) = shared.risk(network) {
                warn(key, risk);
            }
        }
    }

    fn nobody_asks(&self) -> &'static str {
        match self.retry_every {
            RetryEvery::Every(_) => {
                "is empty: nobody may release this domain by ETRN; it waits for the timer"
            }
            RetryEvery::Never => {
                "is empty and retry_every is \"never\": only `postern queue release` and \
                 `postern link-up` release this domain"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Problem;
    use super::*;

    fn addresses(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_network_that_strangers_may_come_from_is_a_risk() {
        let (own, gateways) = (addresses(&["10.1.1.1"]), addresses(&["172.17.0.1"]));
        let machine = Machine { own, gateways, is_silent: false };
        let shared = Shared { own: addresses(&["198.51.100.7"]), machine };
        for (network, why) in [
            ("0.0.0.0/0", "everybody"),
            ("128.0.0.0/7", "everybody"),
            ("::/0", "everybody"),
            ("2001::/16", "everybody"),
            ("172.16.0.0/12", "172.17.0.1, this machine's gateway"),
            ("198.51.100.7/32", "this server's own address"),
            ("10.1.1.1/32", "this server's own address"),
        ] {
            let risk = shared.risk(&network.parse().expect("a network")).expect(network);
            assert!(risk.contains(why), "{network}: {risk}");
        }
        for network in ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "198.51.100.0/28"] {
            assert_eq!(shared.risk(&network.parse().expect("a network")), None, "{network}");
        }
    }

    #[test]
    fn each_key_that_opens_something_is_looked_at() {
        let machine = Machine { gateways: addresses(&["172.17.0.1"]), ..Machine::default() };
        let warned = |network: &str| {
            let text = format!(
                "hostname = \"mx2.example\"\n[atrn]\nclear_from = [\"{network}\"]\n\
                 [hold.\"client.example\"]\nrecipients = [\"anna\"]\n\
                 deliver_to = \"192.0.2.1:25\"\netrn_from = [\"{network}\"]\n\
                 release_on_connect = [\"{network}\"]\nwakeup_from = [\"{network}\"]\n\
                 wakeup_address = \"wake@mx2.example\"\n"
            );
            let config = Config::parse(Path::new("postern.toml"), &text).expect("sound");
            let shared = Shared { machine: machine.clone(), ..Shared::of(&config) };
            let found = config.warnings_with(&shared, Path::new("postern.toml"));
            let is_risk = |it: &&Problem| it.reason.contains("this machine's gateway");
            let keys = found.iter().filter(is_risk);
            keys.map(|it| it.key.rsplit('.').next().expect("a key").to_owned()).collect::<Vec<_>>()
        };
        let all = ["clear_from", "etrn_from", "release_on_connect", "wakeup_from"];
        assert_eq!(warned("172.17.0.0/16"), all);
        assert_eq!(warned("172.17.0.1"), all);
        assert_eq!(warned("172.18.0.0/16"), [""; 0]);
    }

    #[test]
    fn an_address_that_a_person_reads_or_that_is_a_route_wakes_nobody() {
        let address = WakeupAddress::parse("Wake-Client@MX2.example").expect("an address");
        assert_eq!(address.local_part(), b"wake-client");
        assert_eq!(address.domain().as_str(), "mx2.example");
        for text in ["wake", "@a.example", "Postmaster@a.example", "a%b@a.example", "\"a\"@b.c"] {
            assert!(WakeupAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_long_and_in_one_case_and_no_error_shows_it() {
        assert!(WakeupToken::parse("k7v2p9x4m1q8c5z3").is_ok());
        for text in ["k7v2p9x4m1q8c5z", "K7v2p9x4m1q8c5z3", "k7v2p9x4m1q8c5z-3", &"a".repeat(65)] {
            let reason = WakeupToken::parse(text).expect_err(text);
            assert_eq!(reason, "expected 16 to 64 lower-case letters and digits");
        }
    }
}
