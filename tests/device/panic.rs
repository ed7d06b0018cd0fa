//! A core that can't go on: a debugger takes it to instructions that it does not know.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use postern_card::Cause;
use postern_tests::card::CardImage;
use postern_tests::device::HOLDING;
use postern_tests::qemu::firmware;

use crate::rig::{CARD, Rig};

/// The last register, xPSR, without the bit that says Thumb.
const NOT_THUMB: &str = "00000060";

#[test]
fn it_says_where_and_starts_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("debugger");
    let socket = format!("socket,id=debugger,path={},server=on,wait=off", place.display());
    let options = ["-chardev", &socket, "-gdb", "chardev:debugger"];
    let rig = Rig::with(&firmware(), CardImage::make(HOLDING, CARD), &options);
    drop(rig.client());
    let stream = UnixStream::connect(&place).expect("QEMU listens for a debugger");
    let mut debugger = Debugger(BufReader::new(stream));
    // Connecting stops the core.
    assert!(debugger.hear().starts_with('T'), "it goes on");
    debugger.say("g");
    let mut registers = debugger.hear();
    registers.replace_range(registers.len() - NOT_THUMB.len().., NOT_THUMB);
    debugger.say(&format!("G{registers}"));
    assert_eq!(debugger.hear(), "OK");
    debugger.say("D");
    let line =
        |lines: &[String], words: &str| lines.iter().find(|line| line.contains(words)).cloned();
    let fault = rig.device.wait_for("the fault", |lines| line(lines, "hard fault at"));
    let panic = rig.device.wait_for("the panic", |lines| line(lines, "panic"));
    println!("{fault}\n{panic}");
    assert!(panic.contains("[0x"), "{panic}");
    rig.device.wait_for("the reset", |lines| line(lines, "reset by Panic"));
    drop(rig.client());
    let reset = rig.cut_power().last_reset();
    assert_eq!((reset.cause, reset.crashes), (Cause::Panic, 1), "{reset:?}");
    // The core was at rest, or about to.
    assert!(fault.contains(&format!("{:#x}", reset.calls[0])), "{fault}: {reset:?}");
    // The network is as it was when it was last looked at.
    assert!(reset.calls[1] != 0 && reset.network.is_some(), "{reset:?}");
    assert!(reset.program().ends_with(" lm3s6965evb"), "{reset:?}");
}

/// QEMU's end of the GDB remote protocol.
struct Debugger(BufReader<UnixStream>);

impl Debugger {
    fn say(&mut self, command: &str) {
        let sum = command.bytes().fold(0_u8, u8::wrapping_add);
        let packet = format!("${command}#{sum:02x}");
        self.0.get_mut().write_all(packet.as_bytes()).expect("QEMU listens");
    }

    fn hear(&mut self) -> String {
        let mut answer = String::new();
        let mut is_inside = false;
        loop {
            match self.octet() {
                b'$' => is_inside = true,
                b'#' => break,
                octet if is_inside => answer.push(char::from(octet)),
                _ => {}
            }
        }
        // The checksum.
        self.octet();
        self.octet();
        self.0.get_mut().write_all(b"+").expect("QEMU listens");
        answer
    }

    fn octet(&mut self) -> u8 {
        let mut octet = [0];
        self.0.read_exact(&mut octet).expect("QEMU answers");
        octet[0]
    }
}
