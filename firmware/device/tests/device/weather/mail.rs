//! Clients: they bring mail, and now and then leave in the middle of it.

use embassy_time::{Duration, Timer, with_timeout};

use super::ledger::{Fate, sender};
use super::story::Story;
use crate::sim::host::Host;
use crate::sim::messages::numbered;
use crate::sim::talk::{Gone, Talk, stuffed};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";
const BOB: &str = "bob@client.example";
/// To whom a message goes.
const RECIPIENTS: [&[&str]; 4] = [&[JOE], &[ANN], &[ANN, BOB], &[JOE, BOB, ANN]];

/// How long a client waits for all that a session is.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Tries before a client gives up what it has.
const TRIES: u64 = 10;

impl Story {
    /// A client that comes twice in an hour, with a message or three.
    pub async fn client(&self, number: u8) -> ! {
        let host = self.world.host(number);
        loop {
            Timer::after_secs(self.between(60, 3_540)).await;
            let mut left = 1 + self.below(8) / 6 * 2;
            for _ in 0..TRIES {
                left -= self.session(&host, left).await;
                if left == 0 {
                    break;
                }
                Timer::after_secs(self.between(60, 900)).await;
            }
            if left > 0 {
                self.count("client gave up");
            }
        }
    }

    /// Brings so many messages, and returns how many were taken.
    async fn session(&self, host: &Host, messages: u64) -> u64 {
        let mut taken = 0;
        let session = async {
            let mut talk = Talk::connect_from(host, &self.world).await.map_err(|_| Gone)?;
            if !talk.reply().await?.starts_with("220 ") {
                self.count("client was sent away");
                return Ok(());
            }
            talk.say("EHLO client.example\r\n").await?;
            while taken < messages {
                if !self.hand_over(&mut talk).await? {
                    return Ok(());
                }
                taken += 1;
            }
            talk.say("QUIT\r\n").await.map(drop)
        };
        match with_timeout(PATIENCE, session).await {
            Ok(Ok(())) => {}
            Ok(Err(Gone)) => self.count("session broke"),
            Err(_) => self.count("session took too long"),
        }
        taken
    }

    /// Hands a message over; whether it was taken.
    pub async fn hand_over(&self, talk: &mut Talk) -> Result<bool, Gone> {
        let recipients = RECIPIENTS[self.below(RECIPIENTS.len() as u64) as usize];
        let number = self.ledger.borrow_mut().begin(recipients);
        let content = numbered(number);
        let from = sender(number);
        let mail = format!("MAIL FROM:<{from}> SIZE={}\r\n", content.len());
        if !talk.say(mail).await?.starts_with('2') {
            self.count("MAIL was put off");
            return Ok(false);
        }
        for recipient in recipients {
            if !talk.say(format!("RCPT TO:<{recipient}>\r\n")).await?.starts_with('2') {
                self.count("RCPT was put off");
                return Ok(false);
            }
        }
        if !talk.say("DATA\r\n").await?.starts_with('3') {
            return Ok(false);
        }
        let stuffed = stuffed(&content);
        if self.below(20) == 0 {
            self.count("left within a message");
            talk.send(&stuffed[..stuffed.len() / 2]).await?;
            return Err(Gone);
        }
        talk.send(&stuffed).await?;
        let learn = |fate| self.ledger.borrow_mut().learn(number, fate);
        learn(Fate::Unknown);
        let Ok(reply) = talk.say(".\r\n").await else {
            self.count("no answer to a message");
            return Err(Gone);
        };
        let is_taken = reply.starts_with("250 ");
        if is_taken {
            learn(Fate::Acknowledged);
            self.count("acknowledged");
        } else {
            // Of one that could not be noted, nobody knows (RFC 5321 §4.2.5).
            learn(if reply.starts_with("451 ") { Fate::Unknown } else { Fate::Refused });
            self.count("message was put off");
        }
        self.note(&format!("m{number}: {reply}"));
        Ok(is_taken)
    }

    /// Whether somebody would take mail from us.
    pub async fn is_served(&self, host: &Host) -> Result<bool, Gone> {
        let mut talk = Talk::connect_from(host, &self.world).await.map_err(|_| Gone)?;
        let dialogue = [
            ("", "220 "),
            ("EHLO probe.example\r\n", "250 "),
            ("MAIL FROM:<>\r\n", "250 "),
            ("RCPT TO:<joe@client.example>\r\n", "250 "),
            ("QUIT\r\n", "221 "),
        ];
        for (words, begin) in dialogue {
            let reply = talk.say(words).await?;
            if !reply.starts_with(begin) {
                self.note(&format!("a probe's {words:?}: {reply}"));
                return Ok(false);
            }
        }
        Ok(true)
    }
}
