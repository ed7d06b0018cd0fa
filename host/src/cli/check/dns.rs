//! The MX records of the domains, against what the configuration is for.
//!
//! The best mail exchanger is the domain's own host; exactly one is next, the holder that it asks
//! for its mail; any number stands behind that one, and each passes on to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::config::{Config, DeliverTo, DomainName, Hold, Host, Protocol, Route, Way};
use crate::net::names::is_public;
use crate::net::resolver::{Exchangers, LookUpError, Resolver};

/// Domains that are asked about at once.
const AT_ONCE: usize = 16;
/// Mail exchangers of one domain that are looked at.
const EXCHANGERS: usize = 50;

/// What the DNS says of one domain, and whether that is right.
#[derive(Debug)]
pub(super) struct Compared {
    domain: DomainName,
    /// By preference, where it has any.
    exchangers: BTreeMap<u16, BTreeSet<String>>,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right(&'static str),
    Wrong(String),
    /// It could not be found out.
    Unknown(String),
}

/// What we are to a domain.
#[derive(Debug)]
enum Part {
    /// Its own host, which asks these for its mail; whether over a connection of its own.
    Caller { asked: Vec<Host>, fetches: bool },
    /// A holder, or the host in front of another.
    Holder(To),
}

/// Where a holder brings the mail.
#[derive(Debug)]
enum To {
    /// To a host that is a mail exchanger of the domain, or has some before it.
    Host(Host),
    /// To whoever is before it; also where only a machine of our own could be reached?
    Mx { private: bool },
    /// To a store, which may be its own host's; or it is fetched.
    Store,
    /// Nowhere: this is where it ends.
    Here,
}

/// The mail exchangers of one preference.
type Rank = BTreeSet<String>;

/// Compares each domain that is held, and each that is asked for.
pub(super) async fn compare(config: &Config, resolver: Resolver) -> Vec<Compared> {
    let asker = Arc::new(Asker {
        resolver,
        own: Host::Name(config.hostname()),
        unanswered: AtomicUsize::new(0),
    });
    let (mut under_way, mut found) = (JoinSet::new(), BTreeMap::new());
    let mut parts = parts(config).into_iter();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((domain, part)) = parts.next()
        {
            let asker = Arc::clone(&asker);
            under_way.spawn(async move { (domain.clone(), asker.judge(domain, part).await) });
        }
        match under_way.join_next().await {
            Some(joined) => found.extend([joined.expect("a comparison runs to its end")]),
            None => return found.into_values().collect(),
        }
    }
}

fn parts(config: &Config) -> BTreeMap<DomainName, Part> {
    let holder = |(domain, hold): (&DomainName, &Hold)| {
        let to = match &hold.deliver_to {
            Route::Mx => To::Mx { private: hold.private_mx },
            Route::Fixed(DeliverTo::Host(to)) if to.protocol == Protocol::Smtp => {
                To::Host(to.host.clone())
            }
            Route::Fixed(DeliverTo::Maildir(_)) => To::Here,
            Route::Fixed(_) => To::Store,
        };
        (domain.clone(), Part::Holder(to))
    };
    let mut parts: BTreeMap<_, _> = config.hold.iter().map(holder).collect();
    for wakeup in config.wakeup.iter() {
        let names: Vec<_> = match wakeup.names.is_empty() {
            true => config.hold.keys().cloned().collect(),
            false => wakeup.names.clone(),
        };
        for name in names {
            let part = parts.entry(name).or_insert(Part::Holder(To::Here));
            if matches!(part, Part::Holder(_)) {
                *part = Part::Caller { asked: Vec::new(), fetches: false };
            }
            if let Part::Caller { asked, fetches } = part {
                asked.extend(wakeup.holders().iter().map(|holder| holder.host.clone()));
                *fetches |= matches!(wakeup.way, Way::Atrn(_));
            }
        }
    }
    parts
}

/// Who asks the name server.
#[derive(Debug)]
struct Asker {
    resolver: Resolver,
    /// This host.
    own: Host,
    /// Look-ups in a row that nobody answered.
    unanswered: AtomicUsize,
}

impl Asker {
    async fn judge(&self, domain: DomainName, part: Part) -> Compared {
        let mut exchangers = BTreeMap::new();
        let verdict = match self.exchangers(&domain).await {
            Ok(Exchangers::Hosts(hosts)) => {
                exchangers = hosts;
                let ranks: Vec<_> = exchangers.values().collect();
                self.of(&ranks, &part).await
            }
            Ok(Exchangers::Null) => Ok(wrong("it says that it takes no mail (null MX)")),
            Ok(Exchangers::Absent) => Ok(wrong("it has no MX record: nobody may hold its mail")),
            Ok(Exchangers::NoSuchName) => Ok(wrong("there is no such name")),
            Err(error) => Err(error),
        };
        let verdict = verdict.unwrap_or_else(|error| Verdict::Unknown(error.to_string()));
        Compared { domain, exchangers, verdict }
    }

    async fn exchangers(&self, domain: &DomainName) -> Result<Exchangers, LookUpError> {
        // Where nobody is there, thousands of domains are not waited for one by one.
        if self.unanswered.load(Ordering::Relaxed) >= AT_ONCE {
            return Err(LookUpError::NoAnswer);
        }
        self.noted(self.resolver.exchangers(domain.as_str()).await)
    }

    async fn of(&self, ranks: &[&Rank], part: &Part) -> Result<Verdict, LookUpError> {
        if ranks.iter().map(|rank| rank.len()).sum::<usize>() > EXCHANGERS {
            return Ok(wrong("it has too many mail exchangers"));
        }
        let mut place = None;
        for (nth, rank) in ranks.iter().enumerate() {
            if self.has(rank, std::slice::from_ref(&self.own)).await? {
                place = Some(nth);
                break;
            }
        }
        match part {
            Part::Caller { asked, fetches } => self.of_caller(ranks, place, asked, *fetches).await,
            Part::Holder(to) => self.of_holder(ranks, place, to).await,
        }
    }

    /// Whether all is right for the domain's own host, which stands at `place`.
    async fn of_caller(
        &self,
        ranks: &[&Rank],
        place: Option<usize>,
        asked: &[Host],
        fetches: bool,
    ) -> Result<Verdict, LookUpError> {
        let next = match place {
            Some(0) if ranks[0].len() > 1 => {
                return Ok(wrong(
                    "others are as good as this host, and are not asked for what \
                    comes to them",
                ));
            }
            Some(0) => 1,
            // Who fetches need not be reached.
            None if fetches => 0,
            None | Some(_) => {
                let best = list(ranks[0]);
                return Ok(Verdict::Wrong(format!("the best is {best}, and should be this host")));
            }
        };
        let Some(rank) = ranks.get(next) else {
            return Ok(wrong("nobody is next: there is no holder while this host is away"));
        };
        if rank.len() > 1 {
            return Ok(several(rank));
        }
        if self.has(rank, asked).await? {
            return Ok(Verdict::Right("the next one is asked"));
        }
        let asked: Vec<_> = asked.iter().map(Host::to_string).collect();
        let (next, asked) = (list(rank), asked.join(" and "));
        Ok(Verdict::Wrong(format!("the next one is {next}, and {asked} is asked")))
    }

    /// Whether all is right for a holder, which stands at `place`.
    async fn of_holder(
        &self,
        ranks: &[&Rank],
        place: Option<usize>,
        to: &To,
    ) -> Result<Verdict, LookUpError> {
        let Some(place) = place else {
            return Ok(wrong("this host is not among them: nobody brings its mail here"));
        };
        if let To::Mx { private } = to {
            return self.of_better(&ranks[..place], *private).await;
        }
        // Who stands behind the one that is asked passes on to it.
        let goal = match place {
            0 => return self.of_first(ranks, to).await,
            1 => ranks[0],
            _ => ranks[1],
        };
        if ranks[1].len() > 1 {
            return Ok(several(ranks[1]));
        }
        let goal_name = if place == 1 { "best" } else { "next" };
        match to {
            To::Here => {
                let best = list(ranks[0]);
                let why = format!("the best is {best}, and what comes to this host stays here");
                return Ok(Verdict::Wrong(why));
            }
            To::Host(host) if !self.has(goal, std::slice::from_ref(host)).await? => {
                let goal = list(goal);
                let why = format!("the {goal_name} one is {goal}, and deliver_to is {host}");
                return Ok(Verdict::Wrong(why));
            }
            To::Host(_) | To::Store | To::Mx { .. } => {}
        }
        Ok(Verdict::Right(match place {
            1 => "this host is next to the best",
            _ => "this host is behind the next one, and passes on to it",
        }))
    }

    /// Whether `better`, those that the DNS prefers to this host, can be delivered to.
    async fn of_better(&self, better: &[&Rank], private: bool) -> Result<Verdict, LookUpError> {
        if better.is_empty() {
            let why = "this host is the best, and deliver_to is \"mx\": there is no better one";
            return Ok(wrong(why));
        }
        let (mut unused, mut unknown) = (BTreeSet::new(), None);
        let names: Vec<_> = better.iter().flat_map(|rank| rank.iter()).collect();
        for exchanger in names {
            let addresses = match self.noted(self.resolver.addresses(exchanger).await) {
                Ok(addresses) => addresses,
                Err(error) => {
                    unknown = Some(error);
                    continue;
                }
            };
            for address in addresses {
                if private || is_public(address) {
                    return Ok(Verdict::Right("mail goes to whoever is before this host"));
                }
                unused.insert(format!("{exchanger} ({address})"));
            }
        }
        if let Some(error) = unknown {
            return Err(error);
        }
        let unused = list(&unused);
        Ok(Verdict::Wrong(match unused.is_empty() {
            true => "nobody before this host has an address".to_owned(),
            false => format!("mail does not go to {unused} without private_mx"),
        }))
    }

    /// Whether a holder may be the best.
    async fn of_first(&self, ranks: &[&Rank], to: &To) -> Result<Verdict, LookUpError> {
        if let To::Host(host) = to {
            for rank in ranks {
                if self.has(rank, std::slice::from_ref(host)).await? {
                    let why =
                        format!("this host is as good as {host}, or better, and holds for it");
                    return Ok(Verdict::Wrong(why));
                }
            }
        }
        Ok(Verdict::Right("this host is the best"))
    }

    /// Whether one of `rank` is one of `hosts`: by name, else by an address that both have.
    async fn has(&self, rank: &Rank, hosts: &[Host]) -> Result<bool, LookUpError> {
        let is_named =
            |host: &Host| matches!(host, Host::Name(name) if rank.contains(name.as_str()));
        if hosts.iter().any(is_named) {
            return Ok(true);
        }
        let mut theirs = BTreeSet::<IpAddr>::new();
        for exchanger in rank {
            theirs.extend(self.noted(self.resolver.addresses(exchanger).await)?);
        }
        for host in hosts {
            let ours = match host {
                Host::Address(address) => [address.to_canonical()].into(),
                Host::Name(name) => self.noted(self.resolver.addresses(name.as_str()).await)?,
            };
            if !ours.is_disjoint(&theirs) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn noted<T>(&self, answer: Result<T, LookUpError>) -> Result<T, LookUpError> {
        if matches!(answer, Err(LookUpError::NoAnswer)) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.unanswered.store(0, Ordering::Relaxed);
        }
        answer
    }
}

fn wrong(why: &str) -> Verdict {
    Verdict::Wrong(why.to_owned())
}

fn several(rank: &Rank) -> Verdict {
    let why = format!("exactly one may be next, the one that is asked, and {} are", list(rank));
    Verdict::Wrong(why)
}

fn list(rank: &Rank) -> String {
    let names: Vec<_> = rank.iter().map(String::as_str).collect();
    names.join(" and ")
}

impl Compared {
    pub(super) const fn is_right(&self) -> bool {
        matches!(self.verdict, Verdict::Right(_))
    }

    pub(super) fn json(&self) -> Value {
        let (verdict, reason) = self.verdict.words();
        let pair = |(preference, host)| json!({ "preference": preference, "host": host });
        let mx: Vec<_> = self.pairs().map(pair).collect();
        json!({ "domain": self.domain.as_str(), "verdict": verdict, "reason": reason, "mx": mx })
    }

    fn pairs(&self) -> impl Iterator<Item = (u16, &str)> {
        self.exchangers
            .iter()
            .flat_map(|(preference, rank)| rank.iter().map(|host| (*preference, host.as_str())))
    }
}

impl Verdict {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Right(reason) => ("right", reason),
            Self::Wrong(reason) => ("wrong", reason),
            Self::Unknown(reason) => ("unknown", reason),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, reason) = self.verdict.words();
        write!(f, "{verdict}: {}: {reason}", self.domain)?;
        let pairs = self.pairs().take(EXCHANGERS);
        let pairs: Vec<_> = pairs.map(|(number, host)| format!("{number} {host}")).collect();
        if pairs.is_empty() { Ok(()) } else { write!(f, " (MX {})", pairs.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::net::UdpSocket;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_domains_do_not_each_wait_for_a_server_that_is_silent() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let server = silent.local_addr().expect("it is bound");
        let hold =
            |nth| format!("[hold.\"d{nth}.example\"]\nrecipients = []\ndeliver_to = \"h:25\"\n");
        let source: String = (0..1000).map(hold).collect();
        let config = Config::parse(Path::new("postern.toml"), &source).expect("it is sound");
        let began = Instant::now();
        let found = compare(&config, Resolver::asking(&[server]).expect("a resolver")).await;
        let unknown = Verdict::Unknown("no name server answers".to_owned());
        assert!(found.len() == 1000 && found.iter().all(|found| found.verdict == unknown));
        let lasted = began.elapsed();
        assert!(lasted < Duration::from_secs(60), "{lasted:?}");
    }
}
