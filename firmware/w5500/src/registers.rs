//! The chip's registers and buffers (§2.2, §4).

/// Where something is: a block, and an address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    block: u8,
    address: u16,
}

impl Place {
    const fn common(address: u16) -> Self {
        Self { block: 0, address }
    }

    /// A register of socket `number`.
    const fn socket(number: u8, address: u16) -> Self {
        Self { block: 4 * number + 1, address }
    }

    /// Socket 0's buffer of frames to be sent. Addresses wrap around at its end.
    pub(crate) const fn sent(address: u16) -> Self {
        Self { block: 2, address }
    }

    /// Socket 0's buffer of received frames. Addresses wrap around at its end.
    pub(crate) const fn received(address: u16) -> Self {
        Self { block: 3, address }
    }

    /// What begins an access (§2.2): of as many octets as follow.
    pub(crate) const fn header(self, writes: bool) -> [u8; 3] {
        let [high, low] = self.address.to_be_bytes();
        [high, low, self.block << 3 | (writes as u8) << 2]
    }
}

/// MR: bit 7 resets the chip, and clears itself.
pub(crate) const MODE: Place = Place::common(0x00);
pub(crate) const MODE_RESET: u8 = 1 << 7;
/// SHAR.
pub(crate) const HARDWARE_ADDRESS: Place = Place::common(0x09);
/// SIMR: which sockets drive the interrupt line.
pub(crate) const SOCKET_INTERRUPTS: Place = Place::common(0x18);
pub(crate) const OF_SOCKET_0: u8 = 1;
/// PHYCFGR.
pub(crate) const PHY: Place = Place::common(0x2E);
pub(crate) const PHY_LINK: u8 = 1;
/// VERSIONR.
pub(crate) const VERSION: Place = Place::common(0x39);
pub(crate) const VERSION_W5500: u8 = 4;

/// Sn_MR.
pub(crate) const SOCKET_MODE: Place = Place::socket(0, 0x00);
/// MACRAW, and only frames to our address, to all or to a group.
pub(crate) const MACRAW_FILTERED: u8 = 1 << 2 | 1 << 7;
/// Sn_CR: zero again once the command is obeyed.
pub(crate) const COMMAND: Place = Place::socket(0, 0x01);
/// Sn_IR: ones clear bits.
pub(crate) const INTERRUPTS: Place = Place::socket(0, 0x02);
pub(crate) const RECEIVED: u8 = 1 << 2;
pub(crate) const SENT: u8 = 1 << 4;
/// Sn_SR.
pub(crate) const STATUS: Place = Place::socket(0, 0x03);
pub(crate) const STATUS_MACRAW: u8 = 0x42;
/// Sn_TX_WR: where the frame to be sent ends.
pub(crate) const SEND_END: Place = Place::socket(0, 0x24);
/// Sn_RX_RSR: how many octets have come; and behind it Sn_RX_RD: where the first of them is.
pub(crate) const WAITING_AND_NEXT: Place = Place::socket(0, 0x26);
/// Sn_RX_RD.
pub(crate) const NEXT: Place = Place::socket(0, 0x28);
/// Sn_IMR: which of the socket's interrupts count.
pub(crate) const INTERRUPT_MASK: Place = Place::socket(0, 0x2C);

pub(crate) const SOCKETS: u8 = 8;

/// Sn_RXBUF_SIZE, and behind it Sn_TXBUF_SIZE, in KiB.
pub(crate) const fn buffer_sizes(socket: u8) -> Place {
    Place::socket(socket, 0x1E)
}

/// Octets of each of socket 0's buffers: all that the chip has.
pub(crate) const BUFFER: u16 = 16 * 1024;
pub(crate) const ALL_KIB: u8 = 16;

/// What is written to Sn_CR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Open = 0x01,
    Close = 0x10,
    Send = 0x20,
    /// Frees what is in front of Sn_RX_RD.
    Receive = 0x40,
}
