//! What each segment is still needed for.

use std::collections::{BTreeMap, BTreeSet};

/// A segment and how much of it is needed.
#[derive(Debug)]
pub struct Segment {
    /// The number with which its records begin.
    pub mark: u64,
    /// Bytes up to the end of its last record.
    pub length: u64,
    /// Something in it cannot be read: it is never deleted, but moved aside.
    pub damaged: bool,
    /// An older version wrote it: it is to be written anew.
    pub is_old: bool,
    /// Bytes of records that are needed.
    needed: u64,
    /// Those of them that are done records, by the segment of their put: without the record, that
    /// put would come back to life for as long as its segment is there.
    done: BTreeMap<u32, u64>,
    /// The segments that puts were copied from into this one. As long as one of them is there,
    /// this one stays: without it, the record that ended such a put could be dropped, and the put
    /// that it was copied from would come back to life.
    sources: BTreeSet<u32>,
}

/// The segments there are, by number.
#[derive(Debug)]
pub struct Segments(BTreeMap<u32, Segment>);

impl Segments {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a segment of which nothing is needed yet.
    pub fn add(&mut self, number: u32, mark: u64, length: u64) {
        let (damaged, is_old, needed) = (false, false, 0);
        let (done, sources) = (BTreeMap::new(), BTreeSet::new());
        let segment = Segment { mark, length, damaged, is_old, needed, done, sources };
        self.0.insert(number, segment);
    }

    /// The segment of this number.
    pub fn get(&self, number: u32) -> Option<&Segment> {
        self.0.get(&number)
    }

    /// The segment of this number, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.0.get_mut(&number)
    }

    /// The numbers there are.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.0.keys().copied()
    }

    /// Bytes of all segments.
    pub fn length(&self) -> u64 {
        self.0.values().map(|segment| segment.length).sum()
    }

    /// Bytes of a segment that are needed.
    pub fn needed(&self, number: u32) -> u64 {
        self.get(number).map_or(0, |segment| segment.needed)
    }

    /// Whether a segment may be cleared away.
    pub fn may_go(&self, number: u32) -> bool {
        let sources = self.get(number).map(|segment| &segment.sources);
        sources.is_some_and(|sources| !sources.iter().any(|source| self.0.contains_key(source)))
    }

    /// Puts of `source` were copied into `number`.
    pub(super) fn copied(&mut self, source: u32, number: u32) {
        if let Some(segment) = self.0.get_mut(&number).filter(|_| source < number) {
            segment.sources.insert(source);
        }
    }

    /// Segments that an older version wrote.
    pub fn old(&self) -> u64 {
        self.0.values().filter(|segment| segment.is_old).count() as u64
    }

    /// The first of them that may be cleared away and is not damaged, if it has at most `room`
    /// bytes.
    pub fn first_old(&self, room: u64) -> Option<u32> {
        let mut old = self.0.iter().filter(|(_, segment)| segment.is_old && !segment.damaged);
        let first = old.find(|(number, _)| self.may_go(**number));
        first.filter(|(_, segment)| segment.length <= room).map(|(number, _)| *number)
    }

    /// The segment but `current` of which the smallest part is needed, if that is less than
    /// `thousandths`; a damaged one only if nothing is.
    pub fn emptiest(&self, current: Option<u32>, thousandths: u64) -> Option<u32> {
        let sealed = self.0.iter().filter(|(number, _)| Some(**number) != current);
        let sealed = sealed.filter(|(number, _)| self.may_go(**number));
        let sealed = sealed.filter(|(_, segment)| !segment.damaged || segment.needed == 0);
        let parts = sealed.map(|(number, segment)| {
            (segment.needed.saturating_mul(1_000) / segment.length.max(1), *number)
        });
        parts.min().filter(|(needed, _)| *needed < thousandths).map(|(_, number)| number)
    }

    /// Forgets a segment whose file is gone, and the done records that were needed because of it.
    pub fn remove(&mut self, number: u32) {
        self.0.remove(&number);
        for segment in self.0.values_mut() {
            segment.needed -= segment.done.remove(&number).unwrap_or(0);
            segment.sources.remove(&number);
        }
    }

    pub(super) fn use_more(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.0.get_mut(&number) {
            segment.needed += bytes;
        }
    }

    pub(super) fn use_less(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.0.get_mut(&number) {
            segment.needed -= bytes;
        }
    }

    /// A done record in `number` is needed until segment `target`, which has its put, is gone.
    pub(super) fn use_done(&mut self, number: u32, target: u32, bytes: u64) {
        if number == target || !self.0.contains_key(&target) {
            return;
        }
        if let Some(segment) = self.0.get_mut(&number) {
            *segment.done.entry(target).or_default() += bytes;
            segment.needed += bytes;
        }
    }
}
