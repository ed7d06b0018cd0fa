//! Recipients that no mail is held for: wake-up addresses, and the NULL account.

use std::collections::HashMap;

use postern_core::wire::path::Mailbox;

use crate::config::{Config, DomainName, canonical};

/// The local part of the NULL account.
pub(super) const NULL: &[u8] = b"null";
/// Sends a message on to another domain: `x%domain@us`.
pub(super) const PERCENT: u8 = b'%';

/// What mail is for that is not held.
#[derive(Debug, PartialEq, Eq)]
pub enum Aside<'p> {
    /// It releases these domains.
    Wakeup(Vec<&'p DomainName>),
    /// Nothing: it is discarded.
    Null,
}

/// An address of a mail exchanger's own, as addresses are compared.
type Key = (Vec<u8>, DomainName);

/// The wake-up addresses, and which domains each stands for, by their indices. Who tries tokens
/// learns nothing from the time that a look-up takes: the keys are hashed at random.
#[derive(Debug)]
pub(super) struct WakeupAddresses {
    plain: HashMap<Key, Vec<usize>>,
    /// Each with its token.
    secret: HashMap<Key, Vec<usize>>,
}

impl WakeupAddresses {
    pub(super) fn new(config: &Config) -> Self {
        let (mut plain, mut secret) = (HashMap::new(), HashMap::new());
        for (index, hold) in config.hold.values().enumerate() {
            let Some(address) = &hold.wakeup_address else { continue };
            let (local, domain) = (address.local_part(), address.domain());
            if let Some(token) = &hold.wakeup_token {
                let local = [&local[..], b"+", token.as_str().as_bytes()].concat();
                add(&mut secret, (local, domain.clone()), index);
            }
            add(&mut plain, (local, domain.clone()), index);
        }
        Self { plain, secret }
    }

    /// The domains that `local` at `domain` stands for, and whether a token says so; none where it
    /// is no wake-up address.
    pub(super) fn find(&self, local: &[u8], domain: &DomainName) -> Option<(&[usize], bool)> {
        let key = (canonical(local).into_owned(), domain.clone());
        let plain = || self.plain.get(&key).map(|indices| (&indices[..], false));
        self.secret.get(&key).map(|indices| (&indices[..], true)).or_else(plain)
    }
}

fn add(addresses: &mut HashMap<Key, Vec<usize>>, key: Key, index: usize) {
    addresses.entry(key).or_default().push(index);
}

/// Whether `mailbox`, at `us`, is the NULL account: `null`, or `null%us`.
pub(super) fn is_null(mailbox: &Mailbox<'_>, us: &DomainName) -> bool {
    let local = canonical(mailbox.local_part());
    let through_us = || {
        let (local, domain) = split_percent(mailbox.local_part())?;
        (canonical(local).as_ref() == NULL && DomainName::from_wire(domain)? == *us).then_some(())
    };
    local.as_ref() == NULL || through_us().is_some()
}

/// `x` and `domain` of the local part `x%domain`; none of one that is quoted.
pub(super) fn split_percent(local: &[u8]) -> Option<(&[u8], &[u8])> {
    let percent = local.iter().rposition(|octet| *octet == PERCENT)?;
    let (local, domain) = (local.get(..percent)?, local.get(percent + 1..)?);
    (!local.starts_with(b"\"")).then_some((local, domain))
}
