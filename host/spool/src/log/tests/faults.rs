//! Disks that fail or are full, at every operation in turn.

use std::sync::atomic::Ordering;

use super::power_cuts::{live, recover};
use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, SimDisk};

/// Lives with `fault` in it; none when it came before the log was open.
fn live_with(fault: Fault, dies_of_fault: bool) -> (SimDisk, Option<Rig>) {
    let disk = SimDisk::new(fault);
    let mut rig = Rig::open(disk.clone(), Model::default()).ok();
    if let Some(rig) = &mut rig {
        rig.dies_of_fault = dies_of_fault;
        live(rig);
    }
    (disk, rig)
}

#[test]
fn a_sync_that_fails_stops_the_spool_and_loses_nothing_acknowledged() {
    let mut tried = 0;
    for at in 0..1_000 {
        let (disk, rig) = live_with(Fault::Sync(at), false);
        let Some(rig) = rig else { continue };
        if !disk.has_failed() {
            if disk.operations() <= at {
                break;
            }
            continue;
        }
        assert!(rig.shared.down.load(Ordering::Acquire), "sync {at} failed: nothing may go on");
        for loss in [Loss::Nothing, Loss::All] {
            let context = format!("sync {at} failed, then {loss:?}");
            recover(disk.after(loss, Fault::None), rig.model.clone(), &context);
        }
        tried += 1;
    }
    println!("failing syncs tried: {tried}");
    assert!(tried >= 20);
}

#[test]
fn a_full_disk_refuses_and_goes_on() {
    let mut tried = 0;
    for (at, dies) in (0..1_000).flat_map(|at| [(at, false), (at, true)]) {
        let (disk, rig) = live_with(Fault::Full(at), dies);
        let mut rig = rig.expect("an empty disk needs no space to be opened");
        if !disk.has_failed() {
            if disk.operations() <= at {
                break;
            }
            continue;
        }
        assert!(!rig.shared.down.load(Ordering::Acquire), "full at {at}: that passes");
        if !dies {
            rig.check(&format!("full at {at}"));
        }
        for loss in [Loss::Nothing, Loss::All] {
            let context =
                format!("full at {at}, {}, then {loss:?}", if dies { "dead" } else { "on" });
            recover(disk.after(loss, Fault::None), rig.model.clone(), &context);
        }
        tried += 1;
    }
    println!("full disks tried: {tried}");
    assert!(tried >= 20);
}
