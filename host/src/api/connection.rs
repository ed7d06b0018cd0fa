//! HTTP for the control API: each connection is one request, and none stays for long.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use postern_spool::Spool;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{Control, router};
use crate::net::descriptors;
use crate::observe::rate::Limiter;

/// Connections at once; for more, those are cut that have asked nothing yet, or they wait.
const CONNECTIONS: usize = 64;
/// Descriptors that these connections leave free.
const SPOOL_RESERVED: u64 = descriptors::RESERVED / 2;
/// How long a request may take to come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take from its begin to the last byte of its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the answers that are under way may take when the server ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// A machine that is out of file descriptors has some again in a while, not at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A failing accept is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Serves the API on `listener` until `end`, and then a little longer, so that answers which are
/// under way can end.
pub async fn serve<S: Spool>(
    listener: UnixListener,
    control: Control<S>,
    end: impl Future<Output = ()>,
) {
    let (clock, failures) = (control.clock.clone(), Limiter::new(1, LOG_EVERY));
    let router = router(control);
    let mut connections = JoinSet::new();
    let mut silent = VecDeque::new();
    let mut end = pin!(end);
    loop {
        silent.retain(Silent::is_there);
        let has_room = connections.len() < CONNECTIONS || !silent.is_empty();
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                // Clients that ask nothing take none that the spool needs.
                Ok((stream, _)) if descriptors::are_fewer_than(SPOOL_RESERVED, &stream) => {}
                Ok((stream, _)) => {
                    if connections.len() >= CONNECTIONS && let Some(oldest) = silent.pop_front() {
                        oldest.task.abort();
                    }
                    let has_asked = Arc::new(AtomicBool::new(false));
                    let conversation = converse(stream, noting(&router, &has_asked));
                    silent.push_back(Silent { has_asked, task: connections.spawn(conversation) });
                }
                Err(error) => {
                    if let Some(unlogged) = failures.pass((), clock.instant()) {
                        tracing::warn!(%error, unlogged, "no control connection is accepted");
                    }
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // What is left is cut with the set.
    let _ = timeout(END_TIMEOUT, ended).await;
}

/// A connection over which no request has come yet.
struct Silent {
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Silent {
    fn is_there(&self) -> bool {
        !self.has_asked.load(Ordering::Relaxed) && !self.task.is_finished()
    }
}

/// The API, for one connection, which notes when a request has come.
fn noting(router: &Router, has_asked: &Arc<AtomicBool>) -> Router {
    let has_asked = Arc::clone(has_asked);
    router.clone().layer(map_request(move |request: Request| {
        has_asked.store(true, Ordering::Relaxed);
        ready(request)
    }))
}

async fn converse(stream: UnixStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a control connection broke"),
        Err(_) => tracing::debug!("a control connection took too long"),
    }
}
