//! What the core weighs on a Cortex-M3, and that it cannot panic there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use object::{Object, ObjectSection, ObjectSymbol};
use postern_tests::tidy::root;

const TARGET: &str = "thumbv7m-none-eabi";
const MAX_SESSION_OCTETS: u64 = 256;
const MAX_FLASH_OCTETS: u64 = 24 * 1024;

fn cargo(folder: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root().join(folder)).args(arguments);
    command.args(["--target", TARGET, "--target-dir"]).arg(target_folder());
    command.output().expect("cargo can be started")
}

fn target_folder() -> PathBuf {
    root().join("target/footprint")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let hint =
        if text.contains("E0463") { "run: rustup target add thumbv7m-none-eabi\n" } else { "" };
    format!("{hint}{text}")
}

#[test]
fn the_core_builds_with_every_feature() {
    let built = cargo(".", &["build", "--locked", "-p", "postern-core", "--all-features"]);
    assert!(built.status.success(), "{}", said(&built));
}

/// Both builds in one test: they would wait for each other.
#[test]
fn the_session_is_small_and_cannot_panic() {
    let arguments = ["build", "--locked", "--release"];
    let built = cargo("tests/footprint", &arguments);
    assert!(built.status.success(), "a path to a panic, or worse:\n{}", said(&built));
    measure();

    let panicking =
        cargo("tests/footprint", &[&arguments[..], &["--features", "panicking"]].concat());
    assert!(!panicking.status.success(), "a panic path links, so that linking proves nothing");
    let reason = said(&panicking);
    assert!(reason.contains("undefined symbol: a_panic_path_is_left"), "{reason}");
}

fn measure() {
    let path = target_folder().join(TARGET).join("release/postern-footprint");
    let bytes = fs::read(path).expect("what was built can be read");
    let file = object::File::parse(&*bytes).expect("what was built is an ELF file");
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("SESSION_SIZE"));
    let session = symbol.expect("the size of a session is recorded").size();
    let flash: u64 = [".text", ".rodata", ".data"]
        .iter()
        .filter_map(|name| file.section_by_name(name))
        .map(|section| section.size())
        .sum();
    println!("on {TARGET}: a session is {session} octets, session and wire are {flash} of flash");
    assert!((1..=MAX_SESSION_OCTETS).contains(&session), "a session is {session} octets");
    assert!((4096..=MAX_FLASH_OCTETS).contains(&flash), "{flash} octets of flash");
}
