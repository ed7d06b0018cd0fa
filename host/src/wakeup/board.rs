//! What the holders were asked and said, for whoever wants to see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::time::Instant;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Lines that are kept of one dialogue.
const LINES_MAX: usize = 20;
/// Characters that are kept of one line.
const LINE_MAX: usize = 200;

/// What is shown of the holders. Clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    holders: Mutex<Vec<Shown>>,
    changed: watch::Sender<()>,
    /// How often a person wanted all holders to be asked.
    requests: watch::Sender<u64>,
}

/// A holder, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its names, as they are configured.
    pub holder: String,
    /// Whether it is being asked.
    pub is_asking: bool,
    /// When it is asked next.
    pub next: Instant,
    /// Mail is coming over the connection that asked: how that came about.
    pub fetching: Option<Asked>,
    /// What came of it last.
    pub last: Option<Asked>,
    /// The last of the [requests](Board::request) that it was asked for.
    served: u64,
}

/// What came of asking a holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, in seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: u64,
    /// By which of its names.
    pub host: String,
    /// What was done and said, line by line; of a long dialogue, the begin.
    pub dialogue: Vec<String>,
    /// Lines that are not among these.
    pub left_out: usize,
    /// `mail comes`, `nothing waits`, `refused` or `no answer`; of what was fetched, `mail came`,
    /// `none was taken` or `cut short`.
    pub outcome: String,
    /// Whether a person must see to it: asking again will not help.
    #[serde(default)]
    pub is_alarm: bool,
}

impl Asked {
    /// Adds a line.
    pub(super) fn say(&mut self, line: impl ToString) {
        if self.dialogue.len() < LINES_MAX {
            self.dialogue.push(line.to_string().chars().take(LINE_MAX).collect());
        } else {
            self.left_out += 1;
        }
    }
}

impl Board {
    /// The holders, in the order of the configuration.
    pub fn holders(&self) -> Vec<Shown> {
        self.lock().clone()
    }

    /// Asks all holders now, for a person, and waits until each of them has been.
    pub async fn request(&self) {
        let mut changed = self.0.changed.subscribe();
        let mut number = 0;
        self.0.requests.send_modify(|requests| {
            *requests += 1;
            number = *requests;
        });
        while self.lock().iter().any(|holder| holder.served < number) {
            // Its sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// The number of requests by people.
    pub(super) fn requests(&self) -> watch::Receiver<u64> {
        self.0.requests.subscribe()
    }

    /// Shows the holders of these names, in this order, and no others.
    pub(super) fn keep(&self, names: &[String]) {
        let mut holders = self.lock();
        let mut before = std::mem::take(&mut *holders);
        for name in names {
            let known = before.iter().position(|holder| holder.holder == *name);
            let new = || Shown {
                holder: name.clone(),
                is_asking: false,
                next: Instant::FAR,
                fetching: None,
                last: None,
                served: *self.0.requests.borrow(),
            };
            holders.push(known.map_or_else(new, |at| before.swap_remove(at)));
        }
        drop(holders);
        self.0.changed.send_replace(());
    }

    /// Whether the holder of this name is being asked, and when it is next; `served`: for which
    /// requests of people it has been.
    pub(super) fn waits(&self, name: &str, is_asking: bool, next: Instant, served: u64) {
        self.change(name, |holder| {
            (holder.is_asking, holder.next, holder.served) = (is_asking, next, served);
            holder.fetching = None;
        });
    }

    /// What came of asking the holder of this name, and when it is asked next.
    pub(super) fn asked(&self, name: &str, asked: Asked, next: Instant) {
        self.change(name, |holder| {
            (holder.is_asking, holder.last, holder.next) = (false, Some(asked), next);
            holder.fetching = None;
        });
    }

    /// The holder of this name was asked so far, and its mail comes over the same connection.
    pub(super) fn fetches(&self, name: &str, asked: Asked) {
        self.change(name, |holder| holder.fetching = Some(asked));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Shown)) {
        if let Some(holder) = self.lock().iter_mut().find(|holder| holder.holder == name) {
            change(holder);
        }
        self.0.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.0.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_dialogue_is_cut_and_says_so() {
        let mut asked = Asked::default();
        for _ in 0..30 {
            asked.say("ä".repeat(1000));
        }
        let lengths: Vec<_> = asked.dialogue.iter().map(|line| line.chars().count()).collect();
        assert_eq!((lengths, asked.left_out), (vec![LINE_MAX; LINES_MAX], 30 - LINES_MAX));
    }

    #[tokio::test]
    async fn a_request_is_over_when_each_holder_was_asked_or_is_gone() {
        let board = Board::default();
        board.request().await;
        let names = ["a".to_owned(), "b".to_owned()];
        board.keep(&names);
        let mut request = Box::pin(board.request());
        let is_over = |request: &mut std::pin::Pin<Box<_>>| futures_poll(request);
        assert!(!is_over(&mut request));
        board.waits("a", true, Instant::FAR, 1);
        assert!(!is_over(&mut request), "this was for the one before");
        board.waits("a", false, Instant::FAR, 2);
        assert!(!is_over(&mut request));
        board.keep(&names[..1]);
        assert!(is_over(&mut request));
        assert_eq!(board.holders().len(), 1);
    }

    fn futures_poll(future: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }
}
