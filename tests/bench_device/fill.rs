//! A card with mail on it, by the device's own store.

use std::io;
use std::path::Path;

use embassy_futures::block_on;
use postern_card::{Block, Card, Store};
use postern_card_tool::CardFile;
use postern_core::envelope::{Body, Ret};
use postern_core::time::Timestamp;
use postern_spool::{Envelope, MsgId, Recipient};
use postern_tests::mail::Mail;

/// Octets of a message.
const MESSAGE: usize = 4 << 10;

/// A card that is not synced: nobody cuts its power.
struct Unsynced(CardFile);

impl Card for Unsynced {
    type Error = io::Error;

    fn blocks(&self) -> u32 {
        self.0.blocks()
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> io::Result<()> {
        self.0.read(block, content).await
    }

    async fn write(&mut self, block: u32, content: &Block) -> io::Result<()> {
        self.0.write(block, content).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts so many messages on the card in the file at `path`.
pub fn fill(path: &Path, messages: usize) {
    let card = Unsynced(CardFile::write(path).expect("the card is there"));
    block_on(async {
        let Ok((mut store, _)) = Store::mount(card).await else { panic!("the card is sound") };
        for number in 0..messages {
            let mut envelope = Vec::new();
            sender().encode(MsgId::now(), &mut envelope);
            let body = Mail { number, octets: MESSAGE }.text();
            let octets = (envelope.len() + body.len()) as u64;
            let mut draft = store.begin(octets).await.expect("there is room");
            store.append(&mut draft, &envelope).await.expect("there is room");
            draft.end_envelope();
            store.append(&mut draft, &body).await.expect("there is room");
            store.commit(draft).await.expect("there is room");
        }
    });
}

fn sender() -> Envelope {
    Envelope {
        arrival: Timestamp { unix_seconds: 0, known: false },
        client: "192.0.2.1".parse().ok(),
        client_port: 40_025,
        helo: b"relay.sender.example".to_vec(),
        esmtp: true,
        tls: false,
        authenticated: false,
        submitted: false,
        smtp_utf8: false,
        reverse_path: b"bob@sender.example".to_vec(),
        body: Body::Unstated,
        ret: Ret::Unstated,
        envelope_id: Vec::new(),
        recipients: vec![Recipient::new(b"user@client.example")],
    }
}
