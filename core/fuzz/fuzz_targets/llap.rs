//! Any frames to a node, which has its number by then: LLAP, and RTMP and AEP above it. It keeps
//! its number, and each answer is a frame of its own.
//!
//! Frames follow one another: a length of two octets, then as many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::appletalk::llap::{FRAME_MAX, Frame};
use postern_core::appletalk::nbp::{Name, Registration};
use postern_core::appletalk::node::{Heard, Node};
use postern_core::time::Instant;
use postern_core::wire::Out;

fuzz_target!(|data: &[u8]| {
    let mut names = [Registration::new(Name::new(b"mx2:SMTP").expect("a name"), 72)];
    let mut node = Node::new(&mut names, 1, Instant::from_millis(0));
    let mut buffer = [0; FRAME_MAX];
    for ms in (0..8000).step_by(250) {
        let mut out = Out::new(&mut buffer);
        while node.transmit(Instant::from_millis(ms), &mut out).expect("it fits") {
            out.clear();
        }
    }
    let own = node.number().expect("nobody else is there");
    let (mut rest, mut ms) = (data, 8000);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (frame, behind) = behind.split_at(length);
        let mut out = Out::new(&mut buffer);
        if node.receive(frame, Instant::from_millis(ms), &mut out) == Heard::Reply {
            assert_eq!(Frame::parse(out.written()).expect("a frame").source, own);
        }
        assert_eq!(node.number(), Some(own));
        (rest, ms) = (behind, ms + 100);
    }
});
