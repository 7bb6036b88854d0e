//! Which members have what, as surfaces show it: of one message, of a page, of all that is here.
//! Never asks a peer: it tells what the node was told until now.

use crate::api::{CopiesStatus, HolderState, MessageCopies, MessagePage, MessageSummary};
use crate::daemon::clock::Clock;
use crate::daemon::driver::Event;
use crate::daemon::handle::{ActError, NodeHandle, Request, blocking};
use quar_base::roster::Roster;
use quar_base::time::UnixMillis;
use quar_node::{Holders, Holding};
use quar_store::{Message, Query, ReadError, Store};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Figures are computed anew after this many times as long as computing them took.
const REST: u32 = 10;
/// And after this at the earliest.
const AGE_MIN: Duration = Duration::from_millis(200);

/// The last figures of all that is here, since they may take long to compute.
#[derive(Default)]
pub struct Figures(Mutex<Option<Computed>>);

struct Computed {
    status: CopiesStatus,
    at: Duration,
    took: Duration,
}

impl Figures {
    /// Computes them, or tells the last ones when those are young enough; one caller at a time.
    fn get(
        &self,
        holders: &Holders,
        store: &Store,
        clock: &Clock,
    ) -> Result<CopiesStatus, ReadError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = clock.since_start();
        if let Some(last) = &*last
            && begun.saturating_sub(last.at) < (last.took * REST).max(AGE_MIN)
        {
            return Ok(last.status.clone());
        }
        let status = figures(holders, store, clock.now())?;
        let at = clock.since_start();
        *last = Some(Computed { status: status.clone(), at, took: at.saturating_sub(begun) });
        Ok(status)
    }
}

fn figures(holders: &Holders, store: &Store, now: UnixMillis) -> Result<CopiesStatus, ReadError> {
    let roster = store.roster();
    let under = holders.under_replicated(store)?;
    let name = |id| roster.member(id).map(|member| member.name.clone());
    let came_in = under.oldest.map(|id| id.key.instant(id.bucket.day));
    Ok(CopiesStatus {
        target: holders.target(),
        messages: under.messages,
        bytes: under.mail_bytes,
        bytes_estimated: under.is_estimate,
        oldest_seconds: came_in.map(|at| (now - at).0 / 1000),
        oldest: under.oldest.map(|id| id.to_string()),
        unknown: holders.unknown().filter_map(name).collect(),
    })
}

/// What of this node is on too few disks.
///
/// # Errors
/// [`ActError`].
pub async fn status(node: &NodeHandle) -> Result<CopiesStatus, ActError> {
    let holders = holders(node).await?;
    let (store, figures, clock) =
        (node.store().clone(), node.copy_figures().clone(), node.clock().clone());
    Ok(blocking(move || figures.get(&holders, &store, &clock)).await?)
}

/// Who has a message.
///
/// # Errors
/// [`ActError::Stopping`].
pub async fn of(node: &NodeHandle, message: &Message) -> Result<MessageCopies, ActError> {
    let holders = holders(node).await?;
    Ok(copies(&holders, message, &node.store().roster(), node.clock().now()))
}

/// A page of messages that are on too few disks, each with who has it.
///
/// # Errors
/// [`ActError`].
pub async fn list(node: &NodeHandle, query: Query) -> Result<MessagePage, ActError> {
    let holders = Arc::new(holders(node).await?);
    let (store, asked) = (node.store().clone(), holders.clone());
    let page = blocking(move || asked.list_under_replicated(&store, &query)).await?;
    let (roster, now) = (node.store().roster(), node.clock().now());
    let summary = |message: &Message| MessageSummary {
        copies: Some(copies(&holders, message, &roster, now)),
        ..node.summary(message)
    };
    Ok(MessagePage {
        messages: page.messages.iter().map(summary).collect(),
        next: page.next.map(|id| id.to_string()),
        damaged: page.damaged,
    })
}

async fn holders(node: &NodeHandle) -> Result<Holders, ActError> {
    let (reply, answer) = oneshot::channel();
    let asked = node.events().send(Event::Request(Request::Holders { reply })).await;
    asked.map_err(|_| ActError::Stopping)?;
    answer.await.map_err(|_| ActError::Stopping)
}

fn copies(holders: &Holders, message: &Message, roster: &Roster, now: UnixMillis) -> MessageCopies {
    let known = holders.of(message.id, message.has_body);
    let confirmed = known.iter().filter(|holder| holder.holding == Holding::Has).count();
    let state = |holding| match holding {
        Holding::Has => "has",
        Holding::NotYet => "not_yet",
        Holding::Unknown => "unknown",
    };
    let one = |holder: quar_node::Holder| HolderState {
        member: roster
            .member(holder.member)
            .map_or_else(|| holder.member.to_string(), |member| member.name.clone()),
        state: state(holder.holding).to_owned(),
        heard_seconds_ago: holder.heard_at.map(|at| (now - at).0 / 1000),
    };
    MessageCopies { confirmed, members: known.len(), holders: known.into_iter().map(one).collect() }
}
