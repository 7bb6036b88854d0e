//! The path under which a node proves that a message is here.
//! Never act before the caller's role was checked, as those in `routes`.

use super::Surface;
use super::audit::Trail;
use super::auth::Caller;
use super::failure::Failure;
use super::query::Parameters;
use super::routes::{Answer, Id, plain};
use super::upload;
use crate::config::HttpRole;
use crate::daemon::hold;
use crate::daemon::prove::{ProvingError, prove};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

pub(super) async fn proof(
    State(surface): State<Surface>,
    Extension(caller): Extension<Caller>,
    id: Id,
    uri: Uri,
) -> Answer<Response> {
    let mut trail = Trail::begin(&caller, "prove");
    let response = async {
        caller.require(HttpRole::Operator)?;
        Parameters::read(&uri, &[])?;
        // A whole id also when the message is gone: the answer says what became of it.
        let id = hold::named(&surface.node, &plain(id)?).await?;
        trail.about(id);
        let length = surface.node.message(id).await.map_or(0, |message| message.arrival.body_bytes);
        let _room = upload::reserve(length, &surface.body_room).await?;
        let bytes = prove(&surface.node, id).await?;
        let kind = HeaderValue::from_static("application/octet-stream");
        Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
    };
    let response = response.await;
    trail.end(response)
}

impl From<ProvingError> for Failure {
    fn from(error: ProvingError) -> Self {
        let kind = error.kind();
        let status = match kind {
            "not_found" => StatusCode::NOT_FOUND,
            "not_yet" | "body_missing" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, kind, error)
    }
}
