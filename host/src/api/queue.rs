//! What is held, and what a person does about it.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use postern_spool::{
    Action, Cursor, Domain, Filter, Held, Listing, MsgId, QueueStats, Spool, StateFilter, Wake,
};
use serde::Deserialize;

use super::{
    Acted, Asked, Connection, ControlState, Item, Items, Message, Nothing, Opened, PAGE, Queue,
    Queues, Refusal, Released, ReleasedDomain,
};

/// Items that the spool is asked for at once.
const BATCH: usize = 100;
/// Bytes of a page's items, after which it ends early.
const PAGE_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    domain: Option<String>,
    state: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<String>,
    max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseQuery {
    domain: Option<String>,
}

/// What a person means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActQuery {
    id: Option<String>,
    domain: Option<String>,
    state: Option<String>,
}

enum Meant {
    Message(MsgId),
    Domain(Domain),
    State(StateFilter),
}

impl ActQuery {
    fn meant(self) -> Result<Meant, Refusal> {
        match (self.id, self.domain, self.state) {
            (Some(id), None, None) => Ok(Meant::Message(id.parse()?)),
            (None, Some(domain), None) => Ok(Meant::Domain(Domain::new(&domain))),
            (None, None, Some(state)) => Ok(Meant::State(parse_state(&state)?)),
            _ => Err(Refusal::bad_request("one of id, domain and state is to be given")),
        }
    }
}

fn parse_state(text: &str) -> Result<StateFilter, Refusal> {
    Ok(match text {
        "waiting" => StateFilter::Waiting,
        "kept" => StateFilter::Kept,
        "refused" => StateFilter::Refused,
        "expired" => StateFilter::Expired,
        "damaged" => StateFilter::Damaged,
        "held" => StateFilter::Held,
        _ => {
            let states = "state is waiting, kept, refused, expired, damaged or held";
            return Err(Refusal::bad_request(states));
        }
    })
}

pub(super) async fn domains<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<PageQuery>,
) -> Result<Json<Queues>, Refusal> {
    let query = query?.0;
    let max = query.max.unwrap_or(PAGE).clamp(1, PAGE);
    let after = query.after.as_deref().map(Domain::new);
    let queues = control.spool()?.queues(after.as_ref(), max).await?;
    let more = queues.len() == max;
    let next = queues.last().filter(|_| more).map(|last| last.domain.to_string());
    Ok(Json(Queues { queues: queues.iter().map(Queue::from).collect(), next }))
}

pub(super) async fn list<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<ListQuery>,
) -> Result<Json<Items>, Refusal> {
    let query = query?.0;
    let spool = control.spool()?;
    let filter = Filter {
        domain: query.domain.as_deref().map(Domain::new),
        state: query.state.as_deref().map(parse_state).transpose()?,
        ..Filter::default()
    };
    let max = query.max.unwrap_or(PAGE).clamp(1, PAGE);
    let after = query.after.map(|after| after.parse::<Cursor>());
    let mut after = after.transpose().map_err(Refusal::bad_request)?;
    let mut queues = QueuesOf::new(spool);
    let (mut items, mut bytes) = (Vec::new(), 0);
    loop {
        let batch = (max - items.len()).min(BATCH);
        let Listing { items: held, next } = spool.list(&filter, after.as_ref(), batch).await?;
        for held in &held {
            let item = Item::new(held, queues.get(&held.domain).await?);
            bytes += item.bytes();
            items.push(item);
        }
        after = next;
        if after.is_none() || items.len() >= max || bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(Json(Items { items, next: after.map(|after| after.to_string()) }))
}

/// What was asked of the domains of one answer, once of each.
struct QueuesOf<'s, S> {
    spool: &'s S,
    known: BTreeMap<Domain, Option<QueueStats>>,
}

impl<'s, S: Spool> QueuesOf<'s, S> {
    fn new(spool: &'s S) -> Self {
        Self { spool, known: BTreeMap::new() }
    }

    async fn get(&mut self, domain: &Domain) -> Result<Option<&QueueStats>, Refusal> {
        if !self.known.contains_key(domain) {
            let queue = self.spool.queue(domain).await?;
            self.known.insert(domain.clone(), queue);
        }
        Ok(self.known.get(domain).and_then(Option::as_ref))
    }
}

pub(super) async fn show<S: Spool>(
    State(control): ControlState<S>,
    Path(id): Path<String>,
    query: Asked<Nothing>,
) -> Result<Json<Message>, Refusal> {
    query?;
    let id = id.parse()?;
    let spool = control.spool()?;
    let held = spool.message(id).await?;
    if held.is_empty() {
        return Err(Refusal::no_message(id));
    }
    let now = control.clock.instant();
    let mut queues = QueuesOf::new(spool);
    let mut message = Message { items: Vec::new(), connections: Vec::new() };
    for held in &held {
        message.items.push(Item::new(held, queues.get(&held.domain).await?));
        let connections = control.progress.of(&held.domain);
        message.connections.extend(connections.iter().map(|one| Connection::new(one, now)));
    }
    Ok(Json(message))
}

pub(super) async fn release<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<ReleaseQuery>,
) -> Result<Json<Released>, Refusal> {
    let opened = control.opened()?;
    let mut answer = Released { released: Vec::new(), without_hold: Vec::new() };
    match query?.0.domain.as_deref().map(Domain::new) {
        Some(domain) if !opened.goes(&domain) => return Err(Refusal::no_hold(&domain)),
        Some(domain) => {
            control.triggers.asked(&domain);
            release_domains(opened, std::slice::from_ref(&domain), &mut answer).await?;
            control.triggers.released(&domain);
        }
        None => {
            release_all(opened, &mut answer).await?;
            control.triggers.released_many();
        }
    }
    for ReleasedDomain { domain, waiting, under_way, .. } in &answer.released {
        control.metrics.release("operator");
        tracing::info!(domain, waiting, under_way, "released by a person");
    }
    Ok(Json(answer))
}

async fn release_all<S: Spool>(opened: &Opened<S>, answer: &mut Released) -> Result<(), Refusal> {
    let mut after = None;
    loop {
        let page = opened.spool.queues(after.as_ref(), PAGE).await?;
        let last = page.len() < PAGE;
        after = page.last().map(|queue| queue.domain.clone());
        let domains = page.into_iter().map(|queue| queue.domain);
        let (domains, without): (Vec<_>, Vec<_>) = domains.partition(|domain| opened.goes(domain));
        answer.without_hold.extend(without.iter().map(Domain::to_string));
        release_domains(opened, &domains, answer).await?;
        if last {
            return Ok(());
        }
    }
}

async fn release_domains<S: Spool>(
    opened: &Opened<S>,
    domains: &[Domain],
    answer: &mut Released,
) -> Result<(), Refusal> {
    let pending = opened.spool.release(domains, Wake::Operator).await?;
    let released = domains.iter().zip(&pending).map(|(domain, pending)| ReleasedDomain {
        domain: domain.to_string(),
        waiting: pending.waiting,
        under_way: pending.under_way,
        held: pending.held,
        suspended: pending.suspended,
    });
    answer.released.extend(released);
    Ok(())
}

pub(super) async fn remove<S: Spool>(
    State(control): ControlState<S>,
    Path(id): Path<String>,
    query: Asked<Nothing>,
) -> Result<Json<Acted>, Refusal> {
    query?;
    let id = id.parse()?;
    let acted = act(control.spool()?, &of_message(id), Action::Remove).await?;
    if acted.items == 0 {
        return Err(Refusal::no_message(id));
    }
    tracing::info!(%id, items = acted.items, "removed by a person");
    Ok(Json(acted.into()))
}

pub(super) async fn retry<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<ActQuery>,
) -> Result<Json<Acted>, Refusal> {
    let opened = control.opened()?;
    let spool = &*opened.spool;
    let meant = query?.0.meant()?;
    let (filter, meant) = match meant {
        Meant::Message(id) => {
            let items = known(spool, id).await?.into_iter();
            (of_message(id), items.map(|item| item.domain).collect())
        }
        Meant::Domain(domain) if !opened.goes(&domain) => {
            return Err(Refusal::no_hold(&domain));
        }
        Meant::Domain(domain) => (of_domain(&domain), BTreeSet::from([domain])),
        Meant::State(state) => {
            (Filter { state: Some(state), ..Filter::default() }, BTreeSet::new())
        }
    };
    let is_domain = filter.domain.is_some();
    let mut acted = act(spool, &filter, Action::Retry).await?;
    let domains = meant.union(&acted.domains);
    // What goes only when its domain is asked for would go nowhere by itself.
    let asked: Vec<_> =
        domains.filter(|domain| is_domain || opened.waits_to_be_asked(domain)).cloned().collect();
    asked.iter().for_each(|domain| control.triggers.asked(domain));
    spool.release(&asked, Wake::Operator).await?;
    for domain in &asked {
        control.triggers.released(domain);
        control.metrics.release("operator");
    }
    if filter.id.is_some() && acted.items == 0 {
        // It waited already, and was not asked for.
        acted = Done { items: asked.len() as u64, domains: asked.into_iter().collect() };
    }
    tracing::info!(items = acted.items, "to be tried again, by a person");
    Ok(Json(acted.into()))
}

pub(super) async fn hold<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<ActQuery>,
) -> Result<Json<Acted>, Refusal> {
    hold_back(control.opened()?, query?.0.meant()?, true).await
}

pub(super) async fn unhold<S: Spool>(
    State(control): ControlState<S>,
    query: Asked<ActQuery>,
) -> Result<Json<Acted>, Refusal> {
    hold_back(control.opened()?, query?.0.meant()?, false).await
}

async fn hold_back<S: Spool>(
    opened: &Opened<S>,
    meant: Meant,
    held: bool,
) -> Result<Json<Acted>, Refusal> {
    let spool = &*opened.spool;
    let action = if held { Action::Hold } else { Action::Unhold };
    let acted = match meant {
        Meant::Message(id) => {
            known(spool, id).await?;
            act(spool, &of_message(id), action).await?.into()
        }
        Meant::Domain(domain) => {
            // Of a name that is written wrong nothing is to be kept.
            let queue = spool.queue(&domain).await?;
            if queue.is_none() && !opened.has_hold(&domain) {
                return Err(Refusal::unknown(&domain));
            }
            spool.hold(&domain, held).await?;
            Acted { items: queue.map_or(0, |queue| queue.waiting + queue.kept), domains: 1 }
        }
        Meant::State(_) => return Err(Refusal::bad_request("id or domain is to be given")),
    };
    tracing::info!(held, items = acted.items, "held back or let go by a person");
    Ok(Json(acted))
}

async fn known<S: Spool>(spool: &S, id: MsgId) -> Result<Vec<Held>, Refusal> {
    let items = spool.message(id).await?;
    if items.is_empty() { Err(Refusal::no_message(id)) } else { Ok(items) }
}

fn of_message(id: MsgId) -> Filter {
    Filter { id: Some(id), ..Filter::default() }
}

fn of_domain(domain: &Domain) -> Filter {
    Filter { domain: Some(domain.clone()), ..Filter::default() }
}

/// What an action was done to.
#[derive(Default)]
struct Done {
    items: u64,
    domains: BTreeSet<Domain>,
}

impl From<Done> for Acted {
    fn from(Done { items, domains }: Done) -> Self {
        Self { items, domains: domains.len() as u64 }
    }
}

/// Does it to all, a commit for each so many.
async fn act<S: Spool>(spool: &S, filter: &Filter, action: Action) -> Result<Done, Refusal> {
    let mut all = Done::default();
    let mut filter = filter.clone();
    loop {
        let done = spool.act(&filter, action, PAGE).await?;
        if done.is_empty() {
            return Ok(all);
        }
        all.items += done.len() as u64;
        filter.after = done.last().cloned().map(Cursor::from);
        all.domains.extend(done.into_iter().map(|(domain, _)| domain));
    }
}
