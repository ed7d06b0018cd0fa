//! Domains and address literals (RFC 5321 §4.1.2, §4.1.3).

// Addresses are not parsed by core::net, whose parsers keep a path to a panic that no optimizer
// removes.

use super::lex::{parse_decimal, split_once};

/// Octets of a domain at most (RFC 5321 §4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;

/// Whether `text` is a domain: labels of letters, digits and inner hyphens, or UTF-8 (U-labels).
pub fn is_domain(text: &[u8]) -> bool {
    text.len() <= MAX_DOMAIN
        && text.split(|octet| *octet == b'.').all(is_label)
        && core::str::from_utf8(text).is_ok()
}

/// The 63 octets of RFC 1035 §2.3.4 are those of the A-label (RFC 5890 §2.3.2.1). That of a U-label
/// has four for `xn--` and at least one for each character.
fn is_label(label: &[u8]) -> bool {
    let letter_or_digit = |octet: &u8| octet.is_ascii_alphanumeric() || *octet >= 0x80;
    let characters = label.iter().filter(|octet| **octet & 0xc0 != 0x80).count();
    let octets = if label.is_ascii() { label.len() } else { characters.saturating_add(4) };
    (1..=63).contains(&octets)
        && label.first().is_some_and(letter_or_digit)
        && label.last().is_some_and(letter_or_digit)
        && label.iter().all(|octet| letter_or_digit(octet) || *octet == b'-')
}

/// Whether `text` is an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]` or `[tag:content]`.
pub fn is_address_literal(text: &[u8]) -> bool {
    let [b'[', inside @ .., b']'] = text else { return false };
    let Some((tag, content)) = split_once(inside, b':') else { return is_ipv4(inside) };
    if tag.eq_ignore_ascii_case(b"IPv6") {
        return is_ipv6(content);
    }
    let printable = |octet: &u8| (33..=90).contains(octet) || (94..=126).contains(octet);
    is_label(tag) && tag.is_ascii() && !content.is_empty() && content.iter().all(printable)
}

/// Four numbers of up to three digits, at most 255.
fn is_ipv4(text: &[u8]) -> bool {
    let number = |digits: &[u8]| {
        digits.len() <= 3 && parse_decimal(digits).is_some_and(|number| number <= 255)
    };
    let octets = || text.split(|octet| *octet == b'.');
    octets().count() == 4 && octets().all(number)
}

/// Eight groups, or fewer and one `::`; an IPv4 address at the end stands for two.
fn is_ipv6(text: &[u8]) -> bool {
    let Some(at) = text.windows(2).position(|pair| pair == b"::") else {
        return groups(text) == Some(8);
    };
    let Some((head, gap)) = text.split_at_checked(at) else { return false };
    let tail = gap.get(2..).unwrap_or_default();
    // An IPv4 address is the end of it all, so the head has none.
    match (head.is_empty(), tail.is_empty(), groups(head), groups(tail)) {
        (true, true, _, _) => true,
        (false, true, Some(before), _) => before <= 7 && !head.contains(&b'.'),
        (true, false, _, Some(behind)) => behind <= 7,
        (false, false, Some(before), Some(behind)) => {
            before.saturating_add(behind) <= 7 && !head.contains(&b'.')
        }
        _ => false,
    }
}

/// The groups of `text`, if all are well formed.
fn groups(text: &[u8]) -> Option<usize> {
    let mut count: usize = 0;
    let mut ended = false;
    for group in text.split(|octet| *octet == b':') {
        let hexadecimal = group.iter().all(u8::is_ascii_hexdigit);
        let more = match group {
            _ if ended => return None,
            _ if hexadecimal && (1..=4).contains(&group.len()) => 1,
            _ if is_ipv4(group) => {
                ended = true;
                2
            }
            _ => return None,
        };
        count = count.saturating_add(more);
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::format;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::{MAX_DOMAIN, is_address_literal, is_domain, is_ipv4, is_ipv6};

    #[test]
    fn domains() {
        let thai = "\u{e01}".repeat(22); // 66 octets; its A-label has 37
        for good in ["a", "a-b.example", "1.2", &"x".repeat(63), &format!("{thai}.example")] {
            assert!(is_domain(good.as_bytes()), "{good}");
        }
        for bad in ["", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "x\u{7f}"] {
            assert!(!is_domain(bad.as_bytes()), "{bad}");
        }
        assert!(!is_domain(b"\xff.example"), "not UTF-8");
    }

    #[test]
    fn the_limits_of_labels_and_domains_are_exact() {
        let umlauts = |count: usize| is_domain("\u{e4}".repeat(count).as_bytes());
        assert!(umlauts(59) && !umlauts(60), "xn-- and 59 more are 63");
        assert!(!is_domain(&[b'x'; 64]));
        let long = |last: usize| [&[b'x'; 63][..]; 3].join(&b'.').len() + 1 + last;
        let domain = |last: usize| [&[b'x'; 63], &[b'x'; 63], &[b'x'; 63], &[b'x'; 63][..last]];
        assert_eq!(long(63), MAX_DOMAIN);
        assert!(is_domain(&domain(63).join(&b'.')));
        let longer = [&domain(62).join(&b'.')[..], b".y"].concat();
        assert_eq!(longer.len(), MAX_DOMAIN + 1);
        assert!(!is_domain(&longer));
    }

    #[test]
    fn literals() {
        for good in ["[192.0.2.1]", "[IPv6:::1]", "[ipv6:2001:db8::192.0.2.1]", "[x400:!~]"] {
            assert!(is_address_literal(good.as_bytes()), "{good}");
        }
        for bad in [
            "192.0.2.1",
            "[192.0.2.1",
            "[]",
            "[192.0.2]",
            "[192.0.2.256]",
            "[192.0.2.0001]",
            "[IPv6:1::2::3]",
            "[IPv6:1:2:3:4:5:6:7]",
            "[IPv6:12345::]",
            "[IPv6:1:2:3:4:5:6:7::8]",
            "[IPv6:192.0.2.1::]",
            "[x:]",
            "[-x:a]",
            "[\u{e4}:a]",
            "[x:a b]",
            "[x:a]b]",
            "[IPv6:]",
        ] {
            assert!(!is_address_literal(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        /// Leading zeros in IPv4 are RFC 5321's to allow, and the standard library's to refuse.
        #[test]
        fn as_the_standard_library_says(
            ipv4 in "(0|[1-9][0-9]{0,2})([.](0|[1-9][0-9]{0,2})){1,4}[.]?",
            ipv6 in "([0-9a-f]{0,5}:{1,2}){0,8}([0-9a-f]{0,4}|192[.]0[.]2[.]1)",
        ) {
            prop_assert_eq!(is_ipv4(ipv4.as_bytes()), ipv4.parse::<Ipv4Addr>().is_ok());
            prop_assert_eq!(is_ipv6(ipv6.as_bytes()), ipv6.parse::<Ipv6Addr>().is_ok());
        }

        #[test]
        fn every_address_is_one(ipv4: Ipv4Addr, ipv6: Ipv6Addr) {
            prop_assert!(is_ipv4(ipv4.to_string().as_bytes()));
            prop_assert!(is_ipv6(ipv6.to_string().as_bytes()));
        }
    }
}
