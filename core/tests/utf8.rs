//! Messages that need SMTPUTF8, and those that only say so.

use postern_core::utf8::{Content, Scan};
use proptest::prelude::*;

fn scan(message: &[u8], piece: usize) -> Content {
    let mut scan = Scan::new();
    message.chunks(piece.max(1)).for_each(|octets| scan.feed(octets));
    scan.content()
}

/// The answer, which is the same for pieces of any size.
fn content(message: &str) -> Content {
    let message = message.replace('\n', "\r\n");
    let whole = scan(message.as_bytes(), message.len());
    for piece in 1..message.len().min(80) {
        assert_eq!(scan(message.as_bytes(), piece), whole, "{message:?} in pieces of {piece}");
    }
    whole
}

/// A multipart's header with this boundary parameter.
fn multipart(parameters: &str) -> String {
    format!("Subject: x\nContent-Type: multipart/mixed{parameters}\n\n")
}

#[test]
fn the_header_of_the_message() {
    assert_eq!(content(""), Content::Ascii);
    assert_eq!(content("Subject: plain\n\nf\u{fc}r\nSubject: \u{fc}\n\n"), Content::Ascii);
    assert_eq!(content("Subject: f\u{fc}r\n\nplain\n"), Content::Utf8);
    assert_eq!(content("Subject: a\n f\u{fc}r\n\nplain\n"), Content::Utf8);
    assert_eq!(content("\nf\u{fc}r\n"), Content::Ascii, "no header at all");
    assert_eq!(content("To: \u{fc}"), Content::Utf8, "no end either");
    assert_eq!(scan(b"To: \x7f\r\n\r\n", 3), Content::Ascii);
    assert_eq!(scan(b"To: \x80\r\n\r\n", 3), Content::Utf8, "not even that");
}

#[test]
fn headers_of_parts() {
    let of = |part: &str| content(&format!("{}pre\u{e4}mble\n{part}", multipart("; boundary=b")));
    assert_eq!(of("--b\nA: x\n\nf\u{fc}r\n--b--\nepilog\u{fc}e\n"), Content::Ascii);
    assert_eq!(of("--b\nA: \u{fc}\n\nx\n--b--\n"), Content::Utf8);
    assert_eq!(of("--b\n\n\u{fc}\n--b \t\nA: \u{fc}\n\nx\n--b--\n"), Content::Utf8, "the second");
    assert_eq!(of("--b\nA: a\n--b\nA: \u{fc}\n"), Content::Utf8, "a header without an end");
    assert_eq!(of("--b--\n--b\nA: \u{fc}\n\n"), Content::Utf8, "behind its close");
    assert_eq!(of("-- b\nA: \u{fc}\n\n"), Content::Ascii, "no boundary");
    assert_eq!(of("--b\nContent-Type: message/rfc822\n\nA: \u{fc}\n\n"), Content::Utf8);
    assert_eq!(of("--b\nContent-Type: message/rfc822\n\nA: x\n\n\u{fc}\n"), Content::Ascii);
    assert_eq!(of("--b\nContent-Type: message/global\n\nA: \u{fc}\n\n"), Content::Utf8);
    assert_eq!(of("--b\nContent-Type: text/rfc822-headers\n\nA: \u{fc}\n\n"), Content::Ascii);
    let within = "--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nx\n";
    assert_eq!(of(&format!("{within}--c\nA: \u{fc}\n\n")), Content::Utf8);
    assert_eq!(of(&format!("{within}--c--\n--b\nA: \u{fc}\n\n")), Content::Utf8);
    assert_eq!(of(&format!("{within}--b\n\nx\n--c\nA: \u{fc}\n\n")), Content::Ascii, "it is over");
    assert_eq!(of(&format!("{within}--b--\n\u{fc}\n")), Content::Ascii);
    assert_eq!(of("--\rb\nA: \u{fc}\n\n"), Content::Ascii, "a CR by itself is no line's end");
    let message = "--b\nContent-Type: message/rfc822\n";
    assert_eq!(of(&format!("{message}--b\n\nA: \u{fc}\n")), Content::Ascii, "of the part before");
    let line = "x".repeat(5000);
    assert_eq!(of(&format!("--b\n\n{line}--b\nA: \u{fc}\n\n")), Content::Ascii);
    assert_eq!(of(&format!("--b\n\n{line}\n--b\nA: \u{fc}\n\n")), Content::Utf8);
}

#[test]
fn boundaries_that_begin_alike_and_those_that_are_folded() {
    let inner = "--b\nContent-Type: multipart/mixed; boundary=bc\n\n--bc\n\nx\n--bc--\n";
    let of = |parameters: &str, parts: &str| content(&(multipart(parameters) + parts));
    assert_eq!(of("; boundary=b", &format!("{inner}A: \u{fc}\n")), Content::Ascii, "it closes");
    // A line that goes on in the next is one line of a header, and no boundary.
    let folded = "-- b\nContent-Type: message/rfc822\n--\n b\n\nA: \u{fc}\n";
    assert_eq!(of("; boundary=\" b\"", folded), Content::Utf8);
    // The longest, with its close.
    let longest = "y".repeat(70);
    let closed = format!("--{longest}\n\nx\n--{longest}--\n\u{fc}\n");
    assert_eq!(of(&format!("; boundary={longest}"), &closed), Content::Ascii);
    // A long field before says nothing of the type.
    let long = format!("X: {}\n", "z".repeat(2000));
    let parts = format!("{long}{}--b\nA: \u{fc}\n\n", multipart("; boundary=b"));
    assert_eq!(content(&parts), Content::Utf8);
}

#[test]
fn a_digest_is_of_messages() {
    let of = |part: &str| {
        content(&format!("Content-Type: multipart/digest; boundary=b\n\n--b\n{part}--b--\n"))
    };
    assert_eq!(of("\nSubject: \u{fc}\n\n"), Content::Utf8);
    assert_eq!(of("\nSubject: x\n\n\u{fc}\n"), Content::Ascii);
    assert_eq!(of("Content-Type: text/plain\n\nSubject: \u{fc}\n\n"), Content::Ascii);
}

#[test]
fn boundaries_in_all_their_forms() {
    let found = |parameters: &str| {
        content(&format!("{}--a b\nA: x\n\n--a\nA: \u{fc}\n\n", multipart(parameters)))
    };
    for parameters in [
        "; boundary=a",
        ";boundary=\"a\"",
        " (c) ; (c) BOUNDARY (\\) (d)) = (e) a (f)",
        "; charset=\"x;boundary=z\"; boundary=a",
        "; ; boundary=\"\\a\";",
        ";\n\tboundary=a",
        "; name*0=b; boundary=a",
    ] {
        assert_eq!(found(parameters), Content::Utf8, "{parameters}");
    }
    assert_eq!(found("; boundary=\"a c\""), Content::Ascii);
    // Readers may differ on where these parts begin.
    let long = "x".repeat(71);
    for parameters in [
        "",
        "; boundary",
        "; boundary=",
        "; boundary=\"\"",
        "; boundary=\"a",
        "; boundary=\"a \"",
        "; boundary=\"a\t\"",
        "; boundary=a\u{7f}",
        "); boundary=a",
        "; boundary=a/b",
        "; boundary=a; boundary=b",
        "; boundary*=us-ascii''a",
        "; boundary*0=a; boundary=b",
        "; boundary=a\nContent-Type: text/plain",
        &format!("; boundary={long}"),
        &format!("; boundary=a; x=\"{}\"", "y".repeat(1024)),
    ] {
        let header = multipart(parameters);
        assert_eq!(content(&header), Content::Undecided, "{header}");
    }
    for header in ["Content-Type: multipart\n\n", "Content-Type:\n\n"] {
        assert_eq!(content(header), Content::Undecided, "{header}");
    }
    let long = format!("Content-Type: text/plain; name=\"{}\"\n\n\u{fc}", "y".repeat(2000));
    assert_eq!(content(&long), Content::Ascii, "what follows is told by its start");
}

#[test]
fn only_so_many_multiparts_within_each_other() {
    let nested = |depth: usize| {
        let mut message = String::new();
        for level in 0..depth {
            message += &format!("Content-Type: multipart/mixed; boundary=b{level}x\n\n");
            message += &format!("--b{level}x\n");
        }
        content(&(message + "\n\u{fc}\n"))
    };
    assert_eq!(nested(8), Content::Ascii);
    assert_eq!(nested(9), Content::Undecided);
    // One behind the other is not within each other.
    let one = "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n";
    let many = format!("{}{}", multipart("; boundary=b"), one.repeat(20));
    assert_eq!(content(&many), Content::Ascii);
}

/// A part: leaves, messages and multiparts, with `sign` in one of their headers or bodies.
#[derive(Debug, Clone)]
enum Part {
    Leaf { header: bool, body: bool },
    Message(Box<Part>),
    Multipart(Vec<Part>),
}

impl Part {
    /// The part as text, with boundaries of its own; and whether a header has the sign.
    fn write(&self, text: &mut String, level: usize) -> bool {
        match self {
            Self::Leaf { header, body } => {
                let sign = |set: bool| if set { "f\u{fc}r" } else { "for" };
                *text += &format!("Subject: {}\r\n\r\n{}\r\n", sign(*header), sign(*body));
                *header
            }
            Self::Message(message) => {
                *text += "Content-Type: Message/RFC822\r\n\r\n";
                message.write(text, level)
            }
            Self::Multipart(parts) => {
                *text +=
                    &format!("Content-Type: multipart/mixed;\r\n boundary=\"=_{level}_=\"\r\n\r\n");
                let mut found = false;
                for part in parts {
                    *text += &format!("\r\n--=_{level}_=\r\n");
                    found |= part.write(text, level + 1);
                }
                *text += &format!("\r\n--=_{level}_=--\r\n");
                found
            }
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = (prop::bool::weighted(0.1), any::<bool>())
        .prop_map(|(header, body)| Part::Leaf { header, body });
    leaf.prop_recursive(5, 20, 4, |part| {
        prop_oneof![
            part.clone().prop_map(|part| Part::Message(Box::new(part))),
            prop::collection::vec(part, 0..4).prop_map(Part::Multipart),
        ]
    })
}

proptest! {
    #[test]
    fn a_header_in_utf8_is_found_wherever_it_stands(part in part(), piece in 1..40_usize) {
        let mut text = String::new();
        let expected = if part.write(&mut text, 0) { Content::Utf8 } else { Content::Ascii };
        prop_assert_eq!(scan(text.as_bytes(), text.len()), expected, "{}", &text);
        prop_assert_eq!(scan(text.as_bytes(), piece), expected, "{}", &text);
    }

    /// Headers of any kind, in any pieces: the same answer, and no panic.
    #[test]
    fn pieces_change_nothing(
        words in prop::collection::vec(prop::sample::select(&[
            "\r\n", "\r", "\n", "Content-Type:", "multipart/mixed", "message/rfc822", ";", " ",
            "boundary=", "b", "--b", "--", "\"", "\\", "(", ")", "=", "x", "\u{fc}", "--b--\r\n",
        ][..]), 0..60),
        piece in 1..20_usize,
    ) {
        let text = words.concat();
        prop_assert_eq!(scan(text.as_bytes(), piece), scan(text.as_bytes(), text.len()));
    }
}
