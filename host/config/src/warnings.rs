//! What works, but hurts: `postern check` says it, with the reason.

use std::path::Path;

use super::appletalk::Interface;
use super::triggers::Shared;
use super::{
    Config, DomainName, Endpoint, FileMode, Hold, Host, Listener, Problem, Recipients, Route,
    Wakeup, Way,
};

impl Config {
    /// What is risky in this configuration, which was read from `file`.
    pub fn warnings(&self, file: &Path) -> Vec<Problem> {
        self.warnings_with(&Shared::of(self), file)
    }

    /// The same for the server that runs on this machine.
    pub fn warnings_here(&self, file: &Path) -> Vec<Problem> {
        self.warnings_with(&Shared::of(self).with_this_machines(), file)
    }

    pub(super) fn warnings_with(&self, shared: &Shared, file: &Path) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |key: &str, reason| found.push((key.to_owned(), reason));
        self.warn_of_receiving(&mut add);
        self.warn_of_atrn(shared, &mut add);
        self.warn_of_submission(&shared.machine, &mut add);
        self.warn_of_wakeups(&mut |key, reason: &str| add(key, reason.to_owned()));
        self.warn_of_link(&mut |key, reason: &str| add(key, reason.to_owned()));
        for (domain, hold) in &self.hold {
            let mut warn = |key: &str, reason| {
                found.push((format!("hold.\"{domain}\".{key}"), reason));
            };
            hold.warn(domain, &mut warn);
            hold.warn_of_triggers(shared, &mut warn);
            if hold.quota.is_some_and(|quota| quota.0 < self.receive.max_message_size.0) {
                warn("quota", "is less than receive.max_message_size, for one message".to_owned());
            }
            if hold.etrn_authenticated()
                && self.receive.tls.is_none()
                && self.clear_from().is_empty()
            {
                let reason = "has \"authenticated\", and nobody can authenticate: receive.tls and \
                    atrn.clear_from are not there";
                warn("etrn_from", reason.to_owned());
            }
            let is_fetched_only = hold.deliver_to.is_asker() && !hold.etrn_authenticated();
            if let Some(reason) = self.is_not_fetched_from().filter(|_| is_fetched_only) {
                warn("deliver_to", reason.to_owned());
            }
            if hold.deliver_to.is_asker() && hold.etrn_networks().next().is_some() {
                let reason = "has networks, and deliver_to is \"asker\": they release nothing";
                warn("etrn_from", reason.to_owned());
            }
            if hold.deliver_to.endpoint().is_some_and(|to| self.is_own(to)) {
                let reason = "is this server: the mail would come back until its hops are too many";
                warn("deliver_to", reason.to_owned());
            }
        }
        if let Some(address) =
            self.postmaster.as_ref().filter(|to| !self.hold.contains_key(to.domain()))
        {
            let reason =
                format!("{} is not held: nobody fetches mail for {address}", address.domain());
            found.push(("postmaster".to_owned(), reason));
        }
        let problem = |(key, reason)| Problem { file: file.to_owned(), line: None, key, reason };
        found.into_iter().map(problem).collect()
    }

    fn is_own(&self, to: &Endpoint) -> bool {
        self.receive.listen.iter().any(|own| {
            own.port() == to.port
                && match &to.host {
                    Host::Name(name) => *name == self.hostname(),
                    Host::Address(address) => own.ip() == *address,
                }
        })
    }

    fn warn_of_receiving(&self, warn: &mut dyn FnMut(&str, String)) {
        if self.hold.is_empty() && self.relay.is_none() {
            warn("hold", "no domain is held: every recipient is refused".to_owned());
        }
        if !self.hostname().as_str().contains('.') {
            let reason = "has no dot: many hosts refuse an EHLO with such a name".to_owned();
            warn("hostname", reason);
        }
        if self.receive.channels.get() == 0 {
            warn("receive.channels", "is 0: receiving is off, nothing listens".to_owned());
        }
        // What is fetched needs no listener, and a host behind NAT has none.
        let is_fetching = |wakeup: &Wakeup| matches!(wakeup.way, Way::Atrn(_));
        if self.receive.listener == Listener::Off && !self.wakeup.iter().any(is_fetching) {
            warn("receive.listener", "is \"off\": nothing listens".to_owned());
        }
        if let Some(appletalk) = &self.receive.appletalk {
            let reason = match appletalk.channels.get() {
                0 => "is 0: nobody is served over AppleTalk".to_owned(),
                _ => {
                    let interface = appletalk.interface.as_ref();
                    let interface = interface.map_or("its network", Interface::as_str);
                    let whom = if appletalk.submission { "anybody" } else { "held domains" };
                    format!("whoever is on {interface} may send to {whom} over AppleTalk")
                }
            };
            warn("receive.appletalk.channels", reason);
        }
        if self.receive.listen.is_empty() {
            warn("receive.listen", "is empty: nothing listens".to_owned());
        }
    }

    fn warn_of_wakeups(&self, warn: &mut dyn FnMut(&str, &str)) {
        let receive = &self.receive;
        // What is fetched needs no listener, and opens none.
        let is_asking = self.wakeup.iter().any(|wakeup| !matches!(wakeup.way, Way::Atrn(_)));
        if receive.listener == Listener::Scheduled && !is_asking {
            let reason = "is \"scheduled\", and there is no [[wakeup]] with etrn or email: it is \
                never opened";
            warn("receive.listener", reason);
        }
        let is_off = receive.listener == Listener::Off;
        if is_asking && (is_off || receive.channels.get() == 0 || receive.listen.is_empty()) {
            let reason = "asks for mail, and nothing here listens for it: it comes only if \
                something else takes it at the host that the holder sends it to";
            warn("wakeup", reason);
        }
        let names_holds =
            |wakeup: &Wakeup| matches!(wakeup.way, Way::Etrn(_)) && wakeup.names.is_empty();
        let unverified = |wakeup: &Wakeup| match &wakeup.way {
            Way::Atrn(atrn) => Some(atrn.tls).filter(|tls| !tls.is_verified()),
            Way::Etrn(_) | Way::Email(_) => None,
        };
        if let Some(tls) = self.wakeup.iter().find_map(unverified) {
            let tls = tls.word();
            let reason = format!(
                "is \"{tls}\": whoever is between the holder and this host can read the mail, or \
                pass for the holder; it is for networks of your own"
            );
            warn("wakeup.tls", &reason);
        }
        if self.hold.is_empty() && self.wakeup.iter().any(names_holds) {
            warn("wakeup.names", "is empty, and so is the list of domains held: asks for nothing");
        }
    }
}

impl Hold {
    fn warn(&self, domain: &DomainName, warn: &mut dyn FnMut(&str, String)) {
        if self.recipients == Recipients::Any {
            let reason = "is \"any\": spam for recipients that do not exist is taken, and then \
                refused by the domain's host, which may come to refuse this one, and a local part \
                with %, ! or a quoted @ is not taken, as some hosts relay by it; list them";
            warn("recipients", reason.to_owned());
        }
        if self.recipients.count(domain) == Some(0) {
            warn("recipients", "names nobody of this domain: only postmaster is taken".to_owned());
        }
        let is_maildir = self.deliver_to.maildir().is_some();
        let has_keys = self.maildir_group.is_some() || self.maildir_mode != FileMode::PRIVATE;
        if has_keys && !is_maildir {
            let reason = "and maildir_group are for a Maildir, and deliver_to is none".to_owned();
            warn("maildir_mode", reason);
        }
        if self.private_mx && self.deliver_to != Route::Mx {
            warn("private_mx", "is for \"mx\", and deliver_to names something else".to_owned());
        }
        if self.wake_on_lan.is_some() && is_maildir {
            warn("wake_on_lan", "is for a host, and a Maildir is none".to_owned());
        }
    }
}
