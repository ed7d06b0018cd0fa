//! A log whose output is full, gone, or stands still.

use std::io::ErrorKind;
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;

/// Far more than any step takes, so that a failure ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// An output that waits for what to do with each write: take so many bytes, or fail.
struct Told {
    orders: Receiver<Result<usize, ErrorKind>>,
    written: Sender<Vec<u8>>,
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.orders.recv().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        let _ = self.written.send(bytes[..taken].to_vec());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rig {
    lines: Lines,
    orders: Sender<Result<usize, ErrorKind>>,
    written: Receiver<Vec<u8>>,
    lost: Receiver<u64>,
}

impl Rig {
    fn new() -> Self {
        let ((orders, of_test), (of_output, written)) = (mpsc::channel(), mpsc::channel());
        let (told, lost) = mpsc::channel();
        let output = Told { orders: of_test, written: of_output };
        let tell = move |lines| told.send(lines).expect("the test listens");
        let lines = Lines::start(output, tell).expect("a thread");
        Self { lines, orders, written, lost }
    }

    fn order(&self, order: Result<usize, ErrorKind>) {
        self.orders.send(order).expect("the output listens");
    }

    fn written(&self) -> Vec<u8> {
        self.written.recv_timeout(PATIENCE).expect("a write")
    }
}

const ALL: Result<usize, ErrorKind> = Ok(usize::MAX);

#[test]
fn a_line_that_cannot_be_written_costs_itself_and_is_told_of() {
    let rig = Rig::new();
    for error in [ErrorKind::BrokenPipe, ErrorKind::StorageFull] {
        rig.lines.push(b"lost\n");
        rig.order(Err(error));
    }
    rig.lines.push(b"there\n");
    rig.order(Err(ErrorKind::Interrupted));
    rig.order(Err(ErrorKind::WouldBlock));
    rig.order(ALL);
    assert_eq!(rig.written(), b"there\n");
    assert_eq!(rig.lost.recv_timeout(PATIENCE), Ok(2));
}

#[test]
fn the_rest_of_a_torn_line_does_not_join_the_next() {
    let rig = Rig::new();
    rig.lines.push(b"half of it is lost\n");
    rig.order(Ok(4));
    rig.order(Err(ErrorKind::StorageFull));
    rig.lines.push(b"whole\n");
    rig.order(ALL);
    rig.order(ALL);
    let written = [rig.written(), rig.written(), rig.written()].concat();
    assert_eq!(written, b"half\nwhole\n");
}

#[test]
fn an_output_that_stands_still_costs_lines_and_no_time() {
    let rig = Rig::new();
    let line = [b'x'; 1000];
    for _ in 0..5000 {
        rig.lines.push(&line);
    }
    // It stands still: this returns, unwritten.
    rig.lines.flush(Duration::from_millis(1));
    drop(rig.orders);
    let lost = rig.lost.recv_timeout(PATIENCE).expect("lines were lost");
    let written = rig.written.try_iter().count() as u64;
    assert_eq!(lost + written, 5000);
    assert!((1000..=1100).contains(&written), "a bounded number waits: {written}");
    rig.lines.push(b"again\n");
    rig.lines.flush(PATIENCE);
    assert_eq!(rig.written.recv_timeout(PATIENCE).expect("a write"), b"again\n");
}

/// What is logged by `event`, as text and as JSON.
fn logged(event: impl Fn()) -> [String; 2] {
    [false, true].map(|json| {
        let rig = Rig::new();
        drop(rig.orders);
        let log = builder(Output { lines: rig.lines.clone(), json });
        if json {
            let log = log.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::with_default(log.finish(), &event);
        } else {
            let log = log.with_ansi(false).fmt_fields(Fields).without_time();
            tracing::subscriber::with_default(log.finish(), &event);
        }
        String::from_utf8(rig.written.recv_timeout(PATIENCE).expect("a line")).expect("UTF-8")
    })
}

#[test]
fn what_an_outsider_says_stays_in_its_field() {
    let helo = "x tls=true\u{9b}2J \"y\"\\ id=7\nINFO \u{202e}é";
    let [text, json] = logged(|| {
        tracing::info!(%helo, tls = false, to = helo, id = "7f", none = "", "took {}", "\u{1b}[2J");
    });
    let quoted = r#""x tls=true\u{9b}2J \"y\"\\ id=7\u{a}INFO \u{202e}é""#;
    let fields = format!("took \\u{{1b}}[2J helo={quoted} tls=false to={quoted} id=7f none=\"\"\n");
    assert!(text.ends_with(&fields), "{text}");
    assert_eq!(text.lines().count(), 1);
    let line = json.strip_suffix('\n').expect("a line");
    assert!(line.chars().all(escape::is_plain), "{line:?}");
    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(event["helo"], helo);
}
