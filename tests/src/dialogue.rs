//! Dialogue scripts: one SMTP session a file, as `tests/dialogues/README.md` describes them.

mod cite;
mod escape;
mod parse;
mod reply;

use std::fs;
use std::path::PathBuf;

pub use parse::parse;
pub use reply::{ExpectedReply, LinePattern};

/// One session: what the client sends, what it must be answered, and what must be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file's name without `.smtp`.
    pub name: String,
    /// The sections that it is about, each as `RFC 5321 §4.1.4`.
    pub cites: Vec<String>,
    /// Where and how the script runs.
    pub settings: Settings,
    /// The dialogue, in its order.
    pub steps: Vec<Step>,
    /// The messages that are stored when the session is over, in their order.
    pub stored: Vec<StoredMessage>,
}

/// What a script asks of the server that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Extensions that must be offered.
    pub needs: Vec<String>,
    /// Extensions that must not be offered.
    pub without: Vec<String>,
    /// Octets that a message may have.
    pub max_message_size: u64,
    /// Recipients that a transaction may have.
    pub max_recipients: u16,
    /// Why the script runs in memory only, if it does.
    pub core_only: Option<String>,
    /// Why the script does not run inside TLS, if it does not.
    pub plain_only: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            needs: Vec::new(),
            without: Vec::new(),
            max_message_size: 1 << 20,
            max_recipients: 100,
            core_only: None,
            plain_only: None,
        }
    }
}

/// A step of the dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The client sends these octets at once.
    Send(Vec<u8>),
    /// The server answers.
    Expect(ExpectedReply),
    /// The last EHLO reply has a line that matches.
    Offers(LinePattern),
    /// The last EHLO reply has no line with this keyword.
    OffersNot(String),
    /// The TLS handshake.
    Tls,
    /// The roles turn round.
    Turn,
    /// The server closes, having sent nothing more.
    Close,
    /// The client closes.
    HangUp,
    /// So many seconds pass.
    Wait(u64),
}

/// A message with its envelope. Parameters are compared as sets, in upper-case keywords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredMessage {
    /// The reverse-path without angle brackets, and its parameters.
    pub from: StoredPath,
    /// The recipients.
    pub to: Vec<StoredPath>,
    /// The message's octets.
    pub body: Vec<u8>,
}

/// A path without its angle brackets, and the parameters that came with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StoredPath {
    /// The mailbox; empty for the null reverse-path.
    pub path: Vec<u8>,
    /// `KEY` or `KEY=VALUE`, sorted.
    pub params: Vec<String>,
}

/// The folder of the scripts.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dialogues")
}

/// All scripts, in the order of their names. Panics with file and line if one is not well formed.
pub fn all() -> Vec<Script> {
    let entries = fs::read_dir(folder()).expect("the folder of the scripts can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().expect("a script has a name").to_string_lossy();
        let text = fs::read_to_string(path).expect("a script is UTF-8 text");
        parse(&name, &text).unwrap_or_else(|fault| panic!("{fault}"))
    };
    paths.iter().map(read).collect()
}
