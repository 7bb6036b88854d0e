//! A client of the control socket: one keep-alive connection, JSON or bytes.
//! Never retries: whoever asks knows whether asking twice is harmless.

use crate::api::ErrorReply;
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokio::net::UnixStream;

const JSON: &str = "application/json";
const MESSAGE: &str = "message/rfc822";

/// An open connection to a daemon's control socket.
pub struct Client {
    requests: SendRequest<Full<Bytes>>,
}

/// What the daemon refused, and how.
#[derive(Debug, thiserror::Error)]
#[error("{}", reply.error)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// What it said.
    pub reply: ErrorReply,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or access is denied.
    pub async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .await
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // It ends when the last request is done or the daemon goes away; both show elsewhere.
            let _ = connection.await;
        });
        Ok(Self { requests })
    }

    /// `GET`, answered in JSON.
    ///
    /// # Errors
    /// [`Refused`] inside, or the connection's end.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let bytes = self.send(Method::GET, path, JSON, Bytes::new()).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// `GET`, answered in bytes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn bytes(&mut self, path: &str) -> anyhow::Result<Bytes> {
        self.send(Method::GET, path, JSON, Bytes::new()).await
    }

    /// `POST` of JSON, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let bytes = self.send(Method::POST, path, JSON, body).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// `POST` of a message, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn upload<T: DeserializeOwned>(
        &mut self,
        path: &str,
        message: Bytes,
    ) -> anyhow::Result<T> {
        let bytes = self.send(Method::POST, path, MESSAGE, message).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// `DELETE`, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let bytes = self.send(Method::DELETE, path, JSON, Bytes::new()).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(body))?;
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<ErrorReply>(&bytes) {
            Ok(reply) => Err(Refused { status: status.as_u16(), reply }.into()),
            Err(_) if status == StatusCode::NOT_FOUND => bail!("the daemon knows no {path}"),
            Err(_) => bail!("the daemon answered {status}"),
        }
    }
}
