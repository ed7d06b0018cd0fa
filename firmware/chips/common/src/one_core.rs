//! What one core uses, and no other.

/// Something in a static of a device whose tasks all run on one executor, on one core.
pub struct OneCore<T>(pub T);

// SAFETY: a board makes one, in a static, and its `main` takes it, on the core and in the thread
// whose executor runs all that uses it. So nothing is ever sent to another thread. The network
// stack's resources are not `Send` since they hold a pointer into themselves (embassy-net's
// `dhcpv4-hostname`).
unsafe impl<T> Send for OneCore<T> {}
