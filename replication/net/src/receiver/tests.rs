//! The receiver over memory: cut off at every point, it loses nothing.
//! Never a socket.

use super::FrameReceiver;
use crate::connection::{Link, Wire};
use crate::frame;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;

/// Sends bytes through a pipe of `pipe_bytes`, and reads frames with a future that is dropped
/// whenever it would wait.
fn receive_with_cancels(bytes: Vec<u8>, pipe_bytes: usize) -> (Vec<(u8, Vec<u8>)>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut near, far) = tokio::io::duplex(pipe_bytes);
        let mut receiver = FrameReceiver::new(Box::new(far), Link::new(Wire::Memory));
        tokio::spawn(async move {
            near.write_all(&bytes).await.unwrap();
        });
        let (mut frames, mut cancels) = (Vec::new(), 0);
        loop {
            tokio::select! {
                biased;
                next = receiver.next() => match next.unwrap() {
                    Some(frame) => frames.push((frame.kind, frame.payload.to_vec())),
                    None => return (frames, cancels),
                },
                () = yield_now() => cancels += 1,
            }
        }
    })
}

#[test]
fn dropping_the_future_at_every_byte_loses_nothing() {
    let mut bytes = Vec::new();
    let sent: Vec<_> = (0..40_u8).map(|kind| (kind, vec![kind; usize::from(kind)])).collect();
    for (kind, payload) in &sent {
        frame::encode(&mut bytes, *kind, &[payload]).unwrap();
    }
    let length = bytes.len();
    let (frames, cancels) = receive_with_cancels(bytes, 1);
    assert_eq!(frames, sent);
    assert!(cancels >= length / 2, "{cancels} cancels for {length} bytes");
}

proptest! {
    #[test]
    fn dropping_the_future_anywhere_loses_nothing(
        sent in vec((any::<u8>(), vec(any::<u8>(), 0..200)), 0..10),
        pipe_bytes in 1usize..64,
    ) {
        let mut bytes = Vec::new();
        for (kind, payload) in &sent {
            frame::encode(&mut bytes, *kind, &[payload]).unwrap();
        }
        let (frames, _) = receive_with_cancels(bytes, pipe_bytes);
        prop_assert_eq!(frames, sent);
    }
}

#[tokio::test]
async fn frames_that_came_together_are_taken_without_waiting() {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let mut receiver = FrameReceiver::new(Box::new(far), Link::new(Wire::Memory));
    assert_eq!(receiver.try_next_buffered(), None);
    let mut bytes = Vec::new();
    for kind in 0..100 {
        frame::encode(&mut bytes, kind, &[b"payload"]).unwrap();
    }
    near.write_all(&bytes).await.unwrap();
    assert_eq!(receiver.next().await.unwrap().unwrap().kind, 0);
    for kind in 1..100 {
        assert_eq!(receiver.try_next_buffered().unwrap().kind, kind);
    }
    assert_eq!(receiver.try_next_buffered(), None);
}
