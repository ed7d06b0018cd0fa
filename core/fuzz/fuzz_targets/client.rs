//! Any octets from a peer: the client never takes a message for delivered that it did not send,
//! and never says anything but whole lines.
//!
//! A NUL ends what is there at each wait; else a peer would nearly always speak out of turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::client::reply::{Class, REPLY_MAX};
use postern_core::client::{
    CallError, Client, Config, Event, MIN_OUT, Mail, Mechanism, Need, Next, Protocol, Recipient,
    Reply, Timeouts, TlsPolicy,
};
use postern_core::time::Instant;
use postern_core::wire::params::{MailParams, RcptParams};
use postern_core::wire::{Out, Text};

const RECIPIENTS: [&[u8]; 3] =
    [b"a@client.example", b"b@client.example", b"\"c d\"@client.example"];
const BODY: &[u8] = b"Subject: dots\r\n\r\n.\r\n..two\r\n\r\n.";

fuzz_target!(|data: &[u8]| {
    let Some((&kind, octets)) = data.split_first() else { return };
    let config = Config {
        hostname: Text::new(b"mx2.example").expect("printable"),
        protocol: if kind & 1 == 0 { Protocol::Smtp } else { Protocol::Lmtp },
        tls: [TlsPolicy::Off, TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Implicit]
            [usize::from(kind >> 1) % 4],
        timeouts: Timeouts::RFC5321,
    };
    let mut caller = Caller {
        messages: 0,
        sized: kind & 64 != 0,
        queues: kind & 32 != 0,
        sent: 0,
        ended: 0,
        left: 0,
        taken: 0,
    };
    let mut client = Client::new(config);
    let said = converse(&mut client, &mut caller, octets.split(|octet| *octet == 0));
    check_lines(&said);
});

/// What the caller has done.
struct Caller {
    messages: u8,
    sized: bool,
    /// It puts MAIL behind the end of the message before.
    queues: bool,
    /// Octets of this message's body that the client has taken.
    sent: usize,
    /// Messages that were given to their end, and those of them whose end has left.
    ended: u8,
    left: u8,
    /// Messages that the peer said it took.
    taken: u8,
}

fn converse<'p>(
    client: &mut Client<'_>,
    caller: &mut Caller,
    mut peer: impl Iterator<Item = &'p [u8]>,
) -> Vec<u8> {
    let (mut said, mut input) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; MIN_OUT];
    let mut out = Out::new(&mut buffer);
    loop {
        let step = client.step(Instant::from_millis(0), &input, &mut out);
        assert!(step.consumed <= input.len());
        let need = match step.next {
            Next::Event(event) => {
                caller.hear(event);
                input.drain(..step.consumed);
                continue;
            }
            Next::End(_) => {
                input.drain(..step.consumed);
                continue;
            }
            Next::Need(need) => need,
        };
        input.drain(..step.consumed);
        match need {
            Need::Close | Need::Turn => break,
            Need::Room | Need::Input => {
                said.extend_from_slice(out.written());
                out.clear();
                caller.left = caller.ended;
            }
            need => caller.attend(client, need, &mut out),
        }
        if need == Need::Input {
            assert!(input.len() < REPLY_MAX, "nothing is taken from a full input");
            match peer.next() {
                Some(octets) => input.extend_from_slice(octets),
                None => client.hung_up(),
            }
        }
    }
    said
}

impl Caller {
    fn hear(&mut self, event: Event<Reply<'_>>) {
        let reply = match event {
            Event::Recipient { index, .. } => {
                assert!(usize::from(index) < RECIPIENTS.len());
                return;
            }
            Event::Delivered { index, reply } => {
                assert!(usize::from(index) < RECIPIENTS.len());
                reply
            }
            Event::Message(reply) => {
                self.taken += u8::from(reply.class() == Class::Completion);
                reply
            }
            _ => return,
        };
        if reply.class() == Class::Completion {
            assert!(self.left >= self.taken.max(1), "not sent, yet delivered");
        }
    }

    fn attend(&mut self, client: &mut Client<'_>, need: Need, out: &mut Out<'_>) {
        let called = match need {
            Need::Transaction => self.next(client, out),
            Need::Recipient { index } => match RECIPIENTS.get(usize::from(index)) {
                Some(path) => {
                    let params = RcptParams::default();
                    client.rcpt(&Recipient { forward_path: path, params }, out)
                }
                None => client.rcpt_end(),
            },
            Need::Body if self.sent < BODY.len() => {
                client.body(&BODY[self.sent..], out).map(|octets| {
                    assert!(octets > 0, "a step promised room");
                    self.sent += octets;
                })
            }
            Need::Body => {
                self.ended += 1;
                client.body_end(out).map(|()| {
                    let queued = self.queues && self.messages == 1;
                    if queued && client.mail_behind(&self.mail(), out).is_ok() {
                        (self.messages, self.sent) = (2, 0);
                    }
                })
            }
            Need::Tls => client.tls_started(),
            Need::Response => client.respond(b"cHJvb2Y=", out),
            Need::Input | Need::Room | Need::Turn | Need::Close => {
                unreachable!("attended to before")
            }
        };
        match called {
            Ok(()) => {}
            Err(
                CallError::EtrnNotOffered | CallError::AuthNotOffered | CallError::AtrnNotOffered,
            ) => {}
            Err(error) => panic!("the client asked for it: {error}"),
        }
    }

    fn mail(&self) -> Mail<'static> {
        let size = self.sized.then_some(BODY.len() as u64);
        let params = MailParams { size, ..MailParams::default() };
        Mail { reverse_path: b"", params, needs_utf8: false }
    }

    /// Two messages, then ETRN, AUTH and ATRN, then QUIT.
    fn next(&mut self, client: &mut Client<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        self.sent = 0;
        self.messages += 1;
        match self.messages {
            1 | 2 => client.mail(&self.mail(), out),
            3 => client.etrn(b"client.example", out),
            4 => client.auth(Mechanism::CramMd5, None, out),
            5 => client.atrn([&b"client.example"[..]].into_iter(), out),
            _ => client.quit(),
        }
    }
}

/// The body has no bare CR or LF, so nothing said has, a body by BDAT without its last CRLF apart.
fn check_lines(said: &[u8]) {
    for (at, octet) in said.iter().enumerate() {
        match octet {
            b'\n' => assert_eq!(at.checked_sub(1).map(|at| said[at]), Some(b'\r'), "a bare LF"),
            b'\r' if at + 1 < said.len() => assert_eq!(said[at + 1], b'\n', "a bare CR"),
            _ => {}
        }
    }
}
