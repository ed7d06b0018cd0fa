//! Where mailers submit (RFC 6409), who may without a password, and as whom an account may send.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use postern_core::wire::path::Mailbox;

use super::address_set::canonical;
use super::domain_name::DomainName;
use super::fault::Faults;
use super::machine::Machine;
use super::settings::{Word, settings};
use super::values::{Count, unexpected};
use super::wakeup::UserName;
use super::{Config, Written};

settings! {
/// Submission (RFC 6409): mailers hand in mail for anybody. They authenticate as an account with
/// addresses (`postern account add --address`), under TLS only.
pub struct Submission {
    /// The addresses and ports to listen on, such as "[::]:587", with STARTTLS.
    pub listen: Vec<SocketAddr> => Default("[]"),
    /// The same, under TLS from the first octet on (RFC 8314), such as "[::]:465".
    pub listen_tls: Vec<SocketAddr> => Default("[]"),
    /// The socket at which Dovecot lets others ask for its users (its `unix_listener auth-client`).
    /// Mailers then authenticate as those, by PLAIN or LOGIN, and not as accounts, which are for
    /// hosts that fetch mail. Absent: as accounts.
    pub dovecot: Option<PathBuf> => Example("\"/run/dovecot/auth-client\""),
    /// What users of Dovecot may send as besides their own name, where that is an address: as
    /// `postern account add --address` has it for accounts.
    pub senders: BTreeMap<UserName, Vec<SenderPattern>>
        => Example("{ \"ann\" = [\"ann@client.example\", \"*@second.example\"] }"),
    /// Networks that may submit without a password, here and at receive.listen, such as
    /// "192.168.1.0/24". Nobody else may come from there: this machine's own addresses and its
    /// gateways, which outsiders have behind a proxy, are never trusted, and can't be written here.
    pub trusted: Vec<IpNet> => Default("[]"),
    /// Networks that are not private ones are meant in trusted.
    pub i_know: bool => Default("false"),
    /// The From field must have the account's addresses only, as the envelope's sender must in any
    /// case. Whoever is trusted may write what it likes.
    pub check_from: bool => Default("false"),
    /// Messages an hour of one account, wherever it is, or of one address that is trusted; more are
    /// answered 451. All trusted addresses of one IPv6 network (a /64) have 16 times as many.
    pub messages_per_hour: Count<1> => Default("300"),
    /// Their recipients an hour, likewise.
    pub recipients_per_hour: Count<1> => Default("1000"),
}
}

const TRUSTED: &str = "submission.trusted";

impl Submission {
    /// Why `network` can't be trusted, whatever machine this is.
    fn refuses(&self, network: &IpNet, own: &[IpAddr]) -> Option<String> {
        if network.prefix_len() == 0 {
            return Some(format!("{network} is everybody: an open relay"));
        }
        if let Some(own) = own.iter().find(|own| *network == IpNet::from(**own)) {
            return Some(format!("{own} is this server's own address: a proxy's clients have it"));
        }
        if self.i_know || is_private(network) {
            return None;
        }
        Some(match network.addr().is_loopback() {
            true => format!(
                "{network} is this machine: a proxy's clients may have it; i_know = true if not"
            ),
            false => format!("{network} is no private network; i_know = true if it is meant"),
        })
    }
}

/// RFC 1918, RFC 3927, RFC 4193 and RFC 4291 section 2.5.6.
fn is_private(network: &IpNet) -> bool {
    const PRIVATE: [&str; 6] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    ];
    PRIVATE
        .iter()
        .filter_map(|private| private.parse().ok())
        .any(|private: IpNet| private.contains(network))
}

impl Config {
    /// Who may submit without a password.
    pub fn trusted(&self) -> &[IpNet] {
        self.submission.as_ref().map_or(&[], |submission| &submission.trusted)
    }

    pub(super) fn refuse_senders_of_nobody(&self, written: &Written, faults: &mut Faults<'_>) {
        const KEY: &str = "submission.senders";
        let Some(submission) = &self.submission else { return };
        if submission.dovecot.is_none() && !submission.senders.is_empty() {
            let reason = "is for users of Dovecot: dovecot = \"/run/dovecot/auth-client\"; \
                accounts have their own (postern account add --address)";
            faults.add_at(written.line(KEY), KEY, reason.to_owned());
        }
    }

    pub(super) fn refuse_untrustworthy(&self, written: &Written, faults: &mut Faults<'_>) {
        let Some(submission) = &self.submission else { return };
        let listen = [&self.receive.listen, &submission.listen, &submission.listen_tls];
        let own: Vec<_> = listen.into_iter().flatten().map(SocketAddr::ip).collect();
        for network in &submission.trusted {
            if let Some(reason) = submission.refuses(network, &own) {
                faults.add_at(written.line(TRUSTED), TRUSTED, reason);
            }
        }
    }

    /// What only this `machine` tells: whoever is trusted must not be a proxy's clients.
    pub(super) fn refuse_trusted_proxies(
        &self,
        machine: &Machine,
        written: &Written,
        faults: &mut Faults<'_>,
    ) {
        if machine.is_silent && !self.trusted().is_empty() {
            let reason = "can't be told from a proxy's clients: this machine does not tell its own \
                addresses and its gateways (/proc/net)";
            faults.add_at(written.line(TRUSTED), TRUSTED, reason.to_owned());
        }
        for network in self.trusted() {
            let is = |addresses: &[IpAddr]| {
                addresses.iter().any(|address| *network == IpNet::from(*address))
            };
            let what = if is(&machine.gateways) {
                "gateway: behind a proxy, such as that of Docker's published ports, every client \
                 may come from there"
            } else if is(&machine.own) {
                "own address: a proxy's clients come from there"
            } else {
                continue;
            };
            let reason = format!("{} is this machine's {what}", network.addr());
            faults.add_at(written.line(TRUSTED), TRUSTED, reason);
        }
    }

    pub(super) fn warn_of_submission(&self, machine: &Machine, warn: &mut dyn FnMut(&str, String)) {
        let Some(submission) = &self.submission else { return };
        if !submission.listen.is_empty() && self.receive.tls.is_none() {
            let reason = "has no certificate (receive.tls): nobody can authenticate".to_owned();
            warn("submission.listen", reason);
        }
        let is_nowhere = submission.listen.is_empty() && submission.listen_tls.is_empty();
        if is_nowhere && submission.trusted.is_empty() {
            let reason = "and listen_tls are empty, and trusted too: nobody can submit".to_owned();
            warn("submission.listen", reason);
        }
        if self.relay.is_none() {
            let reason = "is there, and [relay] is not: only mail for held domains is taken";
            warn("submission", reason.to_owned());
        }
        for network in &submission.trusted {
            let kept_out = machine.gateways.iter().chain(&machine.own);
            let kept_out: Vec<_> = kept_out
                .filter(|address| network.contains(*address))
                .map(ToString::to_string)
                .collect();
            if !kept_out.is_empty() {
                let reason = format!(
                    "{network} has {}, this machine's gateway or own: clients from there are not \
                     trusted",
                    kept_out.join(", ")
                );
                warn(TRUSTED, reason);
            }
        }
    }
}

/// What an account may send as: an address, or every address at a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderPattern {
    /// As local parts are compared; `None`: any.
    local_part: Option<Box<str>>,
    domain: DomainName,
}

impl SenderPattern {
    /// The address `text`, and no pattern of more than that; `None`: it is no address.
    pub fn exactly(text: &str) -> Option<Self> {
        text.parse().ok().filter(|pattern: &Self| pattern.local_part.is_some())
    }

    /// Whether `mailbox` is such an address.
    pub fn fits(&self, mailbox: &Mailbox<'_>) -> bool {
        let fits = |local: &str| canonical(mailbox.local_part()).as_ref() == local.as_bytes();
        self.local_part.as_deref().is_none_or(fits)
            && DomainName::from_wire(mailbox.domain()).is_some_and(|domain| domain == self.domain)
    }
}

impl Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part.as_deref().unwrap_or("*"), self.domain)
    }
}

impl Word for SenderPattern {
    const EXPECTED: &'static str =
        "an address such as \"ann@client.example\", or \"*@client.example\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for SenderPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unexpected = || unexpected::<Self>(text);
        let (local, domain) = text.rsplit_once('@').ok_or_else(unexpected)?;
        let domain = domain.parse().map_err(|_| unexpected())?;
        if local == "*" {
            return Ok(Self { local_part: None, domain });
        }
        let is_plain = !local.contains(['"', '*', ',']) && !local.contains(super::is_format);
        let is_mailbox = Mailbox::parse(text.trim_end_matches('.').as_bytes()).is_some();
        if !is_plain || !is_mailbox {
            return Err(unexpected());
        }
        let local = String::from_utf8_lossy(&canonical(local.as_bytes())).into_owned();
        Ok(Self { local_part: Some(local.into()), domain })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TLS: &str =
        "hostname = \"mx2.example\"\n[receive]\ntls = \"self-signed\"\n[submission]\n";

    fn parse(keys: &str) -> Result<Config, Vec<super::super::Problem>> {
        Config::parse(Path::new("postern.toml"), &format!("{TLS}{keys}"))
    }

    #[test]
    fn a_pattern_is_one_address_or_a_whole_domain() {
        let fits = |pattern: &str, mailbox: &str| {
            let pattern: SenderPattern = pattern.parse().expect(pattern);
            pattern.fits(&Mailbox::parse(mailbox.as_bytes()).expect(mailbox))
        };
        for (pattern, mailbox) in [
            ("ann@client.example", "ann@client.example"),
            ("Ann@Client.Example.", "\"ANN\"@CLIENT.EXAMPLE"),
            ("*@client.example", "anybody@client.example"),
            ("*@client.example", "\"a@b\"@client.example"),
            ("jörg@bücher.example", "JÖRG@xn--bcher-kva.example"),
        ] {
            assert!(fits(pattern, mailbox), "{pattern} {mailbox}");
        }
        for (pattern, mailbox) in [
            ("ann@client.example", "bob@client.example"),
            ("ann@client.example", "ann+x@client.example"),
            ("ann@client.example", "ann@sub.client.example"),
            ("*@client.example", "ann@sub.client.example"),
            ("*@client.example", "ann@client.example.evil.example"),
            ("*@client.example", "\"ann@client.example\"@evil.example"),
            ("*@client.example", "ann@[192.0.2.1]"),
            // Cyrillic small letter ie.
            ("*@client.example", "ann@cli\u{435}nt.example"),
        ] {
            assert!(!fits(pattern, mailbox), "{pattern} {mailbox}");
        }
        for text in [
            "ann",
            "@client.example",
            "*",
            "*@*",
            "a*@client.example",
            "ann@",
            "*@*.example",
            "\"ann\"@client.example",
            "a b@client.example",
            "ann@[192.0.2.1]",
            "a,b@c.example",
        ] {
            assert!(text.parse::<SenderPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_be_an_open_relay_is_an_error() {
        for (trusted, why) in [
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
            ("::ffff:0:0/96", "everybody"),
            ("192.0.2.0/24", "no private network"),
            ("0.0.0.0/1", "no private network"),
            ("192.0.0.0/2", "no private network"),
            ("2001:db8::/32", "no private network"),
            ("172.16.0.0/11", "no private network"),
            ("100.64.0.0/10", "no private network"),
            ("127.0.0.0/8", "is this machine"),
            ("::1", "is this machine"),
            ("10.9.9.9", "own address"),
        ] {
            let keys = format!("listen = [\"10.9.9.9:587\"]\ntrusted = [\"{trusted}\"]");
            let found = parse(&keys).expect_err(trusted);
            let said = found[0].to_string();
            let place = "postern.toml:6: submission.trusted: ";
            assert!(said.starts_with(place) && said.contains(why), "{trusted}: {said}");
        }
        for trusted in ["192.168.1.0/24", "10.0.0.0/8", "fd00::/8", "172.16.0.0/12", "fe80::/64"] {
            parse(&format!("trusted = [\"{trusted}\"]")).expect(trusted);
        }
        parse("trusted = [\"192.0.2.0/24\", \"127.0.0.1\"]\ni_know = true").expect("it is known");
        parse("trusted = [\"0.0.0.0/0\"]\ni_know = true").expect_err("nobody can mean that");
    }

    #[test]
    fn whom_a_proxy_may_stand_for_is_an_error_or_is_kept_out() {
        let machine = Machine {
            own: vec!["172.25.25.20".parse().expect("an address")],
            gateways: vec!["172.25.25.1".parse().expect("an address")],
            is_silent: false,
        };
        let silent = Machine { is_silent: true, ..Machine::default() };
        let refused_by = |machine: &Machine, trusted: &str| {
            let config = parse(&format!("trusted = [\"{trusted}\"]")).expect("sound elsewhere");
            let mut faults = Faults::new(Path::new("postern.toml"), "");
            config.refuse_trusted_proxies(machine, &Written::default(), &mut faults);
            let mut warned = Vec::new();
            config.warn_of_submission(machine, &mut |key, reason| {
                if key == TRUSTED {
                    warned.push(reason);
                }
            });
            (faults.into_problems().len(), warned.len())
        };
        let refused = |trusted: &str| refused_by(&machine, trusted);
        assert_eq!(refused_by(&silent, "172.25.26.0/24"), (1, 0));
        assert_eq!(refused("172.25.25.1"), (1, 1));
        assert_eq!(refused("172.25.25.20/32"), (1, 1));
        assert_eq!(refused("172.25.25.0/24"), (0, 1));
        assert_eq!(refused("172.25.26.0/24"), (0, 0));
    }

    #[test]
    fn users_of_dovecot_send_as_the_file_says() {
        let senders = "senders = { \"ann\" = [\"ann@client.example\", \"*@second.example\"] }";
        let config = parse(&format!("dovecot = \"/run/dovecot/auth\"\n{senders}")).expect("sound");
        let senders_of = config.submission.expect("it is there").senders;
        let shown: Vec<_> = senders_of.values().flatten().map(ToString::to_string).collect();
        assert_eq!(shown, ["ann@client.example", "*@second.example"]);
        let found = parse(senders).expect_err("there is no Dovecot");
        assert!(found[0].to_string().contains(":5: submission.senders: is for users"), "{found:?}");
        for wrong in ["senders = { ann = [\"ann\"] }", "senders = { ann = [\"*@*\"] }"] {
            let found = parse(&format!("dovecot = \"/x\"\n{wrong}")).expect_err(wrong);
            let said = found[0].to_string();
            assert!(said.contains("senders.\"ann\": expected an address such as"), "{said}");
        }
        assert!(SenderPattern::exactly("ann@client.example").is_some());
        assert!(SenderPattern::exactly("*@client.example").is_none());
    }

    #[test]
    fn where_nobody_could_authenticate_is_said() {
        let clear = "hostname = \"mx2.example\"\n[submission]\n";
        let parse =
            |keys: &str| Config::parse(Path::new("postern.toml"), &format!("{clear}{keys}"));
        let found = parse("listen_tls = [\"[::]:465\"]").expect_err("no certificate");
        assert!(found[0].to_string().contains("submission.listen_tls: needs a certificate"));
        for keys in ["listen = [\"[::]:587\"]", ""] {
            let warned = parse(keys).expect("sound").warnings(Path::new(""));
            assert!(warned.iter().any(|it| it.key == "submission.listen"), "{warned:?}");
        }
    }
}
