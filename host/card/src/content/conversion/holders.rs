//! The holders that a device asks.

use postern_card::settings::{HOLDERS_MAX, HOSTS_MAX, Holder, Holders, Host};
use postern_config::{DomainName, Wakeup};

use super::Conversion;

impl<'c> Conversion<'c> {
    /// The names of each holder, as a device reads them.
    pub(super) fn holder_names(&mut self) -> Vec<Vec<String>> {
        let mut names = Vec::new();
        for wakeup in self.config.wakeup.iter() {
            let hosts = wakeup.holders().iter();
            names.push(hosts.map(|holder| self.host("wakeup.etrn", &holder.host)).collect());
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
            self.refuse("wakeup.etrn", reason);
        }
        let hosts = wakeup.holders().iter().zip(names).take(HOSTS_MAX);
        let hosts = hosts.map(|(host, name)| Host { name, port: host.port }).collect();
        let names = match wakeup.names.is_empty() {
            true => self.domains(),
            false => self.list("wakeup.names", wakeup.names.iter().map(DomainName::as_str)),
        };
        Holder { hosts, names, every_s: self.seconds("wakeup.every", wakeup.every) }
    }
}
