//! What stands in place of what this device is built without.

#[cfg(not(feature = "appletalk"))]
pub(crate) mod appletalk;
#[cfg(all(feature = "wakeup", not(feature = "atrn")))]
pub(crate) mod fetching;
#[cfg(not(feature = "wakeup"))]
pub(crate) mod holders;
#[cfg(not(feature = "wakeup"))]
pub(crate) mod hours;
#[cfg(not(feature = "appletalk"))]
pub(crate) mod link;
#[cfg(not(feature = "udp-log"))]
pub(crate) mod udp_log;
