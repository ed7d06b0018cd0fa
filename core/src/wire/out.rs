//! The output that a caller lends.

/// The bytes that did not fit were not written; nothing else was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// A caller's buffer that is filled from its start.
///
/// The core appends whole replies and whole commands, never a part of one; the caller sends
/// [`Out::written`] and lends the buffer again.
#[derive(Debug)]
pub struct Out<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Out<'b> {
    /// Lends `buffer`, whose present content is ignored.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Octets that can still be appended.
    pub fn free(&self) -> usize {
        self.buffer.len().saturating_sub(self.length)
    }

    /// Octets appended so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What was appended so far.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Appends all of `bytes`, or nothing.
    // In place at each of its calls it would be 1 KiB of a device's flash.
    #[inline(never)]
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.length.checked_add(bytes.len()).ok_or(NoRoom)?;
        copy(self.buffer.get_mut(self.length..end).ok_or(NoRoom)?, bytes);
        self.length = end;
        Ok(())
    }

    /// Appends `number` in decimal digits, or nothing.
    pub fn put_decimal(&mut self, number: u64) -> Result<(), NoRoom> {
        self.put_padded(number, 1)
    }

    /// Appends `number` in decimal digits, with zeros in front where they are fewer than `width`,
    /// of at most 20; or nothing.
    pub fn put_padded(&mut self, number: u64, width: usize) -> Result<(), NoRoom> {
        let mut digits = [b'0'; 20];
        let mut rest = number;
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            if rest == 0 && used >= width {
                break;
            }
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
        }
        self.put(digits.get(digits.len() - used..).unwrap_or_default())
    }

    /// Puts `bytes` over what was appended at `start`, all of it or nothing: how a length is filled
    /// in that stands before what it counts.
    pub(crate) fn overwrite(&mut self, start: usize, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = start.checked_add(bytes.len()).ok_or(NoRoom)?;
        let written = self.buffer.get_mut(..self.length).ok_or(NoRoom)?;
        copy(written.get_mut(start..end).ok_or(NoRoom)?, bytes);
        Ok(())
    }

    /// Appends what `write` does, or nothing if it fails: half a reply, command or record must not
    /// leave.
    pub(crate) fn whole<E>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.length;
        let written = write(self);
        if written.is_err() {
            self.truncate(start);
        }
        written
    }

    /// Forgets what was appended after the first `length` octets: how a reply that does not fit
    /// whole is taken back.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Forgets everything, so that the buffer can be filled again.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}

/// Copies `from` to the front of `to`. `copy_from_slice` compares their lengths, and where that is
/// a function of its own, the compiler leaves the panic in it.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::{NoRoom, Out};

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut buffer = *b"......";
        let mut out = Out::new(&mut buffer);
        assert_eq!((out.put(b"abcd"), out.put(b"efg"), out.free()), (Ok(()), Err(NoRoom), 2));
        assert_eq!(out.overwrite(2, b"xyz"), Err(NoRoom), "it would end behind what is written");
        assert_eq!(out.overwrite(2, b"xy"), Ok(()));
        out.truncate(5);
        assert_eq!(out.written(), b"abxy", "what was not written does not come back");
        out.truncate(1);
        assert_eq!((out.put_padded(7, 6), out.len()), (Err(NoRoom), 1));
        assert_eq!((out.put_padded(7, 5), out.len()), (Ok(()), 6));
        out.truncate(5);
        let half = out.whole(|out| out.put(b"7").and_then(|()| out.put(b"8")));
        assert_eq!((half, out.len()), (Err(NoRoom), 5));
        assert_eq!((out.whole(|out| out.put(b"8")), out.len()), (Ok(()), 6));
        assert_eq!(buffer, *b"a00008");
    }
}
