//! Plays a script's dialogue with a server, wherever that is.

use crate::dialogue::{Script, Step, StoredMessage};

/// The client's end of a connection.
pub trait Peer {
    /// Sends octets at once.
    fn send(&mut self, octets: &[u8]) -> Result<(), String>;
    /// The lines of the next reply.
    fn reply(&mut self) -> Result<Vec<String>, String>;
    /// What the server has said that was not asked for yet.
    fn unread(&self) -> String;
    /// Does the TLS handshake.
    fn start_tls(&mut self) -> Result<(), String>;
    /// Sees that the server has become the client.
    fn turned(&mut self) -> Result<(), String>;
    /// Sees that the server has closed without another word.
    fn closed(&mut self) -> Result<(), String>;
    /// Closes.
    fn hang_up(&mut self);
    /// Lets so many seconds pass.
    fn wait(&mut self, seconds: u64) -> Result<(), String>;
}

/// Plays all steps from number `first`; the error says at which step what differs.
pub fn play(script: &Script, first: usize, peer: &mut impl Peer) -> Result<(), String> {
    let mut player = Player { peer, offers: Vec::new() };
    for (number, step) in script.steps.iter().enumerate().skip(first) {
        let played = player.step(step);
        played.map_err(|fault| {
            format!("{}: step {} of {}: {fault}", script.name, number + 1, script.steps.len())
        })?;
    }
    match player.peer.unread() {
        unread if unread.is_empty() => Ok(()),
        unread => Err(format!("{}: more replies: {unread}", script.name)),
    }
}

/// Compares what is stored with what the script says.
pub fn compare_stored(script: &Script, stored: &[StoredMessage]) -> Result<(), String> {
    if stored == script.stored {
        return Ok(());
    }
    Err(format!("{}: stored {stored:#?}, not {:#?}", script.name, script.stored))
}

struct Player<'p, P> {
    peer: &'p mut P,
    offers: Vec<String>,
}

impl<P: Peer> Player<'_, P> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(octets) => match self.peer.unread() {
                unread if unread.is_empty() => self.peer.send(octets),
                unread => Err(format!("replies before it: {unread}")),
            },
            Step::Expect(expected) => {
                let reply = self.peer.reply();
                let lines = reply.map_err(|fault| format!("expected {expected:?}: {fault}"))?;
                if lines.len() > 1 {
                    self.offers = lines.iter().map(|line| line[4..].to_owned()).collect();
                }
                expected.compare(&lines)
            }
            Step::Offers(line) => {
                let offered = self.offers.iter().any(|offer| line.matches(offer));
                if offered { Ok(()) } else { Err(format!("{line:?} not in {:?}", self.offers)) }
            }
            Step::OffersNot(keyword) => {
                let is = |offer: &String| offer.split(' ').next() == Some(keyword);
                if self.offers.iter().any(is) { Err(format!("{keyword} offered")) } else { Ok(()) }
            }
            Step::Tls => self.peer.start_tls(),
            Step::Turn => self.peer.turned(),
            Step::Close => self.peer.closed(),
            Step::HangUp => {
                self.peer.hang_up();
                Ok(())
            }
            Step::Wait(seconds) => self.peer.wait(*seconds),
        }
    }
}
