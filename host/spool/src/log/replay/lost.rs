//! Segments whose files are gone or cannot be opened, and files that are nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Replay;
use crate::MsgId;
use crate::log::disk::{Disk, DiskFile, Trouble, is_gone};
use crate::log::report::{Damage, Finding};
use crate::log::segment::{Listing, index_name, segment_name};

impl Replay {
    /// Segment `number` cannot be opened. Its index file says what was in it: what was settled
    /// stays so, and what was held is listed. `listing`: as [`Replay::open_segment`] has it.
    pub(super) fn lose_segment<D: Disk>(
        &mut self,
        disk: &D,
        number: u32,
        listing: Option<Option<Listing>>,
        error: io::Error,
    ) -> io::Result<()> {
        let name = segment_name(number);
        let is_gone = is_gone(&error);
        let what = if is_gone { "is missing".to_owned() } else { error.to_string() };
        let listing = match listing.flatten() {
            listing if is_gone => self.listing_of_gone(disk, number, listing, error)?,
            None => {
                self.damaged(Damage::of_file(&name, &what));
                None
            }
            listing => listing,
        };
        self.next_segment = number + 1;
        let Some(listing) = listing else { return Ok(()) };
        self.index.segments.add(number, listing.head().mark, 0);
        if let Some(segment) = self.index.segments.get_mut(number) {
            segment.damaged = true;
        }
        self.apply(&listing);
        self.lost.push((number, what));
        Ok(())
    }

    /// What was in segment `number`, whose file is not there. None where its index file cannot
    /// tell: that is reported, and keeps the bodies that only this segment may have named.
    fn listing_of_gone<D: Disk>(
        &mut self,
        disk: &D,
        number: u32,
        listing: Option<Listing>,
        gone: io::Error,
    ) -> io::Result<Option<Listing>> {
        let name = index_name(number);
        let opened = match disk.open(&name) {
            // The server that uses the spool may have removed both meanwhile.
            Err(error) if is_gone(&error) => return Err(gone),
            Err(error) if Trouble::of(&error) == Trouble::Busy => return Err(error),
            opened => opened,
        };
        // Descriptors may have been short when it was to be read before.
        let Some(listing) = listing.or_else(|| Listing::load(disk, number)) else {
            match opened {
                Err(error) => {
                    let what = format!("cannot be opened, and its segment is missing: {error}");
                    self.damaged(Damage::of_file(&name, what));
                }
                // The segment was removed before the power went, and its index file, which is not
                // synced, was not: or both are lost.
                Ok(file) => {
                    let (file, octets) = (name.clone(), file.length()?);
                    self.report.findings.push(Finding::Torn { file, offset: 0, octets });
                    self.aside.push(name);
                }
            }
            return Ok(None);
        };
        Ok(Some(listing))
    }

    /// Names what was held in lost segments. One of which nothing was held may have been removed
    /// before the power went: its index file stays while settled mail could come back without it.
    pub(super) fn find_lost(&mut self) {
        for (number, what) in std::mem::take(&mut self.lost) {
            let slots = &self.index.slots;
            let is_in_it = |slot: &u32| {
                let state = slots.state(*slot).map(|state| state.segment);
                slots[*slot].put.segment == number || state == Some(number)
            };
            let mut held: BTreeMap<MsgId, Vec<u32>> = BTreeMap::new();
            for slot in slots.numbers().filter(is_in_it) {
                held.entry(slots[slot].id).or_default().push(slot);
            }
            for (id, slots) in held {
                let domains = slots.iter().map(|&slot| self.index.domain_of(slot).clone());
                let domains = domains.collect();
                let damage = Damage::of_file(&segment_name(number), &what);
                self.damaged(Damage { id: Some(id), domains, is_held: true, ..damage });
                slots.into_iter().for_each(|slot| self.index.mark_damaged(slot));
            }
        }
    }

    /// The files of messages in a folder, by their names. What has no message's name is nobody's.
    pub(super) fn messages_in<D: Disk>(
        &mut self,
        disk: &D,
        folder: &str,
    ) -> io::Result<BTreeSet<String>> {
        let mut ours = BTreeSet::new();
        for name in disk.list(folder)? {
            if name.parse().is_ok_and(|id: MsgId| id.to_string() == name) {
                ours.insert(name);
            } else {
                self.report.findings.push(Finding::Stray { name: format!("{folder}/{name}") });
            }
        }
        Ok(ours)
    }
}
