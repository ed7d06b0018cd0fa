//! The holders that a device asks.

use postern_card::settings::{HOLDERS_MAX, HOSTS_MAX, Holder, Holders, Host, Way as CardWay};
use postern_config::{DomainName, Wakeup, Way};

use super::Conversion;

impl<'c> Conversion<'c> {
    /// The names of each holder, as a device reads them.
    pub(super) fn holder_names(&mut self) -> Vec<Vec<String>> {
        let mut names = Vec::new();
        for wakeup in self.config.wakeup.iter() {
            let hosts = wakeup.holders().iter();
            let key = way_key(wakeup);
            names.push(hosts.map(|holder| self.host(&key, &holder.host)).collect());
        }
        names
    }

    /// The holders, of which these are the `names`.
    pub(super) fn holders<'t>(&mut self, names: &'t [Vec<String>]) -> Holders<'t>
    where
        'c: 't,
    {
        let mut holders = Holders::new();
        for (wakeup, names) in self.config.wakeup.iter().zip(names) {
            let holder = self.holder(wakeup, names);
            if holders.push(holder).is_err() {
                self.refuse("wakeup", format!("a device asks {HOLDERS_MAX} holders at most"));
                break;
            }
        }
        holders
    }

    fn holder<'t>(&mut self, wakeup: &'c Wakeup, names: &'t [String]) -> Holder<'t>
    where
        'c: 't,
    {
        if names.len() > HOSTS_MAX {
            let reason = format!("a device knows a holder by {HOSTS_MAX} names at most");
            self.refuse(&way_key(wakeup), reason);
        }
        let hosts = wakeup.holders().iter().zip(names).take(HOSTS_MAX);
        let hosts = hosts.map(|(host, name)| Host { name, port: host.port }).collect();
        let names = match wakeup.names.is_empty() {
            true => self.domains(),
            false => self.list("wakeup.names", wakeup.names.iter().map(DomainName::as_str)),
        };
        let way = match &wakeup.way {
            Way::Email(email) => {
                CardWay::Email { to: email.to.as_str(), from: email.from.as_str() }
            }
            // Another is refused.
            Way::Etrn(_) | Way::Atrn(_) => CardWay::Etrn,
        };
        Holder { hosts, names, every_s: self.seconds("wakeup.every", wakeup.every), way }
    }
}

/// The key with the holder's names.
fn way_key(wakeup: &Wakeup) -> String {
    match wakeup.way {
        Way::Email(_) => "wakeup.email_host".to_owned(),
        Way::Etrn(_) | Way::Atrn(_) => format!("wakeup.{}", wakeup.key()),
    }
}
