//! A device's notice: mail of its own, about mail that it could not pass on, and its own faults.

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
    /// The last reset after a fault, if it is news.
    pub crash: Option<Crash<'a>>,
    /// When it is written.
    pub time: Timestamp,
}

/// What is known of a device's reset after a fault.
#[derive(Debug, Clone, Copy)]
pub struct Crash<'a> {
    /// What reset it: "a panic", or "the watchdog".
    pub cause: &'a str,
    /// The program that failed, by version and board.
    pub program: Text<'a>,
    /// Seconds that it had run.
    pub uptime_s: u32,
    /// Such resets in a row.
    pub count: u32,
    /// Calls in the program's image that had not returned, the last one first; 0: none.
    pub calls: [u32; 4],
    /// Whether a message was set aside, since it was in hand each time.
    pub set_aside: bool,
}

impl Notice<'_> {
    /// Appends the whole message (RFC 5322 §3.6), marked as written by a program (RFC 3834 §5).
    pub fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        let Self { hostname, to, id, failed, crash, time } = self;
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
            b">\r\nAuto-Submitted: auto-generated\r\nSubject: ",
            hostname,
            b" needs a look\r\n\r\n",
        ];
        put_all(out, &texts)?;
        if *failed > 0 {
            out.put(b"Messages that were refused by the next host, or waited for too long: ")?;
            out.put_decimal(u64::from(*failed))?;
            let texts: [&[u8]; 2] = [
                b"\r\nThey stay on its card, and nobody else was told.\r\n\
                  To look at them, put the card into a computer:\r\n\
                  \r\n    postern card export CARD FOLDER\r\n",
                if crash.is_some() { b"\r\n" } else { b"" },
            ];
            put_all(out, &texts)?;
        }
        crash.as_ref().map_or(Ok(()), |crash| crash.write(out))
    }
}

impl Crash<'_> {
    fn write(&self, out: &mut Out<'_>) -> Result<(), NoRoom> {
        put_all(out, &[b"It was reset by ", self.cause.as_bytes(), b" after "])?;
        out.put_decimal(self.uptime_s.into())?;
        put_all(
            out,
            &[b" seconds of Postern ", self.program.as_bytes(), b".\r\nSuch resets in a row: "],
        )?;
        out.put_decimal(self.count.into())?;
        for (index, call) in self.calls.iter().take_while(|call| **call != 0).enumerate() {
            out.put(if index == 0 { b"\r\nCalls: 0x" } else { b" 0x" })?;
            put_hexadecimal(*call, out)?;
        }
        if self.set_aside {
            out.put(b"\r\nThe message that it had in hand each time is set aside.")?;
        }
        out.put(b"\r\nThe last resets are on its card:\r\n\r\n    postern card show CARD\r\n")
    }
}

fn put_hexadecimal(number: u32, out: &mut Out<'_>) -> Result<(), NoRoom> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    (0..8).rev().try_for_each(|digit| {
        let value = number >> (4 * digit) & 0xF;
        out.put(DIGITS.get(value as usize..).unwrap_or_default().get(..1).unwrap_or_default())
    })
}

fn put_all(out: &mut Out<'_>, texts: &[&[u8]]) -> Result<(), NoRoom> {
    texts.iter().try_for_each(|text| out.put(text))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use super::{Crash, Notice};
    use crate::time::Timestamp;
    use crate::wire::{Out, Text};

    fn notice(failed: u32) -> Notice<'static> {
        let text = |text: &'static str| Text::new(text.as_bytes()).expect("printable");
        let time = Timestamp { unix_seconds: 1_700_000_000, known: true };
        let (hostname, to) = (text("box.example"), text("root@client.example"));
        Notice { hostname, to, id: text("0-1"), failed, crash: None, time }
    }

    fn crash(set_aside: bool, calls: [u32; 4]) -> Crash<'static> {
        let program = Text::new(b"0.1.0 evb").expect("printable");
        Crash { cause: "a panic", program, uptime_s: 86_400, count: 3, calls, set_aside }
    }

    fn written(notice: &Notice<'_>) -> String {
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer);
        notice.write(&mut out).expect("it fits");
        String::from_utf8(out.written().into()).expect("it is ASCII")
    }

    const CRASH: &str = "It was reset by a panic after 86400 seconds of Postern 0.1.0 evb.\r\n\
         Such resets in a row: 3\r\n\
         Calls: 0x0000ab12 0x1000f00d\r\n\
         The message that it had in hand each time is set aside.\r\n\
         The last resets are on its card:\r\n\
         \r\n    postern card show CARD\r\n";

    #[test]
    fn a_fault_of_the_device_is_told() {
        let whole = Some(crash(true, [0xAB12, 0x1000_F00D, 0, 0]));
        let both = written(&Notice { crash: whole, ..notice(3) });
        assert!(both.ends_with(&[" CARD FOLDER\r\n\r\n", CRASH].concat()), "{both}");
        let alone = written(&Notice { crash: whole, ..notice(0) });
        assert!(alone.ends_with(&[" needs a look\r\n\r\n", CRASH].concat()), "{alone}");
        let bare = written(&Notice { crash: Some(crash(false, [0; 4])), ..notice(0) });
        assert!(bare.contains("in a row: 3\r\nThe last resets"), "{bare}");
    }

    #[test]
    fn a_notice_is_a_whole_message() {
        assert_eq!(
            written(&notice(3)),
            "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
             From: postmaster@box.example\r\n\
             To: root@client.example\r\n\
             Message-ID: <0-1@box.example>\r\n\
             Auto-Submitted: auto-generated\r\n\
             Subject: box.example needs a look\r\n\
             \r\n\
             Messages that were refused by the next host, or waited for too long: 3\r\n\
             They stay on its card, and nobody else was told.\r\n\
             To look at them, put the card into a computer:\r\n\
             \r\n    postern card export CARD FOLDER\r\n"
        );
    }

    #[test]
    fn one_that_does_not_fit_is_an_error() {
        assert!(notice(1).write(&mut Out::new(&mut [0; 100])).is_err());
    }
}
