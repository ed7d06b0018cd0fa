//! Every dialogue script on the core in memory.

use postern_tests::dialogue::{Script, all};
use postern_tests::memory::{Split, octets, play};

/// Splits of one script at most; longer ones are split at evenly spaced octets.
const MAX_SPLITS: usize = 1000;

fn each(splits: impl Fn(&Script) -> Vec<Split>) -> usize {
    let mut faults = Vec::new();
    let mut runs = 0;
    for script in all() {
        for split in splits(&script) {
            runs += 1;
            if let Err(fault) = play(&script, split) {
                faults.push(format!("{split:?}: {fault}"));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{} scripts:\n{}", faults.len(), faults.join("\n"));
    runs
}

#[test]
fn whole() {
    let runs = each(|_| vec![Split::Whole]);
    assert!(runs >= 150, "{runs} scripts");
}

#[test]
fn octet_by_octet() {
    each(|_| vec![Split::Octets]);
}

#[test]
fn at_every_split() {
    let runs = each(|script| {
        let octets = octets(script);
        (1..octets).step_by(octets.div_ceil(MAX_SPLITS).max(1)).map(Split::At).collect()
    });
    println!("{runs} runs");
}
