//! The state of a node as its surfaces tell it: what the node task knows, and what is computed beside it.
//! Never waits for a peer.

use crate::api::NodeStatus;
use crate::daemon::driver::Event;
use crate::daemon::handle::{ActError, NodeHandle, Request};
use crate::daemon::{copies, warnings};
use tokio::sync::oneshot;

impl NodeHandle {
    /// The state of this node.
    ///
    /// # Errors
    /// [`ActError::Stopping`], or what the disk said.
    pub async fn status(&self) -> Result<NodeStatus, ActError> {
        let brake = self.brake().status();
        let (reply, answer) = oneshot::channel();
        let asked = self.events().send(Event::Request(Request::Status { reply })).await;
        asked.map_err(|_| ActError::Stopping)?;
        let mut status = answer.await.map_err(|_| ActError::Stopping)?;
        if brake.waiting > 0 {
            status.warnings.push(format!(
                "{} deletions wait: more than {} came within a minute; `quarctl brake` shows them",
                brake.waiting, brake.limit_per_minute
            ));
        }
        status.brake = brake;
        status.copies = copies::status(self).await?;
        status.warnings.extend(warnings::copies(&status.copies));
        Ok(status)
    }
}
