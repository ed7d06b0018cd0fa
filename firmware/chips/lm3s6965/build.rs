//! Tells the linker where `device.x` is.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-search={folder}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=device.x");
}
