//! Tells the linker where a board's things go. All boards build with this.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-search={folder}");
    println!("cargo:rustc-link-arg=--nmagic");
    println!("cargo:rustc-link-arg=-Tlink.x");
    // Functions that are alike are there once.
    println!("cargo:rustc-link-arg=--icf=all");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg=-Tdefmt.x");
    }
    println!("cargo:rerun-if-changed=../build.rs");
    println!("cargo:rerun-if-changed=memory.x");
}
