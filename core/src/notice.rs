//! A device's notice: mail of its own, about mail that it could not pass on.

use crate::time::Timestamp;
use crate::trace::put_date;
use crate::wire::{NoRoom, Out};

/// What a notice says.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// Our own host name.
    pub hostname: &'a str,
    /// Who is told: a mailbox.
    pub to: &'a str,
    /// The notice's own id, a UUID in text.
    pub id: &'a str,
    /// Messages that were refused or expired, and stay on the card.
    pub failed: u32,
    /// When it is written.
    pub time: Timestamp,
}

impl Notice<'_> {
    /// Appends the whole message (RFC 5322 §3.6), marked as written by a program (RFC 3834 §5).
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let Self { hostname, to, id, failed, time } = self;
        out.put(b"Date: ")?;
        put_date(out, *time)?;
        let texts = [
            "\r\nFrom: postmaster@",
            hostname,
            "\r\nTo: ",
            to,
            "\r\nMessage-ID: <",
            id,
            "@",
            hostname,
            ">\r\nAuto-Submitted: auto-generated\r\nSubject: ",
        ];
        put_all(out, &texts)?;
        out.put_decimal(u64::from(*failed))?;
        put_all(out, &[" messages on ", hostname, " could not be passed on\r\n\r\n"])?;
        out.put_decimal(u64::from(*failed))?;
        let texts = [
            " messages were refused by the next host, or waited for too long.\r\n\
             They stay on the card of ",
            hostname,
            ", and nobody else was told.\r\n\
             To look at them, put the card into a computer:\r\n\
             \r\n    postern card export CARD FOLDER\r\n",
        ];
        put_all(out, &texts)
    }
}

fn put_all(out: &mut Out<'_>, texts: &[&str]) -> Result<(), NoRoom> {
    texts.iter().try_for_each(|text| out.put(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::Notice;
    use crate::time::Timestamp;
    use crate::wire::Out;

    #[test]
    fn a_notice_is_a_whole_message() {
        let time = Timestamp { unix_seconds: 1_700_000_000, known: true };
        let to = "root@client.example";
        let notice = Notice { hostname: "box.example", to, id: "0-1", failed: 3, time };
        let mut buffer = [0; 768];
        let mut out = Out::new(&mut buffer);
        notice.write(&mut out).expect("it fits");
        let text = core::str::from_utf8(out.written()).expect("it is ASCII");
        let (header, body) = text.split_once("\r\n\r\n").expect("it has a header and a body");
        assert!(header.starts_with("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: postmaster@b"));
        assert!(header.contains("\r\nTo: root@client.example\r\nMessage-ID: <0-1@box.example>"));
        assert!(body.starts_with("3 messages were refused"));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn one_that_does_not_fit_is_an_error() {
        let time = Timestamp { unix_seconds: 0, known: false };
        let notice = Notice { hostname: "h", to: "t", id: "i", failed: 1, time };
        assert!(notice.write(&mut Out::new(&mut [0; 100])).is_err());
    }
}
