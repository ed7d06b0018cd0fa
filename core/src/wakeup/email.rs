//! The e-mail that wakes a holder.

use crate::time::Timestamp;
use crate::trace::put_date;
use crate::wire::{NoRoom, Out, Text};

/// Octets that are left free for the last line, which counts the domains that are not shown.
const LAST_LINE: usize = 32;

/// A wake-up e-mail: a message that nobody reads, to an account whose mail releases what is held.
///
/// A carrier writes it into a buffer, connects to the host that was configured for it (never its
/// MX), sends it by `drive::deliver::Dialogue::send_own`, and tells [`super::Requests`] what
/// [`super::Answer::to_email`] makes of the reply.
#[derive(Debug, Clone, Copy)]
pub struct Email<'a> {
    /// Our own host name.
    pub hostname: Text<'a>,
    /// The reverse-path; empty for the null one, and then our postmaster stands in From.
    pub from: Text<'a>,
    /// The special account: a mailbox.
    pub to: Text<'a>,
    /// The message's own id, a UUID in text.
    pub id: Text<'a>,
    /// When it is written.
    pub time: Timestamp,
}

impl Email<'_> {
    /// Appends the whole message (RFC 5322 §3.6), marked as written by a program (RFC 3834 §5).
    /// Those of the `domains` that there is no room for are counted only.
    pub fn write<'d>(
        &self,
        domains: impl Iterator<Item = &'d [u8]>,
        out: &mut Out<'_>,
    ) -> Result<(), NoRoom> {
        let Self { hostname, from, to, id, time } = self;
        let hostname = hostname.as_bytes();
        let (local_part, domain): (&[u8], &[u8]) = match from.as_bytes() {
            [] => (b"postmaster@", hostname),
            path => (path, b""),
        };
        out.put(b"Date: ")?;
        put_date(out, *time)?;
        let texts = [
            b"\r\nFrom: ",
            local_part,
            domain,
            b"\r\nTo: ",
            to.as_bytes(),
            b"\r\nMessage-ID: <",
            id.as_bytes(),
            b"@",
            hostname,
            b">\r\nAuto-Submitted: auto-generated\r\nSubject: Wake-up from ",
            hostname,
            b"\r\n\r\n",
            hostname,
            b" is there, and asks for the mail of these domains:\r\n",
        ];
        texts.iter().try_for_each(|text| out.put(text))?;
        let mut left_out: u64 = 0;
        for domain in domains {
            let fits = domain.len().saturating_add(LAST_LINE + 2) <= out.free();
            match fits && left_out == 0 {
                true => [domain, b"\r\n"].iter().try_for_each(|text| out.put(text))?,
                false => left_out += 1,
            }
        }
        if left_out > 0 {
            out.put(b"and ")?;
            out.put_decimal(left_out)?;
            out.put(b" more\r\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;
    use std::vec;

    use super::Email;
    use crate::time::Timestamp;
    use crate::wire::{NoRoom, Out, Text};

    fn written(from: &'static str, domains: &[&str], room: usize) -> Result<String, NoRoom> {
        let text = |text: &'static str| Text::new(text.as_bytes()).expect("printable");
        let time = Timestamp { unix_seconds: 1_700_000_000, known: true };
        let (hostname, to) = (text("box.example"), text("wake@provider.example"));
        let email = Email { hostname, from: text(from), to, id: text("0-1"), time };
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        email.write(domains.iter().map(|domain| domain.as_bytes()), &mut out)?;
        Ok(String::from_utf8(out.written().into()).expect("it is ASCII"))
    }

    #[test]
    fn it_is_a_whole_message() {
        assert_eq!(
            written("", &["client.example", "b.example"], 1024).expect("it fits"),
            "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
             From: postmaster@box.example\r\n\
             To: wake@provider.example\r\n\
             Message-ID: <0-1@box.example>\r\n\
             Auto-Submitted: auto-generated\r\n\
             Subject: Wake-up from box.example\r\n\
             \r\n\
             box.example is there, and asks for the mail of these domains:\r\n\
             client.example\r\n\
             b.example\r\n"
        );
        let from = written("me@client.example", &[], 1024).expect("it fits");
        assert!(from.contains("\r\nFrom: me@client.example\r\nTo: "), "{from}");
    }

    #[test]
    fn domains_that_do_not_fit_are_counted() {
        let whole = written("", &[], 1024).expect("it fits");
        let domains = [&["a.example"; 3][..], &["b.example"; 1_000_000]].concat();
        for (more, shown, left_out) in [(0, 0, 1_000_003), (64, 2, 1_000_001), (65, 3, 1_000_000)] {
            let cut = written("", &domains, whole.len() + more.max(20)).expect("it fits");
            let list = "a.example\r\n".repeat(shown);
            assert_eq!(cut, std::format!("{whole}{list}and {left_out} more\r\n"), "{more}");
        }
        assert_eq!(written("", &[], whole.len() - 1), Err(NoRoom));
    }
}
