//! Load that ends when the power is cut, at a random moment that is the same each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::card::CardImage;
use postern_tests::mail::{self, Mail};
use postern_tests::network::Client;

use crate::load::SESSIONS;
use crate::rig::Rig;

/// The longest time between a round's first acknowledgement and its end.
const ROUND_MS: u64 = 400;
/// Octets of the largest message.
const MESSAGE: u64 = 24 << 10;

/// Rounds of load, each of which ends with a power cut.
pub struct Storm {
    random: Random,
    next: AtomicUsize,
    /// All that was acknowledged.
    pub acknowledged: Vec<Mail>,
}

impl Storm {
    /// Before the first round.
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), next: AtomicUsize::new(0), acknowledged: Vec::new() }
    }

    /// Sends until the power is cut. The card is what is left.
    pub fn round(&mut self, rig: Rig) -> CardImage {
        let moment = Duration::from_millis(self.random.below(ROUND_MS));
        let clients = [0; SESSIONS].map(|_| (rig.client(), Random(self.random.next())));
        let (tell, first) = mpsc::channel();
        let (card, new) = thread::scope(|scope| {
            let sessions = clients.map(|(client, sizes)| {
                let (next, tell) = (&self.next, tell.clone());
                scope.spawn(move || send_on(client, sizes, next, &tell))
            });
            first.recv().expect("a message is acknowledged");
            pass(moment);
            let card = rig.cut_power();
            (card, sessions.map(|session| session.join().expect("none is refused")))
        });
        self.acknowledged.extend(new.into_iter().flatten());
        print!("cut {} ms after the first reply: ", moment.as_millis());
        card
    }
}

/// Lets time pass: not to wait for anything, but since the moment is what the seed says.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Sends until the connection breaks.
fn send_on(
    mut client: Client,
    mut sizes: Random,
    next: &AtomicUsize,
    tell: &mpsc::Sender<()>,
) -> Vec<Mail> {
    let mut acknowledged = Vec::new();
    let mut goes_on = mail::greet(&mut client);
    while goes_on.is_ok() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let octets = usize::try_from(sizes.below(MESSAGE)).expect("it is small");
        let mail = Mail { number, octets };
        goes_on = mail::send(&mut client, mail);
        if goes_on.is_ok() {
            acknowledged.push(mail);
            // Nobody listens behind the first.
            let _heard = tell.send(());
        }
    }
    acknowledged
}

/// Random numbers that are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
