//! What lies on disk, through the API: who may ask, what is answered, and what a check marks.

use super::refusal;
use super::served::Served;
use crate::api::{
    BlocksReply, BucketsReply, CheckReply, DayReply, ErasureReply, PlacesReply, StraysReply,
};
use crate::config::HttpRole;
use hyper::Method;
use quar_store::Disk;
use serde_json::Value;
use std::path::Path;

#[tokio::test]
async fn what_lies_on_disk_is_for_viewers_and_checks_are_for_operators() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", b"Subject: x\r\n\r\n").await;
    let bucket = served.store.buckets()[0];
    for (path, needed) in [
        ("/v1/store/buckets".to_owned(), HttpRole::Viewer),
        (format!("/v1/store/day?bucket={bucket}"), HttpRole::Viewer),
        (format!("/v1/store/blocks?bucket={bucket}&segment=1"), HttpRole::Viewer),
        (format!("/v1/store/places/{id}"), HttpRole::Viewer),
        ("/v1/store/strays".to_owned(), HttpRole::Viewer),
        (format!("/v1/store/check?bucket={bucket}"), HttpRole::Operator),
        (format!("/v1/store/erased/{id}"), HttpRole::Operator),
    ] {
        assert_eq!(served.ask(Method::GET, &path, None).await.0, 401, "{path}");
        for role in HttpRole::ALL.into_iter().filter(|role| *role < needed) {
            assert_eq!(served.ask(Method::GET, &path, Some(role)).await.0, 403, "{path}");
        }
        let (status, reply) = served.ask(Method::GET, &path, Some(needed)).await;
        assert_eq!(status, 200, "{path} {reply}");
        assert_eq!(served.ask(Method::POST, &path, Some(HttpRole::Admin)).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn a_question_about_the_disk_that_cannot_be_answered_says_which_part_is_wrong() {
    let served = Served::start().await;
    let id = served.put("", b"x").await;
    let bucket = served.store.buckets()[0];
    for (path, status, named) in [
        ("buckets?class=spam".to_owned(), 400, "class"),
        ("strays?class=spam".to_owned(), 400, "class"),
        ("day".to_owned(), 400, "CLASS"),
        ("day?bucket=spam".to_owned(), 400, "CLASS"),
        (format!("blocks?bucket={bucket}"), 400, "segment"),
        (format!("blocks?bucket={bucket}&segment=x"), 400, "segment"),
        (format!("blocks?bucket={bucket}&segment=9"), 404, "no segment 9"),
        ("places/0000000000".to_owned(), 404, "0000000000"),
        (format!("places/{id}?x=1"), 400, "x"),
        ("check".to_owned(), 400, "CLASS"),
        (format!("check?bucket={bucket}&deep=1"), 400, "deep"),
        (format!("erased/{}", &id[..20]), 400, "whole id"),
    ] {
        let path = format!("/v1/store/{path}");
        let (found, reply) = served.ask(Method::GET, &path, Some(HttpRole::Admin)).await;
        assert_eq!(found, status, "{path} {reply}");
        assert!(reply["error"].as_str().unwrap().contains(named), "{path}: {reply}");
    }
}

#[tokio::test]
async fn days_segments_blocks_and_places_are_told_as_they_are() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", b"Subject: x\r\n\r\n").await;
    let mut client = served.client().await;
    let BucketsReply { buckets } = client.get("/v1/store/buckets").await.unwrap();
    assert_eq!(buckets.len(), 1);
    let bucket = &buckets[0];
    let day: DayReply = client.get(&format!("/v1/store/day?bucket={bucket}")).await.unwrap();
    let segment = &day.segments[0];
    assert_eq!((segment.number, segment.role.as_str(), segment.blocks), (1, "log", 2));
    let path = format!("/v1/store/blocks?bucket={bucket}&segment=1");
    let BlocksReply { blocks } = client.get(&path).await.unwrap();
    assert_eq!((blocks[0].kind.as_str(), blocks[1].kind.as_str()), ("bodies", "records"));
    let short = &id.rsplit('-').next().unwrap()[..12];
    let places: PlacesReply = client.get(&format!("/v1/store/places/{short}")).await.unwrap();
    let what: Vec<&str> = places.places.iter().map(|place| place.what.as_str()).collect();
    assert_eq!((places.id, what), (id, vec!["arrival", "body"]));
    let none: StraysReply = client.get("/v1/store/strays").await.unwrap();
    assert_eq!(none, StraysReply::default());
    let path = segment.path.replace("00000001", "1");
    served.disk.create(Path::new(&path)).unwrap();
    let StraysReply { strays } = client.get("/v1/store/strays").await.unwrap();
    assert_eq!(strays, [path]);
}

#[tokio::test]
async fn a_check_names_what_is_damaged_and_it_counts_as_missing_from_then_on() {
    let served = Served::start().await;
    let body = b"Subject: damaged\r\n\r\n";
    let id = served.put("recipient=a@x", body).await;
    let bucket = served.store.buckets()[0];
    let path = format!("/v1/store/check?bucket={bucket}");
    let mut client = served.client().await;
    let whole: CheckReply = client.get(&path).await.unwrap();
    assert_eq!((whole.records, whole.bodies, whole.findings.len()), (1, 1, 0));
    assert_eq!((whole.bucket, whole.damaged), (bucket.to_string(), Vec::new()));
    let places: PlacesReply = client.get(&format!("/v1/store/places/{id}")).await.unwrap();
    let at = usize::try_from(places.places[1].block).unwrap() + 60;
    served.disk.damage(Path::new(&places.places[1].path), |bytes| bytes[at] ^= 1);
    let found: CheckReply = client.get(&path).await.unwrap();
    assert!(found.findings[0].contains("are damaged"), "{found:?}");
    assert_eq!(found.damaged, [id.as_str()]);
    assert_eq!(served.store.counts().wanted, 1, "it is asked for");
    let body = client.bytes(&format!("/v1/messages/{id}/body")).await;
    assert_eq!(refusal(body), (500, "damaged".into()));
}

#[tokio::test]
async fn what_is_left_of_a_deleted_message_is_told_until_it_is_erased() {
    let served = Served::start().await;
    let id = served.put("recipient=a@x", b"Subject: gone\r\n\r\n").await;
    let mut client = served.client().await;
    let path = format!("/v1/store/erased/{id}");
    let _: Value = client.delete(&format!("/v1/messages/{id}")).await.unwrap();
    let left: ErasureReply = client.get(&path).await.unwrap();
    assert_eq!(left.remains.len(), 2, "{left:?}");
    served.store.erase(served.store.buckets()[0]).unwrap();
    let gone: ErasureReply = client.get(&path).await.unwrap();
    let nothing = ErasureReply { id, deleted: true, remains: Vec::new(), unsure: Vec::new() };
    assert_eq!(gone, nothing);
}
