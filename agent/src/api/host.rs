//! Who may ask over the page listener: only somebody who named this machine.
//!
//! A page of another site cannot read answers across origins, unless its own name is made to
//! resolve to the loopback address (DNS rebinding); the browser then still sends that name.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

/// Refuses requests to another host's name.
pub async fn local_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_local) && authority(request.uri()).is_none_or(is_local) {
        return next.run(request).await;
    }
    super::refuse(
        StatusCode::FORBIDDEN,
        "the page and its API answer only to this machine's own names",
        "open http://127.0.0.1:PORT/ on the machine that runs the agent, or forward the port \
         there with ssh -L PORT:127.0.0.1:PORT HOST",
    )
}

/// The host of a request line that holds a whole address.
fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(|authority| authority.as_str())
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_the_names_of_this_machine_are_local() {
        for host in ["127.0.0.1", "127.0.0.1:9465", "localhost", "LOCALHOST:1", "[::1]", "[::1]:9"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil",
            "[::2]:1",
            "127.0.0.1:80@evil",
            "::1",
            "user@localhost",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
