//! A block device, or a file with the bytes of one, as a card.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use postern_card::{BLOCK, Block, Card};
use rustix::fs::OFlags;

/// A card in a file.
#[derive(Debug)]
pub struct CardFile {
    file: File,
    blocks: u32,
}

impl CardFile {
    /// Opens a card to look at it.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Opens a card to write on it. A block device that is mounted is refused: the file system on
    /// it would go on writing into ours.
    pub fn write(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if fs::metadata(path)?.file_type().is_block_device() {
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let file = options.open(path).map_err(|error| match error.kind() {
            // Desktops mount a card as soon as it is put in.
            kind @ io::ErrorKind::ResourceBusy => io::Error::new(kind, "is in use: unmount it"),
            _ => error,
        })?;
        Self::new(file)
    }

    /// Makes a file of `bytes` bytes, all of them zero, for a card.
    pub fn make(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(bytes).inspect_err(|_| {
            // An empty file would be in the way of the next attempt; the error to tell of is this.
            let _still_there = fs::remove_file(path);
        })?;
        Self::new(file)
    }

    fn new(mut file: File) -> io::Result<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let blocks = u32::try_from(bytes / BLOCK as u64).unwrap_or(u32::MAX);
        Ok(Self { file, blocks })
    }

    /// Bytes of its blocks.
    pub fn bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK as u64
    }
}

impl Card for CardFile {
    type Error = io::Error;

    fn blocks(&self) -> u32 {
        self.blocks
    }

    async fn read(&mut self, block: u32, content: &mut Block) -> io::Result<()> {
        self.file.read_exact_at(content, place(block))
    }

    async fn write(&mut self, block: u32, content: &Block) -> io::Result<()> {
        self.file.write_all_at(content, place(block))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Where a block begins.
fn place(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocks_are_where_a_device_finds_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("card");
        let mut card = CardFile::make(&path, 4 * 512 + 511).expect("a new file");
        assert_eq!((card.blocks(), card.bytes()), (4, 2048));
        card.write(3, &[7; BLOCK]).await.expect("the last block");
        card.flush().await.expect("a file can be synced");
        assert!(CardFile::make(&path, 512).is_err(), "it is there");
        let bytes = fs::read(&path).expect("the file");
        assert!(bytes[..1536].iter().all(|byte| *byte == 0));
        assert!(bytes[1536..2048].iter().all(|byte| *byte == 7));
        let (mut card, mut content) = (CardFile::read(&path).expect("a card"), [0; BLOCK]);
        card.read(3, &mut content).await.expect("the last block");
        assert_eq!(content, [7; BLOCK]);
        assert!(card.write(3, &content).await.is_err(), "it was opened to look at it");
    }
}
