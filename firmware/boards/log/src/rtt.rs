//! RTT: a probe reads a buffer in memory.

use core::cell::UnsafeCell;

use rtt_target::{ChannelMode, UpChannel, rtt_init};

static CHANNEL: Channel = Channel(UnsafeCell::new(None));

struct Channel(UnsafeCell<Option<UpChannel>>);

// SAFETY: it is used in critical sections alone.
unsafe impl Sync for Channel {}

/// Makes the buffer, which a probe then finds. Lines from before are lost to it.
///
/// # Panics
/// At the second call.
pub fn start() {
    let channels = rtt_init! {
        up: { 0: { size: 1024, mode: ChannelMode::NoBlockSkip, name: "defmt" } }
    };
    // SAFETY: this is a critical section.
    critical_section::with(|_| unsafe { *CHANNEL.0.get() = Some(channels.up.0) });
}

pub(crate) fn write(octets: &[u8]) {
    // SAFETY: called within the log's critical section.
    if let Some(channel) = unsafe { &mut *CHANNEL.0.get() } {
        // A probe that attaches asks for another mode, and one that is pulled off would stop us.
        channel.set_mode(ChannelMode::NoBlockSkip);
        channel.write(octets);
    }
}
