//! What ETRN names (RFC 1985 §5, §5.3).

use super::domain::is_domain;

/// The queue that an ETRN asks to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'i> {
    /// `ETRN node`: mail for exactly this host.
    Host(&'i [u8]),
    /// `ETRN @domain`: mail for this domain and all those under it, on label borders.
    Subtree(&'i [u8]),
    /// `ETRN #queue`: a name that only the holder gives a meaning.
    Queue(&'i [u8]),
}

impl<'i> Node<'i> {
    /// Parses ETRN's argument.
    pub fn parse(argument: &'i [u8]) -> Option<Self> {
        match argument {
            [b'@', domain @ ..] => is_domain(domain).then_some(Self::Subtree(domain)),
            [b'#', queue @ ..] => is_queue_name(queue).then_some(Self::Queue(queue)),
            host => is_domain(host).then_some(Self::Host(host)),
        }
    }

    /// The name, without `@` or `#`.
    pub fn name(&self) -> &'i [u8] {
        match self {
            Self::Host(name) | Self::Subtree(name) | Self::Queue(name) => name,
        }
    }

    /// Whether mail for `domain` is meant; never for a queue's name.
    pub fn covers(&self, domain: &[u8]) -> bool {
        match self {
            Self::Host(name) => domain.eq_ignore_ascii_case(name),
            Self::Subtree(name) => is_at_or_under(domain, name),
            Self::Queue(_) => false,
        }
    }
}

fn is_queue_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Whether `domain` is `parent` or ends in `.parent`. A plain suffix match would let the owner of
/// `ample.example` release `example.example`'s mail.
fn is_at_or_under(domain: &[u8], parent: &[u8]) -> bool {
    let Some(above) = domain.len().checked_sub(parent.len()) else { return false };
    let Some((head, tail)) = domain.split_at_checked(above) else { return false };
    tail.eq_ignore_ascii_case(parent) && (head.is_empty() || head.last() == Some(&b'.'))
}

/// The domains of an ATRN command (RFC 2645 §5.2.1); none means all that the user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domains<'i>(&'i [u8]);

impl<'i> Domains<'i> {
    /// Parses `domain *("," domain)`, or nothing.
    pub fn parse(argument: &'i [u8]) -> Option<Self> {
        let domains = Self(argument);
        domains.iter().all(is_domain).then_some(domains)
    }

    /// The domains in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'i [u8]> {
        let named = !self.0.is_empty();
        self.0.split(|octet| *octet == b',').filter(move |_| named)
    }
}

#[cfg(test)]
mod tests {
    use super::{Domains, Node};

    #[test]
    fn the_three_forms() {
        assert_eq!(Node::parse(b"client.example"), Some(Node::Host(b"client.example")));
        assert_eq!(Node::parse(b"@client.example"), Some(Node::Subtree(b"client.example")));
        assert_eq!(Node::parse(b"#uucp"), Some(Node::Queue(b"uucp")));
        for bad in [&b""[..], b"@", b"#", b"a b", b"-x", b"@@x", b"#a b"] {
            assert_eq!(Node::parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_subtree_ends_on_label_borders() {
        let node = Node::parse(b"@Example.org").expect("well formed");
        assert!(node.covers(b"example.org") && node.covers(b"a.b.EXAMPLE.ORG"));
        assert!(!node.covers(b"badexample.org") && !node.covers(b"org"));
        let host = Node::parse(b"example.org").expect("well formed");
        assert!(host.covers(b"Example.Org") && !host.covers(b"a.example.org"));
    }

    #[test]
    fn atrn_takes_a_list_or_nothing() {
        assert_eq!(Domains::parse(b"").map(|domains| domains.iter().count()), Some(0));
        assert_eq!(Domains::parse(b"a.example,b.example").map(|d| d.iter().count()), Some(2));
        assert_eq!(Domains::parse(b"a.example,,b.example"), None);
    }
}
