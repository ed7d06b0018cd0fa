//! What the DNS says of a domain's mail.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::{Resolver as Inner, ResolverBuilder, TokioResolver};

use super::descriptors::are_short;

/// How long a name server may take for an answer, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
/// How long an answer is believed at most, and one that there is nothing, whatever it says itself:
/// a mistake in it is over in that time.
const TTL: Duration = Duration::from_secs(60 * 60);
const TTL_OF_NONE: Duration = Duration::from_secs(5 * 60);

/// Asks a name server. What it says is remembered as long as it lets that be.
#[derive(Debug)]
pub struct Resolver(TokioResolver);

/// Where a domain's mail goes, as its MX records say (RFC 5321 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchangers {
    /// To these hosts, by preference, the least one first: names in lower case without a dot at
    /// their end.
    Hosts(BTreeMap<u16, BTreeSet<String>>),
    /// Nowhere: it takes no mail (RFC 7505).
    Null,
    /// It has no MX record: to its own address, if it has one.
    Absent,
    /// There is no such name.
    NoSuchName,
}

/// Why nothing is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUpError {
    /// No name server answers.
    NoAnswer,
    /// It answers that it cannot tell, or what cannot be understood.
    Failed(String),
    /// This machine names none that could be asked.
    Unset(String),
    /// We have no descriptor or no memory to ask.
    Short,
}

impl fmt::Display for LookUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no name server answers"),
            Self::Failed(why) => write!(f, "the name server says: {why}"),
            Self::Short => f.write_str("no descriptor is free to ask"),
            Self::Unset(why) => write!(f, "no name server is known: {why}"),
        }
    }
}

impl Error for LookUpError {}

impl Resolver {
    /// One that asks the name servers that this machine's system asks.
    ///
    /// # Errors
    /// The system does not say which (`/etc/resolv.conf`).
    pub fn system() -> Result<Self, String> {
        let builder = Inner::builder_tokio().map_err(|error| error.to_string())?;
        Self::build(builder)
    }

    /// One that asks the name servers at `servers`.
    ///
    /// # Errors
    /// None can be made.
    pub fn asking(servers: &[SocketAddr]) -> Result<Self, String> {
        let server = |server: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
                way.port = server.port();
                way
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        Self::build(Inner::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, String> {
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (TIMEOUT, ATTEMPTS);
        (options.positive_max_ttl, options.negative_max_ttl) = (Some(TTL), Some(TTL_OF_NONE));
        // The file of hosts is not the DNS.
        options.use_hosts_file = ResolveHosts::Never;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// The mail exchangers of `domain`.
    ///
    /// # Errors
    /// It could not be found out.
    pub async fn exchangers(&self, domain: &str) -> Result<Exchangers, LookUpError> {
        let answer = match self.0.mx_lookup(absolute(domain)).await {
            Ok(answer) => answer,
            Err(error) => return none_found(error),
        };
        let mut hosts = BTreeMap::<_, BTreeSet<_>>::new();
        for record in answer.answers() {
            if let RData::MX(exchanger) = &record.data {
                let name = name(&exchanger.exchange);
                hosts.entry(exchanger.preference).or_default().insert(name);
            }
        }
        let is_null = hosts.len() == 1 && hosts.values().flatten().all(String::is_empty);
        Ok(match hosts.is_empty() {
            true => Exchangers::Absent,
            false if is_null => Exchangers::Null,
            false => Exchangers::Hosts(hosts),
        })
    }

    /// The addresses of `host`; none of one that there is not.
    ///
    /// # Errors
    /// They could not be found out.
    pub async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, LookUpError> {
        self.look_up(&absolute(host)).await
    }

    /// The same of a name that the system's search list completes.
    ///
    /// # Errors
    /// They could not be found out.
    pub async fn addresses_as_searched(&self, host: &str) -> Result<BTreeSet<IpAddr>, LookUpError> {
        self.look_up(host).await
    }

    async fn look_up(&self, name: &str) -> Result<BTreeSet<IpAddr>, LookUpError> {
        match self.0.lookup_ip(name).await {
            Ok(answer) => Ok(answer.iter().map(|address| address.to_canonical()).collect()),
            Err(error) => none_found(error).map(|_| BTreeSet::new()),
        }
    }
}

/// `name` as one that the system's search list is not tried for.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn name(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn none_found(error: NetError) -> Result<Exchangers, LookUpError> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Ok(Exchangers::NoSuchName),
            ResponseCode::NoError => Ok(Exchangers::Absent),
            code => Err(LookUpError::Failed(code.to_string())),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Err(LookUpError::Failed(code.to_string())),
        NetError::Io(error) if are_short(&error) => Err(LookUpError::Short),
        NetError::Timeout | NetError::Io(_) | NetError::NoConnections => Err(LookUpError::NoAnswer),
        other => Err(LookUpError::Failed(other.to_string())),
    }
}
