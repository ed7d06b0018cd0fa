//! The configuration: one TOML file, read whole, every error of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use tracing::Level;

mod accounts;
mod address_set;
mod appletalk;
mod ask;
mod atrn;
mod default_file;
mod deliver_to;
mod device;
mod domain_name;
mod fault;
mod file;
mod lines;
mod link;
mod list_source;
mod machine;
mod password;
mod recipients;
mod relay;
mod settings;
mod submission;
mod triggers;
mod values;
mod wakeup;
mod warnings;
mod written;

pub use accounts::{AccountSettings, Asker};
pub use address_set::{AddressSet, canonical, is_postmaster};
pub use appletalk::{
    AppleTalk, AppleTalkLink, AppleTalkName, Interface, from_mac_roman, to_mac_roman,
};
pub use ask::{Ask, AskRate, WhenAway};
pub use atrn::Atrn;
pub use default_file::default_file;
pub use deliver_to::{
    DeliverTo, Endpoint, FileMode, Group, MaildirPath, MxRoute, ParseEndpointError, Protocol,
    Route, folder_name,
};
pub use device::{Device, DeviceAddress, HardwareAddress, LogReceiver};
pub use domain_name::DomainName;
pub use fault::{Faults, Problem};
pub use file::{is_format, read as read_file};
pub use link::{Argv, Link, LinkKind, TimeZone};
pub use list_source::{HeaderName, ListSource, ListUrl, Select, Step};
pub use machine::Machine;
pub use password::read as read_password;
pub use recipients::{NotTaken, Recipients};
pub use relay::{Relay, RelayTls, Smarthost};
pub use settings::Setting;
pub use submission::{SenderPattern, Submission};
pub use triggers::{WakeupAddress, WakeupToken};
pub use values::{
    Address, ByteSize, Count, Host, KeptFor, LogFormat, NameServer, OnRefusal, Pause, RetryEvery,
    SizeFrom, SmtpUtf8, Subaddress, Tls, TlsFiles,
};
pub use wakeup::{
    Account, Atrn as AtrnWay, Email, Holder, HolderTls, Listener, Sender, UserName, Wakeup,
    Wakeups, Way,
};
pub use written::Written;

use settings::{Outline, Word, settings};

settings! {
/// The configuration of `postern`, a back-up mail exchanger.
pub struct Config {
    /// The name that this host goes by: in its greeting, its EHLO and its Received lines.
    /// Its address must lead back to it. Absent: the machine's own name.
    pub hostname: Option<DomainName> => Example("\"mx2.provider.example\""),
    /// Who gets mail for <Postmaster> without a domain, which every host must take (RFC 5321
    /// section 4.5.1). Its domain must be held. Absent: the postmaster of the first domain held.
    pub postmaster: Option<Address> => Example("\"postmaster@client.example\""),
    /// Receiving mail.
    pub receive: Receive => Section("[receive]"),
    /// Where accepted mail is kept until its host has it.
    pub spool: SpoolSettings => Section("[spool]"),
    /// A client domain: one table each. A subdomain is held only with a table of its own.
    pub hold: BTreeMap<DomainName, Hold> => Example("[hold.\"client.example\"]"),
    /// Asking the hosts of domains with recipients = "ask" who they take mail for.
    pub ask: Ask => Section("[ask]"),
    /// Delivering held mail.
    pub release: Release => Section("[release]"),
    /// Finding hosts by their names.
    pub resolver: Resolver => Section("[resolver]"),
    /// Mail for all other domains. Without this table none is taken.
    pub relay: Option<Relay> => Example("[relay]"),
    /// Mail for hosts that fetch it over a connection of their own (ATRN, RFC 2645): those behind
    /// NAT, or whose address changes. Without this table nothing listens for them.
    pub atrn: Option<Atrn> => Example("[atrn]"),
    /// Mailers that hand in mail for anybody. Without this table nobody can.
    pub submission: Option<Submission> => Example("[submission]"),
    /// Accounts: who may ask for mail, or submit it, by password.
    pub accounts: AccountSettings => Section("[accounts]"),
    /// The API that `postern queue`, `postern health` and a metrics collector talk to.
    pub control: Control => Section("[control]"),
    /// The log, on standard error.
    pub log: Log => Section("[log]"),
    /// What only a device has. `postern card create` puts it, and whatever else of this file a
    /// device can do, on a memory card. A file with this table is a device's: no server takes it.
    pub device: Option<Device> => Example("[device]"),
    /// The link to the Internet, where that is not always up.
    pub link: Link => Section("[link]"),
    /// A holder that is asked for the mail that it holds for us: one table each.
    pub wakeup: Wakeups => Example("[[wakeup]]"),
}
}

settings! {
/// Receiving mail.
pub struct Receive {
    /// The addresses and ports to listen on. "[::]:25" takes IPv4 too.
    pub listen: Vec<SocketAddr> => Default("[\"[::]:25\"]"),
    /// Sessions at once; one more is answered 421. 0 turns receiving off: nothing listens.
    pub channels: Count<0> => Default("100"),
    /// Sessions at once from one client address; IPv6 addresses count by their /64.
    pub channels_per_address: Count<1> => Default("20"),
    /// When to listen: "always"; "scheduled", from just before a wake-up goes out until nothing has
    /// come for the time of idle, or the window of link.schedule ends; "on-link", while the link is
    /// up, whoever raised it; or "off". None of them raises a link.
    pub listener: Listener => Default("\"always\""),
    /// How long a "scheduled" listener stays open, and a link that we raised stays up, while there
    /// is no session, and none expected.
    pub idle: Duration => Default("\"60s\""),
    /// How long the first session is expected, once a holder has said that mail comes.
    pub wait: Duration => Default("\"5m\""),
    /// The largest message taken, as offered by SIZE (RFC 1870).
    pub max_message_size: SizeFrom<1> => Default("\"50 MiB\""),
    /// Recipients of one message, at least 100 (RFC 5321 section 4.5.3.1.8); more are answered 452.
    pub max_recipients: Count<100> => Default("1000"),
    /// Commands of one client that are refused for good, unknown recipients among them, from one
    /// message that is accepted to the next; then the session ends with 421.
    pub max_errors: Count<1> => Default("20"),
    /// How long a client may say nothing (RFC 5321 section 4.5.3.2.7 asks for 5 minutes). At most
    /// 20 seconds while three quarters of the channels are taken.
    pub idle_timeout: Duration => Default("\"5m\""),
    /// Offer STARTTLS with this certificate, or "self-signed": made once and kept in the spool's
    /// folder. Absent: not offered.
    pub tls: Option<Tls> => Example(
        "{ certificate = \"/etc/postern/cert.pem\", key = \"/etc/postern/key.pem\" }"
    ),
    /// SMTP over AppleTalk. Absent: none.
    pub appletalk: Option<AppleTalk> => Example("[receive.appletalk]"),
}
}

/// Bytes of memory for messages that are coming in, at least: several of the largest that the log
/// keeps in memory, 1 MiB each. With less, one of them would wait for ever.
const DRAFTS_MIN: u64 = 4 << 20;

settings! {
/// Where accepted mail is kept until its host has it.
pub struct SpoolSettings {
    /// The spool's folder. One process at a time uses it.
    pub path: PathBuf => Default("\"/var/spool/postern\""),
    /// Memory for all messages that are coming in, at least 4 MiB; beyond it, they are written to
    /// files as they come, and new ones wait some seconds. How full the disk may get is no
    /// setting: mail that has no space beside what the log itself needs is answered 452.
    pub memory: SizeFrom<DRAFTS_MIN> => Default("\"64 MiB\""),
}
}

settings! {
/// A client domain.
pub struct Hold {
    /// REQUIRED. Who mail is taken for: a list of addresses or local parts, the absolute path of a
    /// file with one a line (# starts a comment; read again on SIGHUP), "ask", by which the host
    /// of deliver_to is asked, as [ask] says, or "any", which makes this host a door for spam.
    /// "import": the list that `postern recipients import` was given last. A table: a list that is
    /// fetched by HTTP, { urls = ["https://mail.client.example/list"], header = "Authorization",
    /// token_file = "/etc/postern/token", select = "/*/email" }: addresses, one a line, or in JSON
    /// where select says, a JSON pointer with * for each, or a list of them. @client.example is
    /// all. The first line of token_file (mode 0600) is the header's whole value. Fetched every
    /// (1h); health tells of a list older than stale (7d), which is used all the same; ca names a
    /// file of certificates. "ask", "any" and all take no local part with `%`, `!` or a quoted
    /// `@`. Upper and lower case are one; postmaster is always a recipient.
    pub recipients: Recipients => Example("[\"info\", \"sales\"]"),
    /// What becomes of a recipient with recipients = "ask" that is not remembered, while the host
    /// does not answer, or has been asked often enough: "defer" answers 450, and "accept" takes it,
    /// and the spam that comes while the host is away.
    pub when_away: WhenAway => Default("\"defer\""),
    /// REQUIRED. Where the domain's mail goes: "host:port", "mx", "lmtp://host:port" (RFC 2033),
    /// "asker" or "maildir:/path". "mx": to port 25 of the best of its mail exchangers that is
    /// there, of those that the DNS prefers to this host. "asker": it stays until an account that
    /// has the domain (`postern account`) fetches it by ATRN (RFC 2645) at the places of [atrn];
    /// nothing is tried by timer.
    /// By authenticated ETRN, and by `postern link-up --address`, it goes once to port 25 of the
    /// address that it is asked from, or that is given. A Maildir is files of this machine's, with
    /// Return-Path and Delivered-To on top, each line ended by LF alone, as Maildir's readers
    /// expect. It must be there, with its tmp, new and cur: a disk that is not mounted must not be
    /// written beside. In "maildir:/path/{user}/Maildir" each recipient that is listed has his own:
    /// /path must be there, and what is missing below it is made. {user} is what the list says, in
    /// lower case, without what follows a "+"; it can have a-z, 0-9, ".", "_", "=" and "-", no "."
    /// first.
    pub deliver_to: Route => Example("\"mail.client.example:25\""),
    /// Whether "mx" goes to addresses that no host of the Internet has, and to this machine's own:
    /// the DNS of a domain is somebody else's word.
    pub private_mx: bool => Default("false"),
    /// The permissions of files in a Maildir; the folders made for {user} have them too, with those
    /// to look into them, and to move mail.
    pub maildir_mode: FileMode => Default("\"0600\""),
    /// The group of files in a Maildir, and of the folders made for {user}. Absent: the one that
    /// the system gives them.
    pub maildir_group: Option<Group> => Example("\"mail\""),
    /// The hardware address of a host that sleeps: it is sent a Wake-on-LAN packet before a
    /// delivery, and tried while it starts. Absent: none.
    pub wake_on_lan: Option<HardwareAddress> => Example("\"02:00:00:00:00:01\""),
    /// Where that packet goes: the broadcast address of the host's network, which says by what
    /// interface too, and a port.
    pub wake_to: SocketAddr => Default("\"255.255.255.255:9\""),
    /// How often mail may wake the host: what comes sooner is collected, and goes if it is up.
    /// ETRN and `postern queue release` wake it at once. After three times without a connection
    /// health says so, and it is woken no more often than every retry_every.
    pub wake_at_most: Duration => Default("\"15m\""),
    /// How long it may take to start.
    pub wake_patience: Duration => Default("\"3m\""),
    /// The networks and addresses that may ask for the domain's mail by ETRN (RFC 1985), and
    /// "authenticated": the accounts that have the domain (`postern account`), wherever they are.
    pub etrn_from: Vec<Asker> => Default("[]"),
    /// What an ETRN may name besides the domain and the host of deliver_to.
    pub etrn_names: Vec<DomainName> => Default("[]"),
    /// The networks and addresses whose SMTP sessions, whatever they are for, release the domain,
    /// unless its host was tried within the last minute: of a host that just came back.
    pub release_on_connect: Vec<IpNet> => Default("[]"),
    /// Mail to this address, at our own name as a rule, releases the domain and is not delivered;
    /// at most 64 KiB, and 10 a minute from one address. Several domains may have the same. It is
    /// taken from the networks of etrn_from and wakeup_from. Absent: none.
    pub wakeup_address: Option<WakeupAddress> => Example("\"wake-client@mx2.provider.example\""),
    /// More networks that mail to wakeup_address, and mail to null%client.example at our own name,
    /// is taken from.
    pub wakeup_from: Vec<IpNet> => Default("[]"),
    /// Taken from anybody is what has this behind a + in the local part of wakeup_address: 16 to 64
    /// letters and digits that nobody guesses. Absent: nothing is.
    pub wakeup_token: Option<WakeupToken> => Example("\"k7v2p9x4m1q8c5z3\""),
    /// How often delivery is tried, 10 % more or less; "never": only when asked.
    pub retry_every: RetryEvery => Default("\"30m\""),
    /// How long mail is kept before it is given up, flagged, and left to a person.
    pub expire_after: Duration => Default("\"5d\""),
    /// What becomes of a recipient that the host refuses for good: "keep" shows it in
    /// `postern queue list` and keeps it. It is never bounced to a forged sender.
    pub on_refusal: OnRefusal => Default("\"keep\""),
    /// How long what was refused or has expired is kept before it is removed, with a line in the
    /// log; "never": until a person removes it.
    pub kept_for: KeptFor => Default("\"never\""),
    /// Bytes held for the domain, kept ones included, from which on its recipients are answered
    /// 452. Absent: what the disk has.
    pub quota: Option<ByteSize> => Example("\"1 GiB\""),
    /// The characters behind which a local part goes on with what its owner chose: with "+",
    /// user+tag is taken where user is listed. "": none.
    pub subaddress: Subaddress => Default("\"+\""),
    /// Whether the host takes addresses beyond ASCII (RFC 6531): true, false, or "auto", by what it
    /// offered in the last 7 days. Where it does not, they are refused at once.
    pub smtputf8: SmtpUtf8 => Default("\"auto\""),
}
}

settings! {
/// Delivering held mail.
pub struct Release {
    /// Connections at once to one host; to the relay up to 8 more, while it leaves some of them
    /// without an answer for 20 s.
    pub connections_per_host: Count<1> => Default("2"),
    /// Connections at once in all; no domain has more than half.
    pub connections: Count<2> => Default("50"),
}
}

settings! {
/// Finding hosts by their names.
pub struct Resolver {
    /// The name servers that are asked, each an address with or without a port. Empty: those of the
    /// machine (/etc/resolv.conf, read again when it changes). What /etc/hosts says goes first.
    pub servers: Vec<NameServer> => Default("[]"),
}
}

settings! {
/// The control API.
pub struct Control {
    /// The Unix socket to listen on; its group may use it (mode 0660).
    pub listen: PathBuf => Default("\"/run/postern/control\""),
}
}

settings! {
/// The log, on standard error.
pub struct Log {
    /// "text", "json", or "auto": text on a terminal, JSON otherwise.
    pub format: LogFormat => Default("\"auto\""),
    /// "error", "warn", "info", "debug" or "trace". POSTERN_LOG in the environment overrides it.
    pub level: Level => Default("\"info\""),
}
}

impl Default for Config {
    fn default() -> Self {
        Self::absent().expect("every key outside [hold] has a default")
    }
}

impl Config {
    /// Reads a server's configuration in `file`, and the recipient files that it names.
    ///
    /// # Errors
    /// Everything wrong with it, in the order of its lines.
    pub fn load(file: &Path) -> Result<Self, Vec<Problem>> {
        let source = source(file)?;
        let (config, written) = Self::parse_with(file, &source, refuse_what_servers_lack)?;
        let mut faults = Faults::new(file, &source);
        config.refuse_trusted_proxies(&Machine::this(), &written, &mut faults);
        let problems = faults.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The control socket that the configuration in `file` names. Nothing else of it is read, so
    /// that a question to a server costs little however many domains it holds, and gets through
    /// while its file is being edited: a fault elsewhere is none here.
    ///
    /// # Errors
    /// The file cannot be read, or does not say which socket.
    pub fn control_socket(file: &Path) -> Result<PathBuf, Vec<Problem>> {
        let source = source(file)?;
        let mut faults = Faults::new(file, &source);
        let (document, errors) = DeTable::parse_recoverable(&source);
        let section = document.get_ref().get("control");
        let listen = section.and_then(|section| section.get_ref().get("listen"));
        if listen.is_none() && !errors.is_empty() {
            faults.add_syntax(errors);
            return Err(faults.into_problems());
        }
        let control = match section {
            Some(section) => Control::read(section, "control", &mut faults),
            None => Control::absent(),
        };
        let problems = faults.into_problems();
        control.filter(|_| problems.is_empty()).map(|control| control.listen).ok_or(problems)
    }

    /// Reads a server's configuration `source`, which came from `file`, and the recipient files
    /// that it names.
    ///
    /// # Errors
    /// Everything wrong with it, in the order of its lines.
    pub fn parse(file: &Path, source: &str) -> Result<Self, Vec<Problem>> {
        let (config, _) = Self::parse_with(file, source, refuse_what_servers_lack)?;
        Ok(config)
    }

    /// Reads the configuration `source`, which came from `file`, for somebody who refuses some of
    /// its keys; says which keys it has.
    ///
    /// # Errors
    /// Everything wrong with it, in the order of its lines.
    pub fn parse_with(
        file: &Path,
        source: &str,
        refuse: impl FnOnce(&Written, &mut Faults<'_>),
    ) -> Result<(Self, Written), Vec<Problem>> {
        let mut faults = Faults::new(file, source);
        let (document, errors) = DeTable::parse_recoverable(source);
        if !errors.is_empty() {
            faults.add_syntax(errors);
            return Err(faults.into_problems());
        }
        let written = Written::new(document.get_ref(), &faults);
        refuse(&written, &mut faults);
        let span = document.span();
        let root = Spanned::new(span, DeValue::Table(document.into_inner()));
        let read = Self::read(&root, "", &mut faults);
        if let Some(config) = &read {
            config.refuse_unfit_folders(&written, &mut faults);
            config.refuse_unanswered(&written, &mut faults);
            config.refuse_triggers_of_askers(&written, &mut faults);
            config.refuse_wakeups_of_recipients(&written, &mut faults);
            config.refuse_shared_places(&written, &mut faults);
            config.refuse_tls_without_certificate(&written, &mut faults);
            config.refuse_untrustworthy(&written, &mut faults);
            config.refuse_senders_of_nobody(&written, &mut faults);
            config.link.refuse_incomplete(&written, &mut faults);
            if let Some(relay) = &config.relay {
                relay.refuse_incomplete(&written, &mut faults);
            }
            if let Some(appletalk) = &config.receive.appletalk {
                appletalk.refuse_excess(&written, &mut faults);
            }
        }
        let problems = faults.into_problems();
        match read {
            Some(config) if problems.is_empty() => Ok((config, written)),
            _ => Err(problems),
        }
    }

    /// The name of every key that a file can have, with its sections: `receive.channels`.
    pub fn keys() -> Vec<String> {
        let mut keys = Vec::new();
        note_keys(Self::OUTLINE.expect("a section has an outline"), "", &mut keys);
        keys
    }

    /// The name that this host goes by.
    pub fn hostname(&self) -> DomainName {
        let machine = rustix::system::uname();
        let own = || DomainName::parse(&machine.nodename().to_string_lossy()).ok();
        let name = self.hostname.clone().or_else(own);
        name.unwrap_or_else(|| DomainName::parse("localhost").expect("a domain name"))
    }

    /// Keeps the lists of `old`, the configuration before, whose files name nobody now: a file that
    /// is being written is empty for a moment. Says which files.
    pub fn keep_emptied_lists(&mut self, old: &Self) -> BTreeSet<PathBuf> {
        let both = self.hold.iter_mut().filter_map(|(domain, hold)| {
            hold.recipients.keep_list_of(&old.hold.get(domain)?.recipients).map(Path::to_owned)
        });
        both.collect()
    }

    /// The hold for `domain`, in any case, in either form, and without a dot at its end.
    pub fn held(&self, domain: &[u8]) -> Option<(&DomainName, &Hold)> {
        self.hold.get_key_value(&DomainName::from_wire(domain)?)
    }
}

impl Hold {
    /// The networks that may ask for its mail.
    pub fn etrn_networks(&self) -> impl Iterator<Item = &IpNet> {
        self.etrn_from.iter().filter_map(|asker| match asker {
            Asker::Network(network) => Some(network),
            Asker::Authenticated => None,
        })
    }

    /// Whether accounts may ask for its mail by ETRN.
    pub fn etrn_authenticated(&self) -> bool {
        self.etrn_from.contains(&Asker::Authenticated)
    }
}

impl Config {
    /// Every address that is listened at, with its key.
    fn listens(&self) -> Vec<(&'static str, &SocketAddr)> {
        let (atrn, submission) = (self.atrn.as_ref(), self.submission.as_ref());
        let all = [
            ("receive.listen", Some(&self.receive.listen)),
            ("atrn.listen", atrn.map(|atrn| &atrn.listen)),
            ("atrn.listen_tls", atrn.map(|atrn| &atrn.listen_tls)),
            ("submission.listen", submission.map(|submission| &submission.listen)),
            ("submission.listen_tls", submission.map(|submission| &submission.listen_tls)),
        ];
        let each = all.into_iter().flat_map(|(key, listens)| {
            listens.into_iter().flatten().map(move |listen| (key, listen))
        });
        each.collect()
    }

    /// The second of two sockets at one port of one address cannot be opened.
    fn refuse_shared_places(&self, written: &Written, faults: &mut Faults<'_>) {
        let all = self.listens();
        for (n, (key, second)) in all.iter().enumerate() {
            if let Some((_, first)) = all[..n].iter().find(|(_, first)| share(first, second)) {
                let reason = match first == second {
                    true => format!("\"{first}\" is there twice"),
                    false => format!("\"{first}\" and \"{second}\" share a place: leave one out"),
                };
                faults.add_at(written.line(key), key, reason);
            }
        }
    }
}

/// Whether connections to one and the same address and port could come to both. `[::]` takes IPv4
/// too; of port 0, the system chooses another for each.
fn share(one: &SocketAddr, other: &SocketAddr) -> bool {
    let all = |one: IpAddr, other: IpAddr| {
        one.is_unspecified() && (one.is_ipv6() || other.to_canonical().is_ipv4())
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || all(a, b) || all(b, a))
}

fn note_keys(outline: &Outline, path: &str, keys: &mut Vec<String>) {
    for key in outline.keys {
        let name = format!("{path}{}", key.name);
        match key.outline {
            Some(inner) => note_keys(inner, &format!("{name}."), keys),
            None => keys.push(name),
        }
    }
}

/// The text of the configuration in `file`.
///
/// # Errors
/// Why it cannot be read.
pub fn source(file: &Path) -> Result<String, Vec<Problem>> {
    file::read_text(file).map_err(|error| {
        let reason = format!("cannot be read: {error}");
        vec![Problem { file: file.to_owned(), line: None, key: String::new(), reason }]
    })
}

/// A server that ignored them would pass for the device that its operator takes it for.
/// What is a device's, and what a device alone can do without.
fn refuse_what_servers_lack(written: &Written, faults: &mut Faults<'_>) {
    const TABLE: &str = "device";
    if written.has(TABLE) {
        let reason = "is a device's, and this server does not use it: take it out, or make the \
            device's card with `postern card create`";
        faults.add_at(written.line(TABLE), TABLE, reason.to_owned());
    }
    const INTERFACE: &str = "receive.appletalk.interface";
    if written.has("receive.appletalk") && !written.has(INTERFACE) {
        let reason = "is required: interface = \"eth0\"".to_owned();
        faults.add_at(written.line(INTERFACE), INTERFACE, reason);
    }
}

#[cfg(test)]
mod tests;
