//! Why a request was not done, as a status code and JSON.
//! Never repeats a token or anything of a message.

use crate::api::ErrorReply;
use crate::daemon::handle::{ActError, FindError};
use crate::intake;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quar_store::ReadError;
use std::fmt::Display;

/// An answer other than the one asked for. Its kinds stand in [`ErrorReply`].
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: &'static str,
    error: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, kind: &'static str, error: impl Display) -> Self {
        let error = error.to_string();
        Self { status, kind, error }
    }

    /// The request says something it must not.
    pub(crate) fn invalid(error: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", error)
    }

    /// It may be done when asked again later.
    pub(crate) fn busy(error: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error)
    }

    pub(crate) fn failed(error: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error)
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let reply = ErrorReply { kind: self.kind.to_owned(), error: self.error };
        let mut response = (self.status, Json(reply)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"quard\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<intake::Refusal> for Failure {
    fn from(refusal: intake::Refusal) -> Self {
        use intake::Refusal;
        let (status, kind) = match &refusal {
            Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            Refusal::StoreFailed => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
            Refusal::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Refusal::TooOld { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too_old"),
            Refusal::Deleted => (StatusCode::CONFLICT, "deleted"),
            Refusal::Class(_) | Refusal::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
        };
        Self::new(status, kind, refusal)
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", error),
            FindError::Ambiguous(_) => Self::new(StatusCode::CONFLICT, "ambiguous", error),
            FindError::Read(error) => error.into(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let (status, kind) = match &error {
            ReadError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            ReadError::BodyMissing(_) => (StatusCode::SERVICE_UNAVAILABLE, "body_missing"),
            ReadError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            ReadError::Index(_) | ReadError::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, kind, error)
    }
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        let (status, kind) = match error {
            ActError::Find(error) => return error.into(),
            ActError::Read(error) => return error.into(),
            ActError::Refused(refusal) => return refused(&refusal),
            ActError::Unfit(_) => (StatusCode::CONFLICT, "invalid"),
            ActError::NotHeld(_) => (StatusCode::NOT_FOUND, "not_found"),
            ActError::NoSuchRecipient(_) => (StatusCode::BAD_REQUEST, "invalid"),
            ActError::NoRecipients => (StatusCode::CONFLICT, "no_recipients"),
            ActError::ReleasedBefore { .. } => (StatusCode::CONFLICT, "released_before"),
            ActError::Braked { .. } | ActError::BrakeFull(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "braked")
            }
            ActError::NoDeliveryHost => (StatusCode::CONFLICT, "refused"),
            ActError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, kind, error)
    }
}

fn refused(refusal: &quar_store::Refusal) -> Failure {
    use quar_store::Refusal;
    let (status, kind) = match refusal {
        Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        Refusal::BelowFloor { .. } => (StatusCode::NOT_FOUND, "not_found"),
        transient if transient.is_transient() => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    Failure::new(status, kind, refusal)
}
