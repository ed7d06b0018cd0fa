//! What the configuration means for one domain, one recipient and one ETRN. It is compiled once
//! from each configuration that is read, so that no question walks all domains.

mod aside;
mod capabilities;
mod etrn_names;
mod networks;
mod peer;
mod submission;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::path::{ForwardPath, MAX_PATH, Mailbox};
use postern_spool::Domain;

use crate::config::{
    Ask, Config, DeliverTo, DomainName, FileMode, Group, HardwareAddress, Hold, KeptFor, NotTaken,
    Recipients, Relay, RetryEvery, SenderPattern, SmtpUtf8, Subaddress, WhenAway, canonical,
    folder_name, is_postmaster,
};

pub use aside::Aside;
use aside::{NULL, WakeupAddresses, is_null, split_percent};
pub use capabilities::Capabilities;
use etrn_names::EtrnNames;
use networks::ByNetwork;
pub use networks::Networks;
pub use peer::Peer;
pub(crate) use peer::{Network, network};
pub use submission::Submission;

/// The policies of a configuration: one for each domain that is held, and one for all others.
#[derive(Debug)]
pub struct Policies {
    /// In the order of their domains.
    held: Vec<Policy>,
    /// Indices into `held`.
    indices: HashMap<DomainName, usize>,
    /// What holds for all others.
    not_held: Policy,
    etrn_names: EtrnNames,
    /// From where anything may be released.
    askers: Networks,
    /// Whose connections release which domains.
    connecting: ByNetwork,
    /// Accounts may release something.
    etrn_authenticated: bool,
    /// Who may authenticate without TLS.
    clear_from: Networks,
    submission: Submission,
    /// Whose mail to the relay waits for no window.
    urgent: Vec<SenderPattern>,
    asking: Ask,
    wakeup_addresses: WakeupAddresses,
    /// We ask others for the mail of the domains that are held.
    asks_holders: bool,
    hostname: DomainName,
    /// Who gets mail for this host's own postmaster; `None`: nothing is held.
    postmaster: Option<Vec<u8>>,
}

/// What holds for the mail of one domain.
#[derive(Debug)]
pub struct Policy {
    /// The domain; `None`: the policy of all that are not held.
    pub domain: Option<DomainName>,
    /// Where its mail goes; `None`: nowhere. It stays, and is shown, until a person removes it.
    pub deliver_to: Option<DeliverTo>,
    /// How often delivery is tried.
    pub retry_every: RetryEvery,
    /// How long mail is tried; `None`: it does not expire.
    pub expire_after: Option<Duration>,
    /// How long mail that waits for a person is kept.
    pub kept_for: KeptFor,
    /// Bytes held from which on no more mail is taken.
    pub quota: Option<u64>,
    /// Whether its host takes internationalized mail.
    pub smtputf8: SmtpUtf8,
    /// From where its mail may be asked for by ETRN.
    pub etrn_from: Networks,
    /// Who may release it by mail.
    wakeup_from: Networks,
    /// Whether a connection from somewhere releases it.
    pub is_released_on_connect: bool,
    /// How its host is woken, where that sleeps.
    pub wake: Option<Wake>,
    /// What its files are, where it goes into a Maildir.
    pub files: Files,
    /// Whether accounts with the domain may, too.
    pub etrn_authenticated: bool,
    /// Who mail is taken for; `None`: nobody.
    recipients: Option<Recipients>,
    /// Behind what characters a local part goes on with what its owner chose.
    pub subaddress: Subaddress,
    /// What becomes of recipients that nothing is found out about.
    pub when_away: WhenAway,
}

/// How a host that sleeps is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// Its hardware address.
    pub address: [u8; 6],
    /// Where the packet goes.
    pub to: SocketAddr,
    /// How often mail may wake it.
    pub at_most: Duration,
    /// How long it may take to start.
    pub patience: Duration,
}

/// To whom files in a Maildir are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// Their permissions.
    pub mode: FileMode,
    /// Their group; `None`: the system's choice.
    pub group: Option<Group>,
}

/// A recipient that mail is taken for.
#[derive(Debug)]
pub struct Taken<'p> {
    /// The address that the mail is held under: as the client wrote it, but with the domain in the
    /// form that its queue is named after.
    pub path: Vec<u8>,
    /// The policy of its domain.
    pub policy: &'p Policy,
    /// Whether mail for it releases the domain: it was sent through our own name.
    pub releases: bool,
    /// What must be found out about it before.
    pub unsure: Option<Unsure>,
}

/// What tells whether there is a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsure {
    /// The domain's host, as [`Recipients::asked_about`] has it.
    Host([Vec<u8>; 2]),
    /// The domain's list, as [`Recipients::looked_up`] has it.
    List(Vec<u8>),
}

/// Why mail for a recipient is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No mail is held for its domain.
    NotHeld,
    /// It is not among the domain's recipients.
    Unknown,
    /// Its local part reads as a route to another domain.
    Routed,
    /// It is a wake-up address, and not for this client.
    Wakeup,
}

impl Wake {
    fn of(hold: &Hold) -> Option<Self> {
        let HardwareAddress(address) = hold.wake_on_lan?;
        let (to, at_most, patience) = (hold.wake_to, hold.wake_at_most, hold.wake_patience);
        Some(Self { address, to, at_most, patience })
    }
}

impl Files {
    /// What `hold` says of them.
    pub const fn of(hold: &Hold) -> Self {
        Self { mode: hold.maildir_mode, group: hold.maildir_group }
    }
}

impl Policy {
    fn new(domain: &DomainName, hold: &Hold) -> Self {
        Self {
            domain: Some(domain.clone()),
            deliver_to: Some(hold.deliver_to.of(domain, hold.private_mx)),
            retry_every: if hold.deliver_to.is_asker() {
                RetryEvery::Never
            } else {
                hold.retry_every
            },
            expire_after: Some(hold.expire_after),
            kept_for: hold.kept_for,
            quota: hold.quota.map(|quota| quota.0),
            smtputf8: hold.smtputf8,
            wakeup_from: Networks::new(hold.etrn_networks().chain(&hold.wakeup_from)),
            is_released_on_connect: !hold.release_on_connect.is_empty(),
            wake: Wake::of(hold),
            files: Files::of(hold),
            etrn_from: Networks::new(hold.etrn_networks()),
            etrn_authenticated: hold.etrn_authenticated(),
            recipients: Some(hold.recipients.clone()),
            subaddress: hold.subaddress.clone(),
            when_away: hold.when_away,
        }
    }

    /// What was submitted goes to the smarthost; all else stays as it is.
    fn relayed(relay: &Relay) -> Self {
        Self {
            deliver_to: Some(DeliverTo::Relay(relay.smarthost.0.clone())),
            retry_every: RetryEvery::Every(relay.retry_every),
            expire_after: Some(relay.expire_after),
            kept_for: relay.kept_for,
            ..Self::not_held()
        }
    }

    /// Mail that came while the domain was held stays as it is.
    fn not_held() -> Self {
        Self {
            domain: None,
            deliver_to: None,
            retry_every: RetryEvery::Never,
            expire_after: None,
            kept_for: KeptFor::Ever,
            quota: None,
            smtputf8: SmtpUtf8::Auto,
            etrn_from: Networks::default(),
            wakeup_from: Networks::default(),
            is_released_on_connect: false,
            wake: None,
            files: Files { mode: FileMode::PRIVATE, group: None },
            etrn_authenticated: false,
            recipients: None,
            subaddress: Subaddress::none(),
            when_away: WhenAway::Defer,
        }
    }

    /// Whether mail of these domains goes only if it was submitted: they are not held.
    pub fn is_relayed(&self) -> bool {
        self.deliver_to.as_ref().is_some_and(DeliverTo::is_relay)
    }

    /// Whether its mail stays until somebody authenticates and fetches it.
    pub fn is_fetched(&self) -> bool {
        self.deliver_to.as_ref().is_some_and(DeliverTo::is_asker)
    }

    /// The folder of the recipient that mail is held under as `path`, where each has his own;
    /// `None`: he is not listed (any more).
    pub fn folder(&self, path: &[u8]) -> Option<String> {
        let at = path.iter().rposition(|octet| *octet == b'@')?;
        let (recipients, domain) = (self.recipients.as_ref()?, self.domain.as_ref()?);
        let listed = recipients.listed(path.get(..at)?, domain, &self.subaddress)?;
        folder_name(&listed).map(str::to_owned)
    }

    /// Whether mail for `local` at `domain`, this policy's, is taken.
    fn judge(&self, local: &[u8], domain: &DomainName) -> Result<(), Refusal> {
        let recipients = self.recipients.as_ref().ok_or(Refusal::NotHeld)?;
        recipients.judge(local, domain, &self.subaddress).map_err(|not| match not {
            NotTaken::Unknown => Refusal::Unknown,
            NotTaken::Routed => Refusal::Routed,
        })
    }

    /// What its host must be asked about for mail to the local part `local`, and is told by what it
    /// says of that; see [`Recipients::asked_about`].
    pub fn asked_about(&self, local: &[u8]) -> Option<[Vec<u8>; 2]> {
        self.recipients.as_ref()?.asked_about(local, &self.subaddress)
    }

    /// What must be found out about mail to the local part `local`.
    fn unsure(&self, local: &[u8]) -> Option<Unsure> {
        let listed = || self.recipients.as_ref()?.looked_up(local).map(Unsure::List);
        self.asked_about(local).map(Unsure::Host).or_else(listed)
    }

    /// Whether its host is known not to take internationalized mail.
    pub fn lacks_utf8(&self, capabilities: &Capabilities) -> bool {
        let offered = || capabilities.smtputf8(self.deliver_to.as_ref()?);
        match self.smtputf8 {
            SmtpUtf8::Auto => offered() == Some(false),
            SmtpUtf8::Taken => false,
            SmtpUtf8::NotTaken => true,
        }
    }
}

impl Policies {
    /// Those of `config`.
    pub fn new(config: &Config) -> Self {
        let held = config.hold.iter().map(|(domain, hold)| Policy::new(domain, hold)).collect();
        let indices = config.hold.keys().cloned().zip(0..).collect();
        let first = config.hold.keys().next();
        let postmaster = match &config.postmaster {
            Some(address) => Some(address.to_string()),
            None => first.map(|domain| format!("postmaster@{domain}")),
        };
        Self {
            held,
            indices,
            not_held: config.relay.as_ref().map_or_else(Policy::not_held, Policy::relayed),
            etrn_names: EtrnNames::new(config),
            connecting: connecting(config),
            askers: Networks::new(config.hold.values().flat_map(Hold::etrn_networks)),
            etrn_authenticated: config.hold.values().any(Hold::etrn_authenticated),
            clear_from: Networks::new(config.clear_from()),
            submission: Submission::new(config),
            urgent: config.relay.as_ref().map(|relay| relay.urgent.clone()).unwrap_or_default(),
            asking: config.ask.clone(),
            wakeup_addresses: WakeupAddresses::new(config),
            asks_holders: !config.wakeup.is_empty(),
            hostname: config.hostname(),
            postmaster: postmaster.map(String::into_bytes),
        }
    }

    /// The policy of `domain`, held or not.
    pub fn of(&self, domain: &Domain) -> &Policy {
        self.get(domain.as_str()).unwrap_or(&self.not_held)
    }

    /// The policy of all domains that are not held.
    pub const fn others(&self) -> &Policy {
        &self.not_held
    }

    /// The policies of the domains that are held, in the order of their names.
    pub fn held(&self) -> &[Policy] {
        &self.held
    }

    fn get(&self, domain: &str) -> Option<&Policy> {
        self.held.get(*self.indices.get(domain)?)
    }

    /// What mail for RCPT's path `to` is for that is not held; none where it is held, or refused.
    ///
    /// # Errors
    /// It would release domains that `client` may not release.
    pub fn aside(&self, to: &ForwardPath<'_>, client: Peer) -> Option<Result<Aside<'_>, Refusal>> {
        let ForwardPath::Mailbox(mailbox) = to else { return None };
        let domain = DomainName::from_wire(mailbox.domain())?;
        if let Some((indices, is_secret)) =
            self.wakeup_addresses.find(mailbox.local_part(), &domain)
        {
            let policies = indices.iter().filter_map(|index| self.held.get(*index));
            let allowed = policies.filter(|held| is_secret || held.wakeup_from.contains(client));
            let domains: Vec<_> = allowed.filter_map(|held| held.domain.as_ref()).collect();
            let nobody = domains.is_empty();
            return Some(if nobody { Err(Refusal::Wakeup) } else { Ok(Aside::Wakeup(domains)) });
        }
        let is_listed = || {
            let policy = self.get(domain.as_str());
            let recipients = policy.and_then(|held| held.recipients.as_ref());
            let listed =
                |all: &Recipients| all.listed(NULL, &domain, &Subaddress::none()).is_some();
            recipients.is_some_and(listed)
        };
        let is_ours = domain == self.hostname || self.asks_for(&domain);
        let is_null = is_ours && is_null(mailbox, &domain) && !is_listed();
        is_null.then_some(Ok(Aside::Null))
    }

    /// Whether a holder keeps the mail of `domain` for us: our wake-up mail may come back under it.
    fn asks_for(&self, domain: &DomainName) -> bool {
        let recipients = || self.get(domain.as_str())?.recipients.as_ref()?.count(domain);
        self.asks_holders && recipients().is_some()
    }

    /// What RCPT's path `to` means, said by `client`.
    ///
    /// # Errors
    /// Why no mail is taken for it.
    pub fn recipient(&self, to: &ForwardPath<'_>, client: Peer) -> Result<Taken<'_>, Refusal> {
        let ForwardPath::Mailbox(mailbox) = to else { return self.own_postmaster() };
        let domain = DomainName::from_wire(mailbox.domain()).ok_or(Refusal::NotHeld)?;
        let Some(policy) = self.get(domain.as_str()) else {
            if domain != self.hostname {
                return Err(Refusal::NotHeld);
            }
            if is_postmaster(mailbox.local_part()) {
                return self.own_postmaster();
            }
            return self.sent_on(mailbox, client).unwrap_or(Err(Refusal::NotHeld));
        };
        if let Err(refusal) = policy.judge(mailbox.local_part(), &domain) {
            let sent_on = || self.sent_on(mailbox, client).filter(|_| domain == self.hostname);
            return sent_on().unwrap_or(Err(refusal));
        }
        let path = held_under(mailbox, &domain).ok_or(Refusal::Unknown)?;
        let unsure = policy.unsure(mailbox.local_part());
        Ok(Taken { path, policy, releases: false, unsure })
    }

    /// What RCPT's path `to` means, said by `client`, who may send to any domain: mail for those
    /// that are not held goes to the relay, where there is one. An address literal is no domain,
    /// and what nobody has at our own name is nobody's elsewhere.
    ///
    /// # Errors
    /// Why no mail is taken for it.
    pub fn outgoing(&self, to: &ForwardPath<'_>, client: Peer) -> Result<Taken<'_>, Refusal> {
        let taken = self.recipient(to, client);
        let (Err(Refusal::NotHeld), ForwardPath::Mailbox(mailbox)) = (&taken, to) else {
            return taken;
        };
        let Some(domain) = DomainName::from_wire(mailbox.domain()) else { return taken };
        let is_ours = self.get(domain.as_str()).is_some() || domain == self.hostname;
        if is_ours || !self.not_held.is_relayed() {
            return taken;
        }
        let path = held_under(mailbox, &domain).ok_or(Refusal::Unknown)?;
        Ok(Taken { path, policy: &self.not_held, releases: false, unsure: None })
    }

    /// What the mailbox `x%domain` at our own name means, once `x` stands at the domain; none where
    /// it is no such thing, or no mail is held for the domain. Only who may release the domain
    /// sends mail through us: for all others it would be a way around what is at our own name.
    fn sent_on(&self, mailbox: &Mailbox<'_>, client: Peer) -> Option<Result<Taken<'_>, Refusal>> {
        let (local, domain) = split_percent(mailbox.local_part())?;
        let domain = DomainName::from_wire(domain)?;
        let policy = self.get(domain.as_str())?;
        if !policy.wakeup_from.contains(client) {
            return Some(Err(Refusal::NotHeld));
        }
        // Rewritten once: no further route, whatever the domain lists.
        // A dot at its end is an atom's beginning before the rewriting, and no path behind it.
        let is_odd = local.is_empty() || local.starts_with(b".") || local.ends_with(b".");
        if is_odd || local.iter().any(|octet| b"@%!".contains(octet)) {
            return Some(Err(Refusal::Routed));
        }
        // What the host's own NULL account discards. A folder has none.
        let has_host = policy.deliver_to.as_ref().is_some_and(DeliverTo::is_host);
        let is_null = has_host && canonical(local).as_ref() == NULL;
        if let Some(refusal) = policy.judge(local, &domain).err().filter(|_| !is_null) {
            return Some(Err(refusal));
        }
        let path = [local, b"@", domain.as_str().as_bytes()].concat();
        let unsure = policy.unsure(local).filter(|_| !is_null);
        let taken =
            (path.len() <= MAX_PATH - 2).then_some(Taken { path, policy, releases: true, unsure });
        Some(taken.ok_or(Refusal::Unknown))
    }

    /// Mail for whoever runs this host (RFC 5321 section 4.5.1). It has no mailboxes of its own, so
    /// a held domain's postmaster gets it.
    fn own_postmaster(&self) -> Result<Taken<'_>, Refusal> {
        let path = self.postmaster.clone().ok_or(Refusal::Unknown)?;
        let policy = self.of(&Domain::of_path(&path));
        Ok(Taken { path, policy, releases: false, unsure: None })
    }

    /// The domains whose mail an SMTP session with `client` releases, in the
    /// order of their names.
    pub fn released_on_connect(&self, client: Peer) -> Vec<&DomainName> {
        let found = self.connecting.find(client).into_iter();
        found.filter_map(|index| self.held.get(index)?.domain.as_ref()).collect()
    }

    /// The domains whose mail `client` may release by naming `node`, in the
    /// order of their names; `account`: those of the account that it has authenticated as.
    pub fn released_by(
        &self,
        node: &Node<'_>,
        client: Peer,
        account: &BTreeSet<DomainName>,
    ) -> Vec<&DomainName> {
        // A stranger costs one look-up, whatever he names.
        if account.is_empty() && !self.askers.contains(client) {
            return Vec::new();
        }
        let named = self.etrn_names.find(node).into_iter();
        let policies = named.filter_map(|index| self.held.get(index));
        let has = |domain: &DomainName| account.contains(domain);
        let allowed = policies.filter(|policy| {
            let by_account = policy.etrn_authenticated && policy.domain.as_ref().is_some_and(has);
            by_account || !policy.is_fetched() && policy.etrn_from.contains(client)
        });
        allowed.filter_map(|policy| policy.domain.as_ref()).collect()
    }

    /// The domains whose mail whoever has authenticated as an account with the domains `account`
    /// fetches by naming these, each once; by naming none, all that it may. `None`: he may not have
    /// all of them, or has none to fetch.
    pub fn fetched_by(
        &self,
        account: &BTreeSet<DomainName>,
        named: &Domains<'_>,
    ) -> Option<Vec<Domain>> {
        let may = |domain: &DomainName| {
            let policy = self.get(domain.as_str()).filter(|_| account.contains(domain));
            let fetched = policy.is_some_and(Policy::is_fetched);
            fetched.then(|| Domain::new(domain.as_str()))
        };
        let mut domains: Vec<_> = match named.iter().next() {
            Some(_) => {
                let mut named = named.iter().map(DomainName::from_wire);
                named.try_fold(Vec::new(), |mut domains, domain| {
                    domains.push(may(&domain?)?);
                    Some(domains)
                })?
            }
            None => account.iter().filter_map(may).collect(),
        };
        let mut seen = HashSet::new();
        domains.retain(|domain| seen.insert(domain.clone()));
        (!domains.is_empty()).then_some(domains)
    }

    /// Whether accounts may ask for anything by ETRN.
    pub fn etrn_authenticated(&self) -> bool {
        self.etrn_authenticated
    }

    /// What holds for mail that is submitted.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// Whose mail to the relay waits for no window of the link's schedule.
    pub fn urgent(&self) -> &[SenderPattern] {
        &self.urgent
    }

    /// Whether `reverse_path` is such a sender.
    pub fn is_urgent_sender(&self, reverse_path: &[u8]) -> bool {
        let is_urgent = |mailbox| self.urgent.iter().any(|pattern| pattern.fits(&mailbox));
        !self.urgent.is_empty() && Mailbox::parse(reverse_path).is_some_and(is_urgent)
    }

    /// How hosts are asked who they take mail for.
    pub const fn asking(&self) -> &Ask {
        &self.asking
    }

    /// Whether `client` may authenticate without TLS.
    pub fn is_clear(&self, client: Peer) -> bool {
        self.clear_from.contains(client)
    }
}

/// Whose connections release which domains, by their indices.
fn connecting(config: &Config) -> ByNetwork {
    let mut connecting = ByNetwork::default();
    for (index, hold) in config.hold.values().enumerate() {
        hold.release_on_connect.iter().for_each(|network| connecting.add(network, index));
    }
    connecting
}

/// `mailbox` with its domain written as `domain`, unless it is already; `None`: too long for a path
/// (RFC 5321 section 4.5.3.1.3).
fn held_under(mailbox: &Mailbox<'_>, domain: &DomainName) -> Option<Vec<u8>> {
    let domain = domain.as_str().as_bytes();
    if mailbox.domain().eq_ignore_ascii_case(domain) {
        return Some(mailbox.as_bytes().to_vec());
    }
    let path = [mailbox.local_part(), b"@", domain].concat();
    (path.len() <= MAX_PATH - 2).then_some(path)
}

#[cfg(test)]
mod tests;
