//! Time, tasks and chance, as the device's tests have them.

#[path = "../../../device/tests/device/sim/clock.rs"]
pub mod clock;

#[allow(dead_code)]
#[path = "../../../device/tests/device/sim/tasks.rs"]
pub mod tasks;

#[allow(dead_code)]
#[path = "../../../card/tests/store/sim.rs"]
pub mod card;
