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
    /// [`ActError::Stopping`].
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
        let warning = match copies::status(self).await {
            Ok(copies) => {
                status.copies = copies;
                warnings::copies(&status.copies)
            }
            Err(error) => unknown_copies(error)?,
        };
        status.warnings.extend(warning);
        Ok(status)
    }
}

/// A status tells what is known also when the disk cannot be read: then above all.
fn unknown_copies(error: ActError) -> Result<Option<String>, ActError> {
    match error {
        ActError::Stopping => Err(ActError::Stopping),
        error => Ok(Some(format!("how many copies there are cannot be told: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::unknown_copies;
    use crate::daemon::handle::ActError;
    use quar_store::ReadError;

    #[test]
    fn a_disk_that_cannot_be_read_is_a_warning_and_not_the_end_of_the_status() {
        let error = ReadError::Io(std::io::Error::from_raw_os_error(5));
        let warning = unknown_copies(error.into()).unwrap().unwrap();
        assert!(warning.contains("cannot be told: "), "{warning}");
        assert!(matches!(unknown_copies(ActError::Stopping), Err(ActError::Stopping)));
    }
}
