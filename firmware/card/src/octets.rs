//! Numbers in a block, little-endian, one after the other.

/// Writes fields from the beginning of a block; one that does not fit is left out.
pub(crate) struct Put<'b> {
    rest: &'b mut [u8],
}

impl<'b> Put<'b> {
    pub(crate) fn new(octets: &'b mut [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        let rest = core::mem::take(&mut self.rest);
        if let Some((field, rest)) = rest.split_at_mut_checked(octets.len()) {
            field.copy_from_slice(octets);
            self.rest = rest;
        }
        self
    }

    pub(crate) fn u8(&mut self, number: u8) -> &mut Self {
        self.octets(&[number])
    }

    pub(crate) fn u16(&mut self, number: u16) -> &mut Self {
        self.octets(&number.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, number: u32) -> &mut Self {
        self.octets(&number.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, number: u64) -> &mut Self {
        self.octets(&number.to_le_bytes())
    }
}

/// Reads fields from the beginning of a block.
pub(crate) struct Take<'b> {
    rest: &'b [u8],
}

impl<'b> Take<'b> {
    pub(crate) fn new(octets: &'b [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.octets().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.octets().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.octets().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.octets().map(u64::from_le_bytes)
    }
}
