use super::*;

mod holders;
mod link;
mod readme;
mod relay;

const FILE: &str = "postern.toml";

fn parse(source: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(Path::new(FILE), source)
}

fn problems(source: &str) -> Vec<String> {
    let problems = parse(source).expect_err(source);
    problems.iter().map(ToString::to_string).collect()
}

fn hold(keys: &str) -> String {
    let required = "recipients = [\"info\"]\ndeliver_to = \"mail.client.example:25\"";
    format!("[hold.\"client.example\"]\n{required}\n{keys}\n")
}

#[test]
fn the_whole_file_reads_back_as_the_default() {
    assert_eq!(parse(&default_file()), Ok(Config::default()));
    assert_eq!(parse(""), Ok(Config::default()));
}

#[test]
fn the_whole_file_with_its_examples_is_sound_and_sets_every_key() {
    let switch_on = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example.to_owned(),
        _ => line.to_owned(),
    };
    // A holder is asked in one way: the examples of the others stay off.
    let file = default_file();
    let (before, wakeup) = file.split_once("#[[wakeup]]").expect("the last section");
    let without = |off: &[&str]| -> Config {
        let is_on = |line: &&str| {
            !off.iter().any(|key| line.strip_prefix('#').is_some_and(|line| line.starts_with(key)))
        };
        let wakeup = wakeup.lines().filter(is_on).map(switch_on);
        let all = before.lines().map(switch_on).chain(["[[wakeup]]".to_owned()]).chain(wakeup);
        let source = all.collect::<Vec<_>>().join("\n");
        let read = Config::parse_with(Path::new(FILE), &source, |_, _| {});
        read.expect("the examples are sound").0
    };
    const EMAIL: [&str; 3] = ["email ", "email_host ", "email_from "];
    const ATRN: [&str; 5] = ["atrn ", "user ", "password_file ", "tls ", "tls_ca "];
    let name = |config: &Config| config.wakeup.iter().next().expect("an example").name();
    let config = without(&[&["etrn "], &ATRN[..]].concat());
    assert_eq!(name(&config), "wake-client@mx2.provider.example at mx2.provider.example:25");
    let fetching = without(&[&["etrn "], &EMAIL[..]].concat());
    assert_eq!(name(&fetching), "mx2.provider.example:366");
    let way = &fetching.wakeup.iter().next().expect("an example").way;
    assert!(matches!(way, Way::Atrn(AtrnWay { tls_ca: Some(_), .. })));
    let config = without(&[&EMAIL[..], &ATRN[..]].concat());
    assert_eq!(config.hostname().as_str(), "mx2.provider.example");
    let (domain, hold) = config.held(b"Client.EXAMPLE").expect("the example domain is held");
    assert_eq!(hold.recipients.judge(b"Info", domain, &hold.subaddress), Ok(()));
    assert_eq!(hold.deliver_to.to_string(), "mail.client.example:25");
    assert!(matches!(config.receive.tls, Some(Tls::Files(_))));
    let device = config.device.expect("the example of a device");
    assert!(device.gateway.is_some() && device.wake_on_lan.is_some());
    let wakeup = config.wakeup.iter().next().expect("the example of a holder");
    assert_eq!(wakeup.name(), "mx2.provider.example:25");
}

#[test]
fn what_is_a_devices_is_no_servers() {
    let why = "is a device's, and this server does not use it: take it out, or make the device's \
        card with `postern card create`";
    let found = problems("[device]\naddress = \"dhcp\"\n[wakeup]\n");
    let expected = [
        format!("postern.toml:1: device: {why}"),
        "postern.toml:3: wakeup: asks by nothing: etrn = \"mx2.provider.example\", atrn or email \
            is required"
            .to_owned(),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_holder_is_asked_in_one_way() {
    let email = "[[wakeup]]\nemail = \"null%me.example@Provider.example\"\n\
        email_host = [\"a.example\", \"b.example:2525\"]\n";
    let name = "null%me.example@provider.example at a.example:25, b.example:2525";
    let both = parse(&format!("{email}[[wakeup]]\netrn = \"a.example\"")).expect("sound");
    let names: Vec<_> = both.wakeup.iter().map(Wakeup::name).collect();
    assert_eq!(names, [name, "a.example:25"]);
    let sender = |text: &str| {
        let config = parse(&format!("{email}{text}")).expect("sound");
        let Some(Way::Email(email)) = config.wakeup.iter().next().map(|wakeup| wakeup.way.clone())
        else {
            panic!("it is woken by e-mail");
        };
        email.from.as_str().to_owned()
    };
    assert_eq!(sender(""), "");
    assert_eq!(sender("email_from = \"<>\""), "");
    assert_eq!(sender("email_from = \"me@client.example\""), "me@client.example");
    for (source, expected) in [
        (
            "[[wakeup]]\nevery = \"1h\"",
            "postern.toml:1: wakeup: asks by nothing: etrn = \"mx2.provider.example\", atrn or \
                email is required",
        ),
        (
            &*format!("{email}etrn = \"b.example\""),
            "postern.toml:1: wakeup: has more than one of etrn, atrn and email: write a \
                table for each",
        ),
        (
            "[[wakeup]]\netrn = \"a.example\"\nemail_from = \"<>\"",
            "postern.toml:1: wakeup.email_from: is for email, and this table has none: leave it \
                out",
        ),
        (
            "[[wakeup]]\nemail = \"wake@a.example\"",
            "postern.toml:1: wakeup.email_host: is required with email: email_host = \
                \"mx2.provider.example\"",
        ),
        (
            &*email.replace("null%", "näll%"),
            "postern.toml:2: wakeup.email: expected an address in ASCII, such as \
                \"wake-client@mx2.provider.example\", found \
                \"näll%me.example@Provider.example\"",
        ),
        (
            &*format!("{email}email_from = \"me\""),
            "postern.toml:4: wakeup.email_from: expected \"<>\", or an address in ASCII, such as \
                \"postmaster@client.example\", found \"me\"",
        ),
    ] {
        assert_eq!(problems(source), [expected], "{source}");
    }
}

#[test]
fn every_problem_is_found_at_once_with_its_line() {
    let source = r#"
hostnmae = "mx2.provider.example"
[receive]
channels = "many"
chanels = 7
listen = ["[::]:25", "25", 25]
max_message_size = 50
[spol]
[hold."client.example"]
recipients = "asks"
deliver_to = "mail.client.example"
[hold."-.example"]
recipients = []
"#;
    let expected = [
        "postern.toml:2: hostnmae: unknown key; did you mean \"hostname\"?",
        "postern.toml:4: receive.channels: expected a whole number from 0 to 4294967295, \
            found \"many\"",
        "postern.toml:5: receive.chanels: unknown key; did you mean \"channels\"?",
        "postern.toml:6: receive.listen: expected an address and port such as \"[::]:25\" or \
            \"192.0.2.1:25\", found \"25\"",
        "postern.toml:6: receive.listen: expected an address and port such as \"[::]:25\" or \
            \"192.0.2.1:25\", found the number 25",
        "postern.toml:7: receive.max_message_size: expected a size such as \"50 MiB\" \
            (B, KiB, MiB, GiB, TiB), found the number 50",
        "postern.toml:8: spol: unknown key; did you mean \"spool\"?",
        "postern.toml:10: hold.\"client.example\".recipients: expected a list of addresses or \
            local parts such as [\"info\", \"sales\"], the absolute path of a file with one a \
            line, \"ask\", \"import\", \"any\" or a table with urls, found \"asks\"",
        "postern.toml:11: hold.\"client.example\".deliver_to: expected \"host:port\", \
            \"mx\", \"lmtp://host:port\", \"maildir:/path\" or \"asker\", such as \
            \"mail.client.example:25\" or \"[2001:db8::25]:25\", found \"mail.client.example\"",
        "postern.toml:12: hold.\"-.example\": expected a domain name such as \"client.example\", \
            found \"-.example\"",
        "postern.toml:12: hold.\"-.example\".deliver_to: is required: \
            deliver_to = \"mail.client.example:25\"",
    ];
    assert_eq!(problems(source), expected);
}

#[test]
fn a_wrong_value_is_answered_with_what_to_write() {
    let table = [
        ("receive = 1", "receive: expected a [receive] section, found the number 1"),
        (
            "[receive]\nxyzzy = 1",
            "receive.xyzzy: unknown key; known are listen, channels, \
            channels_per_address, listener, idle, wait, max_message_size, max_recipients, \
            max_errors, idle_timeout, tls, appletalk",
        ),
        (
            "[receive]\nchannels = -1",
            "receive.channels: expected a whole number from 0 to \
            4294967295, found the number -1",
        ),
        (
            "[receive]\nmax_recipients = 99",
            "receive.max_recipients: expected a whole number from \
            100 to 4294967295, found the number 99",
        ),
        (
            "[receive]\nlistener = \"onlink\"",
            "receive.listener: expected \"always\", \"scheduled\", \"on-link\" or \"off\", \
            found \"onlink\"",
        ),
        ("[receive]\nidle_timeout = \"0s\"", "receive.idle_timeout: must be more than 0"),
        (
            "[receive]\nidle_timeout = \"5 M\"",
            "receive.idle_timeout: expected a time such as \
            \"30m\" (s, m, h, d, w), found \"5 M\"",
        ),
        (
            "[receive]\ntls = true",
            "receive.tls: expected \"self-signed\" or { certificate = \
            \"/etc/postern/cert.pem\", key = \"/etc/postern/key.pem\" }, found true",
        ),
        (
            "[receive]\ntls = { certificate = \"/c\" }",
            "receive.tls.key: is required: \
            key = \"/etc/postern/key.pem\"",
        ),
        (
            "[spool]\npath = \"spool\"",
            "spool.path: expected an absolute path such as \
            \"/var/spool/postern\", found \"spool\"",
        ),
        (
            "[spool]\nmemory = \"99999999 TiB\"",
            "spool.memory: expected a size such as \"50 MiB\" \
            (B, KiB, MiB, GiB, TiB), found \"99999999 TiB\"",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "log.level: expected \"error\", \"warn\", \"info\", \
            \"debug\" or \"trace\", found \"loud\"",
        ),
        (
            "hostname = \"mü_ller.example\"",
            "hostname: expected a domain name such as \
            \"client.example\", found \"mü_ller.example\"",
        ),
        (
            "hostname = \"192.0.2.1\"",
            "hostname: expected a domain name such as \
            \"client.example\", found \"192.0.2.1\"",
        ),
    ];
    each_has_its_reason(&table);
}

/// Each source's last line is wrong, for this reason.
fn each_has_its_reason(table: &[(&str, &str)]) {
    for (source, reason) in table {
        let lines = source.lines().count();
        assert_eq!(problems(source), [format!("{FILE}:{lines}: {reason}")], "{source}");
    }
}

#[test]
fn a_value_that_a_server_cannot_run_with_is_a_problem() {
    each_has_its_reason(&[
        ("[spool]\nmemory = \"4095 KiB\"", "spool.memory: must be at least 4 MiB"),
        ("[receive]\nmax_message_size = \"0 B\"", "receive.max_message_size: must be at least 1 B"),
        (
            "[receive]\nlisten = [\"[::1]:25\", \"[::1]:25\"]",
            "receive.listen: \"[::1]:25\" is there twice",
        ),
        (
            "[receive]\nlisten = [\"192.0.2.1:25\", \"[::]:25\"]",
            "receive.listen: \"192.0.2.1:25\" and \"[::]:25\" share a place: leave one out",
        ),
    ]);
}

#[test]
fn a_wrong_value_of_a_device_is_answered_with_what_to_write() {
    let table = [
        (
            "[device]\naddress = \"192.0.2.7\"",
            "device.address: expected \"dhcp\" or an address with its prefix such as \
            \"192.0.2.7/24\", found \"192.0.2.7\"",
        ),
        (
            "[device]\ngateway = \"2001:db8::1\"",
            "device.gateway: expected an IPv4 address such as \"192.0.2.1\", found \"2001:db8::1\"",
        ),
        (
            "[device]\nwake_on_lan = \"02:00:00:00:00:+1\"",
            "device.wake_on_lan: expected a hardware address such as \"02:00:00:00:00:01\", \
            found \"02:00:00:00:00:+1\"",
        ),
        (
            "[device]\ntime_server = \"a b\"",
            "device.time_server: expected a name or address such as \"mail.client.example\", \
            found \"a b\"",
        ),
        (
            "[device]\nlog = \"192.0.2.9:5514\"",
            "device.log: expected \"udp://host:port\" such as \"udp://192.0.2.9:5514\", found \
            \"192.0.2.9:5514\"",
        ),
        (
            "[wakeup]\netrn = \"mx2.provider.example:0\"",
            "wakeup.etrn: expected \"host\" or \"host:port\", such as \"mx2.provider.example\", \
            found \"mx2.provider.example:0\"",
        ),
    ];
    for (source, reason) in table {
        let read = Config::parse_with(Path::new(FILE), source, |_, _| {});
        let found: Vec<_> =
            read.expect_err(source).iter().map(|problem| problem.to_string()).collect();
        assert_eq!(found, [format!("{FILE}:2: {reason}")], "{source}");
    }
}

#[test]
fn a_wrong_value_in_a_hold_is_answered_with_what_to_write() {
    let table = [
        (
            "on_refusal = \"bounce\"",
            "on_refusal: \"bounce\" is not in this version: write \"keep\"",
        ),
        (
            "retry_every = \"soon\"",
            "retry_every: expected a time such as \"30m\" \
            (s, m, h, d, w), or \"never\", found \"soon\"",
        ),
        (
            "etrn_from = \"192.0.2.0/24\"",
            "etrn_from: expected a list, each a network or address \
            such as \"192.0.2.0/24\", or \"authenticated\"; found \"192.0.2.0/24\"",
        ),
        (
            "xyzzy = \"wake\"",
            "xyzzy: unknown key; known are recipients, when_away, deliver_to, private_mx, \
            maildir_mode, maildir_group, wake_on_lan, wake_to, wake_at_most, wake_patience, \
            etrn_from, etrn_names, release_on_connect, wakeup_address, wakeup_from, wakeup_token, \
            retry_every, expire_after, on_refusal, kept_for, quota, subaddress, smtputf8",
        ),
        (
            "wakeup_address = \"wake\"",
            "wakeup_address: expected an address such as \
            \"wake-client@mx2.provider.example\", found \"wake\"",
        ),
        (
            "kept_for = \"ever\"",
            "kept_for: expected a time such as \"30m\" (s, m, h, d, w), or \"never\", \
            found \"ever\"",
        ),
        (
            "subaddress = \"+%\"",
            "subaddress: expected characters of #$&'*+-/=?^_`{|}~, such as \"+\", or \"\", \
            found \"+%\"",
        ),
        ("smtputf8 = \"yes\"", "smtputf8: expected true, false or \"auto\", found \"yes\""),
    ];
    for (keys, reason) in table {
        let expected = format!("{FILE}:4: hold.\"client.example\".{reason}");
        assert_eq!(problems(&hold(keys)), [expected], "{keys}");
    }
}

#[test]
fn listeners_that_share_no_place_are_sound() {
    for listen in [
        "[\"0.0.0.0:0\", \"0.0.0.0:0\"]",
        "[\"192.0.2.1:25\", \"192.0.2.2:25\", \"[::]:26\"]",
        "[\"0.0.0.0:25\", \"[2001:db8::1]:25\"]",
    ] {
        assert!(parse(&format!("[receive]\nlisten = {listen}")).is_ok(), "{listen}");
    }
}

#[test]
fn one_domain_in_two_spellings_is_a_problem() {
    let twice = format!("{}{}", hold(""), hold("").replace("client", "CLIENT"));
    let expected = "postern.toml:5: hold.\"CLIENT.example\": is there twice";
    assert_eq!(problems(&twice), [expected]);
    let idn = hold("").replace("client.example\"]", "bücher.example\"]");
    let twice = format!("{idn}{}", idn.replace("bücher", "xn--bcher-kva"));
    let expected = "postern.toml:5: hold.\"xn--bcher-kva.example\": is there twice";
    assert_eq!(problems(&twice), [expected]);
}

#[test]
fn a_syntax_error_names_its_line() {
    let found = problems("hostname = \"mx2\"\n[receive\n");
    assert!(found[0].starts_with("postern.toml:2: "), "{found:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Path::new("/nonexistent/postern.toml");
    let found = Config::load(missing).expect_err("no such file");
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("/nonexistent/postern.toml: cannot be read: "));
    let absent = hold("").replace("[\"info\"]", "\"/nonexistent/recipients\"");
    let expected = "postern.toml:2: hold.\"client.example\".recipients: /nonexistent/recipients: ";
    assert!(problems(&absent)[0].starts_with(expected));
}

#[test]
fn a_file_of_recipients_is_read_once_for_all_domains() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recipients");
    std::fs::write(&path, "info\ninfo@b.example\n").expect("a file");
    let both = hold("") + &hold("").replace("client", "other");
    let source = both.replace("[\"info\"]", &format!("{path:?}"));
    let config = parse(&source).expect("sound");
    let sets: Vec<_> = config.hold.values().map(|hold| &hold.recipients).collect();
    let [Recipients::File(_, one), Recipients::File(_, two)] = sets[..] else { panic!("{sets:?}") };
    assert!(std::sync::Arc::ptr_eq(one, two));
    std::fs::write(&path, "info\ntwo words\n").expect("a file");
    let wrong = "hold.\"client.example\".recipients";
    let line = "line 2: \"two words\" is neither an address nor a local part";
    let expected = format!("postern.toml:2: {wrong}: {}: {line}", path.display());
    assert_eq!(problems(&source), [expected]);
}

#[test]
fn a_question_to_a_server_needs_its_socket_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("postern.toml");
    let ask = |source: &str| {
        std::fs::write(&file, source).expect("a file");
        Config::control_socket(&file).map_err(|problems| problems[0].reason.clone())
    };
    let socket = "[control]\nlisten = \"/run/c\"\n";
    let elsewhere = format!("[hold.\"x\"]\nrecipients = \"/nonexistent\"\nxyzzy = 1\n{socket}");
    assert_eq!(ask(&elsewhere), Ok(PathBuf::from("/run/c")));
    assert_eq!(ask(&format!("{socket}[hold.\nx = =")), Ok(PathBuf::from("/run/c")));
    assert_eq!(ask("hostname = \"mx2\""), Ok(PathBuf::from("/run/postern/control")));
    for source in [
        "hostname = \"mx2",
        "[receive\n",
        "[control]\nlisten =\n",
        "[control]\nlisten = 1",
        "control = 1",
    ] {
        assert!(ask(source).is_err(), "{source}");
    }
}

#[test]
fn destinations_are_read_and_shown_alike() {
    for text in [
        "mail.client.example:25",
        "192.0.2.1:2525",
        "lmtp://[2001:db8::1]:24",
        "maildir:/srv/mail/{user}/Maildir",
        "asker",
        "mx",
    ] {
        let source = hold("").replace("mail.client.example:25", text);
        let config = parse(&source).expect(text);
        assert_eq!(config.hold["client.example"].deliver_to.to_string(), text);
    }
}

#[test]
fn each_recipient_of_a_domain_with_user_has_a_folder() {
    let source = |recipients: &str| {
        format!(
            "[hold.\"client.example\"]\nrecipients = {recipients}\n\
             deliver_to = \"maildir:/srv/mail/{{user}}\"\n"
        )
    };
    let other = "[\"info\", \"Ann+dev@client.example\", \"jörg@other.example\"]";
    assert!(parse(&source(other)).is_ok(), "another domain's recipients have no folder here");
    let key = format!("{FILE}:3: hold.\"client.example\".deliver_to");
    let why = "can be no folder for \"{user}\": up to 64 of a-z, 0-9, \".\", \"_\", \"=\" and \
        \"-\", no \".\" first";
    let expected = [format!("{key}: \".ann\" {why}"), format!("{key}: \"jörg\" {why}")];
    assert_eq!(problems(&source("[\"jörg\", \"info\", \".ann\"]")), expected);
    let expected = format!("{key}: \"{{user}}\" wants recipients that are listed, or in a file");
    assert_eq!(problems(&source("\"any\"")), [expected]);
}

#[test]
fn a_maildirs_keys_are_for_a_maildir_and_a_hosts_for_a_host() {
    let keys = "etrn_from = [\"192.0.2.0/24\"]\nmaildir_mode = \"0640\"\n\
        wake_on_lan = \"02:00:00:00:00:01\"";
    let warned = |source: &str| {
        let found = parse(source).expect("sound").warnings(Path::new(FILE));
        found.into_iter().map(|warning| warning.key).collect::<Vec<_>>()
    };
    let source = format!("hostname = \"mx2.example\"\n{}", hold(keys));
    assert_eq!(warned(&source), ["hold.\"client.example\".maildir_mode"]);
    let source = source.replace("mail.client.example:25", "maildir:/srv/mail");
    assert_eq!(warned(&source), ["hold.\"client.example\".wake_on_lan"]);
}

#[test]
fn a_folded_network_is_the_ipv4_network() {
    let source = hold("etrn_from = [\"::ffff:192.0.2.9/120\", \"192.0.2.7\", \"2001:db8::/32\"]");
    let config = parse(&source).expect("sound");
    let nets: Vec<_> =
        config.hold["client.example"].etrn_networks().map(ToString::to_string).collect();
    assert_eq!(nets, ["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32"]);
}

#[test]
fn what_works_but_hurts_is_a_warning() {
    let source = "hostname = \"mx\"\n[receive]\nchannels = 0\nlistener = \"off\"\nlisten = []\n";
    let hold = "[hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"h.example:25\"\n\
        retry_every = \"never\"\nquota = \"1 MiB\"\n\
        [hold.\"b.example\"]\nrecipients = []\ndeliver_to = \"h:25\"\n";
    let config = parse(&format!("{source}{hold}")).expect("sound");
    let found = config.warnings(Path::new(FILE));
    let keys: Vec<_> = found.iter().map(|warning| warning.key.as_str()).collect();
    let expected = [
        "hostname",
        "receive.channels",
        "receive.listener",
        "receive.listen",
        "hold.\"b.example\".recipients",
        "hold.\"b.example\".etrn_from",
        "hold.\"client.example\".recipients",
        "hold.\"client.example\".etrn_from",
        "hold.\"client.example\".quota",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_domain_that_is_delivered_to_ourselves_is_a_warning() {
    let listen = "hostname = \"mx2.example\"\n[receive]\nlisten = [\"192.0.2.1:25\"]\n";
    let keys = "etrn_from = [\"192.0.2.0/24\"]";
    for (place, warned) in
        [("192.0.2.1:25", true), ("MX2.example:25", true), ("192.0.2.1:2525", false)]
    {
        let hold = hold(keys).replace("mail.client.example:25", place);
        let config = parse(&format!("{listen}{hold}")).expect("sound");
        assert_eq!(!config.warnings(Path::new(FILE)).is_empty(), warned, "{place}");
    }
}

#[test]
fn asking_without_listening_and_listening_without_asking_are_warnings() {
    let asks = "[wakeup]\netrn = \"mx2.provider.example\"\n";
    let warned = |receive: &str, rest: &str| -> Vec<String> {
        let source = format!("hostname = \"home.example\"\n[receive]\n{receive}\n{rest}");
        let found = parse(&source).expect("sound").warnings(Path::new(FILE));
        let keys = found.into_iter().map(|warning| warning.key);
        keys.filter(|key| !key.starts_with("hold")).collect()
    };
    let holds = hold("");
    assert_eq!(warned("listener = \"scheduled\"", &format!("{holds}{asks}")), [""; 0]);
    assert_eq!(warned("listener = \"scheduled\"", &holds), ["receive.listener"]);
    let off = ["receive.listener", "wakeup"];
    assert_eq!(warned("listener = \"off\"", &format!("{holds}{asks}")), off);
    let none = ["receive.channels", "wakeup"];
    assert_eq!(warned("channels = 0", &format!("{holds}{asks}")), none);
    assert_eq!(warned("", asks), ["wakeup.names"]);
    let fetches = "[[wakeup]]\natrn = \"p.example\"\nuser = \"ann\"\npassword_file = \"/p\"\n";
    let off = warned("listener = \"off\"", &format!("{holds}{fetches}"));
    assert!(!off.contains(&"receive.listener".to_owned()), "it is right so: {off:?}");
}

#[test]
fn a_wake_up_address_that_nobody_reaches_is_a_warning() {
    let address = "wakeup_address = \"wake@mx2.example\"";
    let token = "wakeup_token = \"k7v2p9x4m1q8c5z3\"";
    for (keys, warned) in [
        (address.to_owned(), &["wakeup_address"][..]),
        (format!("{address}\nwakeup_from = [\"192.0.2.0/24\"]"), &[]),
        (format!("{address}\n{token}"), &[]),
        (token.to_owned(), &["etrn_from", "wakeup_token"]),
        (format!("{address}\nwakeup_from = [\"0.0.0.0/0\"]"), &["wakeup_from"]),
    ] {
        let config = parse(&format!("hostname = \"mx2.example\"\n{}", hold(&keys)));
        let found = config.expect("sound").warnings(Path::new(FILE));
        let found: Vec<_> = found.iter().map(|warning| warning.key.clone()).collect();
        let expected: Vec<_> =
            warned.iter().map(|key| format!("hold.\"client.example\".{key}")).collect();
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn a_careful_configuration_has_no_warning() {
    let source = format!("hostname = \"mx2.example\"\n{}", hold("etrn_from = [\"192.0.2.0/24\"]"));
    let config = parse(&source).expect("sound");
    assert_eq!(config.warnings(Path::new(FILE)), []);
}

#[test]
fn atrn_listens_where_it_can_be_used() {
    let config = parse("").expect("sound");
    assert_eq!(config.atrn, None);
    let atrn = |keys: &str| parse(&format!("hostname = \"mx2.example\"\n[atrn]\n{keys}"));
    let config = atrn("").expect("sound");
    let listen = &config.atrn.as_ref().expect("it is there").listen;
    assert_eq!(listen[..], [], "ETRN has a place already");
    let warned = config.warnings(Path::new(FILE));
    assert!(warned.iter().any(|warning| warning.key == "atrn.clear_from"), "{warned:?}");
    for (keys, reason) in [
        ("listen = [\"[::]:25\"]", "atrn.listen: \"[::]:25\" is there twice"),
        (
            "listen_tls = [\"192.0.2.1:366\"]\nlisten = [\"[::]:366\"]",
            "atrn.listen_tls: \"[::]:366\" and \"192.0.2.1:366\" share a place: leave one out",
        ),
        (
            "listen_tls = [\"[::]:3366\"]",
            "atrn.listen_tls: needs a certificate: receive.tls = \"self-signed\", or files",
        ),
    ] {
        let found = atrn(keys).expect_err(keys);
        assert_eq!(found[0].to_string(), format!("{FILE}:3: {reason}"));
    }
}

#[test]
fn who_has_authenticated_may_ask_beside_networks() {
    let source = hold("etrn_from = [\"authenticated\", \"192.0.2.7\"]");
    let config = parse(&source).expect("sound");
    let hold = &config.hold["client.example"];
    assert!(hold.etrn_authenticated());
    assert_eq!(hold.etrn_networks().count(), 1);
    let warned = config.warnings(Path::new(FILE));
    assert!(warned.iter().any(|warning| warning.key.ends_with("etrn_from")), "{warned:?}");
}

/// It releases a domain, and is not delivered.
#[test]
fn a_recipient_is_no_wake_up_address() {
    let held = |recipients: &str, address: &str| {
        let keys = "deliver_to = \"mail.client.example:25\"\nwakeup_from = [\"192.0.2.7\"]";
        let keys = format!("recipients = {recipients}\n{keys}");
        let other = format!("[hold.\"b.example\"]\n{keys}\nwakeup_address = \"{address}\"");
        parse(&format!("hostname = \"mx2.example\"\n[hold.\"a.example\"]\n{keys}\n{other}"))
    };
    for address in ["info@a.example", "INFO@b.example"] {
        let found = held("[\"Info\"]", address).expect_err(address);
        let (_, at) = address.split_once('@').expect("an address");
        let reason = format!("is a recipient of {at}, who would miss mail: write another");
        let key = "hold.\"b.example\".wakeup_address";
        assert_eq!(found[0].to_string(), format!("{FILE}:10: {key}: {reason}"));
    }
    for address in ["wake@a.example", "info@mx2.example", "info+wake@a.example"] {
        assert!(held("[\"Info\"]", address).is_ok(), "{address}");
    }
    assert!(held("\"any\"", "wake@a.example").is_ok(), "whoever is not listed is nobody known");
}

#[test]
fn mail_that_is_fetched_has_no_other_trigger() {
    let fetched = |rest: &str| {
        let hold = "[hold.\"client.example\"]\nrecipients = \"any\"\ndeliver_to = \"asker\"";
        parse(&format!("hostname = \"mx2.example\"\n{hold}\n{rest}"))
    };
    for key in [
        "retry_every = \"1h\"",
        "release_on_connect = [\"192.0.2.7\"]",
        "wake_on_lan = \"02:00:00:00:00:01\"",
        "wakeup_address = \"wake@mx2.example\"",
    ] {
        let found = fetched(key).expect_err(key);
        let name = key.split(' ').next().unwrap_or_default();
        let reason = "does nothing where deliver_to is \"asker\": take it out";
        let key = format!("hold.\"client.example\".{name}");
        assert_eq!(found[0].to_string(), format!("{FILE}:5: {key}: {reason}"));
    }
    let warned = |rest: &str| {
        let warnings = fetched(rest).expect("sound").warnings(Path::new(FILE));
        let of_hold = |key: &str| key.starts_with("hold.") && !key.ends_with("recipients");
        let of_hold = warnings.into_iter().filter(|warning| of_hold(&warning.key));
        of_hold.map(|warning| warning.reason).collect::<Vec<_>>()
    };
    let nowhere = "is \"asker\", and there is no [atrn] at which it could be fetched";
    assert_eq!(warned(""), [nowhere]);
    let nowhere = "is \"asker\", and atrn.listen and listen_tls are empty: it cannot be fetched";
    assert_eq!(warned("[atrn]\nclear_from = [\"192.0.2.7\"]"), [nowhere]);
    let somewhere = "[atrn]\nlisten = [\"[::]:366\"]\nclear_from = [\"192.0.2.7\"]";
    assert_eq!(warned(somewhere), [""; 0]);
    let networks = format!("etrn_from = [\"192.0.2.7\"]\n{somewhere}");
    let none = "has networks, and deliver_to is \"asker\": they release nothing";
    assert_eq!(warned(&networks), [none]);
    // By ETRN behind AUTH it is delivered, and need not be fetched.
    assert_eq!(
        warned("etrn_from = [\"authenticated\"]\n[receive]\ntls = \"self-signed\""),
        [""; 0]
    );
}
