//! The API's paths: what each needs of its caller, what it asks of the node, what it answers.
//! Never acts before the caller's role was checked, and never stops an action half-way because its
//! caller hung up.
//!
//! ```text
//! GET    /v1/healthz                  anybody     200, or 503 when the disk failed
//! GET    /v1/status                   viewer      NodeStatus
//! GET    /v1/messages                 viewer      MessagePage
//! GET    /v1/messages/{id}            viewer      MessageDetail
//! GET    /v1/messages/{id}/body       operator    message/rfc822, byte for byte
//! GET    /v1/messages/{id}/proof      operator    bytes: see docs/formats.md, "Proof"
//! POST   /v1/messages                 operator    201 PutReply; 200 when an import was here before
//! DELETE /v1/messages/{id}            operator    DeleteReply
//! POST   /v1/messages/{id}/release    operator    ReleaseReply
//! POST   /v1/messages/{id}/hold       operator    201 HoldReply; 200 when it was held before
//! DELETE /v1/messages/{id}/hold       operator    UnholdReply
//! GET    /v1/usage                    viewer      UsageReply
//! GET    /v1/brake ...                            see `brake`
//! GET    /v1/store/...                            see `inspection`
//! ```
//! `{id}` is a message id, or the first digits of its digest where they name one message.

use super::audit::Trail;
use super::auth::{Caller, authenticate};
use super::failure::Failure;
use super::query::{Parameters, is_under_replicated, listing};
use super::{Surface, envelope, hold, imported, proof, upload, usage};
use crate::api::{MessageDetail, MessagePage, NodeStatus, PutReply, ReleaseRequest};
use crate::config::HttpRole;
use crate::daemon::copies;
use crate::daemon::handle::{Arrived, Whom};
use crate::intake::Mail;
use crate::intake::lmtp::address::is_mailbox;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use quar_base::key::MessageId;
use quar_base::limits::{FIELD_BYTES_MAX, RECIPIENTS_MAX};
use serde_json::json;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// Longest text by which a message is asked for.
const ID_BYTES_MAX: usize = 120;
/// Longest request to release, in bytes.
const RELEASE_BYTES_MAX: usize = 2 * RECIPIENTS_MAX * (FIELD_BYTES_MAX + 16);

/// How long a client may take to send a request to release.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

pub(super) type Id = Result<Path<String>, PathRejection>;
pub(super) type Answer<T> = Result<T, Failure>;

pub(crate) fn router(surface: Surface) -> Router {
    let message = get(show).delete(delete);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/messages", get(list).post(put))
        .route("/v1/messages/{id}", message)
        .route("/v1/messages/{id}/body", get(body))
        .route("/v1/messages/{id}/proof", get(proof::proof))
        .route("/v1/messages/{id}/release", post(release))
        .route("/v1/messages/{id}/hold", post(hold::hold).delete(hold::unhold))
        .route("/v1/usage", get(usage::usage))
        .merge(super::brake::routes())
        .merge(super::inspection::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(surface.clone(), authenticate))
        .route("/v1/healthz", get(healthz))
        .layer(from_fn(never_cached))
        .with_state(surface)
}

async fn never_cached(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

async fn unknown_path() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path")
}

async fn unknown_method() -> Failure {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Failure::new(status, "invalid", "this path does not take this method")
}

async fn healthz(State(surface): State<Surface>) -> Response {
    if surface.node.store().has_failed() {
        let failed = json!({ "status": "failed" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(failed)).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}

async fn status(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<NodeStatus>> {
    caller.require(HttpRole::Viewer)?;
    Parameters::read(&uri, &[])?;
    Ok(Json(surface.node.status().await?))
}

async fn list(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<MessagePage>> {
    let page = async {
        caller.require(HttpRole::Viewer)?;
        let query = listing(&uri)?;
        if is_under_replicated(&uri)? {
            return Ok(Json(copies::list(&surface.node, query).await?));
        }
        let page = surface.node.list(query).await?;
        let messages = page.messages.iter();
        Ok(Json(MessagePage {
            messages: messages.map(|message| surface.node.summary(message)).collect(),
            next: page.next.map(|id| id.to_string()),
            damaged: page.damaged,
        }))
    };
    Trail::begin(&caller, "list").end(page.await)
}

async fn show(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<Json<MessageDetail>> {
    let mut trail = Trail::begin(&caller, "show");
    let detail = async {
        caller.require(HttpRole::Viewer)?;
        Parameters::read(&uri, &[])?;
        let id = find(&surface, id).await?;
        trail.about(id);
        let message = surface.node.message(id).await?;
        let mut detail = surface.node.detail(&message);
        detail.summary.copies = Some(copies::of(&surface.node, &message).await?);
        Ok(Json(detail))
    };
    let detail = detail.await;
    trail.end(detail)
}

async fn body(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<Response> {
    let mut trail = Trail::begin(&caller, "open");
    let response = async {
        caller.require(HttpRole::Operator)?;
        Parameters::read(&uri, &[])?;
        let id = find(&surface, id).await?;
        trail.about(id);
        let length = surface.node.message(id).await?.arrival.body_bytes;
        let room = upload::reserve(length, &surface.body_room).await?;
        let bytes = surface.node.body(id).await?;
        Ok(message_response(id, Body::from(upload::outgoing(bytes, room))))
    };
    let response = response.await;
    trail.end(response)
}

fn message_response(id: MessageId, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{id}.eml\"");
    let disposition = HeaderValue::try_from(disposition).expect("message ids are plain ASCII");
    let kind = HeaderValue::from_static("message/rfc822");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)];
    (headers, body).into_response()
}

async fn put(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer<(StatusCode, Json<PutReply>)> {
    let trail = Trail::begin(&caller, "put");
    let received = async {
        caller.require(HttpRole::Operator)?;
        let (parts, body) = request.into_parts();
        let cover = envelope::read(&parts.uri, &parts.headers, surface.clock.now())?;
        let body = upload::receive(&parts.headers, body, &surface.body_room).await?;
        let envelope::Cover { class, envelope, score_milli, reason, arrived } = cover;
        let mail = Mail { class, envelope, body, score_milli, reason };
        Ok((mail, arrived))
    };
    let (mail, arrived) = match received.await {
        Ok(received) => received,
        Err(failure) => return trail.end(Err(failure)),
    };
    to_the_end(&surface.clone(), async move {
        let mut trail = trail;
        let reply = take(&surface, mail, arrived).await;
        if let Ok((_, id)) = &reply {
            trail.about(*id);
        }
        let (is_duplicate, id) = trail.end(reply)?;
        let status = if is_duplicate { StatusCode::OK } else { StatusCode::CREATED };
        let id = id.to_string();
        let duplicate = is_duplicate;
        Ok((status, Json(PutReply { id, duplicate })))
    })
    .await
}

/// Stores a message; says whether it is an import that was here before.
async fn take(surface: &Surface, mail: Mail, arrived: Arrived) -> Answer<(bool, MessageId)> {
    if let Arrived::Imported(at) = arrived {
        let (store, mail) = (surface.node.store().clone(), mail.clone());
        let looked = tokio::task::spawn_blocking(move || imported::already_here(&store, &mail, at));
        let here = looked.await.map_err(Failure::failed)??;
        if let Some(id) = here {
            return Ok((true, id));
        }
    }
    Ok((false, surface.node.put(mail, arrived).await?))
}

async fn delete(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<Response> {
    to_the_end(&surface.clone(), async move {
        let mut trail = Trail::begin(&caller, "delete");
        let reply = async {
            caller.require(HttpRole::Operator)?;
            let whom = whom(&uri)?;
            let id = find(&surface, id).await?;
            trail.about(id);
            Ok(Json(surface.node.delete(id, whom).await?).into_response())
        };
        let reply = reply.await;
        trail.end(reply)
    })
    .await
}

/// Whom a delete means. An empty address must never come to mean everybody.
fn whom(uri: &Uri) -> Answer<Whom> {
    let parameters = Parameters::read(uri, &["recipient"])?;
    let recipients: Vec<String> = parameters.all("recipient").map(str::to_owned).collect();
    if recipients.iter().any(String::is_empty) {
        return Err(Failure::invalid("recipient: an empty address"));
    }
    Ok(match recipients.is_empty() {
        true => Whom::All,
        false => Whom::Only(recipients),
    })
}

async fn release(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    request: Request,
) -> Answer<Response> {
    to_the_end(&surface.clone(), async move {
        let mut trail = Trail::begin(&caller, "release");
        let reply = async {
            caller.require(HttpRole::Operator)?;
            Parameters::read(request.uri(), &[])?;
            let request = release_request(request.into_body()).await?;
            let id = find(&surface, id).await?;
            trail.about(id);
            let permit = surface.releases.try_acquire();
            let _permit = permit.map_err(|_| Failure::busy("too many releases at once"))?;
            Ok(Json(surface.node.release(id, request).await?).into_response())
        };
        let reply = reply.await;
        trail.end(reply)
    })
    .await
}

async fn release_request(body: Body) -> Answer<ReleaseRequest> {
    let bytes = timeout(REQUEST_WAIT, to_bytes(body, RELEASE_BYTES_MAX)).await;
    let Ok(Ok(bytes)) = bytes else {
        return Err(Failure::invalid("the request is cut off, too slow or too long"));
    };
    if bytes.is_empty() {
        return Ok(ReleaseRequest::default());
    }
    let request: ReleaseRequest = serde_json::from_slice(&bytes).map_err(Failure::invalid)?;
    if request.to.len() + request.recipients.len() > RECIPIENTS_MAX {
        let error = format!("there are more than {RECIPIENTS_MAX} recipients");
        return Err(Failure::invalid(error));
    }
    if request.to.iter().any(|address| !is_mailbox(address)) {
        return Err(Failure::invalid("to: not a mail address"));
    }
    Ok(request)
}

pub(super) async fn find(surface: &Surface, id: Id) -> Answer<MessageId> {
    Ok(surface.node.find(&plain(id)?).await?)
}

/// The text by which a message is asked for.
pub(super) fn plain(id: Id) -> Answer<String> {
    let Ok(Path(text)) = id else {
        return Err(Failure::invalid("the message id cannot be read"));
    };
    // What is not of this form is no id, and stays out of replies and logs: it may be an address.
    let is_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() > ID_BYTES_MAX || !text.bytes().all(is_digit) {
        return Err(Failure::invalid("not a message id, nor the start of one"));
    }
    Ok(text)
}

/// Runs an action to its end even when its caller hangs up in between: a release that was cut off
/// after the final dot would never be recorded.
pub(super) async fn to_the_end<T: Send + 'static>(
    surface: &Surface,
    action: impl Future<Output = Answer<T>> + Send + 'static,
) -> Answer<T> {
    let permit = surface.actions.clone().acquire_owned().await;
    let running = tokio::spawn(async move {
        let answer = action.await;
        drop(permit);
        answer
    });
    let ended = running.await;
    ended.unwrap_or_else(|_| Err(Failure::failed("the request ended badly; the log says why")))
}
