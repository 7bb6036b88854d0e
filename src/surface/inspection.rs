//! The API's paths about what lies on disk: days, segments, blocks, places, checks, what is left of a deleted message.
//! Never changes anything but marks: what is damaged counts as missing from then on.
//!
//! ```text
//! GET    /v1/store/buckets            viewer      BucketsReply
//! GET    /v1/store/day?bucket=        viewer      DayReply
//! GET    /v1/store/blocks?bucket=&segment=  viewer  BlocksReply
//! GET    /v1/store/places/{id}        viewer      PlacesReply
//! GET    /v1/store/check?bucket=      operator    CheckReply
//! GET    /v1/store/erased/{id}        operator    ErasureReply
//! ```

use super::Surface;
use super::auth::Caller;
use super::failure::Failure;
use super::query::Parameters;
use crate::api::{
    BlocksReply, BucketsReply, CheckReply, DayReply, ErasureReply, PlacesReply, StraysReply,
};
use crate::config::HttpRole;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
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
        .route("/v1/store/day", get(day))
        .route("/v1/store/blocks", get(blocks))
        .route("/v1/store/places/{id}", get(places))
        .route("/v1/store/strays", get(strays))
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

async fn day(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<DayReply> {
    caller.require(HttpRole::Viewer)?;
    let bucket = bucket_of(&Parameters::read(&uri, &["bucket"])?)?;
    on_store(&surface, move |store| DayReply::of(&store, bucket)).await
}

async fn blocks(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<BlocksReply> {
    caller.require(HttpRole::Viewer)?;
    let parameters = Parameters::read(&uri, &["bucket", "segment"])?;
    let bucket = bucket_of(&parameters)?;
    let named = parameters.one("segment")?.unwrap_or_default();
    let number: u32 = named.parse().map_err(|_| Failure::invalid("segment is a number"))?;
    let reply = on_store(&surface, move |store| {
        Ok(store.block_reports(bucket, number)?.map(BlocksReply::new))
    });
    match reply.await?.0 {
        Some(blocks) => Ok(Json(blocks)),
        None => Err(no_segment(bucket, number)),
    }
}

async fn places(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Answer<PlacesReply> {
    caller.require(HttpRole::Viewer)?;
    Parameters::read(&uri, &[])?;
    let id = super::routes::find(&surface, id).await?;
    on_store(&surface, move |store| Ok(PlacesReply::new(id, store.place_reports(id)?))).await
}

async fn strays(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<StraysReply> {
    caller.require(HttpRole::Viewer)?;
    Parameters::read(&uri, &[])?;
    on_store(&surface, move |store| StraysReply::of(&store)).await
}

fn no_segment(bucket: Bucket, number: u32) -> Failure {
    let error = format!("{bucket} has no segment {number} on this node");
    Failure::new(StatusCode::NOT_FOUND, "not_found", error)
}

fn bucket_of(parameters: &Parameters) -> Result<Bucket, Failure> {
    parameters.one("bucket")?.unwrap_or_default().parse().map_err(Failure::invalid)
}

async fn check(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<CheckReply> {
    caller.require(HttpRole::Operator)?;
    let bucket = bucket_of(&Parameters::read(&uri, &["bucket"])?)?;
    let clock = surface.clock.clone();
    let reply = on_store_for_long(&surface, move |store, step| {
        let Some((checked, findings)) = store.check(bucket, step)? else { return Ok(None) };
        store.mark_broken(&findings)?;
        store.note_check(bucket, clock.now(), &findings);
        Ok(Some(CheckReply::new(bucket, &checked, &findings)))
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
    let reply = on_store_for_long(&surface, move |store, step| {
        Ok(store.remains_of(id, step)?.map(|remains| ErasureReply::new(id, remains)))
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

/// Whether to go on, as whoever reads for long asks after every stretch.
type Step<'a> = &'a (dyn Fn(u64) -> ControlFlow<()> + Sync);

/// As [`on_store`], for work that is broken off when the daemon stops or nobody waits for the answer any more: it then
/// gives nothing.
async fn on_store_for_long<T: Send + 'static>(
    surface: &Surface,
    work: impl FnOnce(&Store, Step<'_>) -> Result<Option<T>, ReadError> + Send + 'static,
) -> Answer<T> {
    let stopping = surface.stopping.clone();
    let asked = Arc::new(());
    let is_waited_for = Arc::downgrade(&asked);
    let done = on_store(surface, move |store| {
        work(&store, &|_| match *stopping.borrow() || is_waited_for.strong_count() == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    });
    let done = done.await;
    drop(asked);
    match done?.0 {
        Some(reply) => Ok(Json(reply)),
        None => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the node stops and broke off the reading of its disk; ask again when it is back",
        )),
    }
}
