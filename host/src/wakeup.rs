//! Asking holders for the mail that they hold for us: one task each, told by core when.
//!
//! The listener is open before a holder hears of us by ETRN: its mail may come before its answer
//! was read. By ATRN, mail comes over our own connection, and needs none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::config::Wakeup;
use crate::contained::{Panicked, contained};
use crate::deliver::Connector;
use crate::link::Link;
use crate::net::gate::Gate;
use crate::net::listener::Terms;
use crate::net::tls_client::Tls;
use crate::net::turns::Turns;
use crate::receive::greeting::Token;
use postern_spool::clock::Clock;

mod answers;
mod board;
mod email;
mod fetching;
mod holder;

pub use answers::Answers;
pub use board::{Asked, Board, Shown};
pub use fetching::check;
use holder::Holder;

/// From a panic to the next beginning.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// What asks the holders.
#[derive(Clone)]
pub struct Caller {
    /// The configuration in force.
    pub terms: watch::Receiver<Terms>,
    /// The clock.
    pub clock: Clock,
    /// What listens.
    pub gate: Gate,
    /// The way to the holders.
    pub link: Link,
    /// What finds holders, and connects to them.
    pub connector: Arc<dyn Connector>,
    /// TLS towards holders.
    pub tls: Arc<Tls>,
    /// Where mail comes in over connections that were turned round.
    pub turns: Turns,
    /// What our own greeting says: to ask ourselves leads nowhere.
    pub own: Token,
    /// What is shown of the holders.
    pub board: Board,
    /// What they said last.
    pub answers: Arc<Answers>,
}

/// A holder that is being asked.
struct Running {
    wakeup: Wakeup,
    task: AbortHandle,
}

impl Caller {
    /// Asks the holders of the configuration in force, until `stop` turns true. A dialogue that
    /// runs then is cut.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut terms = self.terms.clone();
        let (mut running, mut tasks) = (BTreeMap::new(), JoinSet::new());
        loop {
            let config = Arc::clone(&terms.borrow_and_update().config);
            let wanted: Vec<_> = config.wakeup.iter().cloned().collect();
            self.follow(&wanted, &mut running, &mut tasks);
            tokio::select! {
                Ok(()) = terms.changed() => {}
                // One that another configuration has ended.
                Some(_) = tasks.join_next() => {}
                // A sender that is gone means that the server ends: the same.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        tasks.shutdown().await;
    }

    /// Ends what asks a holder that is not wanted any more, or not like this, and begins what is
    /// wanted and does not run. What does not change goes on.
    fn follow(
        &self,
        wanted: &[Wakeup],
        running: &mut BTreeMap<String, Running>,
        tasks: &mut JoinSet<()>,
    ) {
        running.retain(|_, running| {
            let stays = wanted.contains(&running.wakeup);
            if !stays {
                running.task.abort();
            }
            stays
        });
        let names: Vec<_> = wanted.iter().map(Wakeup::name).collect();
        self.board.keep(&names);
        for (wakeup, name) in wanted.iter().zip(names) {
            running.entry(name).or_insert_with(|| {
                let task = tasks.spawn(ask(self.clone(), wakeup.clone()));
                Running { wakeup: wakeup.clone(), task }
            });
        }
    }
}

/// Asks a holder until its task ends. A panic, a fault of ours, costs a minute.
async fn ask(caller: Caller, wakeup: Wakeup) {
    while contained(Holder::new(caller.clone(), wakeup.clone()).run()).await == Err(Panicked) {
        let holder = wakeup.name();
        tracing::error!(%holder, "asking for mail failed: this is a bug in postern");
        // Not at once: what led to it may still be there.
        sleep(AFTER_PANIC).await;
    }
}
