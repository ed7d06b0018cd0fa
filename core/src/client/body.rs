//! The message on its way out: with dots stuffed (DATA), or counted (BDAT).

use memchr::memchr;

use super::{CallError, command};
use crate::wire::{NoRoom, Out};

/// Room in which the end of any body fits, and any piece makes progress.
pub(super) const BODY_ROOM: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// DATA: the last two octets sent, as an empty message would have it: at a line's start.
    Dots { tail: [u8; 2] },
    /// BDAT … LAST: octets that are still to come, and the message's last one, which waits for the
    /// caller to say that all of them were right.
    Chunk { remaining: u64, last: u8 },
    /// BDAT of nothing: the command is the end.
    Empty,
}

impl Body {
    pub(super) const fn dots() -> Self {
        Self::Dots { tail: *b"\r\n" }
    }

    /// Begins a message of `size` octets by BDAT.
    pub(super) fn chunk(size: u64, out: &mut Out<'_>) -> Result<Self, NoRoom> {
        if size == 0 {
            return Ok(Self::Empty);
        }
        command::put_bdat(out, size)?;
        Ok(Self::Chunk { remaining: size, last: 0 })
    }

    /// Appends as much of `bytes` as there is room for, and returns how much that was.
    pub(super) fn put(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<usize, CallError> {
        match self {
            Self::Dots { tail } => Ok(stuff(tail, bytes, out)),
            Self::Chunk { remaining, last } => {
                let piece = bytes.get(..out.free()).unwrap_or(bytes);
                if bytes.len() as u64 > *remaining {
                    return Err(CallError::SizeMismatch);
                }
                *remaining = remaining.saturating_sub(piece.len() as u64);
                match piece.split_last() {
                    Some((held, before)) if *remaining == 0 => {
                        out.put(before)?;
                        *last = *held;
                    }
                    _ => out.put(piece)?,
                }
                Ok(piece.len())
            }
            Self::Empty if bytes.is_empty() => Ok(0),
            Self::Empty => Err(CallError::SizeMismatch),
        }
    }

    /// Appends what ends the message.
    ///
    /// A message that does not end in CRLF gets one under DATA, since the end is CRLF.CRLF
    /// (RFC 5321 §4.1.1.4); under BDAT it goes as it is.
    pub(super) fn end(&self, out: &mut Out<'_>) -> Result<(), CallError> {
        match self {
            Self::Dots { tail: [b'\r', b'\n'] } => Ok(out.put(b".\r\n")?),
            Self::Dots { .. } => Ok(out.put(b"\r\n.\r\n")?),
            Self::Chunk { remaining: 0, last } => Ok(out.put(&[*last])?),
            Self::Chunk { .. } => Err(CallError::SizeMismatch),
            Self::Empty => Ok(command::put_bdat(out, 0)?),
        }
    }
}

/// Copies line by line, with a dot before each line that begins with one (RFC 5321 §4.5.2).
///
/// A line begins after any LF, not only after CRLF: a bare LF cannot come from our own receiving
/// side, and must not let `LF . CRLF` end the message early at a lax peer (SMTP smuggling).
fn stuff(tail: &mut [u8; 2], bytes: &[u8], out: &mut Out<'_>) -> usize {
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let [_, last] = *tail;
        let stuffed = *first == b'.' && last == b'\n';
        let room = out.free().saturating_sub(usize::from(stuffed));
        let line_length = memchr(b'\n', rest).map_or(rest.len(), |at| at.saturating_add(1));
        let (piece, after) = rest.split_at_checked(line_length.min(room)).unwrap_or((rest, b""));
        if piece.is_empty() || (stuffed && out.put(b".").is_err()) || out.put(piece).is_err() {
            break;
        }
        for octet in piece.iter().skip(piece.len().saturating_sub(2)) {
            let [_, last] = *tail;
            *tail = [last, *octet];
        }
        rest = after;
    }
    bytes.len().saturating_sub(rest.len())
}
