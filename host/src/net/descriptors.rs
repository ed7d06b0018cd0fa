//! The process's file descriptors, of which some are left to those that must go on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Descriptors that sessions and deliveries leave free, for the spool, the log and whoever asks how
/// the server is.
pub(crate) const RESERVED: u64 = 16;

/// Whether fewer than `left` more descriptors can be opened, now that `newest` just was.
pub(crate) fn are_fewer_than(left: u64, newest: &impl AsFd) -> bool {
    // The system gives the lowest number that is free, so all below are open.
    let last = u64::try_from(newest.as_fd().as_raw_fd()).unwrap_or_default();
    let limit = getrlimit(Resource::Nofile).current;
    limit.is_some_and(|limit| last + 1 + left > limit)
}

/// Whether a delivery may open a descriptor, before it does: what fails for want of one says
/// nothing of a host, and a resolver does not tell that from a name that it cannot find.
///
/// # Errors
/// [`RESERVED`] or fewer are free.
pub(crate) fn leave_reserved() -> io::Result<()> {
    let newest = UnixDatagram::unbound()?;
    if are_fewer_than(RESERVED, &newest) { Err(Errno::MFILE.into()) } else { Ok(()) }
}

/// Whether `error` is for want of descriptors or memory here, and says nothing of a host.
pub(crate) fn are_short(error: &io::Error) -> bool {
    let is_short = |errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS);
    error.kind() == io::ErrorKind::OutOfMemory || Errno::from_io_error(error).is_some_and(is_short)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_left_is_counted_from_the_newest() {
        let limit = getrlimit(Resource::Nofile).current.expect("there is a limit");
        let newest = File::open("/dev/null").expect("it opens");
        let number = u64::try_from(newest.as_raw_fd()).expect("a number");
        let left = limit - number - 1;
        assert!(!are_fewer_than(left, &newest));
        assert!(are_fewer_than(left + 1, &newest));
    }
}
