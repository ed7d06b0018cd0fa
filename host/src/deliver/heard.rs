//! What is heard of a recipient.

use super::answer::Answer;

/// What a host says that is asked about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is about the recipient.
    Recipient(Answer),
    /// It is about the sender, which is nobody.
    Sender(Answer),
    /// It was not asked: it can't be, and why.
    Nothing(String),
}
