//! Characters that a terminal or a line splitter obeys: in what others sent they are data only.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::config::is_format;

/// Whether `letter` is shown as itself, and does nothing else.
pub fn is_plain(letter: char) -> bool {
    !letter.is_control() && !is_format(letter)
}

/// JSON with `\u` escapes for what is not [plain](is_plain) in its strings; it means the same.
/// JSON has to escape no more than U+0000 to U+001F, so that writers leave the others as they are.
pub fn json(text: &str) -> Cow<'_, str> {
    // Outside of strings, JSON has these of ASCII for space.
    let stays = |c: char| is_plain(c) || matches!(c, '\n' | '\r' | '\t');
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stays(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a String does not fail");
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_not_plain() {
        for c in "\0\x1b\x7f\u{85}\u{9b}\u{200b}\u{202e}\u{2028}\u{2029}\u{2066}\u{feff}".chars() {
            assert!(!is_plain(c), "{c:?}");
        }
        assert!("aß é漢😀\u{301}\u{fffd}".chars().all(is_plain));
    }

    #[test]
    fn escaped_json_means_the_same() {
        let text = "a\u{9b}b\u{2028}c\u{202e}d\u{e0041}\x7f é";
        let written = serde_json::json!({ "text": text }).to_string();
        let escaped = json(&written);
        assert!(escaped.chars().all(is_plain), "{escaped:?}");
        assert!(escaped.contains(r"a\u009bb\u2028c\u202ed\udb40\udc41\u007f é"), "{escaped}");
        let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
        assert_eq!(read["text"], text);
        assert!(matches!(json("{\"a\": \"é\"}\n"), Cow::Borrowed(_)));
    }
}
