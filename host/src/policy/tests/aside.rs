use super::*;

const TOKEN: &str = "k7v2p9x4m1q8c5z3";

/// The domains that mail to `path` from `client` releases; "null": it is discarded.
fn aside<'p>(
    policies: &'p Policies,
    path: &str,
    client: &str,
) -> Option<Result<Vec<&'p str>, Refusal>> {
    let path = format!("<{path}>");
    let (path, _) = parse_forward(path.as_bytes()).expect("a path");
    let aside = policies.aside(&path, peer(client))?;
    Some(aside.map(|aside| match aside {
        Aside::Wakeup(domains) => domains.into_iter().map(DomainName::as_str).collect(),
        Aside::Null => vec!["null"],
    }))
}

#[test]
fn a_wake_up_address_releases_what_its_sender_may_release() {
    let wake = "wakeup_address = \"Wake@mx2.provider.example\"";
    let more = format!("{wake}\nwakeup_from = [\"198.51.100.7\"]\nwakeup_token = \"{TOKEN}\"");
    let other = hold("other.example", wake).replace("192.0.2.0/24", "198.51.100.0/24");
    let policies = policies(&[US, &hold("client.example", &more), &other].concat());
    let both = &["client.example", "other.example"][..];
    let secret = format!("wake+{TOKEN}@mx2.provider.example");
    for (path, client, expected) in [
        ("wake@mx2.provider.example", "192.0.2.1", Some(Ok(&["client.example"][..]))),
        ("\"WAKE\"@MX2.provider.example", "198.51.100.7", Some(Ok(both))),
        ("wake@mx2.provider.example", "198.51.100.8", Some(Ok(&["other.example"]))),
        ("wake@mx2.provider.example", "203.0.113.1", Some(Err(Refusal::Wakeup))),
        (&secret, "203.0.113.1", Some(Ok(&["client.example"]))),
        (&secret.replace("k7v", "k7w"), "192.0.2.1", None),
        ("wake+x@mx2.provider.example", "192.0.2.1", None),
        ("wake@client.example", "192.0.2.1", None),
    ] {
        let found = aside(&policies, path, client);
        assert_eq!(found, expected.map(|found| found.map(<[_]>::to_vec)), "{path} by {client}");
    }
}

#[test]
fn the_null_account_is_at_our_own_name_unless_it_is_listed() {
    let null = Some(Ok(vec!["null"]));
    let not_held = policies(&[US, &hold("client.example", "")].concat());
    let held = hold("mx2.provider.example", "");
    let (unlisted, any) = (policies(&[US, &held].concat()), held.replace("[\"info\"]", "\"any\""));
    let any = policies(&[US, &any].concat());
    for policies in [&not_held, &unlisted, &any] {
        for local in
            ["null", "NULL", "\"null\"", "null%mx2.provider.example", "Null%MX2.provider.example"]
        {
            let path = format!("{local}@mx2.provider.example");
            assert_eq!(aside(policies, &path, "203.0.113.1"), null, "{path}");
        }
        for path in [
            "null@client.example",
            "null+x@mx2.provider.example",
            "nul@mx2.provider.example",
            "null%client.example@mx2.provider.example",
            "null%mx2.provider.example%mx2.provider.example@mx2.provider.example",
            "\"null%mx2.provider.example\"@mx2.provider.example",
        ] {
            assert_eq!(aside(policies, path, "203.0.113.1"), None, "{path}");
        }
    }
    let listed = held.replace("\"info\"", "\"info\", \"null\"");
    let listed = super::policies(&[US, &listed].concat());
    assert_eq!(aside(&listed, "null@mx2.provider.example", "203.0.113.1"), None);
    let held = recipient(&listed, "null@mx2.provider.example");
    assert_eq!(held, Ok("null@mx2.provider.example".to_owned()));
}

/// A host that asks a holder for its domain's mail has its wake-up mail back under that domain.
#[test]
fn the_null_account_is_at_the_domains_that_are_asked_for() {
    let asks = "[[wakeup]]\netrn = \"mx2.provider.example\"\n";
    let home = "hostname = \"mail.client.example\"\n";
    let any = hold("any.example", "").replace("[\"info\"]", "\"any\"");
    let listed = hold("listed.example", "").replace("\"info\"", "\"null\"");
    let held = [hold("client.example", ""), any, listed].concat();
    let null = Some(Ok(vec!["null"]));
    let asking = policies(&[home, asks, &held].concat());
    let other = policies(&[home, &held].concat());
    for (path, expected) in [
        ("null@client.example", &null),
        ("null@any.example", &None),
        ("null@listed.example", &None),
        ("null@other.example", &None),
    ] {
        assert_eq!(&aside(&asking, path, "203.0.113.1"), expected, "{path}");
        assert_eq!(aside(&other, path, "203.0.113.1"), None, "{path}, which nobody is asked for");
    }
}

#[test]
fn mail_through_our_own_name_goes_on_once_and_only_from_its_host() {
    let keys = "wakeup_from = [\"198.51.100.7\"]";
    let listing = |local: &str| format!("[\"info\", \"{local}\"]");
    let odd = hold("odd.example", "").replace("[\"info\"]", &listing("a%b"));
    let any = hold("any.example", "").replace("[\"info\"]", "\"any\"");
    let policies = policies(&[US, &hold("client.example", keys), &odd, &any].concat());
    let sent = |path: &str, client: &str| {
        let path = format!("<{path}>");
        let (path, _) = parse_forward(path.as_bytes()).expect("a path");
        let taken = policies.recipient(&path, peer(client))?;
        Ok((String::from_utf8(taken.path).expect("text"), taken.releases))
    };
    let at_us = |local: &str| format!("{local}@mx2.provider.example");
    for (local, expected) in [
        ("info%client.example", "info@client.example"),
        ("Info+x%CLIENT.example", "Info+x@client.example"),
        ("null%client.example", "null@client.example"),
        ("postmaster%client.example", "postmaster@client.example"),
        ("x%any.example", "x@any.example"),
    ] {
        let expected = Ok((expected.to_owned(), true));
        assert_eq!(sent(&at_us(local), "192.0.2.1"), expected, "{local}");
        let by_stranger = sent(&at_us(local), "203.0.113.1");
        assert_eq!(by_stranger, Err(Refusal::NotHeld), "{local} by a stranger");
    }
    assert!(sent(&at_us("info%client.example"), "198.51.100.7").is_ok());
    for (local, refusal) in [
        ("sales%client.example", Refusal::Unknown),
        ("null+x%client.example", Refusal::Unknown),
        ("%client.example", Refusal::Routed),
        ("a%b%odd.example", Refusal::Routed),
        ("a!b%any.example", Refusal::Routed),
        ("a.%any.example", Refusal::Routed),
        ("info%client.example%client.example", Refusal::Routed),
        ("info%other.example", Refusal::NotHeld),
        ("info%mx2.provider.example", Refusal::NotHeld),
        ("info%", Refusal::NotHeld),
        ("\"info%client.example\"", Refusal::NotHeld),
        ("\"info@client.example\"", Refusal::NotHeld),
        ("client.example!info", Refusal::NotHeld),
    ] {
        assert_eq!(sent(&at_us(local), "192.0.2.1"), Err(refusal), "{local}");
    }
    let elsewhere = sent("info%client.example@any.example", "192.0.2.1");
    assert_eq!(elsewhere, Err(Refusal::Routed), "it is not our own name");
}
