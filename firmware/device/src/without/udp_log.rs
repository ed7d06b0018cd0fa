//! In place of what sends the log over the network: this device does not.

use core::future::pending;

use postern_card::settings::Settings;

use crate::net::Net;

/// What a board without a log has none of.
#[derive(Debug)]
pub enum LogBuffer {}

pub(crate) struct LogMemory;

impl LogMemory {
    pub(crate) const fn new() -> Self {
        Self
    }
}

pub(crate) async fn run(
    _: Option<&'static LogBuffer>,
    _: &Settings<'_>,
    _: Net<'_>,
    _: &mut LogMemory,
) -> ! {
    pending().await
}
