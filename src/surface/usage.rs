//! The API's path about what messages take up.
//! Never reads a body.

use super::Surface;
use super::audit::Trail;
use super::auth::Caller;
use super::failure::Failure;
use super::query::{FILTERS, Parameters, filters};
use super::routes::Answer;
use crate::api::{UsageReply, usage_by};
use crate::config::HttpRole;
use axum::extract::State;
use axum::http::Uri;
use axum::{Extension, Json};
use quar_store::UsageBy;

pub(super) async fn usage(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Answer<Json<UsageReply>> {
    let reply = async {
        caller.require(HttpRole::Viewer)?;
        let known = [&FILTERS[..], &["by"]].concat();
        let parameters = Parameters::read(&uri, &known)?;
        let by = match parameters.one("by")? {
            None => UsageBy::Class,
            Some(name) => usage_by(name)
                .ok_or_else(|| Failure::invalid("by: there are class, day and sender-domain"))?,
        };
        let query = filters(&parameters)?;
        let store = surface.node.store().clone();
        let counted = tokio::task::spawn_blocking(move || store.usage(&query, by)).await;
        Ok(Json(UsageReply::new(by, counted.map_err(Failure::failed)??)))
    };
    Trail::begin(&caller, "usage").end(reply.await)
}
