//! What the image weighs, beside the budget.

use std::fs;
use std::path::Path;

use object::{File, Object, ObjectSection, ObjectSymbol};
use postern_device::budget::{PARTS, RAM};
use postern_tests::qemu::{appletalk_firmware, firmware, least_firmware, silent_firmware};

use crate::rig::STACK;

/// Octets of flash for the image, whatever it does: this board has 256 KiB.
const FLASH: u64 = 190 << 10;
/// The same for the one that receives and passes on alone.
const LEAST: u64 = 169 << 10;

/// The same for the one that takes mail over AppleTalk, too.
const WITH_APPLETALK: u64 = 208 << 10;

const IN_FLASH: [&str; 4] = [".vector_table", ".text", ".rodata", ".data"];
const IN_RAM: [&str; 3] = [".data", ".bss", ".uninit"];

/// The application's statics, as their mangled names have them, and what each is. All others are
/// the board's.
const APPLICATION: [(&str, &str); 3] = [
    ("6MEMORY", "its buffers, and the stack's sockets"),
    ("11application4POOL", "the futures of sessions, store and client"),
    ("7network4POOL", "the network's future"),
];

#[test]
fn image_and_memory_fit() {
    for (with, path) in [("with", firmware()), ("without", silent_firmware())] {
        let flash = sections(&path, &IN_FLASH);
        println!("{flash} octets of flash {with} the log ({})", kib(flash));
        assert!((1..=FLASH).contains(&flash), "{FLASH} octets of flash at most");
    }
    let least = sections(&least_firmware(), &IN_FLASH);
    println!("{least} octets of flash for receiving and passing on alone ({})", kib(least));
    assert!((1..=LEAST).contains(&least), "{LEAST} octets of flash at most");
    let octets = fs::read(firmware()).expect("the image can be read");
    let file = File::parse(&*octets).expect("the image is an ELF file");
    let of = |name: &str| {
        let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(|it| it.contains(name)));
        symbol.unwrap_or_else(|| panic!("no static has {name} in its name"))
    };
    let stack = of("_stack_start").address() - of("_stack_end").address();
    assert_eq!(usize::try_from(stack), Ok(STACK), "the tests know of another stack");
    let statics = sections(&firmware(), &IN_RAM);
    let application: u64 = APPLICATION.map(|(name, _)| of(name).size()).iter().sum();
    let measured = [application, statics - application, stack];
    let names = ["application", "board", "stack"];
    for (name, (measured, budget)) in names.iter().zip(measured.iter().zip(budget())) {
        println!("{name}: {measured} octets of memory, of {budget} in the budget");
        assert!(*measured <= budget, "the {name} is over its budget");
    }
    for (name, what) in APPLICATION {
        println!("  application: {} are {what}", of(name).size());
    }
    let total = statics + stack;
    println!("{total} octets of {RAM} in all");
    assert!(total <= RAM as u64);
}

#[test]
fn with_appletalk_it_fits_too() {
    let flash = sections(&appletalk_firmware(), &IN_FLASH);
    println!("{flash} octets of flash with AppleTalk ({})", kib(flash));
    assert!((1..=WITH_APPLETALK).contains(&flash), "{WITH_APPLETALK} octets of flash at most");
    // Two of three channels over TCP give way to it.
    let memory = [appletalk_firmware(), firmware()].map(|image| sections(&image, &IN_RAM));
    println!("{} octets of memory and the stack, of {} without it", memory[0], memory[1]);
    assert!(memory[0] + STACK as u64 <= RAM as u64);
}

/// The budget's bytes for the application, the board, and the stack.
fn budget() -> [u64; 3] {
    let mut sums = [0; 3];
    for part in PARTS {
        println!("  budget: {} for {}", part.bytes, part.name);
        let sum = match part.name.split([':', ',']).next() {
            Some("board") => 1,
            Some("stack") => 2,
            _ => 0,
        };
        sums[sum] += part.bytes as u64;
    }
    sums
}

fn sections(image: &Path, names: &[&str]) -> u64 {
    let octets = fs::read(image).expect("the image can be read");
    let file = File::parse(&*octets).expect("the image is an ELF file");
    let sections = names.iter().filter_map(|name| file.section_by_name(name));
    sections.map(|section| section.size()).sum()
}

fn kib(octets: u64) -> String {
    format!("{:.1} KiB", octets as f64 / 1024.0)
}
