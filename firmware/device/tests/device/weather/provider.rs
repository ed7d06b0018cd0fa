//! The provider that mail is fetched from by ATRN.

use std::future::pending;

use embassy_time::{Instant, with_timeout};

use super::mail::PATIENCE;
use super::story::Story;
use crate::fetching::{ANSWER, CHALLENGE, OFFER};
use crate::sim::talk::{Gone, Talk};

pub const PROVIDER_PORT: u16 = 366;

impl Story {
    /// Hands over mail to the device when that asks, and now and then fails to.
    pub async fn provide(&self) -> ! {
        loop {
            let mut talk = Talk::accept(&self.world.far, PROVIDER_PORT).await;
            match with_timeout(PATIENCE, self.turn_round(&mut talk)).await {
                Ok(Ok(())) => talk.close().await,
                Ok(Err(Gone)) => self.count("fetching broke"),
                Err(_) => self.count("fetching took too long"),
            }
        }
    }

    async fn turn_round(&self, talk: &mut Talk) -> Result<(), Gone> {
        talk.send(b"220 provider.example ESMTP\r\n").await?;
        loop {
            let line = String::from_utf8(talk.line().await?).expect("commands are ASCII");
            let reply = match line.split(' ').next().unwrap_or_default() {
                "EHLO" => OFFER,
                "AUTH" => CHALLENGE,
                "ATRN" => return self.hand_out(talk).await,
                "QUIT" => return talk.send(b"221 2.0.0 bye\r\n").await,
                _ if line == ANSWER => "235 2.7.0 welcome",
                _ => panic!("the device said {line:?}"),
            };
            talk.send(format!("{reply}\r\n").as_bytes()).await?;
        }
    }

    /// What comes of ATRN.
    async fn hand_out(&self, talk: &mut Talk) -> Result<(), Gone> {
        self.fetched_at.set(Some(Instant::now()));
        self.count("ATRN");
        let refused = ["453 4.7.1 none", "453 4.7.1 none", "451 4.3.0 later", "500 5.5.1 what"];
        if let Some(reply) = refused.get(self.below(12) as usize) {
            self.count("ATRN refused");
            talk.send(format!("{reply}\r\n").as_bytes()).await?;
            return talk.line().await.map(drop);
        }
        if !talk.say("250 2.0.0 here it comes\r\n").await?.starts_with("220 ") {
            self.count("not greeted behind ATRN");
            return Ok(());
        }
        talk.say("EHLO provider.example\r\n").await?;
        for _ in 0..self.below(4) {
            if self.below(20) == 0 {
                self.count("provider said no more");
                return pending().await;
            }
            if self.hand_over(talk).await? {
                self.count("fetched");
            }
        }
        talk.say("QUIT\r\n").await.map(drop)
    }
}
