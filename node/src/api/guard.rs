//! Who may ask: whoever shows the token, and calls this host by a loopback name.
//!
//! The name is checked because a web page can make a browser send requests here under a name of its
//! own (DNS rebinding); the token is a second wall then, not the only one.

use std::{hint::black_box, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, HOST},
    },
    middleware::Next,
    response::Response,
};

use super::{App, Failure};

/// Lets a request through, or answers it.
pub(super) async fn check(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    judge(request.headers(), &app.shared.token)?;
    Ok(next.run(request).await)
}

fn judge(headers: &HeaderMap, token: &str) -> Result<(), Failure> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !header(HOST).is_some_and(is_loopback) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "call this API as 127.0.0.1, localhost or [::1]",
        ));
    }
    let shown = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if !shown.is_some_and(|shown| is_same(shown.trim(), token)) {
        return Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "send the header `Authorization: Bearer TOKEN` with the token of this peer's data directory (file api_token)",
        ));
    }
    Ok(())
}

/// Whether a Host header names this host by loopback, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

/// Compares in a time that does not depend on where the first difference is.
fn is_same(shown: &str, token: &str) -> bool {
    let differences =
        shown.bytes().zip(token.bytes()).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    shown.len() == token.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass() {
        for name in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]", "[::1]:99"]
        {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "example.org",
            "127.0.0.1.example.org",
            "localhost.evil:80",
            "",
            "::1",
            "127.0.0.1:80:x",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn a_prefix_of_the_token_is_not_the_token() {
        assert!(is_same("abc", "abc"));
        for shown in ["", "ab", "abcd", "abd"] {
            assert!(!is_same(shown, "abc"), "{shown}");
        }
    }
}
