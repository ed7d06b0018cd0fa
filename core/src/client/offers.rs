//! What the peer offers in its answer to EHLO or LHLO.

use super::reply::Reply;

/// The extensions that the client makes use of (RFC 5321 §4.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870.
    pub size: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub start_tls: bool,
    /// RFC 1985.
    pub etrn: bool,
}

impl Offers {
    /// What a peer offers that only knows HELO.
    pub const fn none() -> Self {
        Self {
            pipelining: false,
            size: false,
            eight_bit_mime: false,
            smtp_utf8: false,
            chunking: false,
            dsn: false,
            start_tls: false,
            etrn: false,
        }
    }

    /// Reads the lines behind the first; unknown keywords are passed over.
    pub fn parse(reply: &Reply<'_>) -> Self {
        let mut offers = Self::none();
        for line in reply.lines().skip(1) {
            let keyword = line.split(|octet| *octet == b' ').next().unwrap_or_default();
            if let Some(offer) = offers.of(keyword) {
                *offer = true;
            }
        }
        offers
    }

    fn of(&mut self, keyword: &[u8]) -> Option<&mut bool> {
        let known = [
            ("PIPELINING", &mut self.pipelining),
            ("SIZE", &mut self.size),
            ("8BITMIME", &mut self.eight_bit_mime),
            ("SMTPUTF8", &mut self.smtp_utf8),
            ("CHUNKING", &mut self.chunking),
            ("DSN", &mut self.dsn),
            ("STARTTLS", &mut self.start_tls),
            ("ETRN", &mut self.etrn),
        ];
        known
            .into_iter()
            .find(|(name, _)| keyword.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, offer)| offer)
    }
}
