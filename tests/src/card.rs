//! A device's memory card: made as `postern card create` makes it, and read back.

use std::path::{Path, PathBuf};

use embassy_futures::block_on;
use postern_card::{Inspection, Message, PostMortem, format};
use postern_card_tool::{self as card, CardContent, CardFile};
use postern_spool::{Envelope, MsgId};
use tempfile::TempDir;

/// A card's image, with the places of its file system that were never written left out.
pub struct CardImage {
    folder: TempDir,
}

/// A message on a card.
#[derive(Debug)]
pub struct Stored {
    /// Its id.
    pub id: MsgId,
    /// Its envelope.
    pub envelope: Envelope,
    /// Its octets.
    pub body: Vec<u8>,
}

impl CardImage {
    /// A card of so many octets (a power of two, or QEMU takes it for no card) for a device with
    /// this configuration.
    ///
    /// # Panics
    /// When a device can't do what the configuration says.
    pub fn make(configuration: &str, octets: u64) -> Self {
        let image = Self::blank(octets);
        let file = image.folder.path().join("postern.toml");
        let content = CardContent::parse(&file, configuration, octets);
        let content = content.unwrap_or_else(|problems| panic!("{configuration}\n{problems:?}"));
        let mut card = CardFile::write(&image.path()).expect("the image was made");
        let (settings, recipients) = (content.settings(), content.recipients());
        let made = block_on(format(&mut card, &settings, recipients, [7; 32], 0));
        made.expect("the image is large enough, and a file");
        image
    }

    /// A card of so many octets that nobody has written on.
    ///
    /// # Panics
    /// When the temporary folder takes no file.
    pub fn blank(octets: u64) -> Self {
        let image = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        CardFile::make(&image.path(), octets).expect("a file");
        image
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("card.img")
    }

    /// The messages on it, the oldest first.
    ///
    /// # Panics
    /// When anything on it is damaged, lost or there twice.
    pub fn messages(&self) -> Vec<Stored> {
        block_on(messages(&self.path()))
    }

    /// What the device left behind at its last reset.
    ///
    /// # Panics
    /// When it left nothing.
    pub fn last_reset(&self) -> PostMortem {
        let card = CardFile::read(&self.path()).expect("the image is there");
        let Ok((mut card, _)) = block_on(Box::pin(Inspection::open(card))) else {
            panic!("what is on the card can't be read")
        };
        let boot = card.boot();
        let found = block_on(card.post_mortem(boot)).expect("the image is a file");
        found.expect("each start says what was before it")
    }
}

async fn messages(path: &Path) -> Vec<Stored> {
    let card = CardFile::read(path).expect("the image is there");
    let Ok((mut card, _)) = Box::pin(Inspection::open(card)).await else {
        panic!("what is on the card can't be read")
    };
    let mut findings = Vec::new();
    card.check(|finding| findings.push(finding)).await.expect("the image is a file");
    assert!(findings.is_empty(), "the card is not in order: {findings:?}");
    let (mut stored, mut last) = (Vec::new(), None);
    while let Some(held) = card::next(&mut card, last.as_ref()).await.expect("it is in order") {
        let (id, envelope) = held.envelope.clone().expect("it is in order");
        let body = body(&mut card, &held.message).await;
        stored.push(Stored { id, envelope, body });
        last = Some(held);
    }
    stored
}

async fn body(card: &mut Inspection<CardFile>, message: &Message) -> Vec<u8> {
    let (mut reader, mut octets, mut piece) = (message.body(), Vec::new(), [0; 512]);
    loop {
        match card.read(&mut reader, &mut piece).await.expect("it is in order") {
            0 => return octets,
            count => octets.extend_from_slice(&piece[..count]),
        }
    }
}
