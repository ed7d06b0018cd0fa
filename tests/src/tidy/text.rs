//! Rules that read lines.

use super::Source;

/// Characters of a line at most, in Rust and in scripts.
pub const MAX_COLUMNS: usize = 100;
/// Lines of a Rust file at most.
pub const MAX_FILE_LINES: usize = 700;

fn findings(source: &Source, what: &str, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = source.text.lines().enumerate().filter(|(_, line)| is_bad(line));
    lines.map(|(number, _)| source.finding(number + 1, what)).collect()
}

/// Long lines hide what stands at their end in a side-by-side review.
pub fn long_lines(source: &Source) -> Vec<String> {
    findings(source, "over 100 columns", |line| line.chars().count() > MAX_COLUMNS)
}

/// A file over the limit is more than one thing.
pub fn long_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let long = lines > MAX_FILE_LINES;
    if long { vec![source.finding(lines, "over 700 lines")] } else { Vec::new() }
}

/// What is left open belongs into an issue.
pub fn left_open(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let macros = [concat!("to", "do!("), concat!("unimple", "mented!(")];
    findings(source, "left open", |line| {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.any(|word| marks.contains(&word)) || macros.iter().any(|call| line.contains(call))
    })
}

/// Names of package hosts and of folders outside the tree: what works only where they answer.
pub fn foreign_places(source: &Source) -> Vec<String> {
    let names = [
        concat!("crates", ".io"),
        concat!("rust", "-lang.org"),
        concat!("deb.de", "bian.org"),
        concat!("docker", ".io"),
        concat!("ghcr", ".io"),
        concat!("quay", ".io"),
        concat!("py", "pi."),
        concat!("/wo", "rk/"),
        concat!("/sha", "red/"),
        concat!("/fa", "rm/"),
    ];
    findings(source, "names a package host, or a place outside the tree", |line| {
        names.iter().any(|name| line.contains(name))
    })
}

/// A test that is never run proves nothing.
pub fn ignored_tests(source: &Source) -> Vec<String> {
    let attribute = concat!("#[ig", "nore");
    findings(source, "an ignored test", |line| line.contains(attribute))
}

/// The command lines of a shell script: no comments, no `set`, no empty lines.
fn commands(script: &str) -> Vec<&str> {
    let lines = script.lines().map(str::trim);
    let is_command =
        |line: &&str| !(line.is_empty() || line.starts_with('#') || line.starts_with("set "));
    lines.filter(is_command).collect()
}

/// The README shows the one test command in a code block, and `.ci/run` calls it last and nothing
/// else of weight: what a reader is told is what is checked.
pub fn one_test_command(readme: &str, ci: &str) -> Vec<String> {
    const COMMAND: &str = "tests/run";
    let mut found = Vec::new();
    let blocks = readme.split("```").skip(1).step_by(2);
    let mut lines = blocks.flat_map(str::lines);
    if !lines.any(|line| line.split('#').next().unwrap_or_default().trim() == COMMAND) {
        found.push(format!("README.md: no code block has the line {COMMAND}"));
    }
    let commands = commands(ci);
    let calls = |line: &&str| line.trim_start_matches("exec ") == COMMAND;
    let weightless = |line: &&str| line.starts_with("cd ") || calls(line);
    if !commands.last().is_some_and(calls) || !commands.iter().all(weightless) {
        found.push(format!(".ci/run: calls {commands:?}, not only {COMMAND}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Source, foreign_places, ignored_tests, left_open, long_file, long_lines};

    fn count(rule: fn(&Source) -> Vec<String>, text: &str) -> usize {
        rule(&Source::new("a/b.rs", text)).len()
    }

    #[test]
    fn each_rule_finds_and_lets_pass() {
        assert_eq!(count(long_lines, &"é".repeat(100)), 0);
        assert_eq!(count(long_lines, &format!("ok\n{}", "x".repeat(101))), 1);
        assert_eq!(count(long_file, &"\n".repeat(700)), 0);
        assert_eq!(count(long_file, &"\n".repeat(701)), 1);
        assert_eq!(count(left_open, "// TODAY is not a mark, nor is xxx\n"), 0);
        let marked = ["// TO", "DO: later\n    to", "do!()\n// FIX", "ME\n"].concat();
        assert_eq!(count(left_open, &marked), 3);
        assert_eq!(count(foreign_places, "docker compose, docs of a crate\n"), 0);
        let named = ["FROM ghcr", ".io/x\ncd /wo", "rk/x\n"].concat();
        assert_eq!(count(foreign_places, &named), 2);
        assert_eq!(count(ignored_tests, "#[test]\nfn ignore() {}\n"), 0);
        assert_eq!(count(ignored_tests, &["#[ig", "nore = \"slow\"]\n"].concat()), 1);
    }

    #[test]
    fn findings_have_a_place() {
        let found = long_lines(&Source::new("a/b.rs", &format!("ok\n{}", "x".repeat(101))));
        assert_eq!(found, ["a/b.rs:2: over 100 columns"]);
    }

    #[test]
    fn the_test_command_is_one() {
        let faults = |readme, ci| super::one_test_command(readme, ci).len();
        let (readme, ci) = ("```\ntests/run   # all\n```\n", "#!/bin/sh\nset -e\nexec tests/run\n");
        assert_eq!(faults(readme, ci), 0);
        assert_eq!(faults("tests/run\n", ci), 1);
        assert_eq!(faults("```\ntests/run core\n```\n", ci), 1);
        assert_eq!(faults(readme, "#!/bin/sh\ncargo test\n"), 1);
        assert_eq!(faults(readme, "#!/bin/sh\ncargo test\ntests/run\n"), 1);
    }
}
