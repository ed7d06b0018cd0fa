//! Every dialogue script on the server that its configuration can be brought to, over TCP, TLS and
//! AppleTalk.

use postern_tests::dialogue::all;
use postern_tests::network::{Played, Way, play};
use tokio::runtime::Runtime;

fn each(way: Way, least: usize) {
    let runtime = Runtime::new().expect("a runtime");
    let (mut played, mut skipped, mut faults) = (0, Vec::new(), Vec::new());
    for script in all() {
        match play(&script, way, &runtime) {
            Ok(Played::Well) => played += 1,
            Ok(Played::Skipped(why)) => skipped.push(format!("{}: {why}", script.name)),
            Err(fault) => faults.push(fault),
        }
    }
    println!("{played} played; skipped:\n{}", skipped.join("\n"));
    assert!(faults.is_empty(), "{} scripts:\n{}", faults.len(), faults.join("\n"));
    assert!(played >= least, "only {played} scripts could be played");
}

#[test]
fn over_tcp() {
    each(Way::Tcp, 150);
}

#[test]
fn over_tls() {
    each(Way::Tls, 150);
}

#[test]
fn over_appletalk() {
    each(Way::AppleTalk, 120);
}
