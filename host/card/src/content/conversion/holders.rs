//! The holders that a device asks.

use postern_card::settings::{HOLDERS_MAX, HOSTS_MAX, Holder, Holders, Host, List, Way as CardWay};
use postern_config::{AtrnWay, DomainName, HolderTls, Wakeup, Way, read_password};

use super::Conversion;

/// Octets of the domains in an ATRN: a line has 512 (RFC 5321 §4.5.3.1.4), and a device says one.
const ATRN_MAX: usize = 500;

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

    /// The password for each holder.
    pub(super) fn passwords(&mut self) -> Vec<String> {
        let mut passwords = Vec::new();
        for wakeup in self.config.wakeup.iter() {
            passwords.push(match &wakeup.way {
                Way::Atrn(atrn) => self.password(atrn),
                Way::Etrn(_) | Way::Email(_) => String::new(),
            });
        }
        passwords
    }

    fn password(&mut self, atrn: &AtrnWay) -> String {
        const TLS: &str = "wakeup.tls";
        if self.written.has(TLS) && atrn.tls != HolderTls::Opportunistic {
            self.refuse(TLS, "a device has no TLS: write \"opportunistic\", or leave it out");
        }
        read_password(&atrn.password_file).unwrap_or_else(|why| {
            self.refuse("wakeup.password_file", why);
            String::new()
        })
    }

    /// The holders, of which these are the `names` and the `passwords`.
    pub(super) fn holders<'t>(
        &mut self,
        names: &'t [Vec<String>],
        passwords: &'t [String],
    ) -> Holders<'t>
    where
        'c: 't,
    {
        let mut holders = Holders::new();
        for ((wakeup, names), password) in self.config.wakeup.iter().zip(names).zip(passwords) {
            let holder = self.holder(wakeup, names, password);
            if holders.push(holder).is_err() {
                self.refuse("wakeup", format!("a device asks {HOLDERS_MAX} holders at most"));
                break;
            }
        }
        holders
    }

    fn holder<'t>(
        &mut self,
        wakeup: &'c Wakeup,
        names: &'t [String],
        password: &'t str,
    ) -> Holder<'t>
    where
        'c: 't,
    {
        if names.len() > HOSTS_MAX {
            let reason = format!("a device knows a holder by {HOSTS_MAX} names at most");
            self.refuse(&way_key(wakeup), reason);
        }
        let hosts = wakeup.holders().iter().zip(names).take(HOSTS_MAX);
        let hosts = hosts.map(|(host, name)| Host { name, port: host.port }).collect();
        let fetches = matches!(wakeup.way, Way::Atrn(_));
        let octets: usize = wakeup.names.iter().map(|name| name.as_str().len() + 1).sum();
        if fetches && octets > ATRN_MAX {
            self.refuse("wakeup.names", format!("one ATRN has {ATRN_MAX} octets of them at most"));
        }
        let names = match wakeup.names.is_empty() {
            // All that the user may have.
            true if fetches => List::new(),
            true => self.domains(),
            false => self.list("wakeup.names", wakeup.names.iter().map(DomainName::as_str)),
        };
        let way = match &wakeup.way {
            Way::Email(email) => {
                CardWay::Email { to: email.to.as_str(), from: email.from.as_str() }
            }
            Way::Atrn(atrn) => CardWay::Atrn { user: atrn.user.as_str(), password },
            Way::Etrn(_) => CardWay::Etrn,
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
