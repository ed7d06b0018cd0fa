//! What holds for mail that is submitted.

use super::{Networks, Peer};
use crate::config::{Config, Setting, Submission as Settings};

/// Who may submit without a password, and how much anybody may.
#[derive(Debug)]
pub struct Submission {
    trusted: Networks,
    /// The From field must have the account's addresses only.
    pub check_from: bool,
    /// Messages an hour of one account or address.
    pub messages_per_hour: u32,
    /// Their recipients.
    pub recipients_per_hour: u32,
}

impl Submission {
    pub(super) fn new(config: &Config) -> Self {
        let settings = config.submission.clone().or_else(Settings::absent);
        let settings = settings.expect("every key of [submission] has a default");
        Self {
            trusted: Networks::new(&settings.trusted),
            check_from: settings.check_from,
            messages_per_hour: settings.messages_per_hour.get(),
            recipients_per_hour: settings.recipients_per_hour.get(),
        }
    }

    /// Whether `client` is in a network that may submit without a password. Whether somebody else
    /// may come from there is another question.
    pub fn trusts(&self, client: Peer) -> bool {
        self.trusted.contains(client)
    }
}
