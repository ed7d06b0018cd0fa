//! Where mail for domains that are not held goes, from those who may send it.

use std::time::Duration;

use super::deliver_to::{Endpoint, Protocol};
use super::settings::{Word, settings};
use super::values::unexpected;

settings! {
/// Mail for domains that are not held, from those who may submit it: it waits in the same queue,
/// and goes to a smarthost. Absent: no such mail is taken. What others sent never goes there.
pub struct Relay {
    /// REQUIRED. The host that takes mail for all other domains, as "host:port".
    pub smarthost: Smarthost => Example("\"smtp.provider.example:587\""),
    /// How often delivery is tried, 10 % more or less.
    pub retry_every: Duration => Default("\"30m\""),
    /// How long mail is tried before it is given up.
    pub expire_after: Duration => Default("\"5d\""),
}
}

/// The host that takes mail for all other domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Smarthost(pub Endpoint);

impl Word for Smarthost {
    const EXPECTED: &'static str = "\"host:port\" such as \"smtp.provider.example:587\"";

    fn parse(text: &str) -> Result<Self, String> {
        let endpoint = text.parse().ok();
        let spoken = endpoint.filter(|to: &Endpoint| to.protocol == Protocol::Smtp);
        spoken.map(Self).ok_or_else(|| unexpected::<Self>(text))
    }
}
