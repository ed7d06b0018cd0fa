//! A device's notice: mail of its own, about mail that it could not pass on.

use crate::time::Timestamp;
use crate::trace::put_date;
use crate::wire::{NoRoom, Out, Text};

/// What a notice says.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// Our own host name.
    pub hostname: Text<'a>,
    /// Who is told: a mailbox.
    pub to: Text<'a>,
    /// The notice's own id, a UUID in text.
    pub id: Text<'a>,
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
        let (hostname, to, id) = (hostname.as_bytes(), to.as_bytes(), id.as_bytes());
        let texts: [&[u8]; 11] = [
            b"\r\nFrom: postmaster@",
            hostname,
            b"\r\nTo: ",
            to,
            b"\r\nMessage-ID: <",
            id,
            b"@",
            hostname,
            b">\r\nAuto-Submitted: auto-generated\r\nSubject: Mail on ",
            hostname,
            b" could not be passed on\r\n\r\n\
              Messages that were refused by the next host, or waited for too long: ",
        ];
        put_all(out, &texts)?;
        out.put_decimal(u64::from(*failed))?;
        let texts: [&[u8]; 3] = [
            b"\r\nThey stay on the card of ",
            hostname,
            b", and nobody else was told.\r\n\
              To look at them, put the card into a computer:\r\n\
              \r\n    postern card export CARD FOLDER\r\n",
        ];
        put_all(out, &texts)
    }
}

fn put_all(out: &mut Out<'_>, texts: &[&[u8]]) -> Result<(), NoRoom> {
    texts.iter().try_for_each(|text| out.put(text))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use super::Notice;
    use crate::time::Timestamp;
    use crate::wire::{Out, Text};

    fn notice(failed: u32) -> Notice<'static> {
        let text = |text: &'static str| Text::new(text.as_bytes()).expect("printable");
        let time = Timestamp { unix_seconds: 1_700_000_000, known: true };
        let (hostname, to) = (text("box.example"), text("root@client.example"));
        Notice { hostname, to, id: text("0-1"), failed, time }
    }

    fn written(failed: u32) -> String {
        let mut buffer = [0; 768];
        let mut out = Out::new(&mut buffer);
        notice(failed).write(&mut out).expect("it fits");
        String::from_utf8(out.written().into()).expect("it is ASCII")
    }

    #[test]
    fn a_notice_is_a_whole_message() {
        assert_eq!(
            written(3),
            "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
             From: postmaster@box.example\r\n\
             To: root@client.example\r\n\
             Message-ID: <0-1@box.example>\r\n\
             Auto-Submitted: auto-generated\r\n\
             Subject: Mail on box.example could not be passed on\r\n\
             \r\n\
             Messages that were refused by the next host, or waited for too long: 3\r\n\
             They stay on the card of box.example, and nobody else was told.\r\n\
             To look at them, put the card into a computer:\r\n\
             \r\n    postern card export CARD FOLDER\r\n"
        );
    }

    #[test]
    fn one_that_does_not_fit_is_an_error() {
        assert!(notice(1).write(&mut Out::new(&mut [0; 100])).is_err());
    }
}
