//! Many sessions that send as fast as they can, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use crate::poll;
use crate::smtp::Smtp;

const SESSIONS: usize = 8;

/// Messages on their way: the Message-ID of each is its number.
pub struct Load {
    sessions: JoinSet<()>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    next: AtomicUsize,
    refused: AtomicUsize,
    /// Postern's id of each message that it acknowledged, by number.
    acknowledged: Mutex<BTreeMap<usize, String>>,
}

impl Load {
    /// Starts to send the messages `numbers` to `server`, each to the recipient that `recipient`
    /// names. One that is refused for now is sent again. A session ends with its connection, but
    /// goes on over another when it is told so by a 421.
    pub fn start(
        server: SocketAddr,
        numbers: Range<usize>,
        recipient: fn(usize) -> String,
    ) -> Self {
        let seen = Arc::new(Seen::default());
        seen.next.store(numbers.start, Ordering::Relaxed);
        let mut sessions = JoinSet::new();
        for _ in 0..SESSIONS {
            let (seen, end) = (Arc::clone(&seen), numbers.end);
            sessions.spawn(async move {
                if let Some(smtp) = Smtp::connect(server).await {
                    send_all(smtp, server, &seen, end, recipient).await;
                }
            });
        }
        Self { sessions, seen }
    }

    /// Waits until so many messages were acknowledged.
    pub async fn acknowledged(&self, count: usize) {
        poll::until(&format!("{count} messages acknowledged"), async || {
            (self.seen.acknowledged().len() >= count).then_some(())
        })
        .await;
    }

    /// Waits until a message was refused for now.
    pub async fn refused(&self) {
        poll::until("a message refused", async || {
            (self.seen.refused.load(Ordering::Relaxed) > 0).then_some(())
        })
        .await;
    }

    /// Waits for the end of all sessions. The result is Postern's id of each message that it
    /// acknowledged, by number.
    pub async fn finish(mut self) -> BTreeMap<usize, String> {
        while let Some(session) = self.sessions.join_next().await {
            session.expect("a session does not panic");
        }
        std::mem::take(&mut *self.seen.acknowledged())
    }
}

impl Seen {
    fn acknowledged(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, String>> {
        self.acknowledged.lock().expect("no session panics while it holds the lock")
    }
}

/// Sends until the numbers, or the connection, come to an end.
async fn send_all(
    mut smtp: Smtp,
    server: SocketAddr,
    seen: &Seen,
    end: usize,
    recipient: fn(usize) -> String,
) {
    let mut moments = poll::moments();
    loop {
        let number = seen.next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return;
        }
        let message = message(number);
        loop {
            match smtp.send("bob@sender.example", &recipient(number), &message).await {
                Some(reply) if reply.code == 250 => {
                    seen.acknowledged().insert(number, id(&reply.text));
                    break;
                }
                Some(reply) if reply.code == 421 => match Smtp::connect(server).await {
                    Some(again) => smtp = again,
                    None => return,
                },
                Some(reply) if (400..500).contains(&reply.code) => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                    moments.tick().await;
                }
                Some(reply) => panic!("message {number} was refused for good: {reply:?}"),
                None => return,
            }
        }
    }
}

/// 4 KiB, so that a few thousand of them fill a small disk.
fn message(number: usize) -> Vec<u8> {
    let line = format!("{number:062}\r\n");
    format!("Message-ID: <{number}>\r\nSubject: load\r\n\r\n{}", line.repeat(64)).into_bytes()
}

/// The id in a reply: a UUID among its words.
fn id(text: &str) -> String {
    let uuid = |word: &&str| word.len() == 36 && word.matches('-').count() == 4;
    text.split_whitespace().find(uuid).expect("the 250 names the message's id").to_owned()
}
