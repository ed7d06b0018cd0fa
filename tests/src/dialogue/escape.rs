//! Octets as scripts write them.

/// Reads `\r \n \t \s \\ \xNN` and `\{TEXT*COUNT}`.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('\\') {
        octets.extend_from_slice(head.as_bytes());
        rest = unescape_one(tail, &mut octets)?;
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// Reads what stands behind one backslash and gives the rest.
fn unescape_one<'t>(text: &'t str, octets: &mut Vec<u8>) -> Result<&'t str, String> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or("a backslash at the end of the line")?;
    let rest = chars.as_str();
    let plain = match kind {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        's' => b' ',
        '\\' => b'\\',
        'x' => {
            let digits = rest.get(..2).ok_or("\\x wants two hexadecimal digits")?;
            let octet = u8::from_str_radix(digits, 16);
            octets.push(octet.map_err(|_| format!("\\x{digits} is not hexadecimal"))?);
            return Ok(&rest[2..]);
        }
        '{' => {
            let (inside, rest) = rest.split_once('}').ok_or("\\{ without }")?;
            octets.extend(repeated(inside)?);
            return Ok(rest);
        }
        other => return Err(format!("\\{other} is not an escape")),
    };
    octets.push(plain);
    Ok(rest)
}

fn repeated(inside: &str) -> Result<Vec<u8>, String> {
    let (text, count) = inside.rsplit_once('*').ok_or("\\{TEXT*COUNT} has no *")?;
    let count: usize = count.parse().map_err(|_| format!("'{count}' is not a count"))?;
    Ok(text.as_bytes().repeat(count))
}

/// `N text` as N lines with CRLF, `{n}` replaced by the line's number.
pub fn repeat_lines(argument: &str) -> Result<Vec<String>, String> {
    let (count, text) = argument.split_once(' ').ok_or("a count and a text are needed")?;
    let count: usize = count.parse().map_err(|_| format!("'{count}' is not a count"))?;
    Ok((1..=count).map(|n| text.replace("{n}", &n.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::{repeat_lines, unescape};

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\r\n\t\s\\\x00\xfF\{ab*2}c"), Ok(b"a\r\n\t \\\0\xffababc".to_vec()));
        for bad in [r"\", r"\q", r"\x0", r"\xzz", r"\{ab}", r"\{ab*", r"\{ab*c}"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn repetition() {
        assert_eq!(repeat_lines("2 a{n}b"), Ok(vec!["a1b".into(), "a2b".into()]));
        assert!(repeat_lines("two lines").is_err());
    }
}
