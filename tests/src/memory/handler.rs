//! The handler that scripts are written for: `tests/dialogues/README.md` has its rules.

use postern_core::session::{EtrnVerdict, Verdict};
use postern_core::trace::HopCounter;
use postern_core::wire::etrn::{Domains, Node};
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::path::{ForwardPath, ReversePath};
use postern_core::wire::reply::Reason;

use crate::dialogue::{StoredMessage, StoredPath};
use crate::words::{body_word, notify_word, ret_word};

/// What is stored, and the transaction that is open.
pub struct Handler {
    stored: Vec<StoredMessage>,
    open: Option<StoredMessage>,
    hops: HopCounter,
    no_tls: bool,
}

const ACCEPT: Verdict<'static> = Verdict::Accept;

fn refuse(reason: Reason) -> Verdict<'static> {
    Verdict::Refuse(reason, None)
}

impl Handler {
    pub fn new() -> Self {
        Self { stored: Vec::new(), open: None, hops: HopCounter::new(), no_tls: false }
    }

    pub fn hello(&mut self, name: &[u8]) {
        self.no_tls = name == b"notls.example.org";
    }

    pub fn mail(&mut self, from: ReversePath<'_>, params: MailParams<'_>) -> Verdict<'static> {
        match from.as_bytes() {
            b"refused@example.org" => return refuse(Reason::Policy),
            b"noroom@example.org" => return refuse(Reason::Full),
            _ => {}
        }
        let from = StoredPath { path: from.as_bytes().to_vec(), params: mail_params(params) };
        self.open = Some(StoredMessage { from, ..StoredMessage::default() });
        ACCEPT
    }

    pub fn rcpt(&mut self, to: ForwardPath<'_>, params: RcptParams<'_>) -> Verdict<'static> {
        if let ForwardPath::Mailbox(mailbox) = to {
            let local = mailbox.local_part();
            match mailbox.domain().to_ascii_lowercase().as_slice() {
                b"any.example" => {}
                b"client.example" => match local {
                    b"user" | b"friend" | b"\"a@any.example\"" => {}
                    b"full" => return refuse(Reason::Quota),
                    b"busy" => return refuse(Reason::Busy),
                    _ => return refuse(Reason::UnknownUser),
                },
                _ => return refuse(Reason::RelayDenied),
            }
        }
        let to = StoredPath { path: to.as_bytes().to_vec(), params: rcpt_params(params) };
        self.transaction().to.push(to);
        ACCEPT
    }

    pub fn open(&self) -> Verdict<'static> {
        self.unless_from(b"nodata@example.org")
    }

    pub fn chunk_end(&self) -> Verdict<'static> {
        self.unless_from(b"nochunk@example.org")
    }

    fn unless_from(&self, sender: &[u8]) -> Verdict<'static> {
        let from = self.open.as_ref().map(|open| &open.from.path[..]);
        if from == Some(sender) { refuse(Reason::Full) } else { ACCEPT }
    }

    pub fn chunk(&mut self, octets: &[u8]) -> Result<(), String> {
        let message = self.open.as_mut().ok_or("a chunk outside a transaction")?;
        message.body.extend_from_slice(octets);
        self.hops.feed(octets);
        Ok(())
    }

    pub fn commit(&mut self, size: u64) -> Result<Verdict<'static>, String> {
        let message = self.open.take().ok_or("the end of no transaction")?;
        let hops = std::mem::replace(&mut self.hops, HopCounter::new());
        if u64::try_from(message.body.len()) != Ok(size) {
            return Err(format!("{size} octets said, {} given", message.body.len()));
        }
        Ok(match message.from.path.as_slice() {
            _ if hops.looping() => refuse(Reason::Loop),
            b"uncertain@example.org" => refuse(Reason::Uncertain),
            _ => {
                self.stored.push(message);
                ACCEPT
            }
        })
    }

    /// The transaction is over. It is told once, and never behind a commit.
    pub fn discard(&mut self) -> Result<(), String> {
        self.hops = HopCounter::new();
        self.open.take().map(drop).ok_or_else(|| "discarded without a transaction".into())
    }

    /// Nothing is left open when the connection is over.
    pub fn end(self) -> Result<Vec<StoredMessage>, String> {
        match self.open {
            None => Ok(self.stored),
            Some(open) => Err(format!("neither committed nor discarded: {open:?}")),
        }
    }

    pub fn etrn(&self, node: Node<'_>) -> EtrnVerdict {
        let name = node.name().to_ascii_lowercase();
        match (node, name.as_slice()) {
            (Node::Host(_) | Node::Subtree(_), b"client.example") => EtrnVerdict::NoneWaiting,
            (Node::Subtree(_), b"waiting.example") | (Node::Queue(_), b"night") => {
                EtrnVerdict::Started
            }
            (Node::Host(_), b"waiting.example") => EtrnVerdict::Counted(3),
            (Node::Host(_), b"many.example") => EtrnVerdict::PendingStarted,
            (Node::Host(_), b"running.example") => EtrnVerdict::Started,
            (Node::Host(_), b"unable.example") => EtrnVerdict::Unable,
            _ => EtrnVerdict::NotAllowed,
        }
    }

    pub fn atrn(&self, domains: Domains<'_>) -> Verdict<'static> {
        let any = domains.iter().any(|domain| domain != b"client.example");
        if any { ACCEPT } else { refuse(Reason::NoMail) }
    }

    pub fn start_tls(&self) -> Verdict<'static> {
        if self.no_tls { refuse(Reason::NoTls) } else { ACCEPT }
    }

    fn transaction(&mut self) -> &mut StoredMessage {
        self.open.as_mut().expect("the session asks for recipients in a transaction only")
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn mail_params(params: MailParams<'_>) -> Vec<String> {
    let mut words: Vec<String> = body_word(params.body).into_iter().collect();
    words.extend(params.envid.map(|envid| format!("ENVID={}", text(envid))));
    words.extend(ret_word(params.ret));
    words.extend(params.smtputf8.then(|| "SMTPUTF8".to_owned()));
    words
}

fn rcpt_params(params: RcptParams<'_>) -> Vec<String> {
    let mut words: Vec<String> = notify_word(params.notify).into_iter().collect();
    words.extend(params.orcpt.map(|orcpt| format!("ORCPT={}", text(orcpt))));
    words
}
