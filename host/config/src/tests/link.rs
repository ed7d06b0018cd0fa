//! The table `[link]`.

use super::*;

#[test]
fn a_link_says_what_it_lacks_and_what_was_meant() {
    let argv = "expected a list of a program and its arguments, such as [\"/usr/bin/wg-quick\", \
        \"up\", \"wg0\"]: no shell reads it";
    let days = "expected days such as mon-fri or sat,sun, in front of the hours";
    let hours = "expected hours such as 7-19 or 22:30-6:00, behind the days";
    let zone = "expected a time zone such as \"Europe/Berlin\"";
    for (keys, key, reason) in [
        (
            "kind = \"modem\"",
            "kind",
            "expected \"permanent\", \"interface\" or \"command\", found \"modem\"".to_owned(),
        ),
        ("kind = \"interface\"", "interface", "is required: interface = \"wwan0\"".to_owned()),
        (
            "kind = \"command\"",
            "up",
            "is required: up = [\"/usr/bin/nmcli\", \"connection\", \"up\", \"wwan\"]".to_owned(),
        ),
        ("up = \"nmcli c up x\"", "up", format!("{argv}; found \"nmcli c up x\"")),
        ("up = []", "up", format!("{argv}; there is no program")),
        ("up = [\"a\", 1]", "up", format!("{argv}; found the number 1")),
        ("statsu = []", "statsu", "unknown key; did you mean \"status\"?".to_owned()),
        (
            "schedule = [\"mno-fri 7-19\"]",
            "schedule",
            format!("\"mno-fri 7-19\": {days}; did you mean \"mon-fri 7-19\"?"),
        ),
        (
            "schedule = [\"Monday 7.30-19\"]",
            "schedule",
            format!("\"Monday 7.30-19\": {days}; did you mean \"mon 7:30-19\"?"),
        ),
        (
            "schedule = [\"7-19 sat\"]",
            "schedule",
            format!("\"7-19 sat\": {days}; did you mean \"sat 7-19\"?"),
        ),
        ("schedule = [\"7-25\"]", "schedule", format!("\"7-25\": {hours}")),
        (
            "schedule = [\"7-19\"]",
            "time_zone",
            "is required with schedule: time_zone = \"Europe/Berlin\"".to_owned(),
        ),
        (
            "time_zone = \"Europe/Berln\"",
            "time_zone",
            format!("{zone}, found \"Europe/Berln\"; did you mean \"Europe/Berlin\"?"),
        ),
        (
            "time_zone = \"berlin\"",
            "time_zone",
            format!("{zone}, found \"berlin\"; did you mean \"Europe/Berlin\"?"),
        ),
        ("time_zone = \"??????\"", "time_zone", format!("{zone}, found \"??????\"")),
        ("up_timeout = \"0s\"", "up_timeout", "must be more than 0".to_owned()),
    ] {
        let found = problems(&format!("[link]\n{keys}\n"));
        let line = if reason.starts_with("is required") { 1 } else { 2 };
        assert_eq!(found, [format!("{FILE}:{line}: link.{key}: {reason}")], "{keys}");
    }
}

#[test]
fn a_link_that_costs_or_never_serves_is_a_warning() {
    let warned = |receive: &str, link: &str, wakeup: &str| -> Vec<String> {
        let source = format!(
            "hostname = \"home.example\"\n[receive]\n{receive}\n[link]\n{link}\n{wakeup}{}",
            hold("etrn_from = [\"192.0.2.0/24\"]")
        );
        let found = parse(&source).expect("sound").warnings(Path::new(FILE));
        found.into_iter().map(|warning| warning.key).collect()
    };
    const COMMAND: &str = "kind = \"command\"\nup = [\"true\"]\n";
    const ASKS: &str = "[[wakeup]]\netrn = \"mx2.provider.example\"\nevery = \"3h\"\n";
    let windows = |list: &str| format!("schedule = {list}\ntime_zone = \"Europe/Berlin\"\n");
    assert_eq!(warned("listener = \"scheduled\"", COMMAND, ASKS), [""; 0]);
    assert_eq!(warned("", COMMAND, ASKS), ["receive.listener"]);
    assert_eq!(warned("listener = \"on-link\"", COMMAND, ASKS), ["link.status"]);
    let told = format!("{COMMAND}status = [\"true\"]");
    assert_eq!(warned("listener = \"on-link\"", &told, ASKS), [""; 0]);
    assert_eq!(
        warned("", "up = [\"true\"]\ninterface = \"lo\"", ""),
        ["link.interface", "link.up"]
    );
    assert_eq!(warned("", &windows("[]"), ASKS), ["link.schedule"]);
    assert_eq!(warned("", &windows("[\"mon-fri 7-19\"]"), ""), ["link.schedule"]);
    for (list, is_short) in [
        ("[\"7-10\"]", false),
        ("[\"7-9:59\", \"sun 22:30-23\"]", true),
        ("[\"sat 23-24\", \"sun 0-2\"]", false),
        ("[\"0-24\"]", false),
    ] {
        let expected: &[&str] = if is_short { &["wakeup.every"] } else { &[] };
        assert_eq!(warned("", &windows(list), ASKS), expected, "{list}");
    }
}

#[test]
fn what_may_wait_for_more_mail_says_where_that_is_in_vain() {
    let collect = |link: &str, rest: &str| {
        let hold = hold("etrn_from = [\"192.0.2.0/24\"]");
        let source = format!(
            "hostname = \"home.example\"\n[link]\n{link}\n{rest}\n{hold}\n[receive]\n\
                listener = \"off\"\n"
        );
        let found = parse(&source).expect("sound").warnings(Path::new(FILE));
        let found = found.into_iter().find(|warning| warning.key == "link.collect");
        found.map(|warning| warning.reason)
    };
    const COMMAND: &str = "kind = \"command\"\nup = [\"true\"]\n";
    const RELAY: &str = "[relay]\nsmarthost = \"smtp.provider.example:587\"\n";
    let command = |collect: &str| format!("{COMMAND}collect = \"{collect}\"");
    assert_eq!(collect(&command("20m"), RELAY), None);
    assert_eq!(collect(&command("0m"), ""), None);
    let starts = |found: Option<String>, with: &str| found.is_some_and(|it| it.contains(with));
    assert!(starts(collect(&command("20m"), ""), "there is no [relay]"));
    assert!(starts(collect("collect = \"20m\"", RELAY), "link.kind is another one"));
    assert!(starts(collect(&command("5d"), RELAY), "relay.expire_after"));
}

#[test]
fn urgent_mail_that_waits_for_nothing_anyway_is_a_warning() {
    let warned = |link: &str| {
        let source = format!(
            "[relay]\nsmarthost = \"smtp.provider.example:587\"\nurgent = [\"*@a.example\"]\n\
             [link]\n{link}"
        );
        let found = parse(&source).expect("sound").warnings(Path::new(FILE));
        found.iter().any(|warning| warning.key == "relay.urgent")
    };
    assert!(warned(""));
    assert!(!warned("schedule = [\"7-9\"]\ntime_zone = \"Etc/UTC\""));
    assert!(!warned("kind = \"command\"\nup = [\"true\"]"));
}
