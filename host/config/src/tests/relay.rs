use super::*;

#[test]
fn a_smarthost_is_a_host_and_a_port() {
    let config = parse("[relay]\nsmarthost = \"[2001:db8::25]:465\"").expect("sound");
    let relay = config.relay.expect("there is one");
    assert_eq!(relay.smarthost.0.to_string(), "[2001:db8::25]:465");
    let expected = "expected \"host:port\" such as \"smtp.provider.example:587\", found";
    for text in ["smtp.provider.example", "smtp.provider.example:0", "lmtp://a.example:24", ""] {
        let source = format!("[relay]\nsmarthost = \"{text}\"");
        let found = format!("postern.toml:2: relay.smarthost: {expected} \"{text}\"");
        assert_eq!(problems(&source), [found]);
    }
    let missing =
        "postern.toml:1: relay.smarthost: is required: smarthost = \"smtp.provider.example:587\"";
    assert_eq!(problems("[relay]"), [missing]);
}

#[test]
fn a_smarthost_is_verified_or_on_this_machine() {
    let relay = |smarthost: &str, keys: &str| {
        parse(&format!("[relay]\nsmarthost = \"{smarthost}\"\n{keys}"))
            .map(|config| config.relay.expect("there is one").tls())
    };
    let word = "tls = \"none\"";
    assert_eq!(relay("a.example:587", ""), Ok(RelayTls::Verified));
    assert_eq!(relay("a.example:465", ""), Ok(RelayTls::Implicit));
    assert_eq!(relay("a.example:465", "tls = \"verified\""), Ok(RelayTls::Verified));
    assert_eq!(relay("127.0.0.1:2525", word), Ok(RelayTls::Local));
    assert_eq!(relay("localhost:25", word), Ok(RelayTls::Local));
    let elsewhere = "postern.toml:3: relay.tls: is \"none\", and the smarthost is not on this \
        machine: what is sent, a password too, could be read by others";
    for smarthost in ["a.example:25", "192.168.1.1:25", "[2001:db8::1]:25"] {
        let source = format!("[relay]\nsmarthost = \"{smarthost}\"\n{word}");
        assert_eq!(problems(&source), [elsewhere]);
    }
    let half = |key: &str, value: &str| {
        problems(&format!("[relay]\nsmarthost = \"a.example:587\"\n{key} = {value}"))
    };
    let expected = "postern.toml:3: relay.user: needs password_file = \"/etc/postern/password\"";
    assert_eq!(half("user", "\"me\""), [expected]);
    let expected = "postern.toml:3: relay.password_file: needs user = \"client.example\"";
    assert_eq!(half("password_file", "\"/p\""), [expected]);
}

#[test]
fn urgent_are_addresses_or_all_of_a_domain() {
    let relay =
        |urgent: &str| format!("[relay]\nsmarthost = \"a.example:587\"\nurgent = [\"{urgent}\"]");
    for urgent in ["alarm@client.example", "*@client.example"] {
        let config = parse(&relay(urgent)).expect("sound");
        assert_eq!(config.relay.expect("there is one").urgent[0].to_string(), urgent);
    }
    let expected = "postern.toml:3: relay.urgent: expected an address such as \
        \"ann@client.example\", or \"*@client.example\", found \"*\"";
    assert_eq!(problems(&relay("*")), [expected]);
}
