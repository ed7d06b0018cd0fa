//! The command parser: what is well formed is taken and means what was written, and a stranger
//! reads it the same.

mod disagreements;
mod meaning;
mod strategies;

use std::collections::BTreeSet;

use disagreements::{STRICTER, WIDER};
use meaning::{is_known, ours, theirs};
use postern_core::wire::ehlo::{Extension, Extensions};
use postern_core::wire::params::{MailParams, ParamFault};
use postern_core::wire::path::{ForwardPath, ReversePath, parse_forward, parse_reverse};
use postern_tests::dialogue::{Step, all};
use proptest::prelude::*;
use strategies::{command, damaged, mail_parameters, mailbox, route};

/// Lines beyond this are made of repeated letters, which is no matter of grammar.
const MAX_COLUMNS: usize = 90;

/// Every line that a client sends in the dialogues, message text too.
fn lines() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for script in all() {
        for step in &script.steps {
            let Step::Send(octets) = step else { continue };
            let text = String::from_utf8_lossy(octets);
            lines.extend(text.split("\r\n").map(str::to_owned));
        }
    }
    lines.retain(|line| {
        line.len() <= MAX_COLUMNS && !line.contains("xxxx") && !line.contains("yyyy")
    });
    lines
}

#[test]
fn smtp_proto_agrees_but_where_it_is_said() {
    let listed = |table: &[(&str, &'static [&'static str])]| -> BTreeSet<&'static str> {
        table.iter().flat_map(|(_, lines)| lines.iter().copied()).collect()
    };
    let (stricter, wider) = (listed(STRICTER), listed(WIDER));
    let lines = lines();
    let mut faults = Vec::new();
    for line in &lines {
        let (we, they) = (ours(line.as_bytes()), theirs(line.as_bytes()));
        let agreed = match (&we, &they) {
            _ if stricter.contains(line.as_str()) => we.is_none() && they.is_some(),
            _ if wider.contains(line.as_str()) => we.is_some() && we != they,
            _ => we == they,
        };
        if !agreed {
            faults.push(format!("{line:?}: we read {we:?}, smtp-proto {they:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for line in stricter.union(&wider) {
        assert!(lines.contains(*line), "{line:?} is in no dialogue");
    }
    let commands = lines.iter().filter(|line| is_known(line.as_bytes())).count();
    assert!(commands >= 150, "only {commands} lines are commands");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 1000,
        ..Default::default()
    })]

    #[test]
    fn a_well_formed_path_is_taken_as_it_was_written(
        (local_part, domain) in mailbox(), route in route(), behind in "( [A-Z=]{0,9})?",
    ) {
        let mailbox = format!("{local_part}@{domain}");
        let input = format!("<{route}{mailbox}>{behind}");
        prop_assume!(input.len() - behind.len() <= 256);
        let (path, rest) = parse_reverse(input.as_bytes()).expect("well formed");
        prop_assert_eq!((path.as_bytes(), rest), (mailbox.as_bytes(), behind.as_bytes()));
        let ReversePath::Mailbox(parsed) = path else { panic!("not the null reverse-path") };
        prop_assert_eq!(parsed.local_part(), local_part.as_bytes());
        prop_assert_eq!(parsed.domain(), domain.as_bytes());
        let (path, _) = parse_forward(input.as_bytes()).expect("well formed");
        prop_assert!(matches!(path, ForwardPath::Mailbox(same) if same == parsed));
    }

    #[test]
    fn what_is_taken_as_a_path_is_one_again(input in "<[a@.\"\\\\ :,\\[\\]>-]{0,12}>") {
        if let Some((path, _)) = parse_reverse(input.as_bytes()) {
            let again = [b"<", path.as_bytes(), b">"].concat();
            prop_assert_eq!(parse_reverse(&again), Some((path, &b""[..])));
        }
    }

    #[test]
    fn parameters_mean_what_was_written((text, meant) in mail_parameters()) {
        let offered = Extensions::NONE
            .with(Extension::Size)
            .with(Extension::EightBitMime)
            .with(Extension::SmtpUtf8)
            .with(Extension::Dsn);
        let params = MailParams::parse(text.as_bytes(), offered).expect("well formed");
        prop_assert_eq!(params.size, meant.size);
        prop_assert_eq!((params.body, params.ret), (meant.body, meant.ret));
        prop_assert_eq!(params.smtputf8, meant.smtputf8);
        prop_assert_eq!(params.envid, meant.envid.as_deref().map(str::as_bytes));
        let refused = MailParams::parse(text.as_bytes(), Extensions::NONE);
        prop_assert_eq!(refused.err(), (!text.is_empty()).then_some(ParamFault::Unknown));
        let twice = format!("{text}{text}");
        let refused = MailParams::parse(twice.as_bytes(), offered);
        prop_assert_eq!(refused.err(), (!text.is_empty()).then_some(ParamFault::Malformed));
    }

    #[test]
    fn smtp_proto_reads_well_formed_commands_the_same(line in command()) {
        prop_assert!(ours(line.as_bytes()).is_some(), "{}", line);
        // Empty quotes are a local part of RFC 5321 §4.1.2, and smtp-proto refuses them.
        prop_assume!(!line.contains("\"\"@"));
        prop_assert_eq!(ours(line.as_bytes()), theirs(line.as_bytes()), "{}", line);
    }

    /// What we take although it was damaged, a stranger must not read as something else.
    #[test]
    fn smtp_proto_reads_what_we_take_the_same(line in damaged()) {
        if let (Some(we), Some(they)) = (ours(&line), theirs(&line)) {
            prop_assert_eq!(we, they, "{}", line.escape_ascii());
        }
    }
}
