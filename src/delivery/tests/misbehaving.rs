//! Deliveries to servers that refuse, fall silent, talk nonsense or die, each at every point.
//! Never lets a server say more than its script.

use super::Step::{Bytes, Dot, Hold, Line, Say, Trickle};
use super::{
    Delivery, GO, GREETING, OK, PLAIN, Step, Timeouts, deliver, expect_failed, play, scripted,
    send, strings,
};
use std::time::Duration;
use tokio::net::TcpListener;

/// The steps up to the go-ahead for DATA, then more.
fn data_then(more: Vec<Step>) -> Vec<Step> {
    let start = [GREETING, Line, PLAIN, Line, OK, Line, OK, Line, GO];
    start.into_iter().chain(more).collect()
}

/// The steps up to the command for the only chunk, then more.
fn chunks_then(more: Vec<Step>) -> Vec<Step> {
    let chunking = Say("250-mx\r\n250 CHUNKING\r\n");
    let start = [GREETING, Line, chunking, Line, OK, Line, OK, Line];
    start.into_iter().chain(more).collect()
}

fn expect_unknown(outcome: &Delivery) -> &str {
    match outcome {
        Delivery::Unknown(text) => text,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn refusals_before_the_message_are_failures_with_the_reply() {
    let no = Say("451 4.7.1 not now\r\n");
    for script in [
        vec![no.clone(), Hold],
        vec![GREETING, Line, no.clone(), Hold],
        vec![GREETING, Line, Say("502 what\r\n"), Line, no.clone(), Hold],
        vec![GREETING, Line, PLAIN, Line, no.clone(), Line, Hold],
        vec![GREETING, Line, PLAIN, Line, OK, Line, no.clone(), Line, Hold],
        vec![GREETING, Line, PLAIN, Line, OK, Line, OK, Line, no.clone(), Line, Hold],
        data_then(vec![Dot, no.clone(), Line, Hold]),
    ] {
        let text = format!("{script:?}");
        assert_eq!(expect_failed(&play(script).await), "451 4.7.1 not now", "{text}");
    }
}

#[tokio::test]
async fn a_server_that_dies_after_the_dot_leaves_the_outcome_unknown() {
    for end in [
        vec![Dot],
        vec![Dot, Say("250-and")],
        vec![Dot, Say("whatever\r\n")],
        vec![Dot, Say("354 more\r\n")],
    ] {
        let text = format!("{end:?}");
        let outcome = play(data_then(end)).await;
        assert!(expect_unknown(&outcome).starts_with("sent whole"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_dies_after_the_last_chunk_leaves_the_outcome_unknown() {
    let chunking = Say("250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n");
    let script = vec![GREETING, Line, chunking, Line, Line, OK, OK, Line, Bytes(3)];
    expect_unknown(&play(script).await);
}

#[tokio::test]
async fn silence_after_the_dot_is_unknown_and_before_it_a_failure() {
    let quick = Timeouts {
        command: Duration::from_millis(50),
        end: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let to = strings(&["a@x"]);
    let (address, _server) = scripted(data_then(vec![Dot, Hold])).await;
    let outcomes = deliver(&address.to_string(), "q.example", "", &to, b"x", &quick).await;
    assert!(expect_unknown(&outcomes[0]).contains("did nothing for 50 ms"));
    let (address, _server) = scripted(vec![GREETING, Line, Hold]).await;
    let outcomes = deliver(&address.to_string(), "q.example", "", &to, b"x", &quick).await;
    assert!(expect_failed(&outcomes[0]).contains("did nothing for 50 ms"));
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_the_message_failed() {
    let (address, _server) = scripted(chunks_then(vec![Bytes(1000)])).await;
    let body = vec![b'x'; 64 << 20];
    let outcomes = send(address, &["a@x"], &body).await;
    assert!(expect_failed(&outcomes[0]).starts_with("in the middle of the message"));
}

#[tokio::test]
async fn nothing_follows_a_message_that_was_not_taken_whole() {
    let impatient = Timeouts { block: Duration::from_millis(50), ..Timeouts::default() };
    let (address, server) = scripted(chunks_then(vec![Trickle])).await;
    let body = vec![b'x'; 64 << 20];
    let host = address.to_string();
    let outcomes = deliver(&host, "q.example", "", &strings(&["a@x"]), &body, &impatient).await;
    assert!(expect_failed(&outcomes[0]).starts_with("in the middle of the message"));
    let heard = server.await.unwrap();
    assert!(heard.ends_with(b"xxxxxx"), "what follows would be taken for the message");
}

#[tokio::test]
async fn a_reply_too_many_is_not_taken_for_that_to_the_message() {
    let chunking = Say("250-mx\r\n250 CHUNKING\r\n");
    let stray = Say("250 ok\r\n250 stray\r\n");
    let outcome = play(vec![GREETING, Line, chunking, Line, OK, Line, stray, Hold]).await;
    assert!(expect_failed(&outcome).contains("more replies"));
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_is_quoted() {
    let script = chunks_then(vec![Bytes(1000), Say("552 5.3.4 too large\r\n"), Hold]);
    let (address, _server) = scripted(script).await;
    let outcomes = send(address, &["a@x"], &vec![b'x'; 8 << 20]).await;
    assert_eq!(expect_failed(&outcomes[0]), "552 5.3.4 too large");
}

#[tokio::test]
async fn garbage_and_closed_doors_are_failures() {
    for script in [
        vec![],
        vec![Say("HTTP/1.1 400 Bad Request\r\n\r\n"), Hold],
        vec![Say("220 mx\n"), Hold],
        vec![GREETING, Line, Say("250-a\r\n251 b\r\n"), Hold],
        vec![GREETING, Line],
        vec![GREETING, Line, PLAIN, Line, Say("250 ok\r\n250 again\r\n"), Line, OK, Line, Hold],
        vec![GREETING, Line, PLAIN, Line, OK, Line, OK, Line, Say("250 what\r\n"), Hold],
    ] {
        let text = format!("{script:?}");
        let outcome = play(script).await;
        assert!(matches!(outcome, Delivery::Failed(_)), "{text}: {outcome:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let outcomes = send(nobody, &["a@x"], b"x").await;
    assert!(expect_failed(&outcomes[0]).contains("cannot connect"));
}

#[tokio::test]
async fn an_outcome_never_outgrows_its_record() {
    let line = format!("550-{}\r\n", "é".repeat(700));
    let script = vec![Say(line.repeat(50).leak()), Say("550 end\r\n"), Hold];
    let outcome = play(script).await;
    assert!(expect_failed(&outcome).len() <= 1024);
}
