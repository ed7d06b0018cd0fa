//! What a message that is submitted lacks (RFC 6409 section 8).

use postern_core::submission::{Added, Header};
use postern_core::time::Timestamp;
use postern_core::wire::{Out, Text};

use crate::config::SenderPattern;

/// Octets of the fields that may be added.
const ADDED: usize = 1024;

/// Completes the header of a message that passes by.
#[derive(Debug)]
pub(super) struct Completion {
    header: Header,
    /// What is not known to be the header's.
    held: Vec<u8>,
    ended: bool,
    time: Timestamp,
    id: String,
    host: String,
}

impl Completion {
    /// Of the message `id` at `host`, which came at `time`.
    pub(super) fn new(time: Timestamp, id: String, host: String) -> Self {
        Self { header: Header::new(), held: Vec::new(), ended: false, time, id, host }
    }

    /// Whether the header has ended: the rest stays as it is.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the next piece of the message becomes.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let fed = self.header.feed(piece);
        let mut done: Vec<u8> = self.held.drain(..fed.header).collect();
        if fed.ended {
            self.complete(&mut done);
        }
        done
    }

    /// What is left at the end of the message; empty where the header has ended.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut done = Vec::new();
        if !self.ended {
            self.header.end();
            self.complete(&mut done);
        }
        done
    }

    fn complete(&mut self, done: &mut Vec<u8>) {
        let text = |text| Text::new(text).expect("an id and a domain name are printable");
        let (id, host) = (text(self.id.as_bytes()), text(self.host.as_bytes()));
        let mut fields = [0; ADDED];
        let mut out = Out::new(&mut fields);
        let added = Added { time: self.time, id, host };
        self.header.put_missing(&added, &mut out).expect("a domain name and an id are bounded");
        done.extend_from_slice(out.written());
        done.append(&mut self.held);
        self.ended = true;
    }

    /// Whether the From field has addresses that one of `patterns` fits, and no others; of a
    /// message that has ended.
    pub(super) fn is_from(&self, patterns: &[SenderPattern]) -> bool {
        let fits = |mailbox| patterns.iter().any(|pattern| pattern.fits(&mailbox));
        let addresses = self.header.from();
        addresses.is_ok_and(|mut all| all.all(|address| address.is_ok_and(fits)))
    }
}
