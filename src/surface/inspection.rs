//! The API's paths about what lies on disk: its days, checks of them, what is left of a deleted message.
//! Never changes anything but marks: what is damaged counts as missing from then on.
//!
//! ```text
//! GET    /v1/store/buckets            viewer      BucketsReply
//! GET    /v1/store/check?bucket=      operator    CheckReply
//! GET    /v1/store/erased/{id}        operator    ErasureReply
//! ```

use super::Surface;
use super::auth::Caller;
use super::failure::Failure;
use super::query::Parameters;
use crate::api::{BucketsReply, CheckReply, ErasureReply};
use crate::config::HttpRole;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::get;
use axum::{Extension, Json, Router};
use quar_base::key::{Bucket, MessageId};
use quar_store::{ReadError, Store};
use std::ops::ControlFlow;
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Failure>;

pub(super) fn routes() -> Router<Surface> {
    Router::new()
        .route("/v1/store/buckets", get(buckets))
        .route("/v1/store/check", get(check))
        .route("/v1/store/erased/{id}", get(erased))
}

async fn buckets(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<BucketsReply> {
    caller.require(HttpRole::Viewer)?;
    Parameters::read(&uri, &[])?;
    let buckets = surface.node.store().buckets();
    Ok(Json(BucketsReply { buckets: buckets.iter().map(ToString::to_string).collect() }))
}

async fn check(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<CheckReply> {
    caller.require(HttpRole::Operator)?;
    let parameters = Parameters::read(&uri, &["bucket"])?;
    let named = parameters.one("bucket")?.unwrap_or_default();
    let bucket: Bucket = named.parse().map_err(Failure::invalid)?;
    let reply = on_store(&surface, move |store| {
        let checked = store.check(bucket, &|_| ControlFlow::Continue(()))?;
        let (checked, findings) = checked.unwrap_or_default();
        store.mark_broken(&findings)?;
        Ok(CheckReply::new(bucket, &checked, &findings))
    });
    reply.await
}

async fn erased(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Answer<ErasureReply> {
    caller.require(HttpRole::Operator)?;
    Parameters::read(&uri, &[])?;
    let id = id.ok().and_then(|Path(text)| text.parse::<MessageId>().ok()).ok_or_else(|| {
        let error = "what was deleted is found by its whole id only";
        Failure::invalid(error)
    })?;
    let reply = on_store(&surface, move |store| {
        Ok(ErasureReply { id: id.to_string(), remains: store.remains_of(id)? })
    });
    reply.await
}

async fn on_store<T: Send + 'static>(
    surface: &Surface,
    work: impl FnOnce(Arc<Store>) -> Result<T, ReadError> + Send + 'static,
) -> Answer<T> {
    let store = surface.node.store().clone();
    let done = tokio::task::spawn_blocking(move || work(store)).await;
    Ok(Json(done.map_err(Failure::failed)??))
}
