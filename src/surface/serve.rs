//! Connections: accepted, served under limits, ended gracefully.
//! Never looks into a request; never lets a client that does nothing hold more than its connection.
//!
//! Limits: 256 connections a listener; 128 header fields and 256 KiB of them; 60 s for a request's
//! header, idle time before it included; 30 s without progress for a response.

use super::auth::Peer;
use super::control::{self, ControlSocket};
use super::stall::Impatient;
use super::{Surface, routes};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

const CONNECTIONS_MAX: usize = 256;
const HEADERS_MAX: usize = 128;
const HEADER_BYTES_MAX: usize = 256 << 10;
const IDLE: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_secs(30);
/// How long to wait when the system gives no connection, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client that is sent away may take to hear it.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long requests may take to end after a stop was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// Where connections come from.
pub(crate) enum Listener {
    Control(ControlSocket),
    Http(TcpListener),
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Control(socket) => {
                Ok(Accepted::Control { stream: socket.accept().await?, group: socket.group() })
            }
            Self::Http(listener) => Ok(Accepted::Http(listener.accept().await?.0)),
        }
    }
}

/// A connection of which nothing is known yet.
enum Accepted {
    Control { stream: UnixStream, group: u32 },
    Http(TcpStream),
}

impl Accepted {
    /// Finds out who is at the other end; not in the accepting loop, because it may take a while.
    async fn greet(self) -> io::Result<(Box<dyn Wire>, Peer)> {
        match self {
            Self::Control { stream, group } => {
                let peer = control::peer(&stream, group).await?;
                Ok((Box::new(stream), peer))
            }
            Self::Http(stream) => {
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Peer::Network))
            }
        }
    }
}

/// Serves until `stopping` is true or its sender is gone, then until what was asked is answered.
pub(crate) async fn serve(
    listener: Listener,
    surface: Surface,
    mut stopping: watch::Receiver<bool>,
) {
    let router = routes::router(surface.clone());
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = asked_to_stop(&mut stopping) => break,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                sleep(PAUSE).await;
            }
            Ok(accepted) => {
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    match accepted.greet().await {
                        Ok((wire, peer)) => converse(wire, peer, router, stopping).await,
                        Err(error) => tracing::debug!(%error, "a connection broke off"),
                    }
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    let end = async {
        while connections.join_next().await.is_some() {}
        surface.finish_actions().await;
    };
    if timeout(GRACE, end).await.is_err() {
        tracing::warn!("requests were still running at the stop");
    }
}

async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn converse(
    wire: Box<dyn Wire>,
    peer: Peer,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        Box::pin(router.clone().call(request))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    let stream = TokioIo::new(Impatient::new(wire, STALL));
    let mut connection = builder.serve_connection(stream, service);
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = asked_to_stop(&mut stopping), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
    let mut wire = connection.into_parts().io.into_inner().into_inner();
    // Closing a socket with unread input would take the last response back.
    let heard = async {
        wire.shutdown().await?;
        let mut buffer = [0; 16 << 10];
        while wire.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(FAREWELL, heard).await;
}
