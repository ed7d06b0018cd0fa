//! Replies where none is due, and what a peer said before it was gone.

use crate::script::{CONFIG, MAIL, NO_PARAMS, recipient, shown, shown_end};
use postern_core::client::{Client, Config, Mail, Need, Next, Protocol, Step};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::MailParams;

const START: Instant = Instant::from_millis(0);
const HELLO: [&str; 2] = ["220 hi\r\n", "250 peer\r\n"];
const CHUNKING: [&str; 2] = ["220 hi\r\n", "250-peer\r\n250 CHUNKING\r\n"];
const LMTP: Config<'static> = Config { protocol: Protocol::Lmtp, ..CONFIG };
const BODY: &[u8] = b"Subject: x\r\n";

/// One message on its way to a peer that says a reply at a time.
struct Sender {
    client: Client<'static>,
    log: Vec<String>,
    need: Need,
}

impl Sender {
    /// Goes on until the client needs anything.
    fn hear(&mut self, mut input: &[u8]) -> Need {
        loop {
            let mut buffer = [0; 2000];
            let Step { consumed, next } =
                self.client.step(START, input, &mut Out::new(&mut buffer));
            input = &input[consumed..];
            match next {
                Next::Event(event) => self.log.push(shown(&event)),
                Next::End(end) => self.log.push(shown_end(&end)),
                Next::Need(need) => {
                    self.need = need;
                    return need;
                }
            }
        }
    }

    /// Does what is needed until input is, or the end of the message.
    fn go_on(&mut self, input: &str) {
        let mut need = self.hear(input.as_bytes());
        loop {
            let mut buffer = [0; 2000];
            let mut out = Out::new(&mut buffer);
            match need {
                Need::Transaction if self.log.len() < 2 => {
                    let params = MailParams { size: Some(BODY.len() as u64), ..NO_PARAMS };
                    self.client.mail(&Mail { params, ..MAIL }, &mut out)
                }
                Need::Recipient { index: nth @ 0..2 } => {
                    let to = ["b@b.example", "c@b.example"][usize::from(nth)];
                    self.client.rcpt(&recipient(to), &mut out)
                }
                Need::Recipient { .. } => self.client.rcpt_end(),
                _ => return,
            }
            .expect("the client asked for it");
            need = self.hear(b"");
        }
    }

    /// A sender that has come to the message.
    fn at_the_body(config: Config<'static>, hello: [&str; 2]) -> Self {
        let client = Client::new(config);
        let mut sender = Self { client, log: Vec::new(), need: Need::Input };
        for reply in hello.into_iter().chain(["250 ok\r\n"; 3]) {
            sender.go_on(reply);
        }
        if sender.need == Need::Input {
            sender.go_on("354 go\r\n");
        }
        assert_eq!(sender.need, Need::Body);
        sender.log.clear();
        sender
    }

    fn end(&mut self) {
        let mut buffer = [0; 2000];
        let mut out = Out::new(&mut buffer);
        self.client.body(BODY, &mut out).expect("the body is next");
        assert_eq!(self.hear(b""), Need::Body);
        self.client.body_end(&mut out).expect("the body is next");
    }
}

fn senders() -> [Sender; 3] {
    [
        Sender::at_the_body(CONFIG, HELLO),
        Sender::at_the_body(CONFIG, CHUNKING),
        Sender::at_the_body(LMTP, CHUNKING),
    ]
}

#[test]
fn a_refusal_within_the_message_is_its_verdict() {
    for reply in ["552 5.3.4 too big\r\n", "451 4.3.0 later\r\n"] {
        for mut sender in senders() {
            let mut full = [0; 4];
            let step = sender.client.step(START, reply.as_bytes(), &mut Out::new(&mut full));
            assert_eq!(step.consumed, reply.len(), "it is read though the output is full");
            let Next::Event(event) = step.next else { panic!("{step:?}") };
            let verdict = shown(&event);
            assert!(verdict.ends_with(reply.trim_end()), "{verdict}");
            assert_eq!(sender.hear(b""), Need::Close, "and the message is not sent to its end");
        }
        for mut sender in senders() {
            sender.end();
            assert_eq!(sender.hear(reply.as_bytes()), Need::Close);
            assert_eq!(sender.log.len(), 1, "{:?}", sender.log);
            assert!(sender.log[0].ends_with(reply.trim_end()), "{:?}", sender.log);
        }
    }
}

/// LMTP answers for one recipient at a time: what one is refused for is not the others'.
#[test]
fn an_early_refusal_by_lmtp_is_of_the_first_recipient() {
    let mut sender = Sender::at_the_body(LMTP, HELLO);
    sender.hear(b"552 5.2.2 full\r\n550 5.1.1 who\r\n");
    assert_eq!(sender.log, ["delivered 0: 552 5.2.2 full"]);
}

#[test]
fn a_completion_before_the_message_left_is_a_fault() {
    for code in [250, 354] {
        let reply = format!("{code} stray\r\n");
        let fault = format!("fault: the peer said {code} where that has no meaning");
        for mut sender in senders() {
            assert_eq!(sender.hear(reply.as_bytes()), Need::Close);
            assert_eq!(sender.log, [&*fault]);
        }
        for mut sender in senders() {
            sender.end();
            assert_eq!(sender.hear(reply.as_bytes()), Need::Close);
            assert_eq!(sender.log, [&*fault]);
        }
        // Half of it is there, and the rest comes when the message has left.
        for mut sender in senders() {
            assert_eq!(sender.hear(&reply.as_bytes()[..2]), Need::Body);
            sender.end();
            assert_eq!(sender.hear(&reply.as_bytes()[..5]), Need::Input);
            assert_eq!(sender.hear(reply.as_bytes()), Need::Close);
            assert_eq!(sender.log, [&*fault]);
        }
    }
    // As it should be.
    for mut sender in senders() {
        sender.end();
        assert_eq!(sender.hear(b""), Need::Input);
        sender.hear(b"250 taken\r\n");
        assert_eq!(sender.log.len(), 1);
        assert!(sender.log[0].ends_with("250 taken"), "{:?}", sender.log);
    }
}

/// One 250 too many in front of it, and the answer to RCPT would stand for the message's.
#[test]
fn a_reply_too_many_is_found_before_the_next_command() {
    let mut sender = Sender { client: Client::new(CONFIG), log: Vec::new(), need: Need::Input };
    CHUNKING.into_iter().for_each(|reply| sender.go_on(reply));
    sender.go_on("250 stray\r\n250 sender ok\r\n");
    let fault = "fault: the peer said 250 where that has no meaning";
    assert_eq!(sender.log.last().map(String::as_str), Some(fault));

    let mut sender = Sender { client: Client::new(CONFIG), log: Vec::new(), need: Need::Input };
    sender.go_on("220 hi\r\n220 hello?\r\n");
    let fault = "fault: the peer said 220 where that has no meaning";
    assert_eq!(sender.log, ["greeting: 220 hi", fault]);

    // A half of it is waited for: nothing more is said into a dialogue that lost step.
    let mut sender = Sender { client: Client::new(CONFIG), log: Vec::new(), need: Need::Input };
    HELLO.into_iter().for_each(|reply| sender.go_on(reply));
    sender.go_on("250 ok\r\n25");
    assert_eq!(sender.need, Need::Input);
    assert_eq!(sender.hear(b"250 ok\r\n"), Need::Close);
}

#[test]
fn the_last_words_count_and_then_it_hung_up() {
    let mut sender = Sender::at_the_body(CONFIG, HELLO);
    sender.client.hung_up();
    assert_eq!(sender.hear(b"552 5.3.4 too big\r\n"), Need::Close);
    assert_eq!(sender.log, ["message: 552 5.3.4 too big"]);

    let mut sender = Sender::at_the_body(CONFIG, HELLO);
    sender.client.hung_up();
    assert_eq!(sender.hear(b"552 half a repl"), Need::Close);
    assert_eq!(sender.log, ["fault: it hung up; we waited for it to take the message"]);

    let verdict = "250 taken\r\n";
    let mut sender = Sender::at_the_body(CONFIG, HELLO);
    sender.end();
    assert_eq!(sender.hear(b""), Need::Input);
    sender.client.hung_up();
    assert_eq!(sender.hear(verdict.as_bytes()), Need::Close);
    let hung_up = "fault: it hung up; we waited for the next transaction";
    assert_eq!(sender.log, ["message: 250 taken", hung_up]);

    // The end did not leave, so that was not said of it.
    let mut sender = Sender::at_the_body(CONFIG, HELLO);
    sender.end();
    assert_eq!(sender.hear(b""), Need::Input);
    sender.client.output_unsent();
    sender.client.hung_up();
    assert_eq!(sender.hear(verdict.as_bytes()), Need::Close);
    assert_eq!(sender.log, ["fault: the peer said 250 where that has no meaning"]);
}
