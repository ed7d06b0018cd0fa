//! The settings that the README shows: whoever copies them must not be told that they are wrong.

use super::*;

const README: &str = include_str!("../../../../README.md");

/// The blocks of settings, as they stand there.
fn blocks() -> Vec<&'static str> {
    let blocks = README.split("\n```toml\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("it ends").0).collect()
}

/// `block` with what the server's file has besides, as the first of the blocks shows it.
fn whole(block: &str) -> String {
    let mut source = block.to_owned();
    if block.contains("[relay]") && !block.contains("smarthost") {
        let smarthost = "[relay]\nsmarthost = \"smtp.provider.example:587\"";
        source = block.replace("[relay]", smarthost);
    }
    if !block.contains("[receive]") && !block.contains("[receive.") {
        source = format!("[receive]\ntls = \"self-signed\"\n{source}");
    }
    if !block.contains("hostname") {
        source = format!("hostname = \"mx2.provider.example\"\n{source}");
    }
    source
}

/// `block` with each of its keys that is commented out, one at a time.
fn with_each_key(block: &str) -> Vec<String> {
    let is_key = |line: &str| {
        let word = line.strip_prefix("# ").and_then(|line| line.split_once(" = "));
        word.is_some_and(|(word, _)| word.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'))
    };
    let keys = block.lines().filter(|line| is_key(line));
    keys.map(|key| block.replace(key, &key[2..])).collect()
}

fn block(begin: &str) -> Config {
    let blocks = blocks();
    let found = blocks.iter().find(|block| block.contains(begin)).expect(begin);
    parse(&whole(found)).expect(begin)
}

#[test]
fn each_block_is_sound_and_so_is_each_key_that_it_leaves_off() {
    let (blocks, mut keys) = (blocks(), 0);
    for block in &blocks {
        let block = whole(block);
        let with_keys = with_each_key(&block);
        keys += with_keys.len();
        for source in with_keys.iter().chain([&block]) {
            if let Err(problems) = parse(source) {
                panic!("{source}\n{problems:#?}");
            }
        }
    }
    assert_eq!((blocks.len(), keys), (15, 7));
}

#[test]
fn the_examples_of_hosts_that_are_not_always_there_mean_what_is_said_of_them() {
    let home = block("behind a line that is not always up");
    assert_eq!(home.receive.listener, Listener::Scheduled);
    let asked: Vec<_> = home.wakeup.iter().map(Wakeup::name).collect();
    assert_eq!(asked, ["mx2.provider.example:25, mx2-v4.provider.example:25"]);

    let behind_nat = block("atrn = ");
    assert_eq!(behind_nat.wakeup.iter().map(Wakeup::key).collect::<Vec<_>>(), ["atrn"]);
    let provider = block("deliver_to = \"asker\"");
    assert_eq!(provider.warnings(Path::new(FILE)), []);

    let sleeping = block("wake_on_lan");
    let hold = sleeping.hold.values().next().expect("a domain");
    assert_eq!(hold.wake_on_lan, Some(HardwareAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!(hold.wake_to.to_string(), "192.168.1.255:9");

    let branch = block("nmcli");
    let longest = branch.link.longest_window().expect("it has windows");
    assert_eq!((branch.link.kind, longest.as_secs()), (LinkKind::Command, 12 * 3600));
}
