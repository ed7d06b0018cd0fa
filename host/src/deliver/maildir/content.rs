//! What a message's file has in it.

/// Turns each CRLF into LF, however the octets are cut. All other octets stay as they are; as mail
/// is taken with CRLF alone at its lines' ends, who puts that back has the message as it came.
///
/// qmail, Postfix and Dovecot's own delivery write Maildirs so; mutt shows a CR where there is one,
/// and Dovecot gives it back to IMAP's and POP's clients.
#[derive(Debug, Default)]
pub(super) struct UnixLines {
    /// A CR was the last octet, and waits for what follows it.
    cr: bool,
}

impl UnixLines {
    /// Appends `octets` to `out`.
    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            if std::mem::take(&mut self.cr) && octet != b'\n' {
                out.push(b'\r');
            }
            if octet == b'\r' {
                self.cr = true;
            } else {
                out.push(octet);
            }
        }
    }

    /// Nothing follows.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        if self.cr {
            out.push(b'\r');
        }
    }
}

/// The fields that final delivery puts on top (RFC 5321 section 4.4): where it would be returned
/// to, and whom it was for, which one Maildir for several recipients would not show otherwise.
pub(super) fn delivery_fields(reverse_path: &[u8], recipient: &[u8]) -> Vec<u8> {
    [b"Return-Path: <", reverse_path, b">\nDelivered-To: ", recipient, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix_lines(parts: &[&[u8]]) -> Vec<u8> {
        let (mut lines, mut out) = (UnixLines::default(), Vec::new());
        parts.iter().for_each(|part| lines.feed(part, &mut out));
        lines.end(&mut out);
        out
    }

    /// All messages of up to 7 octets over CR, LF, a dot and a letter, at every split.
    #[test]
    fn every_crlf_is_lf_and_every_other_octet_itself() {
        for length in 0..=7_u32 {
            for number in 0..4_usize.pow(length) {
                let octet = |n: u32| b"\r\n.x"[number / 4_usize.pow(n) % 4];
                let message: Vec<_> = (0..length).map(octet).collect();
                let text = String::from_utf8(message.clone()).expect("ASCII");
                let expected = text.replace("\r\n", "\n").into_bytes();
                for split in 0..=message.len() {
                    let (one, other) = message.split_at(split);
                    assert_eq!(unix_lines(&[one, other]), expected, "{message:?} at {split}");
                }
            }
        }
    }

    #[test]
    fn final_delivery_says_where_it_came_from_and_for_whom() {
        let fields = delivery_fields(b"ann@sender.example", b"info@client.example");
        let expected = "Return-Path: <ann@sender.example>\nDelivered-To: info@client.example\n";
        assert_eq!(String::from_utf8_lossy(&fields), expected);
        assert!(delivery_fields(b"", b"info@client.example").starts_with(b"Return-Path: <>\n"));
    }
}
