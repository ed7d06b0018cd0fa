//! Every message of up to 8 octets over { CR, LF, '.', x }, and of up to 6 over those and NUL, at
//! every split, against a reference that is too simple to be wrong.

use postern_core::session::{Ask, Config, Event, Need, Next, Session, Transport, Verdict};
use postern_core::time::Instant;
use postern_core::wire::reply::Reason;
use postern_core::wire::{Out, Text};

/// Each alphabet, and how long its messages may be.
const ALPHABETS: [(&[u8], u32); 2] = [(b"\r\n.x", 8), (b"\r\n.x\0", 6)];
const END: &[u8] = b"\r\n.\r\n";
const ENVELOPE: &[u8] = b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n";

/// What a stream of octets behind 354 is: the message, or none if it must be refused, and where
/// its end is.
fn reference(stream: &[u8]) -> (Option<Vec<u8>>, usize) {
    let is_end = |end: &usize| {
        let head = &stream[..*end];
        head == b".\r\n" || head.ends_with(END)
    };
    let end = (0..=stream.len()).find(is_end).expect("every stream is given an end");
    let text = String::from_utf8(stream[..end - 3].to_vec()).expect("the alphabet is ASCII");
    if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return (None, end);
    }
    let lines: Vec<&str> =
        text.split("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
    (Some(lines.join("\r\n").into_bytes()), end)
}

struct Receiver<'c> {
    session: Session<'c>,
    replies: Vec<u8>,
    message: Vec<u8>,
    input: Vec<u8>,
}

impl Receiver<'_> {
    /// Lends `octets` behind what was not consumed, and gives the messages that ended whole.
    fn feed(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer);
        let mut ended = None;
        let mut start = 0;
        self.input.extend_from_slice(octets);
        loop {
            let unread = &self.input[start..];
            let step = self.session.step(Instant::from_millis(0), unread, &mut out);
            start += step.consumed;
            match step.next {
                Next::Event(
                    Event::Connect { ask }
                    | Event::Hello { ask, .. }
                    | Event::Mail { ask, .. }
                    | Event::Rcpt { ask, .. }
                    | Event::Data { ask },
                ) => self.answer(ask, Verdict::Accept, &mut out),
                Next::Event(Event::Chunk(chunk)) => self.message.extend_from_slice(chunk),
                Next::Event(Event::Discard(_)) => self.message.clear(),
                Next::Event(Event::End { ask, .. }) => {
                    ended = Some(std::mem::take(&mut self.message));
                    self.answer(ask, Verdict::Refuse(Reason::Policy, None), &mut out);
                }
                Next::Need(Need::Room) => self.flush(&mut out),
                Next::Need(Need::Input) => break,
                other => panic!("{other:?} in a message"),
            }
        }
        self.flush(&mut out);
        self.input.drain(..start);
        ended
    }

    fn answer(&mut self, ask: Ask, verdict: Verdict<'_>, out: &mut Out<'_>) {
        self.session.answer(ask, verdict, out).expect("a step leaves room for its answer");
    }

    fn flush(&mut self, out: &mut Out<'_>) {
        self.replies.extend_from_slice(out.written());
        out.clear();
    }

    /// Sends a message in the pieces given; `None` for one that is refused.
    fn receive<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> Option<Vec<u8>> {
        assert_eq!(self.feed(ENVELOPE), None);
        self.replies.clear();
        let mut ended = None;
        for piece in pieces {
            assert!(ended.is_none() && self.replies.is_empty(), "the end came early");
            ended = self.feed(piece);
        }
        let expected: &[u8] = if ended.is_some() { b"550 5.7.1" } else { b"554 5.6.0" };
        assert!(self.replies.starts_with(expected), "{}", self.replies.escape_ascii());
        assert!(self.input.is_empty(), "octets of the message are left over");
        ended
    }
}

/// The messages of so many octets.
fn messages(alphabet: &'static [u8], octets: u32) -> impl Iterator<Item = Vec<u8>> {
    let letters = alphabet.len();
    (0..letters.pow(octets)).map(move |number| {
        (0..octets).map(|digit| alphabet[number / letters.pow(digit) % letters]).collect()
    })
}

#[test]
fn every_message_at_every_split() {
    let config = Config::new(Text::new(b"mx.example").expect("printable"));
    let config = Config { max_errors: 0, ..config };
    let session = Session::new(&config, 1, Transport::Clear);
    let (replies, message_so_far, input) = (Vec::new(), Vec::new(), Vec::new());
    let mut receiver = Receiver { session, replies, message: message_so_far, input };
    assert_eq!(receiver.feed(b"EHLO sender.example\r\n"), None);
    let mut runs = 0_u32;
    for (alphabet, max_octets) in ALPHABETS {
        for message in (0..=max_octets).flat_map(|octets| messages(alphabet, octets)) {
            let stream = [&message[..], END].concat();
            let (expected, end) = reference(&stream);
            let stream = &stream[..end];
            let shown = stream.escape_ascii();
            for split in 0..end {
                let (left, right) = stream.split_at(split);
                let pieces = [left, right].into_iter().filter(|piece| !piece.is_empty());
                assert_eq!(receiver.receive(pieces), expected, "{shown} split at {split}");
            }
            assert_eq!(receiver.receive(stream.chunks(1)), expected, "{shown} octet by octet");
            runs += end as u32 + 1;
        }
    }
    println!("{runs} messages received");
}

#[test]
fn the_reference() {
    let body = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(reference(b".\r\n"), (body(""), 3));
    assert_eq!(reference(b"\r\n.\r\nx"), (body("\r\n"), 5));
    assert_eq!(reference(b"..x\r\n.\r\n"), (body(".x\r\n"), 8));
    assert_eq!(reference(b"x\n.\n\r\n.\r\n"), (None, 9));
    assert_eq!(reference(b".\r.\r\n\r\n.\r\n"), (None, 10));
}
