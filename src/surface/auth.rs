//! Who asks, and what they may do: the peer's uid on the control socket, a token on HTTP.
//! Never compares a token in a time that tells how much of it fits, and never logs one.
//!
//! *Source*: RFC 6750 (bearer), RFC 7617 (basic; for clients that know nothing else,
//! Rspamd among them: user is the token's name, password the token).

use super::Surface;
use super::audit;
use super::failure::Failure;
use crate::config::{HttpRole, HttpToken};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process on this machine.
    Local {
        /// Its effective user.
        uid: u32,
        /// Whether that user may use the control socket.
        is_admitted: bool,
    },
    /// Somebody with or without a token.
    Network,
}

/// Who asks, after the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the audit trail: the token's name, or the user's number.
    pub(crate) name: Arc<str>,
    role: HttpRole,
}

impl Caller {
    /// Refuses a caller whose role does not reach.
    pub(crate) fn require(&self, role: HttpRole) -> Result<(), Failure> {
        if self.role >= role {
            return Ok(());
        }
        let (own, needed) = (self.role.as_str(), role.as_str());
        let error = format!("this needs the role {needed}; this token has the role {own}");
        Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", error))
    }
}

/// Lets a request through with its [`Caller`], or answers 401 or 403.
pub(crate) async fn authenticate(
    State(surface): State<Surface>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let credentials = request.headers().get(header::AUTHORIZATION);
    match identify(peer, credentials, &surface.tokens) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn identify(
    peer: Option<Peer>,
    credentials: Option<&HeaderValue>,
    tokens: &[HttpToken],
) -> Result<Caller, Failure> {
    match peer {
        Some(Peer::Local { uid, is_admitted }) => {
            let name = format!("uid {uid}");
            if is_admitted {
                let role = HttpRole::Admin;
                let name = name.into();
                return Ok(Caller { name, role });
            }
            audit::turned_away(&name, "forbidden");
            let error = format!(
                "user {uid} may not use this socket: root, the daemon's own user and members of \
                 the socket's group may"
            );
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", error))
        }
        Some(Peer::Network) | None => {
            let caller = credentials.and_then(|value| bearer(value, tokens));
            caller.ok_or_else(|| {
                audit::turned_away("unknown", "unauthorized");
                let error = "a token of this node is needed: Authorization: Bearer TOKEN";
                Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
            })
        }
    }
}

fn bearer(credentials: &HeaderValue, tokens: &[HttpToken]) -> Option<Caller> {
    let (scheme, value) = credentials.to_str().ok()?.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return holder(value, None, tokens);
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64.decode(value.as_bytes()).ok()?).ok()?;
        let (name, token) = decoded.split_once(':')?;
        return holder(token, Some(name), tokens);
    }
    None
}

/// The caller to whom a token belongs; all tokens are looked at, whichever fits.
fn holder(presented: &str, name: Option<&str>, tokens: &[HttpToken]) -> Option<Caller> {
    let mut found = None;
    for token in tokens {
        let fits = token.matches(presented);
        if fits && name.is_none_or(|name| name == token.name) {
            found = Some(Caller { name: token.name.as_str().into(), role: token.role });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Caller, Peer, identify};
    use crate::config::{Config, HttpRole, HttpToken, Paths};
    use axum::http::HeaderValue;
    use data_encoding::BASE64;

    fn tokens() -> Vec<HttpToken> {
        let mut text = String::new();
        for role in HttpRole::ALL {
            let name = role.as_str();
            let hash = HttpToken::hash_text(&format!("secret of {name}"));
            text += &format!("[[http.token]]\nname = \"{name}1\"\nrole = \"{name}\"\n");
            text += &format!("hash = \"{hash}\"\n");
        }
        let config = Config::parse(&text, "quard.toml".as_ref(), &Paths::under(None)).unwrap();
        config.http.tokens
    }

    fn network(credentials: &str) -> Option<Caller> {
        let credentials = HeaderValue::from_str(credentials).unwrap();
        identify(Some(Peer::Network), Some(&credentials), &tokens()).ok()
    }

    #[test]
    fn a_token_gives_its_own_name_and_role() {
        for role in HttpRole::ALL {
            let name = role.as_str();
            let token = format!("secret of {name}");
            let basic = BASE64.encode(format!("{name}1:{token}").as_bytes());
            for credentials in [format!("bearer {token}"), format!("Basic {basic}")] {
                let caller = network(&credentials).expect("it is a token");
                assert_eq!(*caller.name, *format!("{name}1"));
                for needed in HttpRole::ALL {
                    assert_eq!(caller.require(needed).is_ok(), needed <= role, "{needed:?}");
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_no_token_or_another_ones() {
        let other = BASE64.encode(b"viewer1:secret of admin");
        for credentials in [
            "Bearer secret of admi",
            "Bearer secret of admin2",
            "Bearer ",
            "secret of admin",
            "Digest secret of admin",
            "Basic secret of admin",
            &format!("Basic {other}"),
        ] {
            assert_eq!(network(credentials), None, "{credentials}");
        }
        assert!(identify(Some(Peer::Network), None, &tokens()).is_err());
        assert!(identify(None, None, &tokens()).is_err());
    }

    #[test]
    fn the_control_socket_goes_by_the_user_alone() {
        let local = |is_admitted| Peer::Local { uid: 7, is_admitted };
        let caller = identify(Some(local(true)), None, &[]).expect("admitted");
        assert!(caller.require(HttpRole::Admin).is_ok());
        let token = HeaderValue::from_static("Bearer secret of admin");
        let refused = identify(Some(local(false)), Some(&token), &tokens());
        assert_eq!(refused.expect_err("not admitted").kind(), "forbidden");
    }
}
