//! What holds for mail that is submitted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Networks, Peer};
use crate::config::{Config, SenderPattern, Setting, Submission as Settings};

/// Who may submit without a password, and how much anybody may.
#[derive(Debug)]
pub struct Submission {
    trusted: Networks,
    dovecot: Option<PathBuf>,
    senders: HashMap<String, Vec<SenderPattern>>,
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
        let senders = settings.senders.into_iter();
        Self {
            trusted: Networks::new(&settings.trusted),
            senders: senders.map(|(user, may)| (user.as_str().to_owned(), may)).collect(),
            dovecot: settings.dovecot,
            check_from: settings.check_from,
            messages_per_hour: settings.messages_per_hour.get(),
            recipients_per_hour: settings.recipients_per_hour.get(),
        }
    }

    /// Where Dovecot is asked for its users; `None`: mailers are accounts.
    pub fn dovecot(&self) -> Option<&Path> {
        self.dovecot.as_deref()
    }

    /// What a user of Dovecot may send as.
    pub fn senders(&self, user: &str) -> Vec<SenderPattern> {
        let more = self.senders.get(user).into_iter().flatten().cloned();
        SenderPattern::exactly(user).into_iter().chain(more).collect()
    }

    /// Whether `client` is in a network that may submit without a password. Whether somebody else
    /// may come from there is another question.
    pub fn trusts(&self, client: Peer) -> bool {
        self.trusted.contains(client)
    }
}
