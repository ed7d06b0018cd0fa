//! The envelope as the server holds it, to and from the stored records of core.

use std::net::IpAddr;

use postern_core::envelope::{
    Body, Envelope as Stored, Fault, Head, Notify, Recipient as StoredRecipient, Ret, State,
    put_end,
};
use postern_core::time::Timestamp;
use postern_core::trace::Origin;
use postern_core::wire::{NoRoom, Out};

use super::{Domain, MsgId};

/// What core's [`Head`] says, but for the id, and the recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// When the transaction began.
    pub arrival: Timestamp,
    /// The client's IP address, if it has one.
    pub client: Option<IpAddr>,
    /// The client's port; 0 when unknown.
    pub client_port: u16,
    /// The name given with HELO or EHLO.
    pub helo: Vec<u8>,
    /// Whether the client said EHLO.
    pub esmtp: bool,
    /// Whether the message came over TLS.
    pub tls: bool,
    /// Whether the client had authenticated.
    pub authenticated: bool,
    /// Whether the client may send to any domain: what others sent goes to held domains alone.
    pub submitted: bool,
    /// Whether MAIL carried SMTPUTF8.
    pub smtp_utf8: bool,
    /// Without angle brackets; empty: the null reverse-path.
    pub reverse_path: Vec<u8>,
    /// MAIL's BODY.
    pub body: Body,
    /// MAIL's RET.
    pub ret: Ret,
    /// MAIL's ENVID as given; empty: not given.
    pub envelope_id: Vec<u8>,
    /// In the order of the RCPT commands.
    pub recipients: Vec<Recipient>,
}

/// One recipient and how far its delivery came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Without angle brackets.
    pub path: Vec<u8>,
    /// RCPT's NOTIFY.
    pub notify: Notify,
    /// RCPT's ORCPT as given; empty: not given.
    pub original: Vec<u8>,
    /// How far the delivery came.
    pub state: State,
    /// Delivery attempts so far.
    pub attempts: u16,
    /// The last reply of the next host; empty: none yet.
    pub reply: Vec<u8>,
}

impl Recipient {
    /// A recipient that waits, with no parameters.
    pub fn new(path: &[u8]) -> Self {
        Self {
            path: path.to_vec(),
            notify: Notify::UNSTATED,
            original: Vec::new(),
            state: State::Waiting,
            attempts: 0,
            reply: Vec::new(),
        }
    }

    /// The queue in which it waits.
    pub fn domain(&self) -> Domain {
        Domain::of_path(&self.path)
    }

    pub(super) fn from_stored(stored: StoredRecipient<'_>) -> Self {
        Self {
            path: stored.path.to_vec(),
            notify: stored.notify,
            original: stored.original.to_vec(),
            state: stored.state,
            attempts: stored.attempts,
            reply: stored.reply.to_vec(),
        }
    }

    /// Appends the recipient's stored record.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        append(bytes, self.stored_len(), |out| self.as_stored().put(out));
    }

    fn as_stored(&self) -> StoredRecipient<'_> {
        StoredRecipient {
            path: &self.path,
            notify: self.notify,
            original: &self.original,
            state: self.state,
            attempts: self.attempts,
            reply: &self.reply,
        }
    }

    fn stored_len(&self) -> usize {
        RECORD + self.path.len() + self.original.len() + self.reply.len()
    }
}

/// No fewer bytes than a record has besides its strings.
const RECORD: usize = 64;

impl Envelope {
    /// The envelope and id that `bytes` store.
    pub fn decode(bytes: &[u8]) -> Result<(MsgId, Self), Fault> {
        let stored = Stored::parse(bytes)?;
        let head = stored.head();
        let envelope = Self {
            arrival: head.arrival,
            client: head.client.and_then(Origin::ip),
            client_port: head.client_port,
            helo: head.helo.to_vec(),
            esmtp: head.esmtp,
            tls: head.tls,
            authenticated: head.authenticated,
            submitted: head.submitted,
            smtp_utf8: head.smtp_utf8,
            reverse_path: head.reverse_path.to_vec(),
            body: head.body,
            ret: head.ret,
            envelope_id: head.envelope_id.to_vec(),
            recipients: stored.recipients().map(Recipient::from_stored).collect(),
        };
        Ok((MsgId::from_bytes(head.id), envelope))
    }

    /// Appends what is stored of this envelope under `id`.
    ///
    /// # Panics
    ///
    /// When a field is longer than 65,535 bytes. Fields are parts of command lines and of reply
    /// lines, whose length core bounds far below that.
    pub fn encode(&self, id: MsgId, bytes: &mut Vec<u8>) {
        let strings = self.helo.len() + self.reverse_path.len() + self.envelope_id.len();
        let recipients: usize = self.recipients.iter().map(Recipient::stored_len).sum();
        append(bytes, 2 * RECORD + strings + recipients, |out| {
            self.head(id).put(out)?;
            for recipient in &self.recipients {
                recipient.as_stored().put(out)?;
            }
            put_end(u32::try_from(self.recipients.len()).map_err(|_| NoRoom)?, out)
        });
    }

    fn head(&self, id: MsgId) -> Head<'_> {
        Head {
            id: *id.as_bytes(),
            arrival: self.arrival,
            client: self.client.map(Origin::Internet),
            client_port: self.client_port,
            helo: &self.helo,
            esmtp: self.esmtp,
            tls: self.tls,
            authenticated: self.authenticated,
            submitted: self.submitted,
            smtp_utf8: self.smtp_utf8,
            reverse_path: &self.reverse_path,
            body: self.body,
            ret: self.ret,
            envelope_id: &self.envelope_id,
        }
    }
}

fn append(bytes: &mut Vec<u8>, room: usize, put: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>) {
    let start = bytes.len();
    bytes.resize(start + room, 0);
    let mut out = Out::new(&mut bytes[start..]);
    put(&mut out).expect("the room was counted, and core bounds every field");
    let length = out.len();
    bytes.truncate(start + length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let envelope = Envelope {
            arrival: Timestamp { unix_seconds: 1_795_306_404, known: true },
            client: "2001:db8::25".parse().ok(),
            client_port: 40_025,
            helo: b"relay.sender.example".to_vec(),
            esmtp: true,
            tls: false,
            authenticated: true,
            submitted: true,
            smtp_utf8: true,
            reverse_path: b"ann@sender.example".to_vec(),
            body: Body::BinaryMime,
            ret: Ret::Full,
            envelope_id: b"QQ+3D314159".to_vec(),
            recipients: vec![
                Recipient::new(b"bob@client.example"),
                Recipient {
                    state: State::Refused,
                    attempts: 7,
                    reply: b"550 5.1.1 unknown".to_vec(),
                    original: b"rfc822;cleo@client.example".to_vec(),
                    notify: Notify::NEVER,
                    ..Recipient::new(b"cleo@other.example")
                },
            ],
        };
        let id = MsgId::now();
        let mut bytes = b"before".to_vec();
        envelope.encode(id, &mut bytes);
        assert_eq!(Envelope::decode(&bytes[6..]), Ok((id, envelope)));
    }
}
