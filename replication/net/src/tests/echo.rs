//! What goes in on one side comes out on the other, over both transports.
//! Never about who may connect.

use super::support::{Authority, EACH, addresses, endpoint, endpoint_with, id, meet, pair};
use crate::{CloseReason, Connection, Preference, Transport};
use quar_base::limits::FRAME_BYTES_MAX;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sends every frame back until the peer ends, then ends too.
async fn echo(connection: Connection) {
    let Connection { mut sender, mut receiver, .. } = connection;
    while let Some(frame) = receiver.next().await.unwrap() {
        sender.send(frame.kind, &[&frame.payload]).await.unwrap();
        while let Some(frame) = receiver.try_next_buffered() {
            sender.send(frame.kind, &[&frame.payload]).await.unwrap();
        }
        sender.flush().await.unwrap();
    }
    sender.finish().await.unwrap();
}

#[tokio::test]
async fn frames_of_every_size_come_back_as_they_were() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        let echo = tokio::spawn(echo(pair.far));
        for (kind, bytes) in
            [0, 1, 4, 1199, 9000, 65_531, 65_536, FRAME_BYTES_MAX, 3].into_iter().enumerate()
        {
            let payload: Vec<u8> = (0..bytes).map(|index| (index * 31) as u8).collect();
            let (left, right) = payload.split_at(bytes / 2);
            let sender = &mut pair.near.sender;
            sender.send(kind as u8, &[left, right]).await.unwrap();
            sender.flush().await.unwrap();
            let frame = pair.near.receiver.next().await.unwrap().unwrap();
            assert_eq!(usize::from(frame.kind), kind);
            assert_eq!(frame.payload, payload);
        }
        pair.near.sender.finish().await.unwrap();
        assert_eq!(pair.near.receiver.next().await.unwrap(), None);
        echo.await.unwrap();
    }
}

#[tokio::test]
async fn thousands_of_small_frames_keep_their_order_both_ways_at_once() {
    const FRAMES: u32 = 20_000;
    for prefer in EACH {
        let pair = pair(prefer).await;
        let both = [pair.near, pair.far].map(|connection| {
            tokio::spawn(async move {
                let Connection { mut sender, mut receiver, .. } = connection;
                let send = async {
                    for number in 0..FRAMES {
                        sender.send(1, &[&number.to_le_bytes()]).await.unwrap();
                    }
                    sender.finish().await.unwrap();
                };
                let receive = async {
                    for number in 0..FRAMES {
                        let frame = receiver.next().await.unwrap().unwrap();
                        assert_eq!(&frame.payload[..], number.to_le_bytes());
                    }
                    assert_eq!(receiver.next().await.unwrap(), None);
                };
                tokio::join!(send, receive);
            })
        });
        for side in both {
            side.await.unwrap();
        }
    }
}

#[tokio::test]
async fn says_who_is_at_the_other_end_and_how() {
    for (prefer, transport) in EACH.into_iter().zip([Transport::Quic, Transport::Tcp]) {
        let pair = pair(prefer).await;
        let (near, far) = (&pair.near, &pair.far);
        assert_eq!((near.peer, far.peer), (id(2), id(1)));
        assert_eq!((near.dialed, far.dialed), (true, false));
        assert_eq!([near.transport, far.transport], [transport; 2]);
        assert_eq!(near.remote, pair.acceptor.local_address());
        assert_eq!(far.remote.ip(), pair.dialer.local_address().ip());
    }
}

#[tokio::test]
async fn both_sides_hold_one_session_key_and_no_two_connections_share_it() {
    let authority = Authority::new();
    let (dialer, acceptor) = (endpoint(authority.member(1)), endpoint(authority.member(2)));
    let mut keys = BTreeSet::new();
    for prefer in [EACH, EACH].concat() {
        let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
        let key = near.unwrap().session_key;
        assert_eq!(key, far.unwrap().session_key);
        assert_ne!(key, [0; 32]);
        keys.insert(key);
    }
    assert_eq!(keys.len(), 4);
}

#[tokio::test]
async fn one_connection_serves_a_member_that_cannot_be_dialed() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        pair.far.sender.send(9, &[b"from the acceptor"]).await.unwrap();
        pair.far.sender.flush().await.unwrap();
        let frame = pair.near.receiver.next().await.unwrap().unwrap();
        assert_eq!((frame.kind, &frame.payload[..]), (9, &b"from the acceptor"[..]));
    }
}

#[tokio::test]
async fn a_connection_outlives_both_endpoints() {
    for prefer in EACH {
        let mut pair = pair(prefer).await;
        drop((pair.dialer, pair.acceptor));
        pair.near.sender.send(1, &[b"still here"]).await.unwrap();
        pair.near.sender.flush().await.unwrap();
        let frame = pair.far.receiver.next().await.unwrap().unwrap();
        assert_eq!(&frame.payload[..], b"still here");
    }
}

#[tokio::test]
async fn dials_from_the_address_it_listens_on() {
    for prefer in EACH {
        let authority = Authority::new();
        let dialer = endpoint_with(authority.member(1), |settings| {
            settings.listen = "127.0.0.2:0".parse().unwrap();
        });
        let acceptor = endpoint_with(authority.member(2), |settings| {
            settings.listen = "127.0.0.3:0".parse().unwrap();
        });
        let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(near.unwrap().remote, acceptor.local_address());
        assert_eq!(far.unwrap().remote.ip(), dialer.local_address().ip());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_members_behind_one_address_connect_at_once() {
    for prefer in EACH {
        let authority = Authority::new();
        let acceptor = endpoint(authority.member(0));
        let to = Arc::new(addresses(&acceptor));
        let dials: Vec<_> = (1..=50)
            .map(|number| {
                let (dialer, to) = (endpoint(authority.member(number)), to.clone());
                tokio::spawn(async move {
                    let mut connection = dialer.dial(&to, id(0), prefer).await.unwrap();
                    let frame = connection.receiver.next().await.unwrap().unwrap();
                    assert_eq!(frame.payload[..], id(number).0);
                    connection.close(CloseReason::Done);
                    dialer.shutdown().await;
                })
            })
            .collect();
        let mut open = Vec::new();
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let mut connection = acceptor.accept().await.unwrap().unwrap();
            seen.insert(connection.peer);
            let peer = connection.peer;
            connection.sender.send(1, &[&peer.0]).await.unwrap();
            connection.sender.flush().await.unwrap();
            open.push(connection);
        }
        assert_eq!(seen.len(), 50);
        for dial in dials {
            dial.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_dual_stack_endpoint_shows_ipv4_peers_as_ipv4() {
    for prefer in EACH {
        let authority = Authority::new();
        let acceptor = endpoint_with(authority.member(2), |settings| {
            settings.listen = "[::]:0".parse().unwrap();
        });
        let dialer = endpoint(authority.member(1));
        let to = [format!("127.0.0.1:{}", acceptor.local_address().port())];
        let (near, far) = tokio::join!(dialer.dial(&to, id(2), prefer), acceptor.accept());
        assert_eq!(near.unwrap().remote.to_string(), to[0]);
        assert_eq!(far.unwrap().unwrap().remote.ip(), dialer.local_address().ip());
        let back = addresses(&dialer);
        let (near, _far) = tokio::join!(acceptor.dial(&back, id(1), prefer), dialer.accept());
        assert_eq!(near.unwrap().peer, id(1));
    }
}

#[tokio::test]
async fn a_preference_with_two_choices_takes_the_first_that_answers() {
    for (prefer, transport) in
        [(Preference::Quic, Transport::Quic), (Preference::Tcp, Transport::Tcp)]
    {
        assert_eq!(pair(prefer).await.near.transport, transport);
    }
}
