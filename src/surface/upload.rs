//! Message bytes on their way in and out, within the room that there is.
//! Never holds more than the limit, and never waits for room while it holds some.

use super::failure::Failure;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use quar_base::limits::MESSAGE_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

const UNIT_BYTES: usize = 64 << 10;
/// Room for 512 MiB of bodies at once.
pub(crate) const ROOM_UNITS: usize = (512 << 20) / UNIT_BYTES;
/// How long a client may send nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long a client may take for a whole message.
const WHOLE: Duration = Duration::from_secs(600);

/// Bytes that give their room back when the last reference to them goes.
struct Held<T> {
    bytes: T,
    _room: Option<OwnedSemaphorePermit>,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn held<T: AsRef<[u8]> + Send + 'static>(bytes: T, room: Option<OwnedSemaphorePermit>) -> Bytes {
    Bytes::from_owner(Held { bytes, _room: room })
}

/// Reads a message that a client sends.
///
/// *Limits*: [`MESSAGE_BYTES_MAX`]; a longer one is refused by its declared length, or at the first
/// byte beyond.
pub(crate) async fn receive(
    headers: &HeaderMap,
    mut body: Body,
    room: &Arc<Semaphore>,
) -> Result<Bytes, Failure> {
    check_form(headers)?;
    let declared = declared_length(headers)?;
    let mut taken = Taken { bytes: BytesMut::new(), permit: None, room };
    taken.make_room(declared)?;
    taken.bytes.reserve(declared);
    let deadline = Instant::now() + WHOLE;
    loop {
        let next = timeout_at(deadline, timeout(STALL, body.frame())).await;
        let Ok(Ok(next)) = next else {
            let error = "the message came too slowly; nothing was stored";
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "slow", error));
        };
        let Some(frame) = next else { break };
        let frame = frame.map_err(|_| Failure::invalid("the message was cut off"))?;
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        taken.make_room(taken.bytes.len() + chunk.len())?;
        taken.bytes.extend_from_slice(&chunk);
    }
    Ok(held(taken.bytes, taken.permit))
}

struct Taken<'a> {
    bytes: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
    room: &'a Arc<Semaphore>,
}

impl Taken<'_> {
    fn make_room(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes > MESSAGE_BYTES_MAX {
            return Err(too_large());
        }
        let have = self.permit.as_ref().map_or(0, |permit| permit.num_permits());
        let missing = units(bytes).saturating_sub(have);
        if missing == 0 {
            return Ok(());
        }
        let more = u32::try_from(missing).expect("MESSAGE_BYTES_MAX is 1024 units");
        let more = self.room.clone().try_acquire_many_owned(more);
        let more = more.map_err(|_| Failure::busy("too many large messages at once"))?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

fn too_large() -> Failure {
    let error = format!("the message is beyond the limit of {MESSAGE_BYTES_MAX} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
}

/// Refuses forms in which the message is only a part of the body, or coded.
fn check_form(headers: &HeaderMap) -> Result<(), Failure> {
    let unsupported = |error: &str| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Failure::new(status, "invalid", error))
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(header::CONTENT_ENCODING) {
        None => {}
        Some(coding) if coding.eq_ignore_ascii_case("identity") => {}
        Some(_) => return unsupported("send the message as it is, without Content-Encoding"),
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    if kind.starts_with("multipart/") || kind.starts_with("application/json") {
        return unsupported("send the message itself as the body, not a form or JSON around it");
    }
    Ok(())
}

/// What the client says it will send; 0 when it does not say.
fn declared_length(headers: &HeaderMap) -> Result<usize, Failure> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(0);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let length: u64 = length.ok_or_else(|| Failure::invalid("Content-Length is no number"))?;
    match usize::try_from(length) {
        Ok(length) if length <= MESSAGE_BYTES_MAX => Ok(length),
        _ => Err(too_large()),
    }
}

/// Waits for room for a body that is to be sent.
pub(crate) async fn reserve(
    bytes: u64,
    room: &Arc<Semaphore>,
) -> Result<OwnedSemaphorePermit, Failure> {
    let bytes = usize::try_from(bytes).unwrap_or(MESSAGE_BYTES_MAX);
    let units = units(bytes.min(MESSAGE_BYTES_MAX));
    let units = u32::try_from(units).expect("MESSAGE_BYTES_MAX is 1024 units");
    match timeout(STALL, room.clone().acquire_many_owned(units)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Failure::busy("too many large messages at once")),
    }
}

/// A body that is to be sent, with its room.
pub(crate) fn outgoing(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Bytes {
    held(bytes, Some(room))
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, UNIT_BYTES, receive, reserve};
    use axum::body::Body;
    use axum::http::{HeaderMap, HeaderName};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    async fn kind(header: Option<(&'static str, &str)>, body: Body, units: usize) -> &'static str {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let room = Arc::new(Semaphore::new(units));
        let received = receive(&headers, body, &room).await;
        received.map_or_else(|failure| failure.kind(), |_| "taken")
    }

    #[tokio::test]
    async fn refuses_by_the_declared_length_alone() {
        let length = (MESSAGE_BYTES_MAX + 1).to_string();
        let header = Some(("content-length", length.as_str()));
        assert_eq!(kind(header, Body::empty(), 2000).await, "too_large");
    }

    #[tokio::test]
    async fn refuses_forms_around_the_message() {
        for header in [
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ] {
            assert_eq!(kind(Some(header), Body::from("x"), 9).await, "invalid");
        }
        let curl = Some(("content-type", "application/x-www-form-urlencoded"));
        assert_eq!(kind(curl, Body::from("x"), 9).await, "taken");
    }

    #[tokio::test]
    async fn room_is_taken_while_the_bytes_live_and_no_longer() {
        let room = Arc::new(Semaphore::new(2));
        let body = Body::from(vec![7; UNIT_BYTES + 1]);
        let bytes = receive(&HeaderMap::new(), body, &room).await.unwrap();
        assert_eq!(bytes.len(), UNIT_BYTES + 1);
        assert_eq!(room.available_permits(), 0);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(room.available_permits(), 0);
        drop(part);
        assert_eq!(room.available_permits(), 2);
        assert_eq!(reserve(5, &room).await.unwrap().num_permits(), 1);
    }

    #[tokio::test]
    async fn without_room_the_client_is_asked_to_come_back() {
        let body = Body::from(vec![7; 3 * UNIT_BYTES]);
        assert_eq!(kind(None, body, 2).await, "busy");
    }
}
