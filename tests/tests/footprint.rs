//! What the core weighs on a Cortex-M3, and that it cannot panic there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use postern_tests::tidy::root;

const TARGET: &str = "thumbv7m-none-eabi";
const PANICKING: [&str; 2] = ["--features", "panicking"];
const MAX_SESSION_BYTES: u64 = 256;
const MAX_FLASH_BYTES: u64 = 24 * 1024;

fn cargo(folder: &str, command: &str, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root().join(folder)).args([command, "--locked", "--target", TARGET]);
    cargo.arg("--target-dir").arg(target_folder()).args(arguments);
    cargo.output().expect("cargo can be started")
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
    let built = cargo(".", "build", &["-p", "postern-core", "--all-features"]);
    assert!(built.status.success(), "{}", said(&built));
}

#[test]
fn the_session_is_small_and_cannot_panic() {
    cannot_panic("session");
    measure();
}

#[test]
fn appletalk_cannot_panic() {
    cannot_panic("appletalk");
}

/// Both builds of a program in one test: they would wait for each other.
fn cannot_panic(program: &str) {
    let arguments = ["--release", "--bin", program];
    let panicking = cargo("tests/footprint", "build", &[&arguments[..], &PANICKING].concat());
    assert!(!panicking.status.success(), "a panic path links, so that linking proves nothing");
    let reason = said(&panicking);
    assert!(reason.contains("undefined symbol: a_panic_path_is_left"), "{reason}");

    let built = cargo("tests/footprint", "build", &arguments);
    assert!(built.status.success(), "a path to a panic, or worse:\n{}", said(&built));
}

/// Each future has a panic for whoever polls it behind its end, which `await` never does. No other
/// is in the image: its relocations tell who calls whom.
#[test]
fn the_loops_panic_only_where_a_future_is_polled_behind_its_end() {
    let arguments = ["--release", "--bin", "drive"];
    let relocations = ["--", "-C", "link-arg=--emit-relocs"];
    let output = cargo("tests/footprint", "rustc", &[&arguments[..], &relocations].concat());
    assert!(output.status.success(), "{}", said(&output));
    let (resumed, others) = panic_paths(&built("drive"));
    assert!(resumed, "not even the panics of futures are found");
    assert_eq!(others, BTreeSet::new());

    let arguments = [&arguments[..], &PANICKING, &relocations].concat();
    let output = cargo("tests/footprint", "rustc", &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let (_, others) = panic_paths(&built("drive"));
    let indexed = |path: &String| path.starts_with("_start -> ") && path.contains("bounds_check");
    assert!(others.iter().any(indexed), "an index out of bounds is not found: {others:?}");
}

/// Whether futures that are resumed lead to the panic handler of `image`, and each other
/// `caller -> callee` that does.
fn panic_paths(image: &[u8]) -> (bool, BTreeSet<String>) {
    let file = object::File::parse(image).expect("what was built is an ELF file");
    let calls = calls(&file);
    let (mut resumed, mut others) = (false, BTreeSet::new());
    let mut reached = vec![PANIC_HANDLER];
    while let Some(callee) = reached.pop() {
        for (caller, _) in calls.iter().filter(|(_, called)| *called == callee) {
            if caller.ends_with("panic_const_async_fn_resumed") {
                resumed = true;
            } else if WAY_TO_THE_HANDLER.iter().any(|name| caller.ends_with(name))
                || others.insert(format!("{caller} -> {callee}"))
            {
                reached.push(caller);
            }
        }
    }
    (resumed, others)
}

/// What `tests/footprint/drive` calls its own.
const PANIC_HANDLER: &str = "a_panic_was_reached";
/// What every panic goes through.
const WAY_TO_THE_HANDLER: [&str; 2] = ["panic_fmt", "rust_begin_unwind"];

/// Callers and callees, by the relocations that the linker kept.
fn calls<'f>(file: &'f object::File<'_>) -> BTreeSet<(&'f str, &'f str)> {
    let functions: Vec<_> =
        file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).collect();
    let text = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let mut calls = BTreeSet::new();
    for (offset, relocation) in text.flat_map(|section| section.relocations()) {
        // The lowest bit of a function's address says that its code is Thumb.
        let holds = |address: u64, size: u64| (address..address + size).contains(&offset);
        let caller = functions.iter().find(|it| holds(it.address() & !1, it.size()));
        let RelocationTarget::Symbol(callee) = relocation.target() else { continue };
        let callee = file.symbol_by_index(callee).expect("a relocation's symbol is there");
        if let (Some(caller), Ok(callee)) = (caller, callee.name()) {
            calls.insert((caller.name().expect("a function has a name"), callee));
        }
    }
    calls
}

fn built(program: &str) -> Vec<u8> {
    let path = target_folder().join(TARGET).join("release").join(program);
    fs::read(path).expect("what was built can be read")
}

fn measure() {
    let bytes = built("session");
    let file = object::File::parse(&*bytes).expect("what was built is an ELF file");
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("SESSION_SIZE"));
    let session = symbol.expect("the size of a session is recorded").size();
    let flash: u64 = [".text", ".rodata", ".data"]
        .iter()
        .filter_map(|name| file.section_by_name(name))
        .map(|section| section.size())
        .sum();
    println!("on {TARGET}: a session is {session} bytes, session and wire are {flash} of flash");
    assert!((1..=MAX_SESSION_BYTES).contains(&session), "a session is {session} bytes");
    assert!((4096..=MAX_FLASH_BYTES).contains(&flash), "{flash} bytes of flash");
}
