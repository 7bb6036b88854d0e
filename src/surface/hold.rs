//! Paths that hold a message and let it go.
//! Never act before the caller's role was checked, as those in `routes`.

use super::Surface;
use super::audit::Trail;
use super::auth::Caller;
use super::query::Parameters;
use super::routes::{Answer, Id, plain, to_the_end};
use crate::api::{HoldReply, UnholdReply};
use crate::config::HttpRole;
use crate::daemon::hold;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Extension, Json};
use quar_base::key::MessageId;

pub(super) async fn hold(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<(StatusCode, Json<HoldReply>)> {
    to_the_end(&surface.clone(), async move {
        let mut trail = Trail::begin(&caller, "hold");
        let reply = async {
            let id = named(&surface, &caller, id, &uri).await?;
            trail.about(id);
            Ok(hold::hold(&surface.node, id).await?)
        };
        let reply = reply.await;
        let reply = trail.end(reply)?;
        let status = if reply.duplicate { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, Json(reply)))
    })
    .await
}

pub(super) async fn unhold(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<Json<UnholdReply>> {
    to_the_end(&surface.clone(), async move {
        let mut trail = Trail::begin(&caller, "unhold");
        let reply = async {
            let id = named(&surface, &caller, id, &uri).await?;
            trail.about(id);
            Ok(Json(hold::unhold(&surface.node, id).await?))
        };
        let reply = reply.await;
        trail.end(reply)
    })
    .await
}

async fn named(surface: &Surface, caller: &Caller, id: Id, uri: &Uri) -> Answer<MessageId> {
    caller.require(HttpRole::Operator)?;
    Parameters::read(uri, &[])?;
    Ok(hold::named(&surface.node, &plain(id)?).await?)
}
