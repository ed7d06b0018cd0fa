//! Octets in the order in which they came, in a buffer of fixed size.

use crate::wire::copy;

/// At most `N` octets.
#[derive(Debug)]
pub(super) struct Ring<const N: usize> {
    octets: [u8; N],
    /// Where the first one is.
    start: usize,
    length: usize,
}

impl<const N: usize> Ring<N> {
    pub(super) const EMPTY: Self = Self { octets: [0; N], start: 0, length: 0 };

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn free(&self) -> usize {
        N.saturating_sub(self.length)
    }

    /// Appends as much of `octets` as there is room for; how much that is.
    pub(super) fn push(&mut self, octets: &[u8]) -> usize {
        let taken = octets.len().min(self.free());
        let octets = octets.get(..taken).unwrap_or_default();
        let end = self.start.saturating_add(self.length);
        let end = if end < N { end } else { end.saturating_sub(N) };
        let (front, back) = octets.split_at_checked(N.saturating_sub(end)).unwrap_or((octets, b""));
        copy(self.octets.get_mut(end..).unwrap_or_default(), front);
        copy(&mut self.octets, back);
        self.length = self.length.saturating_add(taken);
        taken
    }

    /// The octets from `skipped` on, `length` of them at most, in two pieces.
    pub(super) fn peek(&self, skipped: usize, length: usize) -> (&[u8], &[u8]) {
        let length = length.min(self.length.saturating_sub(skipped));
        let from = self.start.saturating_add(skipped);
        let from = if from < N { from } else { from.saturating_sub(N) };
        let front = length.min(N.saturating_sub(from));
        let to = from.saturating_add(front);
        let back = length.saturating_sub(front);
        (self.octets.get(from..to).unwrap_or_default(), self.octets.get(..back).unwrap_or_default())
    }

    /// Drops the first `length` octets.
    pub(super) fn drop_front(&mut self, length: usize) {
        let length = length.min(self.length);
        let start = self.start.saturating_add(length);
        self.start = if start < N { start } else { start.saturating_sub(N) };
        self.length = self.length.saturating_sub(length);
    }

    /// Moves octets to `buffer`; how many.
    pub(super) fn pop(&mut self, buffer: &mut [u8]) -> usize {
        let (front, back) = self.peek(0, buffer.len());
        let length = front.len().saturating_add(back.len());
        copy(buffer, front);
        copy(buffer.get_mut(front.len()..).unwrap_or_default(), back);
        self.drop_front(length);
        length
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::Ring;

    #[test]
    fn octets_come_out_in_order_wherever_they_wrap() {
        let mut ring = Ring::<7>::EMPTY;
        let (mut next, mut expected) = (0_u8, 0_u8);
        for round in 0..200_usize {
            let octets: Vec<u8> = (0..round % 9).map(|at| next.wrapping_add(at as u8)).collect();
            let free = ring.free();
            let taken = ring.push(&octets);
            assert_eq!(taken, octets.len().min(free));
            next = next.wrapping_add(taken as u8);
            let (front, back) = ring.peek(1, 3);
            for (at, octet) in front.iter().chain(back).enumerate() {
                assert_eq!(*octet, expected.wrapping_add(1 + at as u8));
            }
            let mut buffer = [0; 4];
            let read = ring.pop(&mut buffer[..round % 5]);
            for octet in &buffer[..read] {
                assert_eq!(*octet, expected);
                expected = expected.wrapping_add(1);
            }
        }
        assert_ne!(next, 0);
    }
}
