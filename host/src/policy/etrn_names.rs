//! What the name in an ETRN stands for (RFC 1985 sections 5 and 5.3).

use std::collections::HashMap;

use postern_core::wire::etrn::Node;

use crate::config::{Config, DomainName};

/// The domains that ETRN can name, each by its index in the order of all that are held.
#[derive(Debug)]
pub(super) struct EtrnNames {
    /// By the domain itself, the host that it is delivered to, and its `etrn_names`.
    names: HashMap<Box<str>, Vec<usize>>,
    /// The domains with their labels from right to left, in order: a domain and all those under it
    /// stand together.
    reversed: Vec<(Box<str>, usize)>,
}

impl EtrnNames {
    pub(super) fn new(config: &Config) -> Self {
        let mut names: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut reversed = Vec::new();
        for (index, (domain, hold)) in config.hold.iter().enumerate() {
            let host = hold.deliver_to.endpoint().map(|endpoint| endpoint.host.to_string());
            let more = hold.etrn_names.iter().map(DomainName::as_str);
            for name in [domain.as_str()].into_iter().chain(host.as_deref()).chain(more) {
                let indices = names.entry(name.into()).or_default();
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
            reversed.push((right_to_left(domain.as_str()).into(), index));
        }
        reversed.sort_unstable();
        Self { names, reversed }
    }

    /// The indices of the domains that `node` names, in order.
    pub(super) fn find(&self, node: &Node<'_>) -> Vec<usize> {
        let Ok(name) = str::from_utf8(node.name()) else { return Vec::new() };
        // A host may be named by its address.
        let address = |_| name.to_ascii_lowercase();
        let name = name.parse().map_or_else(address, |domain: DomainName| domain.to_string());
        match node {
            Node::Subtree(_) => self.at_or_under(&name),
            Node::Host(_) | Node::Queue(_) => self.names.get(&*name).cloned().unwrap_or_default(),
        }
    }

    fn at_or_under(&self, domain: &str) -> Vec<usize> {
        let start = right_to_left(domain);
        let first = self.reversed.partition_point(|(name, _)| **name < *start);
        let tail = self.reversed.get(first..).unwrap_or_default();
        let under = tail.iter().take_while(|(name, _)| name.starts_with(&start));
        let mut indices: Vec<_> = under.map(|(_, index)| *index).collect();
        indices.sort_unstable();
        indices
    }
}

/// `a.client.example` as `example.client.a.`: the dot at the end is the border of a label.
fn right_to_left(domain: &str) -> String {
    domain.rsplit('.').flat_map(|label| [label, "."]).collect()
}
