//! Paths of the mass-delete brake: what waits, and what becomes of it.
//! Never lets an operator confirm what only an admin may.
//!
//! ```text
//! GET    /v1/brake            operator    BrakeStatus
//! POST   /v1/brake/confirm    admin       BrakeReply
//! POST   /v1/brake/discard    admin       BrakeReply
//! ```

use super::Surface;
use super::audit::Trail;
use super::auth::Caller;
use super::query::Parameters;
use super::routes::{Answer, to_the_end};
use crate::api::{BrakeReply, BrakeStatus};
use crate::config::HttpRole;
use crate::daemon::brake;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};

pub(super) fn routes() -> Router<Surface> {
    Router::new()
        .route("/v1/brake", get(show))
        .route("/v1/brake/confirm", post(confirm))
        .route("/v1/brake/discard", post(discard))
}

async fn show(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<BrakeStatus>> {
    caller.require(HttpRole::Operator)?;
    Parameters::read(&uri, &[])?;
    Ok(Json(surface.node.brake().status()))
}

async fn confirm(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<BrakeReply>> {
    to_the_end(&surface.clone(), async move {
        let trail = Trail::begin(&caller, "brake-confirm");
        let reply = async {
            caller.require(HttpRole::Admin)?;
            Parameters::read(&uri, &[])?;
            Ok(Json(brake::confirm(&surface.node).await))
        };
        let reply = reply.await;
        trail.end(reply)
    })
    .await
}

async fn discard(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<BrakeReply>> {
    let trail = Trail::begin(&caller, "brake-discard");
    let may = caller.require(HttpRole::Admin).and_then(|()| Parameters::read(&uri, &[]).map(drop));
    let reply = may.map(|()| {
        let discarded = surface.node.brake().discard() as u64;
        Json(BrakeReply { discarded, ..BrakeReply::default() })
    });
    trail.end(reply)
}
