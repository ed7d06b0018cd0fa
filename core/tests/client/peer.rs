//! A peer that does everything right but one thing: no message may be taken for delivered whose
//! end it never got.

use std::collections::VecDeque;

use crate::script::{CONFIG, MAIL, NO_PARAMS, recipient};
use postern_core::client::{
    Class, Client, Config, End, Event, Mail, Need, Next, Protocol, Reply, Step,
};
use postern_core::time::Instant;
use postern_core::wire::Out;
use postern_core::wire::params::MailParams;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

const BODY: &[u8] = b"Subject: two lines\r\n\r\n.\r\nend\r\n";
const MESSAGES: usize = 3;
const RECIPIENTS: [&str; 2] = ["b@b.example", "c@b.example"];

/// What goes wrong, at one reply of the peer's.
#[derive(Debug, Clone, Copy)]
enum Slip {
    Nothing,
    /// One reply too many, in front of it.
    Extra(&'static str),
    /// Another reply in its place.
    Other(&'static str),
    /// It is not said.
    Missing,
    /// It comes in a hurry: with the one before, although nobody asked.
    TooEarly,
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    lmtp: bool,
    pipelining: bool,
    chunking: bool,
    slip: Slip,
    /// Which reply it is.
    at: usize,
}

/// The peer: it reads what is sent and answers as it should, but for the slip.
struct Peer {
    kind: Kind,
    said: String,
    replies: usize,
    unread: Vec<u8>,
    data: bool,
    recipients: usize,
    /// Messages whose end has come.
    ended: usize,
}

impl Peer {
    fn new(kind: Kind) -> Self {
        let mut peer = Self {
            kind,
            said: String::new(),
            replies: 0,
            unread: Vec::new(),
            data: false,
            recipients: 0,
            ended: 0,
        };
        peer.say("220 to the connection\r\n");
        peer
    }

    fn say(&mut self, reply: &str) {
        self.replies += 1;
        match self.kind.slip {
            Slip::Extra(stray) if self.replies == self.kind.at => self.said += stray,
            Slip::Other(other) if self.replies == self.kind.at => {
                self.said += other;
                return;
            }
            Slip::Missing if self.replies == self.kind.at => return,
            Slip::TooEarly if self.replies == self.kind.at => self.said += "250 too early\r\n",
            _ => {}
        }
        self.said += reply;
    }

    fn end(&mut self) {
        self.ended += 1;
        let verdicts = if self.kind.lmtp { self.recipients } else { 1 };
        for _ in 0..verdicts {
            self.say("250 to the message\r\n");
        }
        self.recipients = 0;
    }

    fn read(&mut self, sent: &[u8]) {
        self.unread.extend_from_slice(sent);
        while let Some(length) = self.next_length() {
            let line: Vec<u8> = self.unread.drain(..length).collect();
            self.obey(&line);
        }
    }

    /// How long the next command is, or the message: once it is there whole.
    fn next_length(&self) -> Option<usize> {
        let find = |what: &[u8]| self.unread.windows(what.len()).position(|at| at == what);
        if self.data && !self.unread.starts_with(b".\r\n") {
            return find(b"\r\n.\r\n").map(|at| at + 5);
        }
        let length = find(b"\r\n")? + 2;
        let size = if self.unread.starts_with(b"BDAT") { BODY.len() } else { 0 };
        Some(length + size).filter(|length| *length <= self.unread.len())
    }

    fn obey(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.data) {
            return self.end();
        }
        match &line[..4] {
            b"EHLO" | b"LHLO" => {
                let mut offers = String::new();
                for (offered, keyword) in
                    [(self.kind.pipelining, "PIPELINING"), (self.kind.chunking, "CHUNKING")]
                {
                    if offered {
                        offers += &format!("250-{keyword}\r\n");
                    }
                }
                self.say(&format!("250-to EHLO\r\n{offers}250 HELP\r\n"));
            }
            b"MAIL" => self.say("250 to MAIL\r\n"),
            b"RCPT" => {
                self.recipients += 1;
                self.say("250 to RCPT\r\n");
            }
            b"DATA" => {
                self.data = true;
                self.say("354 to DATA\r\n");
            }
            b"BDAT" => self.end(),
            b"RSET" => self.say("250 to RSET\r\n"),
            _ => self.say("250 to the rest\r\n"),
        }
    }
}

/// The caller: it sends the messages, one after the other or MAIL behind the end.
struct Caller {
    mail: Mail<'static>,
    begun: usize,
    /// Which of the messages the events are of.
    current: usize,
    sent: usize,
    pending: usize,
    verdicts: usize,
    /// Messages that the peer said it took, and the last of them.
    taken: usize,
    last_taken: usize,
}

impl Caller {
    fn answer(&mut self, client: &mut Client<'_>, need: Need, out: &mut Out<'_>) {
        match need {
            Need::Transaction if self.begun == MESSAGES => client.quit(),
            Need::Transaction => {
                (self.begun, self.sent, self.pending) = (self.begun + 1, 0, 0);
                self.current = self.begun;
                client.mail(&self.mail, out)
            }
            Need::Recipient { index } => match RECIPIENTS.get(usize::from(index)) {
                Some(to) => client.rcpt(&recipient(to), out),
                None => client.rcpt_end(),
            },
            Need::Body if self.sent < BODY.len() => {
                client.body(&BODY[self.sent..], out).map(|octets| self.sent += octets)
            }
            Need::Body => client.body_end(out).map(|()| {
                if self.begun < MESSAGES && client.mail_behind(&self.mail, out).is_ok() {
                    (self.begun, self.sent) = (self.begun + 1, 0);
                }
            }),
            need => panic!("{need:?}"),
        }
        .expect("the client asked for it");
    }

    /// Notes what was said; whether it took a message.
    fn hear(&mut self, event: Event<Reply<'_>>, peer: &Peer) -> Result<(), TestCaseError> {
        let reply = match event {
            Event::Recipient { reply, .. } => {
                self.pending += usize::from(reply.class() == Class::Completion);
                return Ok(());
            }
            Event::Message(reply) => {
                self.pending = 0;
                reply
            }
            Event::Delivered { reply, .. } => {
                self.pending = self.pending.saturating_sub(1);
                reply
            }
            _ => return Ok(()),
        };
        if reply.class() == Class::Completion {
            self.taken += usize::from(self.last_taken != self.current);
            self.last_taken = self.current;
            prop_assert!(peer.ended >= self.taken, "{} came before the message", reply);
            // In place of a verdict that is not said, nobody can tell MAIL's reply from it.
            let of_another = ["EHLO", "MAIL", "RCPT", "DATA", "RSET"];
            let text = reply.to_string();
            let counted = of_another.iter().any(|word| text.contains(word));
            let missing = matches!(peer.kind.slip, Slip::Missing);
            prop_assert!(missing || !counted, "{} counted", text);
            self.verdicts += 1;
        }
        if self.pending == 0 && self.begun > self.current {
            self.current += 1;
        }
        Ok(())
    }
}

/// Plays it to its end; how many verdicts were heard, and whether the peer was found out.
fn play(kind: Kind, room: usize) -> Result<(usize, bool), TestCaseError> {
    let protocol = if kind.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    let size = kind.chunking.then_some(BODY.len() as u64);
    let mail = Mail { params: MailParams { size, ..NO_PARAMS }, ..MAIL };
    let mut client = Client::new(Config { protocol, ..CONFIG });
    let mut peer = Peer::new(kind);
    let mut caller = Caller {
        mail,
        begun: 0,
        current: 0,
        sent: 0,
        pending: 0,
        verdicts: 0,
        taken: 0,
        last_taken: 0,
    };
    let mut input: VecDeque<u8> = VecDeque::new();
    loop {
        let mut buffer = vec![0; room];
        let mut out = Out::new(&mut buffer);
        input.extend(std::mem::take(&mut peer.said).into_bytes());
        loop {
            let Step { consumed, next } =
                client.step(Instant::from_millis(0), input.make_contiguous(), &mut out);
            match next {
                Next::Event(event) => caller.hear(event, &peer)?,
                Next::End(End::Fault(_)) => return Ok((caller.verdicts, true)),
                Next::End(End::Refused { .. }) => {}
                Next::Need(Need::Close) => return Ok((caller.verdicts, false)),
                Next::Need(Need::Input | Need::Room) => {
                    input.drain(..consumed);
                    break;
                }
                Next::Need(need) => caller.answer(&mut client, need, &mut out),
            }
            input.drain(..consumed);
        }
        peer.read(out.written());
        if out.is_empty() && peer.said.is_empty() {
            // It waits for a reply that is not to come, and the deadline with it.
            return Ok((caller.verdicts, true));
        }
    }
}

#[test]
fn no_peer_gets_a_verdict_out_of_a_message_that_was_not_sent() {
    const STRAY: &[&str] = &["250 stray\r\n", "354 stray\r\n", "451 stray\r\n", "550 stray\r\n"];
    let stray = prop::sample::select(STRAY);
    let slip = prop_oneof![
        1 => Just(Slip::Nothing),
        4 => stray.clone().prop_map(Slip::Extra),
        2 => stray.prop_map(Slip::Other),
        1 => Just(Slip::Missing),
        2 => Just(Slip::TooEarly),
    ];
    let kind = (any::<[bool; 3]>(), slip, 1..25_usize).prop_map(|(bits, slip, at)| {
        let [lmtp, pipelining, chunking] = bits;
        Kind { lmtp, pipelining, chunking, slip, at }
    });
    let (mut cases, mut reached, mut found_out) = (0_u32, 0_u32, 0_u32);
    let counts = std::cell::RefCell::new((&mut cases, &mut reached, &mut found_out));
    let config = Cases { cases: 2000, failure_persistence: None, ..Cases::default() };
    let played = TestRunner::new(config).run(&(kind, 1216..1300_usize), |(kind, room)| {
        let (verdicts, found) = play(kind, room)?;
        let mut counts = counts.borrow_mut();
        *counts.0 += 1;
        *counts.1 += u32::from(verdicts > 0);
        *counts.2 += u32::from(found);
        Ok(())
    });
    played.expect("no message is taken for delivered that the peer never got");
    println!("of {cases} dialogues {reached} came to a verdict, {found_out} to a fault");
    assert!(reached * 2 > cases, "{reached} of {cases} came to a verdict: this tests nothing");
    assert!(found_out * 10 > cases, "{found_out} of {cases} were found out: this tests nothing");
}
