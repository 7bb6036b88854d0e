//! Envelopes from queries and headers, the right ones and the wrong.

//! What comes with a message, from each of the three places, and what is refused.
//! Never a connection.

use super::{Cover, SCORE_MAX, read};
use crate::daemon::handle::Arrived;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use proptest::prelude::{prop_assert, proptest};
use quar_base::class::Class;
use quar_base::limits::FIELD_BYTES_MAX;
use quar_base::time::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_795_420_812_000);

fn cover(query: &str, headers: &[(&'static str, &str)]) -> Result<Cover, String> {
    let uri: Uri = format!("/v1/messages?{query}").parse().unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(HeaderName::from_static(name), value);
    }
    read(&uri, &map, NOW).map_err(|failure| format!("{failure:?}"))
}

#[test]
fn without_anything_it_is_spam_of_nobody_that_came_now() {
    let cover = cover("", &[("x-forwarded-for", "192.0.2.1")]).unwrap();
    assert_eq!(cover.class, Class::SPAM);
    assert_eq!(cover.envelope, quar_base::arrival::Envelope::default());
    assert_eq!((cover.score_milli, cover.arrived), (0, Arrived::Now));
}

#[test]
fn takes_everything_from_the_query() {
    let query = "class=virus&sender=%3C%3E&recipient=a%2Bb@example.org\
                 &recipient=%3Cc@example.org%3E\
                 &queue_id=4ABC.1&client_address=192.0.2.1&helo=mx&reason=Eicar&score=-1.2345";
    let cover = cover(query, &[]).unwrap();
    assert_eq!(cover.class, Class::VIRUS);
    assert_eq!(cover.envelope.sender, "");
    assert_eq!(cover.envelope.recipients, ["a+b@example.org", "c@example.org"]);
    assert_eq!(cover.envelope.queue_id, "4ABC.1");
    assert_eq!(cover.envelope.client_address, "192.0.2.1");
    assert_eq!(cover.envelope.helo, "mx");
    assert_eq!((cover.reason.as_str(), cover.score_milli), ("Eicar", -1235));
}

#[test]
fn the_query_goes_before_our_headers_and_these_before_rspamds() {
    let headers = [
        ("x-quard-sender", "two@example.org"),
        ("x-quard-recipient", "r1@example.org"),
        ("x-quard-recipient", "r\u{fc}2@example.org"),
        ("x-quard-queue-id", "QUARD"),
        ("x-rspamd-qid", "RSPAMD"),
        ("x-rspamd-ip", "192.0.2.7"),
    ];
    let cover = cover("sender=one@example.org", &headers).unwrap();
    assert_eq!(cover.envelope.sender, "one@example.org");
    assert_eq!(cover.envelope.recipients, ["r1@example.org", "r\u{fc}2@example.org"]);
    assert_eq!(cover.envelope.queue_id, "QUARD");
    assert_eq!(cover.envelope.client_address, "192.0.2.7");
}

#[test]
fn takes_what_rspamds_metadata_exporter_sends() {
    let headers = [
        ("x-rspamd-ip", "192.0.2.1"),
        ("x-rspamd-user", "unknown"),
        ("x-rspamd-qid", "4XyZ1"),
        ("x-rspamd-subject", "=?UTF-8?B?R3LDvMOfZQ==?="),
        ("x-rspamd-action", "add header"),
        ("x-rspamd-score", "12.345000"),
        ("x-rspamd-rcpt", r#"["a@example.org","b@example.org"]"#),
        ("x-rspamd-from", "=?UTF-8?Q?gr=C3=BC=C3=9Fe=40example.org?="),
        (
            "x-rspamd-symbols",
            concat!(
                r#"[{"name":"R_LOW","score":0.5,"options":["a@example.org"]},"#,
                r#"{"name":"R_NONE","score":0.0},{"name":"R_HIGH","score":8.1}]"#
            ),
        ),
        ("x-rspamd-fuzzy", "[]"),
        ("x-rspamd-scan-time", "5"),
    ];
    let cover = cover("", &headers).unwrap();
    assert_eq!(cover.envelope.sender, "gr\u{fc}\u{df}e@example.org");
    assert_eq!(cover.envelope.recipients, ["a@example.org", "b@example.org"]);
    assert_eq!(cover.envelope.queue_id, "4XyZ1");
    assert_eq!(cover.envelope.client_address, "192.0.2.1");
    assert_eq!(cover.score_milli, 12_345);
    assert_eq!(cover.reason, "add header: R_HIGH (8.1), R_LOW (0.5)");
}

#[test]
fn what_rspamd_does_not_know_is_nothing() {
    let names = ["ip", "qid", "from", "rcpt", "subject"];
    let names = names.map(|name| format!("x-rspamd-{name}").leak() as &'static str);
    let headers = names.map(|name| (name, "unknown"));
    let cover = cover("", &headers).unwrap();
    assert_eq!(cover.envelope, quar_base::arrival::Envelope::default());
}

#[test]
fn a_reason_is_cut_to_what_a_record_holds() {
    let symbols: Vec<String> = (1..200)
        .map(|number| format!(r#"{{"name":"SYMBOL_{number}","score":{number}}}"#))
        .collect();
    let symbols = format!("[{}]", symbols.join(","));
    let headers = [("x-rspamd-action", "reject"), ("x-rspamd-symbols", symbols.as_str())];
    let reason = cover("", &headers).unwrap().reason;
    assert!(reason.starts_with("reject: SYMBOL_199 (199), "), "{reason}");
    assert!((FIELD_BYTES_MAX - 30..=FIELD_BYTES_MAX).contains(&reason.len()));
}

#[test]
fn an_import_says_when_and_only_an_import_does() {
    let at = UnixMillis(1_795_420_000_000);
    let query = "imported=true&received=1795420000000";
    assert_eq!(cover(query, &[]).unwrap().arrived, Arrived::Imported(at));
    for query in [
        "imported=true",
        "imported=true&received=tomorrow",
        "imported=true&received=2026-11-26T08:00:13Z",
        "imported=true&received=99999999999999999",
        "imported=yes&received=1",
        "received=1795420000000",
    ] {
        assert!(cover(query, &[]).is_err(), "{query}");
    }
}

#[test]
fn refuses_what_is_wrong_and_names_it() {
    let long = format!("queue_id={}", "x".repeat(FIELD_BYTES_MAX + 1));
    for (query, named) in [
        ("classs=spam", "classs"),
        ("class=ham", "ham"),
        ("class=held", "held"),
        ("class=class-77", "class-77"),
        ("sender=a@b&sender=c@d", "sender"),
        ("sender=a%20b", "sender"),
        ("recipient=", "recipient"),
        ("recipient=%3C%3E", "recipient"),
        ("recipient=a@b%0d%0aRCPT", "recipient"),
        ("helo=a%0ab", "helo"),
        ("score=much", "score"),
        ("score=nan", "score"),
        (&format!("score={}", SCORE_MAX * 2.0), "score"),
        (&long, "queue_id"),
    ] {
        let failure = cover(query, &[]).expect_err(query);
        assert!(failure.contains(named), "{failure}");
    }
    for header in [
        ("x-quard-colour", "red"),
        ("x-quard-sender", "no address"),
        ("x-rspamd-rcpt", "a@example.org"),
    ] {
        let failure = cover("", &[header]).expect_err(header.0);
        assert!(!failure.contains("example.org"), "{failure}");
    }
    let many: Vec<_> = (0..1001).map(|_| ("x-quard-recipient", "a@example.org")).collect();
    assert!(cover("", &many).is_err());
}

proptest! {
    #[test]
    fn whatever_rspamd_sends_is_taken_or_refused(value in "\\PC{0,60}") {
        for name in ["x-rspamd-from", "x-rspamd-rcpt", "x-rspamd-score", "x-rspamd-symbols"] {
            let result = cover("", &[(name, &value), ("x-rspamd-action", "reject")]);
            if let Ok(cover) = result {
                prop_assert!(cover.reason.len() <= FIELD_BYTES_MAX);
            }
        }
    }
}
