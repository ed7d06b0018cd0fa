//! A host that takes mail, by SMTP or LMTP, and ETRN: the next hop, and the holder.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::Protocol;

use super::talk::{Gone, Talk};
use super::tasks::Task;
use super::world::World;

/// Connections that are taken at once.
const SOCKETS: usize = 3;

/// A message that a hop took.
#[derive(Debug, Clone)]
pub struct Taken {
    pub from: String,
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub at: Instant,
    /// Whether the device went on after our 250. If not, it may not have heard it.
    pub is_heard: bool,
}

impl Taken {
    /// Our Received field, and the message behind it.
    pub fn split(&self) -> (String, &[u8]) {
        let mut end = 0;
        for line in self.content.split_inclusive(|octet| *octet == b'\n') {
            if end > 0 && !line.starts_with(b" ") {
                break;
            }
            end += line.len();
        }
        let (field, message) = self.content.split_at(end);
        let field = String::from_utf8(field.to_vec()).expect("the field is ASCII");
        assert!(field.starts_with("Received: from "), "{field}");
        (field, message)
    }

    pub fn message(&self) -> &[u8] {
        self.split().1
    }
}

/// What a hop is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    Greeting,
    Mail(&'a str),
    Recipient(&'a str),
    Data,
    /// The message has come; with LMTP, once for each recipient.
    Message(&'a str),
    Etrn(&'a str),
}

type Answers = Box<dyn FnMut(Asked<'_>) -> Option<&'static str>>;

/// What a hop knows. It outlives the hop's being away, and a world.
pub struct Notes {
    pub taken: RefCell<Vec<Taken>>,
    /// The names in ETRN, and when they came.
    pub etrns: RefCell<Vec<(String, Instant)>>,
    pub connections: Cell<u32>,
    /// How long the hop thinks before it answers QUIT.
    pub pause: Cell<Duration>,
    /// How long it thinks before its verdict on a message.
    pub ponders: Cell<Duration>,
    /// Whether it hangs up when it has taken a message, and does not say so.
    pub is_silent: Cell<bool>,
    answers: RefCell<Answers>,
}

impl Notes {
    /// Of a hop that takes everything.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            taken: RefCell::default(),
            etrns: RefCell::default(),
            connections: Cell::new(0),
            pause: Cell::new(Duration::from_ticks(0)),
            ponders: Cell::new(Duration::from_ticks(0)),
            is_silent: Cell::new(false),
            answers: RefCell::new(Box::new(|_| None)),
        })
    }

    /// Has the hop answer so; none: it takes it. After a reply with code 421 it hangs up.
    pub fn answer(&self, answers: impl FnMut(Asked<'_>) -> Option<&'static str> + 'static) {
        *self.answers.borrow_mut() = Box::new(answers);
    }

    pub fn count(&self) -> usize {
        self.taken.borrow().len()
    }

    fn take(&self, taken: Taken, unheard: &mut Vec<usize>) {
        let mut all = self.taken.borrow_mut();
        unheard.push(all.len());
        all.push(taken);
    }

    fn hear(&self, unheard: &mut Vec<usize>) {
        for index in unheard.drain(..) {
            self.taken.borrow_mut()[index].is_heard = true;
        }
    }

    fn reply(&self, asked: Asked<'_>) -> &'static str {
        let answer = self.answers.borrow_mut()(asked);
        answer.unwrap_or(match asked {
            Asked::Greeting => "220 hop.example ESMTP",
            Asked::Data => "354 go on",
            _ => "250 2.0.0 fine",
        })
    }
}

/// A hop that is there.
pub struct Hop(Vec<Task>);

impl Hop {
    /// Opens `port`.
    pub fn arrive(world: &World, port: u16, protocol: Protocol, notes: &Rc<Notes>) -> Self {
        let serve = |_| {
            let (host, notes) = (world.far.clone(), notes.clone());
            world.tasks.spawn(async move {
                loop {
                    let talk = Talk::accept(&host, port).await;
                    notes.connections.set(notes.connections.get() + 1);
                    let mut server =
                        Server { talk, protocol, notes: &notes, open: None, unheard: Vec::new() };
                    let _gone = server.serve().await;
                    server.talk.close().await;
                }
            })
        };
        Self((0..SOCKETS).map(serve).collect())
    }

    /// Opens `port`, and never says a word.
    pub fn arrive_mute(world: &World, port: u16) -> Self {
        let serve = |_| {
            let host = world.far.clone();
            world.tasks.spawn(async move {
                let _talk = Talk::accept(&host, port).await;
                pending().await
            })
        };
        Self((0..SOCKETS).map(serve).collect())
    }

    /// Goes away: nobody listens, and who is connected hears no more.
    pub fn leave(self, world: &World) {
        self.0.into_iter().for_each(|task| world.tasks.end(task));
    }
}

struct Server<'n> {
    talk: Talk,
    protocol: Protocol,
    notes: &'n Notes,
    open: Option<Taken>,
    /// What was taken over this connection since the device's last word.
    unheard: Vec<usize>,
}

impl Server<'_> {
    async fn serve(&mut self) -> Result<(), Gone> {
        self.say(self.notes.reply(Asked::Greeting)).await?;
        loop {
            let line = self.talk.line().await?;
            self.notes.hear(&mut self.unheard);
            let line = String::from_utf8(line).expect("commands are ASCII");
            let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match verb {
                "EHLO" | "LHLO" => {
                    let offers = "250-hop.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                                  250-SIZE\r\n250 ETRN\r\n";
                    self.talk.send(offers.as_bytes()).await?;
                }
                "MAIL" => self.mail(path(rest)).await?,
                "RCPT" => self.recipient(path(rest)).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.open = None;
                    self.say("250 2.0.0 forgotten").await?;
                }
                "ETRN" => {
                    self.notes.etrns.borrow_mut().push((rest.to_owned(), Instant::now()));
                    self.say(self.notes.reply(Asked::Etrn(rest))).await?;
                }
                "QUIT" => {
                    Timer::after(self.notes.pause.get()).await;
                    return self.talk.send(b"221 2.0.0 bye\r\n").await;
                }
                _ => panic!("the device said {line:?}"),
            }
        }
    }

    async fn say(&mut self, reply: &'static str) -> Result<(), Gone> {
        self.talk.send(reply.as_bytes()).await?;
        self.talk.send(b"\r\n").await?;
        if reply.contains("421 ") { Err(Gone) } else { Ok(()) }
    }

    async fn mail(&mut self, from: &str) -> Result<(), Gone> {
        let reply = self.notes.reply(Asked::Mail(from));
        if reply.starts_with('2') {
            self.open = Some(Taken {
                from: from.to_owned(),
                recipients: Vec::new(),
                content: Vec::new(),
                at: Instant::now(),
                is_heard: false,
            });
        }
        self.say(reply).await
    }

    async fn recipient(&mut self, to: &str) -> Result<(), Gone> {
        let Some(open) = &mut self.open else { return self.say("503 5.5.1 MAIL first").await };
        let reply = self.notes.reply(Asked::Recipient(to));
        if reply.starts_with('2') {
            open.recipients.push(to.to_owned());
        }
        self.say(reply).await
    }

    async fn data(&mut self) -> Result<(), Gone> {
        if self.open.as_ref().is_none_or(|open| open.recipients.is_empty()) {
            return self.say("503 5.5.1 RCPT first").await;
        }
        let reply = self.notes.reply(Asked::Data);
        self.say(reply).await?;
        if !reply.starts_with('3') {
            return Ok(());
        }
        let mut taken = self.open.take().expect("it is open");
        loop {
            let line = self.talk.line().await?;
            match line.as_slice() {
                b"." => break,
                [b'.', line @ ..] | line => taken.content.extend_from_slice(line),
            }
            taken.content.extend_from_slice(b"\r\n");
        }
        taken.at = Instant::now();
        Timer::after(self.notes.ponders.get()).await;
        match self.protocol {
            Protocol::Smtp => self.verdict(taken).await,
            Protocol::Lmtp => self.verdicts(taken).await,
        }
    }

    async fn verdict(&mut self, taken: Taken) -> Result<(), Gone> {
        let reply = self.notes.reply(Asked::Message(&taken.recipients[0]));
        if reply.starts_with('2') {
            self.notes.take(taken, &mut self.unheard);
        }
        self.say_verdict(reply).await
    }

    /// One for each recipient (RFC 2033 §4.2); who is refused has not got it.
    async fn verdicts(&mut self, taken: Taken) -> Result<(), Gone> {
        for recipient in &taken.recipients {
            let reply = self.notes.reply(Asked::Message(recipient));
            if reply.starts_with('2') {
                let recipients = vec![recipient.clone()];
                self.notes.take(Taken { recipients, ..taken.clone() }, &mut self.unheard);
            }
            self.say_verdict(reply).await?;
        }
        Ok(())
    }

    async fn say_verdict(&mut self, reply: &'static str) -> Result<(), Gone> {
        if self.notes.is_silent.get() { Err(Gone) } else { self.say(reply).await }
    }
}

/// What stands between the angle brackets.
fn path(argument: &str) -> &str {
    let inside = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.expect("a path has its brackets").0
}
