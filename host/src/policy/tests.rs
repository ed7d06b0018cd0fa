use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use postern_core::appletalk::Address;
use postern_core::time::Timestamp;
use postern_core::wire::path::parse_forward;
use postern_spool::clock::Clock;

use super::*;

mod aside;
mod outgoing;

const US: &str = "hostname = \"mx2.provider.example\"\n";
const STRANGER: Peer = Peer::Internet(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)));

fn peer(address: &str) -> Peer {
    Peer::Internet(address.parse().expect("an address"))
}

fn policies(source: &str) -> Policies {
    let config = Config::parse(Path::new("postern.toml"), source).expect("a sound configuration");
    Policies::new(&config)
}

/// A hold with the rest of its table.
fn hold(domain: &str, keys: &str) -> String {
    let required = "recipients = [\"info\"]\ndeliver_to = \"mail.client.example:25\"";
    format!("[hold.\"{domain}\"]\n{required}\netrn_from = [\"192.0.2.0/24\"]\n{keys}\n")
}

fn recipient(policies: &Policies, path: &str) -> Result<String, Refusal> {
    let path = format!("<{path}>");
    let (path, _) = parse_forward(path.as_bytes()).expect("a path");
    let taken = policies.recipient(&path, STRANGER)?;
    Ok(String::from_utf8(taken.path).expect("text"))
}

#[test]
fn each_domain_has_a_policy() {
    let policies = policies(&hold("client.example", "kept_for = \"7d\"\nquota = \"1 KiB\""));
    let held = policies.of(&Domain::new("Client.example"));
    assert_eq!((held.quota, held.kept_for), (Some(1024), KeptFor::For(Duration::from_hours(168))));
    assert!(held.deliver_to.is_some() && held.expire_after.is_some());
    for name in ["other.example", "", "[192.0.2.1]", "a.client.example"] {
        let policy = policies.of(&Domain::new(name));
        assert_eq!((&policy.domain, &policy.deliver_to), (&None, &None), "{name}");
        assert_eq!((policy.retry_every, policy.expire_after), (RetryEvery::Never, None));
        assert_eq!(policy.kept_for, KeptFor::Ever);
    }
}

#[test]
fn a_recipient_is_held_under_its_queues_name() {
    let policies = policies(&hold("bücher.example", "subaddress = \"-\""));
    for (path, expected) in [
        ("info@bücher.example", Ok("info@xn--bcher-kva.example")),
        ("Info-X@BÜCHER.example", Ok("Info-X@xn--bcher-kva.example")),
        ("info@XN--bcher-kva.example", Ok("info@XN--bcher-kva.example")),
        ("sales@bücher.example", Err(Refusal::Unknown)),
        ("info+x@bücher.example", Err(Refusal::Unknown)),
        ("info@bucher.example", Err(Refusal::NotHeld)),
        ("info@a.bücher.example", Err(Refusal::NotHeld)),
        ("info@[192.0.2.1]", Err(Refusal::NotHeld)),
    ] {
        assert_eq!(recipient(&policies, path), expected.map(str::to_owned), "{path}");
        let domain = Domain::of_path(expected.unwrap_or("@").as_bytes());
        assert_eq!(policies.of(&domain).domain.is_some(), expected.is_ok());
    }
}

#[test]
fn our_own_postmaster_is_a_held_domains() {
    let named = "hostname = \"mx2.provider.example\"\n";
    let by_default = policies(&format!("{named}{}", hold("client.example", "")));
    let told = "postmaster = \"ann@client.example\"\n";
    let told = policies(&format!("{named}{told}{}", hold("client.example", "")));
    for path in
        ["Postmaster", "postmaster@MX2.provider.example", "\"Postmaster\"@mx2.provider.example"]
    {
        assert_eq!(recipient(&by_default, path), Ok("postmaster@client.example".to_owned()));
        assert_eq!(recipient(&told, path), Ok("ann@client.example".to_owned()));
        assert_eq!(recipient(&policies(named), path), Err(Refusal::Unknown));
    }
    assert_eq!(recipient(&told, "info@mx2.provider.example"), Err(Refusal::NotHeld));
    assert_eq!(recipient(&told, "postmaster@provider.example"), Err(Refusal::NotHeld));
}

fn released(policies: &Policies, node: &str, client: &str) -> Vec<String> {
    let node = Node::parse(node.as_bytes()).expect("a node");
    let domains = policies.released_by(&node, peer(client), &BTreeSet::new());
    domains.into_iter().map(DomainName::to_string).collect()
}

#[test]
fn etrn_names_a_domain_its_host_or_a_name_of_it() {
    let other = hold("other.example", "").replace("mail.client", "MAIL.other");
    let source = [
        hold("client.example", "etrn_names = [\"home.client.example\", \"bücher.example\"]"),
        hold("shop.example", "").replace("192.0.2.0/24", "198.51.100.0/24"),
        other.replace("mail.client.example", "mail.other.example"),
        hold("literal.example", "").replace("mail.client.example", "[2001:db8::25]"),
    ];
    let policies = policies(&source.concat());
    for (node, client, expected) in [
        ("CLIENT.example", "192.0.2.1", &["client.example"][..]),
        ("home.client.example", "192.0.2.1", &["client.example"]),
        ("bücher.example", "192.0.2.1", &["client.example"]),
        ("#xn--bcher-kva.example", "192.0.2.1", &["client.example"]),
        ("mail.client.example", "192.0.2.1", &["client.example"]),
        ("mail.client.example", "198.51.100.1", &["shop.example"]),
        ("mail.other.example", "192.0.2.1", &["other.example"]),
        ("#[2001:db8::25]", "192.0.2.1", &["literal.example"]),
        ("client.example", "198.51.100.1", &[]),
        ("client.example", "203.0.113.1", &[]),
        ("nobody.example", "192.0.2.1", &[]),
        ("#nobody", "192.0.2.1", &[]),
    ] {
        assert_eq!(released(&policies, node, client), expected, "{node} by {client}");
    }
}

#[test]
fn a_subtree_is_all_that_is_at_or_under_a_name() {
    let domains = ["b.example", "a.b.example", "ab.example", "c.a.b.example", "b.example.org"];
    let policies = policies(&domains.map(|domain| hold(domain, "")).concat());
    for (node, expected) in [
        ("@b.example", &["a.b.example", "b.example", "c.a.b.example"][..]),
        ("@B.EXAMPLE", &["a.b.example", "b.example", "c.a.b.example"]),
        ("@a.b.example", &["a.b.example", "c.a.b.example"]),
        ("@example.org", &["b.example.org"]),
        ("@xample", &[]),
        ("@d.b.example", &[]),
    ] {
        assert_eq!(released(&policies, node, "192.0.2.1"), expected, "{node}");
    }
}

#[test]
fn a_connection_releases_the_domains_that_list_its_network() {
    let list = |networks: &str| format!("release_on_connect = [{networks}]");
    let source = [
        hold("b.example", &list("\"198.51.100.0/28\", \"2001:db8::/48\", \"198.51.100.7\"")),
        hold("a.example", &list("\"198.51.100.7\"")),
        hold("none.example", ""),
    ];
    let policies = policies(&source.concat());
    for (client, expected) in [
        ("198.51.100.7", &["a.example", "b.example"][..]),
        ("198.51.100.8", &["b.example"]),
        ("2001:db8::1:2", &["b.example"]),
        ("198.51.100.16", &[]),
        ("192.0.2.1", &[]),
    ] {
        let client = peer(client);
        let domains = policies.released_on_connect(client);
        let domains: Vec<_> = domains.iter().map(|domain| domain.as_str()).collect();
        assert_eq!(domains, expected, "{client}");
    }
    let listing = |name| policies.of(&Domain::new(name)).is_released_on_connect;
    assert!(listing("a.example") && !listing("none.example"));
}

#[test]
fn a_node_of_appletalk_is_in_no_network_that_anything_is_allowed_to() {
    let all = "[\"0.0.0.0/0\", \"::/0\"]";
    let wake = "wakeup_address = \"wake@mx2.provider.example\"";
    let keys = format!("{wake}\nwakeup_from = {all}\nrelease_on_connect = {all}");
    let source = hold("client.example", &keys).replace("[\"192.0.2.0/24\"]", all);
    let clear = format!("[atrn]\nclear_from = {all}\n");
    let policies = policies(&[US, &clear, &source].concat());
    let node = Peer::AppleTalk(Address { network: 0, node: 0, socket: 0 });
    let (wake, _) = parse_forward(b"<wake@mx2.provider.example>").expect("a path");
    let (through, _) =
        parse_forward(b"<info%client.example@mx2.provider.example>").expect("a path");
    for (client, may) in [(peer("0.0.0.0"), true), (node, false)] {
        assert_eq!(policies.aside(&wake, client).map(|aside| aside.is_ok()), Some(may));
        assert_eq!(policies.recipient(&through, client).is_ok(), may);
        assert_eq!(policies.released_on_connect(client).len(), usize::from(may));
        let named = policies.released_by(&Node::Host(b"client.example"), client, &BTreeSet::new());
        assert_eq!((named.len(), policies.is_clear(client)), (usize::from(may), may));
    }
}

#[test]
fn a_host_lacks_utf8_when_the_key_or_its_last_answer_says_so() {
    let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
    let capabilities = Capabilities::new(clock);
    let of = |key: &str| {
        let policies = policies(&hold("client.example", key));
        policies.of(&Domain::new("client.example")).lacks_utf8(&capabilities)
    };
    assert_eq!((of(""), of("smtputf8 = true"), of("smtputf8 = false")), (false, false, true));
    let host = "mail.client.example:25".parse().expect("a host");
    capabilities.note_smtputf8(&host, false);
    assert_eq!((of(""), of("smtputf8 = true"), of("smtputf8 = false")), (true, false, true));
    capabilities.note_smtputf8(&host, true);
    assert!(!of(""));
}

#[test]
fn an_account_releases_its_own_domains_where_the_table_says_so() {
    let networks = "etrn_from = [\"192.0.2.0/24\"]";
    let accounts = "etrn_from = [\"authenticated\"]";
    let own = hold("own.example", "").replace(networks, accounts);
    let anothers = hold("another.example", "").replace(networks, accounts);
    let policies = policies(&[own, anothers, hold("closed.example", "")].concat());
    assert!(policies.etrn_authenticated());
    let names = ["own.example", "closed.example"].map(|name| name.parse().expect("a name"));
    let names = BTreeSet::from(names);
    let far = peer("203.0.113.9");
    let released = |name: &str, account: &BTreeSet<DomainName>| {
        policies.released_by(&Node::Host(name.as_bytes()), far, account).len()
    };
    assert_eq!(released("own.example", &names), 1);
    assert_eq!(released("own.example", &BTreeSet::new()), 0, "nobody has authenticated");
    assert_eq!(released("another.example", &names), 0, "it is not the account's");
    assert_eq!(released("closed.example", &names), 0, "its table does not say so");
}
