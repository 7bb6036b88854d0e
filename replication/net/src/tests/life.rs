//! How connections end: cut, dropped, stalled, shut down.
//! Never how they begin.

use super::support::{EACH, pair, pair_with};
use crate::{CloseReason, NetError, Preference};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_closer_cuts_both_halves_from_another_task_and_the_peer_notices() {
    for prefer in EACH {
        let pair = pair(prefer).await;
        let closer = pair.near.closer();
        assert!(closer.is_open());
        let (mut near, mut far) = (pair.near, pair.far);
        let waiting = tokio::spawn(async move {
            let error = near.receiver.next().await.unwrap_err();
            let sent = async {
                near.sender.send(1, &[b"too late"]).await?;
                near.sender.flush().await
            };
            (error, sent.await.unwrap_err())
        });
        tokio::task::yield_now().await;
        closer.close(CloseReason::Removed);
        assert!(!closer.is_open());
        let (received, sent) = waiting.await.unwrap();
        for error in [received, sent] {
            let NetError::Closed { reason } = error else {
                panic!("not closed: {error}");
            };
            assert_eq!(reason, CloseReason::Removed);
        }
        let error = far.receiver.next().await.unwrap_err();
        match prefer {
            Preference::OnlyQuic => {
                assert_eq!(error.to_string(), "the peer closed the connection: no longer a member");
                assert!(!error.is_transient());
            }
            _ => assert_eq!(error.kind(), "lost"),
        }
    }
}

#[tokio::test]
async fn a_cut_wakes_a_sender_whose_peer_does_not_read() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        let closer = pair.near.closer();
        let progress = Arc::new(AtomicUsize::new(0));
        let sending = tokio::spawn({
            let (mut sender, progress) = (pair.near.sender, progress.clone());
            async move {
                let payload = vec![0; 1 << 20];
                loop {
                    if let Err(error) = sender.send(1, &[&payload]).await {
                        return error;
                    }
                    progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert!(pair.far.receiver.next().await.unwrap().is_some());
        let mut seen = usize::MAX;
        while seen != progress.load(Ordering::Relaxed) {
            seen = progress.load(Ordering::Relaxed);
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
        }
        closer.close(CloseReason::Offence);
        assert_eq!(sending.await.unwrap().kind(), "closed");
    }
}

#[tokio::test]
async fn frames_that_have_arrived_are_not_handed_out_after_a_cut() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        for _ in 0..3 {
            pair.near.sender.send(1, &[b"one"]).await.unwrap();
        }
        pair.near.sender.flush().await.unwrap();
        assert!(pair.far.receiver.next().await.unwrap().is_some());
        pair.far.closer().close(CloseReason::Removed);
        assert_eq!(pair.far.receiver.try_next_buffered(), None);
        assert_eq!(pair.far.receiver.next().await.unwrap_err().kind(), "closed");
    }
}

#[tokio::test]
async fn a_closer_keeps_no_connection_alive() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        let closer = pair.near.closer();
        drop(pair.near);
        assert!(!closer.is_open());
        let end = pair.far.receiver.next().await;
        assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
        closer.close(CloseReason::Done);
    }
}

#[tokio::test]
async fn shutting_down_ends_connections_and_accepting() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        pair.acceptor.shutdown().await;
        assert!(pair.acceptor.accept().await.is_none());
        assert_eq!(pair.far.receiver.next().await.unwrap_err().kind(), "closed");
        let error = pair.near.receiver.next().await.unwrap_err();
        match prefer {
            Preference::OnlyQuic => {
                assert!(matches!(error, NetError::ClosedByPeer { reason: CloseReason::Shutdown }))
            }
            _ => assert_eq!(error.kind(), "lost"),
        }
        pair.dialer.shutdown().await;
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_stalls_the_sender_and_not_for_ever() {
    for prefer in EACH {
        let mut pair = pair_with(prefer, |settings| {
            settings.limits.stall = Duration::from_secs(1);
        })
        .await;
        let payload = vec![0; 1 << 20];
        let error = loop {
            let sender = &mut pair.near.sender;
            if let Err(error) = sender.send(1, &[&payload]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), "stalled");
        assert!(error.is_transient());
        // It is not gone: as soon as it reads, the rest goes through.
        let reading = tokio::spawn(async move {
            let mut frames = 0;
            while let Ok(Some(_)) = pair.far.receiver.next().await {
                frames += 1;
            }
            frames
        });
        pair.near.sender.finish().await.unwrap();
        assert!(reading.await.unwrap() > 1);
    }
}

#[tokio::test]
async fn an_idle_line_is_heard_of_over_quic_and_is_not_lost() {
    let pair = pair_with(Preference::OnlyQuic, |settings| {
        settings.limits.quic_keep_alive = Duration::from_millis(20);
        settings.limits.quic_idle = Duration::from_secs(1);
    })
    .await;
    let closer = pair.near.closer();
    let first = closer.datagrams_received().unwrap();
    while closer.datagrams_received().unwrap() < first + 200 {
        tokio::task::yield_now().await;
    }
    assert!(closer.is_open() && pair.far.closer().is_open());
    let over_tcp = super::support::pair(Preference::OnlyTcp).await;
    assert_eq!(over_tcp.near.closer().datagrams_received(), None);
}

#[tokio::test]
async fn an_address_where_no_process_listens_is_deserted_and_a_silent_one_is_not() {
    let pair = pair_with(Preference::OnlyTcp, |settings| {
        settings.limits.handshake = Duration::from_millis(50);
    })
    .await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap().to_string();
    let dial = |to: Vec<String>| {
        let dialer = &pair.dialer;
        async move { dialer.dial(&to, super::support::id(2), Preference::OnlyTcp).await }
    };
    assert!(!dial(vec![to.clone()]).await.unwrap_err().is_deserted());
    drop(silent);
    assert!(dial(vec![to]).await.unwrap_err().is_deserted());
    assert!(!dial(Vec::new()).await.unwrap_err().is_deserted());
}

#[test]
fn close_reasons_keep_their_numbers() {
    let numbered = [
        CloseReason::Done,
        CloseReason::Shutdown,
        CloseReason::Removed,
        CloseReason::Duplicate,
        CloseReason::Offence,
    ];
    for (number, reason) in numbered.into_iter().enumerate() {
        assert_eq!(reason.code(), number as u32);
        assert_eq!(CloseReason::from_code(number as u64), reason);
    }
    assert_eq!(CloseReason::from_code(77), CloseReason::Unknown);
}
