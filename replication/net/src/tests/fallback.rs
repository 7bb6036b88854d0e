//! Which transport and which address a dial ends up with.
//! Never waits for the default limits.

use super::support::{Authority, addresses, endpoint, endpoint_with, id, meet};
use crate::{Endpoint, NetError, Preference, Settings, Transport};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

fn hasty(settings: &mut Settings) {
    settings.limits.head_start = SHORT;
}

#[tokio::test]
async fn falls_back_to_tcp_where_quic_does_not_answer() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), hasty);
    let acceptor = endpoint_with(authority.member(2), |settings| settings.quic = false);
    let (near, far) = meet(&dialer, &acceptor, 2, Preference::Quic).await;
    assert_eq!(near.unwrap().transport, Transport::Tcp);
    assert_eq!(far.unwrap().transport, Transport::Tcp);
}

#[tokio::test]
async fn falls_back_to_quic_where_tcp_refuses() {
    let authority = Authority::new();
    let dialer = endpoint(authority.member(1));
    let acceptor = endpoint_with(authority.member(2), |settings| settings.tcp = false);
    let (near, far) = meet(&dialer, &acceptor, 2, Preference::Tcp).await;
    assert_eq!(near.unwrap().transport, Transport::Quic);
    assert_eq!(far.unwrap().transport, Transport::Quic);
}

#[tokio::test]
async fn a_transport_switched_off_here_is_not_waited_for() {
    let authority = Authority::new();
    let acceptor = endpoint(authority.member(2));
    for (prefer, tcp, expected) in
        [(Preference::Quic, true, Transport::Tcp), (Preference::Tcp, false, Transport::Quic)]
    {
        let dialer = endpoint_with(authority.member(1), |settings| {
            settings.tcp = tcp;
            settings.quic = !tcp;
            // Waiting for the head start would outlast the dial.
            settings.limits.head_start = Duration::from_secs(600);
        });
        let (near, _far) = meet(&dialer, &acceptor, 2, prefer).await;
        assert_eq!(near.unwrap().transport, expected);
        let other = match prefer {
            Preference::Quic => Preference::OnlyQuic,
            _ => Preference::OnlyTcp,
        };
        let error = dialer.dial(&addresses(&acceptor), id(2), other).await;
        assert_eq!(error.unwrap_err().kind(), "no-transport");
    }
}

#[tokio::test]
async fn quic_that_answers_late_is_kept_if_tcp_does_not_answer_at_all() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), |settings| {
        settings.limits.head_start = Duration::ZERO;
    });
    let acceptor = endpoint_with(authority.member(2), |settings| settings.tcp = false);
    let (near, _far) = meet(&dialer, &acceptor, 2, Preference::Quic).await;
    assert_eq!(near.unwrap().transport, Transport::Quic);
}

#[tokio::test]
async fn tries_the_addresses_in_order_until_the_right_member_answers() {
    let authority = Authority::new();
    let dialer = endpoint(authority.member(1));
    let (other, right) = (endpoint(authority.member(3)), endpoint(authority.member(2)));
    // Bound for UDP, so that no other test's endpoint takes the port, and closed for TCP.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = [
        "no port here".to_owned(),
        udp.local_addr().unwrap().to_string(),
        other.local_address().to_string(),
        right.local_address().to_string(),
    ];
    let connection = dialer.dial(&to, id(2), Preference::OnlyTcp).await.unwrap();
    assert_eq!(connection.remote, right.local_address());
    // Without the right one, the member that did answer is told rather than the silence.
    let error = dialer.dial(&to[..3], id(2), Preference::OnlyTcp).await;
    assert_eq!(error.unwrap_err().kind(), "wrong-member");
}

#[tokio::test]
async fn says_what_was_tried_when_nobody_answers() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), |settings| {
        settings.limits.head_start = SHORT;
        settings.limits.handshake = 2 * SHORT;
    });
    // Bound, so that nobody else takes the port, and silent.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = udp.local_addr().unwrap().to_string();
    let to = ["nonsense".to_owned(), silent.clone()];
    let error = dialer.dial(&to, id(2), Preference::Quic).await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    let NetError::Unreachable { peer, attempts } = error else {
        panic!("not unreachable: {text}");
    };
    assert_eq!(peer, id(2));
    let kinds: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.address.as_str(), attempt.transport, attempt.cause.kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("nonsense", None, "unresolved"),
            (silent.as_str(), Some(Transport::Tcp), "connect"),
            (silent.as_str(), Some(Transport::Quic), "handshake-timeout"),
        ]
    );
    assert!(text.contains("over TCP: cannot connect"), "{text}");
    let error = dialer.dial(&[], id(2), Preference::Quic).await.unwrap_err();
    assert!(error.to_string().ends_with("it has no address"));
}

#[tokio::test]
async fn a_whole_dial_has_one_deadline() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), |settings| {
        settings.limits.dial = SHORT;
        settings.limits.handshake = Duration::from_secs(600);
    });
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = vec![udp.local_addr().unwrap().to_string(); 50];
    let error = dialer.dial(&to, id(2), Preference::OnlyQuic).await;
    assert_eq!(error.unwrap_err().kind(), "unreachable");
}

#[tokio::test]
async fn addresses_that_do_not_answer_are_not_waited_for() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), |settings| {
        settings.limits.head_start = SHORT;
        settings.limits.dial = Duration::from_secs(600);
        settings.limits.handshake = Duration::from_secs(600);
    });
    let right = endpoint(authority.member(2));
    // Connected to by the system, and never spoken to.
    let silent: Vec<_> =
        (0..7).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut to: Vec<_> = silent.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    to.push(right.local_address().to_string());
    for prefer in super::support::EACH {
        let connection = dialer.dial(&to, id(2), prefer).await.unwrap();
        assert_eq!(connection.remote, right.local_address());
    }
}

#[tokio::test]
async fn the_address_and_the_transport_that_answered_last_go_first() {
    let authority = Authority::new();
    let dialer = endpoint_with(authority.member(1), |settings| {
        // Whoever is not first would come far too late.
        settings.limits.head_start = Duration::from_secs(600);
    });
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec![crate::certificate_name(id(2))];
    let certificate = authority.issue(names, &key, |_| ());
    let twin = || {
        let der = key.serialize_der();
        crate::Identity::new(certificate.clone(), der, authority.der()).unwrap()
    };
    let over_tcp = endpoint_with(twin(), |settings| settings.quic = false);
    let first = addresses(&over_tcp);
    let connection = dialer.dial(&first, id(2), Preference::OnlyTcp).await.unwrap();
    assert_eq!(connection.remote, over_tcp.local_address());
    let both = endpoint(twin());
    let to = [both.local_address().to_string(), over_tcp.local_address().to_string()];
    let connection = dialer.dial(&to, id(2), Preference::Quic).await.unwrap();
    assert_eq!(connection.remote, over_tcp.local_address(), "not the first in the list");
    let connection = dialer.dial(&to[..1], id(2), Preference::Quic).await.unwrap();
    assert_eq!(connection.transport, Transport::Tcp, "TCP was what worked");
}

#[tokio::test]
async fn members_meet_over_ipv6_and_one_that_listens_on_all_addresses_over_both() {
    let authority = Authority::new();
    let six = |settings: &mut Settings| settings.listen = "[::1]:0".parse().unwrap();
    let (dialer, acceptor) =
        (endpoint_with(authority.member(1), six), endpoint_with(authority.member(2), six));
    for prefer in super::support::EACH {
        let (near, far) = meet(&dialer, &acceptor, 2, prefer).await;
        assert!(near.unwrap().remote.is_ipv6() && far.unwrap().remote.is_ipv6());
    }
    let everywhere = |settings: &mut Settings| settings.listen = "[::]:0".parse().unwrap();
    let (open, four) =
        (endpoint_with(authority.member(3), everywhere), endpoint(authority.member(4)));
    let port = open.local_address().port();
    for prefer in super::support::EACH {
        for (dialer, host) in [(&dialer, "[::1]"), (&four, "127.0.0.1")] {
            let to = [format!("{host}:{port}")];
            let (near, far) = tokio::join!(dialer.dial(&to, id(3), prefer), open.accept());
            let (near, far) = (near.unwrap(), far.unwrap().unwrap());
            assert_eq!(near.remote.is_ipv6(), far.remote.is_ipv6());
        }
        // And back: from a socket for both to each.
        let (near, _far) = meet(&open, &four, 4, prefer).await;
        assert!(near.unwrap().remote.is_ipv4());
    }
}

#[test]
fn a_filtered_transport_costs_less_than_a_second() {
    let limits = crate::Limits::default();
    assert!(limits.head_start <= Duration::from_millis(200));
    assert!(limits.quic_idle > 5 * limits.quic_keep_alive, "a few lost probes are no lost line");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let authority = Authority::new();
    let first = endpoint(authority.member(1));
    for tcp in [true, false] {
        let mut settings =
            Settings::new(first.local_address(), authority.member(2), super::support::everyone());
        settings.tcp = tcp;
        let error = Endpoint::bind(settings).unwrap_err();
        assert_eq!(error.kind(), "bind");
        let text = error.to_string();
        assert!(text.contains(&first.local_address().to_string()), "{text}");
        assert!(text.contains(if tcp { "(TCP)" } else { "(QUIC)" }), "{text}");
        assert!(text.contains("in use"), "{text}");
    }
}

#[tokio::test]
async fn an_endpoint_needs_a_transport() {
    let identity = Authority::new().member(1);
    let mut settings =
        Settings::new("127.0.0.1:0".parse().unwrap(), identity, super::support::everyone());
    settings.tcp = false;
    settings.quic = false;
    assert_eq!(Endpoint::bind(settings).unwrap_err().kind(), "no-transport");
}
