//! Any bytes as a stored envelope: what is read is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::envelope::{Envelope, put_end};
use postern_core::wire::Out;

const PREFIX: usize = 4;

fuzz_target!(|data: &[u8]| {
    round_trip(data);
    // A checksum can't be guessed; with it right the content is what is tried.
    round_trip(&with_checksums(data));
});

fn round_trip(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    let mut buffer = vec![0; bytes.len()];
    let mut out = Out::new(&mut buffer);
    envelope.head().put(&mut out).expect("no longer than it was");
    let mut count = 0;
    for recipient in envelope.recipients() {
        recipient.put(&mut out).expect("no longer than it was");
        count += 1;
    }
    put_end(count, &mut out).expect("no longer than it was");
    assert_eq!(out.written(), bytes, "one envelope, one encoding");
}

/// The records of `data`, each followed by the checksum that it should have.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = data;
    while let Some((&[_, _, low, high], _)) = rest.split_first_chunk::<PREFIX>() {
        let length = PREFIX + usize::from(u16::from_le_bytes([low, high]));
        let Some((record, behind)) = rest.split_at_checked(length) else { break };
        bytes.extend_from_slice(record);
        bytes.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
        rest = behind.get(4..).unwrap_or_default();
    }
    bytes
}
