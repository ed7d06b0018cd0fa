//! In place of connections of several kinds: this device has TCP's only.

/// The link on a TCP socket.
macro_rules! over_tcp {
    ($socket:expr) => {
        &mut $socket
    };
}
pub(crate) use over_tcp;
