//! What the RFCs demand (`rfc.toml`), and what shows that it is met.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use crate::dialogue::Script;
use crate::tidy::Source;

/// One demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Where it stands: `RFC 5321 §4.1.4`.
    pub section: String,
    /// What it says, in our words, behind MUST, SHOULD or MAY.
    pub text: String,
    /// What becomes of it.
    pub answer: Answer,
}

/// What becomes of a demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is met; these scripts and tests fail where it is not.
    Shown(Vec<String>),
    /// It is not met, or not shown; this is why.
    Not(String),
}

/// Reads the list: a table for each section, in it a key for each demand.
///
/// A section that stands twice is a fault of TOML's own, and so is a demand.
pub fn parse(text: &str) -> Result<Vec<Demand>, String> {
    let list = DeTable::parse(text).map_err(|error| error.to_string())?;
    let mut demands = Vec::new();
    for (section, table) in list.get_ref() {
        let section = section.get_ref();
        let DeValue::Table(table) = table.get_ref() else {
            return Err(format!("[{section:?}] is not a table"));
        };
        for (text, value) in table {
            let text = text.get_ref().to_string();
            let answer = answer(value.get_ref()).ok_or_else(|| {
                format!("{section}: {text}: neither a list of scripts and tests nor a reason")
            })?;
            demands.push(Demand { section: section.to_string(), text, answer });
        }
    }
    Ok(demands)
}

fn answer(value: &DeValue<'_>) -> Option<Answer> {
    let text =
        |value: &DeValue<'_>| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match value {
        DeValue::Array(names) if !names.is_empty() => {
            let names = names.iter().map(|name| text(name.get_ref()));
            names.collect::<Option<_>>().map(Answer::Shown)
        }
        _ => text(value).map(Answer::Not),
    }
}

/// What is wrong with the list, held against the scripts and the sources that are here.
pub fn findings(demands: &[Demand], scripts: &[Script], sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for demand in demands {
        let Demand { section, text, answer } = demand;
        if !["MUST ", "SHOULD ", "MAY "].iter().any(|level| text.starts_with(level)) {
            found.push(format!("{section}: {text}: begins with neither MUST, SHOULD nor MAY"));
        }
        let Answer::Shown(names) = answer else { continue };
        let absent = names.iter().filter(|name| !is_here(name, scripts, sources));
        found.extend(absent.map(|name| format!("{section}: {text}: there is no {name}")));
    }
    let sections: HashSet<&str> = demands.iter().map(|demand| &*demand.section).collect();
    for script in scripts {
        let name = &script.name;
        let missing = script.cites.iter().filter(|cited| !sections.contains(&***cited));
        found.extend(missing.map(|cited| format!("{name}.smtp: {cited} is not in the list")));
        let named = demands.iter().any(|demand| {
            script.cites.contains(&demand.section) && demand.answer.names(&script.name)
        });
        if !named {
            found.push(format!("{name}.smtp: no demand of a section that it cites names it"));
        }
    }
    found
}

impl Answer {
    fn names(&self, script: &str) -> bool {
        match self {
            Self::Shown(names) => names.iter().any(|name| is_script(name, script)),
            Self::Not(_) => false,
        }
    }
}

/// Whether `name` is that of `script`, or ends in `*` and begins it.
fn is_script(name: &str, script: &str) -> bool {
    name.strip_suffix('*').map_or(name == script, |start| script.starts_with(start))
}

/// Whether there is a script of that name or, for `path::function`, such a test.
fn is_here(name: &str, scripts: &[Script], sources: &[Source]) -> bool {
    let Some((path, function)) = name.split_once("::") else {
        return scripts.iter().any(|script| is_script(name, &script.name));
    };
    sources.iter().any(|source| source.path == path && has_test(&source.text, function))
}

/// Whether there is a test of that name: a function with the attribute, in a `proptest!` or not.
/// One without it shows nothing.
fn has_test(text: &str, function: &str) -> bool {
    text.match_indices(&format!("fn {function}(")).any(|(at, _)| {
        let (above, own) = text[..at].rsplit_once('\n').unwrap_or(("", &text[..at]));
        let mut above = above
            .lines()
            .rev()
            .map(str::trim)
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let is_test = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
        matches!(own.trim(), "" | "async") && above.any(is_test)
    })
}

#[cfg(test)]
mod tests {
    use super::{Answer, Demand, findings, parse};
    use crate::dialogue::{Script, parse as parse_script};
    use crate::tidy::Source;

    fn script(name: &str, cites: &str) -> Script {
        parse_script(name, &format!("# {cites}: why.\nS: 220 *\n")).expect("well formed")
    }

    fn found(list: &str) -> Vec<String> {
        let scripts = [script("quit-closes", "RFC 5321 §4.1"), script("help", "RFC 5321 §4.2")];
        let text = "#[test]\n/// Why.\nfn holds() {}\n\nfn helps() {}\n\n#[test]\nfn other() {}\n";
        let sources = [Source::new("core/tests/a.rs", text)];
        findings(&parse(list).expect("well formed"), &scripts, &sources)
    }

    const GOOD: &str = r#"
        ["RFC 5321 §4.1"]
        "MUST close" = ["quit-*", "core/tests/a.rs::holds"]
        ["RFC 5321 §4.2"]
        "SHOULD help" = ["help"]
        "MAY sing" = "nobody listens"
    "#;

    #[test]
    fn demands_in_their_order() {
        let demands = parse(GOOD).expect("well formed");
        let last = Demand {
            section: "RFC 5321 §4.2".into(),
            text: "MAY sing".into(),
            answer: Answer::Not("nobody listens".into()),
        };
        assert_eq!((demands.len(), demands.last()), (3, Some(&last)));
        for bad in ["a = 1", "[a]\nb = 1", "[a]\nb = []", "[a]\nb = ''", "[a]\nb = [1]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("[a]\n'MUST x' = 'y'\n[a]\n").is_err(), "a section stands twice");
    }

    #[test]
    fn what_is_wrong_is_found() {
        assert_eq!(found(GOOD), Vec::<String>::new());
        let with = |old: &str, new: &str| found(&GOOD.replace(old, new));
        assert_eq!(with("SHOULD", "It is nice to").len(), 1);
        assert_eq!(with("quit-*\"", "quit-*\", \"gone\"").len(), 1);
        assert_eq!(with("holds", "helps").len(), 1, "it is no test");
        assert_eq!(with("holds", "other").len(), 0);
        assert_eq!(with("holds", "gone").len(), 1);
        assert_eq!(with("a.rs", "b.rs").len(), 1);
        assert_eq!(with("\"quit-*\", ", "").len(), 1, "a script that no demand names");
        assert_eq!(with("[\"help\"]", "[\"quit-closes\"]").len(), 1, "only by another section");
        assert_eq!(with("§4.1", "§4.3").len(), 2, "a cited section that is not there");
    }
}
