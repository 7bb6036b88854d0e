//! Too many deletions within a minute, through the API.

use super::served::{BRAKE, Served};
use crate::config::HttpRole;
use hyper::Method;

const ADMIN: Option<HttpRole> = Some(HttpRole::Admin);
const OPERATOR: Option<HttpRole> = Some(HttpRole::Operator);

/// Puts so many messages and deletes them; returns the status of each deletion.
async fn put_and_delete(served: &Served, count: usize, text: &str) -> Vec<(String, u16)> {
    let mut answers = Vec::new();
    for number in 0..count {
        let id = served.put("recipient=a@x", format!("{text} {number}").as_bytes()).await;
        let path = format!("/v1/messages/{id}");
        let (status, reply) = served.ask(Method::DELETE, &path, OPERATOR).await;
        assert_eq!(reply["kind"] == "braked", status == 429, "{reply}");
        answers.push((path, status));
    }
    answers
}

async fn shown(served: &Served, answers: &[(String, u16)]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (path, _) in answers {
        statuses.push(served.ask(Method::GET, path, OPERATOR).await.0);
    }
    statuses
}

#[tokio::test]
async fn too_many_deletions_wait_until_an_admin_confirms_them() {
    let served = Served::start().await;
    let answers = put_and_delete(&served, BRAKE + 3, "mail").await;
    let statuses: Vec<u16> = answers.iter().map(|(_, status)| *status).collect();
    let expected = [vec![200; BRAKE], vec![429; 3]].concat();
    assert_eq!(statuses, expected);
    let visible = [vec![404; BRAKE], vec![200; 3]].concat();
    assert_eq!(shown(&served, &answers).await, visible, "none that waits is done");
    for (method, path) in [
        (Method::GET, "/v1/brake"),
        (Method::POST, "/v1/brake/confirm"),
        (Method::POST, "/v1/brake/discard"),
    ] {
        assert_eq!(served.ask(method.clone(), path, Some(HttpRole::Viewer)).await.0, 403);
        if method == Method::POST {
            assert_eq!(served.ask(method, path, OPERATOR).await.0, 403, "{path}");
        }
    }
    let (_, status) = served.ask(Method::GET, "/v1/brake", OPERATOR).await;
    assert_eq!((&status["waiting"], &status["limit_per_minute"]), (&3.into(), &BRAKE.into()));
    assert_eq!(status["first"].as_array().unwrap().len(), 3);
    assert!(status["since"].is_string());
    let (code, reply) = served.ask(Method::POST, "/v1/brake/confirm", ADMIN).await;
    assert_eq!((code, &reply["deleted"], &reply["failed"]), (200, &3.into(), &0.into()));
    assert_eq!(shown(&served, &answers).await, vec![404; BRAKE + 3]);
    let (_, status) = served.ask(Method::GET, "/v1/brake", OPERATOR).await;
    assert_eq!((&status["waiting"], status["since"].is_null()), (&0.into(), true));
    assert!(put_and_delete(&served, 1, "later").await.iter().all(|(_, status)| *status == 200));
}

#[tokio::test]
async fn deletions_that_are_discarded_leave_the_mail() {
    let served = Served::start().await;
    let answers = put_and_delete(&served, BRAKE + 2, "mail").await;
    let (_, reply) = served.ask(Method::POST, "/v1/brake/discard", ADMIN).await;
    assert_eq!((&reply["discarded"], &reply["deleted"]), (&2.into(), &0.into()));
    assert_eq!(shown(&served, &answers[BRAKE..]).await, [200, 200]);
    let (_, reply) = served.ask(Method::POST, "/v1/brake/confirm", ADMIN).await;
    assert_eq!(reply["deleted"], 0);
}
