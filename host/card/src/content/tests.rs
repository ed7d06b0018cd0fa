use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use postern_card::settings::{AppleTalk, Host, Listener, Way, Window};

use super::*;

const BERLIN: &str = "time_zone = \"Europe/Berlin\"";
const FILE: &str = "postern.toml";
const CARD: u64 = 64 << 20;

const SOUND: &str = r#"
hostname = "postern.client.example"

[receive]
channels = 2
max_message_size = "4 MiB"

[hold."client.example"]
recipients = ["info", "John.Doe"]
deliver_to = "lmtp://192.0.2.25:24"
etrn_from = ["192.0.2.0/24"]
etrn_names = ["home.client.example"]
retry_every = "10m"

[hold."shop.example"]
recipients = ["sales@shop.example"]
deliver_to = "lmtp://192.0.2.25:24"
etrn_from = ["192.0.2.0/24"]
retry_every = "10m"

[device]
address = "192.0.2.7/24"
gateway = "192.0.2.1"
dns = ["192.0.2.53"]
time_server = "time.provider.example"
wake_on_lan = "02:00:00:00:00:0a"
failed_to = "ann@client.example"
log = "udp://192.0.2.9:5514"
[wakeup]
etrn = "mx2.provider.example"
"#;

fn parse(source: &str) -> Result<CardContent, Vec<Problem>> {
    CardContent::parse(Path::new(FILE), source, CARD)
}

fn problems(source: &str) -> Vec<String> {
    let problems = parse(source).expect_err(source);
    problems.iter().map(|problem| problem.to_string()).collect()
}

#[test]
fn a_device_is_told_what_its_file_says() {
    let content = parse(SOUND).expect("sound");
    let settings = content.settings();
    assert_eq!(settings.hostname, "postern.client.example");
    assert_eq!(settings.postmaster, "postmaster@client.example");
    assert_eq!(&settings.domains[..], ["client.example", "shop.example"]);
    assert_eq!(&settings.etrn_names[..], ["home.client.example"]);
    assert_eq!((settings.next_hop.host, settings.next_hop.port), ("192.0.2.25", 24));
    assert_eq!((settings.retry_every_s, settings.expire_after_s), (Some(600), 432_000));
    assert_eq!((settings.channels, settings.max_message_size), (2, 4 << 20));
    assert_eq!(settings.idle_timeout_ms, 300_000);
    assert_eq!(settings.wake_on_lan, Some([2, 0, 0, 0, 0, 10]));
    assert_eq!(settings.failed_to, "ann@client.example");
    assert_eq!(settings.time_server, "time.provider.example");
    assert_eq!(settings.log, Some(Host { name: "192.0.2.9", port: 5514 }));
    let [holder] = settings.holders.as_slice() else { panic!("one holder") };
    assert_eq!(holder.hosts[..], [Host { name: "mx2.provider.example", port: 25 }]);
    assert_eq!((holder.every_s, &holder.names), (1800, &settings.domains));
    assert_eq!((settings.listener, settings.idle_s), (Listener::Always, 60));
    let recipients: Vec<_> = content.recipients().map(String::from_utf8_lossy).collect();
    let expected = ["info@client.example", "john.doe@client.example", "sales@shop.example"];
    assert_eq!(recipients, expected);
    assert_eq!(content.warnings(), []);
}

#[test]
fn the_least_file_takes_what_suits_a_device() {
    let hold = "[hold.\"a.example\"]\nrecipients = \"any\"\ndeliver_to = \"b.example:25\"\n";
    let content = parse(&format!("hostname = \"postern.a.example\"\n{hold}")).expect("sound");
    let settings = content.settings();
    assert_eq!(settings.address, postern_card::settings::Address::Dhcp);
    assert_eq!((settings.channels, settings.max_message_size), (8, 10 << 20));
    assert!(settings.any_recipient && settings.holders.is_empty());
    assert_eq!(content.recipients().len(), 0);
    let warned: Vec<_> = content.warnings().iter().map(|warning| &*warning.key).collect();
    assert_eq!(warned, ["hold.\"a.example\".recipients", "hold.\"a.example\".etrn_from"]);
    let small = CardContent::parse(Path::new(FILE), SOUND, 16 << 20).expect("sound");
    assert_eq!(small.settings().max_message_size, 4 << 20);
}

#[test]
fn whatever_a_device_cannot_do_is_named_with_its_line_at_once() {
    let source = r#"hostnam = "a.example"
[receive]
tls = "self-signed"
max_recipients = 500
channels_per_address = 2
[spool]
path = "/var/spool/postern"
[release]
connections = 4
[control]
listen = "/run/postern/control"
[log]
format = "json"
level = "loud"
"#;
    let leave_out = |key: &str, why: &str| format!("{key}: {why}: leave it out");
    let expected = [
        (1, "hostnam: unknown key; did you mean \"hostname\"?".to_owned()),
        (3, leave_out("receive.tls", "a device offers no STARTTLS")),
        (4, leave_out("receive.max_recipients", "a device takes as many as it was built for")),
        (5, leave_out("receive.channels_per_address", "a device gives two to one address")),
        (
            7,
            leave_out(
                "spool.path",
                "a device keeps its mail on the card, and its memory is counted when it is built",
            ),
        ),
        (9, leave_out("release.connections", "a device delivers over one connection")),
        (11, leave_out("control.listen", "a device has no control API")),
        (13, leave_out("log.format", "a device's log is what it was built with")),
        (14, leave_out("log.level", "a device's log is what it was built with")),
        (
            14,
            "log.level: expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\", \
                found \"loud\""
                .to_owned(),
        ),
    ];
    let expected = expected.map(|(line, problem)| format!("{FILE}:{line}: {problem}"));
    assert_eq!(problems(source), expected);
}

/// `SOUND` with `sound` replaced has one problem, in the line `line`.
fn refused(sound: &str, wrong: &str, line: usize, problem: &str) {
    assert!(SOUND.contains(sound), "{sound}");
    let found = problems(&SOUND.replacen(sound, wrong, 1));
    assert_eq!(found, [format!("{FILE}:{line}: {problem}")], "{wrong}");
}

#[test]
fn a_device_receives_within_its_limits() {
    refused("channels = 2", "channels = 9", 5, "receive.channels: a device has 8 at most");
    let deaf = parse(&SOUND.replace("channels = 2", "channels = 0")).expect("nothing listens");
    assert_eq!(deaf.settings().channels, 0);
    let listen = "receive.listen: a device listens on port 25 of its address: leave it out";
    for wrong in ["listen = [\"192.0.2.7:25\"]", "listen = [\"[::]:2525\"]", "listen = []"] {
        refused("channels = 2", wrong, 5, listen);
    }
    for (name, listener) in [
        ("always", Listener::Always),
        ("scheduled", Listener::Scheduled),
        ("on-link", Listener::OnLink),
        ("off", Listener::Off),
    ] {
        let keys = format!("listener = {name:?}\nidle = \"20s\"\nwait = \"2m\"");
        let content = parse(&SOUND.replace("channels = 2", &keys)).expect("a device does it");
        let settings = content.settings();
        assert_eq!((settings.listener, settings.idle_s, settings.wait_s), (listener, 20, 120));
    }
    let long = "receive.idle_timeout: is longer than a device can count: 49 days";
    refused("channels = 2", "idle_timeout = \"50d\"", 5, long);
    let large = "receive.max_message_size: is more than a quarter of this card; \
        write \"16384 KiB\"";
    refused("4 MiB", "17 MiB", 6, large);
    let same = "listen = [\"0.0.0.0:25\"]\nlistener = \"always\"";
    parse(&SOUND.replace("channels = 2", same)).expect("that is what a device does");
}

#[test]
fn mailers_on_appletalk_find_a_device_by_its_names() {
    const BEFORE: &str = "[hold.\"client.example\"]";
    let with = |keys: &str| format!("[receive.appletalk]\n{keys}\n{BEFORE}");
    let content = |keys: &str| parse(&SOUND.replace(BEFORE, &with(keys))).expect("it does it");
    let plain = content("");
    let names = ["postern:SMTP@*".as_bytes()].into_iter().collect();
    assert_eq!(plain.settings().appletalk, Some(AppleTalk { channels: 1, names }));
    let warned = plain.warnings().iter().map(ToString::to_string).collect::<String>();
    assert!(warned.contains("whoever is on its network may send to held domains"), "{warned}");
    let named = content("channels = 1\nnames = [\"Bär:MAIL\", \"host:SMTP@*\"]");
    let names = [&b"B\x8ar:MAIL@*"[..], b"postern:SMTP@*"].into_iter().collect();
    assert_eq!(named.settings().appletalk, Some(AppleTalk { channels: 1, names }));
    assert_eq!(content("channels = 0").settings().appletalk, None);
    let own = "a device takes mail for its own domains only: leave it out";
    let network = "a device has one network, and the group is joined there: leave it out";
    for (keys, problem) in [
        ("channels = 2", "channels: a device has 1".to_owned()),
        ("interface = \"eth0\"", format!("interface: {network}")),
        ("submission = true", format!("submission: {own}")),
        ("link = \"ethertalk\"", "link: a device speaks \"ltoudp\" only".to_owned()),
    ] {
        refused(BEFORE, &with(keys), 9, &format!("receive.appletalk.{problem}"));
    }
}

#[test]
fn a_device_asks_in_its_windows() {
    let windows = |list: &str| format!("{SOUND}\n[link]\nschedule = {list}\n{BERLIN}");
    let content = parse(&windows("[\"mon-fri 07:00-19:00\", \"sat 22-2\"]")).expect("sound");
    let schedule = content.settings().schedule.expect("there is one");
    assert_eq!(schedule.zone, "CET-1CEST,M3.5.0,M10.5.0/3");
    let weekdays = Window { days: 0b011_1110, from_min: 420, until_min: 1_140 };
    let night = Window { days: 0b100_0000, from_min: 1_320, until_min: 120 };
    assert_eq!(&schedule.windows[..], [weekdays, night]);
    let never = parse(&windows("[]")).expect("sound");
    let never = never.settings().schedule.expect("there is one");
    assert_eq!(&never.windows[..], []);
    assert_eq!(parse(SOUND).expect("sound").settings().schedule, None);

    let nine = windows(&format!("[{}]", ["\"7-8\""; 9].join(", ")));
    let expected = "postern.toml:33: link.schedule: a device has place for 8";
    assert_eq!(problems(&nine), [expected]);
    let timeless = windows("[\"7-8\"]").replace("time_server", "# time_server");
    let expected = "postern.toml:33: link.schedule: needs device.time_server: a device has no \
        clock of its own";
    assert_eq!(problems(&timeless), [expected]);
    let raised = format!("{SOUND}\n[link]\nkind = \"command\"\nup = [\"/bin/true\"]");
    let why = "a device's link is its network, which somebody else raises: leave it out";
    let expected = [("33", "kind"), ("34", "up")]
        .map(|(line, key)| format!("{FILE}:{line}: link.{key}: {why}"));
    assert_eq!(problems(&raised), expected);
}

#[test]
fn a_device_has_one_queue() {
    let differs = "and that of hold.\"client.example\" differs";
    let shop = |key: &str, why: &str| format!("hold.\"shop.example\".{key}: {why}, {differs}");
    let to = "etrn_from = [\"192.0.2.0/24\"]\nretry_every = \"10m\"\n\n[device]";
    for (sound, wrong, line, key, why) in [
        (
            "[\"sales@shop.example\"]",
            "\"any\"",
            16,
            "recipients",
            "a device takes any recipient in \
            all its domains or in none",
        ),
        (
            to,
            &to.replace("192.0.2.0", "198.51.100.0"),
            18,
            "etrn_from",
            "who may ask a device for \
            its mail gets that of all domains",
        ),
        (to, &to.replace("10m", "never"), 19, "retry_every", "a device has one queue"),
        (to, &to.replace("retry_every = \"10m\"", ""), 15, "retry_every", "a device has one queue"),
        (
            to,
            &to.replace("\n\n", "\nexpire_after = \"1d\"\n"),
            20,
            "expire_after",
            "a device has \
            one queue",
        ),
        (
            &format!("lmtp://192.0.2.25:24\"\n{to}"),
            &format!("192.0.2.25:24\"\n{to}"),
            17,
            "deliver_to",
            "a device passes all its mail to one host",
        ),
    ] {
        refused(sound, wrong, line, &shop(key, why));
    }
}

#[test]
fn lists_and_names_have_their_limits() {
    let nobody = "hold.\"client.example\".recipients: \"müller\" is no local part of at most 64 \
        ASCII characters";
    refused("\"info\"", "\"müller\"", 9, nobody);
    let names = "\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"";
    let ninth = "hold.\"client.example\".etrn_names: \"home.client.example\" is one too many: a \
        device knows 8";
    refused("\"home.", &format!("{names}, \"home."), 12, ninth);
    let etrn = "etrn = \"mx2.provider.example\"";
    let wakeup = format!("{etrn}\nnames = [{names}, \"i\"]");
    refused(etrn, &wakeup, 31, "wakeup.names: a device has place for 8");
    let long = "wakeup.every: is longer than a device can count: 136 years";
    refused(etrn, &format!("{etrn}\nevery = \"7200w\""), 31, long);
    let (_, shop) = SOUND.split_once("[hold.\"shop").expect("it is there");
    let (shop, _) = shop.split_once("\n\n").expect("it ends with an empty line");
    let hold = |letter: &str| format!("[hold.\"{letter}{}", shop.replace("shop", letter));
    let more: Vec<_> = ["t", "u", "v", "w", "x", "y", "z"].map(hold).into();
    let found = problems(&format!("{SOUND}{}\n", more.join("\n")));
    let expected = "postern.toml:61: hold.\"z.example\": is one too many: a device holds 8 domains";
    assert_eq!(found, [expected]);
}

#[test]
fn a_device_asks_four_holders_by_four_names_each() {
    let one = "etrn = \"mx2.provider.example\"";
    let names = |count: usize| {
        let names = (1..=count).map(|number| format!("\"mx{number}.example:2525\""));
        format!("etrn = [{}]", names.collect::<Vec<_>>().join(", "))
    };
    let by_four = parse(&SOUND.replace(one, &names(4))).expect("they have place");
    let settings = by_four.settings();
    assert_eq!(settings.holders[0].hosts.len(), 4);
    assert_eq!(settings.holders[0].hosts[3], Host { name: "mx4.example", port: 2525 });
    let problem = "wakeup.etrn: a device knows a holder by 4 names at most";
    refused(one, &names(5), 30, problem);
    let several = |count: usize| {
        let others =
            (1..count).map(|number| format!("[[wakeup]]\netrn = \"mx{number}.example\"\n"));
        SOUND.replace("[wakeup]", "[[wakeup]]") + &others.collect::<String>()
    };
    assert_eq!(parse(&several(1)).expect("a list of one is one").settings().holders.len(), 1);
    let content = parse(&several(4)).expect("they have place");
    let hosts: Vec<_> = content.settings().holders.iter().map(|it| it.hosts[0].name).collect();
    assert_eq!(hosts, ["mx2.provider.example", "mx1.example", "mx2.example", "mx3.example"]);
    let too_many = format!("{FILE}:29: wakeup: a device asks 4 holders at most");
    assert_eq!(problems(&several(5)), [too_many]);
}

#[test]
fn a_device_wakes_a_holder_by_email() {
    let one = "etrn = \"mx2.provider.example\"";
    let email = "email = \"wake@provider.example\"\nemail_host = \"mx2.provider.example:2525\"";
    let way = |source: &str| {
        let content = parse(&SOUND.replace(one, source)).expect("sound");
        let [holder] = &content.settings().holders[..] else { panic!("one holder") };
        assert_eq!(holder.hosts[..], [Host { name: "mx2.provider.example", port: 2525 }]);
        let Way::Email { to, from } = holder.way else { panic!("{:?}", holder.way) };
        (to.to_owned(), from.to_owned())
    };
    assert_eq!(way(email), ("wake@provider.example".to_owned(), String::new()));
    let from = format!("{email}\nemail_from = \"box@client.example\"");
    assert_eq!(way(&from).1, "box@client.example");
    let six = email.replace("mx2.provider.example", "[2001:db8::1]");
    refused(one, &six, 31, "wakeup.email_host: a device speaks IPv4 only");
}

#[test]
fn a_device_fetches_in_clear_and_is_told_what_that_takes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret pass\n").expect("a file");
    let mode = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode));
    mode(0o600).expect("it is ours");
    let one = "etrn = \"mx2.provider.example\"";
    let atrn = format!("atrn = \"mx2.provider.example\"\nuser = \"ann\"\npassword_file = {file:?}");
    let content = parse(&SOUND.replace(one, &atrn)).expect("sound");
    let [holder] = &content.settings().holders[..] else { panic!("one holder") };
    assert_eq!(holder.hosts[..], [Host { name: "mx2.provider.example", port: 366 }]);
    assert_eq!(holder.way, Way::Atrn { user: "ann", password: "s3cret pass" });
    assert!(holder.names.is_empty(), "all that the user may have");
    let warned: Vec<_> = content.warnings().iter().map(ToString::to_string).collect();
    assert!(warned.iter().any(|warning| warning.contains("clear_from")), "{warned:?}");
    let tls = |tls: &str| format!("{atrn}\ntls = \"{tls}\"");
    assert!(parse(&SOUND.replace(one, &tls("opportunistic"))).is_ok());
    let none = "wakeup.tls: a device has no TLS: write \"opportunistic\", or leave it out";
    refused(one, &tls("verified"), 33, none);
    let long = [&"a".repeat(60)[..]; 3].join(".");
    let names = format!("{atrn}\nnames = [\"a.{long}\", \"b.{long}\", \"c.{long}\"]");
    refused(one, &names, 33, "wakeup.names: one ATRN has 500 octets of them at most");
    mode(0o644).expect("it is ours");
    let others = format!(
        "wakeup.password_file: password_file {}: others may use it (mode 0644): chmod 0600 it",
        file.display()
    );
    refused(one, &atrn, 32, &others);
}

#[test]
fn a_device_has_its_place_in_the_network() {
    let gateway = "device.gateway: is not in 192.0.2.0/24";
    refused("\"192.0.2.1\"", "\"198.51.100.1\"", 23, gateway);
    let servers = "\"192.0.2.53\", \"192.0.2.54\", \"192.0.2.55\", \"192.0.2.56\"";
    let asked = "device.dns: a device asks 3 name servers at most";
    refused("\"192.0.2.53\"", servers, 24, asked);
    let six = "device.time_server: a device speaks IPv4 only";
    refused("\"time.provider.example\"", "\"[2001:db8::1]\"", 25, six);
    let six = "device.log: a device speaks IPv4 only";
    refused("udp://192.0.2.9:5514", "udp://[2001:db8::9]:5514", 28, six);
    let dhcp = "with address = \"dhcp\" the DHCP server says it: leave it out";
    let found = problems(&SOUND.replace("\"192.0.2.7/24\"", "\"dhcp\""));
    let expected = [(23, "gateway"), (24, "dns")];
    assert_eq!(found, expected.map(|(line, key)| format!("{FILE}:{line}: device.{key}: {dhcp}")));
    let nobody = "is a name, and device.dns has no server to look it up";
    let found = problems(&SOUND.replace("dns = [\"192.0.2.53\"]", ""));
    let expected = [(25, "device.time_server"), (30, "wakeup.etrn")];
    assert_eq!(found, expected.map(|(line, key)| format!("{FILE}:{line}: {key}: {nobody}")));
}

#[test]
fn a_device_delivers_to_a_host_that_is_named() {
    let line = SOUND.lines().position(|line| line.starts_with("deliver_to")).expect("it is there");
    for (to, reason) in
        [("maildir:/srv/mail", "a device has no Maildir"), ("mx", "a device looks no MX up")]
    {
        let source = SOUND.replace("lmtp://192.0.2.25:24", to);
        let at = format!("{FILE}:{}: hold.\"client.example\".deliver_to", line + 1);
        assert_eq!(problems(&source), [format!("{at}: {reason}: write \"host:port\"")]);
    }
}

#[test]
fn a_device_without_domain_name_or_release_is_none() {
    let found = problems("[device]\n");
    let expected = "postern.toml: hold: is required: a device without a domain takes no mail";
    assert_eq!(found, [expected]);
    let found = problems(&SOUND.replace("hostname", "#hostname"));
    assert_eq!(found, ["postern.toml: hostname: is required: a device has no name of its own"]);
    let never = SOUND.replace("10m", "never").replace("[\"192.0.2.0/24\"]", "[]");
    let expected = "postern.toml:13: hold.\"client.example\".retry_every: is \"never\", and \
        etrn_from is empty: nothing would ever leave";
    assert_eq!(problems(&never), [expected]);
    let six = SOUND.replace("192.0.2.0/24", "2001:db8::/32");
    let expected = "postern.toml:11: hold.\"client.example\".etrn_from: a device speaks IPv4 only";
    assert_eq!(problems(&six), [expected]);
    let label = format!("{0}.{0}.{0}", "a".repeat(63));
    let long = (0..5).map(|n| format!("\"{n}.{label}\"")).collect::<Vec<_>>().join(", ");
    let long = SOUND.replace("\"home.client.example\"", &long);
    let expected = "postern.toml: the names in it are too long for a card's settings";
    assert_eq!(problems(&long), [expected]);
}

/// What this file's tests show of a card; all other keys are refused.
const USED: [&str; 38] = [
    "device.address",
    "device.dns",
    "device.failed_to",
    "device.gateway",
    "device.log",
    "device.time_server",
    "device.wake_on_lan",
    "hold.deliver_to",
    "hold.etrn_from",
    "hold.etrn_names",
    "hold.expire_after",
    "hold.on_refusal",
    "hold.recipients",
    "hold.retry_every",
    "hostname",
    "link.schedule",
    "link.time_zone",
    "postmaster",
    "receive.appletalk.channels",
    "receive.appletalk.link",
    "receive.appletalk.names",
    "receive.channels",
    "receive.idle",
    "receive.idle_timeout",
    "receive.listen",
    "receive.listener",
    "receive.max_message_size",
    "receive.wait",
    "wakeup.atrn",
    "wakeup.email",
    "wakeup.email_from",
    "wakeup.email_host",
    "wakeup.etrn",
    "wakeup.every",
    "wakeup.names",
    "wakeup.password_file",
    "wakeup.tls",
    "wakeup.user",
];

#[test]
fn what_a_hold_has_beyond_a_device_is_refused() {
    for key in UNUSED_IN_HOLDS.map(|(name, _)| name) {
        let source = SOUND.replace("retry_every", &format!("{key} = 1\nretry_every"));
        let found = problems(&source).into_iter().filter(|line| line.ends_with(": leave it out"));
        let of = |line, domain| format!("{FILE}:{line}: hold.\"{domain}.example\".{key}: a device");
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(&of(13, "client")), "{found:?}");
        assert!(found[1].starts_with(&of(20, "shop")), "{found:?}");
    }
}

#[test]
fn every_key_is_a_devices_or_refused() {
    let mut keys = Config::keys();
    let unused = |key: &String| {
        let section = |(section, _): (&str, _)| key.starts_with(&format!("{section}."));
        let in_holds = |(name, _): (&str, _)| *key == format!("hold.{name}");
        UNUSED_KEYS.iter().any(|(name, _)| name == key)
            || UNUSED_IN_HOLDS.into_iter().any(in_holds)
            || UNUSED_SECTIONS.into_iter().any(section)
    };
    keys.retain(|key| USED_KEYS.contains(&key.as_str()) || !unused(key));
    keys.sort();
    assert_eq!(keys, USED);
}
