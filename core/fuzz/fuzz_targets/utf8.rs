//! Any octets as a message: the same answer in any pieces, and once it is found, for good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::utf8::{Content, Scan};

fuzz_target!(|data: &[u8]| {
    let Some((slice, message)) = data.split_first() else { return };
    let mut whole = Scan::new();
    whole.feed(message);
    let mut pieces = Scan::new();
    let mut found = Content::Ascii;
    for octets in message.chunks(1 + usize::from(*slice)) {
        pieces.feed(octets);
        assert!(found == Content::Ascii || found == pieces.content(), "it stays");
        found = pieces.content();
    }
    assert_eq!(found, whole.content());
    if message.is_ascii() {
        assert_ne!(found, Content::Utf8);
    }
});
