//! Any octets as a datagram: what is read is written as it was, and a bit that changed is seen,
//! unless it turns a sum of all ones into 0, which is written as all ones too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::appletalk::ddp::{DATA_MAX, Datagram, Fault, checksum};
use postern_core::wire::Out;

fuzz_target!(|data: &[u8]| {
    let mut buffer = [0; DATA_MAX + 13];
    if let Ok(datagram) = Datagram::parse_short(5, 200, data) {
        let mut out = Out::new(&mut buffer);
        datagram.write_short(&mut out).expect("it fits");
        assert_eq!(out.written(), data);
    }
    let Ok(datagram) = Datagram::parse_extended(data) else { return };
    let mut out = Out::new(&mut buffer);
    datagram.write_extended(&mut out).expect("it fits");
    assert_eq!(Datagram::parse_extended(out.written()), Ok(datagram));
    assert_eq!(out.written()[4..], data[4..]);
    let mut changed = out.written().to_vec();
    let at = 4 + usize::from(data[0]) % (changed.len() - 4);
    changed[at] ^= 1 << (data[1] % 8);
    if checksum(0, &changed[4..]) == u16::MAX && out.written()[2..4] == [0xff; 2] {
        assert!(Datagram::parse_extended(&changed).is_ok());
    } else {
        assert_eq!(Datagram::parse_extended(&changed), Err(Fault::Checksum));
    }
});
