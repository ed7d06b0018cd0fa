//! What goes wrong.

/// Why a card did not do what it was asked for, after all tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault<E> {
    /// The SPI controller failed.
    Bus(E),
    /// Nothing answers: there is no card, or it was pulled out or lost its power.
    NoCard,
    /// It does not work at our voltage, or does not begin to work.
    NotReady,
    /// It refused a command, with this response.
    Refused {
        /// The command's number.
        command: u8,
        /// Its R1 (§7.3.2.1).
        response: u8,
    },
    /// Bits changed on the wires.
    Garbled,
    /// It was busy, or sent nothing, for too long, and does not come back.
    TimedOut,
    /// It did not take this block, with this data response (§7.3.3.1).
    NotTaken(u8),
    /// It took this block and could not write it, with this status (§7.3.2.3).
    NotWritten(u8),
    /// It sent this error token and not this block (§7.3.3.3).
    NotRead(u8),
    /// It is busy with this block, or silent about it, for too long each time, and works again
    /// after each restart.
    Stalls,
    /// It has no such block.
    OutOfRange,
}

impl<E> Fault<E> {
    /// Whether this is a fault of the medium: of the one block, while the card and the bus work.
    pub fn is_of_block(&self) -> bool {
        match self {
            Self::NotTaken(_)
            | Self::NotWritten(_)
            | Self::NotRead(_)
            | Self::Stalls
            | Self::OutOfRange => true,
            Self::Bus(_)
            | Self::NoCard
            | Self::NotReady
            | Self::Refused { .. }
            | Self::Garbled
            | Self::TimedOut => false,
        }
    }

    /// Whether a card that is there obeys no such command: one that is locked by a password neither
    /// reads nor writes (§4.3.7).
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the card, which told of this itself, waits for a command again.
    pub(crate) fn ends_in_order(&self) -> bool {
        matches!(self, Self::Garbled | Self::NotTaken(_) | Self::NotWritten(_) | Self::NotRead(_))
    }
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}
