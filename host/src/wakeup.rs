//! Asking holders for the mail that they hold for us: one task each, told by core when.
//!
//! The listener is open before a holder hears of us: its mail may come before its answer was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::config::Wakeup;
use crate::deliver::Connector;
use crate::net::gate::Gate;
use crate::net::listener::Terms;
use crate::net::tls_client::Tls;
use crate::receive::greeting::Token;
use postern_spool::clock::Clock;

mod answers;
mod board;
mod holder;

pub use answers::Answers;
pub use board::{Asked, Board, Shown};
use holder::Holder;

/// What asks the holders.
#[derive(Clone)]
pub struct Caller {
    /// The configuration in force.
    pub terms: watch::Receiver<Terms>,
    /// The clock.
    pub clock: Clock,
    /// What listens.
    pub gate: Gate,
    /// What finds holders, and connects to them.
    pub connector: Arc<dyn Connector>,
    /// TLS towards holders.
    pub tls: Arc<Tls>,
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
                Some(ended) = tasks.join_next() => panic_again(ended),
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
        let names: Vec<_> = wanted.iter().map(|wakeup| wakeup.etrn.to_string()).collect();
        self.board.keep(&names);
        for (wakeup, name) in wanted.iter().zip(names) {
            if !running.contains_key(&name) {
                let holder = Holder::new(self.clone(), wakeup.clone());
                let task = tasks.spawn(holder.run());
                running.insert(name, Running { wakeup: wakeup.clone(), task });
            }
        }
    }
}

fn panic_again(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
