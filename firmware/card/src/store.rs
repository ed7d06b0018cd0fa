//! The store: the messages on a mounted card, and queries.

use core::ops::Range;

use crate::extent::PAYLOAD;
use crate::journal::{Answers, Change, Tip, Told};
use crate::map::{Map, State};
use crate::medium::Medium;
use crate::message::{Message, MessageId};
use crate::settings::{SETTINGS_MAX, Settings, SettingsFault};
use crate::{Block, Card, Fault, text};

/// Runs of records that are told apart.
pub(crate) type Gaps = [Range<u32>; 2];
pub(crate) const NO_GAPS: Gaps = [0..0, 0..0];

/// The messages on a card, and the settings.
///
/// There is one for each card. It has one block buffer, and room for `PAGES` pages of the extent
/// map, 520 bytes each. Two are enough to write and to remove messages at the same time.
///
/// Its futures may be dropped half-way. If one was changing the card, the result is unknown, and
/// all calls return [`Fault::Failed`] until [`Store::remount`].
pub struct Store<C, const PAGES: usize = 2> {
    pub(crate) medium: Medium<C>,
    pub(crate) map: Map<PAGES>,
    pub(crate) tip: Tip,
    pub(crate) counts: Counts,
    pub(crate) text: Text,
    pub(crate) seed: [u8; 32],
    /// When the card was formatted.
    pub(crate) created_unix_s: u64,
    /// Drafts begun in this boot.
    pub(crate) drafts: u32,
    /// Extents that drafts may still take.
    pub(crate) reserved: u32,
    /// Extents that the next checkpoint frees.
    pub(crate) pending: u32,
    /// The first record since the mount.
    pub(crate) mounted_at: u64,
    /// Records that a mount or a checkpoint could not read, and did without.
    pub(crate) unread_records: u32,
    /// The runs of records behind the last checkpoint that the mount did without, counted from
    /// there, the last with all that there was no room for: the next checkpoint frees nothing by
    /// them, even if it can read them.
    pub(crate) gaps: Gaps,
    /// Whether the card may differ from what is known here.
    pub(crate) has_failed: bool,
}

/// What the superblock says of the settings and the recipients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    pub(crate) revision: u32,
    pub(crate) recipient_blocks: u32,
    pub(crate) settings_octets: u16,
}

/// Totals, which each record changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) boot: u32,
    pub(crate) time_unix_s: u64,
    pub(crate) messages: u32,
    pub(crate) flagged: u32,
    pub(crate) told: Told,
    pub(crate) answers: Answers,
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// A store that is not mounted yet: all but [`Store::remount`] fails.
    pub const fn new(card: C) -> Self {
        Self {
            medium: Medium::new(card),
            map: Map::new(),
            tip: Tip::new(0),
            counts: Counts {
                boot: 0,
                time_unix_s: 0,
                messages: 0,
                flagged: 0,
                told: Told { failed: 0, boot: 0 },
                answers: Answers::NONE,
            },
            text: Text { revision: 0, recipient_blocks: 0, settings_octets: 0 },
            seed: [0; 32],
            created_unix_s: 0,
            drafts: 0,
            reserved: 0,
            pending: 0,
            mounted_at: 0,
            unread_records: 0,
            gaps: NO_GAPS,
            has_failed: true,
        }
    }

    /// The card. Drafts that are open are lost.
    pub fn into_card(self) -> C {
        self.medium.into_card()
    }

    /// The settings that the card was formatted with, read into `octets`.
    pub async fn settings<'o>(
        &mut self,
        octets: &'o mut [u8; SETTINGS_MAX],
    ) -> Result<Settings<'o>, Fault<C::Error>> {
        self.load_settings(octets).await?;
        let mut settings = Settings::DEFAULT;
        self.settings_in(octets, &mut settings)?;
        Ok(settings)
    }

    /// Reads the octets of the settings that the card was formatted with.
    pub async fn load_settings(
        &mut self,
        octets: &mut [u8; SETTINGS_MAX],
    ) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        let block = text::SETTINGS_FROM;
        let mut room = octets.as_mut_slice();
        for index in text::SETTINGS_FROM..text::RECIPIENTS_FROM {
            let text = self.text_block(index).await?;
            let Some((here, rest)) = room.split_at_mut_checked(text.len()) else {
                return Err(Fault::Damaged { block });
            };
            here.copy_from_slice(text);
            room = rest;
        }
        Ok(())
    }

    /// Decodes what [`Store::load_settings`] has read into `settings`, which are the default: a
    /// stack has no room for copies of them.
    pub fn settings_in<'o>(
        &self,
        octets: &'o [u8; SETTINGS_MAX],
        settings: &mut Settings<'o>,
    ) -> Result<(), Fault<C::Error>> {
        let block = text::SETTINGS_FROM;
        let octets = octets.get(..usize::from(self.text.settings_octets));
        let octets = octets.ok_or(Fault::Damaged { block })?;
        settings.take_all(octets).map_err(|fault| match fault {
            SettingsFault::Damaged => Fault::Damaged { block },
            SettingsFault::Unknown(key) => Fault::UnknownSetting(key),
        })
    }

    /// Whether the list of recipients that the card was formatted with has `address`, in whatever
    /// case.
    pub async fn is_recipient(&mut self, address: &[u8]) -> Result<bool, Fault<C::Error>> {
        self.check_ready()?;
        for index in self.recipient_blocks() {
            if text::has_recipient(self.text_block(index).await?, address) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What block number `index` of the text holds.
    async fn text_block(&mut self, index: u32) -> Result<&[u8], Fault<C::Error>> {
        let (places, revision) = (self.medium.geometry.text_places(index), self.text.revision);
        let is_right = |content: &Block| text::is_of(revision, content);
        let content = self.medium.load_either(places, &is_right).await?;
        Ok(text::read(content).unwrap_or(&[]))
    }

    /// The numbers of the recipients' blocks in the text.
    pub(crate) fn recipient_blocks(&self) -> Range<u32> {
        let blocks = self.text.recipient_blocks;
        text::RECIPIENTS_FROM..text::RECIPIENTS_FROM.saturating_add(blocks)
    }

    /// The number of this mount. It rises with each.
    pub fn boot(&self) -> u32 {
        self.counts.boot
    }

    /// The seed that the card was formatted with; no other card has it.
    pub fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// The last time that was noted before something was written, seconds since
    /// 1970-01-01T00:00:00Z; 0 when none was.
    pub fn last_known_time(&self) -> u64 {
        self.counts.time_unix_s
    }

    /// Notes the time. It goes to the card with what is written next.
    pub fn note_time(&mut self, unix_s: u64) {
        self.counts.time_unix_s = unix_s;
    }

    /// Sets the time, which may be earlier than the one before. Once this has returned, it is on
    /// stable storage.
    pub async fn set_time(&mut self, unix_s: u64) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        self.note_time(unix_s);
        self.change(&Change::NONE).await
    }

    /// What the owner has been told.
    pub fn told(&self) -> Told {
        self.counts.told
    }

    /// Notes what the owner has been told. Once this has returned, it is on stable storage.
    pub async fn note_told(&mut self, told: Told) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        self.counts.told = told;
        self.change(&Change::NONE).await
    }

    /// When the holder of this index in the settings has answered last, seconds since
    /// 1970-01-01T00:00:00Z, if that is known.
    pub fn answered(&self, holder: usize) -> Option<u64> {
        let Answers { revision, unix_s } = &self.counts.answers;
        let unix_s = unix_s.get(holder).filter(|_| *revision == self.text.revision);
        unix_s.copied().filter(|unix_s| *unix_s > 0)
    }

    /// Notes that the holder of this index in the settings has answered at `unix_s`, seconds since
    /// 1970-01-01T00:00:00Z. Once this has returned, it is on stable storage.
    pub async fn note_answer(&mut self, holder: usize, unix_s: u64) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        let answers = &mut self.counts.answers;
        if answers.revision != self.text.revision {
            *answers = Answers { revision: self.text.revision, ..Answers::NONE };
        }
        if let Some(place) = answers.unix_s.get_mut(holder) {
            *place = unix_s;
        }
        self.change(&Change::NONE).await
    }

    /// How many messages there are.
    pub fn messages(&self) -> u32 {
        self.counts.messages
    }

    /// How many of them are flagged.
    pub fn flagged(&self) -> u32 {
        self.counts.flagged
    }

    /// Records of the journal that could be read in neither place since the mount, and were done
    /// without. Of one before the mount, what it changed is lost: a message may be missing, or be
    /// there again. Of one since, only the room that it would have freed.
    pub fn unread_records(&self) -> u32 {
        self.unread_records
    }

    /// Octets that drafts can be begun with now.
    pub fn free(&self) -> u64 {
        let extents = self.free_extents().saturating_add(self.pending);
        let blocks = u64::from(extents) * u64::from(self.medium.geometry.layout.extent_blocks);
        blocks.saturating_sub(1) * PAYLOAD as u64
    }

    /// Octets that an extent holds: the least that a draft takes.
    pub fn extent_octets(&self) -> u64 {
        u64::from(self.medium.geometry.layout.extent_blocks) * PAYLOAD as u64
    }

    /// The message behind `after`, or the first. The order is that of their head extents, beginning
    /// with the extent that is allocated next: the oldest message is first, unless allocation has
    /// gone round the card while it was kept. A message that was replaced comes again in the same
    /// round; its new serial is higher than all from before the round.
    pub async fn next(
        &mut self,
        after: Option<MessageId>,
    ) -> Result<Option<Message>, Fault<C::Error>> {
        self.check_ready()?;
        let (all, cursor) = (self.medium.geometry.extents, self.map.cursor);
        let from = after.map_or(cursor, |id| self.medium.geometry.extent_after(id.head()));
        let count = match after {
            Some(_) if from <= cursor => cursor - from,
            Some(_) => all - (from - cursor),
            None if self.messages() > 0 => all,
            None => 0,
        };
        match self.map.find(&mut self.medium, from, count, State::Head).await? {
            Some(head) => Ok(Some(self.manifest(head).await.unwrap_or(Message::damaged(head)))),
            None => Ok(None),
        }
    }

    pub(crate) fn check_ready(&self) -> Result<(), Fault<C::Error>> {
        if self.has_failed { Err(Fault::Failed) } else { Ok(()) }
    }

    /// The message of this id; [`Fault::NoSuchMessage`] when it was removed or replaced.
    pub async fn find(&mut self, id: MessageId) -> Result<Message, Fault<C::Error>> {
        self.check_ready()?;
        let is_message = self.medium.geometry.has_extent(id.head())
            && self.map.state(&mut self.medium, id.head()).await? == State::Head;
        if !is_message {
            return Err(Fault::NoSuchMessage);
        }
        let found = match self.manifest(id.head()).await {
            // Nothing but its head extent is known of a message whose manifest can't be read.
            Err(_) if id.serial() == 0 => Message::damaged(id.head()),
            found => found?,
        };
        if found.id == id { Ok(found) } else { Err(Fault::NoSuchMessage) }
    }

    /// The message whose chain begins with `head`.
    pub(crate) async fn manifest(&mut self, head: u16) -> Result<Message, Fault<C::Error>> {
        let block = self.medium.geometry.extent_block(head, 0);
        let content = self.medium.load(block).await?;
        Message::read(head, content).ok_or(Fault::Damaged { block })
    }

    pub(crate) fn free_extents(&self) -> u32 {
        let taken = self.map.used.saturating_add(self.map.drafted).saturating_add(self.reserved);
        u32::from(self.medium.geometry.extents).saturating_sub(taken)
    }
}
