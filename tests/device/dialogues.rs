//! Every dialogue script that the device's configuration offers.

use postern_tests::device::play;
use postern_tests::dialogue::all;
use postern_tests::network::Played;

#[test]
fn scripts() {
    let (mut played, mut skipped, mut faults) = (0, Vec::new(), Vec::new());
    for script in all() {
        match play(&script) {
            Ok(Played::Well) => played += 1,
            Ok(Played::Skipped(why)) => skipped.push(format!("{}: {why}", script.name)),
            Err(fault) => faults.push(fault),
        }
    }
    println!("{played} played; skipped:\n{}", skipped.join("\n"));
    assert!(faults.is_empty(), "{} scripts:\n{}", faults.len(), faults.join("\n"));
    assert!(played >= 120, "only {played} scripts could be played");
}
