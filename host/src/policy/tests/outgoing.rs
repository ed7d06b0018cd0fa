//! Recipients of those who may send to any domain.

use super::*;

const RELAY: &str = "[relay]\nsmarthost = \"smtp.provider.example:587\"\nexpire_after = \"2d\"\n";

fn outgoing(policies: &Policies, path: &str) -> Result<(String, bool), Refusal> {
    let path = format!("<{path}>");
    let (path, _) = parse_forward(path.as_bytes()).expect("a path");
    let taken = policies.outgoing(&path, STRANGER)?;
    Ok((String::from_utf8(taken.path).expect("text"), taken.policy.is_relayed()))
}

#[test]
fn what_is_not_held_goes_to_the_relay_and_all_else_its_way() {
    let policies = policies(&[US, RELAY, &hold("client.example", "")].concat());
    for (path, expected) in [
        ("Bob@Far.example", Ok(("Bob@Far.example", true))),
        ("bob@bücher.example", Ok(("bob@xn--bcher-kva.example", true))),
        ("bob%client.example@far.example", Ok(("bob%client.example@far.example", true))),
        ("bob@a.client.example", Ok(("bob@a.client.example", true))),
        ("info@CLIENT.example", Ok(("info@CLIENT.example", false))),
        ("sales@client.example", Err(Refusal::Unknown)),
        ("Postmaster", Ok(("postmaster@client.example", false))),
        ("postmaster@mx2.provider.example", Ok(("postmaster@client.example", false))),
        ("bob@MX2.provider.example", Err(Refusal::NotHeld)),
        ("bob%far.example@mx2.provider.example", Err(Refusal::NotHeld)),
        ("info%client.example@mx2.provider.example", Err(Refusal::NotHeld)),
        ("bob@[192.0.2.1]", Err(Refusal::NotHeld)),
        ("bob@[IPv6:2001:db8::1]", Err(Refusal::NotHeld)),
    ] {
        let expected = expected.map(|(path, relayed)| (path.to_owned(), relayed));
        assert_eq!(outgoing(&policies, path), expected, "{path}");
    }
}

#[test]
fn without_a_relay_nothing_more_is_taken() {
    let policies = policies(&[US, &hold("client.example", "")].concat());
    assert_eq!(outgoing(&policies, "bob@far.example"), Err(Refusal::NotHeld));
    let own = Ok(("info@client.example".to_owned(), false));
    assert_eq!(outgoing(&policies, "info@client.example"), own);
    assert_eq!(policies.others().deliver_to, None);
}

/// A stranger's recipient is as if there were no relay.
#[test]
fn a_relay_opens_nothing_to_strangers() {
    let policies = policies(&[US, RELAY, &hold("client.example", "")].concat());
    for path in ["bob@far.example", "bob@a.client.example", "bob@[192.0.2.1]"] {
        assert_eq!(recipient(&policies, path), Err(Refusal::NotHeld), "{path}");
    }
}

#[test]
fn the_relay_is_where_every_other_domain_goes() {
    let policies = policies(&[RELAY, &hold("client.example", "")].concat());
    for name in ["far.example", "a.client.example", ""] {
        let policy = policies.of(&Domain::new(name));
        let to = policy.deliver_to.as_ref().expect("it goes to the relay");
        assert_eq!((to.to_string(), to.is_relay()), ("smtp.provider.example:587".to_owned(), true));
        assert_eq!(policy.expire_after, Some(Duration::from_secs(2 * 24 * 60 * 60)));
    }
    assert!(!policies.of(&Domain::new("client.example")).is_relayed());
}
