//! Sections of RFCs, as comments name them.

/// The sections named in `text`, each with its RFC: `RFC 5321 §2.4, §4.1` names two, and so does
/// `RFC 5321 §4.2.4, appendix C`.
pub fn sections(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    let mut rfc = None;
    let mut words = text.split_whitespace().map(|word| word.trim_matches(PUNCTUATION));
    while let Some(word) = words.next() {
        match (word, rfc) {
            ("RFC", _) => rfc = words.next(),
            ("appendix", Some(rfc)) => {
                named.extend(words.next().map(|letter| format!("RFC {rfc} appendix {letter}")));
            }
            (_, Some(rfc)) if word.starts_with('§') => named.push(format!("RFC {rfc} {word}")),
            _ => {}
        }
    }
    named
}

const PUNCTUATION: &[char] = &['.', ',', ':', ';', '(', ')'];

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn each_section_with_its_rfc() {
        let text = " RFC 5321 §2.4, §4.1: of (RFC 1985 §5), appendix C; 4.2.";
        let named = ["RFC 5321 §2.4", "RFC 5321 §4.1", "RFC 1985 §5", "RFC 1985 appendix C"];
        assert_eq!(sections(text), named);
        assert!(sections(" §3 of no RFC; the appendix").is_empty());
        assert!(sections(" RFC 5321 in general").is_empty());
    }
}
