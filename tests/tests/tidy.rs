//! The rules of the architecture, run on the tree.

use std::fs;

use postern_tests::tidy::{Source, firmware, imports, root, rust, sources, text};

/// Runs `rule` on the files that `covers` picks, and fails with all findings.
fn hold(covers: impl Fn(&Source) -> bool, rule: fn(&Source) -> Vec<String>) {
    let sources: Vec<Source> = sources().into_iter().filter(covers).collect();
    assert!(!sources.is_empty(), "the rule covers no file");
    nothing(&sources.iter().flat_map(rule).collect::<Vec<_>>());
}

fn nothing(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn is_in(folder: &str) -> impl Fn(&Source) -> bool {
    move |source| source.is_rust() && source.path.starts_with(folder)
}

#[test]
fn lines_are_at_most_100_columns() {
    hold(|source| source.is_rust() || source.path == "tests/run", text::long_lines);
}

#[test]
fn functions_are_at_most_70_lines() {
    hold(Source::is_rust, rust::long_functions);
}

#[test]
fn files_are_at_most_700_lines() {
    hold(Source::is_rust, text::long_file);
}

#[test]
fn every_file_is_built() {
    nothing(&rust::dead_files(&sources()));
}

#[test]
fn nothing_is_left_open() {
    hold(|source| !source.path.ends_with(".md"), text::left_open);
}

#[test]
fn nothing_names_a_place_outside_the_tree() {
    hold(|_| true, text::foreign_places);
}

#[test]
fn the_core_is_pure() {
    hold(is_in("core/src/"), rust::core_purity);
}

#[test]
fn the_core_has_no_panics() {
    hold(is_in("core/src/"), rust::core_panics);
}

#[test]
fn the_core_imports_downwards_only() {
    hold(is_in("core/src/"), imports::direction);
}

#[test]
fn modules_do_not_import_each_other_in_circles() {
    const CRATES: [&str; 11] = [
        "core/src/",
        "firmware/card/src/",
        "firmware/chips/lm3s6965/src/",
        "firmware/device/src/",
        "firmware/sd/src/",
        "firmware/w5500/src/",
        "host/card/src/",
        "host/config/src/",
        "host/spool/src/",
        "host/src/",
        "tests/src/",
    ];
    let sources = sources();
    let circles = CRATES.iter().flat_map(|folder| {
        assert!(sources.iter().any(|source| source.path.starts_with(folder)), "{folder} is empty");
        imports::circles(&sources, folder)
    });
    nothing(&circles.collect::<Vec<_>>());
}

#[test]
fn reply_text_stands_in_one_file() {
    let elsewhere = |source: &Source| source.path != "core/src/wire/reply.rs";
    hold(|source| is_in("core/src/")(source) && elsewhere(source), rust::reply_text);
}

#[test]
fn the_host_has_no_smtp_syntax() {
    for folder in ["host/src/", "host/card/src/", "host/config/src/", "host/spool/src/"] {
        hold(is_in(folder), rust::smtp_syntax);
    }
}

#[test]
fn the_device_is_free_of_boards_and_of_smtp_syntax() {
    let shared = |source: &Source| {
        ["firmware/card/src/", "firmware/device/src/", "firmware/sd/src/"]
            .iter()
            .any(|folder| is_in(folder)(source))
    };
    hold(shared, rust::smtp_syntax);
    hold(shared, firmware::board_names);
    hold(shared, firmware::needs_a_system);
    hold(
        |source| shared(source) && !source.path.starts_with("firmware/device/src/net"),
        firmware::stack_types,
    );
}

#[test]
fn tests_do_not_sleep_nor_fix_ports_nor_are_ignored() {
    // In virtual time nobody waits, and a bench is no test.
    const FREE: [&str; 4] =
        ["host/tests/simulation/", "host/tests/wakeup/", "tests/bench/", "tests/tests/sim/"];
    let is_free = |source: &Source| FREE.iter().any(|folder| is_in(folder)(source));
    hold(|source| source.is_rust() && !is_free(source), rust::sleeping_tests);
    hold(is_in("tests/"), rust::fixed_ports);
    hold(Source::is_rust, text::ignored_tests);
}

#[test]
fn the_readme_tells_the_command_that_is_checked() {
    let read = |name: &str| {
        fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    nothing(&text::one_test_command(&read("README.md"), &read(".ci/run")));
}

#[test]
fn there_are_150_well_formed_dialogues() {
    let scripts = postern_tests::dialogue::all();
    assert!(scripts.len() >= 150, "{} scripts", scripts.len());
}
