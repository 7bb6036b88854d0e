//! The sender over memory: how many writes, and what a cancelled send leaves behind.
//! Never a socket.

use super::{FrameSender, WriteEnd};
use crate::connection::{Link, Wire};
use crate::receiver::FrameReceiver;
use quar_base::limits::FRAME_BYTES_MAX;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::task::yield_now;

const LONG: Duration = Duration::from_secs(600);

fn over(end: impl AsyncWrite + Send + Unpin + 'static, stall_limit: Duration) -> FrameSender {
    let end = WriteEnd::Stream(Box::new(end));
    FrameSender::new(end, Link::new(Wire::Memory), stall_limit)
}

/// Takes everything, and counts the calls.
struct Counting(Arc<AtomicUsize>);

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn small_frames_leave_together() {
    let writes = Arc::new(AtomicUsize::new(0));
    let mut sender = over(Counting(writes.clone()), LONG);
    for _ in 0..1000 {
        sender.send(1, &[&[7; 40]]).await.unwrap();
    }
    assert_eq!((writes.load(Ordering::Relaxed), sender.buffered_bytes()), (0, 45_000));
    sender.flush().await.unwrap();
    assert_eq!((writes.load(Ordering::Relaxed), sender.buffered_bytes()), (1, 0));
    for _ in 0..10_000 {
        sender.send(1, &[&[7; 40]]).await.unwrap();
    }
    sender.flush().await.unwrap();
    assert!(writes.load(Ordering::Relaxed) <= 1 + 450_000 / (64 << 10) + 1);
}

#[tokio::test]
async fn a_send_dropped_midway_still_sends_its_frame_whole_and_once() {
    let (near, far) = tokio::io::duplex(10);
    let mut sender = over(near, LONG);
    let mut receiver = FrameReceiver::new(Box::new(far), Link::new(Wire::Memory));
    let payload = vec![3; 100_000];
    let pieces = [&payload[..]];
    for kind in 0..3 {
        tokio::select! {
            biased;
            _ = sender.send(kind, &pieces) => panic!("the pipe holds ten bytes"),
            () = yield_now() => (),
        }
    }
    let reading = tokio::spawn(async move {
        let mut kinds = Vec::new();
        while let Some(frame) = receiver.next().await.unwrap() {
            assert_eq!(frame.payload.len(), 100_000);
            kinds.push(frame.kind);
        }
        kinds
    });
    sender.send(9, &pieces).await.unwrap();
    sender.finish().await.unwrap();
    assert_eq!(reading.await.unwrap(), [0, 1, 2, 9]);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_stalls_it() {
    let (near, _far) = tokio::io::duplex(10);
    let mut sender = over(near, Duration::from_millis(20));
    sender.send(1, &[&[0; 100]]).await.unwrap();
    assert_eq!(sender.flush().await.unwrap_err().kind(), "stalled");
}

#[tokio::test]
async fn a_frame_too_long_is_refused_and_leaves_nothing_behind() {
    let mut sender = over(tokio::io::sink(), LONG);
    let half = vec![0; FRAME_BYTES_MAX / 2];
    let error = sender.send(1, &[&half, &half, b"x"]).await.unwrap_err();
    assert_eq!(error.kind(), "frame-too-large");
    assert_eq!(sender.buffered_bytes(), 0);
    sender.send(1, &[&half, &half]).await.unwrap();
}
