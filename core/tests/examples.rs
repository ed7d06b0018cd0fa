//! The examples that need nobody to type.
#![cfg(feature = "drive")]

#[path = "../examples/receiver.rs"]
mod receiver;

#[test]
fn the_receiver_receives() {
    receiver::main();
}
