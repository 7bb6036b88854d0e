//! What people and programs ask of a running node: one API, on the control socket and on HTTP.
//! Never decides about mail, and answers nobody whose right to ask was not checked.
//!
//! ```text
//! control   Unix socket, caller by uid ──┐
//! HTTP      TCP, caller by token ────────┴─► serve ─► auth ─► routes ─► the node's handle
//!                                                            │ query, envelope, upload: what is asked
//!                                                            └ failure: what is answered instead
//! ```
//! Paths and JSON: `routes`, [`crate::api`]. Every action leaves a line in the audit trail.

use crate::config::{Config, HttpToken, Paths};
use crate::daemon::clock::Clock;
use crate::daemon::handle::NodeHandle;
use anyhow::Context;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

mod audit;
mod auth;
mod brake;
mod control;
mod envelope;
mod failure;
mod hold;
pub mod imported;
mod inspection;
mod instant;
mod proof;
mod query;
mod routes;
mod serve;
mod stall;
mod upload;
mod usage;

pub use instant::parse_instant;

/// Actions that run at once: more than all connections together can ask for.
const ACTIONS_MAX: u32 = 4096;
/// Releases that run at once.
const RELEASES_MAX: usize = 64;

/// What all connections share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Surface(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) node: NodeHandle,
    pub(crate) tokens: Vec<HttpToken>,
    pub(crate) clock: Clock,
    /// Room for message bodies on their way in and out.
    pub(crate) body_room: Arc<Semaphore>,
    /// One permit for each action that runs: who has all of them knows that none does.
    pub(crate) actions: Arc<Semaphore>,
    pub(crate) releases: Arc<Semaphore>,
    /// Whether the daemon stops: what reads the disk for long is broken off.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Surface {
    fn new(node: NodeHandle, tokens: Vec<HttpToken>, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Shared {
            node,
            tokens,
            clock: Clock::start(),
            body_room: Arc::new(Semaphore::new(upload::ROOM_UNITS)),
            actions: Arc::new(Semaphore::new(ACTIONS_MAX as usize)),
            releases: Arc::new(Semaphore::new(RELEASES_MAX)),
            stopping,
        }))
    }

    /// Waits until no action runs.
    async fn finish_actions(&self) {
        // The semaphore is never closed: an error cannot be.
        let _ = self.actions.acquire_many(ACTIONS_MAX).await;
    }
}

impl std::ops::Deref for Surface {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Starts the control socket and the HTTP listener; they end soon after `stopping` is true.
///
/// # Errors
/// When one of them cannot be bound, with its address.
pub async fn start(
    paths: &Paths,
    config: &Config,
    node: &NodeHandle,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let surface = Surface::new(node.clone(), config.http.tokens.clone(), stopping.clone());
    let socket = control::ControlSocket::bind(&paths.control_socket())?;
    let mut tasks = vec![tokio::spawn(serve::serve(
        serve::Listener::Control(socket),
        surface.clone(),
        stopping.clone(),
    ))];
    if let Some(address) = config.http.listen {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("http.listen: cannot bind {address}"))?;
        tasks.push(tokio::spawn(serve::serve(
            serve::Listener::Http(listener),
            surface,
            stopping.clone(),
        )));
    }
    Ok(tasks)
}

#[cfg(test)]
pub(crate) mod tests;
