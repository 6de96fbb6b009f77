//! Who may ask over the page listener: only somebody who named this machine, and no page of
//! another site.
//!
//! A page of another site cannot read answers across origins, unless its own name is made to
//! resolve to the loopback address (DNS rebinding); the browser then still sends that name. It
//! can ask without reading, which costs the agent work and streams, so the browser's own word on
//! who asks (`Origin`; `Sec-Fetch-Site`, W3C Fetch Metadata) is heeded too. Programs send neither.

use axum::extract::Request;
use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

/// Refuses requests to another host's name.
pub async fn local_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_local) || !authority(request.uri()).is_none_or(is_local) {
        return super::refuse(
            StatusCode::FORBIDDEN,
            "the page and its API answer only to this machine's own names",
            "open http://127.0.0.1:PORT/ on the machine that runs the agent, or forward the port \
             there with ssh -L PORT:127.0.0.1:PORT HOST",
        );
    }
    if is_foreign(request.headers(), request.uri().path()) {
        return super::refuse(
            StatusCode::FORBIDDEN,
            "a page of another site may not ask this agent",
            "open the page of the agent itself; a program asks without the header Origin",
        );
    }
    next.run(request).await
}

/// Whether a browser asks for a page that is not ours. A person who follows a link to our page
/// comes from another site too; that is a whole document, and never one of the API.
fn is_foreign(headers: &HeaderMap, path: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some() && host == text(HOST.as_str())
    };
    if !text(ORIGIN.as_str()).is_none_or(own) {
        return true;
    }
    let link = text("sec-fetch-mode") == Some("navigate")
        && text("sec-fetch-dest") == Some("document")
        && !path.starts_with("/api");
    !matches!(text("sec-fetch-site"), None | Some("same-origin" | "none")) && !link
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
    use super::*;

    fn foreign(path: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut all = HeaderMap::new();
        all.insert(HOST, "127.0.0.1:9465".parse().unwrap());
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        is_foreign(&all, path)
    }

    #[test]
    fn a_page_of_another_site_is_told_by_its_origin_or_by_what_the_browser_says_of_it() {
        let own = ("origin", "http://127.0.0.1:9465");
        assert!(!foreign("/api/v1/state", &[]), "a program");
        assert!(!foreign("/api/v1/state", &[own, ("sec-fetch-site", "same-origin")]));
        assert!(!foreign("/", &[("sec-fetch-site", "none")]), "typed into the address bar");
        for origin in ["http://evil.example", "http://127.0.0.1:3000", "null", "http://127.0.0.1"] {
            assert!(foreign("/api/v1/state", &[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "of tomorrow"] {
            assert!(foreign("/api/v1/stream", &[("sec-fetch-site", site)]), "{site}");
            assert!(foreign("/app.js", &[("sec-fetch-site", site)]), "{site}");
        }
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(!foreign("/", &link), "a link in a runbook");
        assert!(foreign("/api/v1/tap", &link));
        let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
        assert!(foreign("/", &frame));
    }

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
