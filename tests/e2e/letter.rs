//! A message that is hard to pass on as it is.

/// Eight-bit text, lines that begin with dots, trailing blanks, a long line.
pub fn letter(to: &str, number: usize) -> Vec<u8> {
    let head = "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nFrom: bob@sender.example\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let name = format!("To: {to}\r\nMessage-ID: <{number}@sender.example>\r\n");
    let body = "Grüße aus dem Süden\r\n.\r\n..two dots\r\ntrailing \t \r\n\r\n";
    let long = "x".repeat(990);
    format!("{head}{name}\r\n{body}{long}\r\n").into_bytes()
}

/// Sees to it that `got` is what was `sent`, to the octet, and returns the trace in front of it.
///
/// # Panics
/// When it is not.
pub fn trace(got: &[u8], sent: &[u8]) -> String {
    let trace = got.strip_suffix(sent);
    let trace = trace.unwrap_or_else(|| panic!("not as it was sent: {}", got.escape_ascii()));
    String::from_utf8_lossy(trace).into_owned()
}

/// What is behind the header of a message whose lines end in LF.
pub fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(2).position(|octets| octets == b"\n\n").expect("a header ends");
    &message[end + 2..]
}

/// A message of so many octets: lines that all differ, so that nothing can be lost or change places
/// unseen.
pub fn large(octets: usize) -> Vec<u8> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let mut number = 0_u64;
    while message.len() < octets {
        let line = format!("{number:060}\r\n");
        message.extend_from_slice(line.as_bytes());
        number += 1;
    }
    message
}
