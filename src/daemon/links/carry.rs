//! The two tasks of a link: frames from the node task to a connection, and the other way round.
//! Never lets one peer hold more of this node's memory, or of the node task's turns, than its share.

use crate::daemon::driver::Event;
use crate::daemon::links::Links;
use quar_base::ids::MemberId;
use quar_net::{FRAME_HEADER_BYTES, Frame, FrameReceiver, FrameSender, NetError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Frames a reader hands over at once, and bytes: one frame more may lie beyond.
const FRAMES_PER_EVENT: usize = 64;
const BYTES_PER_EVENT: usize = 64 << 10;
/// Events of one link that wait for the node task.
const EVENTS_PER_LINK: usize = 4;
/// Frames that wait for one peer, in bytes. Twice what a peer is sent without an answer, and more
/// than all else that it can be told at once.
const OUTGOING_BYTES_MAX: usize = 24 << 20;

/// One frame on its way out: kind and payload.
type Outgoing = (u8, Vec<u8>);

/// Where the node task puts a peer's frames.
pub struct Outlet {
    queue: mpsc::UnboundedSender<Outgoing>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
}

impl Outlet {
    pub(in crate::daemon) fn new() -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, frames) = mpsc::unbounded_channel();
        (Self { queue, waiting: Arc::default() }, frames)
    }

    pub(super) fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }

    /// Queues a frame. `false` when the peer has left too much unread: it asks and does not listen.
    #[must_use]
    pub fn send(&self, kind: u8, payload: Vec<u8>) -> bool {
        let bytes = payload.len() + FRAME_HEADER_BYTES;
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) > OUTGOING_BYTES_MAX {
            return false;
        }
        // A writer that is gone reports its end by itself.
        let _ = self.queue.send((kind, payload));
        true
    }
}

/// Holds a peer's turn for a while.
pub fn rest(pause: Duration, turn: OwnedSemaphorePermit) {
    if !pause.is_zero() {
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(turn);
        });
    }
}

impl Links {
    pub(super) async fn write_all(
        &self,
        mut sender: FrameSender,
        mut queue: mpsc::UnboundedReceiver<Outgoing>,
        waiting: Arc<AtomicUsize>,
    ) -> Result<(), NetError> {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, FRAMES_PER_EVENT).await > 0 {
            for (kind, payload) in batch.drain(..) {
                let bytes = payload.len() + FRAME_HEADER_BYTES;
                self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                sender.send(kind, &[&payload]).await?;
                waiting.fetch_sub(bytes, Ordering::Relaxed);
            }
            sender.flush().await?;
        }
        sender.finish().await
    }

    /// Hands over what comes, `first` ahead of it, until the stream ends.
    pub(super) async fn read_all(
        &self,
        peer: MemberId,
        number: u64,
        mut receiver: FrameReceiver,
        mut first: Option<Frame>,
    ) -> Option<NetError> {
        let turns = Arc::new(Semaphore::new(EVENTS_PER_LINK));
        loop {
            let next = match first.take() {
                Some(frame) => Ok(Some(frame)),
                None => receiver.next().await,
            };
            let mut frames = match next {
                Ok(Some(frame)) => vec![frame],
                Ok(None) => return None,
                Err(error) => return Some(error),
            };
            let size = |frame: &Frame| frame.payload.len() + FRAME_HEADER_BYTES;
            let mut bytes = size(&frames[0]);
            while frames.len() < FRAMES_PER_EVENT && bytes < BYTES_PER_EVENT {
                let Some(frame) = receiver.try_next_buffered() else { break };
                bytes += size(&frame);
                frames.push(frame);
            }
            self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let turn = turns.clone().acquire_owned().await.expect("nobody closes the semaphore");
            if self.events.send(Event::Frames { peer, number, frames, turn }).await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OUTGOING_BYTES_MAX, Outlet};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_peer_that_leaves_its_answers_unread_is_told_no_more() {
        let (outlet, mut queue) = Outlet::new();
        let frame = || vec![0; 1 << 20];
        let taken = (0..1000).take_while(|_| outlet.send(1, frame())).count();
        assert!(
            (OUTGOING_BYTES_MAX >> 20..=(OUTGOING_BYTES_MAX >> 20) + 1).contains(&taken),
            "{taken}"
        );
        assert_eq!(queue.len(), taken);
        // Once some of it is written, more is taken.
        while queue.try_recv().is_ok() {}
        outlet.waiting().store(0, Ordering::Relaxed);
        assert!(outlet.send(1, frame()));
    }
}
