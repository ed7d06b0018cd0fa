//! Following a chain from extent to extent, and marking them in the map.

use crate::extent::{Chain, Header, Runs};
use crate::map::{Map, State};
use crate::medium::Medium;
use crate::message::Message;
use crate::{Card, Fault};

/// A walk along a chain. All but the first step read a block.
pub(crate) struct Walk {
    chain: Chain,
    extent: u16,
    steps: u16,
}

impl Walk {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain, extent: chain.head, steps: 0 }
    }

    /// The next extent; none behind the last.
    pub(crate) async fn next<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
    ) -> Result<Option<u16>, Fault<C::Error>> {
        if self.steps >= self.chain.extents {
            return Ok(None);
        }
        let geometry = medium.geometry;
        if self.steps > 0 {
            let block = geometry.extent_block(self.extent, geometry.last_index());
            self.extent = Header::read(medium.load(block).await?)
                .filter(|header| header.serial == self.chain.serial)
                .and_then(|header| header.next)
                .ok_or(Fault::Damaged { block })?;
        }
        if !geometry.has_extent(self.extent) {
            return Err(Fault::Damaged { block: geometry.extent_block(self.extent, 0) });
        }
        self.steps += 1;
        Ok(Some(self.extent))
    }
}

/// How marking a chain went.
pub(crate) struct Marked<E> {
    /// The last extent that was reached.
    pub(crate) last: u16,
    /// Why those behind it were not.
    pub(crate) broken: Option<Fault<E>>,
}

impl<const PAGES: usize> Map<PAGES> {
    /// Sets the state of each extent of a chain: `head` for the first, `rest` for all others. They
    /// are found in the manifest, or else followed from link to link. An error is the map's; a link
    /// that can't be followed is in what is returned.
    pub(crate) async fn mark_chain<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        chain: Chain,
        head: State,
        rest: State,
    ) -> Result<Marked<C::Error>, Fault<C::Error>> {
        let noted = medium.load(medium.geometry.extent_block(chain.head, 0)).await;
        // In a variable of its own: what an `if let` takes apart would be in the future twice.
        let noted = noted.ok().and_then(|content| Message::runs(chain, content));
        if let Some(runs) = &noted {
            let last = self.mark_runs(medium, runs, head, rest).await?;
            return Ok(Marked { last: last.unwrap_or(chain.head), broken: None });
        }
        let mut walk = Walk::new(chain);
        let (mut last, mut state) = (chain.head, head);
        loop {
            let next = walk.next(medium).await;
            match next {
                Ok(Some(extent)) => {
                    self.set(medium, extent, state).await?;
                    (last, state) = (extent, rest);
                }
                Ok(None) => return Ok(Marked { last, broken: None }),
                Err(fault) => return Ok(Marked { last, broken: Some(fault) }),
            }
        }
    }

    /// Sets the state of each extent that is noted: `head` for the first, `rest` for all others.
    /// Returns the last; none when none is noted.
    pub(crate) async fn mark_runs<C: Card>(
        &mut self,
        medium: &mut Medium<C>,
        runs: &Runs,
        head: State,
        rest: State,
    ) -> Result<Option<u16>, Fault<C::Error>> {
        let (mut last, mut state) = (None, head);
        for extent in runs.extents() {
            if medium.geometry.has_extent(extent) {
                self.set(medium, extent, state).await?;
                (last, state) = (Some(extent), rest);
            }
        }
        Ok(last)
    }
}
