//! Reading a message.

use crate::extent::{self, Header, PAYLOAD};
use crate::message::Reader;
use crate::{Card, Fault, Store};

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Reads on, and returns how many octets there were: 0 at the end, or when `into` is empty.
    /// Each block must be the right one and have its checksum, else it is damaged.
    pub async fn read(
        &mut self,
        reader: &mut Reader,
        into: &mut [u8],
    ) -> Result<usize, Fault<C::Error>> {
        self.check_ready()?;
        while reader.left > 0 && !into.is_empty() {
            let geometry = self.medium.geometry;
            let at = reader.at;
            let block = geometry.extent_block(at.extent, at.index);
            if reader.damaged || !geometry.has_extent(at.extent) {
                return Err(Fault::Damaged { block });
            }
            let content = self.medium.load(block).await?;
            let wanted = (reader.serial, at.sequence);
            let header = Header::read(content)
                .filter(|header| (header.serial, header.sequence) == wanted)
                .ok_or(Fault::Damaged { block })?;
            let octets = extent::payload(content)
                .get(usize::from(at.offset)..usize::from(header.length))
                .ok_or(Fault::Damaged { block })?;
            let left = usize::try_from(reader.left).unwrap_or(usize::MAX);
            // Only a message's last block is not full. A card that lost the write which filled this
            // one still has it as it was before, with the same serial and sequence.
            if left > octets.len() && usize::from(header.length) < PAYLOAD {
                return Err(Fault::Damaged { block });
            }
            let count = octets.len().min(left).min(into.len());
            if let (Some(into), Some(octets)) = (into.get_mut(..count), octets.get(..count)) {
                into.copy_from_slice(octets);
            }
            reader.at.offset += count as u16;
            reader.left -= count as u64;
            if reader.at.offset == header.length && reader.left > 0 {
                let last = at.index == geometry.last_index();
                reader.at = at.next_block(header.next, last).ok_or(Fault::Damaged { block })?;
            }
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }
}
