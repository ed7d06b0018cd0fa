//! From values to the stored bytes.

use core::net::IpAddr;

use super::{
    Body, CRC32C, Head, KIND_END, KIND_HEAD, KIND_RECIPIENT, PREFIX, Recipient, Ret, State, VERSION,
};
use crate::trace::Origin;
use crate::wire::{NoRoom, Out};

impl Head<'_> {
    /// Appends the head's record: all of it, or nothing when it does not fit `out` or a field is
    /// longer than the format's 65,535 bytes.
    pub fn put(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let flags = u16::from(self.arrival.known)
            | u16::from(self.esmtp) << 1
            | u16::from(self.tls) << 2
            | u16::from(self.authenticated) << 3
            | u16::from(self.smtp_utf8) << 4
            | u16::from(self.submitted) << 5;
        let body = match self.body {
            Body::Unstated => 0,
            Body::SevenBit => 1,
            Body::EightBitMime => 2,
            Body::BinaryMime => 3,
        };
        let ret = match self.ret {
            Ret::Unstated => 0,
            Ret::Full => 1,
            Ret::Headers => 2,
        };
        put_record(out, KIND_HEAD, |out| {
            out.put(&self.id)?;
            out.put(&self.arrival.unix_seconds.to_le_bytes())?;
            out.put(&flags.to_le_bytes())?;
            out.put(&[body, ret])?;
            match self.client {
                None => out.put(&[0])?,
                Some(Origin::Internet(IpAddr::V4(address))) => {
                    out.put(&[4])?;
                    out.put(&address.octets())?;
                }
                Some(Origin::Internet(IpAddr::V6(address))) => {
                    out.put(&[6])?;
                    out.put(&address.octets())?;
                }
                #[cfg(feature = "appletalk")]
                Some(Origin::AppleTalk(address)) => {
                    out.put(&[1])?;
                    out.put(&address.network.to_be_bytes())?;
                    out.put(&[address.node, address.socket])?;
                }
            }
            out.put(&self.client_port.to_le_bytes())?;
            put_string(out, self.helo)?;
            put_string(out, self.reverse_path)?;
            put_string(out, self.envelope_id)
        })
    }
}

impl Recipient<'_> {
    /// Appends the recipient's record: all of it, or nothing when it does not fit `out` or a field
    /// is longer than the format's 65,535 bytes.
    pub fn put(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let state = match self.state {
            State::Waiting => 0,
            State::Delivered => 1,
            State::Refused => 2,
            State::Expired => 3,
        };
        put_record(out, KIND_RECIPIENT, |out| {
            out.put(&[self.notify.bits(), state])?;
            out.put(&self.attempts.to_le_bytes())?;
            put_string(out, self.path)?;
            put_string(out, self.original)?;
            put_string(out, self.reply)
        })
    }
}

/// Appends the end of an envelope that has `recipients` recipients: all of it, or nothing.
pub fn put_end(recipients: u32, out: &mut Out<'_>) -> Result<(), NoRoom> {
    put_record(out, KIND_END, |out| out.put(&recipients.to_le_bytes()))
}

fn put_record(
    out: &mut Out<'_>,
    kind: u8,
    content: impl FnOnce(&mut Out<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    out.whole(|out| {
        let start = out.len();
        out.put(&[kind, VERSION, 0, 0])?;
        content(out)?;
        let length = out.len().saturating_sub(start).saturating_sub(PREFIX);
        let length = u16::try_from(length).map_err(|_| NoRoom)?;
        out.overwrite(start.saturating_add(2), &length.to_le_bytes())?;
        let checksum = CRC32C.checksum(out.written().get(start..).unwrap_or_default());
        out.put(&checksum.to_le_bytes())
    })
}

fn put_string(out: &mut Out<'_>, string: &[u8]) -> Result<(), NoRoom> {
    let length = u16::try_from(string.len()).map_err(|_| NoRoom)?;
    out.put(&length.to_le_bytes())?;
    out.put(string)
}
