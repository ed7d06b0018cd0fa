//! The list of what the RFCs demand says the truth.

use std::fs;

use postern_tests::dialogue;
use postern_tests::rfc::{findings, parse};
use postern_tests::tidy::{root, sources};

#[test]
fn every_demand_is_shown_or_has_a_reason() {
    let text = fs::read_to_string(root().join("tests/rfc.toml")).expect("the list is here");
    let demands = parse(&text).unwrap_or_else(|fault| panic!("tests/rfc.toml: {fault}"));
    assert!(demands.len() >= 100, "{} demands", demands.len());
    let found = findings(&demands, &dialogue::all(), &sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}
