//! Why a host could not be talked to.

use std::fmt;
use std::io;

use crate::net::descriptors::are_short;

/// Why a host could not be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOpen {
    /// What kind of failure it was.
    pub failed: Failed,
    /// In its words or ours.
    pub why: String,
}

/// How a host could not be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// None of its addresses took a connection and greeted.
    Absent,
    /// Nobody says where it is: there is no such name, or no name server that knows.
    Unrouted,
    /// It is there, and does not serve us now, or does not greet.
    TurnedAway,
    /// Each of its addresses refuses us for good.
    Refused,
    /// It is we.
    Ourselves,
    /// We have no descriptor or no memory for a connection: nothing was found out about it.
    Short,
    /// A person must set something right, there or here: it is not who it should be, has no TLS
    /// for us, or does not take our password.
    AtFault,
    /// It went while TLS was agreed on, which it needs: a moment's doing, unless it goes on.
    TlsLost,
}

impl fmt::Display for NotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl NotOpen {
    pub(super) fn new(failed: Failed, why: impl fmt::Display) -> Self {
        Self { failed, why: why.to_string() }
    }

    pub(super) fn from_io(error: &io::Error, what: impl fmt::Display) -> Self {
        let failed = if are_short(error) { Failed::Short } else { Failed::Absent };
        Self::new(failed, format_args!("{what}: {error}"))
    }

    /// What two addresses come to. Only those that all refuse us are a host that does.
    pub(super) fn and(self, next: Self) -> Self {
        let failed = match (self.failed, next.failed) {
            (one, other) if one == other => one,
            (Failed::Ourselves, _) | (_, Failed::Ourselves) => Failed::Ourselves,
            (Failed::Short, _) | (_, Failed::Short) => Failed::Short,
            (Failed::AtFault, _) | (_, Failed::AtFault) => Failed::AtFault,
            (Failed::Absent | Failed::Unrouted, Failed::Absent | Failed::Unrouted) => {
                Failed::Absent
            }
            _ => Failed::TurnedAway,
        };
        // What a host says tells more than that there was none.
        let tells = |failed| !matches!(failed, Failed::Absent | Failed::Unrouted);
        let why = if tells(next.failed) { next.why } else { self.why };
        Self { failed, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_all_refuse_are_a_host_that_does() {
        use Failed::{Absent, Ourselves, Refused, Short, TurnedAway, Unrouted};
        let and = |one, other| NotOpen::new(one, "one").and(NotOpen::new(other, "other"));
        for (one, other, both, why) in [
            (Refused, Refused, Refused, "other"),
            (Refused, Absent, TurnedAway, "one"),
            (Absent, Refused, TurnedAway, "other"),
            (TurnedAway, Absent, TurnedAway, "one"),
            (Absent, Absent, Absent, "one"),
            (Unrouted, Unrouted, Unrouted, "one"),
            (Unrouted, Absent, Absent, "one"),
            (Absent, Unrouted, Absent, "one"),
            (Unrouted, Refused, TurnedAway, "other"),
            (Absent, Ourselves, Ourselves, "other"),
            (Refused, Short, Short, "other"),
        ] {
            assert_eq!(and(one, other), NotOpen::new(both, why), "{one:?} and {other:?}");
        }
    }
}
