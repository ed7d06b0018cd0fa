//! Any octets as a packet of names, and as a name: what is read is written as it was, and a name
//! that is no pattern asks for itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::appletalk::ddp::DATA_MAX;
use postern_core::appletalk::nbp::{Name, Packet, write};
use postern_core::wire::Out;

fuzz_target!(|data: &[u8]| {
    if let Some(name) = Name::new(data) {
        assert!(name.asks_for(&name) && name.is_same(&name));
    }
    let Some(packet) = Packet::parse(&data[..data.len().min(DATA_MAX)]) else { return };
    for tuple in packet.tuples() {
        assert!(tuple.name.asks_for(&tuple.name) || tuple.name.is_pattern());
    }
    if packet.tuples().next().is_some() {
        let mut buffer = [0; DATA_MAX];
        let mut out = Out::new(&mut buffer);
        write(packet.function, packet.id, packet.tuples(), &mut out).expect("it fits");
        assert!(data.starts_with(out.written()));
    }
});
