//! A firmware image on a card.
//!
//! There are two regions for one image each. The one that has no image, or not the newest, is
//! written next, so that a cut leaves the newest whole. Each block has the card's checksum.
//!
//! | Blocks | A region |
//! | --- | --- |
//! | 1 | the head, written last |
//! | 3 | tries: a block for each time that a device was about to start the image, or zeros |
//! | 4 | not used |
//! | … | the image |
//!
//! | Octets | A head |
//! | --- | --- |
//! | 4 | number: it rises with each image that is put on the card; 0: no image |
//! | 4 | octets of the image, a multiple of 16 |
//! | 4 | CRC-32C of the image |
//! | 48 | the names of the image's [`Label`] |
//! | … | zeros |
//! | 4 | checksum |
//!
//! | Octets | A try, and a block of the image |
//! | --- | --- |
//! | 4 | the image's number |
//! | 4 | number of the try, or of the block, from 0 on |
//! | 496 | zeros, or octets of the image |
//! | 4 | zeros |
//! | 4 | checksum |

use core::ops::Range;

use crate::geometry::{Geometry, Layout};
use crate::label::Label;
use crate::octets::{Put, Take};
use crate::{Block, Card, Fault, Store, seal};

/// Octets of an image in a block: a whole number of the words in which any flash is written.
pub const IMAGE_PIECE: usize = 496;
/// How often a device starts an image that does not prove itself.
pub const TRIES_MAX: u8 = 3;
/// Blocks of a region before the image.
const DATA_FROM: u32 = 8;
/// Octets that an image is a multiple of.
const WORD: usize = 16;

/// A firmware image on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    region: u8,
    number: u32,
    octets: u32,
    checksum: u32,
    /// What it says of itself.
    pub label: Label,
}

impl Image {
    /// Its octets: a multiple of 16.
    pub fn octets(&self) -> u32 {
        self.octets
    }

    /// Its blocks.
    pub fn pieces(&self) -> u32 {
        self.octets.div_ceil(IMAGE_PIECE as u32)
    }

    /// How many octets block number `index` has.
    fn piece_octets(&self, index: u32) -> usize {
        let before = index.saturating_mul(IMAGE_PIECE as u32);
        (self.octets.saturating_sub(before) as usize).min(IMAGE_PIECE)
    }

    fn write(&self, content: &mut Block) {
        let mut fields = Put::new(content);
        fields.u32(self.number).u32(self.octets).u32(self.checksum);
        self.label.names().iter().for_each(|name| {
            fields.octets(name);
        });
    }

    fn read(region: u8, content: &Block) -> Option<Self> {
        let mut fields = Take::new(content);
        let number = fields.u32().filter(|number| *number > 0)?;
        let (octets, checksum) = (fields.u32()?, fields.u32()?);
        let label = Label::from_names(&fields.octets()?)?;
        Some(Self { region, number, octets, checksum, label })
    }

    fn block(&self, geometry: &Geometry, index: u32) -> Option<u32> {
        let region = region(geometry, self.region);
        let block = region.start.checked_add(DATA_FROM)?.checked_add(index)?;
        region.contains(&block).then_some(block)
    }

    fn try_block(&self, geometry: &Geometry, number: u8) -> u32 {
        region(geometry, self.region).start + 1 + u32::from(number)
    }
}

fn region(geometry: &Geometry, number: u8) -> Range<u32> {
    geometry.images().get(usize::from(number)).cloned().unwrap_or_default()
}

impl Layout {
    /// Octets that an image may have; 0 when there is no room for one.
    pub fn image_octets_max(&self) -> u32 {
        let blocks = self.image_blocks.saturating_sub(DATA_FROM);
        blocks.saturating_mul(IMAGE_PIECE as u32)
    }
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Octets that an image may have; 0 when the card is too small for one.
    pub fn image_octets_max(&self) -> u32 {
        self.medium.geometry.layout.image_octets_max()
    }

    /// The image that was put on the card last. Whether it is whole, [`Store::is_image_whole`]
    /// says.
    pub async fn image(&mut self) -> Result<Option<Image>, Fault<C::Error>> {
        self.check_ready()?;
        let mut newest: Option<Image> = None;
        for number in 0..2 {
            let found = self.image_in(number).await?;
            if newest.is_none_or(|newest| found.is_some_and(|it| it.number > newest.number)) {
                newest = found;
            }
        }
        Ok(newest)
    }

    async fn image_in(&mut self, number: u8) -> Result<Option<Image>, Fault<C::Error>> {
        let region = region(&self.medium.geometry, number);
        if region.is_empty() {
            return Ok(None);
        }
        match self.medium.load(region.start).await {
            Ok(content) => Ok(Image::read(number, content)),
            Err(Fault::Damaged { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Block number `index` of an image.
    pub async fn image_piece(
        &mut self,
        image: &Image,
        index: u32,
    ) -> Result<&[u8], Fault<C::Error>> {
        self.check_ready()?;
        let first = region(&self.medium.geometry, image.region).start;
        let block = image.block(&self.medium.geometry, index);
        let block = block.ok_or(Fault::Damaged { block: first })?;
        let content = self.medium.load(block).await?;
        let octets = piece(content, (image.number, index))
            .and_then(|all| all.get(..image.piece_octets(index)));
        octets.ok_or(Fault::Damaged { block })
    }

    /// Reads an image, and returns whether all of it is there as it was written. `goes_on` is asked
    /// before each block: if it says no, what is behind that counts as not there.
    pub async fn is_image_whole(
        &mut self,
        image: &Image,
        goes_on: impl Fn() -> bool,
    ) -> Result<bool, Fault<C::Error>> {
        let mut digest = seal::digest();
        for index in 0..image.pieces() {
            if !goes_on() {
                return Ok(false);
            }
            match self.image_piece(image, index).await {
                Ok(octets) => digest.update(octets),
                Err(Fault::Damaged { .. }) => return Ok(false),
                Err(fault) => return Err(fault),
            }
        }
        Ok(digest.finalize() == image.checksum)
    }

    /// How often a device was about to start an image that has not proved itself. A note that can't
    /// be read counts.
    pub async fn image_tries(&mut self, image: &Image) -> Result<u8, Fault<C::Error>> {
        self.check_ready()?;
        let mut tries = 0;
        for number in 0..TRIES_MAX {
            tries += u8::from(!self.is_untried(image, number).await?);
        }
        Ok(tries)
    }

    /// Notes that a device is about to start an image. Once this has returned, the note is on
    /// stable storage. [`Fault::Full`]: it was started as often as it may be.
    pub async fn note_image_try(&mut self, image: &Image) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        for number in 0..TRIES_MAX {
            if self.is_untried(image, number).await? {
                let block = image.try_block(&self.medium.geometry, number);
                Put::new(self.medium.blank().await).u32(image.number).u32(number.into());
                self.medium.write(block).await?;
                return self.medium.flush().await;
            }
        }
        Err(Fault::Full)
    }

    async fn is_untried(&mut self, image: &Image, number: u8) -> Result<bool, Fault<C::Error>> {
        let block = image.try_block(&self.medium.geometry, number);
        match self.medium.load(block).await {
            Ok(content) => Ok(piece(content, (image.number, number.into())).is_none()),
            Err(Fault::Damaged { .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Notes that an image has proved itself.
    pub async fn forget_image_tries(&mut self, image: &Image) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        for number in 0..TRIES_MAX {
            let block = image.try_block(&self.medium.geometry, number);
            self.medium.blank().await;
            self.medium.write(block).await?;
        }
        self.medium.flush().await
    }

    /// Puts an image on the card, filled up to a multiple of 16 octets. Until this has returned,
    /// and after an error, the one that was there is the last one.
    ///
    /// # Errors
    /// [`Fault::Full`]: the card has no room for it. [`Fault::BadBlock`]: a block does not hold
    /// what was written to it.
    pub async fn put_image(
        &mut self,
        label: Label,
        octets: &[u8],
    ) -> Result<Image, Fault<C::Error>> {
        self.check_ready()?;
        let padded = u32::try_from(octets.len().next_multiple_of(WORD)).map_err(|_| Fault::Full)?;
        if padded == 0 || padded > self.image_octets_max() {
            return Err(Fault::Full);
        }
        let (region, number) = self.next_image().await?;
        let mut digest = seal::digest();
        digest.update(octets);
        digest.update([ERASED; WORD].get(..padded as usize - octets.len()).unwrap_or_default());
        let checksum = digest.finalize();
        let image = Image { region, number, octets: padded, checksum, label };
        let head = self::region(&self.medium.geometry, region).start;
        self.medium.blank().await;
        self.medium.write(head).await?;
        self.medium.flush().await?;
        self.forget_image_tries(&image).await?;
        self.write_pieces(&image, octets).await?;
        self.medium.flush().await?;
        if !self.is_image_whole(&image, || true).await? {
            return Err(Fault::BadBlock { block: head + DATA_FROM });
        }
        image.write(self.medium.blank().await);
        self.medium.write(head).await?;
        self.medium.flush().await?;
        Ok(image)
    }

    /// The region to be written next, and the number of what is written there.
    async fn next_image(&mut self) -> Result<(u8, u32), Fault<C::Error>> {
        let Some(newest) = self.image().await? else { return Ok((0, 1)) };
        let number = newest.number.checked_add(1).ok_or(Fault::Full)?;
        let is_whole = self.is_image_whole(&newest, || true).await?;
        Ok((if is_whole { 1 - newest.region } else { newest.region }, number))
    }

    async fn write_pieces(&mut self, image: &Image, octets: &[u8]) -> Result<(), Fault<C::Error>> {
        for (octets, index) in octets.chunks(IMAGE_PIECE).zip(0..) {
            let block = image.block(&self.medium.geometry, index).ok_or(Fault::Full)?;
            let content = self.medium.blank().await;
            Put::new(content).u32(image.number).u32(index).octets(&[ERASED; IMAGE_PIECE]);
            Put::new(content).u32(image.number).u32(index).octets(octets);
            self.medium.write(block).await?;
        }
        Ok(())
    }
}

/// What an image is filled up with: an octet of flash that was erased.
const ERASED: u8 = 0xFF;

/// What stands behind the two numbers of a block; none when it has others.
fn piece(content: &Block, numbers: (u32, u32)) -> Option<&[u8]> {
    let mut fields = Take::new(content);
    let found = (fields.u32()?, fields.u32()?);
    (found == numbers).then_some(content.get(8..8 + IMAGE_PIECE)?)
}
