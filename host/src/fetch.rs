//! Fetching lists of recipients by HTTP (`lists`): each by a task of its own.

mod http;
mod select;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::config::{DomainName, HeaderName, Host, ListSource, ListUrl, Recipients, Select};
use crate::contained::{Panicked, contained};
use crate::deliver::{Connector, Stream};
use crate::lists::{Entries, Lists, Origin, by_line};
use crate::net::listener::Terms;
use crate::net::tls_client::{Rule, Tls};
use http::{Get, LIST_MAX, why_of};

/// How long one URL may take, from the look-up of its host to the last octet.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lists that are fetched at once: each has 32 MiB at most, and a million addresses.
const AT_ONCE: usize = 2;
/// How long one of a host's addresses may take to be connected to, so that another has its turn.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure a list is fetched again; twice as long after each more.
const RETRY: Duration = Duration::from_secs(60);

/// What fetches the lists.
#[derive(Clone)]
pub struct Fetcher {
    /// Where they go.
    pub lists: Arc<Lists>,
    /// Which are fetched.
    pub terms: watch::Receiver<Terms>,
    /// What finds the hosts, and connects to them.
    pub connector: Arc<dyn Connector>,
}

impl Fetcher {
    /// Fetches the lists of the configuration in force until `stopping` turns true. Each time that
    /// it was read again, all are.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut terms = self.terms.clone();
        let (mut running, mut tasks) = (HashMap::new(), JoinSet::new());
        let places = Arc::new(Semaphore::new(AT_ONCE));
        'config: loop {
            let config = Arc::clone(&terms.borrow_and_update().config);
            let (lists, known) = (Arc::clone(&self.lists), Arc::clone(&config));
            // Its panic is in the log.
            drop(spawn_blocking(move || lists.load(&known)).await);
            running.drain().for_each(|(_, task): (_, AbortHandle)| task.abort());
            for (domain, hold) in &config.hold {
                if let Recipients::Fetched(source) = &hold.recipients {
                    let (domain, source) = (domain.clone(), Arc::clone(source));
                    let keep = self.clone().keep(domain.clone(), source, Arc::clone(&places));
                    running.insert(domain, tasks.spawn(keep));
                }
            }
            loop {
                tokio::select! {
                    Ok(()) = terms.changed() => break,
                    // One of the configuration before.
                    Some(_) = tasks.join_next() => {}
                    _ = stopping.wait_for(|stop| *stop) => break 'config,
                }
            }
        }
        tasks.shutdown().await;
    }

    /// Fetches the list of `domain` again and again.
    async fn keep(self, domain: DomainName, source: Arc<ListSource>, places: Arc<Semaphore>) {
        let mut failures = 0;
        loop {
            let fetched = {
                let _place = places.acquire().await;
                contained(self.fetch(&domain, &source)).await
            };
            failures = match fetched {
                Ok(Ok(())) => 0,
                Ok(Err(why)) => {
                    self.lists.failed(&domain, why);
                    failures + 1
                }
                Err(Panicked) => {
                    self.lists.failed(&domain, "a fault in Postern: its log says more".to_owned());
                    failures + 1
                }
            };
            sleep(pause(source.every, failures)).await;
        }
    }

    /// Fetches the list of `domain` once.
    async fn fetch(&self, domain: &DomainName, source: &Arc<ListSource>) -> Result<(), String> {
        let entries = self.entries(domain, source).await?;
        // One that is not kept has come: health and the log say so.
        drop(self.lists.offer(domain, entries, Origin::Fetched).await);
        Ok(())
    }

    /// Whom the list of `domain` has: no part of it is taken, if one is not there.
    async fn entries(
        &self,
        domain: &DomainName,
        source: &Arc<ListSource>,
    ) -> Result<Entries, String> {
        let files = spawn_blocking({
            let source = Arc::clone(source);
            move || means(&source)
        });
        let (token, tls) = files.await.map_err(|panic| panic.to_string())??;
        let header = token.as_ref().map(|(header, token)| (header.as_str(), token.as_str()));
        let (mut entries, mut left) = (Entries::default(), LIST_MAX);
        for (nth, url) in source.urls.iter().enumerate() {
            // No URL is shown: a part of it may be a password.
            let told = |why: String| format!("URL {} of {}: {why}", nth + 1, source.urls.len());
            let fetched = timeout(PATIENCE, self.get(url, header, tls.as_ref(), left)).await;
            let late = |_| format!("it takes longer than {} s", PATIENCE.as_secs());
            let body = fetched.map_err(late).and_then(|body| body).map_err(told)?;
            left -= body.len();
            let parsed = spawn_blocking({
                let (source, domain) = (Arc::clone(source), domain.clone());
                move || read(&body, &source.select, &domain, &mut entries).map(|()| entries)
            });
            let parsed = parsed.await.map_err(|panic| panic.to_string());
            entries = parsed.and_then(|entries| entries).map_err(told)?;
        }
        Ok(entries)
    }

    async fn get(
        &self,
        url: &ListUrl,
        header: Option<(&str, &str)>,
        tls: Option<&Tls>,
        most: usize,
    ) -> Result<Vec<u8>, String> {
        let stream = self.connect(url).await?;
        let get = Get { authority: url.authority(), target: &url.target, header, most };
        match tls.filter(|_| url.is_secure) {
            Some(tls) => {
                let stream = tls.connect(&url.host, stream).await;
                get.over(stream.map_err(|error| format!("TLS: {}", why_of(&error)))?).await
            }
            None => get.over(stream).await,
        }
    }

    /// A connection to the first of the host's addresses that takes one.
    async fn connect(&self, url: &ListUrl) -> Result<Stream, String> {
        let addresses = match &url.host {
            Host::Address(address) => vec![SocketAddr::new(*address, url.port)],
            Host::Name(name) => {
                let found = self.connector.look_up(name.as_str(), url.port).await;
                found.map_err(|error| format!("its host is not found: {}", why_of(&error)))?
            }
        };
        let mut why = "its host has no address".to_owned();
        for address in addresses {
            why = match timeout(CONNECT_PATIENCE, self.connector.connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => format!("no connection: {error}"),
                Err(_) => "no connection: its host does not answer".to_owned(),
            };
        }
        Err(why)
    }
}

/// A header and its value, and TLS.
type Means = (Option<(HeaderName, String)>, Option<Tls>);

/// The header of `source`, and TLS, as files say. Reads these.
fn means(source: &ListSource) -> Result<Means, String> {
    let token = source.token()?.map(|(header, token)| (header.clone(), token));
    let is_secure = source.urls.iter().any(|url| url.is_secure);
    let tls = is_secure.then(|| Tls::verified(Rule::Implicit, source.ca.as_deref()));
    Ok((token, tls.transpose()?))
}

/// Whether the files are there by which `source` is fetched. Reads them.
///
/// # Errors
/// What is wrong with one.
pub fn check(source: &ListSource) -> Result<(), String> {
    means(source).map(drop)
}

/// How long a list is left alone that could not be fetched so often one after another.
fn pause(every: Duration, failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => every,
        Some(more) => RETRY.saturating_mul(2_u32.saturating_pow(more)).min(every),
    }
}

/// Adds the entries of `domain` in `body`: in JSON where `selects` say, or one a line.
fn read(
    body: &[u8],
    selects: &[Select],
    domain: &DomainName,
    entries: &mut Entries,
) -> Result<(), String> {
    if !selects.is_empty() {
        let json = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut nth = 0;
        return select::select(json, selects, &mut |text: &str| {
            nth += 1;
            entries.add(domain, nth, text).map_err(|error| error.to_string())
        });
    }
    let text = str::from_utf8(body).map_err(|_| "it is no text in UTF-8")?;
    entries.extend(domain, by_line(text)?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
