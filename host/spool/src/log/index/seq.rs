//! An ordered list of slots, at 4 bytes each: chunks, so that no change moves more than one.

/// Slots in a chunk, at most.
const CHUNK: usize = 512;

/// Slots in the order of a key that each operation is told; it must be the same each time.
#[derive(Debug, Default)]
pub struct Seq {
    /// The first chunk, or all of a short list.
    first: Vec<u32>,
    /// The other chunks; none is empty.
    #[expect(clippy::box_collection, reason = "8 bytes, not 24, in each of very many short lists")]
    rest: Option<Box<Vec<Vec<u32>>>>,
}

impl Seq {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// How many slots are in it; from `max` on, it may say less.
    pub fn len_up_to(&self, max: usize) -> usize {
        let mut count = self.first.len();
        for chunk in self.rest() {
            if count >= max {
                break;
            }
            count += chunk.len();
        }
        count
    }

    /// The first slot.
    pub fn first(&self) -> Option<u32> {
        self.first.first().copied()
    }

    fn rest(&self) -> &[Vec<u32>] {
        self.rest.as_deref().map_or(&[], Vec::as_slice)
    }

    fn chunks_mut(&mut self) -> &mut Vec<Vec<u32>> {
        self.rest.get_or_insert_default()
    }

    /// The chunk in which `key` is or would be: 0 is the first, and the others follow.
    fn chunk_of<K: Ord>(&self, key: &K, key_of: &impl Fn(u32) -> K) -> usize {
        self.rest().partition_point(|chunk| key_of(chunk[0]) <= *key)
    }

    fn chunk_mut(&mut self, number: usize) -> &mut Vec<u32> {
        match number {
            0 => &mut self.first,
            _ => &mut self.chunks_mut()[number - 1],
        }
    }

    /// Adds a slot that is not in it.
    pub fn insert<K: Ord>(&mut self, slot: u32, key_of: impl Fn(u32) -> K) {
        let key = key_of(slot);
        let number = self.chunk_of(&key, &key_of);
        let is_last = number == self.rest().len();
        let chunk = self.chunk_mut(number);
        let at = chunk.partition_point(|&other| key_of(other) < key);
        if chunk.len() < CHUNK {
            if chunk.len() == chunk.capacity() {
                // Most lists are short: twice as long would be half empty.
                chunk.reserve_exact((chunk.len() / 4).max(2));
            }
            chunk.insert(at, slot);
            return;
        }
        // Mail comes in order: a list that grows at its end has full chunks.
        let split = if is_last && at == CHUNK { CHUNK } else { CHUNK / 2 };
        let mut next = Vec::with_capacity(CHUNK);
        next.extend(chunk.drain(split..));
        if at < split || (at == split && split < CHUNK) {
            chunk.insert(at, slot);
        } else {
            next.insert(at - split, slot);
        }
        self.chunks_mut().insert(number, next);
    }

    /// Whether a slot is in it.
    pub fn contains<K: Ord>(&self, slot: u32, key_of: impl Fn(u32) -> K) -> bool {
        let key = key_of(slot);
        let chunk = match self.chunk_of(&key, &key_of) {
            0 => &self.first,
            number => &self.rest()[number - 1],
        };
        chunk.binary_search_by(|&other| key_of(other).cmp(&key)).is_ok_and(|at| chunk[at] == slot)
    }

    /// Takes a slot out; false when it is not in it.
    pub fn remove<K: Ord>(&mut self, slot: u32, key_of: impl Fn(u32) -> K) -> bool {
        let key = key_of(slot);
        let number = self.chunk_of(&key, &key_of);
        let chunk = self.chunk_mut(number);
        let at = chunk.partition_point(|&other| key_of(other) < key);
        if chunk.get(at) != Some(&slot) {
            return false;
        }
        chunk.remove(at);
        self.tidy(number);
        true
    }

    /// Takes the first slot out.
    pub fn pop_first(&mut self) -> Option<u32> {
        let slot = self.first()?;
        self.first.remove(0);
        self.tidy(0);
        Some(slot)
    }

    /// Drops chunk `number` if it is empty.
    fn tidy(&mut self, number: usize) {
        if !self.chunk_mut(number).is_empty() {
            return;
        }
        let Some(rest) = &mut self.rest else { return };
        match number {
            0 if rest.is_empty() => {}
            0 => self.first = rest.remove(0),
            _ => drop(rest.remove(number - 1)),
        }
        if rest.is_empty() {
            self.rest = None;
        }
    }

    /// The slots behind `after`, in order.
    pub fn behind<K: Ord>(
        &self,
        after: Option<&K>,
        key_of: impl Fn(u32) -> K,
    ) -> impl Iterator<Item = u32> {
        let number = after.map_or(0, |after| self.chunk_of(after, &key_of));
        let rest = self.rest();
        let (first, others) = match number {
            0 => (&self.first, rest),
            _ => (&rest[number - 1], &rest[number..]),
        };
        let at = after.map_or(0, |after| first.partition_point(|&slot| key_of(slot) <= *after));
        first[at..].iter().chain(others.iter().flatten()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_in_order_whatever_is_done_to_it() {
        let mut seq = Seq::default();
        let mut model = std::collections::BTreeSet::new();
        let mut random: u32 = 1;
        let key_of = |slot: u32| slot.wrapping_mul(0x9e37_79b1);
        for round in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let slot = (random >> 8) % 4_000;
            if (random >> 4) % 5 < if round < 10_000 { 3 } else { 2 } {
                if model.insert((key_of(slot), slot)) {
                    seq.insert(slot, key_of);
                }
            } else {
                assert_eq!(seq.remove(slot, key_of), model.remove(&(key_of(slot), slot)));
            }
            if round % 500 == 0 {
                let after = key_of(random % 4_000);
                let found: Vec<_> = seq.behind(Some(&after), key_of).collect();
                let expected = model.range((after, u32::MAX)..).map(|(_, slot)| *slot);
                assert_eq!(found, expected.collect::<Vec<_>>());
            }
        }
        while let Some((_, slot)) = model.pop_first() {
            assert_eq!(seq.pop_first(), Some(slot));
        }
        assert!(seq.is_empty());
    }

    #[test]
    fn a_list_that_grows_at_its_end_has_full_chunks() {
        let mut seq = Seq::default();
        (0..10 * CHUNK as u32).for_each(|slot| seq.insert(slot, |slot| slot));
        assert_eq!(seq.rest().len(), 9);
        assert!(seq.rest().iter().all(|chunk| chunk.len() == CHUNK));
    }
}
