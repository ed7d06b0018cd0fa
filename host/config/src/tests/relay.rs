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
