//! A line of the log for each mail that is refused: "refused", with a word that programs such as
//! fail2ban may go by, and one at the end of a session that had any.

use std::sync::Arc;
use std::time::Duration;

use postern_core::session::Why;
use postern_spool::clock::Clock;

use crate::observe::metrics::Metrics;
use crate::observe::rate::Limiter;
use crate::policy::{Network, Peer};

/// Lines for one client: so many at once, and then one in a while.
const LINES: u32 = 20;
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Recipients that there are not, named by one client: so many at once, and then one in a while.
const GUESSES: u32 = 50;
const GUESS_EVERY: Duration = Duration::from_secs(10);
/// Clients whose guesses are counted each for itself, in 5 MiB: storms of junk mail have thousands.
const GUESSERS: usize = 65_536;
/// How long who has named more waits for an answer. Its channels bound how many it has at once.
pub(super) const GUESS_PAUSE: Duration = Duration::from_secs(5);

/// What all sessions refuse.
#[derive(Debug)]
pub struct Refusals {
    clock: Clock,
    metrics: Metrics,
    lines: Limiter<Network>,
    ends: Limiter<Network>,
    guesses: Limiter<Network>,
}

impl Refusals {
    /// Nothing was refused yet.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        let [lines, ends] = [(); 2].map(|()| Limiter::new(LINES, LINE_EVERY));
        let guesses = Limiter::new(GUESSES, GUESS_EVERY).of_keys(GUESSERS);
        Self { clock, metrics, lines, ends, guesses }
    }
}

/// What was refused, as the client put it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refused<'r> {
    /// Why, in a word that stays as it is from version to version.
    pub word: &'static str,
    /// The name in EHLO or HELO.
    pub helo: &'r [u8],
    /// The reverse-path.
    pub from: &'r [u8],
    /// The forward-path, where one was refused.
    pub to: &'r [u8],
    /// Who the client said that it was, where it tried to authenticate.
    pub account: &'r [u8],
}

/// What one session took and refused. The end of it is that of the session, however that ended.
#[derive(Debug)]
pub struct SessionLog {
    of_all: Arc<Refusals>,
    client: Peer,
    accepted: u64,
    refused: u64,
}

impl SessionLog {
    /// The log of a session with `client`.
    pub fn new(of_all: Arc<Refusals>, client: Peer) -> Self {
        Self { of_all, client, accepted: 0, refused: 0 }
    }

    /// How many messages were accepted, and how much was refused.
    pub const fn counts(&self) -> (u64, u64) {
        (self.accepted, self.refused)
    }

    /// Counts a message that was accepted.
    pub fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// Counts a refusal and logs it, unless the client's lines are used up.
    pub fn refused(&mut self, refused: Refused<'_>) {
        self.refused += 1;
        let Refused { word, helo, from, to, account } = refused;
        self.of_all.metrics.refused(word);
        if let Some(unlogged) = self.passes(&self.of_all.lines) {
            let client = self.client;
            let [helo, from, to] = [helo, from, to].map(<[u8]>::escape_ascii);
            let account = (!account.is_empty()).then(|| account.escape_ascii().to_string());
            tracing::info!(%client, word, %from, %to, account, %helo, unlogged, "refused");
        }
    }

    /// Whether the client may be told of one more recipient that there is not.
    pub fn may_guess(&self) -> bool {
        self.passes(&self.of_all.guesses).is_some()
    }

    /// How many lines were held back before the one that may be written now.
    fn passes(&self, lines: &Limiter<Network>) -> Option<u64> {
        lines.pass(self.client.network(), self.of_all.clock.instant())
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        let Self { client, accepted, refused, .. } = *self;
        if refused == 0 {
            return;
        }
        if let Some(unlogged) = self.passes(&self.of_all.ends) {
            tracing::info!(%client, accepted, refused, unlogged, "session ended");
        }
    }
}

/// The word for a message that core refuses at its end; `None`: it was not refused.
pub const fn word(why: Why) -> Option<&'static str> {
    match why {
        Why::BareLineEnd => Some("bare_line_end"),
        Why::Nul => Some("nul"),
        Why::TooBig => Some("too_big"),
        Why::TimedOut => Some("too_slow"),
        Why::Limits => Some("limits"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use postern_core::appletalk::Address;
    use postern_core::time::Timestamp;
    use serde_json::Value;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no holder panics").extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs.
    fn logged(act: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true);
        with_default(log.with_writer(move || writer.clone()).finish(), act);
        let text = lines.0.lock().expect("no holder panics").clone();
        let text = String::from_utf8(text).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    const RELAY: Refused<'_> = Refused {
        word: "relay",
        helo: b"x\xff y",
        from: b"ann@sender.example",
        to: b"bob@other.example",
        account: b"",
    };

    fn refusals(clock: &Clock) -> Arc<Refusals> {
        Arc::new(Refusals::new(clock.clone(), Metrics::default()))
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true })
    }

    #[test]
    fn each_refusal_is_a_line_and_so_is_the_end_of_the_session() {
        let refusals = refusals(&clock());
        let lines = logged(|| {
            let client = Peer::Internet("192.0.2.1".parse().expect("an address"));
            let mut session = SessionLog::new(Arc::clone(&refusals), client);
            session.refused(RELAY);
            session.accepted();
            drop(session);
            drop(SessionLog::new(refusals, client));
        });
        let [refused, ended] = &lines[..] else { panic!("{lines:?}") };
        for (key, value) in [
            ("message", "refused"),
            ("client", "192.0.2.1"),
            ("word", "relay"),
            ("from", "ann@sender.example"),
            ("to", "bob@other.example"),
            ("helo", "x\\xff y"),
        ] {
            assert_eq!(refused[key], value, "{refused}");
        }
        assert_eq!(ended["message"], "session ended");
        assert_eq!((&ended["accepted"], &ended["refused"]), (&1.into(), &1.into()));
    }

    #[test]
    fn a_client_has_so_many_lines_and_what_was_left_out_is_counted() {
        let clock = clock();
        let refusals = refusals(&clock);
        let refuse = |client: &str, times| {
            let client = Peer::Internet(client.parse().expect("an address"));
            let mut session = SessionLog::new(Arc::clone(&refusals), client);
            (0..times).for_each(|_| session.refused(RELAY));
        };
        let lines = logged(|| refuse("2001:db8::1", 100));
        assert_eq!(lines.len(), LINES as usize + 1);
        assert_eq!(lines[LINES as usize]["refused"], 100);
        // The same network has no more lines; others have their own.
        assert_eq!(logged(|| refuse("2001:db8::2", 1)).len(), 1);
        assert_eq!(logged(|| refuse("192.0.2.1", 1)).len(), 2);
        // Each node of an AppleTalk network is one of them, whatever its sockets.
        let node = |node, socket, times| {
            let address = Address { network: 0, node, socket };
            let mut session = SessionLog::new(Arc::clone(&refusals), Peer::AppleTalk(address));
            (0..times).for_each(|_| session.refused(RELAY));
        };
        let lines = logged(|| node(5, 72, 100));
        assert_eq!(
            (lines.len(), &lines[0]["client"]),
            (LINES as usize + 1, &"appletalk:0.5:72".into())
        );
        assert_eq!(logged(|| node(5, 73, 1)).len(), 1);
        assert_eq!(logged(|| node(6, 72, 1)).len(), 2);
        assert_eq!(logged(|| refuse("0.0.0.0", 1)).len(), 2);
        clock.advance(LINE_EVERY);
        let lines = logged(|| refuse("2001:db8::1", 2));
        assert_eq!(lines[0]["unlogged"], 81);
        assert_eq!(lines.len(), 2);
    }
}
