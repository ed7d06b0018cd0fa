//! Reverse-paths and forward-paths (RFC 5321 §4.1.2, §4.1.3; UTF-8 in them: RFC 6531 §3.3).
//!
//! Against the grammar, what most servers take is taken here too, since a back-up that is stricter
//! than its primary bounces mail that the primary would take: local parts of more than 64 octets,
//! empty atoms in them, and a mailbox without angle brackets.

use super::domain::{MAX_DOMAIN, is_address_literal, is_domain};

/// Octets of a path at most, angle brackets included (RFC 5321 §4.5.3.1.3). A local part has no
/// bound of its own: SRS, VERP and reply addresses pass the 64 octets that §4.5.3.1.1 asks for.
pub const MAX_PATH: usize = 256;

/// Where a message comes from, and where its bounces go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversePath<'i> {
    /// `<>`: a bounce, which must never be bounced itself (RFC 5321 §4.5.5).
    Null,
    /// A mailbox.
    Mailbox(Mailbox<'i>),
}

impl<'i> ReversePath<'i> {
    /// The mailbox without angle brackets and source route; empty for [`ReversePath::Null`].
    pub fn as_bytes(&self) -> &'i [u8] {
        match self {
            Self::Null => b"",
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }
}

/// A recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardPath<'i> {
    /// `<Postmaster>` without a domain, in any case (RFC 5321 §4.5.1): whoever runs this server.
    Postmaster(&'i [u8]),
    /// A mailbox.
    Mailbox(Mailbox<'i>),
}

impl<'i> ForwardPath<'i> {
    /// The mailbox without angle brackets and source route.
    pub fn as_bytes(&self) -> &'i [u8] {
        match self {
            Self::Postmaster(text) => text,
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }
}

/// `local-part@domain`, as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'i> {
    text: &'i [u8],
    local_part: &'i [u8],
    domain: &'i [u8],
}

impl<'i> Mailbox<'i> {
    /// Parses a mailbox that fills all of `text`.
    pub fn parse(text: &'i [u8]) -> Option<Self> {
        let (local_part, rest) = split_local_part(text)?;
        let domain = rest.strip_prefix(b"@")?;
        let well_formed = is_domain(domain) || is_address_literal(domain);
        let fits = domain.len() <= MAX_DOMAIN && text.len() <= MAX_PATH - 2;
        (fits && well_formed).then_some(Self { text, local_part, domain })
    }

    /// All of it.
    pub fn as_bytes(&self) -> &'i [u8] {
        self.text
    }

    /// What stands before the `@`, quotes included.
    pub fn local_part(&self) -> &'i [u8] {
        self.local_part
    }

    /// What stands behind the `@`: a domain, or an address literal in brackets.
    pub fn domain(&self) -> &'i [u8] {
        self.domain
    }
}

/// Parses `<…>` of a MAIL command and gives what stands behind it; or a mailbox without brackets,
/// if nothing stands behind it.
pub fn parse_reverse(input: &[u8]) -> Option<(ReversePath<'_>, &[u8])> {
    if let Some(rest) = input.strip_prefix(b"<>") {
        return Some((ReversePath::Null, rest));
    }
    let (text, rest) = split_path(input)?;
    Some((ReversePath::Mailbox(Mailbox::parse(text)?), rest))
}

/// Parses `<…>` of a RCPT command and gives what stands behind it; or a mailbox without brackets,
/// if nothing stands behind it.
pub fn parse_forward(input: &[u8]) -> Option<(ForwardPath<'_>, &[u8])> {
    let (text, rest) = split_path(input)?;
    if text.eq_ignore_ascii_case(b"postmaster") {
        return Some((ForwardPath::Postmaster(text), rest));
    }
    Some((ForwardPath::Mailbox(Mailbox::parse(text)?), rest))
}

/// Splits `<@relay,@relay:mailbox>rest` into the mailbox and the rest, dropping the source route,
/// as RFC 5321 §4.1.1.3 and appendix C ask.
fn split_path(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(inside) = input.strip_prefix(b"<") else {
        return input.contains(&b'@').then_some((input, b""));
    };
    let mailbox = if inside.first() == Some(&b'@') { skip_route(inside)? } else { inside };
    let (local_part, behind) = match split_local_part(mailbox) {
        Some((local_part, behind @ [b'@' | b'>', ..])) => (local_part, behind),
        _ => return None,
    };
    let domain = behind.iter().position(|octet| *octet == b'>')?;
    let (text, rest) = mailbox.split_at_checked(local_part.len().checked_add(domain)?)?;
    let length = input.len().checked_sub(rest.len())?.checked_add(1)?;
    (length <= MAX_PATH).then_some((text, rest.get(1..)?))
}

/// Skips `@relay,@relay:`.
fn skip_route(input: &[u8]) -> Option<&[u8]> {
    let colon = route_end(input)?;
    let (route, rest) = input.split_at_checked(colon)?;
    let well_formed = route
        .split(|octet| *octet == b',')
        .all(|hop| hop.strip_prefix(b"@").is_some_and(|d| is_domain(d) || is_address_literal(d)));
    if well_formed { rest.get(1..) } else { None }
}

/// The colon that ends a source route: the first outside an address literal's brackets, since an
/// IPv6 address holds colons of its own.
fn route_end(input: &[u8]) -> Option<usize> {
    let mut bracketed = false;
    input.iter().position(|octet| {
        match octet {
            b'[' => bracketed = true,
            b']' => bracketed = false,
            _ => {}
        }
        *octet == b':' && !bracketed
    })
}

/// Splits a dot-string, whose atoms may be empty, or a quoted string from what follows it.
fn split_local_part(input: &[u8]) -> Option<(&[u8], &[u8])> {
    if input.first() == Some(&b'"') {
        return split_quoted(input);
    }
    let end = input.iter().position(|octet| !is_atext(*octet) && *octet != b'.');
    let (text, rest) = input.split_at_checked(end.unwrap_or(input.len()))?;
    (!text.is_empty() && core::str::from_utf8(text).is_ok()).then_some((text, rest))
}

fn split_quoted(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let mut opened = false;
    let last = input.iter().position(|octet| match (escaped, octet) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, b'\\') => {
            escaped = true;
            false
        }
        (false, b'"') => core::mem::replace(&mut opened, true),
        _ => false,
    })?;
    let (text, rest) = input.split_at_checked(last.checked_add(1)?)?;
    let printable = text.iter().all(|octet| (0x20..=0x7e).contains(octet) || *octet >= 0x80);
    (printable && core::str::from_utf8(text).is_ok()).then_some((text, rest))
}

/// RFC 5322 §3.2.3, and UTF-8 beyond ASCII.
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::{ForwardPath, MAX_PATH, ReversePath, parse_forward, parse_reverse};

    fn mailbox(input: &[u8]) -> Option<&[u8]> {
        match parse_reverse(input)? {
            (ReversePath::Mailbox(mailbox), b"") => Some(mailbox.as_bytes()),
            _ => None,
        }
    }

    #[test]
    fn mailboxes() {
        for good in [
            &b"a@b.example"[..],
            b"a.b+c=d/e@example",
            b"!#$%&'*+-/=?^_`{|}~@x",
            br#""quoted > part"@b.example"#,
            br#""a\"b"@b.example"#,
            br#"""@b.example"#,
            b"a@[192.0.2.1]",
            b"a@[IPv6:2001:db8::1]",
            b"a@[x400:whatever]",
            "jos\u{e9}@ex\u{e4}mple.example".as_bytes(),
        ] {
            let bracketed = [b"<", good, b">"].concat();
            assert_eq!(mailbox(&bracketed), Some(good), "{}", good.escape_ascii());
        }
    }

    #[test]
    fn not_mailboxes() {
        for bad in [
            &b"a"[..],
            b"@b.example",
            b"a@b.example SIZE=1",
            b"a@b.example>",
            b"a@b.example, c@d.example",
            b"@r.example:a@b.example",
            b"Ann <a@b.example>",
            b"<a@b.example",
            b"<a>",
            b"<@b.example>",
            b"<a@>",
            b"<a@-b.example>",
            b"<a@b-.example>",
            b"<a@b..example>",
            b"<a@b.example.>",
            b"<a b@b.example>",
            b"<a@b@c.example>",
            b"<\"a@b.example>",
            b"<\"a\"b@c.example>",
            b"<a@[192.0.2.256]>",
            b"<a@[IPv6:2001::db8::1]>",
            b"<a@[]>",
            b"<a@b.example\xff>",
            b"<<a@b.example>>",
            b"< a@b.example>",
            b"<a@b.example >",
        ] {
            assert_eq!(mailbox(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn source_routes_are_dropped() {
        assert_eq!(mailbox(b"<@r.example:a@b.example>"), Some(&b"a@b.example"[..]));
        assert_eq!(mailbox(b"<@r.example,@[IPv6:::1]:a@b.example>"), Some(&b"a@b.example"[..]));
        assert_eq!(mailbox(b"<@r.example,:a@b.example>"), None);
        assert_eq!(mailbox(b"<@r.example a@b.example>"), None);
    }

    /// RFC 5321 §4.1.2 and §4.5.3.1.1 forbid each of these.
    #[test]
    fn what_is_taken_against_the_grammar() {
        let local = |octets: usize| [&b"l".repeat(octets)[..], b"@b.example"].concat();
        for taken in
            [&b"a@b.example"[..], b".a@b.example", b"a.@b.example", b"a..b@b.example", &local(65)]
        {
            assert_eq!(mailbox(taken), Some(taken), "{}", taken.escape_ascii());
            let bracketed = [b"<", taken, b">"].concat();
            assert_eq!(mailbox(&bracketed), Some(taken), "{}", bracketed.escape_ascii());
        }
        assert!(mailbox(&local(MAX_PATH - 12)).is_some(), "it fits with its brackets");
        assert!(mailbox(&local(MAX_PATH - 11)).is_none());
    }

    #[test]
    fn limits_are_exact() {
        let path = |octets: usize| {
            let labels = [&b"d".repeat(63)[..], &b"d".repeat(63), &b"d".repeat(63)].join(&b'.');
            let last = b"e".repeat(octets - labels.len() - b"<a@.>".len());
            [b"<a@", &labels[..], b".", &last, b">"].concat()
        };
        assert!(mailbox(&path(256)).is_some());
        assert!(mailbox(&path(257)).is_none());
    }

    #[test]
    fn postmaster_needs_no_domain() {
        for text in [&b"<Postmaster>"[..], b"<POSTMASTER>", b"<postmaster>"] {
            assert!(matches!(parse_forward(text), Some((ForwardPath::Postmaster(_), b""))));
        }
        assert!(parse_forward(b"<>").is_none());
        assert!(parse_reverse(b"<postmaster>").is_none());
    }

    #[test]
    fn what_follows_is_handed_back() {
        let (path, rest) = parse_reverse(b"<> SIZE=1").expect("a null reverse-path");
        assert_eq!((path.as_bytes(), rest), (&b""[..], &b" SIZE=1"[..]));
    }
}
